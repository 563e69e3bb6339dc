//! The table: each system call that the daemon makes while it serves, with each errno that its
//! manual page names and that a running system can give for it.
//!
//! Calls that cannot fail as they are made (close-on-exec flags of an open descriptor, the
//! monotonic clock) and errnos that only a wrong argument gives (EFAULT) are left out. EINTR and
//! EAGAIN are transient by their nature, so they are never injected for ever, except where a
//! signal may come again and again (epoll_wait) or a listener may have been emptied by somebody.

use super::service::Mode::{self, Capture, Datagram, Exec};

/// What becomes of a client that asks while the call fails each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    /// It is answered all the same.
    Served,
    /// It waits, and is answered when the fault is over.
    Waits,
    /// It hears `error: …`.
    Refused,
    /// It gets nothing, at once or never; it has to ask again.
    Lost,
    /// Not tried: this fault is transient by its nature.
    Never,
}
use Meanwhile::{Lost, Never, Refused, Served, Waits};

/// Rows that differ only in the errno.
pub(crate) struct Rows {
    pub(crate) mode: Mode,
    pub(crate) options: &'static [&'static str],
    /// As strace's `--trace` takes it.
    pub(crate) call: &'static str,
    pub(crate) errnos: &'static [&'static str],
    /// What is told, once; "" for a fault that concerns one client only.
    pub(crate) says: &'static str,
    pub(crate) meanwhile: Meanwhile,
}

const fn rows(
    mode: Mode,
    call: &'static str,
    errnos: &'static [&'static str],
    says: &'static str,
    meanwhile: Meanwhile,
) -> Rows {
    Rows {
        mode,
        options: &[],
        call,
        errnos,
        says,
        meanwhile,
    }
}

impl Rows {
    const fn with(mut self, options: &'static [&'static str]) -> Self {
        self.options = options;
        self
    }
}

/// The machine or the process has run out of something.
const SHORTAGE: &[&str] = &["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"];
/// Network errors of a connection that accept(2) passes on, and a firewall's word.
const OF_ONE_CLIENT: &[&str] = &[
    "ECONNABORTED",
    "EPROTO",
    "EPERM",
    "ENETDOWN",
    "ENOPROTOOPT",
    "EHOSTDOWN",
    "ENONET",
    "EHOSTUNREACH",
    "EOPNOTSUPP",
    "ENETUNREACH",
    "ETIMEDOUT",
];
const WAIT: &str = "?epoll_wait,?epoll_pwait";
/// posix_spawn(3): clone3, or clone where that is not there, and the stack that it maps.
const SPAWN: &str = "?clone3,clone,?vfork";

pub(crate) const TABLE: &[Rows] = &[
    // accept4(2)
    rows(Exec, "accept4", SHORTAGE, "cannot accept", Waits),
    rows(Capture, "accept4", SHORTAGE, "cannot accept", Waits),
    rows(Exec, "accept4", OF_ONE_CLIENT, "cannot accept", Waits),
    rows(
        Exec,
        "accept4",
        &["EACCES", "ENOSR"],
        "cannot accept",
        Waits,
    ),
    rows(Exec, "accept4", &["EINTR", "EAGAIN"], "", Never),
    // epoll_wait(2), and epoll_ctl(2) for the pipe of a run; for a listener see listeners.rs.
    rows(Exec, WAIT, &["EINTR"], "", Waits),
    rows(Capture, WAIT, &["EINTR"], "", Waits),
    rows(Datagram, WAIT, &["EINTR"], "", Waits),
    rows(
        Capture,
        "epoll_ctl",
        &["ENOMEM", "ENOSPC"],
        "cannot start",
        Refused,
    ),
    rows(
        Datagram,
        "epoll_ctl",
        &["ENOMEM", "ENOSPC"],
        "cannot start",
        Refused,
    ),
    // posix_spawn(3): clone(2), mmap(2)
    rows(
        Exec,
        SPAWN,
        &["EAGAIN", "ENOMEM", "EPERM", "ENOSPC"],
        "cannot start",
        Refused,
    ),
    rows(
        Capture,
        SPAWN,
        &["EAGAIN", "ENOMEM"],
        "cannot start",
        Refused,
    ),
    rows(
        Datagram,
        SPAWN,
        &["EAGAIN", "ENOMEM"],
        "cannot start",
        Refused,
    ),
    rows(Exec, "?clone3", &["ENOSYS"], "", Served),
    rows(Exec, "mmap", &["ENOMEM", "EAGAIN"], "cannot start", Refused),
    // The pipe of a shared run: pipe2(2), fcntl(2)
    rows(
        Capture,
        "pipe2",
        &["EMFILE", "ENFILE"],
        "cannot start",
        Refused,
    ),
    rows(
        Datagram,
        "pipe2",
        &["EMFILE", "ENFILE"],
        "cannot start",
        Refused,
    ),
    // The signal descriptor, and the pipe: read(2)
    rows(Exec, "read", &["EINTR"], "", Never),
    rows(
        Exec,
        "read",
        &["EIO", "EINVAL", "ENOMEM"],
        "cannot read signals",
        Served,
    ),
    rows(Capture, "read", &["EINTR"], "", Never),
    // The commands' ends: waitid(2), wait4(2)
    rows(Exec, "waitid", &["EINTR", "EINVAL"], "", Never),
    // The end of a connection: sendto(2), shutdown(2), recvfrom(2)
    rows(Capture, "sendto", &["EINTR", "EAGAIN"], "", Never),
    rows(
        Capture,
        "sendto",
        &["ECONNRESET", "EPIPE", "ENOBUFS", "ENOMEM", "ETIMEDOUT"],
        "",
        Lost,
    ),
    rows(Exec, "shutdown", &["ENOTCONN", "ENOBUFS"], "", Served),
    rows(Exec, "recvfrom", &["EINTR", "EAGAIN"], "", Never),
    rows(
        Exec,
        "recvfrom",
        &["ECONNRESET", "ENOMEM", "ENOTCONN", "ETIMEDOUT"],
        "",
        Served,
    ),
    rows(Exec, "close", &["EIO", "EINTR"], "", Never),
    // Datagrams: recvmsg(2), sendmsg(2)
    rows(Datagram, "recvmsg", &["EINTR", "EAGAIN"], "", Never),
    rows(
        Datagram,
        "recvmsg",
        &["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH"],
        "cannot receive",
        Waits,
    ),
    rows(
        Datagram,
        "recvmsg",
        &["ENOMEM", "ENOBUFS", "ENETDOWN", "EIO"],
        "cannot receive",
        Waits,
    ),
    rows(Datagram, "sendmsg", &["EINTR", "EAGAIN"], "", Never),
    rows(
        Datagram,
        "sendmsg",
        &[
            "ECONNREFUSED",
            "EHOSTUNREACH",
            "ENETUNREACH",
            "EINVAL",
            "EACCES",
            "EMSGSIZE",
        ],
        "",
        Lost,
    ),
    rows(
        Datagram,
        "sendmsg",
        &["ENOBUFS", "ENOMEM", "EPERM", "ENETDOWN"],
        "no reply from",
        Lost,
    ),
    // Who it is: getpeername(2). Who cannot be told is not let in.
    rows(Exec, "getpeername", &["ENOBUFS", "ENOTCONN"], "", Lost).with(&["--allow", "127.0.0.0/8"]),
];

