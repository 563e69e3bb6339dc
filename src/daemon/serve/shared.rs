//! The run that is shared: who waits for it, on a stream or with a datagram, and the answer to
//! all of them. APUE's popen server and its datagram server, with one run for many.

use std::rc::Rc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::unistd::Pid;

use super::streams::Connection;
use super::{Purpose, Server};
use crate::daemon::backoff::Backoff;
use crate::daemon::capture::{Answered, Progress};
use crate::daemon::child::{Ending, Exited};
use crate::daemon::datagram::{DatagramSocket, Outbox, Received, Request, Sent};
use crate::daemon::log;

/// Datagrams that may wait for a run; the rest stay in the socket's queue.
const WAITING_DATAGRAMS: usize = 4096;
/// Datagrams taken in one turn of the loop.
const RECEIVES: usize = 1024;

/// Who waits for a run.
pub(super) enum Waiter {
    Stream(Connection),
    Datagram { socket: usize, request: Request },
}

/// A datagram socket in the loop.
pub(super) struct Datagrams {
    socket: DatagramSocket,
    name: String,
    token: u64,
    registered: EpollFlags,
    backoff: Backoff,
    outbox: Outbox,
}

impl Datagrams {
    pub(super) fn new(socket: DatagramSocket, name: String, token: u64) -> Self {
        Datagrams {
            socket,
            name,
            token,
            registered: EpollFlags::empty(),
            backoff: Backoff::new(),
            outbox: Outbox::new(),
        }
    }

    /// When the pause after a failure is over.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.backoff.next_deadline()
    }

    /// Every reply has left.
    pub(super) fn is_flushed(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Polls for requests if there is room for them; for room to send, while replies wait for it.
    ///
    /// # Errors
    /// Those of epoll_ctl(2): ENOMEM, ENOSPC.
    pub(super) fn arm(&mut self, epoll: &Epoll, room: bool, now: Instant) -> nix::Result<()> {
        // Asked first: it also forgets a pause that is over, which the loop would wake up for.
        let paused = self.backoff.is_paused(now);
        let wanted = if !self.outbox.is_empty() {
            // Edge-triggered: a socket that says both "ready" and EAGAIN must not spin the loop.
            EpollFlags::EPOLLOUT | EpollFlags::EPOLLET
        } else if room && !paused {
            EpollFlags::EPOLLIN
        } else {
            EpollFlags::empty()
        };
        if wanted == self.registered {
            return Ok(());
        }
        let mut event = EpollEvent::new(wanted, self.token);
        if self.registered.is_empty() {
            epoll.add(&self.socket, event)?;
        } else if wanted.is_empty() {
            epoll.delete(&self.socket)?;
        } else {
            epoll.modify(&self.socket, &mut event)?;
        }
        self.registered = wanted;
        Ok(())
    }

    /// Sends a reply, or keeps it until there is room.
    fn reply(&mut self, request: Request, answer: Rc<[u8]>) {
        if !self.outbox.is_empty() {
            return self.outbox.push_back((request, answer));
        }
        match self.socket.reply(&request, &answer) {
            Sent::Done => {}
            Sent::Full => self.outbox.push_back((request, answer)),
            Sent::Lost(errno) => log::reply_lost(&request.peer(), errno),
        }
    }

    /// Sends what waits for room.
    pub(super) fn flush(&mut self) {
        while let Some((request, answer)) = self.outbox.pop_front() {
            match self.socket.reply(&request, &answer) {
                Sent::Done => {}
                Sent::Full => return self.outbox.push_front((request, answer)),
                Sent::Lost(errno) => log::reply_lost(&request.peer(), errno),
            }
        }
    }

    /// Gives up on what waits for room.
    pub(super) fn abandon(&mut self) {
        for (request, _) in self.outbox.drain(..) {
            log::reply_lost(&request.peer(), Errno::EAGAIN);
        }
    }
}

impl Server {
    /// True where one more datagram may wait.
    pub(super) fn has_room_for_datagrams(&self) -> bool {
        !self.stopping && self.capture.waiting() < WAITING_DATAGRAMS
    }

    /// Takes requests out of a socket's queue, and sends what waits for room.
    pub(super) fn datagrams_ready(&mut self, index: usize, now: Instant) {
        self.datagrams[index].flush();
        for _ in 0..RECEIVES {
            if !self.has_room_for_datagrams() || !self.datagrams[index].is_flushed() {
                return;
            }
            let datagrams = &mut self.datagrams[index];
            match datagrams.socket.receive() {
                Ok(Received::Request(request)) => {
                    datagrams.backoff.succeeded();
                    log::receive_recovered(&mut datagrams.backoff.fault, &datagrams.name);
                    self.ask(index, request, now);
                }
                Ok(Received::Unnamed) => log::unnamed(&datagrams.name),
                Err(Errno::EAGAIN) => return,
                // ICMP errors that an earlier reply met (udp(7)), or a signal.
                Err(
                    Errno::EINTR | Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH,
                ) if datagrams.backoff.bear() => {}
                Err(errno) => {
                    log::receive_failed(&mut datagrams.backoff.fault, &datagrams.name, errno);
                    return datagrams.backoff.pause(now);
                }
            }
        }
    }

