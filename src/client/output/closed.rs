//! Whether standard output could be written to when the program started.
//!
//! std opens /dev/null in the place of a standard descriptor that is closed, before `main`, so that
//! no other file gets its number; and it drops what is written to a descriptor that is not open for
//! writing (EBADF). Either way every write seems to succeed, and an answer is lost in silence.
//! Afterwards a /dev/null of std's cannot be distinguished from the user's own (Python's
//! `subprocess.DEVNULL` and daemon(3) open it for reading and writing, too). So this looks before
//! std does.

// The lines below run before main; there is no safe way to be called there.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;

static CLOSED: AtomicBool = AtomicBool::new(false);

/// The C library calls what is in this section before `main`, in programs that are linked
/// statically, too (System V ABI, "Initialization and Termination Functions").
// SAFETY: the section holds pointers to functions of this type, and nothing else is put there.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

/// Needs nothing that std sets up: a system call and an atomic.
extern "C" fn look() {
    // SAFETY: it only reads the flags of a descriptor, and fails where that is not open.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFL) };
    let writable = flags >= 0 && flags & libc::O_ACCMODE != libc::O_RDONLY;
    CLOSED.store(!writable, Ordering::Relaxed);
}

/// Whether it could not be written to.
pub(crate) fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}
