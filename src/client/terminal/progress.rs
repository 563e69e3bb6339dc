//! How far a call has come, on standard error: only on a terminal, only when it takes longer than a
//! second, and gone when it is over.

use std::io::{self, Write};
use std::time::Duration;

use tokio::time::Instant;

/// A call that is over before this needs no progress line.
const DELAY: Duration = Duration::from_secs(1);
/// The clock in the line advances even if no host answers.
const REDRAW: Duration = Duration::from_millis(200);
/// Columns between the brackets.
const BAR: usize = 30;

/// To the first column, and clear the line (ECMA-48, EL).
const CLEAR: &str = "\r\x1b[K";

/// Counts answers. The line goes away with it, also when the work is given up.
#[derive(Debug)]
pub(crate) struct Progress {
    answered: usize,
    /// None for a search: nobody knows how many will answer, and machines are told at its end.
    hosts: Option<usize>,
    begun: Instant,
    /// When the line is drawn next; None: never.
    next: Option<Instant>,
    drawn: bool,
}

impl Progress {
    /// For this many hosts. Draws only if it `may`: where standard error is a terminal that can be
    /// drawn on, and nothing else is written to it at the same time.
    pub(crate) fn new(hosts: Option<usize>, may: bool) -> Self {
        let begun = Instant::now();
        Self {
            answered: 0,
            hosts,
            begun,
            next: may.then(|| begun + DELAY),
            drawn: false,
        }
    }

    /// More hosts have answered, or never will.
    pub(crate) fn add(&mut self, answers: usize) {
        self.answered += answers;
    }

    /// When to [draw](Progress::draw).
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Draws the line, if it is time.
    pub(crate) fn draw(&mut self) {
        let now = Instant::now();
        if self.next.is_some_and(|next| next <= now) {
            put(&self.text(now - self.begun));
            self.drawn = true;
            self.next = Some(now + REDRAW);
        }
    }

    /// `17 of 40 hosts [===========>                  ] 3 s`
    fn text(&self, elapsed: Duration) -> String {
        let (answered, seconds) = (self.answered, elapsed.as_secs());
        let Some(hosts) = self.hosts else {
            return format!("searching {seconds} s");
        };
        let full = (answered * BAR / hosts.max(1)).min(BAR);
        let mut bar = "=".repeat(full);
        if full < BAR {
            bar.push('>');
        }
        format!("{answered} of {hosts} hosts [{bar:<BAR$}] {seconds} s")
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn {
            put("");
        }
    }
}

/// A terminal that cannot be written to is no reason to stop the work.
fn put(text: &str) {
    let _ = io::stderr().write_all(format!("{CLEAR}{text}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_many_of_how_many_and_how_long() {
        let text = |answered, hosts| {
            let mut progress = Progress::new(hosts, false);
            progress.add(answered);
            progress.text(Duration::from_millis(3999))
        };
        let bar = |full: usize| format!("{}>{}", "=".repeat(full), " ".repeat(29 - full));
        let expected = |answered, full| format!("{answered} of 40 hosts [{}] 3 s", bar(full));
        assert_eq!(text(0, Some(40)), expected(0, 0));
        assert_eq!(text(20, Some(40)), expected(20, 15));
        let whole = format!("40 of 40 hosts [{}] 3 s", "=".repeat(30));
        assert_eq!(text(40, Some(40)), whole);
        assert_eq!(text(5, None), "searching 3 s");
        assert_eq!(text(0, Some(0)), format!("0 of 0 hosts [{}] 3 s", bar(0)));
    }

    #[test]
    fn a_line_that_may_not_be_drawn_never_is() {
        assert_eq!(Progress::new(Some(2), false).next(), None);
        let progress = Progress::new(Some(2), true);
        assert_eq!(progress.next(), Some(progress.begun + DELAY));
    }
}
