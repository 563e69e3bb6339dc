//! Names beyond ASCII (`bücher.example`), as ping and curl take them.
//!
//! glibc encodes them itself where it is asked to (AI_IDN), with the system's libidn2, and that is
//! what ping does. The crate idna would do it, too, with ten crates and 290 kB in the binary, or
//! thirty crates and 170 kB, for names that hardly any fleet has. glibc takes a name to be in the
//! character set of the thread's locale, and a word of ours is UTF-8 under whatever locale cron
//! gives, so the locale of the thread that asks is set: no other thread sees it.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ptr;

use nix::libc::{LC_CTYPE_MASK, newlocale, uselocale};

/// For `ai_flags`: encode the name. netdb.h of glibc; the libc crate lacks it, and musl does not
/// know it (EAI_BADFLAGS).
pub(super) const AI_IDN: i32 = 0x40;
/// The name cannot be encoded, or libidn2 is not installed.
pub(super) const EAI_IDN_ENCODE: i32 = -105;

thread_local! {
    static IS_UTF8: Cell<bool> = const { Cell::new(false) };
}

/// Makes UTF-8 the character set of this thread, once. False where the C library cannot.
pub(super) fn use_utf8() -> bool {
    if IS_UTF8.get() {
        return true;
    }
    // SAFETY: the name ends in NUL, and newlocale(3) takes a null pointer as the base of a new one.
    let locale = unsafe { newlocale(LC_CTYPE_MASK, c"C.UTF-8".as_ptr(), ptr::null_mut()) };
    if locale.is_null() {
        return false;
    }
    // SAFETY: a locale that newlocale(3) has made, and that is never freed: the thread keeps it.
    unsafe { uselocale(locale) };
    IS_UTF8.set(true);
    true
}
