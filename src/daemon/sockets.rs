//! Where the sockets come from, and what each of them is.
//!
//! Options, the environment and standard input come in; classified [`Socket`]s go out, or one
//! sentence that names what is wrong. A descriptor is classified by what it *is* (its domain,
//! its type, SO_ACCEPTCONN; see socket(7)), not by what anybody says it is, and a wrong one is
//! refused before the service manager hears READY=1.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::io::stdin;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use listenfd::ListenFd;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getpeername, getsockname, getsockopt,
    sockopt,
};
use nix::sys::stat::fstat;

use super::listen;
use super::options::Options;

/// The first descriptor that a service manager passes (sd_listen_fds(3)).
const LISTEN_FDS_START: usize = 3;

/// What a socket is to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A listening stream or seqpacket socket: connections come out of it.
    Listener,
    /// One connection (Accept=yes, inetd's nowait): served, and then the process ends.
    Connection,
    /// A datagram socket: requests come out of it, replies go in.
    Datagram,
}

/// A socket, classified.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    pub(crate) kind: Kind,
    pub(crate) family: AddressFamily,
    /// Its address and kind, for people.
    pub(crate) name: String,
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The sockets, and whether this process bound them itself.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) sockets: Vec<Socket>,
    /// Paths of UNIX sockets to remove in the end: those that this process has bound.
    pub(crate) bound_paths: Vec<listen::BoundPath>,
    pub(crate) inherited: bool,
}

/// Why there are no sockets to serve.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Nobody handed over a socket: the daemon was started the wrong way.
    Usage(String),
    /// A socket that was handed over, or asked for, cannot be served.
    Failed(String),
}

/// Finds the sockets: `--listen`, `--inetd`, `LISTEN_FDS`, standard input, in this order.
///
/// # Errors
/// One sentence that names the option, the variable or the descriptor, and what to do.
pub(crate) fn acquire(options: &Options) -> Result<Sockets, Refused> {
    if !options.listen.is_empty() {
        return listen::bind_all(&options.listen).map_err(Refused::Failed);
    }
    if options.inetd {
        return from_stdin()?.ok_or_else(|| {
            Refused::Usage(
                "--inetd: standard input is not a socket; start ruptimed from inetd, xinetd, socat or a unit with StandardInput=socket"
                    .to_owned(),
            )
        });
    }
    let why_not = match from_environment().map_err(Refused::Failed)? {
        Inherited::Sockets(sockets) => return Ok(sockets),
        Inherited::None(why_not) => why_not,
    };
    if let Some(sockets) = from_stdin()? {
        return Ok(sockets);
    }
    Err(Refused::Usage(format!(
        "no socket to serve ({why_not}): enable ruptime.socket, or give --listen ADDR"
    )))
}

fn inherited(sockets: Vec<Socket>) -> Result<Sockets, String> {
    refuse_doubles(&sockets)?;
    Ok(Sockets {
        sockets,
        bound_paths: Vec::new(),
        inherited: true,
    })
}

fn from_stdin() -> Result<Option<Sockets>, Refused> {
    let stdin = stdin();
    match getsockopt(&stdin.as_fd(), sockopt::SockType) {
        Err(Errno::ENOTSOCK | Errno::EBADF) => return Ok(None),
        Err(errno) => return Err(Refused::Failed(format!("standard input: {}", errno.desc()))),
        Ok(_) => {}
    }
    let fd = stdin
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| Refused::Failed(format!("standard input: {error}")))?;
    classify(fd, "standard input")
        .and_then(|socket| inherited(vec![socket]))
        .map(Some)
        .map_err(Refused::Failed)
}

enum Inherited {
    Sockets(Sockets),
    /// Nothing was passed to this process; why, for the error message.
    None(String),
}

/// Takes what the service manager passed (sd_listen_fds(3)). The count is checked before
/// listenfd sees it, since listenfd makes a list of that length.
fn from_environment() -> Result<Inherited, String> {
    let count = match listen_fds(
        std::env::var_os("LISTEN_FDS"),
        std::env::var_os("LISTEN_PID"),
        std::process::id(),
    )? {
        ListenFds::Passed(count) => count,
        ListenFds::None(why_not) => return Ok(Inherited::None(why_not)),
    };
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    if (count as u64).saturating_add(LISTEN_FDS_START as u64) > limit {
        return Err(format!(
            "LISTEN_FDS={count} cannot be true: this process may have {limit} descriptors"
        ));
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|_| !names.is_empty());
    let mut manager = ListenFd::from_env();
    let mut sockets = Vec::with_capacity(count);
    for index in 0..count {
        let label = match names.next() {
            Some(name) => format!(
                "fd {} (\"{}\")",
                index + LISTEN_FDS_START,
                name.escape_debug()
            ),
            None => format!("fd {}", index + LISTEN_FDS_START),
        };
        let fd = take(&mut manager, index, &label)?;
        sockets.push(classify(fd, &label)?);
    }
    inherited(sockets).map(Inherited::Sockets)
}

#[derive(Debug, PartialEq)]
enum ListenFds {
    Passed(usize),
    None(String),
}

