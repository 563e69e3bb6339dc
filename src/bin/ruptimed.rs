//! `ruptimed`, the daemon: see [`ruptime::daemon`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ruptime::daemon::main()
}
