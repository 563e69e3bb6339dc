//! Taking connections out of the backlogs: listeners come in, connections go out, and every
//! errno of accept4(2) is decided here by its name.
//!
//! The listeners are polled only while there is room for another connection; the rest wait in
//! the kernel's backlog, which the service manager keeps open whatever becomes of the daemon.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use crate::daemon::logging as log;
use crate::daemon::logging::fault::Fault;
use crate::daemon::sockets::{Socket, set_nonblocking};
use crate::daemon::sys;

/// What an errno of accept4(2) means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The backlog is empty.
    Empty,
    /// That connection is lost, or the call was interrupted; the next may be there already.
    TryNext,
    /// The machine, or this process, has run out of something: wait.
    Pause,
    /// This is not a listener any more.
    Lost,
}

fn verdict(errno: Errno) -> Verdict {
    match errno {
        Errno::EAGAIN => Verdict::Empty,
        // Linux passes pending network errors of the new connection on through accept; they are
        // to be treated like EAGAIN by retrying (accept(2), "Error handling"). EPERM: a firewall
        // rule forbids that connection.
        Errno::EINTR
        | Errno::ECONNABORTED
        | Errno::EPROTO
        | Errno::EPERM
        | Errno::ENETDOWN
        | Errno::ENOPROTOOPT
        | Errno::EHOSTDOWN
        | Errno::ENONET
        | Errno::EHOSTUNREACH
        | Errno::EOPNOTSUPP
        | Errno::ENETUNREACH
        | Errno::ETIMEDOUT => Verdict::TryNext,
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::ENOSR => {
            Verdict::Pause
        }
        Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK => Verdict::Lost,
        // Security modules add their own (EACCES); whatever it is, it may pass.
        _ => Verdict::Pause,
    }
}

/// What came of one try.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// A connection, close-on-exec and blocking.
    Connection(OwnedFd),
    /// Nothing now.
    Nothing,
}

/// A listening socket in the loop.
pub(crate) struct Listener {
    socket: Socket,
    token: u64,
    armed: bool,
    lost: bool,
    fault: Fault,
}

impl Listener {
    pub(crate) fn new(socket: Socket, token: u64) -> Self {
        Listener {
            socket,
            token,
            armed: false,
            lost: false,
            fault: Fault::default(),
        }
    }

    /// This socket can never be accepted from again.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// The listener, where somebody may wait for it unseen; None where it is lost.
    pub(crate) fn unseen(&self) -> Option<BorrowedFd<'_>> {
        (!self.lost).then(|| self.socket.fd.as_fd())
    }

    /// When the pause after a failure is over.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.fault.deadline()
    }

    /// Polls the listener if there is room for a connection and no pause is on, else leaves it.
    pub(crate) fn arm(&mut self, epoll: &Epoll, room: bool, now: Instant) {
        self.fault.tick(now);
        let wanted = room && !self.lost && !self.fault.is_paused();
        if wanted == self.armed {
            return;
        }
        let result = if wanted {
            epoll.add(
                &self.socket.fd,
                EpollEvent::new(EpollFlags::EPOLLIN, self.token),
            )
        } else {
            epoll.delete(&self.socket.fd)
        };
        match result {
            Ok(()) => self.armed = wanted,
            // ENOMEM, ENOSPC (max_user_watches): it may pass.
            Err(errno) => {
                log::accept_failed(self.fault.fail(now), &self.socket, errno);
            }
        }
    }

    /// Sees to it that [`Self::accept`] does not wait. The open file description is shared with
    /// whoever else holds the listener, and each start of a service sets or clears its O_NONBLOCK
    /// (NonBlocking= in systemd.exec(5)); and whoever else accepts may be there first.
    pub(crate) fn unblock(&self) {
        // EBADF: accept tells it too.
        let _ = set_nonblocking(self.socket.fd.as_fd(), true);
    }

    /// Takes one connection out of the backlog.
    pub(crate) fn accept(&mut self, now: Instant) -> Accepted {
        loop {
            match sys::accept(self.socket.fd.as_fd()) {
                Ok(connection) => {
                    log::accept_recovered(self.fault.ok(), &self.socket);
                    return Accepted::Connection(connection);
                }
                Err(errno) => match verdict(errno) {
                    Verdict::Empty => return Accepted::Nothing,
                    Verdict::TryNext if self.fault.tolerate() => {}
                    Verdict::TryNext | Verdict::Pause => {
                        log::accept_failed(self.fault.fail(now), &self.socket, errno);
                        return Accepted::Nothing;
                    }
                    Verdict::Lost => {
                        log::listener_lost(&self.socket, errno);
                        self.lost = true;
                        return Accepted::Nothing;
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::sockets::classify;
    use nix::sys::epoll::EpollCreateFlags;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn every_errno_of_the_manual_page_is_decided() {
        for (errno, expected) in [
            (Errno::EAGAIN, Verdict::Empty),
            (Errno::ECONNABORTED, Verdict::TryNext),
            (Errno::EINTR, Verdict::TryNext),
            (Errno::EPERM, Verdict::TryNext),
            (Errno::EPROTO, Verdict::TryNext),
            (Errno::EHOSTUNREACH, Verdict::TryNext),
            (Errno::EMFILE, Verdict::Pause),
            (Errno::ENFILE, Verdict::Pause),
            (Errno::ENOBUFS, Verdict::Pause),
            (Errno::ENOMEM, Verdict::Pause),
            (Errno::EACCES, Verdict::Pause),
            (Errno::EBADF, Verdict::Lost),
            (Errno::EINVAL, Verdict::Lost),
            (Errno::ENOTSOCK, Verdict::Lost),
        ] {
            assert_eq!(verdict(errno), expected, "{errno}");
        }
    }

    #[test]
    fn a_listener_is_polled_only_while_there_is_room() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll");
        let mut listener = Listener::new(classify(listener.into(), "it").expect("a listener"), 7);
        let now = Instant::now();
        let _client = TcpStream::connect(address).expect("a connection");
        let mut events = [EpollEvent::empty(); 4];

        listener.arm(&epoll, false, now);
        assert_eq!(epoll.wait(&mut events, 0u8), Ok(0));
        listener.arm(&epoll, true, now);
        assert_eq!(epoll.wait(&mut events, 1000u16), Ok(1));
        assert_eq!(events[0].data(), 7);
        assert!(matches!(listener.accept(now), Accepted::Connection(_)));
        assert!(matches!(listener.accept(now), Accepted::Nothing));
        listener.arm(&epoll, false, now);
        let _client = TcpStream::connect(address).expect("a connection");
        assert_eq!(epoll.wait(&mut events, 0u8), Ok(0));
    }
}
