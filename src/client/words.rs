//! Many words, each once, in the order in which they came. Pure.
//!
//! A call may name a million hosts. Here a word costs its own bytes and eight more: all are in one
//! text, and what finds them again knows only their places.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// Words in one text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    text: String,
    /// Where each word ends, and the next begins.
    ends: Vec<u32>,
}

impl Words {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The word at a place.
    pub(crate) fn get(&self, place: usize) -> &str {
        let begin = match place.checked_sub(1) {
            Some(before) => self.ends[before],
            None => 0,
        };
        &self.text[begin as usize..self.ends[place] as usize]
    }

    /// Adds a word; None where four gigabytes of text would not hold it.
    fn push(&mut self, word: &str) -> Option<u32> {
        let place = u32::try_from(self.len()).ok()?;
        let end = u32::try_from(self.text.len() + word.len()).ok()?;
        self.text.push_str(word);
        self.ends.push(end);
        Some(place)
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        let end = self.ends.last().map_or(0, |end| *end as usize);
        self.text.truncate(end);
    }
}

/// Words, and where each of them is.
#[derive(Debug, Default)]
pub(crate) struct WordSet {
    words: Words,
    places: HashTable<u32>,
    hasher: RandomState,
}

impl WordSet {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// The word at a place.
    pub(crate) fn get(&self, place: usize) -> &str {
        self.words.get(place)
    }

    /// Where a word is.
    pub(crate) fn place(&self, word: &str) -> Option<u32> {
        let is_it = |place: &u32| self.words.get(*place as usize) == word;
        self.places.find(self.hasher.hash_one(word), is_it).copied()
    }

    /// Adds a word that is not there yet, and gives its place; None where there is no room.
    pub(crate) fn add(&mut self, word: &str) -> Option<u32> {
        let place = self.words.push(word)?;
        let hash_of = |place: &u32| self.hasher.hash_one(self.words.get(*place as usize));
        self.places
            .insert_unique(self.hasher.hash_one(word), place, hash_of);
        Some(place)
    }

    /// Keeps the first `len` words.
    pub(crate) fn truncate(&mut self, len: usize) {
        for place in len..self.words.len() {
            let hash = self.hasher.hash_one(self.words.get(place));
            if let Ok(entry) = self.places.find_entry(hash, |each| *each as usize == place) {
                entry.remove();
            }
        }
        self.words.truncate(len);
    }

    /// The words alone: the places are needed no more.
    pub(crate) fn into_words(self) -> Words {
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_word_is_there_once_and_found_again(
            first in prop::collection::vec("[a-c]{0,3}", 0..40),
            second in prop::collection::vec("[a-c]{0,3}", 0..40),
        ) {
            let (mut set, mut expected) = (WordSet::default(), Vec::new());
            let mut before = 0;
            for (number, word) in first.iter().chain(&second).enumerate() {
                if number == first.len() {
                    before = expected.len();
                }
                if set.place(word).is_none() {
                    prop_assert_eq!(set.add(word), Some(expected.len() as u32));
                    expected.push(word.clone());
                }
            }
            for (place, word) in expected.iter().enumerate() {
                prop_assert_eq!(set.get(place), word);
                prop_assert_eq!(set.place(word), Some(place as u32));
            }
            prop_assert_eq!(set.place("d"), None);
            set.truncate(before);
            for (place, word) in expected.iter().enumerate() {
                let there = (place < before).then_some(place as u32);
                prop_assert_eq!(set.place(word), there);
            }
            prop_assert_eq!((set.len(), set.into_words().len()), (before, before));
        }
    }
}
