//! What each signal asks of the daemon: signal numbers come in, requests come out.
//!
//! The signals are blocked and read from a descriptor (signalfd(2)), so that none of them ends the
//! daemon with a client unanswered or a socket file left behind. Those that are not listed keep
//! their default action (SIGQUIT and SIGABRT are asked for a core dump).

use nix::sys::signal::{SigSet, Signal};

use super::sys::is_ignored;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// A child has ended.
    Reap,
    /// To stop, as a service manager or a terminal says it.
    Stop,
    /// To stop, in a way that is told: the terminal has gone, or an alarm that a launcher has set
    /// (`alarm` and exec, the shell's poor man's timeout) has come.
    StopAloud(Signal),
    /// Nothing.
    Nothing(Signal),
}

/// What the signal of this number asks for; None for one that is not watched.
pub(crate) fn meaning(number: u32) -> Option<Asks> {
    let signal = Signal::try_from(i32::try_from(number).ok()?).ok()?;
    match signal {
        Signal::SIGCHLD => Some(Asks::Reap),
        Signal::SIGTERM | Signal::SIGINT => Some(Asks::Stop),
        Signal::SIGHUP | Signal::SIGALRM => Some(Asks::StopAloud(signal)),
        Signal::SIGUSR1 | Signal::SIGUSR2 => Some(Asks::Nothing(signal)),
        _ => None,
    }
}

/// Blocks the signals that are read from a descriptor, and gives them.
///
/// A SIGHUP that the launcher ignores stays so, because nohup(1) asks for that: a signal that is
/// blocked would be read although it is ignored.
///
/// # Errors
/// Those of sigprocmask(2); none is expected.
pub(crate) fn block() -> nix::Result<SigSet> {
    let mut watched: SigSet = Signal::iterator()
        .filter(|signal| meaning(*signal as u32).is_some())
        .collect();
    if is_ignored(Signal::SIGHUP) {
        watched.remove(Signal::SIGHUP);
    }
    watched.thread_block()?;
    Ok(watched)
}
