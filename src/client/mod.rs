//! The client: arguments → targets → probes → answers → output.
//!
//! The map of its rooms is in the crate's own comment.
//!
//! [`main`] gives the exit status: 0 every host answered, 1 some did not (or the output could not
//! be written), 2 a usage error.

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tokio::time::Instant;

pub mod answer;
mod discover;
mod fleet;
pub mod hosts;
mod memory;
pub mod options;
pub mod output;
mod page;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod query;
pub mod report;
mod session;
mod slots;
mod terminal;
mod watch;
mod words;

use self::hosts::Hosts;
use self::options::{Color, Options};
use self::output::sort::Key;
use self::output::{Format, Settings, Terminal};
use self::query::services::Services;
use self::session::Session;
use self::terminal::can_draw;

/// Some host did not answer, or the output could not be written.
const FAILED: u8 = 1;
/// A usage error.
const USAGE: u8 = 2;

/// Runs `ruptime`.
pub fn main() -> ExitCode {
    let begun = Instant::now();
    let status = match options::from_command_line() {
        Ok(_) if output::is_closed() => {
            output::complain(output::CLOSED);
            FAILED
        }
        Ok(options) => run(&options, begun),
        Err(status) => status,
    };
    // Threads whose look-up is stuck are not joined: they end with the process.
    ExitCode::from(status)
}

/// From the options to the exit status, for a call that has `begun`.
fn run(options: &Options, begun: Instant) -> u8 {
    if let Some(port) = &options.port {
        let datagrams = options.udp || options.discover;
        if let Err(line) = Services::default().check(port, datagrams) {
            output::complain(format_args!("--port: {line}"));
            return USAGE;
        }
    }
    let hosts = if options.discover {
        Hosts::default()
    } else {
        match hosts::gather(&options.hosts, &options.hosts_files, &options.exclude) {
            Ok(hosts) => hosts,
            Err(line) => {
                output::complain(line);
                return USAGE;
            }
        }
    };
    for line in &hosts.complaints {
        output::complain(line);
    }
    let settings = settings(options, hosts.targets.len());
    if hosts.targets.is_empty() && !options.discover {
        // Only bad lines, reported above: print no rows, in a form that a program can parse.
        let nobody = output::write(&mut io::stdout(), &mut io::stderr(), &settings, &[]);
        return status(nobody.map(|()| false), false);
    }
    let told_bad_lines = !hosts.complaints.is_empty();
    let session = match Session::new(options, hosts.targets, settings, begun) {
        Ok(session) => session,
        Err(line) => {
            output::complain(line);
            return FAILED;
        }
    };
    let asked = match options.watch {
        Some(interval) => session.watch(interval),
        None => session.once(io::stderr().is_terminal() && can_draw()),
    };
    status(asked, told_bad_lines)
}

/// Ok: whether all hosts answered; an error is one of standard output.
fn status(asked: io::Result<bool>, told_bad_lines: bool) -> u8 {
    match asked {
        Ok(true) if !told_bad_lines => 0,
        Ok(_) => FAILED,
        Err(error) => {
            output::complain_of(&error);
            FAILED
        }
    }
}

fn settings(options: &Options, hosts: usize) -> Settings {
    let many = options.discover || hosts > 1;
    let format = options.output.unwrap_or(
        if many || options.summary || !options.hosts_files.is_empty() {
            Format::Table
        } else {
            Format::Text
        },
    );
    let terminal = match io::stdout().is_terminal() {
        false => Terminal::None,
        true if can_draw() => Terminal::Screen,
        true => Terminal::Dumb,
    };
    let color = match options.color {
        Color::Always => true,
        Color::Never => false,
        // no-color.org: set and not empty.
        Color::Auto => {
            terminal == Terminal::Screen
                && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    };
    let by_name = options.discover.then_some(Key::Name);
    // One host's answer is printed as it came; what a search finds is not what the user named; and
    // metrics have a memory of their own.
    let is_kept = match format {
        Format::Table | Format::Json | Format::Jsonl => true,
        Format::Text => options.watch.is_some(),
        Format::Openmetrics => false,
    };
    Settings {
        sort: options.sort().or(by_name),
        reverse: options.reverse,
        summary: options.summary,
        remember: is_kept && hosts > 1 && !options.no_memory,
        color,
        terminal,
        utf8: output::is_utf8_locale(|name| env::var(name).ok()),
        ..Settings::new(format, many)
    }
}
