//! The end of every connection: what is left of a reply is sent, the connection half-closed,
//! what the client still sends read and thrown away, and then it is closed.
//!
//! Why not just close: a TCP socket that is closed with unread bytes in it sends RST instead of
//! FIN, and the client may lose the reply with it (RFC 1122, 4.2.2.13). So whoever typed a line
//! before reading gets the whole answer too.
//!
//! Almost every client closes within a moment of its answer. A connection is therefore looked at
//! once, a moment later, without any registration; only the few that are still open then, or
//! whose reply did not fit, are watched by epoll until their time is over. Those who send without
//! an end are read a little at a time, so that it is they who wait, and nobody else (tcp(7): a
//! receive buffer that is full closes the window).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};

use crate::daemon::intake::peer::has_gone;
use crate::daemon::poll::{Registry, Timed};

/// From the half-close to the first look, and from one step of a long drain to the next.
const PAUSE: Duration = Duration::from_millis(5);
/// From the half-close to the close, at most.
const LINGER: Duration = Duration::from_secs(1);
/// What a client may still send, in bytes.
const DRAIN: usize = 4 << 20;
/// What of it is read in a step, in bytes: all of it takes a third of a second.
const STEP: usize = 64 << 10;
/// How long a client may take to make room for a reply that did not fit.
const SEND: Duration = Duration::from_secs(5);
const READ_SIZE: usize = 16 << 10;

struct Lingering {
    fd: OwnedFd,
    /// The reply, and how much of it has gone; None once it has all gone.
    unsent: Option<(Rc<[u8]>, usize)>,
    drained: usize,
    deadline: Instant,
}

/// What to do with a connection after a step.
enum Next {
    /// It is over, one way or another.
    Close,
    /// The reply is out and the connection half-closed, and the client is still there.
    Drain,
    /// The same, and it has sent more than is read at once.
    Pause,
    /// The reply waits for room.
    Flush,
}

/// The connections that are being ended.
pub(crate) struct Linger {
    registry: Registry,
    /// Not watched: to be looked at when their time comes, in its order.
    pausing: VecDeque<(Instant, Lingering)>,
    /// Registered with epoll under their number.
    watched: HashMap<u64, Lingering>,
    /// The deadlines of those that are being drained, and of those whose reply waits for room.
    draining: BTreeSet<(Instant, u64)>,
    flushing: BTreeSet<(Instant, u64)>,
    last_id: u64,
    buffer: Box<[u8]>,
}

impl Linger {
    pub(crate) fn new(registry: Registry) -> Self {
        Linger {
            registry,
            pausing: VecDeque::new(),
            watched: HashMap::new(),
            draining: BTreeSet::new(),
            flushing: BTreeSet::new(),
            last_id: 0,
            buffer: vec![0; READ_SIZE].into_boxed_slice(),
        }
    }

