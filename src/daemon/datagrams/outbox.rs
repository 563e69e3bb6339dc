//! Replies that found their socket's buffer full: they wait for room here, for a short time.
//!
//! Room is looked for after a pause and not by epoll: replies to addresses that nobody has keep
//! the buffer full for seconds (ARP, RFC 4861), and those that come meanwhile must not wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::daemon::logging::fault::Fault;

/// How long a reply waits for room; then its client has asked again, or gone.
const SEND: Duration = Duration::from_millis(250);
/// Replies that wait for room at most; no more requests are taken then.
const UNSENT: usize = 4096;

/// Replies that wait for room, and since when. `R` is a reply.
pub(crate) struct Outbox<R> {
    waiting: VecDeque<(Instant, R)>,
    /// Its pause is on as long as somebody waits.
    full: Fault,
}

impl<R> Outbox<R> {
    pub(crate) fn new() -> Self {
        Outbox {
            waiting: VecDeque::new(),
            full: Fault::default(),
        }
    }

    /// Every reply has left.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// True where the replies of more requests may be kept.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < UNSENT
    }

    /// When [`Self::flush`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.full.deadline()
    }

    /// Sends a reply, or keeps it until there is room. `send` gives false where there is none.
    pub(crate) fn push(&mut self, reply: R, now: Instant, mut send: impl FnMut(&R) -> bool) {
        let is_first = self.waiting.is_empty();
        if is_first && send(&reply) {
            return;
        }
        if is_first {
            self.full.fail(now);
        }
        self.waiting.push_back((now, reply));
    }

    /// Sends what waits for room, when it is time to. Gives those that have waited too long.
    pub(crate) fn flush(&mut self, now: Instant, mut send: impl FnMut(&R) -> bool) -> Vec<R> {
        let mut dropped = Vec::new();
        if !self.full.tick(now) {
            return dropped;
        }
        while let Some((since, reply)) = self.waiting.pop_front() {
            if send(&reply) {
                continue;
            }
            if now.saturating_duration_since(since) < SEND {
                self.waiting.push_front((since, reply));
                self.full.fail(now);
                return dropped;
            }
            dropped.push(reply);
        }
        self.full.ok();
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_ROOM: fn(&u32) -> bool = |_| false;

    #[test]
    fn a_reply_that_finds_room_leaves_at_once() {
        let mut outbox = Outbox::new();
        outbox.push(1, Instant::now(), |_| true);
        assert!(outbox.is_empty() && outbox.deadline().is_none());
    }

    #[test]
    fn replies_wait_for_room_in_their_order() {
        let now = Instant::now();
        let mut outbox = Outbox::new();
        outbox.push(1, now, NO_ROOM);
        outbox.push(2, now, |_| panic!("nobody overtakes"));
        let pause = outbox.deadline().expect("a pause");
        assert!(
            outbox
                .flush(now, |_| panic!("not before its time"))
                .is_empty()
        );
        let mut sent = Vec::new();
        let dropped = outbox.flush(pause, |reply| {
            sent.push(*reply);
            true
        });
        assert_eq!((sent, dropped), (vec![1, 2], vec![]));
        assert!(outbox.is_empty() && outbox.deadline().is_none());
    }

    #[test]
    fn pauses_grow_while_there_is_no_room() {
        let now = Instant::now();
        let mut outbox = Outbox::new();
        outbox.push(1, now, NO_ROOM);
        let first = outbox.deadline().expect("a pause");
        assert!(outbox.flush(first, NO_ROOM).is_empty());
        let second = outbox.deadline().expect("a pause");
        assert!(second - first > first - now);
    }

    #[test]
    fn a_reply_that_has_waited_too_long_is_dropped() {
        let now = Instant::now();
        let mut outbox = Outbox::new();
        outbox.push(1, now, NO_ROOM);
        outbox.push(2, now + SEND, NO_ROOM);
        assert_eq!(outbox.flush(now + SEND, NO_ROOM), [1]);
        assert!(!outbox.is_empty() && outbox.deadline().is_some());
    }

    #[test]
    fn the_number_of_replies_is_bounded() {
        let now = Instant::now();
        let mut outbox = Outbox::new();
        for reply in 0..UNSENT as u32 {
            assert!(outbox.has_room());
            outbox.push(reply, now, NO_ROOM);
        }
        assert!(!outbox.has_room());
    }
}
