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
use super::output::conditions::Condition;
use super::output::sort::Key;
use super::output::{self, Format};
use crate::cli;
use crate::escape;

const EXAMPLES: &str = "\
Examples:
  ruptime web1                      the uptime line of one machine, as it says it
  ruptime web1 web2:10514 udp:db1   a table of three; the last one is asked by datagram
  ruptime 'web[01-20]' -x web07     a range of hosts without one of them
  ruptime -l -r -f hosts.txt        a file of hosts, the least loaded first
  ruptime -f hosts.txt @web         the hosts of one group in a file
  ruptime --discover                the machines that answer on the local networks
  ruptime --wait 5m web1            a machine that is down: wait until it answers
  ssh web1 reboot; ruptime --wait 5m --rebooted web1
  ruptime -o json web1 | jq '.[0].uptime_seconds'
  ruptime --where '!up' --summary   only the hosts that are not up, and how many there are
  ruptime -o nagios --warning 'load5>=16' --critical 'uptime<10m' web1
  ruptime -w5 web1 web2             look again every 5 seconds
  ruptime ssh:root@web1             a machine without ruptimed, by ssh
  ruptime unix:/run/ruptime.sock    this machine, through its UNIX socket

Times are in seconds, or have a unit: 0.5, 30s, 5m, 1h, 1d, 1w.

Exit status: 0 when every host answered, 1 when some did not, 2 for a usage error.
With -o nagios: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (a usage error, too).";

/// The options of one letter that have no value.
const FLAGS: [char; 8] = ['4', '6', 'a', 'l', 't', 'u', 'n', 'r'];

/// The value of `--output` for a monitoring plugin.
const NAGIOS: &str = "nagios";

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
        help = "NAME, NAME:PORT, [V6]:PORT, an address, udp:… before any of these, ssh:[USER@]NAME, unix:PATH, @GROUP; ranges as in web[01-20,30], lists with commas"
    )]
    pub hosts: Vec<String>,

    /// Use datagrams for every host named without a scheme
    #[arg(long)]
    pub udp: bool,

    /// Use ssh for every host named without a scheme: it runs uptime there
    #[arg(long, conflicts_with_all = ["udp", "discover"])]
    pub ssh: bool,

    /// Ask this port: a number or a service name [default: ruptime, else 10513]
    #[arg(short, long, value_name = "PORT", value_parser = Port::parse, allow_negative_numbers = true)]
    pub port: Option<Port>,

    /// Use IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Use IPv6 only
    #[arg(short = '6')]
    pub ipv6: bool,

    /// Time for one host, from the first connect or send to the last byte
    #[arg(long, value_name = "SECONDS", value_parser = cli::time, default_value = "5", allow_negative_numbers = true)]
    pub timeout: Duration,

    /// Time for the whole call: hosts that have not answered by then are down
    #[arg(long, value_name = "SECONDS", value_parser = cli::time, conflicts_with = "watch",
          allow_negative_numbers = true)]
    pub deadline: Option<Duration>,

    /// Retry a host that does not answer, for up to SECONDS, pausing 1, 2, 4… seconds
    #[arg(long, value_name = "SECONDS", value_parser = cli::time, conflicts_with_all = ["watch", "discover"],
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

    /// Leave these hosts out: HOST in any form, ranges, lists and @GROUP
    #[arg(short = 'x', long, value_name = "HOST", action = ArgAction::Append, conflicts_with = "discover")]
    pub exclude: Vec<String>,

    /// Ask the local networks by broadcast and multicast, and list the machines that answer
    #[arg(long, conflicts_with_all = ["hosts", "hosts_files"])]
    pub discover: bool,

    /// Print only hosts of which COND holds: up, down, error, rebooted, uptime>365d, load5>=16, !up
    ///
    /// Fields: uptime, users, load1, load5, load15, rtt. Operators: < <= > >= =. ! negates.
    #[arg(long = "where", value_name = "COND", action = ArgAction::Append, value_parser = Condition::parse)]
    pub conditions: Vec<Condition>,

    /// With -o nagios: the state is WARNING where COND holds of some host
    #[arg(long, value_name = "COND", action = ArgAction::Append, value_parser = Condition::parse)]
    pub warning: Vec<Condition>,

    /// With -o nagios: the state is CRITICAL where COND holds of some host, or a host is not up
    #[arg(long, value_name = "COND", action = ArgAction::Append, value_parser = Condition::parse)]
    pub critical: Vec<Condition>,

    /// How to print; a table with -f [default: text for one host, table for more]
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

    /// Sort by name
    #[arg(short = 'n', group = "sort")]
    pub by_name: bool,

    /// Reverse the order
    #[arg(short, long)]
    pub reverse: bool,

    /// Do nothing: BSD's ruptime leaves idle users out without it
    #[arg(short = 'a')]
    pub all: bool,

    /// End the table with a line that counts the hosts
    #[arg(long)]
    pub summary: bool,

    /// Neither read nor write what was seen of the hosts before
    #[arg(long)]
    pub no_memory: bool,

    /// Ask at most N hosts at once [default: what the descriptor limit allows, at most 4096]
    #[arg(short, long, value_name = "N", value_parser = jobs, allow_negative_numbers = true)]
    pub jobs: Option<usize>,

    /// Ask again every SECONDS, redrawing in place on a terminal (q leaves); -w5 or --watch=5
    #[arg(short, long, value_name = "SECONDS", value_parser = cli::time,
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
        let keys = [
            (self.by_load, Key::Load),
            (self.by_uptime, Key::Uptime),
            (self.by_users, Key::Users),
            (self.by_name, Key::Name),
        ];
        keys.into_iter()
            .find_map(|(wanted, key)| wanted.then_some(key))
    }
}

