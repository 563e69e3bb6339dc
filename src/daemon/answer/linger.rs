//! The end of every connection: what is left of a reply is sent, the connection half-closed,
//! what the client still sends read and thrown away, and then it is closed.
//!
//! Why not just close: a TCP socket that is closed with unread bytes in it sends RST instead of
//! FIN, and the client may lose the reply with it (RFC 1122, 4.2.2.13). So a client that sent a line
//! before reading gets the whole answer too.
//!
//! Almost every client closes within a moment of its answer. So nothing is registered with epoll: a
//! connection is looked at a moment later, and where it is still open again after pauses that
//! double, until its time is over. Those who send without an end are read a little at a time, so
//! that it is they who wait, and nobody else (tcp(7): a receive buffer that is full closes the
//! window).
//!
//! A UNIX connection to which descriptors may have been passed is closed by the releaser of
//! [`rights`] in the end, as every [`Stream`] is that is dropped.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};

use crate::daemon::intake::stream::Stream;
use crate::daemon::poll::Timed;
use crate::rights;

/// From the half-close to the first look, and from one step of a long drain to the next; doubled
/// with each look that finds nothing, up to the longest.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);
/// From the half-close to the close, at most.
const LINGER: Duration = Duration::from_secs(1);
/// What a client may still send, in bytes.
const DRAIN: usize = 4 << 20;
/// What of it is read in a step, in bytes and in calls: a packet may be empty.
const STEP: usize = 64 << 10;
const CALLS: usize = 16;
const READ_SIZE: usize = 16 << 10;
/// How long a client may take to make room for a reply that did not fit.
const SEND: Duration = Duration::from_secs(5);
/// Connections that are looked at in one turn of the loop.
const LOOKS: usize = 512;
/// The longest pause between two looks at the releaser.
const LONGEST_RECOUNT: Duration = Duration::from_secs(1);

/// In this order the connections make room: those that have not been sent their whole reply (true)
/// only where there is no other, and the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(bool, u64);

struct Lingering {
    /// Later ones have higher numbers; a new one when all of the reply has gone.
    number: u64,
    stream: Stream,
    /// The reply, and how much of it has gone; None once it has all gone.
    unsent: Option<(Arc<[u8]>, usize)>,
    drained: usize,
    pause: Duration,
    deadline: Instant,
}

/// What to do with a connection after a step.
enum Next {
    /// It is over, one way or another.
    Close,
    /// Look again soon: something has moved.
    Soon,
    /// Look again later.
    Later,
}

/// The connections that are being ended.
pub(crate) struct Linger {
    ending: BTreeMap<Rank, Lingering>,
    /// When to look at which of them. One that is not there any more has made room.
    looks: BinaryHeap<Reverse<(Instant, Rank)>>,
    last_number: u64,
    /// How many of them may be laden.
    suspicious: usize,
    /// When to see what the releaser has done, of which nothing else tells, and the pause before.
    recount: (Instant, Duration),
    buffer: Box<[u8]>,
}

impl Linger {
    pub(crate) fn new(now: Instant) -> Self {
        Linger {
            ending: BTreeMap::new(),
            looks: BinaryHeap::new(),
            last_number: 0,
            suspicious: 0,
            recount: (now, PAUSE),
            buffer: vec![0; READ_SIZE].into_boxed_slice(),
        }
    }

    /// How many descriptors are held here, or wait to be closed.
    pub(crate) fn len(&self) -> usize {
        self.ending.len() + rights::unreleased()
    }

    /// Nobody is waited for; descriptors may still wait to be closed.
    pub(crate) fn is_empty(&self) -> bool {
        self.ending.is_empty()
    }

    /// How many of them belong to connections that may be laden, or are.
    pub(crate) fn suspicious(&self) -> usize {
        self.suspicious + rights::unreleased()
    }

    /// Ends a connection: sends `reply`, if there is one, half-closes, and keeps the descriptor
    /// until the client has closed too or its time is over.
    pub(crate) fn finish(&mut self, stream: Stream, reply: Option<Arc<[u8]>>, now: Instant) {
        let mut ending = Lingering {
            number: self.next_number(),
            stream,
            unsent: reply.map(|reply| (reply, 0)),
            drained: 0,
            pause: PAUSE,
            deadline: now + SEND,
        };
        match ending.send(now) {
            Next::Close => {}
            Next::Soon | Next::Later => self.keep(ending, now),
        }
    }

    fn look(&mut self, mut ending: Lingering, now: Instant) {
        let next = if ending.unsent.is_none() {
            ending.drain(&mut self.buffer)
        } else {
            let next = ending.send(now);
            if ending.unsent.is_none() {
                ending.number = self.next_number();
            }
            next
        };
        ending.pause = match next {
            Next::Soon => PAUSE,
            Next::Later => (ending.pause * 2).min(LONGEST_PAUSE),
            Next::Close => return,
        };
        if now < ending.deadline {
            self.keep(ending, now);
        }
    }

