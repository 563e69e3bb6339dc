//! The command line → [`Options`].
//!
//! Comes in: the arguments. Goes out: a struct of typed values, or one line on standard error and
//! exit status 2 (0 for `--help` and `--version`). Nothing is looked up, opened or sent here:
//! whether HOSTs are well formed is `target`'s to say, and where they come from `hosts`'.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::num::IntErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, ValueEnum};

use super::hosts::target::Port;
use super::output::Format;
use super::output::sort::Key;
use super::query::failure::io_words;
use crate::cli;
use crate::escape;

const EXAMPLES: &str = "\
Examples:
  ruptime web1                      the uptime line of one machine, as it says it
  ruptime web1 web2:10514 udp:db1   a table of several; the last one is asked by datagram
  ruptime -l -r -f hosts.txt        a file of hosts, the least loaded first
  ruptime --discover                whoever answers on the local networks
  ruptime --wait 300 web1           a machine that is rebooting: until it is back
  ruptime -o json web1 | jq '.[0].uptime_seconds'
  ruptime -w=5 web1 web2            look again every 5 seconds
  ruptime unix:/run/ruptime.sock    this machine, through its UNIX socket

Exit status: 0 when every host answered, 1 when some did not, 2 for a usage error.";

/// Everything that the command line can say.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ruptime",
    version,
    about = "Shows how long other machines have been up",
    after_help = EXAMPLES,
    max_term_width = 100
)]
pub struct Options {
    /// The hosts to ask, as [`Target::parse`](super::hosts::target::Target::parse) reads them.
    #[arg(
        value_name = "HOST",
        help = "NAME, NAME:PORT, [V6]:PORT, an address, udp:… before any of these, or unix:PATH"
    )]
    pub hosts: Vec<String>,

    /// Use datagrams for every host named without a scheme
    #[arg(long)]
    pub udp: bool,

    /// Ask this port: a number or a service name [default: ruptime, else 10513]
    #[arg(short, long, value_name = "PORT", value_parser = port, allow_negative_numbers = true)]
    pub port: Option<Port>,

    /// Use IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Use IPv6 only
    #[arg(short = '6')]
    pub ipv6: bool,

    /// Time for one host, from the first connect or send to the last byte; fractions allowed
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5", allow_negative_numbers = true)]
    pub timeout: Duration,

    /// Keep trying a host that does not answer for so long, pausing 1, 2, 4… seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with_all = ["watch", "discover"],
          allow_negative_numbers = true)]
    pub wait: Option<Duration>,

    /// With --wait: count only an answer whose boot is later than this call
    #[arg(long, requires = "wait")]
    pub rebooted: bool,

    /// Read hosts from FILE, one a line, # comments; - is standard input
    ///
    /// Without HOST and -f: $XDG_CONFIG_HOME/ruptime/hosts, then /etc/ruptime/hosts.
    #[arg(short = 'f', long = "hosts-file", value_name = "FILE", action = ArgAction::Append)]
    pub hosts_files: Vec<PathBuf>,

    /// Ask the local networks by broadcast and multicast and list whoever answers
    #[arg(long, conflicts_with_all = ["hosts", "hosts_files"])]
    pub discover: bool,

    /// How to print [default: text for one host, table for more]
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub output: Option<Format>,

    /// Sort by load, the highest first
    #[arg(short = 'l', group = "sort")]
    pub by_load: bool,

    /// Sort by uptime, the longest first
    #[arg(short = 't', group = "sort")]
    pub by_uptime: bool,

    /// Sort by the number of users, the most first
    #[arg(short = 'u', group = "sort")]
    pub by_users: bool,

    /// Reverse the order
    #[arg(short, long)]
    pub reverse: bool,

    /// Ask so many hosts at once [default: what the descriptor limit allows, at most 4096]
    #[arg(short, long, value_name = "N", value_parser = jobs, allow_negative_numbers = true)]
    pub jobs: Option<usize>,

    /// Ask again every SECONDS, redrawing in place on a terminal
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds,
          num_args = 0..=1, require_equals = true, default_missing_value = "2")]
    pub watch: Option<Duration>,

    /// Colour the table
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto")]
    pub color: Color,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Even into a pipe or a file
    Always,
    /// Not at all
    Never,
}

