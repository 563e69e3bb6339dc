//! The one loop: classified sockets and options come in, answered clients and an exit come out.
//!
//! One thread, one epoll. Each turn handles what is over first (signals, deadlines), then what
//! goes on (connections being ended), and takes new connections last and only while there is
//! room, so that the kernel's backlog holds the others back and no client can crowd out another.

mod datagrams;
mod shared;
mod streams;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::EpollFlags;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use self::datagrams::Datagrams;
use self::streams::Connection;
use crate::daemon::answer::capture::{Answered, Capture};
use crate::daemon::answer::children::{Children, Command, Ending, Exited};
use crate::daemon::answer::linger::Linger;
use crate::daemon::datagrams::rate_limit::RateLimiter;
use crate::daemon::datagrams::socket::{DatagramSocket, Request};
use crate::daemon::intake::admission::{Allow, Sources};
use crate::daemon::intake::listener::Listener;
use crate::daemon::logging as log;
use crate::daemon::logging::fault::{Failure, Fault};
use crate::daemon::manager::{Counts, Manager};
use crate::daemon::options::{Handoff, Options};
use crate::daemon::poll::{Poll, Ready, Token, Watched};
use crate::daemon::signals::{self, Asks};
use crate::daemon::sockets::Kind;
use crate::daemon::sockets::inherit::Sockets;
use crate::daemon::stop::Stop;

/// Descriptors that are neither sockets of ours nor connections: 0 to 2, epoll, signals, the
/// journal, the service manager, both ends of a pipe, one that is about to be turned away.
const OWN_DESCRIPTORS: u64 = 10;

/// Why whoever still waits when a stop has taken its time is not answered.
const LEAVING: &str = "stopped, as ruptimed is leaving";

/// What a command runs for.
enum Purpose {
    /// One connection, which is its output.
    Exec(Connection),
    /// All who waited when it started.
    Shared,
    /// Nobody any more: it is being stopped, and whoever waited has been told.
    Told,
}

/// Who waits for a run that is shared.
enum Waiter {
    Stream(Connection),
    Datagram { socket: usize, request: Request },
}

struct Server {
    poll: Poll,
    signals: Watched<SignalFd>,
    signal_fault: Fault,
    listeners: Vec<Listener>,
    datagrams: Vec<Datagrams>,
    /// The UDP ports among them.
    ports: Vec<u16>,
    handoff: Handoff,
    capture: Capture<Waiter>,
    command: Command,
    children: Children<Purpose>,
    max_children: usize,
    child_timeout: Duration,
    /// Connections that were handed over instead of listeners, and wait for their turn.
    handed_over: VecDeque<OwnedFd>,
    /// The listener whose turn it is.
    next_listener: usize,
    /// The listeners have been looked at, with a place free, since the last shared run: the next
    /// place may be for another. Datagrams alone could take the only place for ever.
    is_runs_turn: bool,
    /// A connection whose command could not be started while others ran.
    stalled: Option<Connection>,
    /// Connections that are being served or wait for it.
    held: usize,
    linger: Linger,
    /// Connections, held and lingering, that the descriptor limit allows.
    capacity: usize,
    allow: Allow,
    sources: Sources,
    rate_limiter: RateLimiter,
    idle_timeout: Option<Duration>,
    last_active: Instant,
    /// The sockets are inherited: whoever holds them keeps those who come while the daemon stops.
    inherited: bool,
    stop: Option<Stop>,
    manager: Manager,
    counts: Counts,
    faults: Faults,
}

/// What may fail with every request, and is told once.
#[derive(Default)]
struct Faults {
    spawn: Fault,
    ending: Fault,
    timeout: Fault,
    cut: Fault,
}

impl Faults {
    /// Counts how a command has ended; None where it went well.
    fn ended(&mut self, ending: Ending, now: Instant) -> Option<Failure> {
        if ending == Ending::Exited(0) {
            self.ending.ok();
            None
        } else {
            Some(self.ending.fail(now))
        }
    }
}

