//! What has happened to a host, with its time, until the user has seen it. Pure.

use std::time::SystemTime;

use super::changes::Change;
use crate::client::answer::Status;
use crate::client::output::clock::Local;

/// The last event of each kind, so that a host that comes and goes for days takes no more room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks {
    since: Option<SystemTime>,
    back: Option<SystemTime>,
    rebooted: Option<SystemTime>,
}

impl Marks {
    /// Notes what an answer, given `at` that time, has shown.
    pub(super) fn note(&mut self, change: Change, at: SystemTime) {
        match change {
            Change::None => {}
            Change::Rebooted => self.rebooted = Some(at),
            Change::BackUp { rebooted } => {
                self.since = None;
                self.back = Some(at);
                if rebooted {
                    self.rebooted = Some(at);
                }
            }
            // Told once: it stays away when the user has cleared it.
            Change::Since(since) if since == at => {
                self.since = Some(since);
                self.back = None;
            }
            Change::Since(_) => {}
        }
    }

    /// Whether a reboot is marked.
    pub(super) fn has_rebooted(&self) -> bool {
        self.rebooted.is_some()
    }

    /// The words behind a host: `since 15:12:00` for one that is not up, `rebooted 15:12:00`,
    /// `back up, rebooted 15:12:00`.
    pub(super) fn words(&self, status: Status, clock: &Local, now: SystemTime) -> String {
        let short = |at| clock.short(at, now);
        let rebooted = self.rebooted.map(|at| format!("rebooted {}", short(at)));
        let first = match status {
            Status::Up => self.back.map(|at| match self.rebooted {
                Some(rebooted) if rebooted == at => "back up".to_owned(),
                _ => format!("back up {}", short(at)),
            }),
            Status::Down | Status::Error => self.since.map(|at| format!("since {}", short(at))),
        };
        let words: Vec<_> = first.into_iter().chain(rebooted).collect();
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn words(marks: &Marks, status: Status) -> String {
        marks.words(status, &Local::utc(), at(86_399))
    }

    #[test]
    fn marks_stay_with_their_time_and_the_last_of_a_kind_counts() {
        let mut marks = Marks::default();
        assert_eq!(words(&marks, Status::Up), "");
        marks.note(Change::Rebooted, at(60));
        marks.note(Change::None, at(70));
        assert_eq!(words(&marks, Status::Up), "rebooted 00:01:00");
        marks.note(Change::Since(at(120)), at(120));
        marks.note(Change::Since(at(120)), at(130));
        let both = "since 00:02:00, rebooted 00:01:00";
        assert_eq!(words(&marks, Status::Down), both);
        marks.note(Change::BackUp { rebooted: false }, at(180));
        let both = "back up 00:03:00, rebooted 00:01:00";
        assert_eq!(words(&marks, Status::Up), both);
        marks.note(Change::BackUp { rebooted: true }, at(240));
        assert_eq!(words(&marks, Status::Up), "back up, rebooted 00:04:00");
    }

    #[test]
    fn what_was_cleared_stays_away_until_it_happens_again() {
        let mut marks = Marks::default();
        marks.note(Change::Since(at(60)), at(60));
        marks = Marks::default();
        marks.note(Change::Since(at(60)), at(70));
        assert_eq!(words(&marks, Status::Down), "");
        marks.note(Change::BackUp { rebooted: false }, at(80));
        assert_eq!(words(&marks, Status::Up), "back up 00:01:20");
    }

    #[test]
    fn another_day_has_its_date() {
        let mut marks = Marks::default();
        marks.note(Change::Rebooted, at(60));
        let told = marks.words(Status::Up, &Local::utc(), at(86_400));
        assert_eq!(told, "rebooted 1970-01-01 00:01:00");
    }
}
