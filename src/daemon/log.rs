//! What the daemon tells its administrator: one function per event.
//!
//! Events come in as values; records go out, to the journal with fields of their own where
//! standard error is the journal (systemd.exec(5), `$JOURNAL_STREAM`), else as lines on standard
//! error: with `<N>` priorities (sd-daemon(3)) where that is a socket or /dev/kmsg, so that
//! whoever reads it can sort them, and without on a terminal, a pipe or a file.
//!
//! A request that went well is `info`, so that a busy daemon writes nothing per request at the
//! default level; a failure that may repeat with every request goes through a [`Latch`]. A record
//! that nobody takes is lost, and counted, rather than waited for.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use libsystemd::logging::{Priority, SD_JOURNAL_SOCK_PATH, connected_to_journal, journal_send};
use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::Pid;

use super::child::Ending;
use super::queue::{takes_a_datagram, takes_a_line};

/// The least severe records to write, as in syslog(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    /// the daemon, or a command, cannot do its work
    Error,
    /// something is wrong, and the daemon goes on
    Warning,
    /// start, end, and what an administrator wants to see once
    Notice,
    /// each request, and who was refused
    Info,
    /// what clients did wrong
    Debug,
}

impl Level {
    fn priority(self) -> Priority {
        match self {
            Level::Error => Priority::Error,
            Level::Warning => Priority::Warning,
            Level::Notice => Priority::Notice,
            Level::Info => Priority::Info,
            Level::Debug => Priority::Debug,
        }
    }
}

/// The MESSAGE_IDs (sd-journal(3)) that the journal's catalog explains.
pub mod message_id {
    /// The command could not be started.
    pub const SPAWN_FAILED: &str = "c1572b3858b94e87aa219faa441724b5";
    /// A command was killed for its time.
    pub const TIMED_OUT: &str = "663ebe21648247ce919b338f3d17d8a0";
    /// A listener cannot accept: descriptors or memory ran out.
    pub const ACCEPT_FAILED: &str = "418f2d1062b447d49ffe4db4b2e27c52";
    /// A datagram source was not answered, because it asked too often.
    pub const RATE_LIMITED: &str = "b7db917f07714814bce863237634297e";
    /// A request was answered.
    pub const ANSWERED: &str = "f74dc3813e1248a5bc5c396c9cf9f975";
}

enum Sink {
    Journal,
    Stderr { priorities: bool },
    Nowhere,
}

