//! Cuts short what a thread sleeps for in the kernel: a signal comes every millisecond while a job
//! runs. The last close of a lingering socket ends at a pending signal (tcp_close in the kernel's
//! net/ipv4/tcp.c), and so do all others within the same system call.
#![allow(unsafe_code)]

use std::time::Duration;

use nix::libc;
use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction,
};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::gettid;

/// Between two signals.
const INTERVAL: Duration = Duration::from_millis(1);
/// Its default action is to be ignored, so that one from elsewhere does no harm before there is a
/// handler (signal(7)).
const SIGNAL: Signal = Signal::SIGURG;

/// A timer of one thread (timer_create(2), SIGEV_THREAD_ID).
pub(crate) struct Alarm(Timer);

impl Alarm {
    /// None where there is none to be had (EAGAIN, ENOMEM): then sleeps last as long as they do.
    pub(crate) fn for_this_thread() -> Option<Self> {
        let handler = SigHandler::Handler(nothing);
        // Without SA_RESTART: an interrupted call is to return.
        let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, so it is async-signal-safe (signal-safety(7)).
        unsafe { sigaction(SIGNAL, &action) }.ok()?;
        SigSet::from(SIGNAL).thread_unblock().ok()?;
        let notify = SigevNotify::SigevThreadId {
            signal: SIGNAL,
            thread_id: gettid().as_raw(),
            si_value: 0,
        };
        Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify))
            .ok()
            .map(Alarm)
    }

    /// Runs a job, whose sleeps a signal interrupts.
    pub(crate) fn during<T>(&mut self, job: impl FnOnce() -> T) -> T {
        self.set(INTERVAL);
        let result = job();
        self.set(Duration::ZERO);
        result
    }

    /// Zero disarms it. It cannot fail for a timer of ours.
    fn set(&mut self, interval: Duration) {
        let expiration = Expiration::IntervalDelayed(interval.into(), interval.into());
        let _ = self.0.set(expiration, TimerSetTimeFlags::empty());
    }
}

extern "C" fn nothing(_: libc::c_int) {}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use nix::unistd::{pipe, read};

    #[test]
    fn a_call_that_sleeps_is_interrupted() {
        let (ours, _theirs) = pipe().expect("a pipe");
        let mut alarm = Alarm::for_this_thread().expect("a timer");
        let read = alarm.during(|| read(&ours, &mut [0]));
        assert_eq!(read, Err(Errno::EINTR));
    }
}
