//! One function per event: values come in, a record goes out, with its level, its fields and the
//! words that an administrator reads. A failure that may repeat is loud once, and then `debug`.

use std::fmt::Display;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::fault::Failure;
use super::{Level, message_id, write};

/// Makes the functions, each from its values, its level, its fields for the journal and its message.
macro_rules! events {
    ($(
        $(#[$comment:meta])*
        $name:ident($($value:ident: $kind:ty),*)
            $level:expr, [$($field:ident = $shown:expr),*],
            ($($message:tt)+);
    )+) => {$(
        $(#[$comment])*
        pub(crate) fn $name($($value: $kind),*) {
            write(
                $level,
                &[$((stringify!($field), &$shown as &dyn Display)),*],
                format_args!($($message)+),
            )
        }
    )+};
}

events! {
    listening(address: &dyn Display)
        Level::Notice, [RUPTIME_LISTENER = address],
        ("listening on {address}");

    /// One of a host's addresses cannot be had; the others are served.
    not_listening(listen: &dyn Display, reason: &dyn Display)
        Level::Warning, [RUPTIME_LISTENER = listen],
        ("--listen {listen}: {reason}; its other addresses are served");

    inherited(socket: &dyn Display)
        Level::Info, [RUPTIME_LISTENER = socket],
        ("serving {socket}");

    fatal(reason: &dyn Display)
        Level::Error, [],
        ("{reason}");

    stopping(why: &str, answered: u64, failed: u64)
        Level::Info, [RUPTIME_ANSWERED = answered, RUPTIME_FAILED = failed],
        ("{why}, leaving: answered {answered}, failed {failed}");

    command_not_found(command: &dyn Display)
        Level::Warning, [RUPTIME_COMMAND = command],
        ("{command} is not in PATH; it is looked for again with each request");

    spawn_failed(failure: Failure, command: &dyn Display, reason: &str, errno: Errno)
        failure.level(Level::Error),
        [
            MESSAGE_ID = message_id::SPAWN_FAILED,
            RUPTIME_COMMAND = command,
            ERRNO = errno as i32
        ],
        ("cannot start {command}: {reason}");

    spawn_recovered(failures: u64, command: &dyn Display)
        Level::Notice, [RUPTIME_COMMAND = command],
        ("{command} starts again, after {failures} failures");

    /// A command ended by itself: well, or with a failure.
    ended(
        failure: Option<Failure>,
        peer: &dyn Display,
        pid: Pid,
        ending: &dyn Display,
        status: i32,
        took: Duration
    )
        failure.map_or(Level::Info, |failure| failure.level(Level::Warning)),
        [
            MESSAGE_ID = message_id::ANSWERED,
            RUPTIME_PEER = peer,
            RUPTIME_COMMAND_PID = pid,
            RUPTIME_EXIT_STATUS = status,
            RUPTIME_DURATION_USEC = took.as_micros()
        ],
        ("command {pid} for {peer}: {ending} after {} us", took.as_micros());

    timed_out(failure: Failure, peer: &dyn Display, pid: Pid, after: Duration)
        failure.level(Level::Warning),
        [
            MESSAGE_ID = message_id::TIMED_OUT,
            RUPTIME_PEER = peer,
            RUPTIME_COMMAND_PID = pid
        ],
        ("command {pid} for {peer} did not end within {} s and is stopped", after.as_secs_f64());

    /// A command is stopped before its time, because the daemon leaves.
    cut_short(peer: &dyn Display, pid: Pid)
        Level::Info, [RUPTIME_PEER = peer, RUPTIME_COMMAND_PID = pid],
        ("command {pid} for {peer} is stopped, as ruptimed is leaving");

    /// The daemon stops for a signal that no service manager sends.
    stopped_by(signal: Signal)
        Level::Notice, [],
        ("{signal}: stopping");

    signal_ignored(signal: Signal)
        Level::Notice, [],
        ("{signal} means nothing to ruptimed, and is ignored");

    /// A command's output is longer than an answer may be.
    cut(failure: Failure, pid: Pid, most: usize)
        failure.level(Level::Warning), [RUPTIME_COMMAND_PID = pid],
        ("command {pid} said more than {most} bytes; its answer is cut and it is stopped");

    denied(peer: &dyn Display)
        Level::Info, [RUPTIME_PEER = peer],
        ("closed {peer}: not allowed");

    too_many(peer: &dyn Display, limit: usize)
        Level::Info, [RUPTIME_PEER = peer],
        ("closed {peer}: more than {limit} connections at once from its address");

    accept_failed(failure: Failure, listener: &dyn Display, errno: Errno)
        failure.level(Level::Warning),
        [
            MESSAGE_ID = message_id::ACCEPT_FAILED,
            RUPTIME_LISTENER = listener,
            ERRNO = errno as i32
        ],
        ("cannot accept on {listener}: {}; retrying", errno.desc());

    accept_recovered(failures: u64, listener: &dyn Display)
        Level::Notice, [RUPTIME_LISTENER = listener],
        ("accepting on {listener} again, after {failures} failures");

    listener_lost(listener: &dyn Display, errno: Errno)
        Level::Error, [RUPTIME_LISTENER = listener, ERRNO = errno as i32],
        ("{listener} is no listener any more: {}", errno.desc());

    datagrams_lost(socket: &dyn Display)
        Level::Error, [RUPTIME_LISTENER = socket],
        ("{socket} receives nothing any more: another process has shut it down");

    /// The client went away before anything was done for it.
    gone_at_once(peer: &dyn Display)
        Level::Debug, [RUPTIME_PEER = peer],
        ("{peer} went away before it was served");

    /// The client went away before it had its answer, and the command could not write on.
    client_gone(peer: &dyn Display, pid: Pid, ending: &dyn Display)
        Level::Debug, [RUPTIME_PEER = peer, RUPTIME_COMMAND_PID = pid],
        ("{peer} went away before its answer: command {pid}, {ending}");

    receive_failed(failure: Failure, socket: &dyn Display, errno: Errno)
        failure.level(Level::Warning), [RUPTIME_LISTENER = socket, ERRNO = errno as i32],
        ("cannot receive on {socket}: {}; retrying", errno.desc());

    receive_recovered(failures: u64, socket: &dyn Display)
        Level::Notice, [RUPTIME_LISTENER = socket],
        ("receiving on {socket} again, after {failures} failures");

    /// This client could not be answered.
    reply_lost(peer: &dyn Display, errno: Errno)
        Level::Debug, [RUPTIME_PEER = peer, ERRNO = errno as i32],
        ("no reply to {peer}: {}", errno.desc());

    /// Nobody can be answered, for a reason on this side.
    reply_failed(failure: Failure, socket: &str, peer: &dyn Display, errno: Errno)
        failure.level(Level::Warning),
        [RUPTIME_LISTENER = socket, RUPTIME_PEER = peer, ERRNO = errno as i32],
        ("no reply from {socket} to {peer}: {}", errno.desc());

    unanswerable(socket: &dyn Display, why: &str)
        Level::Debug, [RUPTIME_LISTENER = socket],
        ("a client of {socket} cannot be answered: {why}");

    from_a_server(peer: &dyn Display)
        Level::Debug, [RUPTIME_PEER = peer],
        ("not answered {peer}: it is a server's port");

    /// A sum, not a record for each: a flood must not become a flood of records.
    rate_limited(count: u64, example: &dyn Display)
        Level::Warning,
        [
            MESSAGE_ID = message_id::RATE_LIMITED,
            RUPTIME_PEER = example,
            RUPTIME_COUNT = count
        ],
        ("datagrams beyond --rate-limit, not answered: {count}, the last from the network of {example}");

    signals_failed(failure: Failure, errno: Errno)
        failure.level(Level::Error), [ERRNO = errno as i32],
        ("cannot read signals: {}; retrying", errno.desc());

    notify_failed(failure: Failure, error: &std::io::Error)
        failure.level(Level::Warning), [],
        ("cannot tell the service manager: {error}");
}
