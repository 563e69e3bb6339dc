//! `--wait`: when to try again. Pure.
//!
//! APUE's connect_retry (16.4) pauses 1, 2, 4 … seconds. This does, too, up to a bound, so that a
//! machine that is back is seen soon. The last pause is cut so that one try is
//! left before the time is over.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(16);

/// How long to go on with one host.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryPolicy {
    /// All of it; None: a single try.
    total: Option<Duration>,
    /// The next pause.
    pause: Duration,
}

impl RetryPolicy {
    /// Keeps trying for `total` since the first try; without it there is only that one.
    pub(super) fn new(total: Option<Duration>) -> RetryPolicy {
        RetryPolicy {
            total,
            pause: FIRST,
        }
    }

    /// The time for a try that begins `since` after the first. A try that begins late, because
    /// other hosts had their turn, still has the time that is reserved for the last one. Rounded
    /// to milliseconds, since messages quote it.
    pub(super) fn for_try(&self, since: Duration, timeout: Duration) -> Duration {
        let Some(total) = self.total else {
            return timeout;
        };
        let left = total.saturating_sub(since).as_secs_f64();
        let left = Duration::from_secs_f64((left * 1e3).round() / 1e3);
        timeout.min(left.max(last(total)))
    }

    /// The pause after a try that failed `since` after the first began; None: give up.
    pub(super) fn pause(&mut self, since: Duration) -> Option<Duration> {
        let total = self.total?;
        let left = total.saturating_sub(since);
        let last = last(total);
        if left <= last {
            return None;
        }
        let pause = self.pause.min(left - last);
        self.pause = (self.pause * 2).min(LONGEST);
        Some(pause)
    }
}

/// Reserved for the last try: a second, or a quarter of a total below four.
fn last(total: Duration) -> Duration {
    FIRST.min(total / 4)
}

/// Whether a machine with this `uptime` has booted within the time `since` a call began. An uptime
/// line has whole minutes, so that time is rounded up to one.
pub(super) fn has_rebooted(uptime: Duration, since: Duration) -> bool {
    uptime.as_secs() < since.as_secs().div_ceil(60).max(1) * 60
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When tries begin, if each fails after `each` seconds.
    fn tries(total: f64, each: f64) -> Vec<f64> {
        let mut policy = RetryPolicy::new(Some(Duration::from_secs_f64(total)));
        let (mut now, mut begun) = (0.0, vec![]);
        loop {
            begun.push(now);
            assert!(begun.len() < 1000, "it goes on for ever");
            now += each;
            match policy.pause(Duration::from_secs_f64(now)) {
                Some(pause) => now += pause.as_secs_f64(),
                None => return begun,
            }
        }
    }

    #[test]
    fn pauses_double_to_a_bound_and_one_try_is_left_for_the_end() {
        assert_eq!(tries(10.0, 0.0), [0.0, 1.0, 3.0, 7.0, 9.0]);
        assert_eq!(
            tries(60.0, 0.0),
            [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 47.0, 59.0]
        );
        assert_eq!(tries(1.0, 0.0), [0.0, 0.75]);
        assert_eq!(tries(4.0, 5.0), [0.0]);
        assert_eq!(tries(13.0, 5.0), [0.0, 6.0, 12.0]);
    }

    #[test]
    fn a_try_ends_with_the_patience() {
        let policy = RetryPolicy::new(Some(Duration::from_secs(10)));
        let seconds = Duration::from_secs;
        assert_eq!(policy.for_try(seconds(0), seconds(5)), seconds(5));
        assert_eq!(policy.for_try(seconds(9), seconds(5)), seconds(1));
        let instants = Duration::from_nanos(251_742_513);
        let told = Duration::from_millis(2_748);
        assert_eq!(
            policy.for_try(seconds(7) + instants, seconds(5)),
            told,
            "no nanoseconds"
        );
    }

    #[test]
    fn a_try_that_begins_late_has_time_for_an_answer() {
        let seconds = Duration::from_secs;
        let policy = RetryPolicy::new(Some(seconds(10)));
        assert_eq!(policy.for_try(seconds(11), seconds(5)), seconds(1));
        assert_eq!(
            policy.for_try(seconds(11), seconds(5) / 10),
            seconds(5) / 10
        );
        let policy = RetryPolicy::new(Some(seconds(1)));
        assert_eq!(policy.for_try(seconds(9), seconds(5)), seconds(1) / 4);
    }

    #[test]
    fn without_a_total_there_is_one_try_with_the_whole_timeout() {
        let mut policy = RetryPolicy::new(None);
        let five = Duration::from_secs(5);
        assert_eq!(policy.for_try(five * 9, five), five);
        assert_eq!(policy.pause(Duration::ZERO), None);
    }

    #[test]
    fn a_reboot_is_an_uptime_within_the_calls_own_time_rounded_up() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        for (uptime, since, rebooted) in [
            (0, 0, true),
            (1, 0, false),
            (1, 60, false),
            (1, 61, true),
            (2, 120, false),
            (99 * 1440, 300, false),
        ] {
            let since = Duration::from_secs(since);
            assert_eq!(has_rebooted(minutes(uptime), since), rebooted, "{uptime}");
        }
        // Where the line has seconds.
        assert!(has_rebooted(
            Duration::from_secs(34),
            Duration::from_secs(40)
        ));
    }
}
