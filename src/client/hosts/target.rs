//! A HOST as the user wrote it → where to ask. Pure: no look-up, no file, no socket.
//!
//! Comes in: one word from the command line or a hosts file. Goes out: a [`Target`], or one line
//! that says what is wrong with the word. It is apart from the asking so that every form can be
//! tested by a table, and so that a bad word is told before anything is sent.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::bad;

/// The longest path that fits into a `sockaddr_un` with its closing NUL, and the longest abstract
/// name behind its opening one; unix(7).
const UNIX_PATH_MAX: usize = 107;
/// The longest name that DNS can carry, RFC 1035 section 2.3.4, with a trailing dot.
const NAME_MAX: usize = 254;
/// The longest interface name, `IFNAMSIZ` less its NUL; netdevice(7).
const SCOPE_MAX: usize = 15;

/// One host to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What the user wrote; shown as the host in every output.
    pub word: String,
    /// What it means.
    pub endpoint: Endpoint,
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A UNIX socket, whatever its type turns out to be: a path, or `@` and an abstract name.
    Unix(PathBuf),
    /// A machine that ssh(1) asks.
    Ssh {
        /// None: what ssh_config(5) says, as for the port.
        user: Option<String>,
        /// A name that ssh looks up, or an address.
        host: Host,
        /// Of the ssh server.
        port: Option<Port>,
    },
    /// A host on a network.
    Net {
        /// `udp:` was written: datagrams, whatever the command line says for the others.
        udp: bool,
        /// Its name or address.
        host: Host,
        /// None: the port that the command line gives, or the service's own.
        port: Option<Port>,
    },
}

/// A host's name or numeric address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// To be looked up.
    Name(String),
    /// A numeric address.
    Address(IpAddr),
    /// A link-local address with its zone, RFC 4007 section 11: an interface's name or number.
    Scoped(Ipv6Addr, String),
}

/// A port as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// 1 to 65535.
    Number(u16),
    /// A name from services(5).
    Service(String),
}

impl Target {
    /// Reads one HOST: `NAME`, `NAME:PORT`, `[V6]:PORT`, a bare address, `udp:…`, `unix:PATH`,
    /// `unix:@NAME`, `ssh:[USER@]HOST`.
    ///
    /// # Errors
    /// What is wrong with it: one line without the word itself, safe to print.
    pub fn parse(word: &str) -> Result<Target, String> {
        let endpoint = if let Some(path) = word.strip_prefix("unix:") {
            Endpoint::Unix(unix_path(path)?)
        } else if let Some(login) = word.strip_prefix("ssh:") {
            ssh(login)?
        } else {
            network(word)?
        };
        Ok(Target {
            word: word.to_owned(),
            endpoint,
        })
    }

    /// Whether asking it needs neither a name look-up nor a process.
    pub fn is_direct(&self) -> bool {
        match &self.endpoint {
            Endpoint::Unix(_) => true,
            Endpoint::Ssh { .. } => false,
            Endpoint::Net { host, .. } => !matches!(host, Host::Name(_)),
        }
    }
}

fn unix_path(path: &str) -> Result<PathBuf, String> {
    if path.is_empty() {
        return bad("unix: needs the path of a socket, or @ and an abstract name");
    }
    if path == "@" {
        return bad("unix:@ needs a name behind it");
    }
    if path.contains('\0') {
        return bad("a socket's path cannot have a NUL in it");
    }
    let length = path.strip_prefix('@').unwrap_or(path).len();
    if length > UNIX_PATH_MAX {
        return bad(format!(
            "a socket's path has at most {UNIX_PATH_MAX} bytes, this one has {length}"
        ));
    }
    Ok(PathBuf::from(path))
}