/// Calls that are made before the service manager hears READY=1, and without which there is no
/// service: the daemon leaves with one line that names the trouble.
pub(crate) struct AtStart {
    pub(crate) call: &'static str,
    pub(crate) errno: &'static str,
    /// Only for this file.
    pub(crate) path: Option<&'static str>,
    pub(crate) listen: &'static str,
    pub(crate) says: &'static str,
}

const fn at_start(
    call: &'static str,
    errno: &'static str,
    listen: &'static str,
    says: &'static str,
) -> AtStart {
    AtStart {
        call,
        errno,
        path: None,
        listen,
        says,
    }
}

const TCP: &str = "127.0.0.1:0";
const UDP: &str = "udp:127.0.0.1:0";

pub(crate) const AT_START: &[AtStart] = &[
    at_start("socket", "EMFILE", TCP, "--listen 127.0.0.1:0: "),
    at_start("socket", "ENFILE", TCP, "--listen 127.0.0.1:0: "),
    at_start("socket", "EACCES", TCP, "--listen 127.0.0.1:0: "),
    at_start("socket", "EAFNOSUPPORT", UDP, "--listen udp:127.0.0.1:0: "),
    at_start("bind", "EADDRINUSE", TCP, "is in use by another process"),
    at_start("bind", "EACCES", TCP, "needs a privilege"),
    at_start("bind", "EADDRNOTAVAIL", UDP, "--listen udp:127.0.0.1:0: "),
    at_start("listen", "EADDRINUSE", TCP, "is in use by another process"),
    at_start("getsockname", "ENOBUFS", TCP, "No buffer space"),
    at_start("fcntl", "EPERM", TCP, "Operation not permitted"),
    at_start("epoll_create1", "EMFILE", TCP, "epoll_create1: "),
    at_start("epoll_create1", "ENFILE", TCP, "epoll_create1: "),
    at_start("epoll_create1", "ENOMEM", TCP, "epoll_create1: "),
    at_start("signalfd4", "EMFILE", TCP, "signalfd: "),
    at_start("signalfd4", "ENOMEM", TCP, "signalfd: "),
    at_start("signalfd4", "ENODEV", TCP, "signalfd: "),
    at_start("epoll_ctl", "ENOMEM", TCP, "epoll_ctl: "),
    at_start("epoll_ctl", "ENOSPC", TCP, "epoll_ctl: "),
    at_start("?dup2,?dup3", "EBUSY", TCP, "/dev/null: "),
    AtStart {
        path: Some("/dev/null"),
        ..at_start("openat", "EMFILE", TCP, "/dev/null: ")
    },
    AtStart {
        path: Some("/dev/null"),
        ..at_start("openat", "EACCES", TCP, "/dev/null: ")
    },
];
