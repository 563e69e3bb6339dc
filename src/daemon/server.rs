//! The one loop: classified sockets and options come in, answered clients and an exit come out.
//!
//! One thread, one epoll. The parts own their state and return values; the loop passes them on:
//! [`Intake`] → [`Admission`] → [`Answers`] → [`Linger`], and [`Datagrams`] → [`Answers`] →
//! [`Datagrams`]. Each turn handles what is over first (signals, deadlines), then what goes on
//! (connections being ended), and takes new connections last and only while there is room, so that
//! the kernel's backlog holds the others back and no client can crowd out another.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::EpollFlags;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;

use super::answer::command::Command;
use super::answer::linger::{self, Linger};
use super::answer::{Answered, Answers, Client};
use super::datagrams::Datagrams;
use super::datagrams::service::Taken;
use super::intake::Intake;
use super::intake::admission::{Admission, Room, TurnedAway};
use super::intake::stream::Stream;
use super::logging as log;
use super::manager::Manager;
use super::options::Options;
use super::poll::{Poll, Ready, SourceState, Timed, Token};
use super::signals::Signals;
use super::sockets::{Kind, Sockets};
use super::stop::Stop;
use super::sys::failed;

/// Connections taken in one turn of the loop.
const ACCEPTS: usize = 256;
/// Datagrams taken from one socket in one turn of the loop.
const RECEIVES: usize = 1024;
/// Descriptors that are neither sockets of ours nor connections: 0 to 2, epoll, signals, the
/// journal, the service manager, both ends of a pipe, one that is about to be turned away.
const OWN_DESCRIPTORS: u64 = 10;

struct Server {
    poll: Poll,
    signals: Signals,
    intake: Intake,
    admission: Admission,
    answers: Answers,
    linger: Linger,
    datagrams: Datagrams,
    manager: Manager,
    child_timeout: Duration,
    idle_timeout: Option<Duration>,
    last_active: Instant,
    stop: Option<Stop>,
    /// The sockets are inherited: their holder keeps the clients that come while the daemon stops.
    is_inherited: bool,
}

/// Serves until there is nothing left to do: a signal to stop, an idle exit, or the end of the
/// only connection that was handed over.
///
/// # Errors
/// One sentence, where the daemon cannot go on: no epoll, no signal descriptor, no listener left.
pub(crate) fn serve(options: &Options, sockets: Sockets, command: Command) -> Result<(), String> {
    let now = Instant::now();
    let (mut server, connections) = Server::new(options, sockets, command, now)?;
    server.manager.ready(now);
    for connection in connections {
        server.admit(connection, now);
    }
    let left = server.run().map(|why| {
        server.datagrams.report_refusals(None);
        let counts = server.answers.counts();
        log::stopping(why, counts.answered, counts.failed);
    });
    // The process ends with its sockets open: a close may sleep over descriptors that were passed to
    // one of them, the end of a process does not.
    std::mem::forget(server);
    left
}

impl Server {
    /// The server, and the connections that were handed over instead of listeners.
    fn new(
        options: &Options,
        sockets: Sockets,
        command: Command,
        now: Instant,
    ) -> Result<(Self, Vec<Stream>), String> {
        let poll = Poll::new().map_err(failed("epoll_create1"))?;
        let registry = poll.registry().clone();
        let capacity = capacity(sockets.sockets.len())?;
        let (mut intake, mut datagrams) = (Intake::default(), Datagrams::new(options, now));
        let mut connections = Vec::new();
        for socket in sockets.sockets {
            match socket.kind {
                Kind::Listener => intake.add(socket, &registry),
                Kind::Connection => connections.push(Stream::new(socket.fd, socket.family)),
                Kind::Datagram => datagrams.add(socket, &registry)?,
            }
        }
        let server = Server {
            poll,
            signals: Signals::watch(&registry)?,
            intake,
            admission: Admission::new(options, capacity),
            answers: Answers::new(options, command, registry),
            linger: Linger::new(now),
            datagrams,
            manager: Manager::new(now),
            child_timeout: options.child_timeout,
            idle_timeout: options.idle_timeout,
            last_active: now,
            stop: None,
            is_inherited: sockets.inherited,
        };
        Ok((server, connections))
    }

