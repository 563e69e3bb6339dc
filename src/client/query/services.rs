//! A service's name → its port, from services(5).
//!
//! Comes in: a name and whether it is for datagrams. Goes out: the port, or None. The file is
//! read directly, once and only when a name must be known: going through the C library's name
//! service switch cost a quarter of a whole call to one host, and what networks still hand out
//! services from elsewhere give the port by its number.

use std::cell::OnceCell;
use std::fs;

use crate::client::hosts::target::Port;

/// Where the names are; services(5).
const FILE: &str = "/etc/services";

/// The file's text, once somebody has needed it.
#[derive(Default)]
pub(crate) struct Services(OnceCell<String>);

impl Services {
    /// The port of `name`, for datagrams or for streams. None where the file has no such entry, or
    /// cannot be read: a machine without the file knows no names.
    pub(super) fn port_of(&self, name: &str, udp: bool) -> Option<u16> {
        // Not read_to_string: one odd byte in a comment must not hide every entry.
        let read = || {
            let bytes = fs::read(FILE).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let protocol = if udp { "udp" } else { "tcp" };
        find(self.0.get_or_init(read), name, protocol)
    }

    /// What is wrong with a port that is written for hosts of both kinds, or for datagrams only.
    /// Where the file has it for the other kind, hosts of that kind can be meant.
    pub(crate) fn check(&self, port: &Port, datagrams: bool) -> Result<(), String> {
        match port {
            Port::Service(name) if self.port_of(name, true).is_none() => {
                if !datagrams && self.port_of(name, false).is_some() {
                    return Ok(());
                }
                let protocol = if datagrams { "/udp" } else { "" };
                let hint = "give the port's number";
                Err(format!("{FILE} has no service {name}{protocol}; {hint}"))
            }
            _ => Ok(()),
        }
    }
}

/// Looks through a file's text: `name port/protocol alias… # comment`.
fn find(text: &str, name: &str, protocol: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let first = words.next()?;
        let (port, entry_protocol) = words.next()?.split_once('/')?;
        let named = first == name || words.any(|alias| alias == name);
        if !named || entry_protocol != protocol {
            return None;
        }
        port.parse().ok().filter(|port| *port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
discard\t\t9/tcp\t\tsink null
discard\t\t9/udp\t\tsink null
http\t80/tcp www # WorldWideWeb
broken
broken2 /tcp
broken3 99999/tcp
#ruptime 7/tcp
ruptime 4242/udp
";

    #[test]
    fn names_and_aliases_by_protocol() {
        assert_eq!(find(TEXT, "http", "tcp"), Some(80));
        assert_eq!(find(TEXT, "www", "tcp"), Some(80));
        assert_eq!(find(TEXT, "null", "udp"), Some(9));
        assert_eq!(find(TEXT, "http", "udp"), None);
        assert_eq!(find(TEXT, "WorldWideWeb", "tcp"), None);
        assert_eq!(find(TEXT, "ruptime", "tcp"), None);
        assert_eq!(find(TEXT, "ruptime", "udp"), Some(4242));
        assert_eq!(find(TEXT, "broken", "tcp"), None);
        assert_eq!(find(TEXT, "broken2", "tcp"), None);
        assert_eq!(find(TEXT, "broken3", "tcp"), None);
        assert_eq!(find("", "http", "tcp"), None);
    }

    #[test]
    fn a_name_that_no_host_can_be_asked_by_is_refused() {
        let services = Services(OnceCell::from(TEXT.to_owned()));
        let check = |name: &str, datagrams| {
            let port = Port::parse(name).unwrap();
            services.check(&port, datagrams).err().unwrap_or_default()
        };
        assert_eq!(check("4242", true), "");
        for known in ["discard", "www", "ruptime"] {
            assert_eq!(check(known, false), "");
        }
        assert_eq!(check("ruptime", true), "");
        assert!(check("foo", false).contains("no service foo;"));
        assert!(check("http", true).contains("no service http/udp;"));
    }
}
