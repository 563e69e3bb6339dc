//! A source of requests that fails is left alone for a while: failures come in, a deadline in
//! the loop comes out. Never a sleep, never a spin.

use std::time::{Duration, Instant};

use crate::daemon::logging::Latch;

/// After a failure that will not pass at once; doubled with each further one, up to the longest.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);
/// Failures in a row that are the clients' doing before they too mean a pause.
const PATIENCE: u32 = 64;

/// When to try again.
#[derive(Debug)]
pub(crate) struct Backoff {
    retry_at: Option<Instant>,
    pause: Duration,
    in_a_row: u32,
    /// For the record that tells of the failure once.
    pub(crate) fault: Latch,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Backoff {
            retry_at: None,
            pause: SHORTEST,
            in_a_row: 0,
            fault: Latch::default(),
        }
    }

    /// It works: forget the failures.
    pub(crate) fn succeeded(&mut self) {
        self.in_a_row = 0;
        self.pause = SHORTEST;
    }

    /// Counts a failure that concerns one client only; false where there were so many in a row
    /// that it must be something else.
    pub(crate) fn bear(&mut self) -> bool {
        self.in_a_row += 1;
        self.in_a_row < PATIENCE
    }

    /// Begins a pause.
    pub(crate) fn pause(&mut self, now: Instant) {
        self.retry_at = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST);
    }

    /// True while a pause is on.
    pub(crate) fn is_paused(&mut self, now: Instant) -> bool {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
        self.retry_at.is_some()
    }

    /// When the pause is over.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.retry_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_shrink_with_success() {
        let mut backoff = Backoff::new();
        let mut now = Instant::now();
        let mut total = Duration::ZERO;
        for _ in 0..10 {
            backoff.pause(now);
            let at = backoff.next_deadline().expect("a pause");
            assert!(at - now <= LONGEST);
            assert!(backoff.is_paused(now));
            total += at - now;
            now = at;
            assert!(!backoff.is_paused(now));
        }
        assert!(total > 3 * LONGEST);
        backoff.succeeded();
        backoff.pause(now);
        assert_eq!(backoff.next_deadline(), Some(now + SHORTEST));
    }

    #[test]
    fn patience_ends() {
        let mut backoff = Backoff::new();
        let borne = (0..1000).filter(|_| backoff.bear()).count();
        assert_eq!(borne, PATIENCE as usize - 1);
        backoff.succeeded();
        assert!(backoff.bear());
    }
}
