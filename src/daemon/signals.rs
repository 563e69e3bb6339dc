//! The signals that the daemon obeys, read one by one.
//!
//! The signals are blocked and read from a descriptor (signalfd(2)), so that none of them ends the
//! daemon with a client unanswered or a socket file left behind. Those that are not listed keep
//! their default action (SIGQUIT and SIGABRT are asked for a core dump).

use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::logging as log;
use super::logging::fault::Fault;
use super::poll::{Registry, Timed, Token, Watched};
use super::sys::{failed, is_ignored};

/// What the loop does for each is in the server.
const WATCHED: [Signal; 7] = [
    Signal::SIGCHLD,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGALRM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// The signals that are pending. The descriptor is edge-triggered, so that a read that fails is
/// tried again after a pause and not with every turn of the loop.
pub(crate) struct Signals {
    descriptor: Watched<SignalFd>,
    /// The descriptor may have something to read.
    is_ready: bool,
    fault: Fault,
}

impl Signals {
    /// Blocks the signals, and watches the descriptor that they are read from.
    ///
    /// # Errors
    /// The name of the call that failed, sigprocmask(2), signalfd(2) or epoll_ctl(2), and why.
    pub(crate) fn watch(registry: &Registry) -> Result<Self, String> {
        let mask = block().map_err(failed("sigprocmask"))?;
        let descriptor =
            SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
                .map_err(failed("signalfd"))?;
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        let mut descriptor = registry.watch(descriptor, Token::Signals, interest);
        descriptor.arm(true).map_err(failed("epoll_ctl"))?;
        Ok(Signals {
            descriptor,
            is_ready: false,
            fault: Fault::default(),
        })
    }

    /// Epoll has reported the descriptor.
    pub(crate) fn ready(&mut self) {
        self.is_ready = true;
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Reads the next pending signal.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Signal> {
        while self.is_ready {
            match self.descriptor.read_signal() {
                // Every one that is watched has a name.
                Ok(Some(info)) => return Signal::try_from(info.ssi_signo as i32).ok(),
                Ok(None) => {
                    self.fault.ok();
                    self.is_ready = false;
                }
                Err(Errno::EINTR) if self.fault.tolerate() => {}
                Err(errno) => {
                    log::signals_failed(self.fault.fail(now), errno);
                    self.is_ready = false;
                }
            }
        }
        None
    }
}

impl Timed for Signals {
    fn deadline(&self) -> Option<Instant> {
        self.fault.deadline()
    }

    fn tick(&mut self, now: Instant) {
        self.is_ready |= self.fault.tick(now);
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
    let mut watched: SigSet = WATCHED.into_iter().collect();
    if is_ignored(Signal::SIGHUP) {
        watched.remove(Signal::SIGHUP);
    }
    watched.thread_block()?;
    Ok(watched)
}