/// Reads LISTEN_FDS and LISTEN_PID as sd_listen_fds(3) does: a missing or foreign LISTEN_PID
/// means that the descriptors are not for this process.
fn listen_fds(fds: Option<OsString>, pid: Option<OsString>, own: u32) -> Result<ListenFds, String> {
    let Some(fds) = fds else {
        return Ok(ListenFds::None("LISTEN_FDS is not set".to_owned()));
    };
    let fds = fds.to_string_lossy();
    let count: usize = match fds.parse() {
        Ok(0) => return Ok(ListenFds::None("LISTEN_FDS is 0".to_owned())),
        Ok(count) => count,
        Err(_) => {
            return Err(format!(
                "LISTEN_FDS={} is not a number of descriptors",
                fds.escape_debug()
            ));
        }
    };
    let Some(pid) = pid else {
        return Ok(ListenFds::None(format!(
            "LISTEN_FDS is {count}, but LISTEN_PID is not set, so they are not for this process"
        )));
    };
    let pid = pid.to_string_lossy();
    match pid.parse::<u32>() {
        Ok(pid) if pid == own => Ok(ListenFds::Passed(count)),
        Ok(pid) => Ok(ListenFds::None(format!(
            "LISTEN_PID is {pid} and this process is {own}, so LISTEN_FDS is for another"
        ))),
        Err(_) => Err(format!(
            "LISTEN_PID={} is not a process number",
            pid.escape_debug()
        )),
    }
}

/// Takes one descriptor out of listenfd, close-on-exec, as any kind of socket that is served
/// here. listenfd counts an IPv6 socket as IPv4.
fn take(manager: &mut ListenFd, index: usize, label: &str) -> Result<OwnedFd, String> {
    const SERVED: [(AddressFamily, SockType); 6] = [
        (AddressFamily::Inet, SockType::Stream),
        (AddressFamily::Unix, SockType::Stream),
        (AddressFamily::Inet, SockType::Datagram),
        (AddressFamily::Unix, SockType::SeqPacket),
        (AddressFamily::Unix, SockType::Datagram),
        (AddressFamily::Vsock, SockType::Stream),
    ];
    for (family, kind) in SERVED {
        match manager.take_custom::<OwnedFd>(index, family as i32, kind as i32, "socket") {
            Ok(Some(fd)) => return Ok(fd),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    Err(format!("{label} {}", what_it_is(index + LISTEN_FDS_START)))
}

/// Says what a descriptor that is not served is, as far as /proc (proc(5)) tells.
fn what_it_is(number: usize) -> String {
    match std::fs::read_link(format!("/proc/self/fd/{number}")) {
        Ok(target) => {
            let target = target.to_string_lossy();
            if target.starts_with("socket:") {
                "is a socket of a kind that is not served here; TCP, UDP, UNIX and vsock sockets are".to_owned()
            } else if target.starts_with("pipe:") {
                "is a pipe, not a socket".to_owned()
            } else {
                format!("is not a socket but {}", target.escape_debug())
            }
        }
        Err(_) => "is not open".to_owned(),
    }
}

/// Finds out what a socket is, and makes it fit for the loop: a listener or a datagram socket
/// becomes non-blocking, a connection blocking, because `O_NONBLOCK` belongs to the open file
/// description that the command will write to.
///
/// # Errors
/// One sentence that begins with `label`.
pub(crate) fn classify(fd: OwnedFd, label: &str) -> Result<Socket, String> {
    let failed = |errno: Errno| match errno {
        Errno::ENOTSOCK => format!("{label} is not a socket"),
        errno => format!("{label}: {}", errno.desc()),
    };
    let kind = getsockopt(&fd, sockopt::SockType).map_err(failed)?;
    let local = getsockname::<SockaddrStorage>(fd.as_raw_fd()).map_err(failed)?;
    let family = local.family().unwrap_or(AddressFamily::Unspec);
    let (role, noun) = match (family, kind) {
        (AddressFamily::Inet | AddressFamily::Inet6, SockType::Stream) => {
            (stream_role(&fd, &local, label)?, "TCP")
        }
        (AddressFamily::Unix, SockType::Stream) => {
            (stream_role(&fd, &local, label)?, "UNIX stream")
        }
        (AddressFamily::Unix, SockType::SeqPacket) => {
            (stream_role(&fd, &local, label)?, "UNIX seqpacket")
        }
        (AddressFamily::Vsock, SockType::Stream) => (stream_role(&fd, &local, label)?, "vsock"),
        (AddressFamily::Inet | AddressFamily::Inet6, SockType::Datagram) => (Kind::Datagram, "UDP"),
        (AddressFamily::Unix, SockType::Datagram) => (Kind::Datagram, "UNIX datagram"),
        (family, kind) => {
            return Err(format!(
                "{label} is a socket of a kind that is not served here ({family:?}, {kind:?}); TCP, UDP, UNIX and vsock sockets are"
            ));
        }
    };
    set_nonblocking(fd.as_fd(), role != Kind::Connection).map_err(failed)?;
    let name = format!("{} ({noun})", address_text(&local));
    Ok(Socket {
        fd,
        kind: role,
        family,
        name,
    })
}

/// Tells a listener from a connection. A TCP connection whose client has reset it before we
/// came is a connection still (Accept=yes hands those over too): it has a local port.
fn stream_role(fd: &OwnedFd, local: &SockaddrStorage, label: &str) -> Result<Kind, String> {
    match getsockopt(fd, sockopt::AcceptConn) {
        Ok(true) => return Ok(Kind::Listener),
        Ok(false) => {}
        Err(errno) => return Err(format!("{label}: {}", errno.desc())),
    }
    let had_a_peer = || {
        let v4 = local.as_sockaddr_in().map(|a| a.port());
        let v6 = local.as_sockaddr_in6().map(|a| a.port());
        v4.or(v6).is_some_and(|port| port != 0)
    };
    match getpeername::<SockaddrStorage>(fd.as_raw_fd()) {
        Ok(_) => Ok(Kind::Connection),
        Err(Errno::ENOTCONN) if had_a_peer() => Ok(Kind::Connection),
        Err(Errno::ENOTCONN) => Err(format!(
            "{label} is a stream socket that neither listens nor is connected"
        )),
        Err(errno) => Err(format!("{label}: {}", errno.desc())),
    }
}

pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    let mut wanted = flags;
    wanted.set(OFlag::O_NONBLOCK, on);
    if wanted != flags {
        fcntl(fd, FcntlArg::F_SETFL(wanted))?;
    }
    Ok(())
}

/// An address as people write it.
pub(crate) fn address_text(address: &SockaddrStorage) -> String {
    if let Some(unix) = address.as_unix_addr() {
        return match (unix.path(), unix.as_abstract()) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(name)) => format!("@{}", name.escape_ascii()),
            (None, None) => "unnamed".to_owned(),
        };
    }
    if let Some(vsock) = address.as_vsock_addr() {
        return format!("vsock:{}", vsock.port());
    }
    address.to_string()
}

