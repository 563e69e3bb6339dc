//! One function per event: values come in, a record goes out, with its level, its fields and the
//! words that an administrator reads. A failure that may repeat is loud once, and then `debug`.

use std::fmt::Display;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::fault::Failure;
use super::{Level, message_id, write};

/// A record: its level, its fields for the journal, its message.
macro_rules! record {
    ($level:expr, [$($field:ident = $value:expr),*], $($message:tt)+) => {
        write(
            $level,
            &[$((stringify!($field), &$value as &dyn Display)),*],
            format_args!($($message)+),
        )
    };
}

pub(crate) fn listening(address: &dyn Display) {
    let level = Level::Notice;
    record!(
        level,
        [RUPTIME_LISTENER = address],
        "listening on {address}"
    );
}

/// One of a host's addresses cannot be had; the others are served.
pub(crate) fn not_listening(listen: &dyn Display, reason: &dyn Display) {
    record!(
        Level::Warning,
        [RUPTIME_LISTENER = listen],
        "--listen {listen}: {reason}; its other addresses are served"
    );
}

pub(crate) fn inherited(socket: &dyn Display) {
    let level = Level::Info;
    record!(level, [RUPTIME_LISTENER = socket], "serving {socket}");
}

pub(crate) fn fatal(reason: &dyn Display) {
    record!(Level::Error, [], "{reason}");
}

pub(crate) fn stopping(why: &str, answered: u64, failed: u64) {
    record!(
        Level::Info,
        [RUPTIME_ANSWERED = answered, RUPTIME_FAILED = failed],
        "{why}, leaving: answered {answered}, failed {failed}"
    );
}

pub(crate) fn command_not_found(command: &dyn Display) {
    record!(
        Level::Warning,
        [RUPTIME_COMMAND = command],
        "{command} is not in PATH; it is looked for again with each request"
    );
}

pub(crate) fn spawn_failed(failure: Failure, command: &dyn Display, reason: &str, errno: Errno) {
    record!(
        failure.level(Level::Error),
        [
            MESSAGE_ID = message_id::SPAWN_FAILED,
            RUPTIME_COMMAND = command,
            ERRNO = errno as i32
        ],
        "cannot start {command}: {reason}"
    );
}

pub(crate) fn spawn_recovered(failures: Option<u64>, command: &dyn Display) {
    if let Some(failures) = failures {
        record!(
            Level::Notice,
            [RUPTIME_COMMAND = command],
            "{command} starts again, after {failures} failures"
        );
    }
}

/// A command ended by itself: well, or with a failure.
pub(crate) fn ended(
    failure: Option<Failure>,
    peer: &dyn Display,
    pid: Pid,
    ending: &dyn Display,
    status: i32,
    took: Duration,
) {
    let usec = took.as_micros();
    record!(
        failure.map_or(Level::Info, |failure| failure.level(Level::Warning)),
        [
            MESSAGE_ID = message_id::ANSWERED,
            RUPTIME_PEER = peer,
            RUPTIME_COMMAND_PID = pid,
            RUPTIME_EXIT_STATUS = status,
            RUPTIME_DURATION_USEC = usec
        ],
        "command {pid} for {peer}: {ending} after {usec} us"
    );
}

pub(crate) fn timed_out(failure: Failure, peer: &dyn Display, pid: Pid, after: Duration) {
    let seconds = after.as_secs_f64();
    record!(
        failure.level(Level::Warning),
        [
            MESSAGE_ID = message_id::TIMED_OUT,
            RUPTIME_PEER = peer,
            RUPTIME_COMMAND_PID = pid
        ],
        "command {pid} for {peer} did not end within {seconds} s and is stopped"
    );
}

/// A command is stopped before its time, because the daemon leaves.
pub(crate) fn cut_short(peer: &dyn Display, pid: Pid) {
    record!(
        Level::Info,
        [RUPTIME_PEER = peer, RUPTIME_COMMAND_PID = pid],
        "command {pid} for {peer} is stopped, as ruptimed is leaving"
    );
}

/// The daemon stops for a signal that no service manager sends.
pub(crate) fn stopped_by(signal: Signal) {
    record!(Level::Notice, [], "{signal}: stopping");
}

pub(crate) fn signal_ignored(signal: Signal) {
    let level = Level::Notice;
    record!(
        level,
        [],
        "{signal} means nothing to ruptimed, and is ignored"
    );
}

/// A command's output is longer than an answer may be.
pub(crate) fn cut(failure: Failure, pid: Pid, most: usize) {
    record!(
        failure.level(Level::Warning),
        [RUPTIME_COMMAND_PID = pid],
        "command {pid} said more than {most} bytes; its answer is cut and it is stopped"
    );
}

