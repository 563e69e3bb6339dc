//! Connections: taken out of the backlogs, let in or turned away, handed to a command of their
//! own (APUE's fork/dup2/exec server, without the fork) or to the run that is shared, and ended.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use nix::errno::Errno;

use super::{LEAVING, Purpose, Server, Waiter};
use crate::daemon::answer::children::{Ending, Exited, Late, words};
use crate::daemon::answer::linger::Linger;
use crate::daemon::intake::admission::Place;
use crate::daemon::intake::listener::Accepted;
use crate::daemon::intake::peer::{ClientOf, Peer, has_gone};
use crate::daemon::logging as log;
use crate::daemon::options::Handoff;

/// Connections taken in one turn of the loop.
const ACCEPTS: usize = 256;

/// A connection that is being served, and its place in its source's count.
pub(super) struct Connection {
    fd: OwnedFd,
    place: Place,
}

impl Server {
    /// Takes connections from the listeners that are ready, one each in turn, while there is room.
    /// The first turn is that of the listener behind the one that had the last: where places are
    /// short, a crowd at one must not keep the clients of the others waiting.
    pub(super) fn accept(&mut self, ready: &mut Vec<usize>, now: Instant) {
        let (all, first) = (self.listeners.len(), self.next_listener);
        ready.sort_unstable_by_key(|index| (index + all - first) % all);
        for index in &*ready {
            self.listeners[*index].unblock();
        }
        // Of each a connection is known to wait; of more nobody knows before it is tried.
        let mut known = ready.len();
        let mut turn = 0;
        for _ in 0..ACCEPTS {
            if ready.is_empty() || !self.may_take() {
                return;
            }
            // Where descriptors are short, whoever has been ending longest makes room for one who
            // waits, and for nobody else.
            if self.is_full() && (known == 0 || !self.linger.evict(self.poll.epoll())) {
                return;
            }
            known = known.saturating_sub(1);
            turn %= ready.len();
            let index = ready[turn];
            match self.listeners[index].accept(now) {
                Accepted::Connection(fd) => {
                    self.next_listener = index + 1;
                    self.take(fd, now);
                    turn += 1;
                }
                Accepted::Nothing => {
                    ready.remove(turn);
                }
            }
        }
    }

    /// True where one more connection that has a descriptor can be served now.
    fn may_serve(&self) -> bool {
        match self.handoff {
            Handoff::Exec => self.stalled.is_none() && self.may_start(),
            Handoff::Capture => true,
        }
    }

    /// The same for one that is to be accepted first.
    fn may_take(&self) -> bool {
        self.stop.is_none() && self.may_serve()
    }

    /// True where every descriptor that a connection may have is in use.
    fn is_full(&self) -> bool {
        self.held + self.linger.len() >= self.capacity
    }

    /// True where one more connection can be taken, if need be in the place of one that lingers.
    pub(super) fn has_room(&self) -> bool {
        self.may_take() && (!self.is_full() || !self.linger.is_empty())
    }

    /// Takes the connections that were handed over, while there is room.
    pub(super) fn take_handed_over(&mut self, now: Instant) {
        while self.may_serve() {
            let Some(fd) = self.handed_over.pop_front() else {
                return;
            };
            self.take(fd, now);
        }
    }

    /// Lets a connection in, or turns it away.
    pub(super) fn take(&mut self, fd: OwnedFd, now: Instant) {
        let limited = self.allow.is_restricted() || self.sources.limit().is_some();
        // Who asks costs a system call, so it is asked only where it matters.
        let peer = limited.then(|| Peer::of(fd.as_fd())).flatten();
        let client = ClientOf(fd.as_fd());
        // A connection that was reset in the backlog has no address to judge, and nobody to serve.
        if (limited && peer.is_none()) || has_gone(fd.as_fd()) {
            return log::gone_at_once(&client);
        }
        if let Some(denied) = peer.filter(|peer| !self.allow.admits(peer)) {
            return log::denied(&denied);
        }
        let source = peer.and_then(|peer| peer.source());
        let Some(place) = self.sources.enter(source) else {
            log::too_many(&client, self.sources.limit().unwrap_or_default());
            return Linger::dismiss(
                fd,
                b"error: too many connections at once from your address\n",
            );
        };
        self.last_active = now;
        self.held += 1;
        let connection = Connection { fd, place };
        match self.handoff {
            Handoff::Exec => self.start(connection),
            Handoff::Capture => self.share(Waiter::Stream(connection), now),
        }
    }

