//! The daemon's log records; `events` has one function for each event.
//!
//! Events come in as values; records go out, to the journal with fields of their own where
//! standard error is the journal (systemd.exec(5), `$JOURNAL_STREAM`), else as lines on standard
//! error: with `<N>` priorities (sd-daemon(3)) where that is a socket or /dev/kmsg, whose reader
//! understands them, and without on a terminal, a pipe or a file.
//!
//! A request that went well is `info`, so that a busy daemon writes nothing per request at the
//! default level; a failure that may repeat with every request goes through a [`fault::Fault`]. A record
//! that its reader does not take at once is lost, and counted.

mod events;
pub(crate) mod fault;
mod journal;
pub(crate) mod outlet;

use std::fmt::{self, Write as _};
use std::io::{ErrorKind, Write as _};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::ValueEnum;
use libsystemd::logging::{Priority, SD_JOURNAL_SOCK_PATH};
use nix::sys::stat::{SFlag, fstat};

pub(crate) use self::events::*;
use self::outlet::{Outlet, would_block};

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
    Journal { outlet: Outlet, or_stderr: bool },
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
    let journal = |or_stderr| Sink::Journal {
        outlet: Outlet::new(SD_JOURNAL_SOCK_PATH.into()),
        or_stderr,
    };
    let sink = if journal::is_stderr() {
        journal(true)
    } else if stderr_is_connection {
        match std::fs::exists(SD_JOURNAL_SOCK_PATH) {
            Ok(true) => journal(false),
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

type Field<'a> = (&'static str, &'a dyn fmt::Display);

/// Records that their reader did not take.
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
            format_args!("{lost} records were lost: their reader did not take them"),
        )
    {
        LOST.fetch_add(lost, Ordering::Relaxed);
    }
}

/// Writes one record; false where its reader does not take it, and a write would block.
fn emit(log: &Log, level: Level, fields: &[Field<'_>], message: fmt::Arguments<'_>) -> bool {
    match &log.sink {
        Sink::Nowhere => true,
        Sink::Stderr { priorities } => to_stderr(level, *priorities, message),
        Sink::Journal { outlet, or_stderr } => {
            let record = journal::record(level.priority(), &message.to_string(), fields);
            match outlet.send(&record) {
                Ok(()) => true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                // The journal is being restarted, or the sandbox hides its socket. Standard error
                // is still its stream, and reads priorities.
                Err(_) => *or_stderr && to_stderr(level, true, message),
            }
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
    !would_block(stderr.as_fd()) && stderr.write_all(line.as_bytes()).is_ok()
}
