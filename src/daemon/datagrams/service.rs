//! One datagram socket in the loop: requests are received from it, replies leave through it, and
//! every errno of both is decided here or in [`socket`](super::socket).

use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;

use super::outbox::Outbox;
use super::socket::{DatagramSocket, Received, Request, Sent};
use crate::daemon::logging as log;
use crate::daemon::logging::fault::Fault;
use crate::daemon::poll::{Registry, Token, Watched};

/// A datagram socket, its faults, and the replies that wait for room in it.
pub(crate) struct Service {
    socket: Watched<DatagramSocket>,
    name: String,
    is_lost: bool,
    receiving: Fault,
    sending: Fault,
    outbox: Outbox<(Request, Rc<[u8]>)>,
}

/// What was taken out of a socket's queue.
pub(crate) enum Taken {
    Request(Request),
    /// Something that is not to be answered; the next may be there already.
    Dropped,
    Nothing,
}

impl Service {
    pub(crate) fn new(
        socket: DatagramSocket,
        name: String,
        registry: &Registry,
        index: u32,
    ) -> Self {
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        Service {
            socket: registry.watch(socket, Token::Datagrams(index), interest),
            name,
            is_lost: false,
            receiving: Fault::default(),
            sending: Fault::default(),
            outbox: Outbox::new(),
        }
    }

    /// Nothing can be received from this socket again.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The socket, where a request may wait in it unseen; None where it is lost.
    pub(crate) fn unseen(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_lost).then(|| self.socket.as_fd())
    }

    /// A pause after a failure is on: nobody looks at the socket.
    pub(crate) fn is_paused(&self) -> bool {
        self.receiving.is_paused()
    }

    /// Every reply has left.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Polls for requests if there is room for them and no pause is on, else leaves them.
    pub(crate) fn arm(&mut self, room: bool, now: Instant) {
        let is_wanted = room && !self.is_lost && !self.is_paused() && self.outbox.has_room();
        if let Err(errno) = self.socket.arm(is_wanted) {
            log::receive_failed(self.receiving.fail(now), &self.name, errno);
        }
    }

    /// Takes what epoll says of the socket besides that there may be requests.
    pub(crate) fn ready(&mut self, events: EpollFlags) {
        if events.contains(EpollFlags::EPOLLERR) {
            self.socket.clear_errors();
        }
        // Somebody who shares the socket has shut it down (shutdown(2)): it is ready for ever, and
        // gives nothing.
        let is_over = events.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP);
        if is_over && !std::mem::replace(&mut self.is_lost, true) {
            log::datagrams_lost(&self.name);
        }
    }

    /// Takes one datagram out of the socket's queue, where its reply could be kept.
    pub(crate) fn receive(&mut self, now: Instant) -> Taken {
        if !self.outbox.has_room() {
            return Taken::Nothing;
        }
        match self.socket.receive() {
            Ok(Received::Request(request)) => {
                log::receive_recovered(self.receiving.ok(), &self.name);
                Taken::Request(request)
            }
            Ok(Received::Unnamed) => {
                log::unnamed(&self.name);
                Taken::Dropped
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
    pub(crate) fn reply(&mut self, request: Request, answer: Rc<[u8]>, now: Instant) {
        let Service {
            socket,
            name,
            sending,
            outbox,
            ..
        } = self;
        outbox.push((request, answer), now, |(request, answer)| {
            send(socket, name, sending, request, answer, now)
        });
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.receiving.deadline(), self.outbox.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Ends a pause that is over, and looks for room when it is time to.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.receiving.tick(now);
        let Service {
            socket,
            name,
            sending,
            outbox,
            ..
        } = self;
        let dropped = outbox.flush(now, |(request, answer)| {
            send(socket, name, sending, request, answer, now)
        });
        for (request, _) in dropped {
            log::reply_failed(sending.fail(now), name, &request.peer(), Errno::EAGAIN);
        }
    }
}

/// Sends a reply; false where there is no room for it.
fn send(
    socket: &DatagramSocket,
    name: &str,
    fault: &mut Fault,
    request: &Request,
    answer: &[u8],
    now: Instant,
) -> bool {
    match socket.reply(request, answer) {
        Sent::Done => drop(fault.ok()),
        Sent::Full => return false,
        Sent::Lost(errno) => log::reply_lost(&request.peer(), errno),
        Sent::Failed(errno) => log::reply_failed(fault.fail(now), &name, &request.peer(), errno),
    }
    true
}
