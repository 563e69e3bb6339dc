//! What the service manager is told (sd_notify(3)): readiness, status, the watchdog, the end.
//!
//! Without `$NOTIFY_SOCKET` every message goes nowhere, and that is fine. A message that cannot
//! be sent is a record and never a reason to stop.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::daemon::logging::outlet::{address, takes_a_datagram};
use crate::daemon::logging::{self as log, Latch};

/// STATUS= is sent no more often than this.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// READY=1 is tried again after so long, where the manager's queue is full.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// The shortest time between two messages to the watchdog.
const LEAST_WATCHDOG: Duration = Duration::from_millis(1);

/// What the daemon has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests that were answered by a command that went well.
    pub(crate) answered: u64,
    /// Requests whose command could not be started, failed or was stopped.
    pub(crate) failed: u64,
    /// Commands that run now.
    pub(crate) running: usize,
}

/// The line to the service manager.
pub(crate) struct Notify {
    watchdog: Option<Duration>,
    next_watchdog: Option<Instant>,
    /// READY=1 has not been told yet; when to try.
    next_ready: Option<Instant>,
    told: Counts,
    next_status: Instant,
    /// Whom to tell, if anybody.
    manager: Option<OsString>,
    fault: Latch,
}

impl Notify {
    pub(crate) fn new(now: Instant) -> Self {
        // Half the time, as sd_watchdog_enabled(3) recommends. It calls a limit of 0 invalid, and
        // sd_notify does not; the least is what the loop can keep.
        let watchdog = sd_notify::watchdog_enabled()
            .filter(|limit| !limit.is_zero())
            .map(|limit| (limit / 2).max(LEAST_WATCHDOG));
        Notify {
            watchdog,
            next_watchdog: watchdog.map(|interval| now + interval),
            next_ready: None,
            told: Counts::default(),
            next_status: now,
            manager: std::env::var_os("NOTIFY_SOCKET"),
            fault: Latch::default(),
        }
    }

    /// Every socket is classified, and the loop is about to turn. The one message that is tried
    /// until it is told: without it the daemon would be taken for one that has not started.
    pub(crate) fn ready(&mut self, now: Instant) {
        let state = [
            NotifyState::Ready,
            NotifyState::Status("waiting for the first request"),
        ];
        self.next_ready = (!self.offer(&state)).then(|| now + READY_INTERVAL);
    }

    /// No more requests are taken.
    pub(crate) fn stopping(&mut self) {
        self.offer(&[NotifyState::Stopping]);
    }

    /// When [`Self::tick`] has something to send.
    pub(crate) fn next_deadline(&self, counts: Counts) -> Option<Instant> {
        let status = (self.manager.is_some() && counts != self.told).then_some(self.next_status);
        [status, self.next_watchdog, self.next_ready]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sends what is due: called once a turn of the loop, so that the watchdog hears from a loop
    /// that turns, and from no other.
    pub(crate) fn tick(&mut self, now: Instant, counts: Counts) {
        if self.next_ready.is_some_and(|at| at <= now) {
            self.ready(now);
        }
        if let (Some(interval), Some(at)) = (self.watchdog, self.next_watchdog) {
            if at <= now {
                self.next_watchdog = Some(now + interval);
                self.offer(&[NotifyState::Watchdog]);
            }
        }
        if self.manager.is_some() && counts != self.told && self.next_status <= now {
            self.next_status = now + STATUS_INTERVAL;
            self.told = counts;
            let Counts {
                answered,
                failed,
                running,
            } = counts;
            let status = format!("answered {answered}, failed {failed}, running {running}");
            self.offer(&[NotifyState::Status(&status)]);
        }
    }

    /// Sends a message, unless the manager's queue is full; then false.
    fn offer(&mut self, state: &[NotifyState<'_>]) -> bool {
        let Some(manager) = &self.manager else {
            return true;
        };
        if !takes_a_datagram(manager) {
            return false;
        }
        // sd-notify takes every name for a path.
        let sent = if manager.as_encoded_bytes().starts_with(b"@") {
            notify_abstract(manager, state)
        } else {
            sd_notify::notify(state)
        };
        match sent {
            Ok(()) => drop(self.fault.recovered()),
            Err(error) => log::notify_failed(&mut self.fault, &error),
        }
        true
    }
}

/// The same as sd_notify's own, for a name in the abstract namespace (unix(7)).
fn notify_abstract(name: &OsStr, state: &[NotifyState<'_>]) -> io::Result<()> {
    let message: String = state.iter().map(|one| format!("{one}\n")).collect();
    let socket = UnixDatagram::unbound()?;
    socket
        .send_to_addr(message.as_bytes(), &address(name)?)
        .map(drop)
}
