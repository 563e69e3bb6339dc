//! Who is at the other end: a connection's descriptor goes in, an address that can be compared,
//! counted and printed comes out.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockaddrLike, SockaddrStorage, getpeername, getsockopt, sockopt,
};

/// The other end of a connection, or the sender of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// TCP or UDP. An IPv4 address mapped into IPv6 (RFC 4291, 2.5.5.2) is told as IPv4.
    Inet(SocketAddr),
    /// A UNIX socket; who it is as SO_PEERCRED tells it, where it does (unix(7)).
    Unix { pid: i32, uid: u32 },
    /// A virtual machine or its host (vsock(7)).
    Vsock { cid: u32, port: u32 },
    /// It has gone: the connection was reset before anybody asked.
    Gone,
}

/// What a source is for limits: one IPv4 address, or one IPv6 /64, which is what a single host
/// commands (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Peer {
    /// Asks the kernel who is connected (getpeername(2)).
    pub(crate) fn of(connection: BorrowedFd<'_>) -> Peer {
        match getpeername::<SockaddrStorage>(connection.as_raw_fd()) {
            Ok(address) if address.family() == Some(AddressFamily::Unix) => {
                match getsockopt(&connection, sockopt::PeerCredentials) {
                    Ok(cred) => Peer::Unix {
                        pid: cred.pid(),
                        uid: cred.uid(),
                    },
                    Err(_) => Peer::Unix {
                        pid: 0,
                        uid: u32::MAX,
                    },
                }
            }
            Ok(address) => Peer::from_address(&address),
            // ENOTCONN after a reset. The others of getpeername(2) cannot be for a socket of ours.
            Err(Errno::ENOTCONN | _) => Peer::Gone,
        }
    }

    /// Reads a socket address, as accept or recvmsg gave it.
    pub(crate) fn from_address(address: &SockaddrStorage) -> Peer {
        if let Some(v4) = address.as_sockaddr_in() {
            return Peer::Inet(SocketAddr::new(v4.ip().into(), v4.port()));
        }
        if let Some(v6) = address.as_sockaddr_in6() {
            return Peer::Inet(match v6.ip().to_canonical() {
                IpAddr::V4(v4) => SocketAddr::new(v4.into(), v6.port()),
                IpAddr::V6(_) => SocketAddr::V6((*v6).into()),
            });
        }
        if let Some(vsock) = address.as_vsock_addr() {
            return Peer::Vsock {
                cid: vsock.cid(),
                port: vsock.port(),
            };
        }
        match address.family() {
            Some(AddressFamily::Unix) => Peer::Unix {
                pid: 0,
                uid: u32::MAX,
            },
            _ => Peer::Gone,
        }
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

/// True where nobody reads any more what is written to this connection: it was reset (TCP), or
/// the other end has been closed (UNIX). A client that has only half-closed still reads.
pub(crate) fn has_gone(connection: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(connection, PollFlags::empty())];
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    // A poll that fails (ENOMEM) tells nothing; then the client is taken to be there.
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0]
            .revents()
            .is_some_and(|events| events.intersects(gone))
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Inet(address) => address.fmt(f),
            Peer::Unix { pid: 0, .. } => f.write_str("a UNIX socket"),
            Peer::Unix { pid, uid } => write!(f, "uid {uid} (pid {pid})"),
            Peer::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
            Peer::Gone => f.write_str("a client that has gone"),
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
        Peer::from_address(&SockaddrStorage::from(address))
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
    fn a_client_has_gone_when_it_cannot_read_any_more() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        theirs
            .shutdown(std::net::Shutdown::Write)
            .expect("half-closed");
        assert!(!has_gone(ours.as_fd()));
        drop(theirs);
        assert!(has_gone(ours.as_fd()));
    }

    #[test]
    fn a_unix_peer_is_told_by_its_credentials() {
        let (a, _b) = UnixStream::pair().expect("a pair");
        let Peer::Unix { pid, .. } = Peer::of(a.as_fd()) else {
            panic!("not a UNIX peer");
        };
        assert_eq!(pid, nix::unistd::getpid().as_raw());
        assert_eq!(Peer::of(a.as_fd()).source(), None);
    }
}
