//! Messages to the service manager (sd_notify(3)): readiness, status, the watchdog, the end.
//!
//! Counts and the time come in, datagrams go out. Without `$NOTIFY_SOCKET` nothing is sent. A
//! message that cannot be sent is logged and never a reason to stop.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::daemon::logging::outlet::Outlet;
use crate::daemon::logging::{self as log, fault::Fault};
use crate::daemon::poll::Timed;

/// STATUS= is sent at most once in this time.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// READY=1 is sent again after this time, where the manager's queue was full.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// The shortest time between two messages to the watchdog.
const SHORTEST_WATCHDOG: Duration = Duration::from_millis(1);

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

/// The service manager, if there is one.
pub(crate) struct Manager {
    outlet: Option<Outlet>,
    watchdog: Option<Watchdog>,
    /// When to send READY=1 again; None once it has been sent.
    next_ready: Option<Instant>,
    counts: Counts,
    /// What the last STATUS= said.
    reported: Counts,
    next_status: Instant,
    fault: Fault,
}

struct Watchdog {
    interval: Duration,
    next: Instant,
}

impl Manager {
    /// The manager that the environment names.
    pub(crate) fn new(now: Instant) -> Self {
        let limit = watchdog_limit(
            std::env::var("WATCHDOG_USEC").ok().as_deref(),
            std::env::var("WATCHDOG_PID").ok().as_deref(),
        );
        // Half the time, as sd_watchdog_enabled(3) recommends; the shortest is what the loop can keep.
        let interval = limit.map(|limit| (limit / 2).max(SHORTEST_WATCHDOG));
        Manager::at(std::env::var_os("NOTIFY_SOCKET"), interval, now)
    }

    fn at(socket: Option<OsString>, watchdog: Option<Duration>, now: Instant) -> Self {
        Manager {
            outlet: socket.map(Outlet::new),
            watchdog: watchdog.map(|interval| Watchdog {
                interval,
                next: now + interval,
            }),
            next_ready: None,
            counts: Counts::default(),
            reported: Counts::default(),
            next_status: now,
            fault: Fault::default(),
        }
    }

    /// Every socket is classified, and the loop is about to turn. This is the one message that is
    /// sent again until it arrives: without it the manager would take the daemon for one that has
    /// not started.
    pub(crate) fn ready(&mut self, now: Instant) {
        let state = [
            NotifyState::Ready,
            NotifyState::Status("waiting for the first request"),
        ];
        self.next_ready = (!self.send(&state)).then(|| now + READY_INTERVAL);
    }

