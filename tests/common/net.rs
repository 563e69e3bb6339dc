//! Stream sockets of every transport, and the clients that use them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind,
    connect, getsockname, listen, setsockopt, socket, sockopt,
};

use super::{BOUND, has_ipv6, uninterrupted, wait_for};

/// Where a daemon is to be found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Abstract(String),
    Seqpacket(PathBuf),
}

impl Address {
    pub(crate) fn any_tcp() -> Address {
        Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Of IPv6; on a machine without it IPv4 once more.
    pub(crate) fn any_tcp6() -> Address {
        if !has_ipv6() {
            return Address::any_tcp();
        }
        Address::Tcp(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)))
    }

    /// Reads an address as the daemon writes it.
    pub(crate) fn parse(text: &str) -> Address {
        if let Some(name) = text.strip_prefix("unix:@") {
            return Address::Abstract(name.to_owned());
        }
        match text.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Tcp(
                text.strip_prefix("udp:")
                    .unwrap_or(text)
                    .parse()
                    .expect("an address"),
            ),
        }
    }

    /// The port of a TCP address.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Address::Tcp(address) => address.port(),
            other => panic!("{other:?} has no port"),
        }
    }

    fn resolved(&self) -> (AddressFamily, SockType, Box<dyn SockaddrLike>) {
        let unix = |address: nix::Result<UnixAddr>| Box::new(address.expect("a path that fits"));
        match self {
            Address::Tcp(address) => {
                let family = if address.is_ipv6() {
                    AddressFamily::Inet6
                } else {
                    AddressFamily::Inet
                };
                let address = Box::new(SockaddrStorage::from(*address));
                (family, SockType::Stream, address)
            }
            Address::Unix(path) => (
                AddressFamily::Unix,
                SockType::Stream,
                unix(UnixAddr::new(path)),
            ),
            Address::Abstract(name) => (
                AddressFamily::Unix,
                SockType::Stream,
                unix(UnixAddr::new_abstract(name.as_bytes())),
            ),
            Address::Seqpacket(path) => (
                AddressFamily::Unix,
                SockType::SeqPacket,
                unix(UnixAddr::new(path)),
            ),
        }
    }

    fn socket(&self) -> (OwnedFd, Box<dyn SockaddrLike>) {
        let (family, kind, address) = self.resolved();
        let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        (fd, address)
    }

    /// A listener there, and the address that it really has.
    pub(crate) fn listen(&self) -> (OwnedFd, Address) {
        let (fd, address) = self.socket();
        bind(fd.as_raw_fd(), address.as_ref()).expect("an address of our own");
        listen(&fd, Backlog::MAXCONN).expect("a listener");
        let real = self.as_bound(&fd);
        (fd, real)
    }

    /// Holds a TCP port without listening on it, so that the kernel gives it to nobody else,
    /// while a launcher that sets SO_REUSEADDR can listen there (socket(7)).
    pub(crate) fn reserve(&self) -> (OwnedFd, Address) {
        let (fd, address) = self.socket();
        setsockopt(&fd, sockopt::ReuseAddr, &true).expect("SO_REUSEADDR");
        bind(fd.as_raw_fd(), address.as_ref()).expect("a port");
        let real = self.as_bound(&fd);
        (fd, real)
    }

    fn as_bound(&self, fd: &OwnedFd) -> Address {
        let Address::Tcp(_) = self else {
            return self.clone();
        };
        let name: SockaddrStorage = getsockname(fd.as_raw_fd()).expect("a name");
        let v4 = name
            .as_sockaddr_in()
            .map(|a| SocketAddr::from((a.ip(), a.port())));
        let v6 = name
            .as_sockaddr_in6()
            .map(|a| SocketAddr::from((a.ip(), a.port())));
        Address::Tcp(v4.or(v6).expect("an IP address"))
    }

    /// A connection, as soon as somebody listens there.
    pub(crate) fn connect(&self) -> Client {
        wait_for(&format!("a connection to {self:?}"), || {
            match self.try_connect() {
                Ok(client) => Some(client),
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionRefused | ErrorKind::NotFound => None,
                    _ => panic!("connect to {self:?}: {error}"),
                },
            }
        })
    }

    pub(crate) fn try_connect(&self) -> io::Result<Client> {
        let (fd, address) = self.socket();
        connect(fd.as_raw_fd(), address.as_ref())?;
        Ok(Client::new(fd))
    }

    /// A TCP connection that comes from this address.
    pub(crate) fn connect_from(&self, source: IpAddr) -> Client {
        let (fd, address) = self.socket();
        bind(
            fd.as_raw_fd(),
            &SockaddrStorage::from(SocketAddr::new(source, 0)),
        )
        .expect("a source address");
        connect(fd.as_raw_fd(), address.as_ref()).expect("a connection");
        Client::new(fd)
    }
}

