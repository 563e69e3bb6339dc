//! One datagram socket in the loop: requests are received from it, replies leave through it, and
//! every errno of both is decided here or in [`socket`](super::socket).

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{SockaddrStorage, getpeername};

use super::helpers::Helpers;
use super::outbox::Outbox;
use super::socket::{DatagramSocket, Received, Request, Sent};
use crate::daemon::logging as log;
use crate::daemon::logging::fault::Fault;
use crate::daemon::poll::{Registry, SourceState, Timed, Token, Watched};
use crate::daemon::sockets::Socket;

/// A datagram socket, its faults, and the replies that wait for room in it.
pub(crate) struct Service {
    socket: Watched<DatagramSocket>,
    name: String,
    /// It is connected: all that comes is from one client (an inetd that makes a socket for each).
    has_one_client: bool,
    has_asked: bool,
    is_lost: bool,
    receiving: Fault,
    sending: Fault,
    outbox: Outbox<(Request, Arc<[u8]>)>,
    helpers: Helpers,
}

/// What was taken out of a socket's queue.
pub(crate) enum Taken {
    Request(Request),
    /// Something that is not to be answered; the next may be there already.
    Dropped,
    Nothing,
}

impl Service {
    /// # Errors
    /// Those of [`DatagramSocket::new`].
    pub(crate) fn new(socket: Socket, registry: &Registry, token: Token) -> nix::Result<Self> {
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        let name = socket.name.clone();
        // ENOTCONN: from anybody.
        let has_one_client = getpeername::<SockaddrStorage>(socket.fd.as_raw_fd()).is_ok();
        Ok(Service {
            socket: registry.watch(DatagramSocket::new(socket)?, token, interest),
            name,
            has_one_client,
            has_asked: false,
            is_lost: false,
            receiving: Fault::default(),
            sending: Fault::default(),
            outbox: Outbox::new(),
            helpers: Helpers::new(),
        })
    }

    /// The port that it is bound to; None for a UNIX socket.
    pub(crate) fn port(&self) -> Option<u16> {
        self.socket.port()
    }

    /// Whether requests can come out of this socket.
    pub(crate) fn state(&self) -> SourceState<'_> {
        if self.is_lost {
            SourceState::Lost
        } else if self.receiving.is_paused() {
            SourceState::Paused
        } else {
            SourceState::Open(self.socket.as_fd())
        }
    }

    /// Its only client has asked, whether or not it is to be answered.
    pub(crate) fn is_served(&self) -> bool {
        self.has_one_client && self.has_asked
    }

    /// Every reply has left.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outbox.is_empty() && !self.helpers.is_replying()
    }

    /// Polls for requests if there is room for them and no pause is on, else leaves them.
    pub(crate) fn arm(&mut self, room: bool, now: Instant) {
        let is_open = matches!(self.state(), SourceState::Open(_));
        let has_room = self.outbox.has_room() && !self.helpers.is_discarding();
        let is_wanted = room && is_open && has_room;
        if let Err(errno) = self.socket.arm(is_wanted) {
            log::receive_failed(self.receiving.fail(now), &self.name, errno);
        }
    }

    /// Takes what epoll says of the socket besides that there may be requests.
    pub(crate) fn ready(&mut self, events: EpollFlags) {
        if events.contains(EpollFlags::EPOLLERR) {
            self.socket.clear_errors();
        }
        // A process that shares the socket has shut it down (shutdown(2)): it is ready for ever, and
        // gives nothing.
        let is_over = events.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP);
        if is_over && !std::mem::replace(&mut self.is_lost, true) {
            log::datagrams_lost(&self.name);
        }
    }

    /// Takes one datagram out of the socket's queue, where its reply could be kept.
    pub(crate) fn receive(&mut self, now: Instant) -> Taken {
        if !self.outbox.has_room() || self.helpers.is_discarding() {
            return Taken::Nothing;
        }
        let received = self.socket.receive();
        self.has_asked |= received.is_ok();
        match received {
            Ok(Received::Request(request)) => {
                if let Some(failures) = self.receiving.ok() {
                    log::receive_recovered(failures, &self.name);
                }
                Taken::Request(request)
            }
            Ok(Received::Unanswerable(why)) => {
                log::unanswerable(&self.name, why);
                Taken::Dropped
            }
            Ok(Received::Laden) => {
                log::unanswerable(&self.name, "it passes descriptors");
                self.helpers.discard(&self.socket, now);
                Taken::Nothing
            }
            Err(Errno::EAGAIN) => Taken::Nothing,
            // ICMP errors that an earlier reply met (udp(7)), or a signal.
            Err(Errno::EINTR | Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH)
                if self.receiving.tolerate() =>
            {
                Taken::Dropped
            }
            Err(errno) => {
                log::receive_failed(self.receiving.fail(now), &self.name, errno);
                Taken::Nothing
            }
        }
    }

    /// Sends a reply, or keeps it until there is room.
    pub(crate) fn reply(&mut self, request: Request, answer: Arc<[u8]>, now: Instant) {
        if let Some(job) = self.socket.reply_later(&request, &answer) {
            if !self.helpers.reply(job, now) {
                log::reply_lost(&request.peer(), Errno::EAGAIN);
            }
            return;
        }
        if !self.outbox.is_empty() || !self.send(&request, &answer, now) {
            self.outbox.push((request, answer), now);
        }
    }

    /// Sends a reply; false where there is no room for it.
    fn send(&mut self, request: &Request, answer: &[u8], now: Instant) -> bool {
        match self.socket.reply(request, answer) {
            Sent::Done => drop(self.sending.ok()),
            Sent::Full => return false,
            Sent::Lost(errno) => log::reply_lost(&request.peer(), errno),
            Sent::Failed(errno) => self.report(request, errno, now),
        }
        true
    }

    fn report(&mut self, request: &Request, errno: Errno, now: Instant) {
        log::reply_failed(self.sending.fail(now), &self.name, &request.peer(), errno);
    }
}

impl Timed for Service {
    fn deadline(&self) -> Option<Instant> {
        let all = [
            self.receiving.deadline(),
            self.outbox.deadline(),
            self.helpers.deadline(),
        ];
        all.into_iter().flatten().min()
    }

    /// Ends a pause that is over, and looks for room when it is time to.
    fn tick(&mut self, now: Instant) {
        self.receiving.tick(now);
        self.helpers.tick(now);
        while let Some(waiting) = self.outbox.next(now) {
            let (request, answer) = &waiting.reply;
            if !self.send(request, answer, now) {
                if let Some((request, _)) = self.outbox.put_back(waiting, now) {
                    self.report(&request, Errno::EAGAIN, now);
                }
            }
        }
    }
}
