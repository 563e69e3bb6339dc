//! The order of the rows: answers in, the same answers in another order out. Pure.
//!
//! As in BSD's ruptime(1) the most comes first (the highest load, the longest uptime, the most
//! users), and hosts that are not up come last, whichever way round the others are.

use std::cmp::Ordering;

use crate::client::answer::Answer;
use crate::client::report::Report;

/// What the rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The name, from a to z: where no order was given, as with `--discover`.
    Name,
    /// The load average over one minute, the highest first.
    Load,
    /// The longest uptime first.
    Uptime,
    /// The most users first.
    Users,
}

/// Of a host, what the order depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) host: &'a str,
    /// None: not up.
    pub(crate) report: Option<&'a Report>,
}

impl<'a> From<&'a Answer> for Facts<'a> {
    fn from(answer: &'a Answer) -> Self {
        Facts {
            host: &answer.host,
            report: answer.outcome.report(),
        }
    }
}

/// Sorts by `key`, or leaves the order as it is without one; `reverse` turns either round.
/// Equal hosts keep the order given.
pub fn sort(answers: &mut [Answer], key: Option<Key>, reverse: bool) {
    match key {
        Some(key) => answers.sort_by(|a, b| compare(a.into(), b.into(), key, reverse)),
        None if reverse => answers.reverse(),
        None => {}
    }
}

/// Which of two hosts stands above.
pub(crate) fn compare(a: Facts<'_>, b: Facts<'_>, key: Key, reverse: bool) -> Ordering {
    let order = match key {
        Key::Name => a.host.cmp(b.host),
        Key::Load => most_first(load(a.report), load(b.report)),
        Key::Uptime => b.report.map(|r| r.uptime).cmp(&a.report.map(|r| r.uptime)),
        Key::Users => users(b.report).cmp(&users(a.report)),
    };
    let order = if reverse { order.reverse() } else { order };
    // Hosts that are not up come last, in the order given unless they are sorted by name.
    match (a.report.is_some(), b.report.is_some()) {
        (false, false) if key != Key::Name => Ordering::Equal,
        (up_a, up_b) => up_b.cmp(&up_a).then(order),
    }
}

fn users(report: Option<&Report>) -> Option<u32> {
    report.and_then(|report| report.users)
}

fn load(report: Option<&Report>) -> Option<f64> {
    report.and_then(|report| report.load).map(|[one, ..]| one)
}

/// A host that does not say its load stands below one that says 0.
fn most_first(a: Option<f64>, b: Option<f64>) -> Ordering {
    b.unwrap_or(f64::NEG_INFINITY)
        .total_cmp(&a.unwrap_or(f64::NEG_INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{down, error, up};

    fn sorted(key: Option<Key>, reverse: bool) -> String {
        let mut answers = vec![
            down("d", "connection refused"),
            up("b", 300, Some(1), Some([0.5, 0.0, 0.0])),
            up("c", 100, Some(7), None),
            error("e", "empty reply"),
            up("a", 200, None, Some([2.0, 0.0, 0.0])),
            up("f", 200, Some(1), Some([0.5, 9.0, 9.0])),
        ];
        sort(&mut answers, key, reverse);
        answers.iter().map(|a| a.host.as_str()).collect()
    }

    #[test]
    fn the_order_given_stays_without_a_key() {
        assert_eq!(sorted(None, false), "dbceaf");
        assert_eq!(sorted(None, true), "faecbd");
    }

    #[test]
    fn the_most_comes_first_equals_keep_their_order_and_down_is_last() {
        assert_eq!(sorted(Some(Key::Load), false), "abfcde");
        assert_eq!(sorted(Some(Key::Uptime), false), "bafcde");
        assert_eq!(sorted(Some(Key::Users), false), "cbfade");
        assert_eq!(sorted(Some(Key::Name), false), "abcfde");
    }

    #[test]
    fn reversed_the_least_comes_first_and_down_is_still_last() {
        assert_eq!(sorted(Some(Key::Load), true), "cbfade");
        assert_eq!(sorted(Some(Key::Uptime), true), "cafbde");
        assert_eq!(sorted(Some(Key::Users), true), "abfcde");
        assert_eq!(sorted(Some(Key::Name), true), "fcbaed");
    }
}