/// A connected stream or seqpacket socket of any family. std's type for UNIX sockets is used for
/// all of them: it does nothing but recv(2), send(2) and setsockopt(2).
pub(crate) struct Client {
    socket: UnixStream,
}

impl Client {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        let socket = UnixStream::from(fd);
        socket.set_read_timeout(Some(BOUND)).expect("SO_RCVTIMEO");
        socket.set_write_timeout(Some(BOUND)).expect("SO_SNDTIMEO");
        Client { socket }
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.socket).write_all(bytes)
    }

    /// Sends one message, which may be empty.
    pub(crate) fn send_message(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = (&self.socket).write(bytes)?;
        assert_eq!(sent, bytes.len());
        Ok(())
    }

    /// Tells the server that nothing more comes.
    pub(crate) fn end_sending(&self) {
        self.socket
            .shutdown(Shutdown::Write)
            .expect("a connected socket");
    }

    /// Receives once, at most this many bytes.
    pub(crate) fn receive(&self, at_most: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; at_most];
        let length = uninterrupted(|| (&self.socket).read(&mut buffer))?;
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Receives this many bytes at a time, to the end of file. The size matters to seqpacket
    /// sockets, where what does not fit is lost (unix(7)).
    pub(crate) fn read_by(&self, size: usize) -> io::Result<Vec<u8>> {
        let mut reply = Vec::new();
        loop {
            match self.receive(size) {
                Ok(part) if part.is_empty() => return Ok(reply),
                Ok(part) => reply.extend(part),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("no end of the reply; so far: {}", reply.escape_ascii())
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The whole reply, to an end that is an orderly one.
    pub(crate) fn reply(&self) -> String {
        let reply = self
            .read_by(64 << 10)
            .expect("FIN after the reply, not RST");
        String::from_utf8(reply).expect("text")
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Goes away with RST instead of FIN (SO_LINGER of socket(7)); a UNIX socket is just closed.
    pub(crate) fn reset(self) {
        let now = linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&self.socket, sockopt::Linger, &now).expect("SO_LINGER");
    }
}

/// For so long, counted from its half-close, the daemon takes what a client still sends
/// (ruptimed(8)). Only an exchange that took less can be held against it.
const LINGER: Duration = Duration::from_secs(1);

/// An exchange in which the client sends something. Where it fails and took longer than the daemon
/// lingers, as on a machine that stands still, it says nothing about the daemon, and is tried again.
pub(crate) fn within_linger<T>(what: &str, mut exchange: impl FnMut() -> io::Result<T>) -> T {
    wait_for("an exchange within the time of lingering", || {
        let start = Instant::now();
        match exchange() {
            Ok(result) => Some(result),
            Err(_) if start.elapsed() >= LINGER => None,
            Err(error) => panic!("{what}: {error}"),
        }
    })
}

/// The stream client of APUE, chapter 16: each address in turn, tried again while it refuses;
/// then receives 128 bytes at a time to end of file, and copies them to standard output.
pub(crate) fn textbook_client(address: SocketAddr) -> Vec<u8> {
    let mut stream = wait_for("connect_retry", || TcpStream::connect(address).ok());
    stream.set_read_timeout(Some(BOUND)).expect("SO_RCVTIMEO");
    let (mut output, mut buffer) = (Vec::new(), [0; 128]);
    loop {
        match uninterrupted(|| stream.read(&mut buffer)).expect("recv error") {
            0 => return output,
            length => output.extend(&buffer[..length]),
        }
    }
}

/// True for a line as uptime(1) writes it in the C locale.
pub(crate) fn is_uptime_line(reply: &str) -> bool {
    reply.contains(" up ")
        && reply.contains("load average: ")
        && reply.ends_with('\n')
        && reply.lines().count() == 1
}

/// Two ends of one TCP connection: the server's, as an inetd would pass it, and the client's.
pub(crate) fn tcp_pair() -> (OwnedFd, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let near = TcpStream::connect(listener.local_addr().expect("a name")).expect("a connection");
    let (far, _) = listener.accept().expect("a connection");
    (far.into(), Client::new(near.into()))
}
