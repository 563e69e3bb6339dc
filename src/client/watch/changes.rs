//! What changed since a host's last answer: answers in, a change for each out. Pure.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use crate::client::answer::{Answer, Status};
use crate::client::output::clock::Local;

/// The resolution of an uptime line; one that is rounded may go back by that much.
const RESOLUTION: Duration = Duration::from_secs(60);

/// What is new about a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// Its uptime went back.
    Rebooted,
    /// It answers again; its uptime shows whether it booted in between.
    BackUp { rebooted: bool },
    /// It stopped answering, or stopped making sense, in this round or an earlier one.
    Since(SystemTime),
}

impl Change {
    /// Whether the host has booted since it was last seen.
    pub(super) fn is_reboot(self) -> bool {
        matches!(self, Self::Rebooted | Self::BackUp { rebooted: true })
    }

    /// The words for the table.
    pub(super) fn mark(self, clock: &Local, now: SystemTime) -> Cow<'static, str> {
        match self {
            Self::None => "".into(),
            Self::Rebooted => "rebooted".into(),
            Self::BackUp { rebooted: false } => "back up".into(),
            Self::BackUp { rebooted: true } => "back up, rebooted".into(),
            Self::Since(at) => format!("since {}", clock.short(at, now)).into(),
        }
    }
}

/// What the answers of a host have shown so far.
#[derive(Debug, Default)]
pub(super) struct History {
    /// None: there was no answer yet.
    status: Option<Status>,
    /// Since when; None if it was so from the first answer on, and the time is unknown.
    since: Option<SystemTime>,
    /// The last uptime that it reported, and when.
    uptime: Option<(Duration, SystemTime)>,
}

impl History {
    /// Takes the next answer in.
    pub(super) fn note(&mut self, answer: &Answer) -> Change {
        let status = answer.outcome.status();
        let uptime = answer.outcome.report().map(|report| report.uptime);
        // The line was written between the question and the answer.
        let asked = answer.at - answer.rtt.unwrap_or_default();
        let rebooted = uptime.is_some_and(|uptime| self.has_rebooted(uptime, asked));
        if let Some(uptime) = uptime {
            self.uptime = Some((uptime, answer.at));
        }
        let Some(was) = self.status.replace(status) else {
            return Change::None;
        };
        if was != status {
            self.since = Some(answer.at);
        }
        match status {
            Status::Up if was != Status::Up => Change::BackUp { rebooted },
            Status::Up if rebooted => Change::Rebooted,
            Status::Up => Change::None,
            Status::Error | Status::Down => self.since.map_or(Change::None, Change::Since),
        }
    }

    /// Whether a host that reports this uptime, in answer to a request at `at`, has booted since it
    /// last reported one. Two lines prove it: the uptime went back by more than their resolution, or
    /// it is shorter than the time between them, and the machine booted later by at least that
    /// resolution.
    fn has_rebooted(&self, uptime: Duration, at: SystemTime) -> bool {
        let Some((before, then)) = self.uptime else {
            return false;
        };
        // A clock that was set back: nothing can be said of the time between.
        let between = at.duration_since(then).unwrap_or_default();
        uptime + RESOLUTION < before || uptime < between && uptime + RESOLUTION <= before + between
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{down, error, up};

    /// One host over several rounds, ten seconds apart.
    fn story(rounds: &[Answer]) -> Vec<Change> {
        let mut history = History::default();
        let note = |(i, answer): (usize, &Answer)| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(10 * i as u64);
            history.note(&Answer {
                at,
                ..answer.clone()
            })
        };
        rounds.iter().enumerate().map(note).collect()
    }

