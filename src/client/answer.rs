//! What became of one host: comes from `query`, goes to `render`. Plain values, no behaviour.

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
        /// The reply as it came (its first 1 KiB where more than one host is asked).
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
