//! One non-blocking socket under tokio's reactor: connect, send, receive, each by its errno.
//!
//! All kinds (TCP, UDP, the three UNIX ones) go through here, because tokio has no seqpacket, and
//! its UNIX streams do not distinguish a full backlog (EAGAIN, try again) from a refusal.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{self, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::task::{Poll, ready};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, SockaddrLike, SockaddrStorage,
    connect, getsockopt, recvfrom, send, sendmsg, socket, sockopt,
};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::address;

/// How to receive from a socket: recv(2), or something that takes more care.
pub(super) type Receive = fn(RawFd, &mut [u8], MsgFlags) -> Result<usize, Errno>;

/// A socket of any kind. Dropping it closes it.
pub(crate) struct Socket {
    /// Whatever the socket is, this type is only its registration with the reactor: it says when
    /// there is something to do, and nix does it. (`AsyncFd` would be the word for that, but its
    /// safe constructors are deprecated.)
    registered: TcpStream,
}

/// A socket that is not connected yet, and not yet watched.
pub(crate) fn open(family: AddressFamily, kind: SockType) -> Result<OwnedFd, Errno> {
    socket(
        family,
        kind,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        None,
    )
}

/// Starts to connect. Ok when the connection stands or is under way, connect(2):
/// - EINPROGRESS: under way, the socket becomes writable, or failed with its pending error;
/// - EINTR: the same, it goes on without us;
/// - everything else is final for this socket.
pub(crate) fn start(fd: &OwnedFd, address: &dyn SockaddrLike) -> Result<(), Errno> {
    match connect(fd.as_raw_fd(), address) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

impl Socket {
    /// Hands the socket to the reactor. Only after `start`: a stream socket that is not even
    /// connecting reports a hang-up.
    pub(crate) fn watch(socket: OwnedFd) -> Result<Socket, Errno> {
        match TcpStream::from_std(net::TcpStream::from(socket)) {
            Ok(registered) => Ok(Socket { registered }),
            // epoll_ctl(2): ENOSPC is the limit on watches, ENOMEM the kernel's memory.
            Err(error) => Err(errno_of(&error)),
        }
    }

    /// Waits until a connection that is under way stands, or has failed.
    pub(crate) async fn connected(&self) -> Result<(), Errno> {
        let ready = self.registered.writable().await;
        ready.map_err(|error| errno_of(&error))?;
        match getsockopt(&self.registered, sockopt::SocketError)? {
            0 => Ok(()),
            raw => Err(Errno::from_raw(raw)),
        }
    }

    /// Takes the socket back from the reactor.
    pub(crate) fn into_fd(self) -> Result<OwnedFd, Errno> {
        let socket = self.registered.into_std();
        socket.map(OwnedFd::from).map_err(|error| errno_of(&error))
    }

    /// Calls `read` when a stream has something to receive, its end or its error, until the result
    /// is not EAGAIN.
    pub(crate) async fn receive<T>(
        &self,
        mut read: impl FnMut(RawFd) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        poll_fn(|cx| {
            loop {
                ready!(self.registered.poll_read_ready(cx)).map_err(|error| errno_of(&error))?;
                match self.attempt(Interest::READABLE, &mut read) {
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    result => return Poll::Ready(result),
                }
            }
        })
        .await
    }

    /// The same for a datagram or an ICMP error. That alone does not make a socket readable:
    /// epoll(7) reports it as EPOLLERR, which must be waited for, or it comes out only with the
    /// next send.
    pub(crate) async fn receive_or_error<T>(
        &self,
        mut read: impl FnMut(RawFd) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let either = Interest::READABLE | Interest::ERROR;
        loop {
            let ready = self.registered.ready(either).await;
            let interest = match ready.map_err(|error| errno_of(&error))? {
                ready if ready.is_error() => Interest::ERROR,
                _ => Interest::READABLE,
            };
            match self.attempt(interest, &mut read) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    /// EAGAIN clears the readiness until the next event.
    fn attempt<T>(
        &self,
        interest: Interest,
        read: &mut impl FnMut(RawFd) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let once = || read(self.registered.as_raw_fd()).map_err(io::Error::from);
        let result = self.registered.try_io(interest, once);
        result.map_err(|error| errno_of(&error))
    }

    /// Sends one datagram of one byte, as send(2), without waiting. Its content means nothing;
    /// NUL is what the textbook's client sends (APUE 16.6).
    pub(crate) fn ask(&self) -> Result<(), Errno> {
        loop {
            match send(self.registered.as_raw_fd(), &[0], MsgFlags::MSG_NOSIGNAL) {
                Err(Errno::EINTR) => {}
                result => return result.map(drop),
            }
        }
    }

    /// Sends the same byte to a broadcast or multicast address, from one interface.
    pub(crate) fn ask_everybody(
        &self,
        to: SocketAddr,
        interface: u32,
        from: Option<Ipv4Addr>,
    ) -> Result<(), Errno> {
        let fd = self.registered.as_raw_fd();
        let content = [IoSlice::new(&[0])];
        let to = SockaddrStorage::from(to);
        // IPv4 chooses the interface by a control message, ip(7); IPv6 by the scope in `to`.
        let from = from.map(|from| libc::in_pktinfo {
            ipi_ifindex: interface.try_into().unwrap_or(0),
            ipi_spec_dst: libc::in_addr {
                s_addr: u32::from(from).to_be(),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        });
        let control: Vec<_> = from.iter().map(ControlMessage::Ipv4PacketInfo).collect();
        loop {
            match sendmsg(fd, &content, &control, MsgFlags::MSG_NOSIGNAL, Some(&to)) {
                Err(Errno::EINTR) => {}
                result => return result.map(drop),
            }
        }
    }

    /// Receives one datagram and its sender, as recvfrom(2).
    pub(crate) async fn receive_from(
        &self,
        buffer: &RefCell<Box<[u8]>>,
    ) -> Result<(usize, Option<SocketAddr>), Errno> {
        let once = |fd| {
            let (length, from) = recvfrom::<SockaddrStorage>(fd, &mut buffer.borrow_mut())?;
            Ok((length, from.as_ref().and_then(address::from_kernel)))
        };
        self.receive_or_error(once).await
    }
}

/// The errno within what tokio hands on; it passes system errors through.
fn errno_of(error: &io::Error) -> Errno {
    match error.kind() {
        // try_io's own word for a socket that is not ready has no number.
        io::ErrorKind::WouldBlock => Errno::EAGAIN,
        _ => error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
    }
}
