//! What became of one host: comes from `query`, goes to `output`. Plain values, no behaviour.

use std::time::{Duration, SystemTime};

use super::report::Report;

/// One host, asked once.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What the user wrote, in every output.
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
}

/// How the exchange ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A whole reply that is an uptime line.
    Up {
        /// What was read out of it.
        report: Report,
        /// The reply as it came (its first 1 KiB where more than one host is asked, unless it is printed).
        raw: Vec<u8>,
    },
    /// A whole reply that is no uptime line, or the server's own `error: …`.
    Error {
        /// Why it is no answer, one line, already safe to print (no control characters).
        reason: String,
        /// The reply as it came.
        raw: Vec<u8>,
        /// The reply is complete; not so when it was longer than a reply may be.
        whole: bool,
    },
    /// No answer.
    Down {
        /// Why, one line, safe to print: `connection refused`, `no answer within 5 s`, …
        reason: String,
    },
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

    pub(crate) fn error(host: &str, reason: &str) -> Answer {
        let (reason, raw) = (reason.to_owned(), reason.as_bytes().to_vec());
        Answer {
            rtt: Some(Duration::from_millis(2)),
            ..answer(
                host,
                Outcome::Error {
                    reason,
                    raw,
                    whole: true,
                },
            )
        }
    }

    pub(crate) fn down(host: &str, reason: &str) -> Answer {
        answer(
            host,
            Outcome::Down {
                reason: reason.to_owned(),
            },
        )
    }

    fn answer(host: &str, outcome: Outcome) -> Answer {
        Answer {
            host: host.to_owned(),
            address: Some("192.0.2.7:10513".to_owned()),
            outcome,
            rtt: None,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(AT),
        }
    }
}