    /// Turns until there is a reason to leave, and returns it.
    fn run(&mut self) -> Result<&'static str, String> {
        let mut ready = Vec::new();
        loop {
            let now = Instant::now();
            for part in self.timed() {
                part.tick(now);
            }
            self.obey_signals(now);
            self.answers.start_due_run(now);
            self.deliver(now);
            self.close_own_datagrams();
            if let Some(why) = self.reason_to_leave(now)? {
                return Ok(why);
            }
            self.arm(now);
            self.manager.update(self.answers.counts());
            let deadline = self.deadline();
            self.poll
                .wait(&mut ready, deadline, now)
                .map_err(failed("epoll_wait"))?;
            self.handle(&ready);
            self.answers.turn_over(Instant::now());
        }
    }

    /// Every timed part: one list for the wait and for the work.
    fn timed(&mut self) -> [&mut dyn Timed; 6] {
        [
            &mut self.signals,
            &mut self.intake,
            &mut self.answers,
            &mut self.linger,
            &mut self.datagrams,
            &mut self.manager,
        ]
    }

    fn deadline(&mut self) -> Option<Instant> {
        let own = [self.idle_at(), self.stop.map(|stop| stop.leave_by())];
        let parts = self.timed();
        let parts = parts.iter().filter_map(|part| part.deadline());
        own.into_iter().flatten().chain(parts).min()
    }

    /// Polls what there is room for, and nothing else.
    fn arm(&mut self, now: Instant) {
        let is_serving = self.stop.is_none();
        let room = is_serving && self.room() != Room::Full;
        self.intake.arm(room, self.has_room_for_unix(), now);
        let room = is_serving && self.answers.has_room_for_datagram();
        self.datagrams.arm(room, now);
    }

    /// Signals first: what has ended makes room for what comes.
    fn handle(&mut self, ready: &[Ready]) {
        if ready.iter().any(|ready| ready.token == Token::Signals) {
            self.signals.ready();
            self.obey_signals(Instant::now());
        }
        let now = Instant::now();
        for &Ready { token, events } in ready {
            match token {
                Token::Signals | Token::Listener(_) => {}
                Token::Output => self.answers.output_ready(now),
                Token::Datagrams(index) => self.receive(index as usize, events, now),
            }
            self.deliver(now);
        }
        self.accept(ready, now);
    }

    /// Does what the signals ask for. SIGCHLD does not count the children that have ended, since
    /// one signal may stand for several; wait(2) does.
    fn obey_signals(&mut self, now: Instant) {
        if !self.signals.is_ready() {
            return;
        }
        while let Some(signal) = self.signals.next(now) {
            match signal {
                Signal::SIGCHLD => {}
                Signal::SIGTERM | Signal::SIGINT => self.stop(now),
                // The terminal has gone, or an alarm that a launcher has set (`alarm` and exec, the
                // shell's poor man's timeout) has come.
                Signal::SIGHUP | Signal::SIGALRM => {
                    log::stopped_by(signal);
                    self.stop(now);
                }
                _ => log::signal_ignored(signal),
            }
        }
        self.answers.reap();
        self.deliver(now);
    }

    /// Takes no more requests; those taken before are still answered. A second call cuts that short.
    fn stop(&mut self, now: Instant) {
        let stop = match &mut self.stop {
            Some(stop) => {
                stop.hasten(now);
                stop
            }
            none => {
                self.manager.stopping();
                none.insert(Stop::begin(now, self.child_timeout))
            }
        };
        self.answers.end_by(stop.answer_by());
        if !self.is_inherited {
            // Clients that come now would wait for ever.
            self.intake.refuse(now);
        }
    }

    /// Whether one more connection can be taken, if need be in the place of one that lingers.
    fn room(&self) -> Room {
        if self.answers.has_room_for_connection() {
            self.admission
                .room(self.linger.len(), !self.linger.is_empty())
        } else {
            Room::Full
        }
    }

    fn has_room_for_unix(&self) -> bool {
        self.admission.has_room_for_unix(self.linger.suspicious())
    }

    /// Takes connections from the listeners that are ready, while there is room.
    fn accept(&mut self, ready: &[Ready], now: Instant) {
        if self.stop.is_some() {
            return;
        }
        self.intake
            .begin_turn(ready.iter().filter_map(|ready| match ready.token {
                Token::Listener(index) => Some(index as usize),
                _ => None,
            }));
        for _ in 0..ACCEPTS {
            // Where descriptors are short, the oldest lingering connection makes room, but only for
            // a client that certainly waits.
            let has_room = match self.room() {
                Room::Free => true,
                Room::AfterEviction => self.intake.is_pending() && self.linger.evict(),
                Room::Full => false,
            };
            if !has_room {
                return;
            }
            let Some(connection) = self.intake.accept(self.has_room_for_unix(), now) else {
                return;
            };
            self.admit(connection, now);
        }
    }

    /// Has a connection answered, or turns it away.
    fn admit(&mut self, connection: Stream, now: Instant) {
        match self.admission.admit(connection) {
            Ok(connection) => {
                self.last_active = now;
                self.answers.connection(connection, now);
                self.deliver(now);
            }
            Err(TurnedAway(stream, reply)) => linger::dismiss(stream, reply),
        }
    }

    /// Takes requests out of a datagram socket's queue, while there is room.
    fn receive(&mut self, index: usize, events: EpollFlags, now: Instant) {
        self.datagrams.ready(index, events);
        for _ in 0..RECEIVES {
            if self.stop.is_some() || !self.answers.has_room_for_datagram() {
                return;
            }
            match self.datagrams.receive(index, now) {
                Taken::Request(request) => {
                    self.last_active = now;
                    self.answers.datagram(index, request, now);
                    self.deliver(now);
                }
                Taken::Dropped => {}
                Taken::Nothing => return,
            }
        }
    }

    /// Hands each answer to the connection that it is for, which then lingers, or to its datagram
    /// socket.
    fn deliver(&mut self, now: Instant) {
        for Answered { clients, reply } in self.answers.finished() {
            self.last_active = now;
            for client in clients {
                match client {
                    Client::Connection(connection) => {
                        let stream = self.admission.release(connection);
                        self.linger.finish(stream, reply.clone(), now);
                    }
                    Client::Datagram(index, request) => {
                        if let Some(reply) = reply.clone() {
                            self.datagrams.reply(index, request, reply, now);
                        }
                    }
                }
            }
        }
    }

    /// No client is being served.
    fn is_quiet(&self) -> bool {
        self.answers.is_idle() && self.linger.is_empty() && self.datagrams.is_flushed()
    }

    /// When an idle exit is due. Not during the pause after a failure: a client may wait at a socket
    /// that is not polled then.
    fn idle_at(&self) -> Option<Instant> {
        let limit = self.idle_timeout?;
        let is_paused = |state| matches!(state, SourceState::Paused);
        (self.is_quiet() && !self.sources().any(is_paused)).then(|| self.last_active + limit)
    }

    fn sources(&self) -> impl Iterator<Item = SourceState<'_>> {
        self.intake.states().chain(self.datagrams.states())
    }

    fn reason_to_leave(&mut self, now: Instant) -> Result<Option<&'static str>, String> {
        if self.stop.is_some_and(|stop| stop.leave_by() <= now) {
            return Ok(Some("asked to stop, and out of time"));
        }
        if !self.is_quiet() {
            return Ok(None);
        }
        if self.stop.is_some() {
            return Ok(Some("asked to stop"));
        }
        let is_served = self.intake.is_empty() && self.datagrams.are_served();
        if is_served && !is_awaited(self.sources()) {
            return Ok(Some("the connection has been served"));
        }
        if self
            .sources()
            .all(|state| matches!(state, SourceState::Lost))
        {
            return Err("no listener is left".to_owned());
        }
        if self.idle_at().is_some_and(|at| at <= now) {
            if !is_awaited(self.sources()) {
                self.manager.stopping();
                return Ok(Some("no requests"));
            }
            // There may be no room for that client yet, and a deadline that has passed would have
            // the loop turn without a pause.
            self.last_active = now;
        }
        Ok(None)
    }

    /// Closes the datagram sockets that this process has bound, once a stop has begun and no client
    /// waits for an answer from them any more: further requests are refused at once (ECONNREFUSED),
    /// as at the listeners.
    fn close_own_datagrams(&mut self) {
        let is_over = self.answers.is_idle_for_datagrams() && self.datagrams.is_flushed();
        if self.stop.is_some() && !self.is_inherited && is_over {
            self.datagrams.close();
        }
    }
}

/// The descriptors that connections may have.
fn capacity(sockets: usize) -> Result<usize, String> {
    let (soft_limit, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed("getrlimit"))?;
    let own = OWN_DESCRIPTORS + sockets as u64;
    Ok(usize::try_from(soft_limit.saturating_sub(own).max(1)).unwrap_or(usize::MAX))
}

/// True where a client waits at a socket. Asked before an idle exit: a daemon that was stopped
/// (SIGSTOP), or whose --idle-timeout is shorter than a turn, has not looked meanwhile.
fn is_awaited<'fd>(sources: impl Iterator<Item = SourceState<'fd>>) -> bool {
    let mut fds: Vec<_> = sources
        .filter_map(|state| match state {
            SourceState::Open(fd) => Some(PollFd::new(fd, PollFlags::POLLIN)),
            SourceState::Paused | SourceState::Lost => None,
        })
        .collect();
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(_) => fds
            .iter()
            .filter_map(PollFd::revents)
            .any(|events| events.contains(PollFlags::POLLIN)),
        // Then another turn, and another look.
        Err(Errno::EINTR) => true,
        // ENOMEM: the holder of the sockets starts the daemon again for clients that wait.
        Err(_) => false,
    }
}
