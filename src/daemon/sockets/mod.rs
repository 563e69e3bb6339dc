//! What each socket is: a descriptor comes in, a classified [`Socket`] goes out, or one sentence
//! that says what is wrong with it.
//!
//! A descriptor is classified by what it *is* (its domain, its type, SO_ACCEPTCONN; see
//! socket(7)), not by what anybody says it is.

pub(crate) mod address;
pub(crate) mod bind;
pub(crate) mod inherit;
pub(crate) mod stdio;
pub(crate) mod unix;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getpeername, getsockname, getsockopt,
    sockopt,
};

use self::unix::BoundPath;

/// What a socket is to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A listening stream or seqpacket socket: connections come out of it.
    Listener,
    /// One connection (Accept=yes, inetd's nowait): served, and then the process ends.
    Connection,
    /// A datagram socket: requests come out of it, replies go in.
    Datagram,
}

/// A socket, classified.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    pub(crate) kind: Kind,
    pub(crate) family: AddressFamily,
    /// Its address and kind, for people.
    pub(crate) name: String,
}

/// What is said of others.
const NOT_SERVED: &str =
    "is a socket of a kind that is not served here; TCP, UDP, UNIX and vsock sockets are";

/// The sockets to serve.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) sockets: Vec<Socket>,
    /// The UNIX sockets among them that this process has bound, to be removed in the end.
    pub(crate) bound_paths: Vec<BoundPath>,
    /// A launcher holds them, too; else this process has bound them all.
    pub(crate) inherited: bool,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Finds out what a socket is, and makes it fit for the loop: a listener or a datagram socket
/// becomes non-blocking, a connection blocking, because `O_NONBLOCK` belongs to the open file
/// description that the command will write to.
///
/// # Errors
/// One sentence that begins with `label`.
pub(crate) fn classify(fd: OwnedFd, label: &str) -> Result<Socket, String> {
    let failed = |errno: Errno| match errno {
        Errno::ENOTSOCK => format!("{label} is not a socket"),
        errno => format!("{label}: {}", errno.desc()),
    };
    let kind = getsockopt(&fd, sockopt::SockType).map_err(failed)?;
    let local = getsockname::<SockaddrStorage>(fd.as_raw_fd()).map_err(failed)?;
    let family = local.family().unwrap_or(AddressFamily::Unspec);
    let noun = match (family, kind) {
        (AddressFamily::Inet | AddressFamily::Inet6, SockType::Stream) => "TCP",
        (AddressFamily::Inet | AddressFamily::Inet6, SockType::Datagram) => "UDP",
        (AddressFamily::Unix, SockType::Stream) => "UNIX stream",
        (AddressFamily::Unix, SockType::SeqPacket) => "UNIX seqpacket",
        (AddressFamily::Unix, SockType::Datagram) => "UNIX datagram",
        (AddressFamily::Vsock, SockType::Stream) => "vsock",
        (family, kind) => return Err(format!("{label} {NOT_SERVED} ({family:?}, {kind:?})")),
    };
    let role = match kind {
        SockType::Datagram => Kind::Datagram,
        _ => stream_role(&fd, &local, label)?,
    };
    set_nonblocking(fd.as_fd(), role != Kind::Connection).map_err(failed)?;
    let name = format!("{} ({noun})", address_text(&local));
    Ok(Socket {
        fd,
        kind: role,
        family,
        name,
    })
}

/// Tells a listener from a connection. A TCP connection whose client has reset it before we
/// came is a connection still (Accept=yes hands those over too): it has a local port.
fn stream_role(fd: &OwnedFd, local: &SockaddrStorage, label: &str) -> Result<Kind, String> {
    match getsockopt(fd, sockopt::AcceptConn) {
        Ok(true) => return Ok(Kind::Listener),
        Ok(false) => {}
        Err(errno) => return Err(format!("{label}: {}", errno.desc())),
    }
    let had_a_peer = || {
        let v4 = local.as_sockaddr_in().map(|a| a.port());
        let v6 = local.as_sockaddr_in6().map(|a| a.port());
        v4.or(v6).is_some_and(|port| port != 0)
    };
    match getpeername::<SockaddrStorage>(fd.as_raw_fd()) {
        Ok(_) => Ok(Kind::Connection),
        Err(Errno::ENOTCONN) if had_a_peer() => Ok(Kind::Connection),
        Err(Errno::ENOTCONN) => Err(format!(
            "{label} is a stream socket that neither listens nor is connected"
        )),
        Err(errno) => Err(format!("{label}: {}", errno.desc())),
    }
}

pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    let mut wanted = flags;
    wanted.set(OFlag::O_NONBLOCK, on);
    if wanted != flags {
        fcntl(fd, FcntlArg::F_SETFL(wanted))?;
    }
    Ok(())
}

/// An address as people write it.
pub(crate) fn address_text(address: &SockaddrStorage) -> String {
    if let Some(unix) = address.as_unix_addr() {
        return match (unix.path(), unix.as_abstract()) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(name)) => format!("@{}", name.escape_ascii()),
            (None, None) => "unnamed".to_owned(),
        };
    }
    if let Some(vsock) = address.as_vsock_addr() {
        return format!("vsock:{}", vsock.port());
    }
    address.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    #[test]
    fn each_socket_is_what_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let near = TcpStream::connect(address).expect("a connection");
        let (unix, _far) = UnixStream::pair().expect("a pair");
        let udp = UdpSocket::bind("[::1]:0").expect("a port");
        for (fd, kind) in [
            (OwnedFd::from(listener), Kind::Listener),
            (near.into(), Kind::Connection),
            (unix.into(), Kind::Connection),
            (udp.into(), Kind::Datagram),
            (
                UnixDatagram::unbound().expect("a socket").into(),
                Kind::Datagram,
            ),
        ] {
            let socket = classify(fd, "it").expect("served");
            assert_eq!(socket.kind, kind, "{socket}");
            let flags =
                OFlag::from_bits_retain(fcntl(&socket.fd, FcntlArg::F_GETFL).expect("flags"));
            assert_eq!(
                flags.contains(OFlag::O_NONBLOCK),
                kind != Kind::Connection,
                "{socket}"
            );
        }
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        let file = std::fs::File::open("/dev/null").expect("/dev/null");
        assert_eq!(
            classify(file.into(), "fd 9").expect_err("a file"),
            "fd 9 is not a socket"
        );
        let fresh = nix::sys::socket::socket(
            AddressFamily::Inet,
            SockType::Stream,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        )
        .expect("a socket");
        assert!(
            classify(fresh, "fd 9")
                .expect_err("not listening")
                .contains("neither listens")
        );
    }
}
