//! What is known of a probe while it runs, so that a time-out can be reported with it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tokio::time::timeout;

use super::failure::{Failure, Stage};

/// One probe of one host.
#[derive(Default)]
pub(super) struct Trace {
    /// The address that is being asked, or that answered.
    pub(super) address: Cell<Option<SocketAddr>>,
    /// When the first connect or send began.
    begun: Cell<Option<Instant>>,
    some_bytes: Cell<bool>,
    /// What this machine has run out of, while a socket waits for it.
    pub(super) short: Cell<Option<Errno>>,
}

impl Trace {
    /// An address is about to be asked; the clock of `rtt` starts with the first.
    pub(super) fn begin(&self, address: SocketAddr) {
        self.address.set(Some(address));
        self.start_clock();
    }

    /// Something without an address is about to be asked.
    pub(super) fn start_clock(&self) {
        if self.begun.get().is_none() {
            self.begun.set(Some(Instant::now()));
        }
    }

    /// The time since the first connect or send.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.begun.get().map(|begun| begun.elapsed())
    }

    /// This is the address to show.
    pub(super) fn settle(&self, address: SocketAddr) {
        self.address.set(Some(address));
    }

    /// A part of the answer came.
    pub(super) fn bytes(&self) {
        self.some_bytes.set(true);
    }

    /// `work`, unless `limit` is over first. Pin it beforehand: the future of a time-out would
    /// hold it twice, and there are thousands of them.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match timeout(limit, work).await {
            Ok(result) => result,
            Err(_) => Err(self.timed_out(limit)),
        }
    }

    /// Reports a shortage of this machine rather than a time-out of the host.
    fn timed_out(&self, after: Duration) -> Failure {
        if let Some(errno) = self.short.get() {
            return Failure::Os(errno);
        }
        let stage = if self.some_bytes.get() {
            Stage::End
        } else {
            Stage::Answer
        };
        Failure::TimedOut { stage, after }
    }
}
