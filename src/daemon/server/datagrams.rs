//! Datagram sockets in the loop: requests are taken from them, let in or dropped, and replies that
//! found the socket's buffer full wait here for room.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;

use super::{Server, Waiter};
use crate::daemon::datagrams::socket::{DatagramSocket, Received, Request, Sent, is_a_servers};
use crate::daemon::intake::peer::Peer;
use crate::daemon::logging as log;
use crate::daemon::logging::fault::Fault;
use crate::daemon::poll::{Poll, Token, Watched};

/// Datagrams that may wait for a run; the rest stay in the socket's queue.
const WAITING_DATAGRAMS: usize = 4096;
/// Datagrams taken in one turn of the loop.
const RECEIVES: usize = 1024;
/// How long a reply waits for room; then its client has asked again, or gone.
const SEND: Duration = Duration::from_millis(250);
/// Replies that wait for room at most; no more requests are taken then.
const UNSENT: usize = 4096;

/// A datagram socket in the loop.
pub(super) struct Datagrams {
    socket: Watched<DatagramSocket>,
    name: String,
    lost: bool,
    receiving: Fault,
    /// Replies that wait for room, and since when.
    outbox: VecDeque<(Instant, Request, Rc<[u8]>)>,
    /// When to look for room again. Not by epoll: replies to addresses that nobody has keep the
    /// buffer full for seconds (ARP, RFC 4861), and those that come meanwhile must not wait.
    sending: Fault,
    unsent: Fault,
}

impl Datagrams {
    pub(super) fn new(socket: DatagramSocket, name: String, poll: &Poll, index: u32) -> Self {
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        Datagrams {
            socket: poll.watch(socket, Token::Datagrams(index), interest),
            name,
            lost: false,
            receiving: Fault::default(),
            outbox: VecDeque::new(),
            sending: Fault::default(),
            unsent: Fault::default(),
        }
    }

    /// When [`Self::tick`] or [`Self::arm`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.sending.deadline(), self.receiving.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Nothing can be received from this socket again.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// The socket, where a request may wait in it unseen; None where it is lost.
    pub(super) fn unseen(&self) -> Option<BorrowedFd<'_>> {
        (!self.lost).then(|| self.socket.as_fd())
    }

    /// A pause after a failure is on: nobody looks at the socket.
    pub(super) fn is_paused(&self) -> bool {
        self.receiving.is_paused()
    }

    /// Somebody who shares the socket has shut it down (shutdown(2)): it is ready for ever, and
    /// gives nothing.
    pub(super) fn lose(&mut self) {
        if !std::mem::replace(&mut self.lost, true) {
            log::datagrams_lost(&self.name);
        }
    }

    /// Every reply has left.
    pub(super) fn is_flushed(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Looks for room when it is time to.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.sending.tick(now) {
            self.flush(now);
        }
    }

    /// Polls for requests if there is room for them and no pause is on, else leaves them.
    pub(super) fn arm(&mut self, room: bool, now: Instant) {
        self.receiving.tick(now);
        let wanted = room && !self.lost && !self.receiving.is_paused() && self.has_room();
        if let Err(errno) = self.socket.arm(wanted) {
            log::receive_failed(self.receiving.fail(now), &self.name, errno);
        }
    }

    /// True where the replies of more requests may be kept.
    fn has_room(&self) -> bool {
        self.outbox.len() < UNSENT
    }

    /// Sends a reply, or keeps it until there is room.
    pub(super) fn reply(&mut self, request: Request, answer: Rc<[u8]>, now: Instant) {
        if !self.outbox.is_empty() || !self.send(&request, &answer, now) {
            if self.outbox.is_empty() {
                self.sending.fail(now);
            }
            self.outbox.push_back((now, request, answer));
        }
    }

    /// Sends what waits for room, and drops what has waited too long.
    fn flush(&mut self, now: Instant) {
        while let Some((since, request, answer)) = self.outbox.pop_front() {
            if self.send(&request, &answer, now) {
                continue;
            }
            if now.saturating_duration_since(since) < SEND {
                self.outbox.push_front((since, request, answer));
                self.sending.fail(now);
                return;
            }
            self.tell(&request, Errno::EAGAIN, now);
        }
        self.sending.ok();
    }

    /// False where there is no room.
    fn send(&mut self, request: &Request, answer: &[u8], now: Instant) -> bool {
        match self.socket.reply(request, answer) {
            Sent::Done => {
                self.unsent.ok();
                true
            }
            Sent::Full => false,
            Sent::Lost(errno) => {
                log::reply_lost(&request.peer(), errno);
                true
            }
            Sent::Failed(errno) => {
                self.tell(request, errno, now);
                true
            }
        }
    }

    fn tell(&mut self, request: &Request, errno: Errno, now: Instant) {
        log::reply_failed(self.unsent.fail(now), &self.name, &request.peer(), errno);
    }
}

impl Server {
    /// True where one more datagram may wait.
    pub(super) fn has_room_for_datagrams(&self) -> bool {
        self.stop.is_none() && self.capture.waiting() < WAITING_DATAGRAMS
    }

    /// Takes requests out of a socket's queue.
    pub(super) fn datagrams_ready(&mut self, index: usize, now: Instant) {
        for received in 0..RECEIVES {
            if !self.has_room_for_datagrams() || !self.datagrams[index].has_room() {
                return;
            }
            let datagrams = &mut self.datagrams[index];
            match datagrams.socket.receive() {
                Ok(Received::Request(request)) => {
                    log::receive_recovered(datagrams.receiving.ok(), &datagrams.name);
                    self.ask(index, request, now);
                }
                Ok(Received::Unnamed) => log::unnamed(&datagrams.name),
                Err(Errno::EAGAIN) => {
                    if received == 0 {
                        // Ready, and yet nothing there: it is the error queue that is.
                        datagrams.socket.clear_errors();
                    }
                    return;
                }
                // ICMP errors that an earlier reply met (udp(7)), or a signal.
                Err(
                    Errno::EINTR | Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH,
                ) if datagrams.receiving.tolerate() => {}
                Err(errno) => {
                    let failure = datagrams.receiving.fail(now);
                    return log::receive_failed(failure, &datagrams.name, errno);
                }
            }
        }
    }

    /// Lets a datagram in, or drops it.
    fn ask(&mut self, index: usize, request: Request, now: Instant) {
        let peer = request.peer();
        if let Peer::Inet(from) = peer {
            if is_a_servers(from.port(), &self.ports) {
                return log::from_a_server(&peer);
            }
        }
        if !self.allow.admits(&peer) {
            return log::denied(&peer);
        }
        if peer
            .ip()
            .is_some_and(|ip| !self.rate_limiter.admits(ip, now))
        {
            return;
        }
        self.last_active = now;
        self.share(
            Waiter::Datagram {
                socket: index,
                request,
            },
            now,
        );
    }
}
