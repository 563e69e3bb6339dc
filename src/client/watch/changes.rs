//! What changed since the last round: answers in, a change for each out. Pure.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use crate::client::answer::{Answer, Outcome};
use crate::client::output::clock::Local;

/// An uptime line tells minutes, and a rounded one may go back by one.
const RESOLUTION: Duration = Duration::from_secs(60);

/// What is new about a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// Its uptime went back.
    Rebooted,
    /// It answers again; its uptime tells whether it booted in between.
    BackUp { rebooted: bool },
    /// It stopped answering, or stopped making sense, in this round or an earlier one.
    Since(SystemTime),
}

impl Change {
    /// The words for the table.
    pub(super) fn mark(self, clock: &Local) -> String {
        match self {
            Self::None => String::new(),
            Self::Rebooted => "rebooted".to_owned(),
            Self::BackUp { rebooted: false } => "back up".to_owned(),
            Self::BackUp { rebooted: true } => "back up, rebooted".to_owned(),
            Self::Since(at) => format!("since {}", clock.hms(at)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    Error,
    Down,
}

#[derive(Debug)]
struct Past {
    state: State,
    /// When it came to be so; None when it was so from the first round on, for then nobody knows.
    since: Option<SystemTime>,
    /// The last uptime that it told.
    uptime: Option<Duration>,
}

/// What earlier rounds have shown.
#[derive(Debug, Default)]
pub(super) struct History(HashMap<String, Past>);

impl History {
    /// Takes a round in, and gives a change for each of its answers.
    pub(super) fn note(&mut self, answers: &[Answer]) -> Vec<Change> {
        answers.iter().map(|answer| self.note_one(answer)).collect()
    }

    /// Whoever answered in an earlier round and is not in this one (a search finds other machines
    /// each time): down, as far as anybody can tell. By name, since they have no place.
    pub(super) fn absent(&self, answers: &[Answer], now: SystemTime) -> Vec<Answer> {
        let here: HashSet<&str> = answers.iter().map(|answer| answer.host.as_str()).collect();
        let gone = self.0.keys().filter(|host| !here.contains(host.as_str()));
        let mut gone: Vec<Answer> = gone.map(|host| silent(host.clone(), now)).collect();
        gone.sort_by(|a, b| a.host.cmp(&b.host));
        gone
    }

    fn note_one(&mut self, answer: &Answer) -> Change {
        let (state, uptime) = match &answer.outcome {
            Outcome::Up { report, .. } => (State::Up, Some(report.uptime)),
            Outcome::Error { .. } => (State::Error, None),
            Outcome::Down { .. } => (State::Down, None),
        };
        let Some(past) = self.0.get_mut(&answer.host) else {
            let since = None;
            self.0.insert(
                answer.host.clone(),
                Past {
                    state,
                    since,
                    uptime,
                },
            );
            return Change::None;
        };
        let rebooted = match (past.uptime, uptime) {
            (Some(before), Some(now)) => now + RESOLUTION < before,
            _ => false,
        };
        let was = std::mem::replace(&mut past.state, state);
        past.uptime = uptime.or(past.uptime);
        if was != state {
            past.since = Some(answer.at);
        }
        match state {
            State::Up if was != State::Up => Change::BackUp { rebooted },
            State::Up if rebooted => Change::Rebooted,
            State::Up => Change::None,
            State::Error | State::Down => past.since.map_or(Change::None, Change::Since),
        }
    }
}

fn silent(host: String, at: SystemTime) -> Answer {
    let reason = "no answer".to_owned();
    Answer {
        host,
        address: None,
        outcome: Outcome::Down { reason },
        rtt: None,
        at,
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
            history.note(&[Answer {
                at,
                ..answer.clone()
            }])[0]
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
    fn hosts_do_not_mix_whatever_their_order() {
        let mut history = History::default();
        let b = up("b", 60, None, None);
        assert_eq!(
            history.note(&[u(500), b.clone()]),
            [Change::None, Change::None]
        );
        assert_eq!(history.note(&[b, u(0)]), [Change::None, Change::Rebooted]);
    }

    #[test]
    fn a_machine_that_is_found_no_more_is_down_until_it_is_found_again() {
        let mut history = History::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        let b = up("b", 60, None, None);
        history.note(&[u(5), b.clone()]);
        assert_eq!(history.absent(&[u(5), b.clone()], now), []);
        let gone = history.absent(&[b], now);
        assert_eq!(gone, [silent("a".to_owned(), now)]);
        assert_eq!(history.note(&gone), [since(7)]);
        assert_eq!(history.absent(&[], now).len(), 2);
        assert_eq!(history.note(&[u(5)]), [Change::BackUp { rebooted: false }]);
    }
}
