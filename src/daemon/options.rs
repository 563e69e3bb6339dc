//! The command line of `ruptimed`: arguments come in, checked [`Options`] go out.
//!
//! What can be refused by looking at the words alone is refused here, with exit status 2; what
//! needs a system call (a port in use, a descriptor that is no socket) is for `sockets`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{CommandFactory, Parser, ValueEnum};
use ipnet::IpNet;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Group};

use crate::cli;
use crate::daemon::logging::Level;
use crate::daemon::sockets::address::ListenAddr;
use crate::daemon::sockets::unix::Access;

/// How a stream client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Handoff {
    /// each connection becomes the standard output of a command of its own
    Exec,
    /// one run of the command answers everyone who waits
    Capture,
}

/// `ruptimed`'s options, as ruptimed(8) describes them.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ruptimed",
    version,
    about = "Answer every connection with the output of uptime(1)",
    override_usage = "ruptimed [OPTIONS] [-- COMMAND [ARG]...]",
    after_help = EXAMPLES,
    max_term_width = 100
)]
pub(crate) struct Options {
    #[arg(
        short,
        long,
        value_name = "ADDR",
        conflicts_with = "inetd",
        help = "Bind ADDR instead of inheriting sockets: PORT, HOST:PORT, [V6]:PORT, udp:HOST:PORT, unix:PATH or unix:@NAME (repeatable)"
    )]
    pub(crate) listen: Vec<ListenAddr>,

    /// Serve the socket on standard input, as inetd, xinetd, socat and StandardInput=socket pass it
    #[arg(short, long)]
    pub(crate) inetd: bool,

    /// How to answer stream clients
    #[arg(long, value_enum, value_name = "HOW", default_value = "exec")]
    pub(crate) handoff: Handoff,

    /// With capture and datagrams: reuse an answer for up to SECONDS; with 0 every answer is
    /// measured after its request
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = cli::time_from_0)]
    pub(crate) max_age: Duration,

    /// Run at most N commands at once, and one shared run besides; further clients wait in the
    /// backlog
    #[arg(short = 'c', long, value_name = "N", default_value = "64", value_parser = at_least_one)]
    pub(crate) max_children: NonZeroUsize,

    /// Serve at most N connections at once from one address (an IPv4 address or an IPv6 /64)
    /// [default: no limit]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_per_source: Option<NonZeroUsize>,

    /// Stop a command and its process group after SECONDS
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = cli::time)]
    pub(crate) child_timeout: Duration,

    /// Exit after SECONDS without a request; only with inherited sockets [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = cli::time, conflicts_with = "listen")]
    pub(crate) idle_timeout: Option<Duration>,

    /// Answer only clients in NET, in CIDR notation; UNIX sockets always (repeatable)
    /// [default: everyone]
    #[arg(long, value_name = "NET", value_parser = network)]
    pub(crate) allow: Vec<IpNet>,

    /// Send at most N datagrams, and N times 512 bytes, a second to one source (an IPv4 /24 or an
    /// IPv6 /56); 0 is no limit
    #[arg(long, value_name = "N", default_value = "10")]
    pub(crate) rate_limit: u32,

    /// Mode of the socket file, in octal; only with --listen unix:PATH [default: 0777 less the
    /// umask]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub(crate) socket_mode: Option<Mode>,

    /// Group of the socket file, by name or number; only with --listen unix:PATH [default: the
    /// daemon's own]
    #[arg(long, value_name = "GROUP", value_parser = group)]
    pub(crate) socket_group: Option<Gid>,

    /// Write records of this level and above
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "notice")]
    pub(crate) log_level: Level,

    /// The command that answers, and its arguments [default: /usr/bin/uptime]
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

impl Options {
    /// Who may connect to the sockets of `--listen unix:PATH`.
    pub(crate) fn access(&self) -> Access {
        Access {
            mode: self.socket_mode,
            group: self.socket_group,
        }
    }

    /// What clap cannot see: options that need another one, of a certain kind.
    ///
    /// # Errors
    /// One sentence that names the option.
    pub(crate) fn check(&self) -> Result<(), String> {
        let has_file = |listen: &ListenAddr| matches!(listen, ListenAddr::Unix(_));
        let given = match (self.socket_mode, self.socket_group) {
            (None, None) => return Ok(()),
            (Some(_), _) => "--socket-mode",
            (None, Some(_)) => "--socket-group",
        };
        if self.listen.iter().any(has_file) {
            return Ok(());
        }
        Err(format!(
            "{given} needs --listen unix:PATH: nothing else makes a socket file"
        ))
    }
}

const EXAMPLES: &str = "\
Examples:
  systemctl enable --now ruptime.socket           the usual way: systemd holds the socket
  systemd-socket-activate -l 10513 ruptimed       the same by hand
  ruptimed --listen 127.0.0.1:10513               without a service manager
  ruptimed --listen 10513 --allow 192.0.2.0/24    only for one network
  ruptimed --listen 10513 -- /usr/bin/who         another command";

