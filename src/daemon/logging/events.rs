//! One function per event: values come in, a record goes out, with its level, its fields and the
//! words that an administrator reads.

use std::fmt;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::fault::Failure;
use super::{Field, Level, message_id, write};

pub(crate) fn listening(address: &dyn fmt::Display) {
    write(
        Level::Notice,
        &[("RUPTIME_LISTENER", address)],
        format_args!("listening on {address}"),
    );
}

/// One of a host's addresses cannot be had; the others are served.
pub(crate) fn not_listening(listen: &dyn fmt::Display, reason: &dyn fmt::Display) {
    write(
        Level::Warning,
        &[("RUPTIME_LISTENER", listen)],
        format_args!("--listen {listen}: {reason}; its other addresses are served"),
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

pub(crate) fn spawn_failed(
    failure: Failure,
    command: &dyn fmt::Display,
    reason: &str,
    errno: Errno,
) {
    let fields: [Field<'_>; 3] = [
        ("MESSAGE_ID", &message_id::SPAWN_FAILED),
        ("RUPTIME_COMMAND", command),
        ("ERRNO", &(errno as i32)),
    ];
    let level = failure.level(Level::Error);
    write(
        level,
        &fields,
        format_args!("cannot start {command}: {reason}"),
    );
}

pub(crate) fn spawn_recovered(failures: Option<u64>, command: &dyn fmt::Display) {
    if let Some(failures) = failures {
        let fields: [Field<'_>; 1] = [("RUPTIME_COMMAND", command)];
        write(
            Level::Notice,
            &fields,
            format_args!("{command} starts again, after {failures} failures"),
        );
    }
}

/// A command ended by itself: well, or with a failure.
pub(crate) fn ended(
    failure: Option<Failure>,
    peer: &dyn fmt::Display,
    pid: Pid,
    ending: &dyn fmt::Display,
    status: i32,
    took: Duration,
) {
    let level = failure.map_or(Level::Info, |failure| failure.level(Level::Warning));
    let usec = took.as_micros();
    let fields: [Field<'_>; 5] = [
        ("MESSAGE_ID", &message_id::ANSWERED),
        ("RUPTIME_PEER", peer),
        ("RUPTIME_COMMAND_PID", &pid),
        ("RUPTIME_EXIT_STATUS", &status),
        ("RUPTIME_DURATION_USEC", &usec),
    ];
    write(
        level,
        &fields,
        format_args!("command {pid} for {peer}: {ending} after {usec} us"),
    );
}

pub(crate) fn timed_out(failure: Failure, peer: &dyn fmt::Display, pid: Pid, after: Duration) {
    let fields: [Field<'_>; 3] = [
        ("MESSAGE_ID", &message_id::TIMED_OUT),
        ("RUPTIME_PEER", peer),
        ("RUPTIME_COMMAND_PID", &pid),
    ];
    let level = failure.level(Level::Warning);
    write(
        level,
        &fields,
        format_args!(
            "command {pid} for {peer} did not end within {} s and is stopped",
            after.as_secs_f64()
        ),
    );
}

/// A command is stopped before its time, because the daemon leaves.
pub(crate) fn cut_short(peer: &dyn fmt::Display, pid: Pid) {
    let fields: [Field<'_>; 2] = [("RUPTIME_PEER", peer), ("RUPTIME_COMMAND_PID", &pid)];
    write(
        Level::Info,
        &fields,
        format_args!("command {pid} for {peer} is stopped, as ruptimed is leaving"),
    );
}

/// The daemon stops for a signal that no service manager sends.
pub(crate) fn stopped_by(signal: Signal) {
    write(Level::Notice, &[], format_args!("{signal}: stopping"));
}

pub(crate) fn signal_ignored(signal: Signal) {
    write(
        Level::Notice,
        &[],
        format_args!("{signal} means nothing to ruptimed, and is ignored"),
    );
}

/// A command said more than an answer may have.
pub(crate) fn cut(failure: Failure, pid: Pid, most: usize) {
    let level = failure.level(Level::Warning);
    write(
        level,
        &[("RUPTIME_COMMAND_PID", &pid)],
        format_args!(
            "command {pid} said more than {most} bytes; its answer is cut and it is stopped"
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

pub(crate) fn accept_failed(failure: Failure, listener: &dyn fmt::Display, errno: Errno) {
    let fields: [Field<'_>; 3] = [
        ("MESSAGE_ID", &message_id::ACCEPT_FAILED),
        ("RUPTIME_LISTENER", listener),
        ("ERRNO", &(errno as i32)),
    ];
    let level = failure.level(Level::Warning);
    write(
        level,
        &fields,
        format_args!("cannot accept on {listener}: {}; trying on", errno.desc()),
    );
}

pub(crate) fn accept_recovered(failures: Option<u64>, listener: &dyn fmt::Display) {
    if let Some(failures) = failures {
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

pub(crate) fn datagrams_lost(socket: &dyn fmt::Display) {
    write(
        Level::Error,
        &[("RUPTIME_LISTENER", socket)],
        format_args!("{socket} receives nothing any more: somebody has shut it down"),
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
pub(crate) fn client_gone(peer: &dyn fmt::Display, pid: Pid, ending: &dyn fmt::Display) {
    let fields: [Field<'_>; 2] = [("RUPTIME_PEER", peer), ("RUPTIME_COMMAND_PID", &pid)];
    write(
        Level::Debug,
        &fields,
        format_args!("{peer} went away before its answer: command {pid}, {ending}"),
    );
}

pub(crate) fn receive_failed(failure: Failure, socket: &dyn fmt::Display, errno: Errno) {
    let fields: [Field<'_>; 2] = [("RUPTIME_LISTENER", socket), ("ERRNO", &(errno as i32))];
    let level = failure.level(Level::Warning);
    write(
        level,
        &fields,
        format_args!("cannot receive on {socket}: {}; trying on", errno.desc()),
    );
}

pub(crate) fn receive_recovered(failures: Option<u64>, socket: &dyn fmt::Display) {
    if let Some(failures) = failures {
        let fields: [Field<'_>; 1] = [("RUPTIME_LISTENER", socket)];
        write(
            Level::Notice,
            &fields,
            format_args!("receiving on {socket} again, after {failures} failures"),
        );
    }
}

/// This client could not be answered.
pub(crate) fn reply_lost(peer: &dyn fmt::Display, errno: Errno) {
    let fields: [Field<'_>; 2] = [("RUPTIME_PEER", peer), ("ERRNO", &(errno as i32))];
    write(
        Level::Debug,
        &fields,
        format_args!("no reply to {peer}: {}", errno.desc()),
    );
}

/// Nobody can be answered, for a reason on this side.
pub(crate) fn reply_failed(
    failure: Failure,
    socket: &dyn fmt::Display,
    peer: &dyn fmt::Display,
    errno: Errno,
) {
    let fields: [Field<'_>; 3] = [
        ("RUPTIME_LISTENER", socket),
        ("RUPTIME_PEER", peer),
        ("ERRNO", &(errno as i32)),
    ];
    let level = failure.level(Level::Warning);
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
            "datagrams beyond --rate-limit, not answered: {count}, the last from the network of {example}"
        ),
    );
}

pub(crate) fn signals_failed(failure: Failure, errno: Errno) {
    let level = failure.level(Level::Error);
    write(
        level,
        &[("ERRNO", &(errno as i32))],
        format_args!("cannot read signals: {}; trying on", errno.desc()),
    );
}

pub(crate) fn notify_failed(failure: Failure, error: &std::io::Error) {
    let level = failure.level(Level::Warning);
    write(
        level,
        &[],
        format_args!("cannot tell the service manager: {error}"),
    );
}
