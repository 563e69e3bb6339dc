//! The client: arguments → targets → probes → answers → output.
//!
//! The map of its rooms is in the crate's own comment.
//!
//! [`main`] gives the exit status: 0 every host answered, 1 some did not (or the output could not
//! be written), 2 a usage error; a monitoring plugin has its own four.

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
use self::output::conditions::Condition;
use self::output::nagios::{Check, State};
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
        Ok(options) if output::is_closed() => Told::new(&options).failure(output::CLOSED),
        Ok(options) => run(&options, begun),
        Err(status) => status,
    };
    // Threads whose look-up is stuck are not joined: they end with the process.
    ExitCode::from(status)
}

/// From the options to the exit status, for a call that has `begun`.
fn run(options: &Options, begun: Instant) -> u8 {
    let told = Told::new(options);
    if let Some(port) = &options.port {
        let datagrams = options.udp || options.discover;
        if let Err(line) = Services::default().check(port, datagrams) {
            return told.usage(&format!("--port: {line}"));
        }
    }
    let hosts = if options.discover {
        Hosts::default()
    } else {
        match hosts::gather(&options.hosts, &options.hosts_files, &options.exclude) {
            Ok(hosts) => hosts,
            Err(line) => return told.usage(&line),
        }
    };
    let mut check = Check {
        warning: options.warning.clone(),
        critical: options.critical.clone(),
        complaints: Vec::new(),
    };
    let has_bad_lines = !hosts.complaints.is_empty();
    match told.is_plugin {
        true => check.complaints = hosts.complaints,
        false => hosts.complaints.iter().for_each(output::complain),
    }
    let settings = settings(options, hosts.targets.len());
    if hosts.targets.is_empty() && !options.discover {
        // Only bad lines, reported above: print no rows, in a form that a program can parse.
        if let Some(line) = check.complaints.first() {
            return told.failure(line);
        }
        let nobody = output::write(&mut io::stdout(), &mut io::stderr(), &settings, &[]);
        return told.status(nobody.map(|()| FAILED), false);
    }
    let session = match Session::new(options, hosts.targets, check, settings, begun) {
        Ok(session) => session,
        Err(line) => return told.failure(&line),
    };
    let asked = match options.watch {
        Some(interval) => session.watch(interval).map(|good| u8::from(!good)),
        None => session.once(io::stderr().is_terminal() && can_draw()),
    };
    told.status(asked, has_bad_lines)
}

/// How a call that goes wrong says so: a monitoring plugin has a line and statuses of its own.
struct Told {
    is_plugin: bool,
}

impl Told {
    fn new(options: &Options) -> Told {
        Told {
            is_plugin: options.output == Some(Format::Nagios),
        }
    }

    fn usage(&self, line: &str) -> u8 {
        self.say(line, USAGE)
    }

    fn failure(&self, line: &str) -> u8 {
        self.say(line, FAILED)
    }

    fn say(&self, line: &str, status: u8) -> u8 {
        if self.is_plugin {
            return output::unknown(line);
        }
        output::complain(line);
        status
    }

    /// The exit status of a call that was made; an error is one of standard output.
    fn status(&self, asked: io::Result<u8>, has_bad_lines: bool) -> u8 {
        match asked {
            // Bad lines are part of a plugin's answer.
            Ok(0) if has_bad_lines && !self.is_plugin => FAILED,
            Ok(status) => status,
            Err(error) => {
                output::complain_of(&error);
                if self.is_plugin {
                    State::Unknown.status()
                } else {
                    FAILED
                }
            }
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
        Format::Openmetrics | Format::Nagios => false,
    };
    // A condition that asks the memory must hold of a single host, too.
    let needs_memory = options.conditions.iter().any(Condition::needs_memory);
    let is_asked_for = needs_memory && !options.discover;
    Settings {
        sort: options.sort().or(by_name),
        reverse: options.reverse,
        summary: options.summary,
        remember: (is_kept && hosts > 1 || is_asked_for) && !options.no_memory,
        color,
        terminal,
        utf8: output::is_utf8_locale(|name| env::var(name).ok()),
        ..Settings::new(format, many)
    }
}
