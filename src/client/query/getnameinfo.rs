//! The name of the machine behind an address, by getnameinfo(3).
//!
//! Comes in: an address that has answered a search. Goes out: a name that leads back to it, or none.
//!
//! Whoever holds an address decides what its PTR record says, and says it of any name. So a name
//! counts only if its own look-up gives the address, which the holder of the name decides. By mDNS
//! both answers come from the same network, which is believed no more than the search itself: what
//! is made of two answers under one name is `discover::machines`' to say.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use nix::libc::NI_NAMEREQD;

use super::address::Family;
use super::getaddrinfo::{self, LookUpError};
use super::resolve::Question;
use crate::client::hosts::target::{Endpoint, Host, Target};

/// RFC 1035 section 3.1, without the dot at the end.
const NAME_MAX: usize = 253;

/// An address, whose machine's name is asked for. An error is one that may pass.
impl Question for SocketAddr {
    type Answer = Option<Arc<str>>;

    fn look_up(&self, family: Family) -> Result<Option<Arc<str>>, LookUpError> {
        let Some(name) = pointed(self)?.as_deref().and_then(usable) else {
            return Ok(None);
        };
        let addresses = match getaddrinfo::addresses(&name, family) {
            Err(error) => return none(error),
            Ok(addresses) => addresses,
        };
        let leads_back = leads_to(&addresses, self) || leads_home(&addresses, self, is_own);
        Ok(leads_back.then(|| name.into()))
    }
}

/// What the PTR record says, or hosts(5), or whatever nsswitch.conf(5) names.
fn pointed(address: &SocketAddr) -> Result<Option<String>, LookUpError> {
    let begun = Instant::now();
    match dns_lookup::getnameinfo(address, NI_NAMEREQD) {
        Ok((name, _)) => Ok(Some(name)),
        Err(error) => none(LookUpError::new(error, begun.elapsed())),
    }
}

/// Whether there is no name, or it cannot be said now.
fn none<T>(error: LookUpError) -> Result<Option<T>, LookUpError> {
    match error {
        LookUpError::Unknown
        | LookUpError::NoAddress
        | LookUpError::Family
        | LookUpError::International
        // Not even UTF-8.
        | LookUpError::Other(0) => Ok(None),
        other => Err(other),
    }
}

/// A name as it is listed: one that could be given as HOST, in small letters. Only those of RFC 1123
/// section 2.1 and the underscore: letters of other scripts look like another machine's.
fn usable(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(plain)
    };
    if name.len() > NAME_MAX || !name.split('.').all(is_label) {
        return None;
    }
    // Not what would be read as an address.
    let target = Target::parse(&name).ok()?;
    matches!(
        target.endpoint,
        Endpoint::Net {
            host: Host::Name(_),
            ..
        }
    )
    .then_some(name)
}

/// Whether a name with these addresses leads to `address`. hosts(5) knows no interfaces; an address
/// with one is on that network only.
fn leads_to(addresses: &[SocketAddr], address: &SocketAddr) -> bool {
    let zone = |address: &SocketAddr| match address {
        SocketAddr::V6(v6) => v6.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    let same = |other: &SocketAddr| {
        other.ip() == address.ip() && (zone(other) == 0 || zone(other) == zone(address))
    };
    addresses.iter().any(same)
}

/// Whether it is this machine's own name and address: Debian's hosts file leads the name to loopback
/// only. Addresses of loopback itself are told apart as others are.
fn leads_home(
    addresses: &[SocketAddr],
    address: &SocketAddr,
    is_own: impl Fn(&SocketAddr) -> bool,
) -> bool {
    let is_loopback = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback(),
    };
    addresses.iter().all(is_loopback) && !is_loopback(address) && is_own(address)
}

/// Whether it is one of this machine's own: bind(2) takes no other.
fn is_own(address: &SocketAddr) -> bool {
    let mut any_port = *address;
    any_port.set_port(0);
    UdpSocket::bind(any_port).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_name_is_listed_as_it_could_be_given() {
        for (name, listed) in [
            ("web1", "web1"),
            ("Web1.Example.", "web1.example"),
            ("my_host.local", "my_host.local"),
            ("3com", "3com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(usable(name).as_deref(), Some(listed), "{name}");
        }
    }

    #[test]
    fn attack_a_name_that_is_none() {
        let long = format!("{}example", "label.".repeat(50));
        let label = "x".repeat(64);
        for name in [
            "",
            ".",
            "web1..",
            ".web1",
            "-x",
            "-oProxyCommand=x",
            "web1.-x",
            "x-",
            "192.0.2.1",
            "1.2.3",
            "0x7f.1",
            "2130706433",
            "::1",
            "fe80::1%eth0",
            "web1:10513",
            "udp:web1",
            "unix:@x",
            "@web",
            "web[1-3]",
            "web1,web2",
            "web 1",
            "web1\nweb2  up",
            "web1\u{1b}[2J",
            "web1\0",
            "w\u{435}b1",
            "bücher.example",
            "we\u{200b}b1",
            &long,
            &label,
        ] {
            assert_eq!(usable(name), None, "{name:?}");
        }
    }

    #[test]
    fn attack_a_name_that_leads_elsewhere() {
        let found = addresses(&[
            "192.0.2.7:0",
            "[2001:db8::7]:0",
            "[fe80::7%2]:0",
            "[fe80::8]:0",
        ]);
        let leads = |text: &str| leads_to(&found, &text.parse().unwrap());
        assert!(leads("192.0.2.7:10513") && leads("[2001:db8::7]:10513"));
        assert!(leads("[fe80::7%2]:1") && leads("[fe80::8%3]:1"));
        assert!(!leads("192.0.2.8:10513") && !leads("[fe80::7%3]:1"));
        assert!(!leads_to(&[], &found[0]));
    }

    #[test]
    fn only_this_machines_own_address_may_be_named_by_loopback() {
        let [address, loopback] = ["192.0.2.7:1", "127.0.0.1:1"].map(|text| text.parse().unwrap());
        let home = addresses(&["127.0.1.1:0", "[::1]:0"]);
        assert!(leads_home(&home, &address, |_| true));
        assert!(!leads_home(&home, &address, |_| false));
        assert!(!leads_home(&home, &loopback, |_| true));
        let abroad = addresses(&["127.0.1.1:0", "192.0.2.8:0"]);
        assert!(!leads_home(&abroad, &address, |_| true));
        assert!(is_own(&loopback) && !is_own(&address));
    }
}
