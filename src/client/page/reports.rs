//! What the lines of a table say, in 64 bytes a host.
//!
//! Comes in: answers with their slots, in any order. Goes out: the lines, in the order given or
//! asked for.

use std::time::Duration;

use crate::client::answer::{Answer, Outcome, Status};
use crate::client::hosts::targets::Targets;
use crate::client::memory::Past;
use crate::client::output::sort::{Facts, compare};
use crate::client::output::table::{Line, State};
use crate::client::output::{Settings, mark};
use crate::client::report::Report;
use crate::client::words::WordSet;

/// The lines of a table that is not written yet.
pub(super) struct Reports {
    kept: Vec<Kept>,
    /// Why hosts are not up. Of a million that do not answer most have one of a few reasons.
    reasons: WordSet,
}

struct Kept {
    slot: u32,
    rebooted: bool,
    state: KeptState,
}

enum KeptState {
    Up(Report),
    NotUp {
        status: Status,
        silent: Option<Duration>,
        /// Its place.
        reason: u32,
    },
}

impl Kept {
    fn facts<'a>(&'a self, targets: &'a Targets) -> Facts<'a> {
        Facts {
            host: targets.word(self.slot as usize),
            report: match &self.state {
                KeptState::Up(report) => Some(report),
                KeptState::NotUp { .. } => None,
            },
        }
    }
}

impl Reports {
    /// For so many hosts.
    pub(super) fn new(hosts: usize) -> Reports {
        let mut reasons = WordSet::default();
        // Stands in for what no room would be left for.
        reasons.add("");
        Reports {
            kept: Vec::with_capacity(hosts),
            reasons,
        }
    }

    /// Keeps what a line says of an answer.
    pub(super) fn add(&mut self, slot: usize, answer: &Answer, past: Past) {
        let state = match &answer.outcome {
            Outcome::Up { report, .. } => KeptState::Up(report.clone()),
            Outcome::Error { reason, .. } | Outcome::Down { reason } => KeptState::NotUp {
                status: answer.outcome.status(),
                silent: past.silence(answer),
                reason: self.place(reason),
            },
        };
        self.kept.push(Kept {
            slot: u32::try_from(slot).expect("a call has fewer hosts"),
            rebooted: past.rebooted,
            state,
        });
    }

    fn place(&mut self, reason: &str) -> u32 {
        let known = self.reasons.place(reason);
        known.or_else(|| self.reasons.add(reason)).unwrap_or(0)
    }

    /// Puts them in their order, in place: a table of a million hosts is not copied.
    pub(super) fn sort(&mut self, settings: &Settings, targets: &Targets) {
        let reverse = settings.reverse;
        let given = |kept: &Kept| kept.slot;
        match settings.sort {
            None => self.kept.sort_unstable_by_key(given),
            Some(key) => self.kept.sort_unstable_by(|a, b| {
                let order = compare(a.facts(targets), b.facts(targets), key, reverse);
                order.then(a.slot.cmp(&b.slot))
            }),
        }
        if settings.sort.is_none() && reverse {
            self.kept.reverse();
        }
    }

    /// The lines, in their order.
    pub(super) fn lines<'a>(
        &'a self,
        targets: &'a Targets,
    ) -> impl Iterator<Item = Line<'a>> + Clone {
        self.kept.iter().map(|kept| Line {
            host: targets.word(kept.slot as usize),
            mark: mark(kept.rebooted),
            state: match &kept.state {
                KeptState::Up(report) => State::Up(report),
                KeptState::NotUp {
                    status,
                    silent,
                    reason,
                } => State::NotUp {
                    status: *status,
                    silent: *silent,
                    reason: self.reasons.get(*reason as usize),
                },
            },
            // Those of a search are no targets, and not kept here.
            addresses: &[],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{down, error, up};
    use crate::client::output::sort::Key;
    use crate::client::output::{self, Format, Row, table};

    /// The table must be the one that whole answers make, in every order.
    #[test]
    fn a_table_of_what_is_kept_is_that_of_whole_answers() {
        let answers = [
            down("d", "connection refused"),
            up("b", 300, Some(1), Some([0.5, 0.0, 0.0])),
            up("c", 100, Some(7), None),
            error("e", "hello"),
            up("a", 200, None, Some([2.0, 0.0, 0.0])),
            down("f", "connection refused"),
            up("g", 200, Some(1), Some([0.5, 9.0, 9.0])),
        ];
        let hosts: Vec<_> = answers.iter().map(|answer| answer.host.as_str()).collect();
        let targets = Targets::of(&hosts);
        let past = |slot: usize| Past::seen(1_795_000_000, slot % 2 == 0);
        let keys = [Key::Name, Key::Load, Key::Uptime, Key::Users].map(Some);
        for (sort, reverse) in keys
            .into_iter()
            .chain([None])
            .flat_map(|key| [(key, false), (key, true)])
        {
            let settings = Settings {
                sort,
                reverse,
                ..Settings::new(Format::Table, true)
            };
            let mut kept = Reports::new(answers.len());
            for slot in [3, 0, 6, 2, 5, 1, 4] {
                kept.add(slot, &answers[slot], past(slot));
            }
            assert_eq!(kept.reasons.len(), 3);
            kept.sort(&settings, &targets);
            let (mut small, mut whole) = (Vec::new(), Vec::new());
            table::write(&mut small, &settings, kept.lines(&targets)).unwrap();
            let mut sorted: Vec<_> = answers.to_vec();
            output::sort::sort(&mut sorted, sort, reverse);
            let slot = |answer: &Answer| hosts.iter().position(|host| *host == answer.host);
            let row = |answer| Row::new(answer, past(slot(answer).unwrap()));
            let rows: Vec<_> = sorted.iter().map(row).collect();
            output::write(&mut whole, &mut Vec::new(), &settings, &rows).unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            assert_eq!(text(small), text(whole), "{sort:?} {reverse}");
        }
    }

    #[test]
    fn a_host_takes_64_bytes() {
        assert!(size_of::<Kept>() <= 64);
    }
}