/// Serves until there is nothing left to do: a signal to stop, an idle exit, or the end of the
/// only connection that was handed over.
///
/// # Errors
/// One sentence, where the daemon cannot go on: no epoll, no signal descriptor, no listener left.
pub(crate) fn serve(options: &Options, sockets: Sockets, command: Command) -> Result<(), String> {
    let mut server = Server::new(options, sockets, command)?;
    server.manager.ready(Instant::now());
    let why = server.run()?;
    server.tell_refusals(None);
    log::stopping(why, server.counts.answered, server.counts.failed);
    Ok(())
}

fn failed(what: &str) -> impl Fn(Errno) -> String {
    move |errno| format!("{what}: {}", errno.desc())
}

impl Server {
    fn new(options: &Options, sockets: Sockets, command: Command) -> Result<Self, String> {
        let now = Instant::now();
        let poll = Poll::new().map_err(failed("epoll_create1"))?;
        let signals = watch_signals(&poll)?;
        let (soft_limit, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed("getrlimit"))?;
        let own = OWN_DESCRIPTORS + sockets.sockets.len() as u64;
        let mut server = Server {
            poll,
            signals,
            signal_fault: Fault::default(),
            listeners: Vec::new(),
            datagrams: Vec::new(),
            ports: Vec::new(),
            handoff: options.handoff,
            capture: Capture::new(options.max_age),
            command,
            children: Children::new(options.child_timeout),
            max_children: options.max_children.get(),
            child_timeout: options.child_timeout,
            handed_over: VecDeque::new(),
            next_listener: 0,
            is_runs_turn: true,
            stalled: None,
            held: 0,
            linger: Linger::new(),
            capacity: usize::try_from(soft_limit.saturating_sub(own).max(1)).unwrap_or(usize::MAX),
            allow: Allow::new(options.allow.clone()),
            sources: Sources::new(options.max_per_source),
            rate_limiter: RateLimiter::new(options.rate_limit, now),
            idle_timeout: options.idle_timeout,
            last_active: now,
            inherited: sockets.inherited,
            stop: None,
            manager: Manager::new(now),
            counts: Counts::default(),
            faults: Faults::default(),
        };
        for socket in sockets.sockets {
            match socket.kind {
                Kind::Listener => {
                    let index = server.listeners.len() as u32;
                    server
                        .listeners
                        .push(Listener::new(socket, &server.poll, index));
                }
                Kind::Connection => server.handed_over.push_back(socket.fd),
                Kind::Datagram => {
                    let name = socket.name.clone();
                    let index = server.datagrams.len() as u32;
                    let socket = DatagramSocket::new(socket).map_err(failed(&name))?;
                    server.ports.extend(socket.port());
                    server
                        .datagrams
                        .push(Datagrams::new(socket, name, &server.poll, index));
                }
            }
        }
        Ok(server)
    }

