//! How many look-ups a name server may be asked at once. Pure.
//!
//! Some servers refuse what they cannot hold: dnsmasq forwards 150 questions at a time, and a
//! look-up is two. So the number is halved when one is refused, and grows by one for as many
//! answers as it is: TCP's congestion avoidance (RFC 5681 section 3.1), with look-ups for segments.

use tokio::time::Instant;

/// A server that refuses with so few at once is not overloaded, but fails.
const LEAST: usize = 32;

/// The number, and what it is to become.
pub(super) struct Pace {
    most: usize,
    at_once: usize,
    /// Answers since it grew.
    answers: usize,
    /// When it was halved.
    halved: Option<Instant>,
}

impl Pace {
    /// Begins with the `most` that there may be.
    pub(super) fn new(most: usize) -> Pace {
        Pace {
            most,
            at_once: most,
            answers: 0,
            halved: None,
        }
    }

    /// How many look-ups may run.
    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    /// The server has answered one.
    pub(super) fn answered(&mut self) {
        self.answers += 1;
        if self.answers >= self.at_once && self.at_once < self.most {
            self.at_once += 1;
            self.answers = 0;
        }
    }

    /// The server has refused one that had `begun` when so many were `running`. False where fewer
    /// at once would not help.
    pub(super) fn refused(&mut self, begun: Instant, running: usize) -> bool {
        // Those that began before it was halved were too many together.
        if self.halved.is_some_and(|halved| begun <= halved) {
            return true;
        }
        if running <= LEAST {
            return false;
        }
        self.at_once = (self.at_once / 2).max(LEAST);
        self.answers = 0;
        self.halved = Some(Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_halved_once_for_each_crowd_and_grows_with_the_answers() {
        let mut pace = Pace::new(512);
        let first = Instant::now();
        assert!(!pace.refused(first, LEAST), "it is not the crowd");
        for running in (1..512).rev() {
            assert!(pace.refused(first, running));
            assert_eq!(pace.at_once(), 256);
        }
        for _ in 0..256 {
            assert_eq!(pace.at_once(), 256);
            pace.answered();
        }
        assert_eq!(pace.at_once(), 257);
        for _ in 0..9 {
            std::thread::sleep(std::time::Duration::from_millis(1));
            pace.refused(Instant::now(), 100);
        }
        assert_eq!(pace.at_once(), LEAST);
        for _ in 0..512 * 512 {
            pace.answered();
        }
        assert_eq!(pace.at_once(), 512);
    }
}
