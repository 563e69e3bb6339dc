//! Taking connections out of the backlogs: listeners come in, connections go out, and every
//! errno of accept4(2) is decided here by its name.
//!
//! The listeners are polled only while there is room for another connection; the rest wait in
//! the kernel's backlog, which the service manager keeps open whatever becomes of the daemon.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{AddressFamily, Shutdown, shutdown};

use super::stream::Stream;
use crate::daemon::logging as log;
use crate::daemon::logging::fault::Fault;
use crate::daemon::poll::{Registry, SourceState, Timed, Token, Watched};
use crate::daemon::sockets::{Socket, set_nonblocking};
use crate::daemon::sys;
use crate::rights;

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

/// A listening socket in the loop.
pub(crate) struct Listener {
    socket: Watched<Socket>,
    is_lost: bool,
    fault: Fault,
}

impl Listener {
    pub(crate) fn new(socket: Socket, registry: &Registry, token: Token) -> Self {
        if socket.family == AddressFamily::Unix {
            // For those who connect from now on.
            rights::refuse(socket.fd.as_fd());
        }
        Listener {
            socket: registry.watch(socket, token, EpollFlags::EPOLLIN),
            is_lost: false,
            fault: Fault::default(),
        }
    }

    /// Whether connections can come out of this socket.
    pub(crate) fn state(&self) -> SourceState<'_> {
        if self.is_lost {
            SourceState::Lost
        } else if self.fault.is_paused() {
            SourceState::Paused
        } else {
            SourceState::Open(self.socket.as_fd())
        }
    }

    /// Its clients are on this machine, and may pass descriptors.
    pub(crate) fn is_unix(&self) -> bool {
        self.socket.family == AddressFamily::Unix
    }

    /// Polls the listener if there is room for a connection and no pause is on, else leaves it.
    pub(crate) fn arm(&mut self, room: bool, now: Instant) {
        let wanted = room && matches!(self.state(), SourceState::Open(_));
        if let Err(errno) = self.socket.arm(wanted) {
            log::accept_failed(self.fault.fail(now), &*self.socket, errno);
        }
    }

    /// Refuses further connections (ECONNREFUSED), and resets those in a TCP listener's backlog. For
    /// a listener that no other process holds: shutdown(2) ends it for all.
    ///
    /// It is not closed, since the close of a UNIX listener drops what is in its backlog, and that
    /// may sleep over descriptors that a client has passed; those clients go with the process.
    pub(crate) fn refuse(&mut self, now: Instant) {
        self.arm(false, now);
        // ENOTCONN: refused already, by a first signal to stop.
        let _ = shutdown(self.socket.fd.as_raw_fd(), Shutdown::Read);
    }

    /// Makes sure that [`Self::accept`] does not block. The open file description is shared with all
    /// holders of the listener, each start of a service sets or clears its O_NONBLOCK (NonBlocking=
    /// in systemd.exec(5)), and another holder may accept the connection first.
    pub(crate) fn unblock(&self) {
        // EBADF: accept fails with it, too.
        let _ = set_nonblocking(self.socket.fd.as_fd(), true);
    }

    /// Takes one connection out of the backlog, close-on-exec and blocking; None where there is
    /// none now.
    pub(crate) fn accept(&mut self, now: Instant) -> Option<Stream> {
        loop {
            match sys::accept(self.socket.fd.as_fd()) {
                Ok(connection) => {
                    if let Some(failures) = self.fault.ok() {
                        log::accept_recovered(failures, &*self.socket);
                    }
                    return Some(Stream::new(connection, self.socket.family));
                }
                Err(errno) => match verdict(errno) {
                    Verdict::Empty => return None,
                    Verdict::TryNext if self.fault.tolerate() => {}
                    Verdict::TryNext | Verdict::Pause => {
                        log::accept_failed(self.fault.fail(now), &*self.socket, errno);
                        return None;
                    }
                    Verdict::Lost => {
                        log::listener_lost(&*self.socket, errno);
                        self.is_lost = true;
                        return None;
                    }
                },
            }
        }
    }
}

impl Timed for Listener {
    fn deadline(&self) -> Option<Instant> {
        self.fault.deadline()
    }

    /// Ends a pause that is over.
    fn tick(&mut self, now: Instant) {
        self.fault.tick(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::poll::Poll;
    use crate::daemon::sockets::classify;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

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
        let mut poll = Poll::new().expect("an epoll");
        let socket = classify(listener.into(), "it").expect("served");
        let mut listener = Listener::new(socket, poll.registry(), Token::Listener(7));
        let now = Instant::now();
        let mut ready = Vec::new();
        let mut is_ready = |seconds| {
            let deadline = now + Duration::from_secs(seconds);
            poll.wait(&mut ready, Some(deadline), now).expect("a wait");
            ready.iter().any(|ready| ready.token == Token::Listener(7))
        };
        let _client = TcpStream::connect(address).expect("a connection");

        listener.arm(false, now);
        assert!(!is_ready(0));
        listener.arm(true, now);
        assert!(is_ready(20));
        assert!(listener.accept(now).is_some());
        assert!(listener.accept(now).is_none());
        listener.arm(false, now);
        let _client = TcpStream::connect(address).expect("a connection");
        assert!(!is_ready(0));
    }
}