    /// How many descriptors are held here.
    pub(crate) fn len(&self) -> usize {
        self.pausing.len() + self.watched.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends a connection: sends `reply`, if there is one, half-closes, and keeps the descriptor
    /// until the client has closed too or its time is over. Gives false where the client has gone.
    pub(crate) fn finish(&mut self, fd: OwnedFd, reply: Option<Rc<[u8]>>, now: Instant) -> bool {
        let mut ending = Lingering {
            fd,
            unsent: reply.map(|reply| (reply, 0)),
            drained: 0,
            deadline: now + LINGER,
        };
        match ending.flush() {
            Next::Close => return false,
            Next::Drain | Next::Pause => self.pausing.push_back((now + PAUSE, ending)),
            Next::Flush => {
                ending.deadline = now + SEND;
                self.watch(ending, EpollFlags::EPOLLOUT);
            }
        }
        true
    }

    /// Half-closes and closes at once, for a client that is turned away with a word: a
    /// registration for each would let a flood take our descriptors.
    pub(crate) fn dismiss(fd: OwnedFd, word: &[u8]) {
        // Whatever fails here, the client is gone or not reading, and was not to be served.
        let _ = send(
            fd.as_raw_fd(),
            word,
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        );
        let _ = shutdown(fd.as_raw_fd(), Shutdown::Write);
    }

    /// Goes on with a connection that epoll told of. A number that is not known here any more is
    /// an event from before the close: a command between vfork and exec held a copy.
    pub(crate) fn ready(&mut self, id: u64, now: Instant) {
        let Some(ending) = self.watched.get_mut(&id) else {
            return;
        };
        let sending = ending.unsent.is_some();
        let next = if sending {
            ending.flush()
        } else {
            ending.drain(&mut self.buffer)
        };
        match next {
            Next::Close => drop(self.unwatch(id)),
            Next::Pause => {
                let ending = self.unwatch(id);
                self.pausing
                    .extend(ending.map(|ending| (now + PAUSE, ending)));
            }
            Next::Drain if sending => {
                self.flushing.remove(&(ending.deadline, id));
                ending.deadline = now + LINGER;
                self.draining.insert((ending.deadline, id));
                let mut event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, id);
                if self
                    .registry
                    .epoll()
                    .modify(&ending.fd, &mut event)
                    .is_err()
                {
                    self.unwatch(id);
                }
            }
            Next::Drain | Next::Flush => {}
        }
    }

    /// Closes the one that has been here longest, to make room; one that has not been sent its
    /// whole reply only where there is no other. False where there is none.
    pub(crate) fn evict(&mut self) -> bool {
        if let Some(&(_, id)) = self.draining.first() {
            return self.unwatch(id).is_some();
        }
        if self.pausing.pop_front().is_some() {
            return true;
        }
        match self.flushing.first() {
            Some(&(_, id)) => self.unwatch(id).is_some(),
            None => false,
        }
    }

    fn watch(&mut self, ending: Lingering, events: EpollFlags) {
        let id = self.last_id;
        self.last_id += 1;
        // Edge-triggered, since each step goes on until EAGAIN, and a socket that says EAGAIN and
        // ready at once must not keep the loop turning.
        let events = events | EpollFlags::EPOLLET;
        // ENOMEM, ENOSPC (max_user_watches): without a registration it cannot be waited for, so
        // it is closed now, as at the end of its time.
        if self
            .registry
            .epoll()
            .add(&ending.fd, EpollEvent::new(events, id))
            .is_ok()
        {
            let deadlines = match ending.unsent {
                Some(_) => &mut self.flushing,
                None => &mut self.draining,
            };
            deadlines.insert((ending.deadline, id));
            self.watched.insert(id, ending);
        }
    }

    /// Takes one back from epoll; dropped, it is closed.
    fn unwatch(&mut self, id: u64) -> Option<Lingering> {
        let ending = self.watched.remove(&id)?;
        // In one of them.
        self.draining.remove(&(ending.deadline, id));
        self.flushing.remove(&(ending.deadline, id));
        // A close alone would leave it registered while a command between vfork and exec still
        // holds a copy. It cannot fail for a descriptor that is registered.
        let _ = self.registry.epoll().delete(&ending.fd);
        Some(ending)
    }
}

impl Timed for Linger {
    fn deadline(&self) -> Option<Instant> {
        let look = self.pausing.front().map(|(at, _)| *at);
        let close = [&self.draining, &self.flushing].map(|set| set.first().map(|(at, _)| *at));
        look.into_iter().chain(close.into_iter().flatten()).min()
    }

    /// Looks at those whose pause is over, and closes those whose time is.
    fn tick(&mut self, now: Instant) {
        while self.pausing.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, mut ending)) = self.pausing.pop_front() else {
                break;
            };
            match ending.drain(&mut self.buffer) {
                Next::Drain => self.watch(ending, EpollFlags::EPOLLIN),
                Next::Pause if now < ending.deadline => {
                    self.pausing.push_back((now + PAUSE, ending));
                }
                Next::Pause | Next::Flush | Next::Close => {}
            }
        }
        let oldest = |set: &BTreeSet<(Instant, u64)>| set.first().copied();
        while let Some((_, id)) = [oldest(&self.draining), oldest(&self.flushing)]
            .into_iter()
            .flatten()
            .find(|(at, _)| *at <= now)
        {
            self.unwatch(id);
        }
    }
}