pub(crate) fn denied(peer: &dyn Display) {
    record!(
        Level::Info,
        [RUPTIME_PEER = peer],
        "closed {peer}: not allowed"
    );
}

pub(crate) fn too_many(peer: &dyn Display, limit: usize) {
    record!(
        Level::Info,
        [RUPTIME_PEER = peer],
        "closed {peer}: more than {limit} connections at once from its address"
    );
}

pub(crate) fn accept_failed(failure: Failure, listener: &dyn Display, errno: Errno) {
    record!(
        failure.level(Level::Warning),
        [
            MESSAGE_ID = message_id::ACCEPT_FAILED,
            RUPTIME_LISTENER = listener,
            ERRNO = errno as i32
        ],
        "cannot accept on {listener}: {}; retrying",
        errno.desc()
    );
}

pub(crate) fn accept_recovered(failures: Option<u64>, listener: &dyn Display) {
    if let Some(failures) = failures {
        record!(
            Level::Notice,
            [RUPTIME_LISTENER = listener],
            "accepting on {listener} again, after {failures} failures"
        );
    }
}

pub(crate) fn listener_lost(listener: &dyn Display, errno: Errno) {
    record!(
        Level::Error,
        [RUPTIME_LISTENER = listener, ERRNO = errno as i32],
        "{listener} is no listener any more: {}",
        errno.desc()
    );
}

pub(crate) fn datagrams_lost(socket: &dyn Display) {
    record!(
        Level::Error,
        [RUPTIME_LISTENER = socket],
        "{socket} receives nothing any more: another process has shut it down"
    );
}

/// The client went away before anything was done for it.
pub(crate) fn gone_at_once(peer: &dyn Display) {
    let level = Level::Debug;
    record!(
        level,
        [RUPTIME_PEER = peer],
        "{peer} went away before it was served"
    );
}

/// The client went away before it had its answer, and the command could not write on.
pub(crate) fn client_gone(peer: &dyn Display, pid: Pid, ending: &dyn Display) {
    record!(
        Level::Debug,
        [RUPTIME_PEER = peer, RUPTIME_COMMAND_PID = pid],
        "{peer} went away before its answer: command {pid}, {ending}"
    );
}

pub(crate) fn receive_failed(failure: Failure, socket: &dyn Display, errno: Errno) {
    record!(
        failure.level(Level::Warning),
        [RUPTIME_LISTENER = socket, ERRNO = errno as i32],
        "cannot receive on {socket}: {}; retrying",
        errno.desc()
    );
}

pub(crate) fn receive_recovered(failures: Option<u64>, socket: &dyn Display) {
    if let Some(failures) = failures {
        record!(
            Level::Notice,
            [RUPTIME_LISTENER = socket],
            "receiving on {socket} again, after {failures} failures"
        );
    }
}

/// This client could not be answered.
pub(crate) fn reply_lost(peer: &dyn Display, errno: Errno) {
    record!(
        Level::Debug,
        [RUPTIME_PEER = peer, ERRNO = errno as i32],
        "no reply to {peer}: {}",
        errno.desc()
    );
}

/// Nobody can be answered, for a reason on this side.
pub(crate) fn reply_failed(failure: Failure, socket: &str, peer: &dyn Display, errno: Errno) {
    record!(
        failure.level(Level::Warning),
        [
            RUPTIME_LISTENER = socket,
            RUPTIME_PEER = peer,
            ERRNO = errno as i32
        ],
        "no reply from {socket} to {peer}: {}",
        errno.desc()
    );
}

pub(crate) fn unanswerable(socket: &dyn Display, why: &str) {
    record!(
        Level::Debug,
        [RUPTIME_LISTENER = socket],
        "a client of {socket} cannot be answered: {why}"
    );
}

pub(crate) fn from_a_server(peer: &dyn Display) {
    let level = Level::Debug;
    record!(
        level,
        [RUPTIME_PEER = peer],
        "not answered {peer}: it is a server's port"
    );
}

/// A sum, not a record for each: a flood must not become a flood of records.
pub(crate) fn rate_limited(count: u64, example: &dyn Display) {
    record!(
        Level::Warning,
        [
            MESSAGE_ID = message_id::RATE_LIMITED,
            RUPTIME_PEER = example,
            RUPTIME_COUNT = count
        ],
        "datagrams beyond --rate-limit, not answered: {count}, the last from the network of {example}"
    );
}

pub(crate) fn signals_failed(failure: Failure, errno: Errno) {
    record!(
        failure.level(Level::Error),
        [ERRNO = errno as i32],
        "cannot read signals: {}; retrying",
        errno.desc()
    );
}

pub(crate) fn notify_failed(failure: Failure, error: &std::io::Error) {
    let level = failure.level(Level::Warning);
    record!(level, [], "cannot tell the service manager: {error}");
}
