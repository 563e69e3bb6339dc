//! What a datagram socket must not do in the loop's thread, because it may sleep in the kernel: to
//! receive what was passed with descriptors, and to look for a client's socket in the file system.

use std::time::{Duration, Instant};

use super::socket::DatagramSocket;
use crate::daemon::poll::Timed;
use crate::rights::worker::Worker;

/// Replies on their way into the file system at most; more are lost. It may not answer for as long as
/// it likes, and other clients must not wait for it.
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

    /// Some reply has not left yet, and may soon.
    pub(crate) fn is_replying(&self) -> bool {
        let is_stuck = self.look.is_none_or(|(_, pause)| pause >= LONGEST_PAUSE);
        self.replying.len() > 0 && !is_stuck
    }

    /// Has the next datagram received and thrown away.
    pub(crate) fn discard(&mut self, socket: &DatagramSocket, now: Instant) {
        if let Some(job) = socket.discard() {
            self.discarding.run(job);
            self.look = Some((now + PAUSE, PAUSE));
        }
    }

    /// Has a reply sent; false where too many wait.
    pub(crate) fn reply(&mut self, job: impl FnOnce() + Send + 'static, now: Instant) -> bool {
        if self.replying.len() >= REPLIES {
            return false;
        }
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
            let is_busy = self.discarding.len() + self.replying.len() > 0;
            self.look = is_busy.then(|| (now + pause, pause));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_file_system_that_does_not_answer_holds_up_its_own_clients_only() {
        let mut helpers = Helpers::new();
        let (gate, wait) = mpsc::channel::<()>();
        let start = Instant::now();
        assert!(helpers.reply(move || assert!(wait.recv().is_err()), start));
        assert!(helpers.is_replying(), "it may leave soon");
        for _ in 1..REPLIES {
            assert!(helpers.reply(|| (), start));
        }
        assert!(!helpers.reply(|| (), start), "one too many");
        let mut now = start;
        while helpers.is_replying() {
            now = helpers.deadline().expect("a look");
            helpers.tick(now);
        }
        assert!(now < start + 2 * LONGEST_PAUSE, "waited for too long");
        drop(gate);
        while let Some(at) = helpers.deadline() {
            helpers.tick(at);
            std::thread::yield_now();
        }
        assert!(helpers.reply(|| (), now));
    }
}