    /// Turns until there is a reason to leave, and gives it.
    fn run(&mut self) -> Result<&'static str, String> {
        let mut ready = Vec::new();
        let mut listeners = Vec::with_capacity(self.listeners.len());
        loop {
            let now = Instant::now();
            self.expire(now);
            self.take_handed_over(now);
            if self.run_is_due(now) && self.is_runs_turn {
                self.start_run(now);
            }
            self.counts.running = self.children.len();
            self.manager.update(self.counts);
            self.manager.tick(now);
            if let Some(why) = self.reason_to_leave(now)? {
                return Ok(why);
            }
            self.close_own_datagrams();
            let room = self.has_room();
            for listener in &mut self.listeners {
                listener.arm(room, now);
            }
            self.is_runs_turn |= self.may_start();
            let room = self.has_room_for_datagrams();
            for datagrams in &mut self.datagrams {
                datagrams.arm(room, now);
            }
            let deadline = if self.run_is_due(now) {
                Some(now)
            } else {
                self.next_deadline()
            };
            self.poll
                .wait(&mut ready, deadline, now)
                .map_err(failed("epoll_wait"))?;
            self.handle(&ready, &mut listeners);
            self.capture.looked();
        }
    }

    /// Signals first: what has ended makes room for what comes.
    fn handle(&mut self, ready: &[Ready], listeners: &mut Vec<usize>) {
        if ready.iter().any(|ready| ready.token == Token::Signals) {
            self.read_signals(Instant::now());
        }
        let now = Instant::now();
        listeners.clear();
        for &Ready { token, events } in ready {
            match token {
                Token::Signals => {}
                Token::Output => self.output_ready(now),
                Token::Listener(index) => listeners.push(index as usize),
                Token::Datagrams(index) => {
                    let index = index as usize;
                    self.datagrams_ready(index, now);
                    let over = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP;
                    if events.intersects(over) {
                        self.datagrams[index].lose();
                    }
                }
                Token::Lingering(id) => self.linger.ready(self.poll.epoll(), id, now),
            }
        }
        if self.stop.is_none() {
            self.accept(listeners, now);
        }
    }

    /// Reads every pending signal. SIGCHLD is not counted, since several ends may be one signal;
    /// the children are asked. The descriptor is edge-triggered, so that a read that fails is
    /// tried again after a pause and not with every turn.
    fn read_signals(&mut self, now: Instant) {
        loop {
            match self.signals.read_signal() {
                Ok(Some(info)) => self.signalled(info.ssi_signo, now),
                Ok(None) => {
                    self.signal_fault.ok();
                    break;
                }
                Err(Errno::EINTR) if self.signal_fault.tolerate() => {}
                Err(errno) => {
                    log::signals_failed(self.signal_fault.fail(now), errno);
                    break;
                }
            }
        }
        self.reap();
    }

    /// Concludes what has ended, and starts what waited for it.
    fn reap(&mut self) {
        while let Some((purpose, exited)) = self.children.reap() {
            self.conclude(purpose, &exited);
        }
        if let Some(connection) = self.stalled.take() {
            self.start(connection);
        }
    }

    fn signalled(&mut self, number: u32, now: Instant) {
        match signals::meaning(number) {
            Some(Asks::Stop) => self.stop(now),
            Some(Asks::StopAloud(signal)) => {
                log::stopped_by(signal);
                self.stop(now);
            }
            Some(Asks::Nothing(signal)) => log::signal_ignored(signal),
            Some(Asks::Reap) | None => {}
        }
    }

    /// Takes no more requests; those that were taken are answered. The second time they are not
    /// waited for.
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
        self.children.end_by(stop.answer_by());
        if !self.inherited {
            // Nobody will ever take those who come now.
            for listener in &mut self.listeners {
                listener.refuse(now);
            }
        }
    }

    /// Closes the datagram sockets that this process has bound, once nobody waits for an answer
    /// from them any more: whoever asks is refused at once (ECONNREFUSED), as at the listeners.
    fn close_own_datagrams(&mut self) {
        let is_over = self.capture.is_idle() && self.datagrams.iter().all(Datagrams::is_flushed);
        if self.stop.is_some() && !self.inherited && is_over {
            self.datagrams.clear();
        }
    }

    /// Tells those who still wait for a command that none is started any more.
    fn turn_away_waiting(&mut self, now: Instant) {
        let answer = self.error(LEAVING);
        while let Some(fd) = self.handed_over.pop_front() {
            self.count(false, 1);
            self.linger
                .finish(self.poll.epoll(), fd, Some(answer.clone()), now);
        }
        if let Some(connection) = self.stalled.take() {
            self.count(false, 1);
            self.finish(connection, Some(answer.clone()), now);
        }
        let clients = self.capture.give_up();
        self.count(false, clients.len());
        self.deliver_all(Some(Answered { clients, answer }), now);
    }

    /// True where somebody waits for a command to be started.
    fn is_waited_for(&self) -> bool {
        !self.handed_over.is_empty() || self.stalled.is_some() || self.capture.waiting() > 0
    }

    /// Does what time demands: stops commands, ends connections, tells of floods.
    fn expire(&mut self, now: Instant) {
        if self.signal_fault.tick(now) {
            self.read_signals(now);
        }
        if self.children.next_deadline().is_some_and(|at| at <= now) {
            // What has ended, or has said everything, is not late: it is this process that was
            // kept from looking, by a stop or by a busy machine.
            self.output_ready(now);
            self.reap();
        }
        let mut all_late = Vec::new();
        self.children.expire(now, |late, purpose| {
            all_late.push((late, std::mem::replace(purpose, Purpose::Told)))
        });
        for (late, purpose) in all_late {
            match purpose {
                Purpose::Exec(connection) => self.time_out_exec(connection, late, now),
                Purpose::Shared => self.time_out_run(late, now),
                Purpose::Told => {}
            }
        }
        if self.stop.is_some_and(|stop| stop.answer_by() <= now) {
            self.turn_away_waiting(now);
        }
        self.linger.expire(self.poll.epoll(), now);
        self.datagrams
            .iter_mut()
            .for_each(|datagrams| datagrams.tick(now));
        self.tell_refusals(Some(now));
    }

    /// Tells of the datagrams beyond the rate limit, if it is time to; None: it is the last time.
    fn tell_refusals(&mut self, now: Option<Instant>) {
        if let Some(refusals) = self.rate_limiter.report(now) {
            log::rate_limited(refusals.count, &refusals.example);
        }
    }

    /// A command has ended.
    fn conclude(&mut self, purpose: Purpose, exited: &Exited) {
        match purpose {
            Purpose::Exec(connection) => self.conclude_exec(connection, exited),
            Purpose::Shared => self.conclude_run(exited),
            Purpose::Told => {}
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let stop = self.stop.map(|stop| match self.is_waited_for() {
            true => stop.answer_by().min(stop.leave_by()),
            false => stop.leave_by(),
        });
        [
            self.children.next_deadline(),
            self.linger.next_deadline(),
            self.manager.deadline(),
            self.rate_limiter.next_deadline(),
            self.signal_fault.deadline(),
            // While every command that may run runs, the end of one is what is waited for.
            self.may_start()
                .then(|| self.capture.next_deadline())
                .flatten(),
            self.idle_at(),
            stop,
        ]
        .into_iter()
        .chain(self.listeners.iter().map(Listener::next_deadline))
        .chain(self.datagrams.iter().map(Datagrams::next_deadline))
        .flatten()
        .min()
    }

    /// One more command may be started.
    fn may_start(&self) -> bool {
        self.children.len() < self.max_children
    }

    /// Nobody is being served.
    fn is_quiet(&self) -> bool {
        self.children.is_empty()
            && self.handed_over.is_empty()
            && self.stalled.is_none()
            && self.capture.is_idle()
            && self.linger.is_empty()
            && self.datagrams.iter().all(Datagrams::is_flushed)
    }

    /// When an idle exit is due. Not during the pause after a failure: a client may wait at a socket
    /// that nobody looks at then.
    fn idle_at(&self) -> Option<Instant> {
        let paused = self.listeners.iter().any(|l| l.next_deadline().is_some())
            || self.datagrams.iter().any(Datagrams::is_paused);
        let limit = self.idle_timeout?;
        (self.is_quiet() && !paused).then(|| self.last_active + limit)
    }

    /// True where a client waits at a socket. Asked before an idle exit: a daemon that was stopped
    /// (SIGSTOP), or whose --idle-timeout is shorter than a turn, has not looked meanwhile.
    fn is_awaited(&self) -> bool {
        let listeners = self.listeners.iter().filter_map(Listener::unseen);
        let sockets = listeners.chain(self.datagrams.iter().filter_map(Datagrams::unseen));
        let mut fds: Vec<_> = sockets
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(_) => fds.iter().any(|fd| {
                fd.revents()
                    .is_some_and(|events| events.contains(PollFlags::POLLIN))
            }),
            // Another turn, and another look.
            Err(Errno::EINTR) => true,
            // ENOMEM: whoever holds the sockets starts the daemon again for those who wait.
            Err(_) => false,
        }
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
        if self.listeners.is_empty() && self.datagrams.is_empty() {
            return Ok(Some("the connection has been served"));
        }
        if self.datagrams.iter().all(Datagrams::is_lost)
            && self.listeners.iter().all(Listener::is_lost)
        {
            return Err("no listener is left".to_owned());
        }
        if self.idle_at().is_some_and(|at| at <= now) && !self.is_awaited() {
            self.manager.stopping();
            return Ok(Some("nobody asked"));
        }
        Ok(None)
    }
}

/// A descriptor that the loop reads the signals from (signalfd(2)).
fn watch_signals(poll: &Poll) -> Result<Watched<SignalFd>, String> {
    let mask = signals::block().map_err(failed("sigprocmask"))?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(failed("signalfd"))?;
    let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    let mut signals = poll.watch(signals, Token::Signals, interest);
    signals.arm(true).map_err(failed("epoll_ctl"))?;
    Ok(signals)
}