    /// Lets a datagram in, or drops it.
    fn ask(&mut self, index: usize, request: Request, now: Instant) {
        self.last_active = now;
        let peer = request.peer();
        if self.datagrams[index].socket.is_from_a_server(&peer) {
            return log::from_a_server(&peer);
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
        self.share(
            Waiter::Datagram {
                socket: index,
                request,
            },
            now,
        );
    }

    /// Has somebody wait for the next run, or answers at once where `--max-age` allows it.
    pub(super) fn share(&mut self, waiter: Waiter, now: Instant) {
        match self.capture.kept_answer(now) {
            Some(answer) => {
                self.counts.answered += 1;
                self.deliver(waiter, answer, now);
            }
            None => self.capture.wait(waiter, now),
        }
    }

    fn deliver(&mut self, waiter: Waiter, answer: Rc<[u8]>, now: Instant) {
        match waiter {
            Waiter::Stream(connection) => self.finish(connection, Some(answer), now),
            Waiter::Datagram { socket, request } => self.datagrams[socket].reply(request, answer),
        }
    }

    fn deliver_all(&mut self, answered: Option<Answered<Waiter>>, now: Instant) {
        if let Some(Answered { clients, answer }) = answered {
            for waiter in clients {
                self.deliver(waiter, answer.clone(), now);
            }
            self.last_active = now;
        }
    }

    /// True where a run is due and a command may be started.
    pub(super) fn run_is_due(&self, now: Instant) -> bool {
        self.children.len() < self.max_children && self.capture.is_due(now)
    }

    /// Starts a run for all who wait; if it cannot be started, they hear why.
    pub(super) fn start_run(&mut self, now: Instant) {
        match self.capture.start(&self.epoll, &mut self.command, now) {
            Ok(pid) => {
                log::spawn_recovered(&mut self.faults.spawn, &self.command);
                self.children.insert(pid, Purpose::Shared, now);
            }
            Err(errno) => {
                log::spawn_failed(&mut self.faults.spawn, &self.command, errno);
                let clients = self.capture.give_up();
                self.count(false, clients.len());
                let answer = self.error(errno.desc());
                self.deliver_all(Some(Answered { clients, answer }), now);
            }
        }
    }

    /// The command has said something, or everything.
    pub(super) fn output_ready(&mut self, now: Instant) {
        match self.capture.read() {
            // Silence is explained by the exit status, which is about to come.
            Progress::Running | Progress::Silent => {}
            Progress::Ended => self.end_run(now, Ending::Exited(0)),
            Progress::Cut(pid) => {
                self.children.stop(pid, now);
                self.end_run(now, Ending::Exited(0));
            }
        }
    }

    /// Answers those who share the run, with what the command has said or with how it ended.
    fn end_run(&mut self, now: Instant, ending: Ending) {
        let reason = match ending {
            Ending::Exited(0) => "said nothing".to_owned(),
            ending => ending.to_string(),
        };
        let error = self.error(&reason);
        let answered = self.capture.finish(&self.epoll, now, || error.clone());
        if let Some(answered) = &answered {
            self.count(
                !Rc::ptr_eq(&answered.answer, &error),
                answered.clients.len(),
            );
        }
        self.deliver_all(answered, now);
    }

    /// A run's command has ended. A grandchild that holds the pipe is not waited for.
    pub(super) fn conclude_run(&mut self, exited: &Exited) {
        log::ended(
            &mut self.faults.ending,
            &"all who waited",
            exited.pid,
            exited.ending,
            exited.took,
        );
        if self.capture.is_run(exited.pid) {
            let now = Instant::now();
            self.capture.read();
            self.end_run(now, exited.ending);
        }
    }

    /// A run's command takes too long, and is being stopped: what it has said is not everything.
    pub(super) fn time_out_run(&mut self, pid: Pid, now: Instant) {
        log::timed_out(
            &mut self.faults.timeout,
            &"all who waited",
            pid,
            self.child_timeout,
        );
        if self.capture.is_run(pid) {
            let error = self.too_late();
            let answered = self.capture.fail(&self.epoll, now, error);
            self.count(
                false,
                answered
                    .as_ref()
                    .map_or(0, |answered| answered.clients.len()),
            );
            self.deliver_all(answered, now);
        }
    }
}
