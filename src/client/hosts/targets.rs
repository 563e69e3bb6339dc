//! The targets of a call, a million of them in the memory of their words. Pure.
//!
//! Comes in: words that were read as HOSTs once, and which of them are asked. Goes out: each target
//! when its turn comes, read from its word again: that takes less than a microsecond, and holding
//! what was read would take ten times the memory.

use super::target::Target;
use crate::client::words::Words;

/// The hosts to ask, in the order given, no word twice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Targets {
    words: Words,
    /// The places of those that are asked; None: all.
    picked: Option<Vec<u32>>,
}

impl Targets {
    /// All of these words, each of which [`Target::parse`] reads.
    pub(super) fn all(words: Words) -> Targets {
        Targets {
            words,
            picked: None,
        }
    }

    /// Those at these places.
    pub(super) fn picked(words: Words, places: Vec<u32>) -> Targets {
        Targets {
            words,
            picked: Some(places),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match &self.picked {
            Some(places) => places.len(),
            None => self.words.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the user wrote for the host with this slot.
    pub(crate) fn word(&self, slot: usize) -> &str {
        match &self.picked {
            Some(places) => self.words.get(places[slot] as usize),
            None => self.words.get(slot),
        }
    }

    /// The host with this slot.
    pub(crate) fn get(&self, slot: usize) -> Target {
        Target::parse(self.word(slot)).expect("a word that was read before")
    }

    /// In the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Target> {
        (0..self.len()).map(|slot| self.get(slot))
    }

    /// For the tests of whatever takes them.
    #[cfg(test)]
    pub(crate) fn of(words: &[&str]) -> Targets {
        let mut set = crate::client::words::WordSet::default();
        for word in words {
            set.add(word).expect("room");
        }
        Targets::all(set.into_words())
    }
}
