//! Where the sockets come from: the command line, the environment and standard input come in,
//! classified sockets go out, or one sentence that names what is wrong.
//!
//! A wrong descriptor is refused before the service manager hears READY=1.

use std::collections::HashSet;
use std::env::var_os;
use std::ffi::OsString;
use std::io::stdin;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use listenfd::ListenFd;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrStorage, getsockname, getsockopt, sockopt,
};
use nix::sys::stat::fstat;

use crate::daemon::signals;
use crate::daemon::sockets::address::ListenAddr;
use crate::daemon::sockets::bind;
use crate::daemon::sockets::unix::Access;
use crate::daemon::sockets::{NOT_SERVED, Socket, Sockets, classify};
use crate::daemon::sys::{self, failed};

/// The first descriptor that a service manager passes (sd_listen_fds(3)).
const LISTEN_FDS_START: usize = 3;

/// Why there are no sockets to serve.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nobody handed over a socket: the daemon was started the wrong way.
    Usage(String),
    /// A socket that was handed over, or asked for, cannot be served.
    Failed(String),
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Refused::Failed(reason)
    }
}

/// Finds the sockets: `--listen`, `--inetd`, `LISTEN_FDS`, standard input, in this order.
///
/// # Errors
/// One sentence that names the option, the variable or the descriptor, and what to do.
pub(crate) fn acquire(
    listen: &[ListenAddr],
    access: Access,
    inetd: bool,
) -> Result<Sockets, Refused> {
    let own_pid = std::process::id();
    let passed = listen_fds(var_os("LISTEN_FDS"), var_os("LISTEN_PID"), own_pid);
    let is_awaited = listen.is_empty() && !inetd;
    let count = passed.as_ref().ok().filter(|_| is_awaited);
    // Nothing of ours is open yet: what else there is the launcher forgot, and a command would
    // inherit it.
    sys::close_from(LISTEN_FDS_START.saturating_add(*count.unwrap_or(&0)));
    if !listen.is_empty() {
        let resolved = bind::resolve(listen)?;
        // From here on there is a file to remove in the end: no signal may just end the process.
        signals::block().map_err(failed("sigprocmask"))?;
        return Ok(bind::bind_all(&resolved, access)?);
    }
    if inetd {
        return from_stdin()?.ok_or_else(|| {
            Refused::Usage(
                "--inetd: standard input is not a socket; start ruptimed from inetd, xinetd, socat or a unit with StandardInput=socket"
                    .to_owned(),
            )
        });
    }
    let why_not = match passed.and_then(from_environment) {
        Err(Refused::Usage(why_not)) => why_not,
        sockets => return sockets,
    };
    from_stdin()?.ok_or_else(|| {
        Refused::Usage(format!(
            "no socket to serve ({why_not}): enable ruptime.socket, or give --listen ADDR"
        ))
    })
}

fn inherited(sockets: Vec<Socket>) -> Result<Sockets, Refused> {
    refuse_doubles(&sockets)?;
    Ok(Sockets {
        sockets,
        inherited: true,
        ..Sockets::default()
    })
}

/// Takes the socket on standard input; None where there is none.
fn from_stdin() -> Result<Option<Sockets>, Refused> {
    let stdin = stdin();
    match getsockopt(&stdin.as_fd(), sockopt::SockType) {
        Err(Errno::ENOTSOCK | Errno::EBADF) => return Ok(None),
        Err(errno) => return Err(failed("standard input")(errno).into()),
        Ok(_) => {}
    }
    let fd = stdin
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| format!("standard input: {error}"))?;
    inherited(vec![classify(fd, "standard input")?]).map(Some)
}

