//! How far a call has come, on standard error: only on a terminal, only when it takes longer than a
//! second, and gone when it is over.

use std::cell::Cell;
use std::time::Duration;

use console::Term;
use tokio::time::Instant;

use crate::client::output::Format;

/// Nobody wants to be told about what is over before it is read.
const DELAY: Duration = Duration::from_secs(1);
/// The clock in the line goes on when no host answers.
const REDRAW: Duration = Duration::from_millis(200);
/// Columns between the brackets.
const BAR: u64 = 30;

/// Counts answers.
#[derive(Debug)]
pub struct Progress {
    answered: Cell<u64>,
    /// None when nobody knows how many will answer.
    hosts: Option<u64>,
    shown: bool,
}

impl Progress {
    /// For so many hosts; `shown`: see [`is_wanted`].
    pub fn new(hosts: Option<usize>, shown: bool) -> Self {
        // A number of hosts always fits.
        let hosts = hosts.map(|n| n as u64);
        Self {
            answered: Cell::new(0),
            hosts,
            shown,
        }
    }

    /// One host more has answered, or never will.
    pub fn answered(&self) {
        self.answered.set(self.answered.get() + 1);
    }

    /// Waits for `work`, and shows how far it is when it takes long.
    pub async fn during<F: Future>(&self, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        if !self.shown {
            return work.await;
        }
        let begun = Instant::now();
        if let Ok(done) = tokio::time::timeout(DELAY, &mut work).await {
            return done;
        }
        let line = Line(Term::buffered_stderr());
        loop {
            line.show(&text(self.answered.get(), self.hosts, begun.elapsed()));
            if let Ok(done) = tokio::time::timeout(REDRAW, &mut work).await {
                return done;
            }
        }
    }
}

/// `17 of 40 hosts [===========>                  ] 3 s`
fn text(answered: u64, hosts: Option<u64>, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let Some(hosts) = hosts else {
        return format!("{answered} hosts {seconds} s");
    };
    let full = (answered * BAR / hosts.max(1)).min(BAR);
    let mut bar = "=".repeat(usize::try_from(full).unwrap_or_default());
    if full < BAR {
        bar.push('>');
    }
    format!(
        "{answered} of {hosts} hosts [{bar:<0$}] {seconds} s",
        usize::try_from(BAR).unwrap_or_default()
    )
}

/// The line goes away with its owner, also when the work is given up. A terminal that cannot be
/// written to is no reason to stop the work.
struct Line(Term);

impl Line {
    fn show(&self, text: &str) {
        let _ = self
            .0
            .clear_line()
            .and_then(|()| self.0.write_str(text))
            .and_then(|()| self.0.flush());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.show("");
    }
}

/// Whether a progress line may be shown: standard error is a terminal, and nothing else is written
/// across the line meanwhile. JSON lines would be: they leave at once, and the end of a pipe that
/// they go through is mostly the same terminal.
pub fn is_wanted(format: Format, stderr_is_terminal: bool) -> bool {
    stderr_is_terminal && format != Format::JsonLines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_a_terminal_of_its_own() {
        assert!(is_wanted(Format::Table, true));
        assert!(is_wanted(Format::Text, true));
        assert!(!is_wanted(Format::Table, false));
        assert!(!is_wanted(Format::JsonLines, true));
    }

    #[test]
    fn the_line_says_how_many_of_how_many_and_how_long() {
        let three = Duration::from_millis(3999);
        assert_eq!(
            text(0, Some(40), three),
            format!("0 of 40 hosts [>{}] 3 s", " ".repeat(29))
        );
        assert_eq!(
            text(20, Some(40), three),
            format!("20 of 40 hosts [{}>{}] 3 s", "=".repeat(15), " ".repeat(14))
        );
        assert_eq!(
            text(40, Some(40), three),
            format!("40 of 40 hosts [{}] 3 s", "=".repeat(30))
        );
        assert_eq!(text(5, None, three), "5 hosts 3 s");
        assert_eq!(
            text(0, Some(0), three),
            format!("0 of 0 hosts [>{}] 3 s", " ".repeat(29))
        );
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn work_that_is_not_shown_is_done_and_counted() {
        let progress = Progress::new(Some(2), false);
        let work = async {
            progress.answered();
            tokio::time::sleep(Duration::from_secs(3)).await;
            progress.answered();
            "done"
        };
        assert_eq!(progress.during(work).await, "done");
        assert_eq!(progress.answered.get(), 2);
    }
}