/// The same socket twice would take its connections twice, and count them twice.
fn refuse_doubles(sockets: &[Socket]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for socket in sockets {
        let stat = fstat(&socket.fd).map_err(|errno| format!("{socket}: {}", errno.desc()))?;
        if !seen.insert((stat.st_dev, stat.st_ino)) {
            return Err(format!(
                "{socket} was passed twice; each socket once, please"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    fn env(text: &str) -> Option<OsString> {
        Some(text.into())
    }

    #[test]
    fn listen_fds_is_read_as_sd_listen_fds_reads_it() {
        assert_eq!(listen_fds(env("2"), env("7"), 7), Ok(ListenFds::Passed(2)));
        for (fds, pid) in [
            (None, None),
            (None, env("7")),
            (env("0"), env("7")),
            (env("2"), None),
            (env("2"), env("8")),
        ] {
            assert!(
                matches!(
                    listen_fds(fds.clone(), pid.clone(), 7),
                    Ok(ListenFds::None(_))
                ),
                "{fds:?} {pid:?}"
            );
        }
        for (fds, pid) in [
            ("two", "7"),
            ("-1", "7"),
            ("", "7"),
            ("99999999999999999999999", "7"),
            ("1", "me"),
        ] {
            assert!(listen_fds(env(fds), env(pid), 7).is_err(), "{fds} {pid}");
        }
    }

    #[test]
    fn each_socket_is_what_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let near = TcpStream::connect(address).expect("a connection");
        let (unix, _far) = UnixStream::pair().expect("a pair");
        let udp = UdpSocket::bind("[::1]:0").expect("a port");
        for (fd, kind) in [
            (OwnedFd::from(listener), Kind::Listener),
            (near.into(), Kind::Connection),
            (unix.into(), Kind::Connection),
            (udp.into(), Kind::Datagram),
            (
                UnixDatagram::unbound().expect("a socket").into(),
                Kind::Datagram,
            ),
        ] {
            let socket = classify(fd, "it").expect("served");
            assert_eq!(socket.kind, kind, "{socket}");
            let flags =
                OFlag::from_bits_retain(fcntl(&socket.fd, FcntlArg::F_GETFL).expect("flags"));
            assert_eq!(
                flags.contains(OFlag::O_NONBLOCK),
                kind != Kind::Connection,
                "{socket}"
            );
        }
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        let file = std::fs::File::open("/dev/null").expect("/dev/null");
        assert_eq!(
            classify(file.into(), "fd 9").expect_err("a file"),
            "fd 9 is not a socket"
        );
        let fresh = nix::sys::socket::socket(
            AddressFamily::Inet,
            SockType::Stream,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        )
        .expect("a socket");
        assert!(
            classify(fresh, "fd 9")
                .expect_err("not listening")
                .contains("neither listens")
        );
    }

    #[test]
    fn a_socket_passed_twice_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let twin = listener.try_clone().expect("a twin");
        let sockets = [
            classify(listener.into(), "fd 3").expect("served"),
            classify(twin.into(), "fd 4").expect("served"),
        ];
        assert!(
            refuse_doubles(&sockets)
                .expect_err("twice")
                .contains("twice")
        );
    }
}