    /// No more requests are taken.
    pub(crate) fn stopping(&mut self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// What the next STATUS= is to say.
    pub(crate) fn update(&mut self, counts: Counts) {
        self.counts = counts;
    }

    fn has_news(&self) -> bool {
        self.outlet.is_some() && self.counts != self.reported
    }

    /// Sends a message; false where the manager's queue is full.
    fn send(&mut self, state: &[NotifyState<'_>]) -> bool {
        let Some(outlet) = &self.outlet else {
            return true;
        };
        let mut message = String::new();
        for assignment in state {
            // Writing to a String cannot fail.
            let _ = writeln!(message, "{assignment}");
        }
        match outlet.send(message.as_bytes()) {
            Ok(()) => drop(self.fault.ok()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => log::notify_failed(self.fault.fail(Instant::now()), &error),
        }
        true
    }
}

/// How often the manager wants to hear from this process, by the variables of
/// sd_watchdog_enabled(3), which calls a limit of 0 invalid. Not the crate's own function, which
/// has another form in each of its versions.
fn watchdog_limit(usec: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let limit = usec?.parse().ok().filter(|usec| *usec > 0)?;
    // Without a PID it is for whoever reads it; a PID that is none is nobody's.
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    ours.then(|| Duration::from_micros(limit))
}

impl Timed for Manager {
    fn deadline(&self) -> Option<Instant> {
        let status = self.has_news().then_some(self.next_status);
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        [status, watchdog, self.next_ready]
            .into_iter()
            .flatten()
            .min()
    }

    /// Called once a turn of the loop, so that the watchdog hears only from a loop that turns.
    fn tick(&mut self, now: Instant) {
        if self.next_ready.is_some_and(|at| at <= now) {
            self.ready(now);
        }
        if let Some(watchdog) = self.watchdog.as_mut().filter(|it| it.next <= now) {
            watchdog.next = now + watchdog.interval;
            self.send(&[NotifyState::Watchdog]);
        }
        if self.has_news() && self.next_status <= now {
            self.next_status = now + STATUS_INTERVAL;
            self.reported = self.counts;
            let Counts {
                answered,
                failed,
                running,
            } = self.counts;
            let status = format!("answered {answered}, failed {failed}, running {running}");
            self.send(&[NotifyState::Status(&status)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    /// A manager's end, and ours.
    fn pair(test: &str, watchdog: Option<Duration>, now: Instant) -> (UnixDatagram, Manager) {
        let name = format!("ruptime-manager-{}-{test}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let theirs = UnixDatagram::bind_addr(&address).expect("bound");
        theirs.set_nonblocking(true).expect("non-blocking");
        let ours = Manager::at(Some(format!("@{name}").into()), watchdog, now);
        (theirs, ours)
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn answered(answered: u64) -> Counts {
        Counts {
            answered,
            ..Counts::default()
        }
    }

    #[test]
    fn readiness_and_the_end_are_told() {
        let now = Instant::now();
        let (theirs, mut ours) = pair("end", None, now);
        ours.ready(now);
        assert_eq!(
            heard(&theirs).as_deref(),
            Some("READY=1\nSTATUS=waiting for the first request\n")
        );
        assert_eq!(ours.deadline(), None);
        ours.stopping();
        assert_eq!(heard(&theirs).as_deref(), Some("STOPPING=1\n"));
    }

    #[test]
    fn readiness_is_told_again_until_there_is_room() {
        let now = Instant::now();
        let (theirs, mut ours) = pair("full", None, now);
        while ours.send(&[NotifyState::Watchdog]) {}
        ours.ready(now);
        assert_eq!(ours.deadline(), Some(now + READY_INTERVAL));
        while heard(&theirs).is_some() {}
        ours.tick(now);
        assert_eq!(heard(&theirs), None, "not before its time");
        ours.tick(now + READY_INTERVAL);
        assert!(heard(&theirs).is_some_and(|message| message.starts_with("READY=1\n")));
        assert_eq!(ours.deadline(), None);
    }

    #[test]
    fn the_status_is_told_once_a_second_and_where_it_has_changed() {
        let now = Instant::now();
        let (theirs, mut ours) = pair("status", None, now);
        ours.update(answered(1));
        ours.tick(now);
        assert_eq!(
            heard(&theirs).as_deref(),
            Some("STATUS=answered 1, failed 0, running 0\n")
        );
        assert_eq!(ours.deadline(), None);
        ours.update(answered(2));
        ours.tick(now);
        assert_eq!(heard(&theirs), None);
        assert_eq!(ours.deadline(), Some(now + STATUS_INTERVAL));
        ours.tick(now + STATUS_INTERVAL);
        assert!(heard(&theirs).is_some_and(|status| status.contains("answered 2,")));
    }

    #[test]
    fn the_watchdog_is_for_this_process_and_has_a_limit() {
        let ours = std::process::id().to_string();
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog_limit(Some("1000000"), Some(&ours)), second);
        assert_eq!(watchdog_limit(Some("1000000"), None), second);
        for (usec, pid) in [
            (None, Some(ours.as_str())),
            (Some("0"), None),
            (Some("-1"), None),
            (Some("1s"), None),
            (Some("1000000"), Some("1")),
            (Some("1000000"), Some("x")),
        ] {
            assert_eq!(watchdog_limit(usec, pid), None, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn the_watchdog_hears_of_every_interval() {
        let now = Instant::now();
        let interval = Duration::from_secs(5);
        let (theirs, mut ours) = pair("watchdog", Some(interval), now);
        ours.tick(now);
        assert_eq!(heard(&theirs), None);
        assert_eq!(ours.deadline(), Some(now + interval));
        ours.tick(now + interval);
        assert_eq!(heard(&theirs).as_deref(), Some("WATCHDOG=1\n"));
        assert_eq!(ours.deadline(), Some(now + 2 * interval));
    }

    #[test]
    fn without_a_manager_there_is_nothing_to_do() {
        let now = Instant::now();
        let mut nobody = Manager::at(None, None, now);
        nobody.ready(now);
        nobody.update(answered(1));
        assert_eq!(nobody.deadline(), None);
    }
}