struct Log {
    level: Level,
    sink: Sink,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Decides once where records go. `stderr_is_connection`: standard error is a client's
/// connection (inetd passes it so), where no record may ever be written.
pub(crate) fn init(level: Level, stderr_is_connection: bool) {
    let sink = if connected_to_journal() {
        Sink::Journal
    } else if stderr_is_connection {
        match std::fs::exists(SD_JOURNAL_SOCK_PATH) {
            Ok(true) => Sink::Journal,
            _ => Sink::Nowhere,
        }
    } else {
        Sink::Stderr {
            priorities: stderr_takes_priorities(),
        }
    };
    // A second call would be a mistake of ours; the first decision stands.
    let _ = LOG.set(Log { level, sink });
}

/// A socket is most likely a journal stream, and /dev/kmsg reads `<N>` too (sd-daemon(3)).
fn stderr_takes_priorities() -> bool {
    let stderr = std::io::stderr();
    let Ok(stat) = fstat(stderr.as_fd()) else {
        return false;
    };
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    kind == SFlag::S_IFSOCK
        || (kind == SFlag::S_IFCHR
            && fstat_path("/dev/kmsg").is_some_and(|rdev| rdev == stat.st_rdev))
}

fn fstat_path(path: &str) -> Option<nix::libc::dev_t> {
    nix::sys::stat::stat(path).ok().map(|stat| stat.st_rdev)
}

/// True where a record of this level is written: whoever must work for a record asks first.
pub(crate) fn enabled(level: Level) -> bool {
    LOG.get().is_some_and(|log| level <= log.level)
}

type Field<'a> = (&'static str, &'a dyn fmt::Display);

/// Records that nobody took.
static LOST: AtomicU64 = AtomicU64::new(0);

fn write(level: Level, fields: &[Field<'_>], message: fmt::Arguments<'_>) {
    let Some(log) = LOG.get().filter(|log| level <= log.level) else {
        return;
    };
    if !emit(log, level, fields, message) {
        LOST.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let lost = LOST.swap(0, Ordering::Relaxed);
    if lost > 0
        && !emit(
            log,
            Level::Warning,
            &[],
            format_args!("{lost} records were lost: nobody took them"),
        )
    {
        LOST.fetch_add(lost, Ordering::Relaxed);
    }
}

/// Writes one record; false where whoever should take it does not, and it would have to wait.
fn emit(log: &Log, level: Level, fields: &[Field<'_>], message: fmt::Arguments<'_>) -> bool {
    match log.sink {
        Sink::Nowhere => true,
        Sink::Stderr { priorities } => to_stderr(level, priorities, message),
        Sink::Journal => {
            if !takes_a_datagram(OsStr::new(SD_JOURNAL_SOCK_PATH)) {
                return false;
            }
            let fields = fields
                .iter()
                .map(|(name, value)| (*name, value.to_string()));
            let identifier = std::iter::once(("SYSLOG_IDENTIFIER", "ruptimed".to_owned()));
            // journald is being restarted, or the sandbox hides its socket: standard error is
            // still its stream, and reads priorities.
            journal_send(
                level.priority(),
                &message.to_string(),
                identifier.chain(fields),
            )
            .is_ok()
                || to_stderr(level, true, message)
        }
    }
}

fn to_stderr(level: Level, priorities: bool, message: fmt::Arguments<'_>) -> bool {
    let mut line = String::with_capacity(128);
    if priorities {
        let _ = write!(line, "<{}>", u8::from(level.priority()));
    }
    let _ = writeln!(line, "ruptimed: {message}");
    let mut stderr = std::io::stderr();
    // A write that fails has nowhere left to tell of it, and a client must not suffer from it.
    takes_a_line(stderr.as_fd()) && stderr.write_all(line.as_bytes()).is_ok()
}

/// A fault that comes and goes is told no more often than this.
const QUIET: Duration = Duration::from_secs(10);

/// Lets the first of a row of failures through, and tells when the row has ended, so that a
/// fault that comes with every request is told once, and one that comes with every other
/// request once in a while.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    failures: u64,
    /// The row has been told of.
    is_told: bool,
    last_told: Option<Instant>,
}

impl Latch {
    /// Counts a failure; true where it is to be told.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        self.failures += 1;
        let is_quiet = self
            .last_told
            .is_some_and(|at| now.saturating_duration_since(at) < QUIET);
        if self.is_told || is_quiet {
            return false;
        }
        self.is_told = true;
        self.last_told = Some(now);
        true
    }

    /// Ends the row; its length where it has been told of.
    pub(crate) fn recovered(&mut self) -> Option<u64> {
        let failures = std::mem::take(&mut self.failures);
        std::mem::take(&mut self.is_told).then_some(failures)
    }

    /// The level for a failure: loud for the first of its row, `debug` for the others.
    fn level(&mut self, loud: Level) -> Level {
        if self.failed(Instant::now()) {
            loud
        } else {
            Level::Debug
        }
    }
}

pub(crate) fn listening(address: &dyn fmt::Display) {
    write(
        Level::Notice,
        &[("RUPTIME_LISTENER", address)],
        format_args!("listening on {address}"),
    );
}

pub(crate) fn inherited(socket: &dyn fmt::Display) {
    write(
        Level::Info,
        &[("RUPTIME_LISTENER", socket)],
        format_args!("serving {socket}"),
    );
}

pub(crate) fn fatal(reason: &dyn fmt::Display) {
    write(Level::Error, &[], format_args!("{reason}"));
}

pub(crate) fn stopping(why: &str, answered: u64, failed: u64) {
    let fields: [Field<'_>; 2] = [("RUPTIME_ANSWERED", &answered), ("RUPTIME_FAILED", &failed)];
    write(
        Level::Info,
        &fields,
        format_args!("{why}, leaving: answered {answered}, failed {failed}"),
    );
}

pub(crate) fn command_not_found(command: &dyn fmt::Display) {
    write(
        Level::Warning,
        &[("RUPTIME_COMMAND", command)],
        format_args!("{command} is not in PATH; it is looked for again with each request"),
    );
}

pub(crate) fn spawn_failed(latch: &mut Latch, command: &dyn fmt::Display, errno: Errno) {
    let fields: [Field<'_>; 3] = [
        ("MESSAGE_ID", &message_id::SPAWN_FAILED),
        ("RUPTIME_COMMAND", command),
        ("ERRNO", &(errno as i32)),
    ];
    let level = latch.level(Level::Error);
    write(
        level,
        &fields,
        format_args!("cannot start {command}: {}", errno.desc()),
    );
}

pub(crate) fn spawn_recovered(latch: &mut Latch, command: &dyn fmt::Display) {
    if let Some(failures) = latch.recovered() {
        let fields: [Field<'_>; 1] = [("RUPTIME_COMMAND", command)];
        write(
            Level::Notice,
            &fields,
            format_args!("{command} starts again, after {failures} failures"),
        );
    }
}

/// A command ended by itself: `info` where it went well, once `warning` where it did not.
pub(crate) fn ended(
    latch: &mut Latch,
    peer: &dyn fmt::Display,
    pid: Pid,
    ending: Ending,
    took: Duration,
) {
    let level = match ending {
        Ending::Exited(0) => {
            latch.recovered();
            Level::Info
        }
        _ => latch.level(Level::Warning),
    };
    let usec = took.as_micros();
    let fields: [Field<'_>; 5] = [
        ("MESSAGE_ID", &message_id::ANSWERED),
        ("RUPTIME_PEER", peer),
        ("RUPTIME_COMMAND_PID", &pid),
        ("RUPTIME_EXIT_STATUS", &ending.code()),
        ("RUPTIME_DURATION_USEC", &usec),
    ];
    write(
        level,
        &fields,
        format_args!("command {pid} for {peer}: {ending} after {usec} us"),
    );
}

pub(crate) fn timed_out(latch: &mut Latch, peer: &dyn fmt::Display, pid: Pid, after: Duration) {
    let fields: [Field<'_>; 3] = [
        ("MESSAGE_ID", &message_id::TIMED_OUT),
        ("RUPTIME_PEER", peer),
        ("RUPTIME_COMMAND_PID", &pid),
    ];
    let level = latch.level(Level::Warning);
    write(
        level,
        &fields,
        format_args!(
            "command {pid} for {peer} did not end within {} s and is stopped",
            after.as_secs_f64()
        ),
    );
}

pub(crate) fn denied(peer: &dyn fmt::Display) {
    write(
        Level::Info,
        &[("RUPTIME_PEER", peer)],
        format_args!("closed {peer}: not allowed"),
    );
}

pub(crate) fn too_many(peer: &dyn fmt::Display, limit: usize) {
    write(
        Level::Info,
        &[("RUPTIME_PEER", peer)],
        format_args!("closed {peer}: more than {limit} connections at once from its address"),
    );
}

pub(crate) fn accept_failed(latch: &mut Latch, listener: &dyn fmt::Display, errno: Errno) {
    let fields: [Field<'_>; 3] = [
        ("MESSAGE_ID", &message_id::ACCEPT_FAILED),
        ("RUPTIME_LISTENER", listener),
        ("ERRNO", &(errno as i32)),
    ];
    let level = latch.level(Level::Warning);
    write(
        level,
        &fields,
        format_args!("cannot accept on {listener}: {}; trying on", errno.desc()),
    );
}

pub(crate) fn accept_recovered(latch: &mut Latch, listener: &dyn fmt::Display) {
    if let Some(failures) = latch.recovered() {
        let fields: [Field<'_>; 1] = [("RUPTIME_LISTENER", listener)];
        write(
            Level::Notice,
            &fields,
            format_args!("accepting on {listener} again, after {failures} failures"),
        );
    }
}

pub(crate) fn listener_lost(listener: &dyn fmt::Display, errno: Errno) {
    let fields: [Field<'_>; 2] = [("RUPTIME_LISTENER", listener), ("ERRNO", &(errno as i32))];
    write(
        Level::Error,
        &fields,
        format_args!("{listener} is no listener any more: {}", errno.desc()),
    );
}

/// The client went away before anything was done for it.
pub(crate) fn gone_at_once(peer: &dyn fmt::Display) {
    write(
        Level::Debug,
        &[("RUPTIME_PEER", peer)],
        format_args!("{peer} went away before it was served"),
    );
}

/// The client went away before it had its answer, and the command could not write on.
pub(crate) fn client_gone(peer: &dyn fmt::Display, pid: Pid, ending: Ending) {
    let fields: [Field<'_>; 2] = [("RUPTIME_PEER", peer), ("RUPTIME_COMMAND_PID", &pid)];
    write(
        Level::Debug,
        &fields,
        format_args!("{peer} went away before its answer: command {pid}, {ending}"),
    );
}

pub(crate) fn receive_failed(latch: &mut Latch, socket: &dyn fmt::Display, errno: Errno) {
    let fields: [Field<'_>; 2] = [("RUPTIME_LISTENER", socket), ("ERRNO", &(errno as i32))];
    let level = latch.level(Level::Warning);
    write(
        level,
        &fields,
        format_args!("cannot receive on {socket}: {}; trying on", errno.desc()),
    );
}

pub(crate) fn receive_recovered(latch: &mut Latch, socket: &dyn fmt::Display) {
    if let Some(failures) = latch.recovered() {
        let fields: [Field<'_>; 1] = [("RUPTIME_LISTENER", socket)];
        write(
            Level::Notice,
            &fields,
            format_args!("receiving on {socket} again, after {failures} failures"),
        );
    }
}

/// A reply could not be sent. What is wrong with one client is `debug`; what is wrong here (a full
/// queue, no memory, a firewall's rule, no network) is told once.
pub(crate) fn reply_lost(
    latch: &mut Latch,
    socket: &dyn fmt::Display,
    peer: &dyn fmt::Display,
    errno: Errno,
) {
    let ours = [
        Errno::EAGAIN,
        Errno::ENOBUFS,
        Errno::ENOMEM,
        Errno::EPERM,
        Errno::ENETDOWN,
    ]
    .contains(&errno);
    let level = if ours {
        latch.level(Level::Warning)
    } else {
        Level::Debug
    };
    let fields: [Field<'_>; 3] = [
        ("RUPTIME_LISTENER", socket),
        ("RUPTIME_PEER", peer),
        ("ERRNO", &(errno as i32)),
    ];
    write(
        level,
        &fields,
        format_args!("no reply from {socket} to {peer}: {}", errno.desc()),
    );
}

pub(crate) fn unnamed(socket: &dyn fmt::Display) {
    let fields: [Field<'_>; 1] = [("RUPTIME_LISTENER", socket)];
    write(
        Level::Debug,
        &fields,
        format_args!("a client of {socket} has no address to answer to"),
    );
}

pub(crate) fn from_a_server(peer: &dyn fmt::Display) {
    write(
        Level::Debug,
        &[("RUPTIME_PEER", peer)],
        format_args!("not answered {peer}: it is a server's port"),
    );
}

/// A sum, not a record for each: a flood must not become a flood of records.
pub(crate) fn rate_limited(count: u64, example: &dyn fmt::Display) {
    let fields: [Field<'_>; 3] = [
        ("MESSAGE_ID", &message_id::RATE_LIMITED),
        ("RUPTIME_PEER", example),
        ("RUPTIME_COUNT", &count),
    ];
    write(
        Level::Warning,
        &fields,
        format_args!(
            "not answered {count} datagrams beyond --rate-limit, the last from the network of {example}"
        ),
    );
}

pub(crate) fn signals_failed(latch: &mut Latch, errno: Errno) {
    let level = latch.level(Level::Error);
    write(
        level,
        &[("ERRNO", &(errno as i32))],
        format_args!("cannot read signals: {}; trying on", errno.desc()),
    );
}

pub(crate) fn notify_failed(latch: &mut Latch, error: &std::io::Error) {
    let level = latch.level(Level::Warning);
    write(
        level,
        &[],
        format_args!("cannot tell the service manager: {error}"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latch_lets_the_first_through_and_counts_the_rest() {
        let now = Instant::now();
        let mut latch = Latch::default();
        assert_eq!(latch.recovered(), None);
        assert!(latch.failed(now));
        assert!(!latch.failed(now + 9 * QUIET), "a row is told once");
        assert_eq!(latch.recovered(), Some(2));
    }

    #[test]
    fn a_fault_that_comes_and_goes_is_told_once_in_a_while() {
        let now = Instant::now();
        let mut latch = Latch::default();
        let mut told = 0;
        for step in 0..1000 {
            told += u32::from(latch.failed(now + Duration::from_millis(30 * step)));
            latch.recovered();
        }
        assert_eq!(told, 3, "in 30 seconds");
    }
}
