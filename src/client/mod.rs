//! The client: arguments → targets → query → parsed report → rendering.

use std::process::ExitCode;

pub mod answer;
pub mod escape;
pub mod report;

/// Runs `ruptime`.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
