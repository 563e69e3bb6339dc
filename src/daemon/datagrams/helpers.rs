//! What a datagram socket must not do in the loop's thread, because it may sleep in the kernel: to
//! receive what was passed with descriptors, and to look for a client's socket in the file system.

use std::time::{Duration, Instant};

use super::socket::{DatagramSocket, Request};
use crate::daemon::poll::Timed;
use crate::rights::worker::Worker;

/// Replies on their way into the file system at most; no more requests are taken then.
const REPLIES: usize = 4096;
/// From a job to a look at what the threads have done; doubled with each further look, up to the
/// longest.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The threads of one socket, started when there is something to do.
pub(crate) struct Helpers {
    discarding: Worker,
    replying: Worker,
    /// When to look at what they have done, and the pause before.
    look: Option<(Instant, Duration)>,
}

impl Helpers {
    pub(crate) fn new() -> Self {
        Helpers {
            discarding: Worker::alarmed("discard"),
            replying: Worker::new("reply"),
            look: None,
        }
    }

    /// Nothing else can be received meanwhile.
    pub(crate) fn is_discarding(&self) -> bool {
        self.discarding.len() > 0
    }

    /// Some reply has not left yet.
    pub(crate) fn is_replying(&self) -> bool {
        self.replying.len() > 0
    }

    /// True where the reply of one more request may be kept.
    pub(crate) fn has_room(&self) -> bool {
        self.replying.len() < REPLIES
    }

    /// Has the next datagram received and thrown away.
    pub(crate) fn discard(&mut self, socket: &DatagramSocket, now: Instant) {
        if let Some(job) = socket.discard() {
            self.discarding.run(job);
            self.look = Some((now + PAUSE, PAUSE));
        }
    }

    /// Sends a reply, if it goes to the file system; else gives false.
    pub(crate) fn reply(
        &mut self,
        socket: &DatagramSocket,
        request: &Request,
        answer: &[u8],
        now: Instant,
    ) -> bool {
        let Some(job) = socket.reply_later(request, answer) else {
            return false;
        };
        self.replying.run(job);
        self.look = Some((now + PAUSE, PAUSE));
        true
    }
}

impl Timed for Helpers {
    fn deadline(&self) -> Option<Instant> {
        self.look.map(|(at, _)| at)
    }

    fn tick(&mut self, now: Instant) {
        if let Some((_, pause)) = self.look.filter(|(at, _)| *at <= now) {
            self.discarding.start();
            self.replying.start();
            let pause = (pause * 2).min(LONGEST_PAUSE);
            let is_busy = self.is_discarding() || self.is_replying();
            self.look = is_busy.then(|| (now + pause, pause));
        }
    }
}