/// Takes what the service manager passed (sd_listen_fds(3)). The count is checked before
/// listenfd sees it, since listenfd makes a list of that length.
fn from_environment(count: usize) -> Result<Sockets, Refused> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    if (count as u64).saturating_add(LISTEN_FDS_START as u64) > limit {
        return Err(format!(
            "LISTEN_FDS={count} cannot be true: this process may have {limit} descriptors"
        )
        .into());
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|_| !names.is_empty());
    let mut manager = ListenFd::from_env();
    let mut sockets = Vec::with_capacity(count);
    for index in 0..count {
        let number = index + LISTEN_FDS_START;
        let label = match names.next() {
            Some(name) => format!("fd {number} (\"{}\")", name.escape_debug()),
            None => format!("fd {number}"),
        };
        let fd = take(&mut manager, index, &label)?;
        sockets.push(classify(fd, &label)?);
    }
    inherited(sockets)
}

/// Reads LISTEN_FDS and LISTEN_PID as sd_listen_fds(3) does: a missing or foreign LISTEN_PID
/// means that the descriptors are not for this process, whatever LISTEN_FDS is.
fn listen_fds(fds: Option<OsString>, pid: Option<OsString>, own: u32) -> Result<usize, Refused> {
    let none = |why_not: String| Err(Refused::Usage(why_not));
    let Some(fds) = fds else {
        return none("LISTEN_FDS is not set".to_owned());
    };
    let fds = fds.to_string_lossy();
    let fds_shown = fds.escape_debug();
    let Some(pid) = pid else {
        return none(format!(
            "LISTEN_FDS is {fds_shown}, but LISTEN_PID is not set, so they are not for this process"
        ));
    };
    let pid = pid.to_string_lossy();
    match pid.parse::<u32>() {
        Ok(pid) if pid == own => {}
        Ok(pid) => {
            return none(format!(
                "LISTEN_PID is {pid} and this process is {own}, so LISTEN_FDS is for another"
            ));
        }
        Err(_) => {
            let pid = pid.escape_debug();
            return Err(format!("LISTEN_PID={pid} is not a process number").into());
        }
    }
    match fds.parse() {
        Ok(0) => none("LISTEN_FDS is 0".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err(format!("LISTEN_FDS={fds_shown} is not a number of descriptors").into()),
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
                NOT_SERVED.to_owned()
            } else if target.starts_with("pipe:") {
                "is a pipe, not a socket".to_owned()
            } else {
                format!("is not a socket but {}", target.escape_debug())
            }
        }
        Err(_) => what_getsockname_tells(number as RawFd).to_owned(),
    }
}

/// The same without /proc: whether it is open at all, and a socket.
fn what_getsockname_tells(number: RawFd) -> &'static str {
    match getsockname::<SockaddrStorage>(number) {
        Err(Errno::EBADF) => "is not open",
        Err(Errno::ENOTSOCK) => "is not a socket",
        _ => NOT_SERVED,
    }
}

/// The same socket twice would take its connections twice, and count them twice.
fn refuse_doubles(sockets: &[Socket]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for socket in sockets {
        let stat = fstat(&socket.fd).map_err(failed(&socket.name))?;
        if !seen.insert((stat.st_dev, stat.st_ino)) {
            return Err(format!("{socket} was passed twice; pass each socket once"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    fn env(text: &str) -> Option<OsString> {
        Some(text.into())
    }

    #[test]
    fn listen_fds_is_read_as_sd_listen_fds_reads_it() {
        assert_eq!(listen_fds(env("2"), env("7"), 7), Ok(2));
        for (fds, pid) in [
            (None, None),
            (None, env("7")),
            (env("0"), env("7")),
            (env("2"), None),
            (env("2"), env("8")),
            (env("two"), None),
            (env("two"), env("8")),
        ] {
            assert!(
                matches!(
                    listen_fds(fds.clone(), pid.clone(), 7),
                    Err(Refused::Usage(_))
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
            let refused = listen_fds(env(fds), env(pid), 7);
            assert!(matches!(refused, Err(Refused::Failed(_))), "{fds} {pid}");
        }
    }

    #[test]
    fn without_proc_an_open_file_is_not_taken_for_a_closed_one() {
        let file = std::fs::File::open("/dev/null").expect("/dev/null");
        assert_eq!(what_getsockname_tells(file.as_raw_fd()), "is not a socket");
        assert_eq!(what_getsockname_tells(RawFd::MAX), "is not open");
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
