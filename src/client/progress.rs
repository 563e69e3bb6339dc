//! How far a call has come, on standard error: only on a terminal, only when it takes longer than a
//! second, and gone when it is over.

use std::cell::Cell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::render::Format;

/// Nobody wants to be told about what is over before it is read.
const PATIENCE: Duration = Duration::from_secs(1);
/// The clock in the line goes on when no host answers.
const REDRAW: Duration = Duration::from_millis(200);

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
        if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
            return done;
        }
        let line = Line(self.bar());
        loop {
            line.0.set_position(self.answered.get());
            line.0.tick();
            if let Ok(done) = tokio::time::timeout(REDRAW, &mut work).await {
                return done;
            }
        }
    }

    fn bar(&self) -> ProgressBar {
        let template = match self.hosts {
            Some(_) => "{pos} of {len} hosts [{bar:30}] {elapsed}",
            None => "{pos} hosts {elapsed}",
        };
        // The templates are ours and well formed; the default style is no reason to stop.
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(self.hosts, ProgressDrawTarget::stderr());
        bar.set_style(style.progress_chars("=> "));
        bar.with_elapsed(PATIENCE)
    }
}

/// The line goes away with its owner, also when the work is given up.
struct Line(ProgressBar);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Whether a progress line may be shown: standard error is a terminal, and nothing else is written
/// across the line meanwhile (JSON lines, which leave at once, on the same terminal).
pub fn is_wanted(format: Format, stdout_is_terminal: bool, stderr_is_terminal: bool) -> bool {
    stderr_is_terminal && !(format == Format::JsonLines && stdout_is_terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_a_terminal_of_its_own() {
        assert!(is_wanted(Format::Table, true, true));
        assert!(is_wanted(Format::Table, false, true));
        assert!(is_wanted(Format::JsonLines, false, true));
        assert!(!is_wanted(Format::JsonLines, true, true));
        assert!(!is_wanted(Format::Table, true, false));
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn the_work_is_done_whether_it_is_shown_or_not() {
        for shown in [false, true] {
            let progress = Progress::new(Some(2), shown);
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
}
