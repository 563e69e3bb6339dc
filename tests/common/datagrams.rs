//! Datagram sockets, inherited by a daemon or used by a client.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use super::temp::TempDir;
use super::{BOUND, has_ipv6, uninterrupted};

/// Where a daemon takes datagrams.
#[derive(Debug, Clone)]
pub(crate) enum At {
    Udp(SocketAddr),
    Unix(PathBuf),
}

impl At {
    /// An address of IPv6 is 127.0.0.1 instead on a machine without it.
    pub(crate) fn udp(address: &str) -> At {
        let mut address: SocketAddr = address.parse().expect("an address");
        if address.is_ipv6() && !has_ipv6() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        At::Udp(address)
    }

    /// A socket there, and the address that it really has.
    pub(crate) fn bind(&self) -> (OwnedFd, At) {
        match self {
            At::Udp(address) => {
                let socket = UdpSocket::bind(address).expect("a port");
                let at = At::Udp(socket.local_addr().expect("a name"));
                (socket.into(), at)
            }
            At::Unix(path) => {
                let socket = UnixDatagram::bind(path).expect("a path");
                (socket.into(), self.clone())
            }
        }
    }
}

/// A client with an address of its own. It is connected, so it gets what comes from the address
/// that it asked, and nothing else.
pub(crate) enum Asker {
    Udp(UdpSocket),
    Unix(UnixDatagram, TempDir),
}

impl Asker {
    pub(crate) fn of(at: &At) -> Asker {
        match at {
            At::Udp(to) => {
                let from = if to.is_ipv6() {
                    "[::1]:0"
                } else {
                    "127.0.0.1:0"
                };
                Asker::from(from.parse().expect("an address"), *to)
            }
            At::Unix(path) => {
                let dir = TempDir::new();
                let socket = UnixDatagram::bind(dir.join("client")).expect("a path");
                socket.connect(path).expect("a server");
                socket.set_read_timeout(Some(BOUND)).expect("SO_RCVTIMEO");
                Asker::Unix(socket, dir)
            }
        }
    }

    pub(crate) fn from(from: SocketAddr, to: SocketAddr) -> Asker {
        let socket = UdpSocket::bind(from).expect("a port");
        socket.connect(to).expect("a server");
        socket.set_read_timeout(Some(BOUND)).expect("SO_RCVTIMEO");
        Asker::Udp(socket)
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        let sent = match self {
            Asker::Udp(socket) => socket.send(bytes),
            Asker::Unix(socket, _) => socket.send(bytes),
        };
        assert_eq!(sent.expect("room"), bytes.len());
    }

    fn receive_into(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Asker::Udp(socket) => uninterrupted(|| socket.recv(buffer)),
            Asker::Unix(socket, _) => uninterrupted(|| socket.recv(buffer)),
        }
    }

    /// The next reply.
    pub(crate) fn receive(&self) -> String {
        let mut buffer = vec![0; 128 << 10];
        let length = self.receive_into(&mut buffer).expect("a reply");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }

    /// The datagram client of APUE, chapter 16: sends one NUL byte, reads at most 128 bytes.
    pub(crate) fn ask_as_in_the_textbook(&self) -> String {
        self.send(&[0]);
        let mut buffer = [0; 128];
        let length = self.receive_into(&mut buffer).expect("recv error");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }

    /// True where nothing has come by now.
    pub(crate) fn has_nothing(&self) -> bool {
        let set = |on| match self {
            Asker::Udp(socket) => socket.set_nonblocking(on),
            Asker::Unix(socket, _) => socket.set_nonblocking(on),
        };
        set(true).expect("a flag");
        let nothing = self
            .receive_into(&mut [0; 16])
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        set(false).expect("a flag");
        nothing
    }
}