impl Options {
    /// What to sort by; None is the order given.
    pub fn sort(&self) -> Option<Key> {
        match (self.by_load, self.by_uptime, self.by_users) {
            (true, _, _) => Some(Key::Load),
            (_, true, _) => Some(Key::Uptime),
            (_, _, true) => Some(Key::Users),
            _ => None,
        }
    }
}

/// The whole command line, for completions and for checks of the manual page.
pub fn command() -> clap::Command {
    Options::command()
}

/// Reads the command line; the error is the exit status to leave with, everything said.
pub(super) fn from_command_line() -> Result<Options, u8> {
    match Options::try_parse().and_then(checked) {
        Ok(options) => Ok(options),
        Err(error) => Err(tell(&error)),
    }
}

/// The conflicts that hang on a value and not on an option alone.
fn checked(options: Options) -> Result<Options, clap::Error> {
    let conflict = |text: &str| Err(command().error(ErrorKind::ArgumentConflict, text));
    if let (Some(_), Some(number)) = (options.watch, options.hosts.iter().find(is_seconds)) {
        return conflict(&format!(
            "{number} is no HOST: did you mean --watch={number}?"
        ));
    }
    let sorted = options.sort().is_some() || options.reverse;
    match options.output {
        Some(Format::Jsonl) if sorted => conflict(
            "-l, -t, -u and -r cannot be used with '--output jsonl': it prints each host as it answers",
        ),
        Some(Format::Openmetrics) if options.watch.is_some() => conflict(
            "'--watch' cannot be used with '--output openmetrics': that is one scrape's worth",
        ),
        _ => Ok(options),
    }
}

/// Whether this can only be meant for `--watch`, whose value needs its `=`: the resolver would take
/// `5` for 0.0.0.5, which is nobody's address.
fn is_seconds(word: &&String) -> bool {
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    word.chars().all(plain)
        && word.parse::<f64>().is_ok_and(|n| n < f64::from(1 << 24))
        && (!word.contains('.') || word.starts_with("0.") || word.starts_with('.'))
}

/// Help and version to standard output; a usage error as one line on standard error.
fn tell(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        // Whoever closed the pipe has seen enough of the help.
        let printed = error.print().and_then(|()| io::stdout().flush());
        return match printed {
            Err(failure) if failure.kind() != io::ErrorKind::BrokenPipe => {
                super::complain(format_args!(
                    "cannot write to standard output: {}",
                    io_words(&failure)
                ));
                1
            }
            _ => 0,
        };
    }
    let named = (error.kind() == ErrorKind::InvalidUtf8)
        .then(|| no_text(env::args_os().skip(1)))
        .flatten();
    let line = named.unwrap_or_else(|| cli::one_line(error));
    super::complain(format_args!("{line} (see ruptime --help)"));
    2
}

/// Which argument is not UTF-8; the path of a hosts file may be what it likes.
fn no_text(arguments: impl Iterator<Item = OsString>) -> Option<String> {
    let mut path_follows = false;
    for argument in arguments {
        let bytes = argument.as_encoded_bytes();
        let path = path_follows || bytes.starts_with(b"-f") || bytes.starts_with(b"--hosts-file=");
        path_follows = !path_follows && (bytes == b"-f" || bytes == b"--hosts-file");
        if argument.to_str().is_none() && !path {
            return Some(format!("{}: not UTF-8", escape::excerpt(bytes, 200)));
        }
    }
    None
}

/// A time in seconds: more than none, and no more than a year.
fn seconds(text: &str) -> Result<Duration, String> {
    const YEAR: f64 = 365.0 * 86_400.0;
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= YEAR => {
            // What rounds to nothing would be no time at all.
            Ok(Duration::from_secs_f64(value).max(Duration::from_millis(1)))
        }
        Ok(value) if value > YEAR => Err("more than a year".to_owned()),
        _ => Err("not a number of seconds above 0".to_owned()),
    }
}

fn port(text: &str) -> Result<Port, String> {
    Port::parse(text).map_err(|reason| reason.to_string())
}