impl Lingering {
    /// Sends what is left of the reply; half-closes when all of it has gone.
    fn flush(&mut self) -> Next {
        while let Some((reply, sent)) = &mut self.unsent {
            if *sent >= reply.len() {
                self.unsent = None;
                break;
            }
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.fd.as_raw_fd(), &reply[*sent..], flags) {
                Ok(bytes) => *sent += bytes,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Next::Flush,
                // EPIPE, ECONNRESET and what TCP passes on from below: the client has gone.
                // ENOBUFS, ENOMEM: no event would tell when to try again.
                Err(_) => return Next::Close,
            }
        }
        match shutdown(self.fd.as_raw_fd(), Shutdown::Write) {
            Ok(()) => Next::Drain,
            // ENOTCONN: reset by the client.
            Err(_) => Next::Close,
        }
    }

    /// Throws away what the client has sent, until there is no more for now, or enough for now.
    fn drain(&mut self, buffer: &mut [u8]) -> Next {
        let enough = self.drained + STEP;
        while self.drained < DRAIN {
            if self.drained >= enough {
                return Next::Pause;
            }
            match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                // On a seqpacket socket 0 is also an empty message. Both ends have stopped sending
                // at the real end, and then poll says so.
                Ok(0) if has_gone(self.fd.as_fd()) => return Next::Close,
                Ok(0) => self.drained += 1,
                Ok(bytes) => self.drained += bytes,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Next::Drain,
                Err(_) => return Next::Close,
            }
        }
        Next::Close
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::poll::{Poll, Token};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn world() -> (Poll, Linger, UnixStream, UnixStream) {
        let poll = Poll::new().expect("an epoll");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let linger = Linger::new(poll.registry().clone());
        (poll, linger, ours, theirs)
    }

    fn turn(poll: &mut Poll, linger: &mut Linger, now: Instant) {
        linger.tick(now);
        let mut ready = Vec::new();
        poll.wait(&mut ready, Some(now), now).expect("events");
        for ready in ready {
            let Token::Lingering(id) = ready.token else {
                panic!("{:?}", ready.token);
            };
            linger.ready(id, now);
        }
    }

    #[test]
    fn a_client_that_closes_is_gone_at_the_first_look() {
        let (_poll, mut linger, ours, mut theirs) = world();
        let start = Instant::now();
        assert!(linger.finish(ours.into(), Some(Rc::from(&b"up"[..])), start));
        let mut reply = String::new();
        theirs
            .read_to_string(&mut reply)
            .expect("the reply, then the end");
        assert_eq!(reply, "up");
        drop(theirs);
        linger.tick(start);
        assert_eq!(linger.len(), 1, "it was looked at too early");
        linger.tick(start + PAUSE);
        assert!(linger.is_empty() && linger.deadline().is_none());
    }

    #[test]
    fn a_client_that_stays_is_closed_in_the_end() {
        let (mut poll, mut linger, ours, mut theirs) = world();
        let start = Instant::now();
        linger.finish(ours.into(), None, start);
        theirs.write_all(b"hello").expect("room");
        turn(&mut poll, &mut linger, start + PAUSE);
        assert_eq!(linger.len(), 1);
        turn(&mut poll, &mut linger, start + LINGER);
        assert!(linger.is_empty());
    }

    #[test]
    fn who_sends_for_ever_is_cut_off() {
        let (mut poll, mut linger, ours, mut theirs) = world();
        let start = Instant::now();
        linger.finish(ours.into(), None, start);
        theirs.set_nonblocking(true).expect("non-blocking");
        let chunk = vec![0; 64 << 10];
        let (mut sent, mut now) = (0, start);
        while !linger.is_empty() {
            match theirs.write(&chunk) {
                Ok(bytes) => sent += bytes,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            now += PAUSE;
            turn(&mut poll, &mut linger, now);
            assert!(sent < 2 * DRAIN, "{sent} bytes were taken");
        }
        assert!(sent >= DRAIN, "only {sent} bytes were taken");
        assert!(now < start + LINGER, "too slow to take them all");
    }

    #[test]
    fn who_sends_much_is_read_a_little_at_a_time() {
        let (mut poll, mut linger, ours, mut theirs) = world();
        let start = Instant::now();
        theirs.set_nonblocking(true).expect("non-blocking");
        let chunk = vec![0; STEP / 2];
        let mut fill = || std::iter::from_fn(|| theirs.write(&chunk).ok()).sum::<usize>();
        linger.finish(ours.into(), None, start);
        let first = fill();
        assert!(first > STEP, "a buffer of {first} bytes is no test");
        turn(&mut poll, &mut linger, start + PAUSE);
        turn(&mut poll, &mut linger, start + PAUSE);
        assert!(fill() <= STEP, "more than a step was read at once");
        turn(&mut poll, &mut linger, start + 2 * PAUSE);
        assert!(fill() > 0, "nothing was read in the second step");
    }

    #[test]
    fn a_reply_that_does_not_fit_waits_for_room_and_no_longer_than_its_time() {
        let (mut poll, mut linger, ours, mut theirs) = world();
        let start = Instant::now();
        let reply: Rc<[u8]> = vec![b'x'; 4 << 20].into();
        linger.finish(ours.into(), Some(reply.clone()), start);
        theirs.set_nonblocking(true).expect("non-blocking");
        let (mut got, mut chunk) = (0, vec![0; 64 << 10]);
        while got < reply.len() {
            match theirs.read(&mut chunk) {
                Ok(bytes) => got += bytes,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            turn(&mut poll, &mut linger, start + PAUSE);
        }
        drop(theirs);
        turn(&mut poll, &mut linger, start + PAUSE);
        assert!(linger.is_empty());

        let (ours, _stalled) = UnixStream::pair().expect("a pair");
        linger.finish(ours.into(), Some(reply), start);
        turn(&mut poll, &mut linger, start + LINGER);
        assert_eq!(linger.len(), 1);
        turn(&mut poll, &mut linger, start + SEND);
        assert!(linger.is_empty());
    }

    #[test]
    fn the_oldest_makes_room() {
        let (_poll, mut linger, ours, theirs) = world();
        assert!(!linger.evict());
        linger.finish(ours.into(), None, Instant::now());
        assert!(linger.evict() && linger.is_empty());
        drop(theirs);
    }

    #[test]
    fn who_has_the_whole_reply_makes_room_before_who_has_not() {
        let (_poll, mut linger, slow, _slow) = world();
        let reply: Rc<[u8]> = vec![b'x'; 4 << 20].into();
        let start = Instant::now();
        linger.finish(slow.into(), Some(reply), start);
        let later = start + SEND - LINGER;
        let (pausing, _pausing) = UnixStream::pair().expect("a pair");
        let (draining, _draining) = UnixStream::pair().expect("a pair");
        linger.finish(draining.into(), None, later);
        linger.tick(later + PAUSE);
        linger.finish(pausing.into(), None, later + PAUSE);
        assert_eq!((linger.draining.len(), linger.pausing.len()), (1, 1));
        assert!(linger.evict());
        assert_eq!((linger.draining.len(), linger.pausing.len()), (0, 1));
        assert!(linger.evict());
        assert_eq!((linger.pausing.len(), linger.flushing.len()), (0, 1));
        assert!(linger.evict() && linger.is_empty());
        assert_eq!(linger.deadline(), None);
    }
}