    fn since(seconds: u64) -> Change {
        Change::Since(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn u(minutes: u64) -> Answer {
        up("a", minutes * 60, None, None)
    }

    #[test]
    fn the_first_round_changes_nothing() {
        assert_eq!(story(&[u(5)]), [Change::None]);
        assert_eq!(story(&[down("a", "no")]), [Change::None]);
    }

    #[test]
    fn an_uptime_that_goes_on_is_no_change() {
        assert_eq!(story(&[u(5), u(5), u(6), u(99)]), [Change::None; 4]);
    }

    #[test]
    fn an_uptime_that_went_back_by_more_than_a_minute_is_a_reboot() {
        assert_eq!(story(&[u(5), u(4)]), [Change::None, Change::None]);
        assert_eq!(story(&[u(5), u(3)]), [Change::None, Change::Rebooted]);
        assert_eq!(
            story(&[u(9999), u(0), u(0)]),
            [Change::None, Change::Rebooted, Change::None]
        );
    }

    #[test]
    fn down_since_stays_until_it_is_back() {
        let rounds = [u(5), down("a", "no"), down("a", "no"), u(6), u(6)];
        let back = Change::BackUp { rebooted: false };
        assert_eq!(
            story(&rounds),
            [Change::None, since(10), since(10), back, Change::None]
        );
    }

    #[test]
    fn a_host_that_comes_back_with_less_uptime_was_rebooted() {
        let rounds = [u(500), down("a", "no"), u(0), u(1)];
        let back = Change::BackUp { rebooted: true };
        assert_eq!(
            story(&rounds),
            [Change::None, since(10), back, Change::None]
        );
    }

    #[test]
    fn how_long_a_host_was_down_before_the_first_round_nobody_knows() {
        let back = Change::BackUp { rebooted: false };
        assert_eq!(
            story(&[down("a", "no"), down("a", "no"), u(6)]),
            [Change::None, Change::None, back]
        );
    }

    #[test]
    fn error_and_down_are_told_apart() {
        let rounds = [
            u(5),
            error("a", "?"),
            down("a", "no"),
            error("a", "?"),
            u(5),
        ];
        let back = Change::BackUp { rebooted: false };
        assert_eq!(
            story(&rounds),
            [Change::None, since(10), since(20), since(30), back]
        );
    }

    #[test]
    fn a_reboot_between_rounds_far_apart_is_seen() {
        let at = |minutes: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(60 * minutes);
        let noted = |first: (u64, u64), second: (u64, u64)| {
            let mut history = History::default();
            let mut note = |(when, uptime)| {
                history.note(&Answer {
                    at: at(when),
                    ..u(uptime)
                })
            };
            note(first);
            note(second)
        };
        // Up 5 minutes, and 20 minutes later 10: it booted in between.
        assert_eq!(noted((0, 5), (20, 10)), Change::Rebooted);
        assert_eq!(noted((0, 5), (20, 25)), Change::None);
        // A line of 0:00 is of the machine's first minute, and may be of its end.
        assert_eq!(noted((0, 0), (1, 1)), Change::None);
        assert_eq!(noted((0, 0), (2, 0)), Change::Rebooted);
        assert_eq!(noted((0, 0), (3, 1)), Change::Rebooted);
        // This machine's clock was set back: nothing is made up.
        assert_eq!(noted((60, 5), (0, 5)), Change::None);
    }

    #[test]
    fn a_machine_that_boots_again_and_again_is_rebooted_each_time() {
        // Rounds of ten seconds; it is down for three of them.
        let no = || down("a", "no");
        let rounds = [u(1), no(), no(), no(), u(0), u(0), u(1), no(), no(), u(0)];
        let back = Change::BackUp { rebooted: true };
        let told = story(&rounds);
        assert_eq!((told[4], told[9]), (back, back), "{told:?}");
        assert_eq!(told[5..7], [Change::None, Change::None]);
    }

    #[test]
    fn since_has_a_date_when_it_is_not_today() {
        let clock = Local::utc();
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let mark = |then, now| Change::Since(at(then)).mark(&clock, at(now));
        assert_eq!(mark(60, 86_399), "since 00:01:00");
        assert_eq!(mark(60, 86_400), "since 1970-01-01 00:01:00");
    }
}