    /// Closes the first one, to make room. False where that made none: there is none, or it is for
    /// the releaser.
    pub(crate) fn evict(&mut self) -> bool {
        let full = self.len();
        let first = self.ending.first_key_value().map(|(rank, _)| *rank);
        drop(first.and_then(|rank| self.take(rank)));
        if self.is_empty() {
            self.looks.clear();
        }
        self.len() < full
    }

    fn keep(&mut self, ending: Lingering, now: Instant) {
        let at = ending.deadline.min(now + ending.pause);
        let rank = Rank(ending.unsent.is_some(), ending.number);
        self.looks.push(Reverse((at, rank)));
        self.suspicious += usize::from(ending.stream.may_be_laden());
        self.ending.insert(rank, ending);
    }

    fn take(&mut self, rank: Rank) -> Option<Lingering> {
        let ending = self.ending.remove(&rank)?;
        self.suspicious -= usize::from(ending.stream.may_be_laden());
        Some(ending)
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Has the releaser looked at again after pauses that double while it is busy. It may hang for
    /// as long as it likes, and the listeners may stay unpolled until it is done.
    fn recount(&mut self, now: Instant) {
        rights::start_releaser();
        let (at, pause) = self.recount;
        if rights::unreleased() == 0 {
            self.recount = (now + PAUSE, PAUSE);
        } else if at <= now {
            let pause = (pause * 2).min(LONGEST_RECOUNT);
            self.recount = (now + pause, pause);
        }
    }
}

impl Timed for Linger {
    fn deadline(&self) -> Option<Instant> {
        let look = self.looks.peek().map(|Reverse((at, _))| *at);
        let recount = (rights::unreleased() > 0).then_some(self.recount.0);
        look.into_iter().chain(recount).min()
    }

