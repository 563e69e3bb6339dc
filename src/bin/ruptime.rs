//! `ruptime`, the client: see [`ruptime::client`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ruptime::client::main()
}
