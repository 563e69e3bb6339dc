//! The stop that a signal asks for: a time and `--child-timeout` come in, deadlines come out.
//!
//! Clients that were accepted before are answered; but a service manager waits only for a time
//! (TimeoutStopSec= in systemd.service(5)) and then kills, so every stop is bounded: clients that
//! wait for the end of another's command get no time of their own after that.

use std::time::{Duration, Instant};

/// What may come after the last answer, in every case: a second from SIGTERM to SIGKILL for its
/// command, five for a client that makes no room for it, one for a client that does not close, and
/// one to spare.
const AFTERWARDS: Duration = Duration::from_secs(8);
/// The same after a second signal: SIGKILL comes after one second.
const HASTENED: Duration = Duration::from_secs(2);

/// A stop that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    answer_by: Instant,
    leave_by: Instant,
}

impl Stop {
    pub(crate) fn begin(now: Instant, child_timeout: Duration) -> Self {
        let answer_by = now + child_timeout;
        Stop {
            answer_by,
            leave_by: answer_by + AFTERWARDS,
        }
    }

    /// A second signal: no client is waited for any more.
    pub(crate) fn hasten(&mut self, now: Instant) {
        self.answer_by = self.answer_by.min(now);
        self.leave_by = self.leave_by.min(now + HASTENED);
    }

    /// By when every command has ended or is stopped, and every waiting client has an answer.
    pub(crate) fn answer_by(&self) -> Instant {
        self.answer_by
    }

    /// When the daemon leaves, even with clients that are still being served.
    pub(crate) fn leave_by(&self) -> Instant {
        self.leave_by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_over_within_the_time_that_the_units_allow() {
        let now = Instant::now();
        let stop = Stop::begin(now, Duration::from_secs(10));
        assert_eq!(stop.answer_by(), now + Duration::from_secs(10));
        for unit in [
            include_str!("../../systemd/ruptime.service"),
            include_str!("../../systemd/ruptime-udp.service"),
            include_str!("../../systemd/ruptime-inetd@.service"),
        ] {
            let allowed = unit
                .lines()
                .find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix('s'))
                .expect("TimeoutStopSec=");
            let allowed = Duration::from_secs(allowed.parse().expect("seconds"));
            assert!(stop.leave_by() < now + allowed);
        }
    }

    #[test]
    fn a_second_signal_hastens_and_a_third_changes_nothing() {
        let now = Instant::now();
        let mut stop = Stop::begin(now, Duration::from_secs(10));
        stop.hasten(now + Duration::from_secs(1));
        let hastened = stop;
        assert_eq!(stop.answer_by(), now + Duration::from_secs(1));
        assert_eq!(stop.leave_by(), now + Duration::from_secs(3));
        stop.hasten(now + Duration::from_secs(2));
        assert_eq!(stop, hastened);
    }
}
