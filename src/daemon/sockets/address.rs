//! What `--listen` takes: words come in, addresses to be looked up and bound go out. Pure.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

/// What `--listen` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenAddr {
    /// `HOST:PORT` or `PORT`, TCP or UDP. No host: every address of the machine.
    Inet {
        datagram: bool,
        host: Option<String>,
        port: u16,
    },
    /// `unix:PATH`, a stream socket.
    Unix(PathBuf),
    /// `unix:@NAME`, a stream socket in the abstract name space (unix(7)).
    Abstract(String),
}

impl FromStr for ListenAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match (path, path.strip_prefix('@')) {
                ("", _) => Err("unix: needs a path, such as unix:/run/ruptime.sock".to_owned()),
                (_, Some("")) => Err("unix:@ needs a name, such as unix:@ruptime".to_owned()),
                (_, Some(name)) => Ok(ListenAddr::Abstract(name.to_owned())),
                (path, None) => Ok(ListenAddr::Unix(path.into())),
            };
        }
        let (datagram, rest) = match text.strip_prefix("udp:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (host, port) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((host, port)) => (Some(host_name(host)?), port),
        };
        let port = Some(port)
            .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| format!("invalid port '{}': 0-65535", port.escape_debug()))?;
        Ok(ListenAddr::Inet {
            datagram,
            host,
            port,
        })
    }
}

fn host_name(host: &str) -> Result<String, String> {
    if let Some(rest) = host.strip_prefix('[') {
        let v6 = rest.strip_suffix(']').ok_or("'[' without its ']'")?;
        let (address, zone) = match v6.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (v6, None),
        };
        return match address.parse::<Ipv6Addr>() {
            Ok(address) if zone.is_none() && needs_zone(address) => Err(no_zone(address)),
            Ok(_) => Ok(v6.to_owned()),
            Err(_) => Err(format!(
                "'{}' in brackets is no IPv6 address",
                v6.escape_debug()
            )),
        };
    }
    if host.is_empty() {
        Err("no host before the ':'; write the port alone for every address".to_owned())
    } else if host.contains(':') {
        Err("an IPv6 address needs brackets: [::1]:10513".to_owned())
    } else if host.contains(['[', ']']) {
        Err(format!("'{}' is no host", host.escape_debug()))
    } else {
        Ok(host.to_owned())
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddr::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddr::Abstract(name) => write!(f, "unix:@{name}"),
            ListenAddr::Inet {
                datagram,
                host,
                port,
            } => {
                let scheme = if *datagram { "udp:" } else { "" };
                match host {
                    Some(host) if host.contains(':') => write!(f, "{scheme}[{host}]:{port}"),
                    Some(host) => write!(f, "{scheme}{host}:{port}"),
                    None => write!(f, "{scheme}{port}"),
                }
            }
        }
    }
}

/// True for an address that means something only on one link, or on one interface (RFC 4007).
pub(super) fn needs_zone(address: Ipv6Addr) -> bool {
    const INTERFACE_LOCAL: u16 = 1;
    const LINK_LOCAL: u16 = 2;
    let scope = address.segments()[0] & 0xf;
    address.is_unicast_link_local()
        || (address.is_multicast() && [INTERFACE_LOCAL, LINK_LOCAL].contains(&scope))
}

pub(super) fn no_zone(address: Ipv6Addr) -> String {
    format!("{address} is a link-local address; name its interface: [{address}%eth0]:10513")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<ListenAddr, String> {
        text.parse()
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        for text in [
            "10513",
            "0",
            "127.0.0.1:10513",
            "[::1]:10513",
            "[fe80::1%lo]:7",
            "localhost:80",
            "udp:10513",
            "udp:127.0.0.1:1",
            "udp:[::]:1",
            "unix:/run/ruptime.sock",
            "unix:@ruptime",
        ] {
            assert_eq!(parsed(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":",
            ":80",
            "80:",
            "::1:80",
            "[::1",
            "[::1]",
            "65536",
            "-1",
            "localhost",
            "[]:0",
            "[localhost]:80",
            "[a:b]:1",
            "[x[y]:1",
            "x]:1",
            "+80",
            "h:+80",
            "unix:",
            "unix:@",
            "udp:",
            "[fe80::1]:1",
            "udp:[ff02::1]:1",
            "tcp:h:x",
        ] {
            assert!(parsed(text).is_err(), "{text:?} was taken");
        }
    }
}