/// `[USER@]HOST`. Nothing of it can be an option of ssh, or more than a word to the shell of a
/// ProxyCommand, which may have all of it (ssh_config(5), TOKENS).
fn ssh(login: &str) -> Result<Endpoint, String> {
    let (user, rest) = match login.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, login),
    };
    if user.is_some_and(str::is_empty) {
        return bad("ssh:USER@HOST needs a user before the @");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    if let Some(c) = user.and_then(|user| user.chars().find(|c| !plain(*c))) {
        return bad(format!(
            "no user's name for ssh has a '{}' in it",
            c.escape_default()
        ));
    }
    if user.unwrap_or(rest).starts_with('-') || rest.starts_with('-') {
        return bad("what begins with - would be an option of ssh");
    }
    let (host, port) = match network(rest)? {
        Endpoint::Net { host, port, .. } if !rest.starts_with("udp:") => (host, port),
        _ => return bad("two schemes: write ssh:HOST or udp:HOST"),
    };
    if matches!(&host, Host::Scoped(_, zone) if !zone.chars().all(plain)) {
        return bad("what follows % is no network interface");
    }
    Ok(Endpoint::Ssh {
        user: user.map(str::to_owned),
        host,
        port,
    })
}

fn network(word: &str) -> Result<Endpoint, String> {
    let (udp, rest) = match word.strip_prefix("udp:") {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    if ["unix:", "udp:", "ssh:"]
        .iter()
        .any(|scheme| rest.starts_with(scheme))
    {
        return bad("two schemes: write udp:HOST, ssh:HOST or unix:PATH");
    }
    if rest.contains("://") {
        return bad("a URL is no HOST: write NAME or NAME:PORT");
    }
    let (host, port) = host_and_port(rest)?;
    if let Host::Address(IpAddr::V6(v6)) = host {
        // RFC 4007 section 6: such an address means something only within its zone.
        if v6.is_unicast_link_local() {
            return bad(format!(
                "a link-local address needs its interface: {v6}%INTERFACE"
            ));
        }
    }
    Ok(Endpoint::Net { udp, host, port })
}

fn host_and_port(text: &str) -> Result<(Host, Option<Port>), String> {
    if text.is_empty() {
        return bad("the host's name is empty");
    }
    if let Some(inner) = text.strip_prefix('[') {
        return bracketed(inner);
    }
    match text.bytes().filter(|byte| *byte == b':').count() {
        0 => Ok((name_or_v4(text)?, None)),
        1 => {
            let (name, port) = text.split_once(':').unwrap_or((text, ""));
            if name.is_empty() {
                return bad("the host's name is empty");
            }
            Ok((name_or_v4(name)?, Some(Port::parse(port)?)))
        }
        _ => match v6(text)? {
            Some(host) => Ok((host, None)),
            None => bad("more than one colon and no IPv6 address; a port goes after [ADDRESS]"),
        },
    }
}

/// What follows an opening bracket: `V6]` or `V6]:PORT`.
fn bracketed(inner: &str) -> Result<(Host, Option<Port>), String> {
    let Some((address, rest)) = inner.split_once(']') else {
        return bad("a bracket that does not close; write [ADDRESS]:PORT");
    };
    let Some(host) = v6(&decoded_zone(address))? else {
        return bad("what is in the brackets is no IPv6 address");
    };
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(Port::parse(port)?))),
        None if rest.is_empty() => Ok((host, None)),
        None => bad("only :PORT may follow the closing bracket"),
    }
}

/// A zone as URLs have it, `fe80::1%25eth0` (RFC 6874), as `fe80::1%eth0`. Where only digits follow
/// it is the number of an interface: `%251` is number 251.
fn decoded_zone(address: &str) -> Cow<'_, str> {
    match address.split_once("%25") {
        Some((address, zone)) if zone.bytes().any(|byte| !byte.is_ascii_digit()) => {
            format!("{address}%{zone}").into()
        }
        _ => address.into(),
    }
}

/// An IPv6 address with or without a zone; `None` when it is no address at all.
fn v6(text: &str) -> Result<Option<Host>, String> {
    let Some((address, zone)) = text.split_once('%') else {
        return Ok(text.parse().ok().map(|v6| Host::Address(IpAddr::V6(v6))));
    };
    let Ok(address) = address.parse::<Ipv6Addr>() else {
        return Ok(None);
    };
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '%' | '[' | ']');
    if zone.is_empty() || zone.len() > SCOPE_MAX || !zone.chars().all(plain) {
        return bad("what follows % is no network interface");
    }
    Ok(Some(Host::Scoped(address, zone.to_owned())))
}