    /// Hands a connection to a command of its own.
    pub(super) fn start(&mut self, connection: Connection) {
        let spawned = self.command.spawn(connection.fd.as_fd());
        // After it, and not when the turn began: hundreds may be started in one.
        let now = Instant::now();
        match spawned {
            Ok(pid) => {
                log::spawn_recovered(self.faults.spawn.ok(), &self.command);
                self.children.insert(pid, Purpose::Exec(connection), now);
            }
            Err(errno) => {
                log::spawn_failed(self.faults.spawn.fail(now), &self.command, errno);
                // No more processes or memory now, but some of ours are about to end: wait for one.
                if matches!(errno, Errno::EAGAIN | Errno::ENOMEM) && !self.children.is_empty() {
                    self.stalled = Some(connection);
                    return;
                }
                self.counts.failed += 1;
                let reply = self.error(words(errno));
                self.finish(connection, Some(reply), now);
            }
        }
    }

    /// What a client is told when there is no answer, as APUE's popen server does.
    pub(super) fn error(&self, reason: &str) -> Rc<[u8]> {
        format!("error: {}: {reason}\n", self.command)
            .into_bytes()
            .into()
    }

    /// Ends a connection, after `reply` where there is one.
    pub(super) fn finish(&mut self, connection: Connection, reply: Option<Rc<[u8]>>, now: Instant) {
        self.held -= 1;
        self.sources.leave(connection.place);
        self.linger
            .finish(self.poll.epoll(), connection.fd, reply, now);
        self.last_active = now;
    }

    /// A connection's own command has ended: its client has its answer, or hears why not.
    pub(super) fn conclude_exec(&mut self, connection: Connection, exited: &Exited) {
        let well = exited.ending == Ending::Exited(0);
        let gone = !well && has_gone(connection.fd.as_fd());
        let client = ClientOf(connection.fd.as_fd());
        let mut reply = None;
        let now = Instant::now();
        if gone {
            // The command could not write, because its reader had gone.
            log::client_gone(&client, exited.pid, exited.ending);
        } else {
            self.count(well, 1);
            log::ended(
                self.faults.ended(exited.ending, now),
                &client,
                exited.pid,
                exited.ending,
                exited.took,
            );
            if let Ending::Killed(_) = exited.ending {
                reply = Some(self.error(&exited.ending.to_string()));
            }
        }
        self.finish(connection, reply, now);
    }

    /// A connection's own command takes too long, and is being stopped.
    pub(super) fn time_out_exec(&mut self, connection: Connection, late: Late, now: Instant) {
        let reply = self.too_late(late, &ClientOf(connection.fd.as_fd()), now);
        self.count(false, 1);
        self.finish(connection, Some(reply), now);
    }

    /// Records that a command is being stopped, and gives what its clients are told.
    pub(super) fn too_late(
        &mut self,
        late: Late,
        peer: &dyn std::fmt::Display,
        now: Instant,
    ) -> Rc<[u8]> {
        if late.is_cut_short {
            log::cut_short(peer, late.pid);
            return self.error(LEAVING);
        }
        let fault = self.faults.timeout.fail(now);
        log::timed_out(fault, peer, late.pid, self.child_timeout);
        self.error(&format!(
            "stopped, as it did not end within {} s",
            self.child_timeout.as_secs_f64()
        ))
    }

    pub(super) fn count(&mut self, well: bool, requests: usize) {
        if well {
            self.counts.answered += requests as u64;
            self.faults.timeout.ok();
        } else {
            self.counts.failed += requests as u64;
        }
    }
}
