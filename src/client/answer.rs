//! What became of one host: comes from `query`, goes to `output`. Plain values.

use std::time::{Duration, SystemTime};

use super::report::Report;

/// One host, asked once.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What the user wrote, in every output; of a machine that a search has found, its looked-up name,
    /// else its address.
    pub host: String,
    /// The address that answered, or was tried last: `192.0.2.7:10513`, `[fe80::1%eth0]:10513`,
    /// a UNIX path. None when there never was one.
    pub address: Option<String>,
    /// Answered or not.
    pub outcome: Outcome,
    /// From the first connect or send to the last byte, look-up not counted. None when nothing came.
    pub rtt: Option<Duration>,
    /// When the last byte came, or the failure was known.
    pub at: SystemTime,
    /// What a search has found besides; None for a host that was named. In a box: most have none,
    /// and there are up to a million.
    pub machine: Option<Box<Machine>>,
}

/// A machine that a search has found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Machine {
    /// Those that it answered from, the first one first: `192.0.2.7`, `fe80::1%eth0`.
    pub addresses: Vec<String>,
}

impl Answer {
    /// A host that gave none, known now; `reason` is one line, safe to print.
    pub fn down(host: &str, reason: &str) -> Answer {
        Answer {
            host: host.to_owned(),
            address: None,
            outcome: Outcome::Down {
                reason: reason.to_owned(),
            },
            rtt: None,
            at: SystemTime::now(),
            machine: None,
        }
    }
}

/// Seconds since 1970, negative before. None when it is too far away to count.
pub fn unix_seconds(at: SystemTime) -> Option<i64> {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).ok(),
        Err(before) => {
            let before = before.duration() + Duration::from_nanos(999_999_999);
            i64::try_from(before.as_secs()).ok()?.checked_neg()
        }
    }
}

/// Every host, asked once.
#[derive(Debug, Default)]
pub struct Round {
    /// In the order given, or found.
    pub answers: Vec<Answer>,
    /// One line: no host could be asked, or the list is incomplete.
    pub failure: Option<String>,
}

/// How the exchange ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A whole reply that is an uptime line.
    Up {
        /// What was read out of it.
        report: Report,
        /// The reply as it came, as much of it as is kept.
        raw: Vec<u8>,
    },
    /// A reply that is no uptime line, or the server's own `error: …`.
    Error {
        /// Why it is no answer, one line, already safe to print (no control characters).
        reason: String,
        /// The reply as it came, as much of it as is kept.
        raw: Vec<u8>,
        /// It is whole, and not the server's `error: …`: `text` prints it.
        is_reply: bool,
    },
    /// No answer.
    Down {
        /// Why, one line, safe to print: `connection refused`, `no answer within 5 s`, …
        reason: String,
    },
}

/// An outcome in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// An uptime line.
    Up,
    /// An answer that is none.
    Error,
    /// No answer.
    Down,
}

impl Status {
    /// The word that every output has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Up => "up",
            Status::Error => "error",
            Status::Down => "down",
        }
    }
}

impl Outcome {
    /// In one word.
    pub fn status(&self) -> Status {
        match self {
            Outcome::Up { .. } => Status::Up,
            Outcome::Error { .. } => Status::Error,
            Outcome::Down { .. } => Status::Down,
        }
    }

    /// What the uptime line says; None where there is none.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Outcome::Up { report, .. } => Some(report),
            Outcome::Error { .. } | Outcome::Down { .. } => None,
        }
    }

    /// Why the host is not up; None where it is.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Outcome::Up { .. } => None,
            Outcome::Error { reason, .. } | Outcome::Down { reason } => Some(reason),
        }
    }

    /// The bytes that came, as many as were kept; None where nothing came.
    pub fn raw(&self) -> Option<&[u8]> {
        match self {
            Outcome::Up { raw, .. } | Outcome::Error { raw, .. } => Some(raw),
            Outcome::Down { .. } => None,
        }
    }

    /// The whole reply of a command, whatever it says; None for a failure.
    pub fn reply(&self) -> Option<&[u8]> {
        match self {
            Outcome::Error {
                is_reply: false, ..
            } => None,
            _ => self.raw(),
        }
    }
}

/// Answers for the tests of whatever takes them.
#[cfg(test)]
pub(crate) mod samples {
    use super::{Answer, Duration, Outcome, Report, SystemTime};

    /// 2026-11-22 18:16:29 UTC
    pub(crate) const AT: u64 = 1_795_371_389;

    pub(crate) fn up(
        host: &str,
        uptime: u64,
        users: Option<u32>,
        load: Option<[f64; 3]>,
    ) -> Answer {
        let uptime = Duration::from_secs(uptime);
        let report = Report {
            uptime,
            users,
            load,
        };
        let raw = format!(" 18:16:29 up of {host}\n").into_bytes();
        Answer {
            rtt: Some(Duration::from_micros(1_900)),
            ..answer(host, Outcome::Up { report, raw })
        }
    }

    /// A reply that is no uptime line.
    pub(crate) fn error(host: &str, reply: &str) -> Answer {
        let outcome = Outcome::Error {
            reason: reply.to_owned(),
            raw: reply.as_bytes().to_vec(),
            is_reply: !reply.is_empty() && !reply.starts_with("error: "),
        };
        Answer {
            rtt: Some(Duration::from_millis(2)),
            ..answer(host, outcome)
        }
    }

    pub(crate) fn down(host: &str, reason: &str) -> Answer {
        let reason = reason.to_owned();
        answer(host, Outcome::Down { reason })
    }

    fn answer(host: &str, outcome: Outcome) -> Answer {
        Answer {
            host: host.to_owned(),
            address: Some("192.0.2.7:10513".to_owned()),
            outcome,
            rtt: None,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(AT),
            machine: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_before_1970_round_down() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(unix_seconds(epoch), Some(0));
        assert_eq!(unix_seconds(epoch + Duration::from_millis(1999)), Some(1));
        assert_eq!(unix_seconds(epoch - Duration::from_millis(1)), Some(-1));
        assert_eq!(unix_seconds(epoch - Duration::from_secs(1)), Some(-1));
    }
}
