//! A service on a UNIX socket: stream, else seqpacket, else datagram, by what the socket is.
//!
//! Comes in: a path or an abstract name. Goes out: the reply, or why there is none. Nobody can
//! tell the type from outside; connect(2) answers EPROTOTYPE for a wrong one, and that is tried in
//! this order.

use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockType, UnixAddr, bind};
use tokio::time::sleep;

use super::failure::Failure;
use super::reply::Reply;
use super::socket::{self, Socket};
use super::trace::Trace;
use super::{Prober, datagram, stream};

/// The first pause when the listener's backlog is full, and the longest.
const BACKLOG_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Asks the service at `path`.
pub(super) async fn ask(prober: &Prober, path: &Path, trace: &Trace) -> Result<Reply, Failure> {
    let address = address(path).map_err(Failure::Os)?;
    trace.start_clock();
    match connect(prober, &address, SockType::Stream, trace).await {
        Err(Failure::Os(Errno::EPROTOTYPE)) => {}
        socket => return stream::read_to_end(prober, &socket?, MsgFlags::empty(), trace).await,
    }
    match connect(prober, &address, SockType::SeqPacket, trace).await {
        Err(Failure::Os(Errno::EPROTOTYPE)) => {}
        // With MSG_TRUNC a record that does not fit shows its length, unix(7).
        socket => return stream::read_to_end(prober, &socket?, MsgFlags::MSG_TRUNC, trace).await,
    }
    let socket = connect(prober, &address, SockType::Datagram, trace).await?;
    datagram::exchange(prober, &socket).await
}

/// A path, or `@` and a name in the abstract name space (unix(7)).
fn address(path: &Path) -> nix::Result<UnixAddr> {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name),
        None => UnixAddr::new(path),
    }
}

async fn connect(
    prober: &Prober,
    address: &UnixAddr,
    kind: SockType,
    trace: &Trace,
) -> Result<Socket, Failure> {
    let fd = prober.open(AddressFamily::Unix, kind, trace).await?;
    if kind == SockType::Datagram {
        // The service can answer only an address: the kernel picks one in the abstract name
        // space (autobind, unix(7)), which leaves nothing behind.
        bind(fd.as_raw_fd(), &UnixAddr::new_unnamed()).map_err(Failure::Os)?;
    }
    let (mut pause, longest) = BACKLOG_PAUSES;
    loop {
        match socket::start(&fd, address) {
            Ok(()) => return Socket::watch(fd).map_err(Failure::Os),
            // The backlog is full, and poll(2) does not report when there is room; connect(2).
            Err(Errno::EAGAIN) => sleep(pause).await,
            Err(errno) => return Err(Failure::Os(errno)),
        }
        pause = (pause * 2).min(longest);
    }
}
