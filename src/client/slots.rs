//! The slots of a round: one for each host, in the order given.

use std::time::Duration;

use tokio::time::Instant;

use super::answer::Answer;
use super::hosts::targets::Targets;
use super::query::failure::seconds;

/// An answer, with its slot.
pub(super) type Arrival = (usize, Answer);

/// `--deadline`: the hosts that have not answered.
pub(super) struct Late {
    pub(super) end: Instant,
    time: Duration,
    answered: Vec<bool>,
}

impl Late {
    pub(super) fn new((end, time): (Instant, Duration), hosts: usize) -> Late {
        Late {
            end,
            time,
            answered: vec![false; hosts],
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.end <= Instant::now()
    }

    pub(super) fn note(&mut self, batch: &[Arrival]) {
        for (slot, _) in batch {
            // What a search finds has no slot beforehand.
            if let Some(answered) = self.answered.get_mut(*slot) {
                *answered = true;
            }
        }
    }

    /// Those that have not answered are down; made one by one, since they may be a million.
    pub(super) fn answers(&self, targets: &Targets) -> impl Iterator<Item = Arrival> {
        let time = seconds(self.time);
        let reason = format!("no answer within the deadline of {time} s");
        let slots = self.answered.iter().enumerate();
        slots
            .filter(|(_, answered)| !**answered)
            .map(move |(slot, _)| (slot, Answer::down(targets.word(slot), &reason)))
    }
}

/// The answers of one round, in the order given, whichever host answers first.
pub(super) struct Slots(Vec<Option<Answer>>);

impl Slots {
    pub(super) fn new(hosts: usize) -> Slots {
        let mut slots = Vec::new();
        slots.resize_with(hosts, || None);
        Slots(slots)
    }

    pub(super) fn put(&mut self, slot: usize, answer: Answer) {
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        self.0[slot] = Some(answer);
    }

    /// Without those that gave none.
    #[allow(clippy::filter_map_identity)] // It collects in place, where flatten() would copy.
    pub(super) fn into_answers(self) -> Vec<Answer> {
        self.0.into_iter().filter_map(|answer| answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::up;

    #[test]
    fn answers_are_in_the_order_given_whoever_answers_first() {
        let mut slots = Slots::new(3);
        slots.put(2, up("c", 60, None, None));
        slots.put(0, up("a", 60, None, None));
        // One more than was asked, as a search finds.
        slots.put(3, up("d", 60, None, None));
        let hosts: Vec<_> = slots.into_answers().into_iter().map(|a| a.host).collect();
        assert_eq!(hosts, ["a", "c", "d"]);
    }

    #[test]
    fn at_the_deadline_those_that_have_not_answered_are_down() {
        let targets = Targets::of(&["a", "b", "c"]);
        let end = Instant::now();
        let mut late = Late::new((end, Duration::from_millis(1_500)), 3);
        assert!(late.is_over());
        late.note(&[(1, up("b", 60, None, None)), (9, up("x", 60, None, None))]);
        let answers: Vec<_> = late.answers(&targets).collect();
        let slots: Vec<_> = answers.iter().map(|(slot, _)| *slot).collect();
        assert_eq!(slots, [0, 2]);
        let reason = answers[1].1.outcome.reason();
        assert_eq!(reason, Some("no answer within the deadline of 1.5 s"));
    }
}