    /// Looks at those whose pause is over, and closes those that are.
    fn tick(&mut self, now: Instant) {
        self.recount(now);
        for _ in 0..LOOKS {
            match self.looks.peek() {
                Some(Reverse((at, _))) if *at <= now => {}
                _ => return,
            }
            let due = self.looks.pop();
            if let Some(ending) = due.and_then(|Reverse((_, rank))| self.take(rank)) {
                self.look(ending, now);
            }
        }
    }
}

/// Half-closes and closes at once, for a client that is turned away with a word: to linger with
/// each would let a flood take our descriptors.
pub(crate) fn dismiss(stream: Stream, word: &[u8]) {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    // Whatever fails here, the client is gone or not reading, and was not to be served.
    let _ = send(stream.as_fd().as_raw_fd(), word, flags);
    let _ = shutdown(stream.as_fd().as_raw_fd(), Shutdown::Write);
}

impl Lingering {
    /// Sends what is left of the reply; half-closes when all of it has gone.
    fn send(&mut self, now: Instant) -> Next {
        let socket = self.stream.as_fd().as_raw_fd();
        let mut next = Next::Later;
        while let Some((reply, sent)) = &mut self.unsent {
            if *sent >= reply.len() {
                self.unsent = None;
                break;
            }
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(socket, &reply[*sent..], flags) {
                Ok(bytes) => {
                    *sent += bytes;
                    next = Next::Soon;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return next,
                // EPIPE, ECONNRESET and what TCP passes on from below: the client has gone.
                // ENOBUFS, ENOMEM: nothing tells when to try again.
                Err(_) => return Next::Close,
            }
        }
        self.deadline = now + LINGER;
        match shutdown(socket, Shutdown::Write) {
            Ok(()) => Next::Soon,
            // ENOTCONN: reset by the client.
            Err(_) => Next::Close,
        }
    }

    /// Throws away what the client has sent, until there is no more for now, or enough for now.
    fn drain(&mut self, buffer: &mut [u8]) -> Next {
        let enough = self.drained + STEP;
        for _ in 0..CALLS {
            if self.drained >= DRAIN {
                return Next::Close;
            }
            if self.drained >= enough {
                break;
            }
            match self.stream.read(buffer) {
                // On a seqpacket socket 0 is also an empty message. Both ends have stopped sending
                // at the real end, and then poll says so.
                Ok(0) if self.stream.has_gone() => return Next::Close,
                Ok(bytes) => self.drained += bytes,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Next::Later,
                Err(_) => return Next::Close,
            }
        }
        Next::Soon
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind::BrokenPipe;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use crate::rights::tests::{hang, pass};

    /// A connection that kernels of every version treat alike: nothing can be passed to it.
    fn pair() -> (Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        (Stream::new(ours.into(), AddressFamily::Unspec), theirs)
    }

    #[test]
    fn a_client_that_closes_is_gone_at_the_first_look() {
        let (mut linger, (ours, mut theirs)) = (Linger::new(Instant::now()), pair());
        let start = Instant::now();
        linger.finish(ours, Some(Arc::from(&b"up"[..])), start);
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
        let (mut linger, (ours, mut theirs)) = (Linger::new(Instant::now()), pair());
        let start = Instant::now();
        linger.finish(ours, None, start);
        theirs.write_all(b"hello").expect("room");
        linger.tick(start + PAUSE);
        assert_eq!(linger.len(), 1);
        linger.tick(start + LINGER);
        assert!(linger.is_empty());
    }

    #[test]
    fn who_sends_for_ever_is_cut_off() {
        let (mut linger, (ours, mut theirs)) = (Linger::new(Instant::now()), pair());
        let start = Instant::now();
        linger.finish(ours, None, start);
        theirs.set_nonblocking(true).expect("non-blocking");
        let chunk = vec![0; 64 << 10];
        let (mut sent, mut now) = (0, start);
        while !linger.is_empty() {
            match theirs.write(&chunk) {
                Ok(bytes) => sent += bytes,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            now += PAUSE;
            linger.tick(now);
            assert!(sent < 2 * DRAIN, "{sent} bytes were taken");
        }
        assert!(sent >= DRAIN, "only {sent} bytes were taken");
        assert!(now < start + LINGER, "too slow to take them all");
    }

    #[test]
    fn who_sends_much_is_read_a_little_at_a_time() {
        let (mut linger, (ours, mut theirs)) = (Linger::new(Instant::now()), pair());
        let start = Instant::now();
        theirs.set_nonblocking(true).expect("non-blocking");
        let chunk = vec![0; STEP / 2];
        let mut fill = || std::iter::from_fn(|| theirs.write(&chunk).ok()).sum::<usize>();
        linger.finish(ours, None, start);
        let first = fill();
        assert!(first > STEP, "a buffer of {first} bytes is no test");
        linger.tick(start + PAUSE);
        linger.tick(start + PAUSE);
        assert!(fill() <= STEP, "more than a step was read at once");
        linger.tick(start + 2 * PAUSE);
        assert!(fill() > 0, "nothing was read in the second step");
    }

    #[test]
    fn a_reply_that_does_not_fit_waits_for_room_and_no_longer_than_its_time() {
        let (mut linger, (ours, mut theirs)) = (Linger::new(Instant::now()), pair());
        let start = Instant::now();
        let reply: Arc<[u8]> = vec![b'x'; 4 << 20].into();
        linger.finish(ours, Some(reply.clone()), start);
        theirs.set_nonblocking(true).expect("non-blocking");
        let (mut got, mut chunk, mut now) = (0, vec![0; 64 << 10], start);
        while got < reply.len() {
            match theirs.read(&mut chunk) {
                Ok(bytes) => got += bytes,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            now += PAUSE;
            linger.tick(now);
        }
        assert!(now < start + SEND, "room was not looked for in time");
        drop(theirs);
        linger.tick(now + LONGEST_PAUSE);
        assert!(linger.is_empty());

        let (ours, _stalled) = pair();
        linger.finish(ours, Some(reply), start);
        linger.tick(start + LINGER);
        assert_eq!(linger.len(), 1);
        linger.tick(start + SEND);
        assert!(linger.is_empty());
    }

    #[test]
    fn who_sends_empty_packets_is_read_a_few_at_a_time() {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("a pair");
        let send = || send(theirs.as_raw_fd(), &[], MsgFlags::MSG_NOSIGNAL);
        let mut linger = Linger::new(Instant::now());
        let start = Instant::now();
        linger.finish(Stream::new(ours, AddressFamily::Unspec), None, start);
        let filled = std::iter::from_fn(|| send().ok()).count();
        assert!(filled > CALLS, "a queue of {filled} is no test");
        linger.tick(start + PAUSE);
        let room = std::iter::from_fn(|| send().ok()).count();
        assert!(room <= CALLS, "{room} were read at once");
        assert_eq!(linger.len(), 1);
    }

    #[test]
    fn a_client_that_passes_descriptors_is_closed_at_the_first_look() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let (passed, mut other) = UnixStream::pair().expect("a pair");
        theirs.write_all(b"hello").expect("room");
        pass(&theirs, &passed, MsgFlags::empty()).expect("passed");
        drop(passed);
        let ours = Stream::new(ours.into(), AddressFamily::Unix);
        let (mut linger, start) = (Linger::new(Instant::now()), Instant::now());
        linger.finish(ours, Some(Arc::from(&b"up"[..])), start);
        linger.tick(start + PAUSE);
        assert!(linger.is_empty());
        let mut reply = String::new();
        theirs.read_to_string(&mut reply).expect("no reset");
        assert_eq!(reply, "up");
        assert_eq!(other.read(&mut [0]).expect("closed"), 0);
    }

    /// Whoever finds no room before the thread is done is told of it by nothing but this deadline.
    #[test]
    fn the_releaser_is_looked_at_after_whatever_gave_it_work() {
        let start = Instant::now();
        let closed_by: [fn(&mut Linger, Stream, Instant); 4] = [
            |_, stream, _| drop(stream),
            |_, stream, _| dismiss(stream, b"no"),
            |linger, stream, now| {
                linger.finish(stream, None, now);
                linger.tick(now + PAUSE);
            },
            |linger, stream, now| {
                linger.finish(stream, None, now);
                linger.evict();
            },
        ];
        for close in closed_by {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            let (passed, _other) = UnixStream::pair().expect("a pair");
            pass(&theirs, &passed, MsgFlags::empty()).expect("passed");
            let mut linger = Linger::new(Instant::now());
            close(
                &mut linger,
                Stream::new(ours.into(), AddressFamily::Unix),
                start,
            );
            assert!(linger.is_empty());
            let waiting = linger.len();
            assert!(waiting == 0 || linger.deadline().is_some());
        }
    }

    #[test]
    fn a_releaser_that_hangs_is_looked_at_ever_less_often() {
        let start = Instant::now();
        let mut linger = Linger::new(start);
        let gate = hang();
        let (mut looks, mut now) = (0, start);
        while now < start + Duration::from_secs(60) {
            now = linger.deadline().expect("a look");
            linger.tick(now);
            looks += 1;
        }
        assert!(looks < 75, "{looks} looks in a minute");
        drop(gate);
        while rights::unreleased() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(linger.deadline(), None);
        linger.tick(now);
        let gate = hang();
        assert_eq!(linger.deadline(), Some(now + PAUSE), "as before");
        drop(gate);
    }

    /// The releaser hangs, so that their descriptors are not free soon.
    #[test]
    fn those_that_make_no_room_are_not_all_closed_for_one_client() {
        let now = Instant::now();
        let (mut linger, _gate) = (Linger::new(now), hang());
        let (passed, _other) = UnixStream::pair().expect("a pair");
        let mut clients = Vec::new();
        for _ in 0..3 {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            pass(&theirs, &passed, MsgFlags::empty()).expect("passed");
            linger.finish(Stream::new(ours.into(), AddressFamily::Unix), None, now);
            clients.push(theirs);
        }
        assert!(!linger.evict());
        assert_eq!(linger.ending.len(), 2);
    }

    #[test]
    fn looks_are_few_while_nothing_moves() {
        let (mut linger, (ours, _theirs)) = (Linger::new(Instant::now()), pair());
        let start = Instant::now();
        linger.finish(ours, None, start);
        let mut looks = 0;
        while let Some(at) = linger.deadline() {
            linger.tick(at);
            looks += 1;
            assert!(at <= start + LINGER, "closed late");
        }
        assert!(looks < 15, "{looks} looks");
    }

    #[test]
    fn the_oldest_makes_room() {
        let (mut linger, (ours, theirs)) = (Linger::new(Instant::now()), pair());
        let now = Instant::now();
        assert!(!linger.evict());
        linger.finish(ours, None, now);
        assert!(linger.evict() && linger.is_empty());
        drop(theirs);
    }

    /// How many have been sent their whole reply, and how many have not.
    fn stages(linger: &Linger) -> (usize, usize) {
        let sending = linger.ending.keys().filter(|rank| rank.0).count();
        (linger.ending.len() - sending, sending)
    }

    #[test]
    fn who_has_the_whole_reply_makes_room_before_who_has_not() {
        let (mut linger, (slow, _slow)) = (Linger::new(Instant::now()), pair());
        let reply: Arc<[u8]> = vec![b'x'; 4 << 20].into();
        let start = Instant::now();
        linger.finish(slow, Some(reply), start);
        let later = start + SEND - LINGER;
        let (first, mut of_first) = pair();
        let (second, _of_second) = pair();
        linger.finish(first, None, later);
        linger.tick(later + PAUSE);
        linger.finish(second, None, later + PAUSE);
        assert_eq!(stages(&linger), (2, 1));
        assert!(linger.evict());
        assert_eq!(stages(&linger), (1, 1));
        of_first.set_nonblocking(true).expect("non-blocking");
        assert_eq!(
            of_first.write(b"x").map_err(|error| error.kind()),
            Err(BrokenPipe)
        );
        assert!(linger.evict());
        assert_eq!(stages(&linger), (0, 1));
        assert!(linger.evict() && linger.is_empty());
        assert_eq!(linger.deadline(), None);
    }
}
