//! The text of an uptime line → values. Pure.

use std::time::Duration;

/// What an uptime line says. `uptime` is always there; the rest only where the line has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// How long the machine has been up, to the resolution of the line (mostly a minute).
    pub uptime: Duration,
    /// How many users are logged in.
    pub users: Option<u32>,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
}