/// A name, or an IPv4 address; what is neither is left to the resolver if it could be a name.
fn name_or_v4(text: &str) -> Result<Host, String> {
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(IpAddr::V4(v4)));
    }
    if is_numbers(text) {
        return bad(
            "an IPv4 address is four numbers from 0 to 255 with dots and without leading zeros",
        );
    }
    if text.len() > NAME_MAX {
        return bad(format!(
            "a host's name has at most {NAME_MAX} bytes, this one has {}",
            text.len()
        ));
    }
    // Not only letters, digits and hyphens: names of a local network have underscores, and names
    // beyond ASCII are the resolver's to judge. What no name has can only be a slip.
    let odd = |c: char| {
        c.is_control()
            || c.is_whitespace()
            || (c.is_ascii_punctuation() && !matches!(c, '-' | '_' | '.'))
    };
    match text.chars().find(|c| odd(*c)) {
        Some('@') => bad("only ssh:USER@HOST has a user, and no other host a '@' in it"),
        Some('%') => bad("only an IPv6 address can have a %INTERFACE"),
        Some(c) => bad(format!(
            "no host's name has a '{}' in it",
            c.escape_default()
        )),
        None => Ok(Host::Name(text.to_owned())),
    }
}

/// Whether every label is a number, decimal or after `0x`. No name is so (RFC 3696 section 2: a
/// top-level domain is not all digits), but the C library reads addresses in it: 127.0.0.011 as
/// 127.0.0.9, 127.1 as 127.0.0.1, 2130706433 as 127.0.0.1, by inet_aton(3). RFC 6943 section 3.1.1
/// tells what comes of that. Full-width forms count, because the resolver maps them to ASCII.
fn is_numbers(text: &str) -> bool {
    let ascii = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '\u{3002}' | '\u{ff61}' => '.',
        c => c,
    };
    if !text.chars().next().is_some_and(|c| ascii(c).is_numeric()) {
        return false;
    }
    let text: String = text.chars().map(ascii).collect();
    let mut labels = text.strip_suffix('.').unwrap_or(&text).split('.');
    labels.all(|label| match label.strip_prefix('0') {
        Some(hex) if hex.starts_with(['x', 'X']) => hex[1..].chars().all(|c| c.is_ascii_hexdigit()),
        _ => !label.is_empty() && label.chars().all(char::is_numeric),
    })
}

