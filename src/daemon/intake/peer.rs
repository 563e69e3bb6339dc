//! Who is at the other end: a connection's descriptor goes in, an address that can be compared,
//! counted and printed comes out.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{
    AddressFamily, SockaddrLike, SockaddrStorage, UnixCredentials, getpeername, getsockopt, sockopt,
};

/// The other end of a connection, or the sender of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// TCP or UDP. An IPv4 address mapped into IPv6 (RFC 4291, 2.5.5.2) is taken as IPv4.
    Inet(SocketAddr),
    /// A UNIX socket, and whose it is where the kernel says so.
    Unix(Option<UnixCredentials>),
    /// A virtual machine or its host (vsock(7)).
    Vsock { cid: u32, port: u32 },
}

/// What a source is for limits: one IPv4 address, or one IPv6 /64, which is what a single host
/// commands (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Peer {
    /// Asks the kernel who is connected (getpeername(2)); None where the client has gone.
    pub(crate) fn of(connection: BorrowedFd<'_>) -> Option<Peer> {
        // ENOTCONN after a reset. The others of getpeername(2) cannot be for a socket of ours.
        let address = getpeername::<SockaddrStorage>(connection.as_raw_fd()).ok()?;
        match Peer::from_address(&address) {
            Some(Peer::Unix(_)) => Some(Peer::Unix(
                getsockopt(&connection, sockopt::PeerCredentials)
                    .ok()
                    // 0: the process is in another PID namespace, and unknown here.
                    .filter(|cred| cred.pid() != 0),
            )),
            peer => peer,
        }
    }

    /// A client of TCP or UDP.
    pub(crate) fn inet(address: SocketAddr) -> Peer {
        Peer::Inet(match address.ip().to_canonical() {
            IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
            IpAddr::V6(_) => address,
        })
    }

    /// Reads a socket address, as accept or recvmsg gave it; None for a family without clients.
    pub(crate) fn from_address(address: &SockaddrStorage) -> Option<Peer> {
        if let Some(v4) = address.as_sockaddr_in() {
            return Some(Peer::inet(SocketAddr::V4((*v4).into())));
        }
        if let Some(v6) = address.as_sockaddr_in6() {
            return Some(Peer::inet(SocketAddr::V6((*v6).into())));
        }
        if let Some(vsock) = address.as_vsock_addr() {
            return Some(Peer::Vsock {
                cid: vsock.cid(),
                port: vsock.port(),
            });
        }
        (address.family() == Some(AddressFamily::Unix)).then_some(Peer::Unix(None))
    }

    /// The address, where there is one.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Inet(address) => Some(address.ip()),
            _ => None,
        }
    }

    /// What this peer counts as for per-source limits; None for peers that are not limited.
    pub(crate) fn source(&self) -> Option<Source> {
        self.ip().map(|ip| match ip {
            IpAddr::V4(_) => Source(ip),
            IpAddr::V6(v6) => {
                let mut segments = v6.segments();
                segments[4..].fill(0);
                Source(Ipv6Addr::from(segments).into())
            }
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Inet(address) => address.fmt(f),
            Peer::Unix(None) => f.write_str("a UNIX socket"),
            Peer::Unix(Some(cred)) => write!(f, "uid {} (pid {})", cred.uid(), cred.pid()),
            Peer::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
        }
    }
}

/// The client of a connection, for a record: the kernel is asked only where the record is written.
pub(crate) struct ClientOf<'fd>(pub(crate) BorrowedFd<'fd>);

impl fmt::Display for ClientOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Peer::of(self.0) {
            Some(peer) => peer.fmt(f),
            None => f.write_str("a client that has gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn inet(text: &str) -> Peer {
        let address: SocketAddr = text.parse().expect("a socket address");
        Peer::from_address(&SockaddrStorage::from(address)).expect("a peer")
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        assert_eq!(inet("[::ffff:192.0.2.1]:9"), inet("192.0.2.1:9"));
        assert_eq!(inet("[::ffff:192.0.2.1]:9").to_string(), "192.0.2.1:9");
    }

    #[test]
    fn an_ipv6_source_is_its_64() {
        assert_eq!(
            inet("[2001:db8:1:2:3::1]:9").source(),
            inet("[2001:db8:1:2:4::2]:7").source()
        );
        assert_ne!(
            inet("[2001:db8:1:2::1]:9").source(),
            inet("[2001:db8:1:3::1]:9").source()
        );
        assert_ne!(inet("192.0.2.1:9").source(), inet("192.0.2.2:9").source());
    }

    #[test]
    fn a_socket_without_a_client_has_no_peer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        assert_eq!(Peer::of(listener.as_fd()), None);
        let client = ClientOf(listener.as_fd());
        assert_eq!(client.to_string(), "a client that has gone");
    }

    #[test]
    fn a_unix_peer_is_told_by_its_credentials() {
        let (a, _b) = UnixStream::pair().expect("a pair");
        let ours = UnixCredentials::new();
        let peer = Peer::of(a.as_fd()).expect("connected");
        assert_eq!(peer, Peer::Unix(Some(ours)));
        assert_eq!(peer.source(), None);
    }
}