/// The whole command line, for completions and for checks of the manual page.
pub fn command() -> clap::Command {
    Options::command()
}

/// Reads the command line; the error is the exit status to leave with, everything said.
pub(super) fn from_command_line() -> Result<Options, u8> {
    parse(env::args_os()).map_err(tell)
}

/// Whether the words ask for `-o nagios`, where they are no proper command line.
fn ask_for_a_plugin(words: impl Iterator<Item = OsString>) -> bool {
    let mut is_value = false;
    for word in words {
        let text = word.to_str().unwrap_or_default();
        let short = text
            .strip_prefix('-')
            .map(|text| text.trim_start_matches(FLAGS));
        let value = short
            .and_then(|text| text.strip_prefix('o'))
            .or(text.strip_prefix("--output"));
        if is_value && text == NAGIOS
            || value.is_some_and(|value| value.trim_start_matches('=') == NAGIOS)
        {
            return true;
        }
        is_value = value == Some("");
    }
    false
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, clap::Error> {
    Options::try_parse_from(arguments.into_iter().map(with_equals)).and_then(checked)
}

/// `-w5` as clap wants it, `-w=5`: the value is optional, so that its `=` must be there or else
/// `-w web1` would take the host for one. Flags may stand before the `w`.
fn with_equals(argument: OsString) -> OsString {
    let value = argument
        .to_str()
        .and_then(|text| text.strip_prefix('-'))
        .and_then(|text| text.trim_start_matches(FLAGS).strip_prefix('w'))
        .filter(|value| value.starts_with(|c: char| c.is_ascii_digit() || c == '.'));
    match (argument.to_str(), value) {
        (Some(text), Some(value)) => {
            let flags = &text[..text.len() - value.len()];
            format!("{flags}={value}").into()
        }
        _ => argument,
    }
}

/// The conflicts that hang on a value and not on an option alone.
fn checked(options: Options) -> Result<Options, clap::Error> {
    let conflict = |text: &str| Err(command().error(ErrorKind::ArgumentConflict, text));
    if let Some(number) = options.hosts.iter().find(|word| is_number(word)) {
        let hint = match () {
            () if options.watch.is_some() => format!(": did you mean --watch={number}?"),
            () if options.by_uptime => {
                format!(": -t sorts by uptime; did you mean --timeout {number}?")
            }
            () => String::new(),
        };
        return conflict(&format!("{number} is no HOST{hint}"));
    }
    let plugin = options.output == Some(Format::Nagios);
    let mut thresholds = options.warning.iter().chain(&options.critical);
    if !plugin && thresholds.next().is_some() {
        return conflict("'--warning' and '--critical' are for '--output nagios'");
    }
    let rebooted = options.conditions.iter().any(Condition::needs_memory);
    let sorted = options.sort().is_some() || options.reverse;
    match options.output {
        Some(Format::Jsonl) if sorted => conflict(
            "-l, -t, -u, -n and -r cannot be used with '--output jsonl': it prints each host as it answers",
        ),
        Some(Format::Openmetrics) if options.watch.is_some() => conflict(
            "'--watch' cannot be used with '--output openmetrics': that is one scrape's worth",
        ),
        Some(Format::Nagios) if options.watch.is_some() => {
            conflict("'--watch' cannot be used with '--output nagios': that is one answer")
        }
        Some(Format::Nagios) if rebooted || thresholds.any(Condition::needs_memory) => conflict(
            "'rebooted' needs what was seen before: '--output nagios' does without; as in uptime<10m",
        ),
        Some(format) if options.summary && format != Format::Table => conflict(
            "'--summary' is a line of the table, and cannot be used with another '--output'",
        ),
        Some(Format::Openmetrics) if rebooted => conflict(
            "'--where rebooted' needs what was seen before: '--output openmetrics' does without",
        ),
        _ if rebooted && options.no_memory && options.watch.is_none() => {
            conflict("'--where rebooted' cannot be used with '--no-memory'")
        }
        _ if rebooted && options.discover && options.watch.is_none() => conflict(
            "'--where rebooted' cannot be used with '--discover': what it finds is not remembered",
        ),
        _ => Ok(options),
    }
}

/// Whether this can only be meant as an option's value: the resolver would take `5` for 0.0.0.5,
/// which is no host's address.
fn is_number(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    word.chars().all(plain)
        && word.parse::<f64>().is_ok_and(|n| n < f64::from(1 << 24))
        && (!word.contains('.') || word.starts_with("0.") || word.starts_with('.'))
}

/// Help and version to standard output; a usage error as one line on standard error.
fn tell(error: clap::Error) -> u8 {
    if !error.use_stderr() {
        if output::is_closed() {
            output::complain(output::CLOSED);
            return 1;
        }
        // Whoever closed the pipe has seen enough of the help.
        let printed = error.print().and_then(|()| io::stdout().flush());
        return match printed {
            Err(failure) if failure.kind() != io::ErrorKind::BrokenPipe => {
                output::complain_of(&failure);
                1
            }
            _ => 0,
        };
    }
    let named = (error.kind() == ErrorKind::InvalidUtf8)
        .then(|| no_text(env::args_os().skip(1)))
        .flatten();
    let line = named.unwrap_or_else(|| cli::one_line(error));
    let line = format!("{line} (see ruptime --help)");
    if ask_for_a_plugin(env::args_os().skip(1)) {
        return output::unknown(&line);
    }
    output::complain(line);
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
        let words = line.split_whitespace().map(OsString::from);
        super::parse(words).map_err(cli::one_line)
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
        assert_eq!(parse("ruptime -an x").unwrap().sort(), Some(Key::Name));
        for (watch, milliseconds) in [
            ("-w", 2_000),
            ("--watch=0.5", 500),
            ("-w=5", 5_000),
            ("-w5", 5_000),
            ("-lrw.5", 500),
            ("-w1m", 60_000),
        ] {
            let options = parse(&format!("ruptime {watch} x")).unwrap();
            let interval = Some(Duration::from_millis(milliseconds));
            assert_eq!(
                (options.watch, options.hosts),
                (interval, vec!["x".into()]),
                "{watch}"
            );
        }
        // These are the values of other options, or hosts.
        for line in ["ruptime -fw5 x", "ruptime -p w5 x", "ruptime -- -w5"] {
            assert_eq!(parse(line).unwrap().watch, None, "{line}");
        }
        let times = parse("ruptime --timeout 250ms x").unwrap_err();
        assert!(times.contains("a unit of s, m, h, d or w"), "{times}");
        let options = parse("ruptime --wait 5m --rebooted --deadline 1h x").unwrap();
        assert!(options.rebooted);
        assert_eq!(options.wait, Some(Duration::from_secs(300)));
        assert_eq!(options.deadline, Some(Duration::from_secs(3600)));
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
            ("ruptime --rebooted x", "--wait <SECONDS>"),
            (
                "ruptime --deadline 3 -w x",
                "'--deadline <SECONDS>' cannot be used with",
            ),
            ("ruptime -l -o jsonl x", "as it answers"),
            ("ruptime -n -o jsonl x", "as it answers"),
            ("ruptime -w -o openmetrics x", "one scrape"),
            ("ruptime -p 0 x", "port 0: ports are 1 to 65535"),
            ("ruptime -p 99999 x", "port 99999"),
            ("ruptime --timeout 0 x", "'0' for '--timeout <SECONDS>'"),
            ("ruptime --timeout -1 x", "'-1' for '--timeout <SECONDS>'"),
            ("ruptime --wait -0.5 x", "'-0.5' for '--wait <SECONDS>'"),
            ("ruptime -w 5 x", "5 is no HOST: did you mean --watch=5?"),
            ("ruptime -t 5 x", "did you mean --timeout 5?"),
            ("ruptime 5", "5 is no HOST"),
            ("ruptime -wz y", "'-z'"),
            ("ruptime -w5x y", "'5x' for '--watch[=<SECONDS>]'"),
            ("ruptime --timeout nan x", "not a time"),
            ("ruptime --timeout inf x", "not a time"),
            ("ruptime --deadline 2y x", "'2y' for '--deadline <SECONDS>'"),
            ("ruptime --wait 53w x", "more than a year"),
            ("ruptime -j 0 x", "not a whole number above 0"),
            ("ruptime -o xml x", "'xml' for '--output <FORMAT>'"),
            ("ruptime --where load9>1 x", "'load9' is not a field"),
            ("ruptime --where uptime>5x x", "'5x' is not a time"),
            ("ruptime --where ! x", "use up, down"),
            ("ruptime --where rebooted --no-memory x", "--no-memory"),
            ("ruptime --where !rebooted -o openmetrics x", "openmetrics"),
            ("ruptime --where rebooted --discover", "not remembered"),
            (
                "ruptime --summary -o json x",
                "'--summary' is a line of the table",
            ),
            ("ruptime --no-such x", "'--no-such'"),
            ("ruptime --warning load1>5 x", "are for '--output nagios'"),
            (
                "ruptime -o json --critical load1>5 x",
                "are for '--output nagios'",
            ),
            (
                "ruptime -o nagios --warning load9>5 x",
                "'load9' is not a field",
            ),
            ("ruptime -o nagios --critical rebooted x", "does without"),
            ("ruptime -o nagios -w x", "that is one answer"),
        ];
        for (line, part) in table {
            let told = parse(line).unwrap_err();
            assert!(told.contains(part), "{line}: {told}");
            assert!(!told.contains('\n'), "{line}: {told}");
        }
    }

    #[test]
    fn a_wrong_call_of_the_plugin_is_known_by_its_words() {
        let asks = |line: &str| ask_for_a_plugin(line.split(' ').map(OsString::from));
        for line in [
            "-o nagios -4 -6 x",
            "-4onagios --x",
            "--x --output=nagios",
            "--output nagios",
            "-lo=nagios",
        ] {
            assert!(asks(line), "{line}");
        }
        for line in [
            "nagios",
            "-o json nagios",
            "--outputs nagios",
            "-x -f nagios",
            "-p o nagios",
        ] {
            assert!(!asks(line), "{line}");
        }
    }

    #[test]
    fn only_what_is_nobodys_address_is_taken_for_a_value() {
        for word in ["5", "60", "0.5", ".5", "3600"] {
            assert!(is_number(word), "{word}");
        }
        // The last are 127.0.0.1 as inet_aton(3) reads it.
        for word in ["web1", "192.0.2.7", "5s", "", "127.1", "2130706433"] {
            assert!(!is_number(word), "{word}");
        }
    }

    #[test]
    fn an_argument_cannot_write_to_the_terminal() {
        let told = parse("ruptime --timeout \u{1b}[31m x").unwrap_err();
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }
}
