//! A connection, accepted or handed over: its descriptor, and what may be in its queue.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, recv};

use crate::daemon::sys;
use crate::rights::{self, Refusal};

/// A connection that is to be served.
#[derive(Debug)]
pub(crate) struct Stream {
    /// None once it is dropped.
    fd: Option<OwnedFd>,
    family: AddressFamily,
    may_be_laden: bool,
}

impl Stream {
    /// Of a socket of this family. A UNIX socket's kernel is asked to refuse passed descriptors.
    pub(crate) fn new(fd: OwnedFd, family: AddressFamily) -> Self {
        let may_be_laden = family == AddressFamily::Unix
            && match rights::refuse(fd.as_fd()) {
                Refusal::Before => false,
                // What was passed before is in the queue by now.
                Refusal::FromNow => rights::may_be_queued(fd.as_fd()),
                Refusal::Never => true,
            };
        Stream {
            fd: Some(fd),
            family,
            may_be_laden,
        }
    }

    /// Descriptors may have been passed to it: its close may sleep, and is for the releaser.
    pub(crate) fn may_be_laden(&self) -> bool {
        self.may_be_laden
    }

    /// True where no client reads any more: the connection was reset (TCP), or the other end has
    /// been closed (UNIX). A client that has only half-closed still reads.
    pub(crate) fn has_gone(&self) -> bool {
        // POLLHUP and POLLERR always count.
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::empty())];
        // A poll that fails (ENOMEM) says nothing; then the client counts as there.
        poll(&mut fds, PollTimeout::ZERO) == Ok(1)
    }

    /// Reads what the client has sent, without waiting.
    ///
    /// # Errors
    /// Those of recv(2); EPROTO where descriptors were passed, and the connection is to be closed.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        let socket = self.as_fd().as_raw_fd();
        if self.may_be_laden {
            return rights::receive_unladen(socket, buffer, MsgFlags::empty());
        }
        recv(socket, buffer, MsgFlags::MSG_DONTWAIT)
    }

    /// True where the client reads no more, though it is there: a UNIX client has shut its side down
    /// for reading. (What writes to it gets EPIPE, and TCP knows of no such thing.)
    pub(crate) fn is_deaf(&self) -> bool {
        self.family == AddressFamily::Unix && sys::send_nothing(self.as_fd()) == Err(Errno::EPIPE)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("open until it is dropped").as_fd()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take().filter(|_| self.may_be_laden) {
            rights::release(fd);
        }
    }
}

/// As if the kernel had refused passed descriptors from the beginning.
#[cfg(test)]
impl From<std::os::unix::net::UnixStream> for Stream {
    fn from(stream: std::os::unix::net::UnixStream) -> Stream {
        Stream::new(stream.into(), AddressFamily::Unspec)
    }
}

/// A command that another test starts may hold the client's end for a moment, until its exec.
#[cfg(test)]
pub(crate) fn wait_until_gone(stream: &Stream) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !stream.has_gone() {
        assert!(std::time::Instant::now() < end, "the client is there");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{Shutdown, SockFlag, SockType, shutdown, socketpair};

    fn pair() -> (Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        (Stream::new(ours.into(), AddressFamily::Unix), theirs)
    }

    #[test]
    fn a_client_has_gone_when_it_cannot_read_any_more() {
        let (ours, theirs) = pair();
        assert!(!ours.has_gone());
        shutdown(theirs.as_raw_fd(), Shutdown::Write).expect("half-closed");
        assert!(!ours.has_gone());
        drop(theirs);
        wait_until_gone(&ours);
    }

    #[test]
    fn a_client_that_has_shut_down_reading_is_deaf() {
        for kind in [SockType::Stream, SockType::SeqPacket] {
            let pair = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC);
            let (ours, theirs) = pair.expect("a pair");
            let ours = Stream::new(ours, AddressFamily::Unix);
            assert!(!ours.is_deaf());
            let nothing = recv(theirs.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT);
            assert_eq!(
                nothing,
                Err(Errno::EAGAIN),
                "{kind:?}: it was sent something"
            );
            shutdown(theirs.as_raw_fd(), Shutdown::Read).expect("shut down");
            assert!(ours.is_deaf() && !ours.has_gone(), "{kind:?}");
        }
    }
}
