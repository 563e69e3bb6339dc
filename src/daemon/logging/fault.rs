//! Something that fails again and again: failures come in; when to try again, and how loud to
//! report it, comes out.
//!
//! The daemon never sleeps over a failure and never spins on it: the pause is a deadline in the
//! loop. Nor does it fill the log with it: the first failure of a run is reported, and their
//! number when the run ends.

use std::time::{Duration, Instant};

use super::Level;

/// The pause after the first failure of a run; doubled with each further one, up to the longest.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);
/// Failures in a row that may be the clients' fault.
const TOLERATED: u32 = 63;
/// A fault that comes and goes is reported at most once in this time.
const QUIET: Duration = Duration::from_secs(10);

/// A run of failures of one kind, the success that ends it, and what is left of the last run.
#[derive(Debug, Default)]
pub(crate) struct Fault {
    failures: u64,
    tolerated: u32,
    is_reported: bool,
    last_reported: Option<Instant>,
    retry_at: Option<Instant>,
    last_pause: Duration,
}

/// Whether a failure is to be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The first of its run, after a time without any.
    New,
    /// Its like has been reported.
    Known,
}

impl Failure {
    /// The level to report it at: `loud` where it is new, else `debug`.
    pub(super) fn level(self, loud: Level) -> Level {
        match self {
            Failure::New => loud,
            Failure::Known => Level::Debug,
        }
    }
}

impl Fault {
    /// It works: ends the run, and gives the number of failures in it where it was reported.
    pub(crate) fn ok(&mut self) -> Option<u64> {
        let run = std::mem::replace(
            self,
            Fault {
                last_reported: self.last_reported,
                ..Fault::default()
            },
        );
        run.is_reported.then_some(run.failures)
    }

    /// Counts a failure, and begins a pause, for those who make one.
    pub(crate) fn fail(&mut self, now: Instant) -> Failure {
        self.failures += 1;
        self.last_pause = (self.last_pause * 2).clamp(SHORTEST, LONGEST);
        self.retry_at = Some(now + self.last_pause);
        let is_quiet = self
            .last_reported
            .is_some_and(|at| now.saturating_duration_since(at) < QUIET);
        if self.is_reported || is_quiet {
            return Failure::Known;
        }
        self.is_reported = true;
        self.last_reported = Some(now);
        Failure::New
    }

    /// True for a failure that concerns one client only; false after too many of them in a row,
    /// when the cause must be on this side.
    pub(crate) fn tolerate(&mut self) -> bool {
        self.tolerated += 1;
        self.tolerated <= TOLERATED
    }

    /// Ends a pause whose time is over; true where it did.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        self.retry_at.take_if(|at| *at <= now).is_some()
    }

    /// True until [`Self::tick`] has ended the pause.
    pub(crate) fn is_paused(&self) -> bool {
        self.retry_at.is_some()
    }

    /// When the pause is over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_shrink_with_success() {
        let mut fault = Fault::default();
        let mut now = Instant::now();
        let mut total = Duration::ZERO;
        for _ in 0..10 {
            fault.fail(now);
            let at = fault.deadline().expect("a pause");
            assert!(at - now <= LONGEST);
            assert!(!fault.tick(now) && fault.is_paused());
            total += at - now;
            now = at;
            assert!(fault.tick(now) && !fault.is_paused());
        }
        assert!(total > 3 * LONGEST);
        fault.ok();
        fault.fail(now);
        assert_eq!(fault.deadline(), Some(now + SHORTEST));
    }

    #[test]
    fn clients_failures_are_tolerated_up_to_a_number() {
        let mut fault = Fault::default();
        let tolerated = (0..1000).filter(|_| fault.tolerate()).count();
        assert_eq!(tolerated, TOLERATED as usize);
        fault.ok();
        assert!(fault.tolerate());
    }

    #[test]
    fn a_run_is_reported_once_and_counted() {
        let now = Instant::now();
        let mut fault = Fault::default();
        assert_eq!(fault.ok(), None);
        assert_eq!(fault.fail(now), Failure::New);
        assert_eq!(fault.fail(now + 9 * QUIET), Failure::Known, "a run is one");
        assert_eq!(fault.ok(), Some(2));
    }

    #[test]
    fn a_fault_that_comes_and_goes_is_reported_once_in_a_while() {
        let now = Instant::now();
        let mut fault = Fault::default();
        let mut reported = 0;
        for step in 0..1000 {
            let failure = fault.fail(now + Duration::from_millis(30 * step));
            reported += u32::from(failure == Failure::New);
            fault.ok();
        }
        assert_eq!(reported, 3, "in 30 seconds");
    }
}
