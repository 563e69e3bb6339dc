//! The one loop: classified sockets and options come in, answered clients and an exit come out.
//!
//! One thread, one epoll. Each turn handles what is over first (signals, deadlines), then what
//! goes on (connections being ended), and takes new connections last and only while there is
//! room, so that the kernel's backlog holds the others back and no client can crowd out another.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::accept::{Accepted, Listener};
use super::child::{Children, Command, Ending, Exited};
use super::limits::{Allow, Place, Sources};
use super::linger::Linger;
use super::log::{self, Latch, Level};
use super::notify::{Counts, Notify};
use super::options::Options;
use super::peer::Peer;
use super::sockets::{Kind, Sockets};

/// The token of the signal descriptor. Connections that are being ended have their numbers from
/// 0 up, listeners theirs from `LISTENERS` up.
const SIGNALS: u64 = u64::MAX;
const LISTENERS: u64 = 1 << 63;

/// Connections taken in one turn of the loop.
const ACCEPTS: usize = 256;
/// Descriptors that are neither sockets of ours nor connections: 0 to 2, epoll, signals, the
/// journal, the service manager, a pipe.
const OWN_DESCRIPTORS: u64 = 9;

/// A connection that is being served, and its place in its source's count.
struct Connection {
    fd: OwnedFd,
    place: Place,
}

/// What a command runs for; None once its client has been told that it takes too long.
type Purpose = Option<Connection>;

struct Server {
    epoll: Epoll,
    signals: SignalFd,
    listeners: Vec<Listener>,
    command: Command,
    children: Children<Purpose>,
    max_children: usize,
    child_timeout: Duration,
    /// A connection whose command could not be started while others ran.
    stalled: Option<Connection>,
    linger: Linger,
    capacity: usize,
    allow: Allow,
    sources: Sources,
    idle_timeout: Option<Duration>,
    last_active: Instant,
    stopping: bool,
    notify: Notify,
    counts: Counts,
    faults: Faults,
}

/// What may fail with every request, and is told once.
#[derive(Default)]
struct Faults {
    spawn: Latch,
    ending: Latch,
    timeout: Latch,
    wait: u32,
}

/// Serves until there is nothing left to do: a signal to stop, an idle exit, or the end of the
/// only connection that was handed over.
///
/// # Errors
/// One sentence, where the daemon cannot go on: no epoll, no signal descriptor, no listener left.
pub(crate) fn serve(options: &Options, sockets: Sockets, command: Command) -> Result<(), String> {
    let mut server = Server::new(options, sockets, command)?;
    server.notify.ready();
    let why = server.run()?;
    log::stopping(why, server.counts.answered, server.counts.failed);
    Ok(())
}

fn failed(what: &str) -> impl Fn(Errno) -> String {
    move |errno| format!("{what}: {}", errno.desc())
}

