//! The daemon: options → sockets → serve → exit status.
//!
//! Every launch mode ends in the same loop: sockets that a service manager or an inetd hands
//! over, or that `--listen` binds, are classified by what they are, and then served alike.

mod answer;
mod datagrams;
mod intake;
mod logging;
mod manager;
mod options;
mod poll;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod server;
mod signals;
mod sockets;
mod stop;
mod sys;

use std::process::ExitCode;

use clap::Parser;

use answer::command::Command;
use logging as log;
use logging::Level;
pub use logging::message_id;
use options::Options;
pub use options::command;
use sockets::Kind;
use sockets::inherit::{self, Refused};
use sockets::stdio::Stdio;

/// Exit statuses, as ruptimed(8) lists them.
const FAILURE: u8 = 1;
const USAGE: u8 = 2;

/// Runs `ruptimed` and gives its exit status: 0 for a clean or idle exit, 1 for a failure at run
/// time, 2 for a usage error.
pub fn main() -> ExitCode {
    let stdio = Stdio::look();
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) if stdio.stderr_is_connection && error.use_stderr() => {
            log::init(Level::Error, true);
            log::fatal(&crate::cli::one_line(error));
            return ExitCode::from(USAGE);
        }
        Err(error) => return crate::cli::report("ruptimed", error),
    };
    log::init(options.log_level, stdio.stderr_is_connection);
    let (reason, status) = match run(&options, &stdio) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Refused::Usage(reason)) => (reason, USAGE),
        Err(Refused::Failed(reason)) => (reason, FAILURE),
    };
    log::fatal(&reason);
    ExitCode::from(status)
}

fn run(options: &Options, stdio: &Stdio) -> Result<(), Refused> {
    sys::stop_ignoring_sigchld().map_err(sys::failed("sigaction"))?;
    let command = Command::new(&options.command).map_err(Refused::Usage)?;
    options.check().map_err(Refused::Usage)?;
    let mut sockets = inherit::acquire(&options.listen, options.access(), options.inetd)?;
    // Removed when this function returns, however it does.
    let _bound_paths = std::mem::take(&mut sockets.bound_paths);
    if options.idle_timeout.is_some() && !sockets.inherited {
        return Err(Refused::Usage(
            "--idle-timeout needs inherited sockets: nothing would start ruptimed again".to_owned(),
        ));
    }
    stdio
        .detach()
        .map_err(|error| format!("/dev/null: {error}"))?;
    for socket in &sockets.sockets {
        if !sockets.inherited {
            log::listening(&sockets::bind::local_address(socket));
        } else if socket.kind != Kind::Connection {
            log::inherited(socket);
        }
    }
    if !command.is_found() {
        log::command_not_found(&command);
    }
    Ok(server::serve(options, sockets, command)?)
}