/// The command line as clap knows it, for completions and for checking the manual page.
pub fn command() -> clap::Command {
    Options::command()
}

fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .map_err(|_| "not a whole number from 1 up".to_owned())
}

/// The mode of a file in octal, as chmod(1) takes it.
fn mode(text: &str) -> Result<Mode, String> {
    let is_octal =
        (1..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let bits = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
    bits.filter(|bits| *bits <= 0o777)
        .and_then(Mode::from_bits)
        .ok_or_else(|| "not a mode in octal from 0 to 0777, such as 0660".to_owned())
}

/// A group's name in group(5), else its number.
fn group(text: &str) -> Result<Gid, String> {
    match Group::from_name(text) {
        Ok(Some(group)) => return Ok(group.gid),
        Ok(None) => {}
        Err(errno) => return Err(format!("cannot be looked up: {}", errno.desc())),
    }
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    // The last number means "leave it" to chown(2).
    number
        .filter(|number| *number != u32::MAX)
        .map(Gid::from_raw)
        .ok_or_else(|| "there is no such group".to_owned())
}

/// A network in CIDR notation, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse().map(|addr: std::net::IpAddr| addr.into()))
        .map_err(|_| "not a network, such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from(["ruptimed"].iter().chain(args))
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let options = parse(&[]).expect("no arguments are fine");
        assert_eq!(options.handoff, Handoff::Exec);
        assert_eq!(options.max_age, Duration::ZERO);
        assert_eq!(options.max_children.get(), 64);
        assert_eq!(options.max_per_source, None);
        assert_eq!(options.child_timeout, Duration::from_secs(10));
        assert_eq!(options.idle_timeout, None);
        assert_eq!(options.rate_limit, 10);
        assert_eq!(options.log_level, Level::Notice);
        assert!(options.command.is_empty() && options.allow.is_empty());
    }

    #[test]
    fn what_follows_the_dashes_is_the_command() {
        let options = parse(&["-c", "3", "--", "echo", "--inetd"]).expect("valid");
        assert_eq!(options.command, ["echo", "--inetd"]);
        assert!(!options.inetd);
    }

    #[test]
    fn unusable_values_are_refused() {
        for args in [
            &["--max-children", "0"][..],
            &["--max-per-source", "0"],
            &["--child-timeout", "0"],
            &["--child-timeout", "-1"],
            &["--child-timeout", "inf"],
            &["--child-timeout", "NaN"],
            &["--idle-timeout", "1e300"],
            &["--allow", "192.0.2.0/33"],
            &["--allow", "example.org"],
            &["--rate-limit", "-1"],
            &["--log-level", "loud"],
            &["--handoff", "fork"],
            &["--listen", ""],
            &["--socket-mode", "rw"],
            &["--socket-mode", "1777"],
            &["--socket-mode", "00660"],
            &["--socket-mode", "+66"],
            &["--socket-mode", ""],
            &["--socket-group", "no-such-group"],
            &["--socket-group", "4294967295"],
            &["--socket-group", ""],
            &["--listen", "127.0.0.1:0", "--inetd"],
            &["--listen", "127.0.0.1:0", "--idle-timeout", "1"],
            &["/usr/bin/uptime"],
        ] {
            assert!(parse(args).is_err(), "{args:?} was taken");
        }
    }

    #[test]
    fn a_time_can_have_a_unit() {
        let options = parse(&["--child-timeout", "2m", "--max-age", "0.5"]).expect("valid");
        assert_eq!(options.child_timeout, Duration::from_secs(120));
        assert_eq!(options.max_age, Duration::from_millis(500));
    }

    #[test]
    fn the_rights_of_a_socket_file_need_one() {
        let options = parse(&["--socket-mode", "660", "--socket-group", "0"]).expect("valid");
        let access = options.access();
        assert_eq!(access.mode.map(|mode| mode.bits()), Some(0o660));
        assert_eq!(access.group, Some(Gid::from_raw(0)));
        let refused = |listen: &[&str]| {
            let words = [&["--socket-group", "0"], listen].concat();
            parse(&words).expect("valid").check().is_err()
        };
        assert!(refused(&[]) && refused(&["-i"]));
        assert!(refused(&["-l", "10513"]) && refused(&["-l", "unix:@ruptime"]));
        assert!(!refused(&["-l", "10513", "-l", "unix:/run/s"]));
    }

    #[test]
    fn networks_and_single_addresses_are_taken() {
        let options = parse(&["--allow", "192.0.2.0/24", "--allow", "::1"]).expect("valid");
        assert_eq!(options.allow[1].prefix_len(), 128);
    }
}
