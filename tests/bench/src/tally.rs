//! In: how each request ended. Out: counts and percentiles, as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::errno::Errno;
use serde_json::{Value, json};

/// How a request ended that got no right answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens there (ECONNREFUSED).
    Refused,
    /// The connection was reset, the reply with it (ECONNRESET, EPIPE).
    Reset,
    /// End of file before the first byte, or a datagram of no bytes.
    Empty,
    /// No end of file, or no datagram, within the time-out.
    Timeout,
    /// An answer that is not the one wanted.
    Wrong,
    /// This program's own trouble (ports, memory, descriptors): the figure is then worth nothing.
    Local(Errno),
}

impl Failure {
    /// The kind of failure that a failed system call means.
    #[must_use]
    pub fn of(errno: Errno) -> Self {
        match errno {
            Errno::ECONNREFUSED => Self::Refused,
            Errno::ECONNRESET | Errno::EPIPE => Self::Reset,
            Errno::ETIMEDOUT => Self::Timeout,
            errno => Self::Local(errno),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Refused => "refused".into(),
            Self::Reset => "reset".into(),
            Self::Empty => "empty".into(),
            Self::Timeout => "timeout".into(),
            Self::Wrong => "wrong".into(),
            Self::Local(errno) => format!("local_{errno:?}"),
        }
    }
}

/// Everything that was counted in one run.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answers that came within the measured window.
    pub in_window: u64,
    /// Length of the measured window.
    pub window: Duration,
    /// Time from the first request to the end of the last.
    pub total: Duration,
    /// Latency of each answer after the warm-up, from before connect or send to the last byte (in nanoseconds).
    pub latencies: Vec<u64>,
    /// Requests without a right answer by kind, the warm-up's included.
    pub failures: BTreeMap<String, u64>,
    /// Requests begun, the warm-up's included.
    pub asked: u64,
    /// Right answers, the warm-up's included.
    pub answered: u64,
    /// Datagrams beyond one a question, found when the sockets were closed.
    pub surplus: u64,
    /// The first reply that was not the one wanted, at most 200 bytes of it.
    pub first_wrong: Option<String>,
}

impl Tally {
    /// Counts one failure.
    pub fn fail(&mut self, failure: Failure) {
        *self.failures.entry(failure.name()).or_default() += 1;
    }

    /// Requests that got no right answer.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// The whole tally as a JSON object; latencies in microseconds, rates per second.
    #[must_use]
    pub fn to_json(mut self) -> Value {
        self.latencies.sort_unstable();
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let at = |share: f64| quantile(&self.latencies, share).map(micros);
        let mean = match self.latencies.len() {
            0 => None,
            n => Some(micros(self.latencies.iter().sum::<u64>() / n as u64)),
        };
        json!({
            "asked": self.asked,
            "answered": self.answered,
            "failed": self.failed(),
            "failures": self.failures,
            "surplus": self.surplus,
            "first_wrong": self.first_wrong,
            "window_s": self.window.as_secs_f64(),
            "total_s": self.total.as_secs_f64(),
            "rate": self.in_window as f64 / self.window.as_secs_f64().max(1e-9),
            "latency_us": {
                "mean": mean,
                "p50": at(0.5),
                "p90": at(0.9),
                "p99": at(0.99),
                "p999": at(0.999),
                "max": at(1.0),
            },
        })
    }
}

/// The smallest of the sorted values that at least `share` of them do not exceed (nearest rank).
fn quantile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let sorted: Vec<u64> = (1..=1000).collect();
        assert_eq!(quantile(&sorted, 0.5), Some(500));
        assert_eq!(quantile(&sorted, 0.999), Some(999));
        assert_eq!(quantile(&sorted, 1.0), Some(1000));
        assert_eq!(quantile(&[7], 0.5), Some(7));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn errnos_are_sorted_into_kinds() {
        assert_eq!(Failure::of(Errno::ECONNREFUSED), Failure::Refused);
        assert_eq!(Failure::of(Errno::EPIPE), Failure::Reset);
        assert_eq!(
            Failure::of(Errno::EADDRNOTAVAIL).name(),
            "local_EADDRNOTAVAIL"
        );
    }

    #[test]
    fn an_empty_tally_has_no_percentiles() {
        let json = Tally::default().to_json();
        assert_eq!(json["latency_us"]["p50"], Value::Null);
        assert_eq!(json["failed"], 0);
    }
}
