//! The daemon: options → sockets → serve → exit status.

use std::process::ExitCode;

/// Runs `ruptimed`.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