impl Server {
    fn new(options: &Options, sockets: Sockets, command: Command) -> Result<Self, String> {
        let now = Instant::now();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed("epoll_create1"))?;
        let signals = watch_signals(&epoll)?;
        let (soft_limit, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed("getrlimit"))?;
        let own = OWN_DESCRIPTORS + sockets.sockets.len() as u64;
        let mut server = Server {
            epoll,
            signals,
            listeners: Vec::new(),
            command,
            children: Children::new(options.child_timeout),
            max_children: options.max_children.get(),
            child_timeout: options.child_timeout,
            stalled: None,
            linger: Linger::new(),
            capacity: usize::try_from(soft_limit.saturating_sub(own).max(1)).unwrap_or(usize::MAX),
            allow: Allow::new(options.allow.clone()),
            sources: Sources::new(options.max_per_source),
            idle_timeout: options.idle_timeout,
            last_active: now,
            stopping: false,
            notify: Notify::new(now),
            counts: Counts::default(),
            faults: Faults::default(),
        };
        for socket in sockets.sockets {
            match socket.kind {
                Kind::Listener => {
                    let token = LISTENERS + server.listeners.len() as u64;
                    server.listeners.push(Listener::new(socket, token));
                }
                Kind::Connection => server.take(socket.fd, now),
                Kind::Datagram => return Err(format!("{socket}: datagrams are not served yet")),
            }
        }
        Ok(server)
    }

    /// Turns until there is a reason to leave, and gives it.
    fn run(&mut self) -> Result<&'static str, String> {
        let mut events = [EpollEvent::empty(); 256];
        let mut ready = Vec::with_capacity(self.listeners.len());
        loop {
            let now = Instant::now();
            self.expire(now);
            self.counts.running = self.children.len();
            self.notify.tick(now, self.counts);
            if let Some(why) = self.reason_to_leave(now)? {
                return Ok(why);
            }
            let room = self.make_room();
            for listener in &mut self.listeners {
                listener
                    .arm(&self.epoll, room, now)
                    .map_err(failed("epoll_ctl"))?;
            }
            let count = self.wait(&mut events, now)?;
            self.handle(&events[..count], &mut ready);
        }
    }

    fn wait(&mut self, events: &mut [EpollEvent], now: Instant) -> Result<usize, String> {
        let timeout = match self.next_deadline() {
            None => EpollTimeout::NONE,
            // Rounded up: a turn before the deadline would find nothing to do.
            Some(at) => {
                let millis = at
                    .saturating_duration_since(now)
                    .as_nanos()
                    .div_ceil(1_000_000);
                EpollTimeout::try_from(millis.min(i32::MAX as u128) as i32)
                    .unwrap_or(EpollTimeout::MAX)
            }
        };
        match self.epoll.wait(events, timeout) {
            Ok(count) => {
                self.faults.wait = 0;
                Ok(count)
            }
            // A stop and a continue (signal(7)). A kernel that does nothing else must not have us
            // burn a core: this is the one wait that epoll cannot do.
            Err(Errno::EINTR) => {
                self.faults.wait += 1;
                if self.faults.wait > 16 {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(0)
            }
            Err(errno) => Err(failed("epoll_wait")(errno)),
        }
    }

    /// Signals first: what has ended makes room for what comes.
    fn handle(&mut self, events: &[EpollEvent], ready: &mut Vec<usize>) {
        if events.iter().any(|event| event.data() == SIGNALS) {
            self.read_signals();
        }
        let now = Instant::now();
        ready.clear();
        for event in events {
            match event.data() {
                SIGNALS => {}
                token if token >= LISTENERS => ready.push((token - LISTENERS) as usize),
                id => self.linger.ready(&self.epoll, id, now),
            }
        }
        if !self.stopping {
            self.accept(ready, now);
        }
    }

    /// Reads every pending signal. SIGCHLD is not counted, since several ends may be one signal;
    /// the children are asked. The descriptor is edge-triggered, so a read that fails is tried
    /// again with the next signal and not with every turn.
    fn read_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if info.ssi_signo != Signal::SIGCHLD as u32 && !self.stopping {
                self.stopping = true;
                self.notify.stopping();
            }
        }
        while let Some(exited) = self.children.reap() {
            self.conclude(exited);
        }
        if let Some(connection) = self.stalled.take() {
            self.start(connection, Instant::now());
        }
    }

    /// Takes connections from the listeners in turn, one each, while there is room.
    fn accept(&mut self, ready: &mut Vec<usize>, now: Instant) {
        let mut turn = 0;
        for _ in 0..ACCEPTS {
            if ready.is_empty() || !self.make_room() {
                return;
            }
            turn %= ready.len();
            match self.listeners[ready[turn]].accept(now) {
                Accepted::Connection(fd) => {
                    self.take(fd, now);
                    turn += 1;
                }
                Accepted::Nothing => {
                    ready.remove(turn);
                }
            }
        }
    }

    /// True where one more connection can be taken. Room is made, if there is none for another
    /// descriptor, by closing the connection that has been lingering longest.
    fn make_room(&mut self) -> bool {
        if self.stopping || self.stalled.is_some() || self.children.len() >= self.max_children {
            return false;
        }
        while self.children.len() + self.linger.len() >= self.capacity {
            if !self.linger.evict(&self.epoll) {
                return false;
            }
        }
        true
    }

    /// Lets a connection in, or turns it away.
    fn take(&mut self, fd: OwnedFd, now: Instant) {
        self.last_active = now;
        let limited = self.allow.is_restricted() || self.sources.limit().is_some();
        // Who asks costs a system call, so it is asked only where it matters.
        let peer = if limited {
            Peer::of(fd.as_fd())
        } else {
            Peer::Gone
        };
        if !self.allow.admits(&peer) {
            return log::denied(&peer);
        }
        match self.sources.enter(&peer) {
            Some(place) => self.start(Connection { fd, place }, now),
            None => {
                log::too_many(&peer, self.sources.limit().unwrap_or_default());
                Linger::dismiss(
                    fd,
                    b"error: too many connections at once from your address\n",
                );
            }
        }
    }

    /// Hands a connection to a command of its own.
    fn start(&mut self, connection: Connection, now: Instant) {
        match self.command.spawn(connection.fd.as_fd()) {
            Ok(pid) => {
                log::spawn_recovered(&mut self.faults.spawn, &self.command);
                self.children.insert(pid, Some(connection), now);
            }
            Err(errno) => {
                log::spawn_failed(&mut self.faults.spawn, &self.command, errno);
                // No more processes or memory now, but some of ours are about to end: wait for one.
                if matches!(errno, Errno::EAGAIN | Errno::ENOMEM) && !self.children.is_empty() {
                    self.stalled = Some(connection);
                    return;
                }
                self.counts.failed += 1;
                let reply = self.error(errno.desc());
                self.finish(connection, Some(reply), now);
            }
        }
    }

    /// What a client is told when there is no answer (the last word of APUE's popen server).
    fn error(&self, reason: &str) -> Rc<[u8]> {
        format!("error: {}: {reason}\n", self.command)
            .into_bytes()
            .into()
    }

    fn finish(&mut self, connection: Connection, reply: Option<Rc<[u8]>>, now: Instant) {
        self.sources.leave(connection.place);
        self.linger.finish(&self.epoll, connection.fd, reply, now);
        self.last_active = now;
    }

    /// A command has ended: its client has its answer, or hears why not.
    fn conclude(&mut self, exited: Exited<Purpose>) {
        let Some(connection) = exited.purpose else {
            return;
        };
        let well = exited.ending == Ending::Exited(0);
        let peer = if !well || log::enabled(Level::Info) {
            Peer::of(connection.fd.as_fd())
        } else {
            Peer::Gone
        };
        let sigpipe = exited.ending == Ending::Killed(Some(Signal::SIGPIPE));
        let mut reply = None;
        if !well && (peer == Peer::Gone || sigpipe) {
            // The command could not write, because its reader had gone.
            log::client_gone(&peer, exited.pid, exited.ending);
        } else {
            self.count(well);
            log::ended(
                &mut self.faults.ending,
                &peer,
                exited.pid,
                exited.ending,
                exited.took,
            );
            if let Ending::Killed(_) = exited.ending {
                reply = Some(self.error(&exited.ending.to_string()));
            }
        }
        self.finish(connection, reply, Instant::now());
    }

    fn count(&mut self, well: bool) {
        if well {
            self.counts.answered += 1;
            self.faults.timeout.recovered();
        } else {
            self.counts.failed += 1;
        }
    }

    /// Does what time demands: stops commands, ends connections.
    fn expire(&mut self, now: Instant) {
        let mut late = Vec::new();
        self.children.expire(now, |pid, purpose| {
            late.extend(purpose.take().map(|connection| (pid, connection)))
        });
        for (pid, connection) in late {
            self.time_out(pid, connection, now);
        }
        self.linger.expire(&self.epoll, now);
    }

    fn time_out(&mut self, pid: Pid, connection: Connection, now: Instant) {
        let peer = Peer::of(connection.fd.as_fd());
        log::timed_out(&mut self.faults.timeout, &peer, pid, self.child_timeout);
        self.count(false);
        let reply = self.error(&format!(
            "stopped, as it did not end within {} s",
            self.child_timeout.as_secs_f64()
        ));
        self.finish(connection, Some(reply), now);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let idle = self
            .is_quiet()
            .then_some(self.idle_timeout)
            .flatten()
            .map(|limit| self.last_active + limit);
        [
            self.children.next_deadline(),
            self.linger.next_deadline(),
            self.notify.next_deadline(Counts {
                running: self.children.len(),
                ..self.counts
            }),
            idle,
        ]
        .into_iter()
        .chain(self.listeners.iter().map(Listener::next_deadline))
        .flatten()
        .min()
    }

    /// Nobody is being served.
    fn is_quiet(&self) -> bool {
        self.children.is_empty() && self.stalled.is_none() && self.linger.is_empty()
    }

    fn reason_to_leave(&mut self, now: Instant) -> Result<Option<&'static str>, String> {
        if !self.is_quiet() {
            return Ok(None);
        }
        if self.stopping {
            return Ok(Some("asked to stop"));
        }
        if self.listeners.is_empty() {
            return Ok(Some("the connection has been served"));
        }
        if self.listeners.iter().all(Listener::is_lost) {
            return Err("no listener is left".to_owned());
        }
        if self
            .idle_timeout
            .is_some_and(|limit| now >= self.last_active + limit)
        {
            self.notify.stopping();
            return Ok(Some("nobody asked"));
        }
        Ok(None)
    }
}

/// Blocks the signals that the loop reads from a descriptor instead (signalfd(2)).
fn watch_signals(epoll: &Epoll) -> Result<SignalFd, String> {
    let mask: SigSet = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT]
        .into_iter()
        .collect();
    mask.thread_block().map_err(failed("sigprocmask"))?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(failed("signalfd"))?;
    let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, SIGNALS);
    epoll.add(&signals, event).map_err(failed("epoll_ctl"))?;
    Ok(signals)
}
