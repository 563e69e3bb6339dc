//! Address families, and the zones of link-local addresses.

use std::net::{IpAddr, SocketAddr};

use nix::net::if_::{if_indextoname, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

use super::failure::Failure;

/// Which address families may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Both.
    Any,
    /// `-4`
    V4,
    /// `-6`
    V6,
}

impl Family {
    pub(crate) fn allows(self, address: &SocketAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }

    /// A numeric address, if it may be used.
    pub(crate) fn check(self, address: SocketAddr) -> Result<SocketAddr, Failure> {
        if self.allows(&address) {
            return Ok(address);
        }
        let reason = match self {
            Family::V6 => "an IPv4 address, and -6 allows only IPv6",
            _ => "an IPv6 address, and -4 allows only IPv4",
        };
        Err(Failure::Unusable(reason.to_owned()))
    }
}

/// An Internet address as std has it; None for another family.
pub(crate) fn from_kernel(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
}

/// An interface's address or mask, where it has one (getifaddrs(3)).
pub(crate) fn ip_of(address: Option<SockaddrStorage>) -> Option<IpAddr> {
    from_kernel(&address?).map(|address| address.ip())
}

/// A zone's number (RFC 4007 section 11): an interface's name first, as getaddrinfo does.
pub(crate) fn zone(text: &str) -> Result<u32, Failure> {
    if let Ok(index) = if_nametoindex(text) {
        return Ok(index);
    }
    match text.parse() {
        Ok(index) if index > 0 => Ok(index),
        _ => Err(Failure::Unusable(format!("no network interface {text}"))),
    }
}

/// A zone's name, or its number where the interface is gone.
pub(crate) fn zone_name(index: u32) -> String {
    match if_indextoname(index) {
        // nix 0.31 gives an empty name and no error where there is no such interface.
        Ok(name) if !name.is_empty() => name.to_string_lossy().into_owned(),
        _ => index.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_a_name_or_a_number() {
        let lo = zone("lo").unwrap();
        assert_eq!(zone_name(lo), "lo");
        assert_eq!(zone("77777").unwrap(), 77777);
        assert_eq!(zone_name(77777), "77777");
        assert!(zone("0").is_err());
        assert!(zone("nosuch0").unwrap_err().reason().contains("nosuch0"));
    }

    #[test]
    fn a_family_is_checked() {
        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 1);
        let (v4, v6) = (address("127.0.0.1"), address("::1"));
        assert!(Family::Any.check(v4).is_ok() && Family::Any.check(v6).is_ok());
        assert!(Family::V4.check(v4).is_ok() && Family::V6.check(v6).is_ok());
        assert!(Family::V6.check(v4).unwrap_err().reason().contains("-6"));
        assert!(Family::V4.check(v6).unwrap_err().reason().contains("-4"));
    }
}