impl Port {
    /// Reads a port's number or a service's name (RFC 6335 section 5.1: letters, digits and
    /// hyphens, at least one letter; real services(5) files have `_`, `.` and `+` too).
    ///
    /// # Errors
    /// What is wrong with it: one line, safe to print.
    pub fn parse(text: &str) -> Result<Port, String> {
        if text.is_empty() {
            return bad("the port is empty");
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse::<u16>() {
                Ok(number) if number > 0 => Ok(Port::Number(number)),
                _ => bad(format!("port {}: ports are 1 to 65535", shorten(text))),
            };
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
        if text.len() <= 64
            && text.bytes().all(fits)
            && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        {
            return Ok(Port::Service(text.to_owned()));
        }
        bad("the port is neither a number from 1 to 65535 nor a service's name")
    }
}

/// A long run of digits cut to what a reader needs.
fn shorten(digits: &str) -> String {
    if digits.len() <= 12 {
        return digits.to_owned();
    }
    format!("{}…", &digits[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(udp: bool, host: Host, port: Option<Port>) -> Endpoint {
        Endpoint::Net { udp, host, port }
    }
    fn name(text: &str) -> Host {
        Host::Name(text.to_owned())
    }
    fn address(text: &str) -> Host {
        Host::Address(text.parse().unwrap())
    }
    fn scoped(text: &str, zone: &str) -> Host {
        Host::Scoped(text.parse().unwrap(), zone.to_owned())
    }
    fn number(number: u16) -> Option<Port> {
        Some(Port::Number(number))
    }
    fn service(name: &str) -> Option<Port> {
        Some(Port::Service(name.to_owned()))
    }

    #[test]
    fn every_form_is_read() {
        let table = [
            ("web1", net(false, name("web1"), None)),
            (
                "web1.example.org.",
                net(false, name("web1.example.org."), None),
            ),
            ("my_host", net(false, name("my_host"), None)),
            ("bücher.example", net(false, name("bücher.example"), None)),
            ("1.web", net(false, name("1.web"), None)),
            ("web.1", net(false, name("web.1"), None)),
            ("0xyz", net(false, name("0xyz"), None)),
            ("3com", net(false, name("3com"), None)),
            ("web1:80", net(false, name("web1"), number(80))),
            ("web1:65535", net(false, name("web1"), number(65535))),
            ("web1:http", net(false, name("web1"), service("http"))),
            (
                "web1:http-alt",
                net(false, name("web1"), service("http-alt")),
            ),
            ("192.0.2.7", net(false, address("192.0.2.7"), None)),
            ("192.0.2.7:1", net(false, address("192.0.2.7"), number(1))),
            ("::1", net(false, address("::1"), None)),
            ("::", net(false, address("::"), None)),
            ("2001:db8::7", net(false, address("2001:db8::7"), None)),
            (
                "::ffff:192.0.2.7",
                net(false, address("::ffff:192.0.2.7"), None),
            ),
            ("[::1]", net(false, address("::1"), None)),
            ("[::1]:13", net(false, address("::1"), number(13))),
            (
                "[::1]:ruptime",
                net(false, address("::1"), service("ruptime")),
            ),
            ("fe80::1%eth0", net(false, scoped("fe80::1", "eth0"), None)),
            (
                "[fe80::1%2]:99",
                net(false, scoped("fe80::1", "2"), number(99)),
            ),
            (
                "[fe80::1%25eth0]:99",
                net(false, scoped("fe80::1", "eth0"), number(99)),
            ),
            ("[fe80::1%251]", net(false, scoped("fe80::1", "251"), None)),
            ("[fe80::1%25]", net(false, scoped("fe80::1", "25"), None)),
            ("udp:web1", net(true, name("web1"), None)),
            ("udp:web1:13", net(true, name("web1"), number(13))),
            ("udp:[::1]:13", net(true, address("::1"), number(13))),
            (
                "udp:fe80::1%eth0",
                net(true, scoped("fe80::1", "eth0"), None),
            ),
            (
                "ssh:web1",
                Endpoint::Ssh {
                    user: None,
                    host: name("web1"),
                    port: None,
                },
            ),
            (
                "ssh:root@[fe80::1%eth0]:2222",
                Endpoint::Ssh {
                    user: Some("root".to_owned()),
                    host: scoped("fe80::1", "eth0"),
                    port: number(2222),
                },
            ),
            (
                "unix:/run/ruptime.sock",
                Endpoint::Unix("/run/ruptime.sock".into()),
            ),
            ("unix:a b:c", Endpoint::Unix("a b:c".into())),
            ("unix:@ruptime", Endpoint::Unix("@ruptime".into())),
        ];
        for (word, endpoint) in table {
            let target = Target::parse(word).unwrap_or_else(|reason| panic!("{word}: {reason}"));
            assert_eq!(target.endpoint, endpoint, "{word}");
            assert_eq!(target.word, word);
        }
    }

    #[test]
    fn every_slip_is_told_in_one_line() {
        let long_path = format!("unix:/{}", "x".repeat(107));
        let long_name = "x".repeat(255);
        let table = [
            ("", "empty"),
            ("udp:", "empty"),
            (":80", "empty"),
            ("web1:", "the port is empty"),
            ("[::1]:", "the port is empty"),
            ("web1:0", "port 0: ports are 1 to 65535"),
            ("web1:99999", "port 99999: ports are 1 to 65535"),
            ("web1:65536", "port 65536"),
            ("[::1]:0", "port 0"),
            ("web1:99999999999999999999999999", "ports are 1 to 65535"),
            ("web1:-1", "neither a number"),
            ("web1:+80", "neither a number"),
            ("web1:8 0", "neither a number"),
            ("[::1", "does not close"),
            ("[::1]80", "only :PORT"),
            ("127.0.0.011", "without leading zeros"),
            ("127.1", "four numbers"),
            ("0x7f.1", "four numbers"),
            ("0x7f000001:80", "four numbers"),
            ("2130706433", "four numbers"),
            ("udp:1.2.3.4.5", "four numbers"),
            ("256.1.1.1", "from 0 to 255"),
            ("192.0.2.7.", "four numbers"),
            ("１２７.0.0.１", "four numbers"),
            ("0ｘ7f。1", "four numbers"),
            ("[web1]:80", "no IPv6 address"),
            ("[192.0.2.7]:80", "no IPv6 address"),
            ("[]:80", "no IPv6 address"),
            ("1:2:3", "more than one colon"),
            ("web1:80:90", "more than one colon"),
            ("::1:zz", "more than one colon"),
            ("fe80::1%", "no network interface"),
            ("fe80::1%a/b", "no network interface"),
            ("fe80::1%sixteen-letters-x", "no network interface"),
            ("web1%eth0", "%INTERFACE"),
            ("192.0.2.7%eth0", "%INTERFACE"),
            ("web 1", "' ' in it"),
            ("web1\u{1b}[31m", "'\\u{1b}' in it"),
            ("user@web1", "only ssh:USER@HOST"),
            ("ssh:", "empty"),
            ("ssh:@web1", "a user before the @"),
            ("ssh:-oProxyCommand=x", "an option of ssh"),
            ("ssh:-l", "an option of ssh"),
            ("ssh:root@-oProxyCommand", "an option of ssh"),
            ("ssh:-oX@web1", "an option of ssh"),
            ("ssh:a;b@web1", "';' in it"),
            ("ssh:$(id)@web1", "'$' in it"),
            ("ssh:a b@web1", "' ' in it"),
            ("ssh:web1;id", "';' in it"),
            ("ssh:fe80::1%`id`", "no network interface"),
            ("ssh:udp:web1", "two schemes"),
            ("udp:ssh:web1", "two schemes"),
            ("ssh:ssh:web1", "two schemes"),
            ("ssh:unix:/x", "two schemes"),
            ("ssh://web1", "'/'"),
            ("http://web1/", "a URL is no HOST"),
            ("udp:http://web1:80", "a URL is no HOST"),
            ("fe80::1", "fe80::1%INTERFACE"),
            ("udp:[fe80::1]:80", "fe80::1%INTERFACE"),
            ("web1/x", "'/' in it"),
            ("udp:unix:/x", "two schemes"),
            ("udp:udp:web1", "two schemes"),
            ("unix:", "needs the path"),
            ("unix:/a\0b", "NUL"),
            (&long_path, "at most 107 bytes"),
            (&long_name, "at most 254 bytes"),
        ];
        for (word, part) in table {
            let reason = Target::parse(word).unwrap_err().to_string();
            assert!(reason.contains(part), "{word:?}: {reason}");
            assert!(!reason.contains(char::is_control), "{word:?}: {reason:?}");
        }
    }

    /// Every string over a small alphabet of the characters that matter, up to a length: none
    /// panics, and what is read keeps the word and a port within its bounds.
    #[test]
    fn no_word_panics() {
        const ALPHABET: [&str; 14] = [
            "a", "0", "9", ":", "[", "]", "%", ".", "-", "é", "udp:", "unix:", "ssh:", "@",
        ];
        let mut words = vec![String::new()];
        for _ in 0..4 {
            words = words
                .iter()
                .flat_map(|word| ALPHABET.iter().map(move |part| format!("{word}{part}")))
                .collect();
            for word in &words {
                if let Ok(target) = Target::parse(word) {
                    assert_eq!(&target.word, word);
                    if let Endpoint::Net {
                        host: Host::Name(name),
                        ..
                    } = target.endpoint
                    {
                        assert!(!name.is_empty() && !name.contains(':'), "{word}");
                    }
                }
            }
        }
    }
}
