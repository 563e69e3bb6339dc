//! The two system calls that neither std nor nix offers in a safe form. Nothing else in the
//! crate is `unsafe`.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::Result;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{SockFlag, accept4};

/// Takes the next connection out of a listener's backlog, close-on-exec and blocking
/// (accept4(2)). `O_NONBLOCK` is not set: it would belong to the open file description that the
/// command shares.
///
/// std's own `accept` is not used because it retries EINTR by itself, without a bound, and
/// refuses the connections of families that it does not know (vsock) after having taken them.
///
/// # Errors
/// Each errno of accept4(2), for the caller to decide.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 has just made this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives SIGCHLD its default action. A launcher that ignores it passes that on through exec, and
/// then the kernel reaps every child by itself and wait(2) fails with ECHILD.
///
/// # Errors
/// Those of sigaction(2); none is expected for a valid signal.
pub(crate) fn stop_ignoring_sigchld() -> Result<()> {
    // SAFETY: SIG_DFL installs no handler, so no code of ours can run at a bad moment.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}
