//! One question to the system's resolver, by getaddrinfo(3).
//!
//! Comes in: a name and the families that may be used. Goes out: its addresses in the order in
//! which RFC 8305 would try them, or the error by its code. The call blocks for as long as the
//! name service likes; `resolve` makes it on threads of its own.
//!
//! std's own look-up takes no hints and hides the codes: it asks for both families whatever may be
//! used, and a name that does not exist looks like a name server that does not answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dns_lookup::{AddrInfoHints, LookupError};
use nix::errno::Errno;
use nix::libc::{
    AF_INET, AF_INET6, AF_UNSPEC, EAI_AGAIN, EAI_BADFLAGS, EAI_FAIL, EAI_FAMILY, EAI_MEMORY,
    EAI_NODATA, EAI_NONAME, EAI_SYSTEM, SOCK_STREAM,
};

use super::address::Family;
use super::failure::{Failure, words};
use super::idn::{self, AI_IDN, EAI_IDN_ENCODE};
use super::resolve::Question;

/// netdb.h of glibc and musl; the libc crate lacks it.
const EAI_ADDRFAMILY: i32 = -9;

/// The most addresses of a name that are kept. An answer over TCP has room for 4,000, and whoever
/// answers for a name could have us knock at that many doors.
const ADDRESSES_MAX: usize = 64;
/// A name server is waited for at least this long before the next one is asked; resolv.conf(5),
/// `timeout`.
const SERVER_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Why a name has no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookUpError {
    /// There is no such name.
    Unknown,
    /// The name is there, without an address of the families asked for.
    NoAddress,
    /// EAI_AGAIN after a wait: no name server answered.
    Silent,
    /// EAI_AGAIN at once: a server that fails (SERVFAIL, REFUSED), or none can be reached.
    Again,
    /// EAI_FAIL: the answer makes no sense.
    Failed,
    /// EAI_FAMILY: this machine does not have the family asked for.
    Family,
    /// EAI_IDN_ENCODE, or a C library that does not know AI_IDN.
    International,
    /// A system call failed; ENOMEM for EAI_MEMORY.
    Os(Errno),
    /// A code that our question cannot lead to (EAI_SERVICE, EAI_SOCKTYPE), or one that
    /// getaddrinfo(3) does not list.
    Other(i32),
}

/// A name, whose addresses are asked for.
impl Question for Arc<str> {
    type Answer = Arc<[SocketAddr]>;

    fn look_up(&self, family: Family) -> Result<Arc<[SocketAddr]>, LookUpError> {
        addresses(self, family).map(Arc::from)
    }
}

/// Looks up the addresses of `name`, without a port. Blocks.
pub(super) fn addresses(name: &str, family: Family) -> Result<Vec<SocketAddr>, LookUpError> {
    let flags = if name.is_ascii() {
        // Not AI_ADDRCONFIG: it hides ::1 where loopback has the only IPv6 address, and lists all
        // interfaces for each name. A family without a route costs nothing: connect(2) says so.
        0
    } else if idn::use_utf8() {
        AI_IDN
    } else {
        return Err(LookUpError::International);
    };
    let hints = AddrInfoHints {
        flags,
        address: match family {
            Family::Any => AF_UNSPEC,
            Family::V4 => AF_INET,
            Family::V6 => AF_INET6,
        },
        // Each address once, not once for each type of socket; they are the same for datagrams.
        socktype: SOCK_STREAM,
        ..AddrInfoHints::default()
    };
    let begun = Instant::now();
    let found = dns_lookup::getaddrinfo(Some(name), None, Some(hints))
        .map_err(|error| LookUpError::new(error, begun.elapsed()))?;
    // An entry of a family that nobody asked for is no address.
    let found = found.filter_map(|entry| entry.ok().map(|entry| entry.sockaddr));
    let found = interleave(found.filter(|address| family.allows(address)));
    if found.is_empty() {
        return Err(LookUpError::NoAddress);
    }
    Ok(found)
}

impl LookUpError {
    pub(super) fn new(error: LookupError, waited: Duration) -> LookUpError {
        match error.error_num() {
            EAI_NONAME => LookUpError::Unknown,
            EAI_NODATA | EAI_ADDRFAMILY => LookUpError::NoAddress,
            EAI_AGAIN if waited >= SERVER_TIMEOUT_MIN => LookUpError::Silent,
            EAI_AGAIN => LookUpError::Again,
            EAI_FAIL => LookUpError::Failed,
            EAI_FAMILY => LookUpError::Family,
            EAI_IDN_ENCODE | EAI_BADFLAGS => LookUpError::International,
            EAI_MEMORY => LookUpError::Os(Errno::ENOMEM),
            EAI_SYSTEM => match io::Error::from(error).raw_os_error() {
                Some(errno) => LookUpError::Os(Errno::from_raw(errno)),
                None => LookUpError::Other(EAI_SYSTEM),
            },
            other => LookUpError::Other(other),
        }
    }