fn jobs(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => {
            Err("too large a number".to_owned())
        }
        Ok(0) | Err(_) => Err("not a whole number above 0".to_owned()),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::try_parse_from(line.split_whitespace())
            .and_then(checked)
            .map_err(|error| cli::one_line(&error))
    }

    #[test]
    fn clap_accepts_the_definition() {
        command().debug_assert();
    }

    #[test]
    fn defaults_are_the_contract() {
        let options = parse("ruptime web1").unwrap();
        assert_eq!(options.timeout, Duration::from_secs(5));
        assert_eq!(
            (options.port, options.wait, options.jobs),
            (None, None, None)
        );
        assert_eq!((options.output, options.watch), (None, None));
        assert_eq!(options.color, Color::Auto);
        assert!(!options.udp && !options.discover && !options.reverse);
    }

    #[test]
    fn every_option_is_read() {
        let options = parse(
            "ruptime --udp -p 99 -4 --timeout 0.25 --wait 2.5 -f a --hosts-file - -o jsonl -j 7 --color never x y",
        )
        .unwrap();
        assert!(options.udp && options.ipv4 && !options.ipv6);
        assert_eq!(options.port, Some(Port::Number(99)));
        assert_eq!(options.timeout, Duration::from_millis(250));
        assert_eq!(options.wait, Some(Duration::from_millis(2500)));
        assert_eq!(
            options.hosts_files,
            [PathBuf::from("a"), PathBuf::from("-")]
        );
        assert_eq!(options.output, Some(Format::Jsonl));
        assert_eq!(options.jobs, Some(7));
        assert_eq!(options.hosts, ["x", "y"]);
        assert_eq!(parse("ruptime -lr x").unwrap().sort(), Some(Key::Load));
        assert_eq!(parse("ruptime -t x").unwrap().sort(), Some(Key::Uptime));
        assert_eq!(parse("ruptime -u x").unwrap().sort(), Some(Key::Users));
        assert_eq!(
            parse("ruptime -w x").unwrap().watch,
            Some(Duration::from_secs(2))
        );
        assert_eq!(
            parse("ruptime --watch=0.5 x").unwrap().watch,
            Some(Duration::from_millis(500))
        );
    }

    #[test]
    fn usage_errors_are_one_line_that_names_the_option() {
        let table = [
            ("ruptime -4 -6 x", "'-4' cannot be used with '-6'"),
            ("ruptime -l -t x", "'-l' cannot be used with"),
            ("ruptime --discover x", "'--discover' cannot be used with"),
            (
                "ruptime --discover -f x",
                "'--discover' cannot be used with",
            ),
            (
                "ruptime --wait 3 -w x",
                "'--wait <SECONDS>' cannot be used with",
            ),
            ("ruptime -l -o jsonl x", "as it answers"),
            ("ruptime -w -o openmetrics x", "one scrape"),
            ("ruptime -p 0 x", "port 0: ports are 1 to 65535"),
            ("ruptime -p 99999 x", "port 99999"),
            ("ruptime --timeout 0 x", "'0' for '--timeout <SECONDS>'"),
            ("ruptime --timeout -1 x", "'-1' for '--timeout <SECONDS>'"),
            ("ruptime --wait -0.5 x", "'-0.5' for '--wait <SECONDS>'"),
            ("ruptime -w 5 x", "did you mean --watch=5?"),
            ("ruptime --timeout nan x", "not a number of seconds"),
            ("ruptime --timeout inf x", "more than a year"),
            ("ruptime -j 0 x", "not a whole number above 0"),
            ("ruptime -o xml x", "'xml' for '--output <FORMAT>'"),
            ("ruptime --no-such x", "'--no-such'"),
        ];
        for (line, part) in table {
            let told = parse(line).unwrap_err();
            assert!(told.contains(part), "{line}: {told}");
            assert!(!told.contains('\n'), "{line}: {told}");
        }
    }

    #[test]
    fn only_what_is_nobodys_address_is_taken_for_seconds() {
        let is_seconds = |word: &str| is_seconds(&&word.to_owned());
        for word in ["5", "60", "0.5", ".5", "3600"] {
            assert!(is_seconds(word), "{word}");
        }
        // The last are 127.0.0.1 as inet_aton(3) reads it.
        for word in ["web1", "192.0.2.7", "5s", "", "127.1", "2130706433"] {
            assert!(!is_seconds(word), "{word}");
        }
    }

    #[test]
    fn an_argument_cannot_write_to_the_terminal() {
        let told = parse("ruptime --timeout \u{1b}[31m x").unwrap_err();
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }
}
