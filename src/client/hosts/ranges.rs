//! `web[01-20,30]` → the words that it stands for. Pure.
//!
//! As in pdsh, ClusterShell and Slurm: brackets hold numbers, ranges and steps (`[0-14/2]`), leading
//! zeros are kept, several brackets make every combination in the order written, and commas outside
//! of brackets part a list. Words are made one by one, so that a million of them cost no memory, and
//! counted before the first is made, so that more than a call may ask are refused at once.
//!
//! What is expanded is text: whether it names a host is `target`'s to say.

use std::fmt::Write as _;

use super::bad;
use crate::escape;

/// The most hosts of one call, and so of one word. Fewer while fuzzing, which counts inputs.
pub(super) const HOSTS_MAX: usize = if cfg!(fuzzing) { 1 << 12 } else { 1 << 20 };

/// The most words of one call: a host may be named more than once, but not without end.
const WORDS_MAX: usize = 4 * HOSTS_MAX;

/// The most groups that one call names.
const GROUPS_MAX: usize = HOSTS_MAX / 16;

/// What is said of more.
pub(super) const TOO_MANY: &str = "more than 1,048,576 hosts";

/// The longest number, in digits: it fits into 64 bits.
const DIGITS_MAX: usize = 18;

/// The items of a list: what stands between commas outside of brackets. A UNIX socket's path may
/// have commas itself, so it reaches to the end.
pub(super) fn items(word: &str) -> impl Iterator<Item = &str> {
    let mut left = Some(word);
    std::iter::from_fn(move || {
        let text = left?;
        let end = match text.starts_with("unix:") {
            true => None,
            false => comma(text),
        };
        left = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

/// Where the first comma outside of brackets is.
fn comma(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    text.bytes().position(|byte| {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        byte == b',' && depth == 0
    })
}

/// An item of a list with its ranges understood.
#[derive(Debug)]
pub(super) struct Pattern<'a> {
    /// Texts and the brackets behind them; the last has none.
    pieces: Vec<(&'a str, Vec<Range>)>,
    end: &'a str,
    /// How many words it stands for, [`HOSTS_MAX`] at most.
    count: usize,
}

impl<'a> Pattern<'a> {
    /// Reads an item of a list.
    ///
    /// # Errors
    /// What is wrong with a range: one line without the word itself, safe to print.
    pub(super) fn parse(item: &'a str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut count = 1_usize;
        let mut end = item;
        // What no range can begin in: a path, an IPv6 address.
        let mut from = literal(item);
        while let Some(open) = end[from..].find(['[', ']']).map(|at| from + at) {
            if end.as_bytes()[open] == b']' {
                return bad("a ] without its [");
            }
            let Some(length) = end[open..].find(']') else {
                return bad("a [ without its ]");
            };
            let ranges = ranges(&end[open + 1..open + length])?;
            let own = ranges
                .iter()
                .try_fold(0_usize, |sum, range| sum.checked_add(range.count()));
            let all = own.and_then(|own| own.checked_mul(count));
            count = match all.filter(|all| *all <= HOSTS_MAX) {
                Some(count) => count,
                None => return bad(TOO_MANY),
            };
            pieces.push((&end[..open], ranges));
            end = &end[open + length + 1..];
            from = 0;
        }
        Ok(Self { pieces, end, count })
    }

    /// The words, the last bracket's numbers changing first.
    pub(super) fn words(&self) -> Words<'_> {
        let places = self.pieces.iter().map(|(_, ranges)| Place::first(ranges));
        Words {
            pattern: self,
            places: places.collect(),
            left: self.count,
        }
    }
}

/// Counts the words that lists stand for.
#[derive(Debug, Default)]
pub(super) struct Expansion {
    words: usize,
    /// `@NAME` among them.
    groups: usize,
}

impl Expansion {
    /// Calls `take` with each word that a list stands for.
    ///
    /// # Errors
    /// What is wrong with it, or what `take` says of a word.
    pub(super) fn expand(
        &mut self,
        list: &str,
        mut take: impl FnMut(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        for item in items(list) {
            let pattern = Pattern::parse(item)?;
            let words = pattern.words();
            if words.len() > WORDS_MAX - self.words {
                return Err(TOO_MANY.to_owned());
            }
            self.words += words.len();
            if item.starts_with('@') {
                self.groups += words.len();
                if self.groups > GROUPS_MAX {
                    return Err(format!("more than {GROUPS_MAX} groups"));
                }
            }
            for word in words {
                take(&word)?;
            }
        }
        Ok(())
    }
}

/// What must hold of any list: built for tests and fuzzing only.
#[cfg(any(test, fuzzing))]
pub(crate) fn check(list: &str) {
    assert_eq!(items(list).collect::<Vec<_>>().join(","), list);
    for item in items(list) {
        let Ok(pattern) = Pattern::parse(item) else {
            continue;
        };
        let words = pattern.words();
        assert!((1..=HOSTS_MAX).contains(&words.len()), "{item:?}");
        let (told, mut counted, mut last) = (words.len().min(5000), 0, None);
        for word in words.take(told) {
            // Numbers are all that differs, and a number is no range.
            let again = Pattern::parse(&word).map(|again| again.words().next());
            assert_eq!(again, Ok(Some(word.clone())), "{item:?}");
            counted += 1;
            last = Some(word);
        }
        assert!(counted == told && last.is_some(), "{item:?}");
    }
}

/// How many bytes at the beginning are no place for ranges: a UNIX socket's path, an IPv6 address.
fn literal(item: &str) -> usize {
    if item.starts_with("unix:") {
        return item.len();
    }
    let host = match item.strip_prefix("ssh:") {
        Some(rest) => rest.split_once('@').map_or(rest, |(_, host)| host),
        None => item.strip_prefix("udp:").unwrap_or(item),
    };
    let address = match host.strip_prefix('[').map(|inside| inside.split_once(']')) {
        Some(Some((address, _))) => address,
        // It does not close.
        Some(None) => host,
        None => return 0,
    };
    match address.contains(':') {
        true => item.len() - host.len() + (address.len() + 2).min(host.len()),
        false => 0,
    }
}

/// `FIRST-LAST/STEP`, or a number alone.
#[derive(Debug)]
struct Range {
    first: u64,
    last: u64,
    step: u64,
    /// In digits, with leading zeros.
    width: usize,
}

impl Range {
    fn parse(text: &str) -> Result<Self, String> {
        let shown = || escape::excerpt(text.as_bytes(), 40);
        if text.is_empty() {
            return bad("an empty range: write [1-3] or [1,3]");
        }
        let (ends, step) = text.split_once('/').unwrap_or((text, "1"));
        let (first, last) = ends.split_once('-').unwrap_or((ends, ends));
        let all = [number(first), number(last), number(step)];
        let [Some(low), Some(high), Some(step)] = all else {
            return bad(format!(
                "{}: a range is of numbers, as [1-3] or [0-8/2]",
                shown()
            ));
        };
        if step == 0 {
            return bad(format!("{}: a step of 0", shown()));
        }
        if low > high {
            return bad(format!("{}: a falling range", shown()));
        }
        // `1-010` could be 1, 2, 3 or 001, 002, 003.
        if last.starts_with('0') && last.len() > 1 && last.len() != first.len() {
            return bad(format!("{}: ends of different widths", shown()));
        }
        Ok(Self {
            first: low,
            last: high,
            step,
            width: first.len(),
        })
    }

    fn count(&self) -> usize {
        usize::try_from((self.last - self.first) / self.step).map_or(usize::MAX, |steps| steps + 1)
    }
}

fn ranges(text: &str) -> Result<Vec<Range>, String> {
    text.split(',').map(Range::parse).collect()
}

fn number(digits: &str) -> Option<u64> {
    let plain = digits.len() <= DIGITS_MAX && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// The words of a pattern.
#[derive(Debug)]
pub(super) struct Words<'p> {
    pattern: &'p Pattern<'p>,
    /// For each bracket, where it stands.
    places: Vec<Place>,
    left: usize,
}

/// Which number of a bracket's is next.
#[derive(Debug)]
struct Place {
    range: usize,
    value: u64,
}

impl Place {
    fn first(ranges: &[Range]) -> Self {
        Self {
            range: 0,
            value: ranges[0].first,
        }
    }

    /// To the bracket's next number; false behind the last, and it is at the first again.
    fn advance(&mut self, ranges: &[Range]) -> bool {
        let range = &ranges[self.range];
        if range.last - self.value >= range.step {
            self.value += range.step;
            return true;
        }
        let next = ranges.get(self.range + 1);
        *self = match next {
            Some(next) => Self {
                range: self.range + 1,
                value: next.first,
            },
            None => Self::first(ranges),
        };
        next.is_some()
    }
}

impl ExactSizeIterator for Words<'_> {}

impl Iterator for Words<'_> {
    type Item = String;

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }

    fn next(&mut self) -> Option<String> {
        self.left = self.left.checked_sub(1)?;
        let mut word = String::new();
        let pieces = &self.pattern.pieces;
        for ((text, ranges), place) in pieces.iter().zip(&self.places) {
            let width = ranges[place.range].width;
            // Writing to a String cannot fail.
            let _ = write!(word, "{text}{:0width$}", place.value);
        }
        word.push_str(self.pattern.end);
        for ((_, ranges), place) in pieces.iter().zip(&mut self.places).rev() {
            if place.advance(ranges) {
                break;
            }
        }
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_groups_are_bounded_over_all_lists() {
        let mut expansion = Expansion::default();
        let mut expand = |list: &str| expansion.expand(list, |_| Ok(()));
        let half = format!("n[1-{}]", HOSTS_MAX / 2);
        (0..8).for_each(|_| expand(&half).unwrap());
        assert_eq!(expand("n").unwrap_err(), TOO_MANY);
        let mut expansion = Expansion::default();
        let many = format!("@g[1-{}]", GROUPS_MAX + 1);
        let told = expansion.expand(&many, |_| Ok(())).unwrap_err();
        assert_eq!(told, "more than 65536 groups");
    }

    fn expanded(word: &str) -> Result<Vec<String>, String> {
        let mut words = Vec::new();
        for item in items(word) {
            let pattern = Pattern::parse(item)?;
            words.extend(pattern.words());
        }
        Ok(words)
    }

    #[test]
    fn every_form_is_expanded_in_the_order_written() {
        #[rustfmt::skip]
        let table: &[(&str, &[&str])] = &[
            ("web1", &["web1"]),
            ("web[1-3]", &["web1", "web2", "web3"]),
            ("web[3,1]", &["web3", "web1"]),
            ("web[08-11]", &["web08", "web09", "web10", "web11"]),
            ("web[099-101,7]", &["web099", "web100", "web101", "web7"]),
            ("web[007]", &["web007"]),
            ("n[0-6/3]", &["n0", "n3", "n6"]),
            ("n[0-7/3]", &["n0", "n3", "n6"]),
            ("n[1/5]", &["n1"]),
            ("r[1-2]n[0,4].example:10514", &["r1n0.example:10514", "r1n4.example:10514", "r2n0.example:10514", "r2n4.example:10514"]),
            ("[1-2]", &["1", "2"]),
            ("[1-2].example", &["1.example", "2.example"]),
            ("192.0.2.[7-8]", &["192.0.2.7", "192.0.2.8"]),
            ("web:1051[3-4]", &["web:10513", "web:10514"]),
            ("udp:web[1-2]", &["udp:web1", "udp:web2"]),
            ("ssh:root@web[1-2]:22", &["ssh:root@web1:22", "ssh:root@web2:22"]),
            ("@rack[1-2]", &["@rack1", "@rack2"]),
            ("web[1-2],db1,udp:x[1,2]", &["web1", "web2", "db1", "udp:x1", "udp:x2"]),
            // Addresses and paths hold no ranges.
            ("[::1]:10513,[2001:db8::7]", &["[::1]:10513", "[2001:db8::7]"]),
            ("udp:[::1]:1051[3-4]", &["udp:[::1]:10513", "udp:[::1]:10514"]),
            ("ssh:root@[::1]", &["ssh:root@[::1]"]),
            ("[::1", &["[::1"]),
            ("web1,unix:/run/a[1],b", &["web1", "unix:/run/a[1],b"]),
            // What is no HOST is target's to say.
            ("", &[""]),
            ("a,,b,", &["a", "", "b", ""]),
        ];
        for (word, words) in table {
            assert_eq!(expanded(word).unwrap(), *words, "{word}");
        }
    }

    #[test]
    fn every_slip_is_told_in_one_line() {
        let table = [
            ("n[]", "an empty range"),
            ("n[1,]", "an empty range"),
            ("n[,1]", "an empty range"),
            ("n[1-", "a [ without its ]"),
            ("n[1[2]]", "1[2: a range is of numbers"),
            ("n1]", "a ] without its ["),
            ("n[1-2]]", "a ] without its ["),
            ("n[5-1]", "5-1: a falling range"),
            ("n[a-c]", "a-c: a range is of numbers"),
            ("n[1-]", "1-: a range is of numbers"),
            ("n[-1]", "-1: a range is of numbers"),
            ("n[1-2-3]", "1-2-3: a range"),
            ("n[1 - 2]", "1 - 2: a range"),
            ("n[+1]", "+1: a range"),
            ("n[١]", "١: a range"),
            ("n[1-9/0]", "1-9/0: a step of 0"),
            ("n[1-9/]", "1-9/: a range"),
            ("n[1-9/2/3]", "1-9/2/3: a range"),
            ("n[1-010]", "1-010: ends of different widths"),
            ("n[1:3]", "1:3: a range"),
            ("n[1-9999999999]", "more than 1,048,576 hosts"),
            ("n[0-1048576]", "more than 1,048,576 hosts"),
            ("n[1-1024][1-1025]", "more than 1,048,576 hosts"),
            (
                "n[1-999999999999999999][1-999999999999999999]",
                "more than 1,048,576",
            ),
            ("n[9999999999999999999]", "a range is of numbers"),
            ("n[\u{1b}[31m]", "a range is of numbers"),
        ];
        for (word, part) in table {
            let reason = expanded(word).unwrap_err().to_string();
            assert!(reason.contains(part), "{word}: {reason}");
            assert!(!reason.contains(char::is_control), "{word}: {reason:?}");
        }
    }

    #[test]
    fn as_many_as_a_call_may_ask_are_counted_at_once() {
        for word in ["n[0-1048575]", "r[0-1023]n[0-1023]"] {
            let pattern = Pattern::parse(word).unwrap();
            assert_eq!(pattern.words().len(), HOSTS_MAX);
            assert_eq!(pattern.words().take(2).count(), 2);
        }
        let many = Pattern::parse("n[0-1048575]").unwrap();
        assert_eq!(many.words().last().as_deref(), Some("n1048575"));
    }

    /// One bracket: its text, and the numbers that it stands for.
    fn bracket() -> impl Strategy<Value = (String, Vec<String>)> {
        let range =
            (0_u64..200, 0_u64..20, 1_u64..5, 0_usize..5).prop_map(|(low, more, step, zeros)| {
                let pad = |number: u64| format!("{number:0zeros$}");
                let numbers: Vec<_> = (low..=low + more).step_by(step as usize).map(pad).collect();
                (format!("{}-{}/{step}", pad(low), pad(low + more)), numbers)
            });
        prop::collection::vec(range, 1..4).prop_map(|ranges| {
            let (texts, numbers): (Vec<_>, Vec<_>) = ranges.into_iter().unzip();
            (format!("[{}]", texts.join(",")), numbers.concat())
        })
    }

    proptest! {
        #[test]
        fn what_is_folded_and_expanded_is_the_same(
            brackets in prop::collection::vec(("[a-z.:]{1,4}", bracket()), 1..3), end in "[a-z.:]{0,4}",
        ) {
            let mut word = String::new();
            let mut words = vec![String::new()];
            for (text, (folded, numbers)) in &brackets {
                word = format!("{word}{text}{folded}");
                words = words
                    .iter()
                    .flat_map(|word| numbers.iter().map(move |number| format!("{word}{text}{number}")))
                    .collect();
            }
            let words: Vec<_> = words.iter().map(|word| format!("{word}{end}")).collect();
            word.push_str(&end);
            prop_assert_eq!(expanded(&word), Ok(words), "{}", word);
        }

        #[test]
        fn no_word_panics(word in "[\\[\\],/0-9a:@-]{0,14}|\\PC{0,20}") {
            check(&word);
        }
    }
}
