//! Default signals for what the tests start, whoever starts the tests.
//!
//! A script's `make check &` ignores SIGINT and SIGQUIT, and nohup(1) SIGHUP; what is ignored stays so
//! in every program that is started, and programs that respect that cannot be ended by them. So each
//! test program begins with the defaults; a test that wants a signal ignored says so itself.

// Before main(), which is the test harness's own.
#![allow(unsafe_code)]

use nix::sys::signal::{SigHandler, Signal, signal};

#[used]
// SAFETY: the C library calls each function of this section once, with arguments that a function
// without parameters ignores.
#[unsafe(link_section = ".init_array")]
static AT_THE_START: extern "C" fn() = take_defaults;

extern "C" fn take_defaults() {
    for number in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ] {
        // SAFETY: the default action runs no code of this program. It fails for no signal but
        // SIGKILL and SIGSTOP.
        let _ = unsafe { signal(number, SigHandler::SigDfl) };
    }
}

/// A test of what the section does: the harness itself is looked at.
#[test]
fn no_signal_is_ignored() {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .expect("a mask");
    for number in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        assert_eq!(ignored & 1 << (number as u64 - 1), 0, "{number}");
    }
}
