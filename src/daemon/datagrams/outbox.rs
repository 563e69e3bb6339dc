//! Replies that found their socket's buffer full: they wait for room here, for a short time.
//!
//! They are sent again after a pause and not when epoll says so: replies to addresses that do not
//! answer keep the buffer full for seconds (ARP, RFC 4861), and later ones must not wait for them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::daemon::logging::fault::Fault;

/// How long a reply waits for room; then its client has asked again, or gone.
const SEND: Duration = Duration::from_millis(250);
/// Replies that wait for room at most; no more requests are taken then.
const UNSENT: usize = 4096;

/// Replies that wait for room, and since when. `R` is a reply.
pub(crate) struct Outbox<R> {
    waiting: VecDeque<Waiting<R>>,
    /// Its pause is on as long as a reply waits.
    full: Fault,
}

/// A reply, and since when it waits.
pub(crate) struct Waiting<R> {
    since: Instant,
    pub(crate) reply: R,
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

    /// When [`Self::next`] has something to send.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.full.deadline()
    }

    /// Keeps a reply that found no room, or that must not overtake others.
    pub(crate) fn push(&mut self, reply: R, now: Instant) {
        if self.waiting.is_empty() {
            self.full.fail(now);
        }
        self.waiting.push_back(Waiting { since: now, reply });
    }

    /// Takes the next reply that is to be sent, unless the pause is on.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Waiting<R>> {
        self.full.tick(now);
        if self.full.is_paused() {
            return None;
        }
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.full.ok();
        }
        next
    }

    /// Takes back a reply that found no room again; gives it, to be dropped, where it has waited too
    /// long.
    pub(crate) fn put_back(&mut self, waiting: Waiting<R>, now: Instant) -> Option<R> {
        if now.saturating_duration_since(waiting.since) >= SEND {
            return Some(waiting.reply);
        }
        self.waiting.push_front(waiting);
        self.full.fail(now);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends what is due, in vain; gives what is dropped.
    fn retry(outbox: &mut Outbox<u32>, now: Instant) -> Vec<u32> {
        let mut dropped = Vec::new();
        while let Some(waiting) = outbox.next(now) {
            dropped.extend(outbox.put_back(waiting, now));
        }
        dropped
    }

    #[test]
    fn replies_wait_for_room_in_their_order() {
        let now = Instant::now();
        let mut outbox = Outbox::new();
        outbox.push(1, now);
        outbox.push(2, now);
        let pause = outbox.deadline().expect("a pause");
        assert!(outbox.next(now).is_none(), "before its time");
        let sent = std::iter::from_fn(|| outbox.next(pause)).map(|waiting| waiting.reply);
        assert_eq!(sent.collect::<Vec<_>>(), [1, 2]);
        assert!(outbox.is_empty() && outbox.deadline().is_none());
    }

    #[test]
    fn pauses_grow_while_there_is_no_room() {
        let now = Instant::now();
        let mut outbox = Outbox::new();
        outbox.push(1, now);
        let first = outbox.deadline().expect("a pause");
        assert!(retry(&mut outbox, first).is_empty());
        let second = outbox.deadline().expect("a pause");
        assert!(second - first > first - now);
    }

    #[test]
    fn a_reply_that_has_waited_too_long_is_dropped() {
        let now = Instant::now();
        let mut outbox = Outbox::new();
        outbox.push(1, now);
        outbox.push(2, now + SEND);
        assert_eq!(retry(&mut outbox, now + SEND), [1]);
        assert!(!outbox.is_empty() && outbox.deadline().is_some());
        assert_eq!(retry(&mut outbox, now + 2 * SEND), [2]);
        assert!(outbox.is_empty() && outbox.deadline().is_none());
    }

    #[test]
    fn the_number_of_replies_is_bounded() {
        let now = Instant::now();
        let mut outbox = Outbox::new();
        for reply in 0..UNSENT {
            assert!(outbox.has_room());
            outbox.push(reply, now);
        }
        assert!(!outbox.has_room());
    }
}
