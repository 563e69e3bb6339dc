//! In: a target. Out: one request at a time, from connect or send to the last byte, never blocking.
//!
//! A stream is connected, read to end of file, closed and connected anew for the next request. A datagram socket
//! is connected once and kept, as a monitoring client would, until an answer fails to come: a late answer must
//! not be taken for the next one's.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect,
    recv, send, socket,
};

use crate::answer::Expected;
use crate::tally::Failure;

/// Replies beyond this are wrong whatever they say; uptime's line has about 70 bytes.
const LONGEST_REPLY: usize = 4096;

/// Who is asked: `tcp:HOST:PORT`, `udp:HOST:PORT` or `unix:PATH`.
#[derive(Debug, Clone)]
pub enum Target {
    /// A TCP server.
    Tcp(SocketAddr),
    /// A UDP server.
    Udp(SocketAddr),
    /// A UNIX stream server.
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = |name: &str| {
            name.to_socket_addrs()
                .map_err(|e| format!("{text}: {e}"))?
                .next()
                .ok_or_else(|| format!("{text}: no address"))
        };
        match text.split_once(':') {
            Some(("tcp", name)) => Ok(Self::Tcp(address(name)?)),
            Some(("udp", name)) => Ok(Self::Udp(address(name)?)),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err(format!(
                "{text}: not a target; write tcp:HOST:PORT, udp:HOST:PORT or unix:PATH"
            )),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Udp(address) => write!(f, "udp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A target as the system calls want it.
#[derive(Debug)]
pub struct Peer {
    address: PeerAddress,
    kind: SockType,
}

#[derive(Debug)]
enum PeerAddress {
    Inet(SockaddrStorage),
    Unix(UnixAddr),
}

impl Peer {
    /// Prepares a target for many requests.
    ///
    /// # Errors
    /// A path too long for a UNIX address.
    pub fn new(target: &Target) -> Result<Self, Errno> {
        Ok(match target {
            Target::Tcp(address) => Self {
                address: PeerAddress::Inet((*address).into()),
                kind: SockType::Stream,
            },
            Target::Udp(address) => Self {
                address: PeerAddress::Inet((*address).into()),
                kind: SockType::Datagram,
            },
            Target::Unix(path) => Self {
                address: PeerAddress::Unix(UnixAddr::new(path)?),
                kind: SockType::Stream,
            },
        })
    }

    fn is_datagram(&self) -> bool {
        self.kind == SockType::Datagram
    }

    fn socket(&self) -> Result<OwnedFd, Errno> {
        let family = match &self.address {
            PeerAddress::Inet(address) => address.family().unwrap_or(AddressFamily::Inet),
            PeerAddress::Unix(_) => AddressFamily::Unix,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        socket(family, self.kind, flags, None)
    }

    fn connect(&self, fd: &OwnedFd) -> Result<(), Errno> {
        match &self.address {
            PeerAddress::Inet(address) => connect(fd.as_raw_fd(), address),
            PeerAddress::Unix(address) => connect(fd.as_raw_fd(), address),
        }
    }
}

/// Where a request stands after a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for the next event.
    Pending,
    /// A UNIX listener's backlog is full: connect again shortly (connect(2), EAGAIN).
    Stalled,
    /// The right answer came.
    Answered,
    /// The request is over without one.
    Failed(Failure),
}

/// One client: at most one request under way.
#[derive(Debug)]
pub struct Conversation {
    fd: Option<OwnedFd>,
    reply: Vec<u8>,
    /// Whether a request is under way.
    pub active: bool,
    /// When the request under way began.
    pub began: Instant,
}

impl Conversation {
    /// A client that has asked nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            fd: None,
            reply: Vec::with_capacity(256),
            active: false,
            began: now,
        }
    }

    /// Begins a request; its events will carry `token`.
    pub fn begin(&mut self, peer: &Peer, epoll: &Epoll, token: u64) -> Step {
        self.began = Instant::now();
        self.active = true;
        self.reply.clear();
        let begun = if peer.is_datagram() {
            self.ask(peer, epoll, token)
        } else {
            self.open(peer).and_then(|()| self.register(epoll, token))
        };
        self.settle(begun, peer)
    }

    /// Tries once more to connect to a UNIX listener whose backlog was full.
    pub fn retry(&mut self, peer: &Peer, epoll: &Epoll, token: u64) -> Step {
        let begun = self.open(peer).and_then(|()| self.register(epoll, token));
        self.settle(begun, peer)
    }

    /// Takes what has come; to be called when the descriptor has an event.
    pub fn advance(&mut self, peer: &Peer, expected: &Expected) -> Step {
        let Some(fd) = &self.fd else {
            return Step::Pending;
        };
        let mut buffer = [0; LONGEST_REPLY];
        loop {
            let step = match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(n) if peer.is_datagram() => {
                    self.reply.extend_from_slice(&buffer[..n]);
                    judge(expected, &self.reply)
                }
                Ok(0) => judge(expected, &self.reply),
                Ok(n) if self.reply.len() + n > LONGEST_REPLY => Step::Failed(Failure::Wrong),
                Ok(n) => {
                    self.reply.extend_from_slice(&buffer[..n]);
                    continue;
                }
                Err(Errno::EAGAIN) => return Step::Pending,
                Err(Errno::EINTR) => continue,
                Err(errno) => Step::Failed(Failure::of(errno)),
            };
            self.finish(peer, &step);
            return step;
        }
    }

