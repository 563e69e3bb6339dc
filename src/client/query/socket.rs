//! One non-blocking socket under tokio's reactor: connect, send, receive, each by its errno.
//!
//! All kinds (TCP, UDP, the three UNIX ones) go through here, because tokio has no seqpacket, and
//! its UNIX streams do not tell a full backlog (EAGAIN, try again) from a refusal.

use std::net;
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike, connect, getsockopt, recv, send,
    socket, sockopt,
};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A socket of any kind. Dropping it closes it.
pub(super) struct Socket {
    /// Whatever the socket is, this type is only its registration with the reactor: it says when
    /// there is something to do, and nix does it. (`AsyncFd` would be the word for that, but its
    /// safe constructors are deprecated.)
    registered: TcpStream,
}

/// A socket that is not connected yet, and not yet watched.
pub(super) fn open(family: AddressFamily, kind: SockType) -> Result<OwnedFd, Errno> {
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
pub(super) fn start(fd: &OwnedFd, address: &dyn SockaddrLike) -> Result<(), Errno> {
    match connect(fd.as_raw_fd(), address) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

impl Socket {
    /// Hands the socket to the reactor. Only after `start`: a stream socket that is not even
    /// connecting reports a hang-up.
    pub(super) fn watch(fd: OwnedFd) -> Result<Socket, Errno> {
        match TcpStream::from_std(net::TcpStream::from(fd)) {
            Ok(registered) => Ok(Socket { registered }),
            // epoll_ctl(2): ENOSPC is the limit on watches, ENOMEM the kernel's memory.
            Err(error) => Err(errno_of(&error)),
        }
    }

    /// Whether a connection that is under way stands or has failed.
    pub(super) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<Result<(), Errno>> {
        if let Err(error) = ready!(self.registered.poll_write_ready(cx)) {
            return Poll::Ready(Err(errno_of(&error)));
        }
        Poll::Ready(match getsockopt(&self.registered, sockopt::SocketError) {
            Ok(0) => Ok(()),
            Ok(raw) => Err(Errno::from_raw(raw)),
            Err(errno) => Err(errno),
        })
    }

    /// Receives once, as recv(2): the number of bytes, 0 at the end of a stream. With MSG_TRUNC
    /// (never on TCP, where it discards, tcp(7)) the whole length of a datagram or record.
    pub(super) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        flags: MsgFlags,
    ) -> Poll<Result<usize, Errno>> {
        loop {
            if let Err(error) = ready!(self.registered.poll_read_ready(cx)) {
                return Poll::Ready(Err(errno_of(&error)));
            }
            let mut result = Err(Errno::EAGAIN);
            // EAGAIN tells the reactor to wait for the next event.
            let _ = self.registered.try_io(Interest::READABLE, || {
                result = recv(self.registered.as_raw_fd(), buffer, flags);
                result.map(drop).map_err(std::io::Error::from)
            });
            match result {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                _ => return Poll::Ready(result),
            }
        }
    }

    /// Sends one datagram of one byte, as send(2), without waiting. Its content means nothing;
    /// NUL is what the textbook's client sends (APUE 16.6).
    pub(super) fn ask(&self) -> Result<(), Errno> {
        loop {
            match send(self.registered.as_raw_fd(), &[0], MsgFlags::MSG_NOSIGNAL) {
                Err(Errno::EINTR) => {}
                result => return result.map(drop),
            }
        }
    }
}

/// The errno within what tokio hands on; it passes system errors through.
fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
