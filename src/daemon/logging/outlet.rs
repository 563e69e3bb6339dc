//! Writing to others without ever waiting for them: messages come in, and what became of them
//! comes out.
//!
//! A log that is not read, a stopped journald or a busy service manager must not stop the only
//! thread from serving. The crates that write to the journal and to the service manager use
//! sockets of their own, which wait once the reader's queue or the send buffer is full (unix(7)).

use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A UNIX datagram socket that another process reads. It is opened with the first message: before
/// that, the numbers of descriptors belong to what the service manager has passed.
pub(crate) struct Outlet {
    name: OsString,
    socket: OnceLock<UnixDatagram>,
}

impl Outlet {
    /// `name` is the reader's path, or `@` and its name in the abstract namespace, as in
    /// `$NOTIFY_SOCKET` (sd_notify(3)).
    pub(crate) fn new(name: OsString) -> Self {
        Outlet {
            name,
            socket: OnceLock::new(),
        }
    }

    /// Sends one datagram, or fails at once. The address is looked up with each message, since the
    /// reader may have been restarted.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`](io::ErrorKind) where the reader's queue is full. Else nobody reads
    /// there (ENOENT, ECONNREFUSED, EACCES), or the message cannot be sent at all (EMFILE, ENOBUFS,
    /// ENOMEM).
    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        let address = match self.name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&self.name),
        }?;
        self.socket()?.send_to_addr(message, &address).map(drop)
    }

    fn socket(&self) -> io::Result<&UnixDatagram> {
        if let Some(socket) = self.socket.get() {
            return Ok(socket);
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(self.socket.get_or_init(|| socket))
    }
}

/// Whether a short write would block; asked with poll(2) before writing, where the descriptor is
/// shared and so cannot be made non-blocking. A pipe needs room for PIPE_BUF bytes (pipe(7)); a
/// file, or a terminal that is not stopped, always has room.
pub(crate) fn would_block(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    // POLLERR and POLLHUP: the write fails, and does not wait. A poll that fails says nothing.
    poll(&mut fds, PollTimeout::ZERO) == Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Write};
    use std::os::fd::AsFd;

    #[test]
    fn a_full_pipe_would_block() {
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        let mut writer = std::fs::File::from(writer);
        assert!(!would_block(writer.as_fd()));
        crate::daemon::sockets::set_nonblocking(writer.as_fd(), true).expect("non-blocking");
        while writer.write(&[b'x'; 4096]).is_ok() {}
        assert!(would_block(writer.as_fd()));
        drop(reader);
        assert!(
            !would_block(writer.as_fd()),
            "a write fails now, and does not wait"
        );
    }

    #[test]
    fn a_message_is_sent_or_refused_at_once() {
        let name = format!("ruptime-outlet-{}", std::process::id());
        let outlet = Outlet::new(format!("@{name}").into());
        let refused = |outlet: &Outlet| outlet.send(b"x").map_err(|error| error.kind());
        assert_eq!(refused(&outlet), Err(ErrorKind::ConnectionRefused));
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let reader = UnixDatagram::bind_addr(&address).expect("bound");
        while outlet.send(b"x").is_ok() {}
        assert_eq!(refused(&outlet), Err(ErrorKind::WouldBlock));
        reader.set_nonblocking(true).expect("non-blocking");
        while reader.recv(&mut [0; 8]).is_ok() {}
        assert_eq!(refused(&outlet), Ok(()));
    }

    #[test]
    fn a_name_that_is_no_address_is_a_failure() {
        let outlet = Outlet::new("/x".repeat(100).into());
        assert!(outlet.send(b"x").is_err());
    }
}