    /// Gives up on the request under way.
    pub fn abandon(&mut self) {
        self.fd = None;
        self.active = false;
    }

    /// What came of the reply, for a message.
    #[must_use]
    pub fn excerpt(&self) -> String {
        let end = self.reply.len().min(200);
        self.reply[..end].escape_ascii().to_string()
    }

    /// Counts the datagrams that nobody asked for.
    #[must_use]
    pub fn surplus(&self) -> u64 {
        let Some(fd) = &self.fd else { return 0 };
        let mut buffer = [0; LONGEST_REPLY];
        let mut count = 0;
        while recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok() {
            count += 1;
        }
        count
    }

    /// Sends the question of one byte on the socket that is kept, or on a new one.
    fn ask(&mut self, peer: &Peer, epoll: &Epoll, token: u64) -> Result<(), Errno> {
        if self.fd.is_none() {
            self.open(peer)?;
            self.register(epoll, token)?;
        }
        let Some(fd) = &self.fd else {
            return Err(Errno::EBADF);
        };
        send(fd.as_raw_fd(), &[0], MsgFlags::empty()).map(drop)
    }

    fn open(&mut self, peer: &Peer) -> Result<(), Errno> {
        let fd = peer.socket()?;
        match peer.connect(&fd) {
            Ok(()) | Err(Errno::EINPROGRESS) => {
                self.fd = Some(fd);
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    /// Edge-triggered: one event each time something comes, and what is there already counts as coming.
    fn register(&self, epoll: &Epoll, token: u64) -> Result<(), Errno> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        match &self.fd {
            Some(fd) => epoll.add(fd, EpollEvent::new(flags, token)),
            None => Err(Errno::EBADF),
        }
    }

    fn settle(&mut self, begun: Result<(), Errno>, peer: &Peer) -> Step {
        let step = match begun {
            Ok(()) => return Step::Pending,
            Err(Errno::EAGAIN) if matches!(peer.address, PeerAddress::Unix(_)) => {
                return Step::Stalled;
            }
            Err(errno) => Step::Failed(Failure::of(errno)),
        };
        self.finish(peer, &step);
        step
    }

    fn finish(&mut self, peer: &Peer, step: &Step) {
        self.active = false;
        if !(peer.is_datagram() && *step == Step::Answered) {
            self.fd = None;
        }
    }
}

fn judge(expected: &Expected, reply: &[u8]) -> Step {
    if reply.is_empty() {
        Step::Failed(Failure::Empty)
    } else if expected.accepts(reply) {
        Step::Answered
    } else {
        Step::Failed(Failure::Wrong)
    }
}