    /// What to tell of it.
    pub(super) fn failure(self, family: Family) -> Failure {
        let reason = match (self, family) {
            (LookUpError::Unknown, Family::Any) => "unknown name",
            // hosts(5) with another family's line for the name gives EAI_NONAME, too.
            (LookUpError::Unknown, Family::V4) => "unknown name, or one without an IPv4 address",
            (LookUpError::Unknown, Family::V6) => "unknown name, or one without an IPv6 address",
            (LookUpError::NoAddress, Family::Any) => "the name has no address",
            (LookUpError::NoAddress, Family::V4) => "the name has no IPv4 address",
            (LookUpError::NoAddress, Family::V6) => "the name has no IPv6 address",
            (LookUpError::Silent, _) => "the name server did not answer",
            (LookUpError::Again, _) => "temporary failure of the name look-up",
            (LookUpError::Failed, _) => "the name server failed",
            (LookUpError::Family, _) => &words(Errno::EAFNOSUPPORT),
            (LookUpError::International, _) => {
                let reason = "not an international name, or this machine has no libidn2";
                return Failure::Unusable(reason.to_owned());
            }
            (LookUpError::Os(Errno::ENOMEM), _) => "this machine is out of memory for the look-up",
            (LookUpError::Os(errno), _) => &format!("the name look-up failed: {}", words(errno)),
            (LookUpError::Other(code), _) => &format!("the name look-up failed with code {code}"),
        };
        Failure::LookUp(reason.to_owned())
    }
}

/// RFC 8305 section 4: the families alternate, beginning with the resolver's first choice; within
/// a family the resolver's order (RFC 6724) stays. An address given twice is tried once.
fn interleave(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let mut first_is_v4 = None;
    for address in found {
        first_is_v4.get_or_insert(address.is_ipv4());
        let same = if address.is_ipv4() { &mut v4 } else { &mut v6 };
        if same.len() < ADDRESSES_MAX && !same.contains(&address) {
            same.push(address);
        }
    }
    let (first, second) = if first_is_v4 == Some(true) {
        (v4, v6)
    } else {
        (v6, v4)
    };
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    while mixed.len() < ADDRESSES_MAX {
        match (first.next(), second.next()) {
            (None, None) => break,
            (one, other) => mixed.extend(one.into_iter().chain(other)),
        }
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts
            .iter()
            .map(|text| SocketAddr::new(text.parse().unwrap(), 1))
            .collect()
    }

    #[test]
    fn families_alternate_and_the_resolvers_order_stays() {
        let table: [(&[&str], &[&str]); 5] = [
            (&[], &[]),
            (
                &["::1", "::2", "127.0.0.1", "127.0.0.2"],
                &["::1", "127.0.0.1", "::2", "127.0.0.2"],
            ),
            (
                &["127.0.0.1", "::1", "::2", "::3"],
                &["127.0.0.1", "::1", "::2", "::3"],
            ),
            (&["127.0.0.1", "127.0.0.2"], &["127.0.0.1", "127.0.0.2"]),
            (
                &["::1", "127.0.0.1", "::1", "127.0.0.1"],
                &["::1", "127.0.0.1"],
            ),
        ];
        for (given, expected) in table {
            assert_eq!(
                interleave(addresses(given).into_iter()),
                addresses(expected),
                "{given:?}"
            );
        }
    }

    #[test]
    fn a_thousand_addresses_are_cut_and_both_families_stay() {
        let v4 = (0..1000_u32).map(|n| SocketAddr::new(std::net::Ipv4Addr::from(n).into(), 0));
        let v6 = (0..1000_u128).map(|n| SocketAddr::new(std::net::Ipv6Addr::from(n).into(), 0));
        let kept = interleave(v4.chain(v6));
        assert_eq!(kept.len(), ADDRESSES_MAX);
        let of_v4 = kept.iter().filter(|address| address.is_ipv4()).count();
        assert_eq!(of_v4, ADDRESSES_MAX / 2);
    }

    #[test]
    fn every_code_has_words_of_its_own() {
        let error = |code, waited| {
            LookUpError::new(LookupError::new(code), Duration::from_millis(waited))
                .failure(Family::V6)
                .reason()
        };
        assert!(error(EAI_NONAME, 0).starts_with("unknown name"));
        assert_eq!(error(EAI_NODATA, 0), "the name has no IPv6 address");
        assert_eq!(error(EAI_ADDRFAMILY, 0), "the name has no IPv6 address");
        assert_eq!(error(EAI_AGAIN, 5_000), "the name server did not answer");
        assert_eq!(error(EAI_AGAIN, 9), "temporary failure of the name look-up");
        assert_eq!(error(EAI_FAIL, 0), "the name server failed");
        assert!(error(EAI_FAMILY, 0).contains("address family"));
        assert!(error(EAI_MEMORY, 0).contains("memory"));
        assert!(error(EAI_IDN_ENCODE, 0).contains("libidn2"));
        // EAI_OVERFLOW, EAI_SERVICE, EAI_SOCKTYPE, and what nobody knows.
        for code in [-12, -8, -7, 77] {
            assert!(error(code, 0).ends_with(&format!("code {code}")));
        }
        let too_many = LookUpError::Os(Errno::EMFILE).failure(Family::Any).reason();
        assert!(too_many.contains("too many open files"), "{too_many}");
    }
}
