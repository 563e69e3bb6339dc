//! The client: arguments → targets → query → parsed report → rendering.
//!
//! [`main`] is the flow: what the user wrote becomes targets, each target an
//! [`Answer`](answer::Answer), the answers an output and an exit status: 0 every host answered,
//! 1 some did not (or the output could not be written), 2 a usage error.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

pub mod answer;
pub mod clock;
pub mod escape;
mod failure;
pub mod options;
mod query;
pub mod render;
pub mod report;
mod resolve;
mod services;
pub mod sort;
pub mod target;

use self::answer::{Answer, Outcome};
use self::options::Options;
use self::query::{Asker, Settings};
use self::resolve::{Family, Resolver};
use self::target::Target;

/// Some host did not answer, or the output could not be written.
const FAILED: u8 = 1;
/// A usage error.
const USAGE: u8 = 2;

/// Runs `ruptime`.
pub fn main() -> ExitCode {
    let status = match options::from_command_line() {
        Ok(options) => run(&options),
        Err(status) => status,
    };
    // Look-ups that are stuck in a thread end with the process: nobody joins them.
    ExitCode::from(status)
}

/// One line on standard error. That it cannot be written is nobody's business: there is no other
/// place to say so.
fn complain(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "ruptime: {line}");
}

fn run(options: &Options) -> u8 {
    let mut targets: Vec<Target> = Vec::new();
    for word in &options.hosts {
        match Target::parse(word) {
            Ok(target) if targets.contains(&target) => {}
            Ok(target) => targets.push(target),
            Err(reason) => {
                complain(format_args!("{}: {reason}", escape::line(word.as_bytes())));
                return USAGE;
            }
        }
    }
    if targets.is_empty() {
        complain(format_args!("no HOST (see ruptime --help)"));
        return USAGE;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("cannot start: {error}"));
            return FAILED;
        }
    };
    let asker = Asker::new(settings(options, targets.len()), Resolver::new(8), 8);
    let mut failed = false;
    for target in &targets {
        let (answer, _) = runtime.block_on(asker.ask(target));
        match print(&answer) {
            Ok(good) => failed |= !good,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return FAILED,
            Err(error) => {
                complain(format_args!("cannot write to standard output: {error}"));
                return FAILED;
            }
        }
    }
    u8::from(failed)
}

fn settings(options: &Options, hosts: usize) -> Settings {
    Settings {
        timeout: options.timeout,
        family: match (options.ipv4, options.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            _ => Family::Any,
        },
        udp: options.udp,
        port: options.port.clone(),
        keep: if hosts > 1 {
            query::KEEP_OF_MANY
        } else {
            query::KEEP_OF_ONE
        },
    }
}

/// `text`: the reply as it came, failures on standard error.
fn print(answer: &Answer) -> io::Result<bool> {
    let told = |reason: &str| {
        complain(format_args!(
            "{}: {reason}",
            escape::line(answer.host.as_bytes())
        ))
    };
    match &answer.outcome {
        Outcome::Up { raw, .. } => io::stdout().write_all(raw)?,
        Outcome::Error {
            raw, whole: true, ..
        } if !report::is_server_error(raw) => io::stdout().write_all(raw)?,
        Outcome::Error { reason, .. } | Outcome::Down { reason } => {
            told(reason);
            return Ok(false);
        }
    }
    io::stdout().flush()?;
    Ok(true)
}
