//! A service on a UNIX socket: stream, else seqpacket, else datagram, by what the socket is.
//!
//! Comes in: a path or an abstract name. Goes out: the reply, or why there is none. Nobody can
//! tell the type from outside; connect(2) answers EPROTOTYPE for a wrong one, and that is tried in
//! this order.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockType, UnixAddr, bind, recv};
use tokio::time::sleep;

use super::failure::Failure;
use super::reply::Reply;
use super::socket::{self, Receive, Socket};
use super::trace::Trace;
use super::{Prober, datagram, stream};
use crate::rights::{self, Refusal};

/// The first pause when the listener's backlog is full, and the longest.
const BACKLOG_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Asks the service at `path`.
pub(super) async fn ask(prober: &Prober, path: &Path, trace: &Trace) -> Result<Reply, Failure> {
    let address = address(path).map_err(Failure::Os)?;
    trace.start_clock();
    match connect(prober, &address, SockType::Stream, trace).await {
        Err(Failure::Os(Errno::EPROTOTYPE)) => {}
        socket => return socket?.read(prober, MsgFlags::empty(), trace).await,
    }
    match connect(prober, &address, SockType::SeqPacket, trace).await {
        Err(Failure::Os(Errno::EPROTOTYPE)) => {}
        // With MSG_TRUNC a record that does not fit shows its length, unix(7).
        socket => return socket?.read(prober, MsgFlags::MSG_TRUNC, trace).await,
    }
    let socket = connect(prober, &address, SockType::Datagram, trace).await?;
    socket.exchange(prober).await
}

/// A UNIX socket. Its server may be hostile and pass descriptors whose last close sleeps.
struct Guarded {
    /// None once it is dropped.
    socket: Option<Socket>,
    /// The kernel cannot refuse them.
    may_be_laden: bool,
}

impl Guarded {
    fn socket(&self) -> Result<&Socket, Failure> {
        self.socket.as_ref().ok_or(Failure::Closed)
    }

    fn receive(&self) -> Receive {
        match self.may_be_laden {
            true => rights::receive_unladen,
            false => recv,
        }
    }

    /// Reads to the end of the reply.
    async fn read(self, prober: &Prober, flags: MsgFlags, trace: &Trace) -> Result<Reply, Failure> {
        let socket = self.socket()?;
        let reply = stream::read_to_end(prober, socket, self.receive(), flags, trace);
        reply.await.map_err(or_laden)
    }

    /// Asks by datagram.
    async fn exchange(self, prober: &Prober) -> Result<Reply, Failure> {
        let reply = datagram::exchange(prober, self.socket()?, self.receive());
        reply.await.map_err(or_laden)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let socket = self.socket.take().filter(|_| self.may_be_laden);
        if let Some(Ok(fd)) = socket.map(Socket::into_fd) {
            rights::release(fd);
        }
    }
}

fn or_laden(failure: Failure) -> Failure {
    match failure {
        Failure::Os(Errno::EPROTO) | Failure::Broken(Errno::EPROTO) => {
            Failure::Unusable("the server passes descriptors, which are not taken".to_owned())
        }
        failure => failure,
    }
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
) -> Result<Guarded, Failure> {
    let fd = prober.open(AddressFamily::Unix, kind, trace).await?;
    let may_be_laden = rights::refuse(fd.as_fd()) == Refusal::Never;
    if kind == SockType::Datagram {
        // The service can answer only an address: the kernel picks one in the abstract name
        // space (autobind, unix(7)), which leaves nothing behind.
        bind(fd.as_raw_fd(), &UnixAddr::new_unnamed()).map_err(Failure::Os)?;
    }
    let (mut pause, longest) = BACKLOG_PAUSES;
    loop {
        match socket::start(&fd, address) {
            Ok(()) => {
                let socket = Socket::watch(fd).map_err(Failure::Os)?;
                return Ok(Guarded {
                    socket: Some(socket),
                    may_be_laden,
                });
            }
            // The backlog is full, and poll(2) does not report when there is room; connect(2).
            Err(Errno::EAGAIN) => sleep(pause).await,
            Err(errno) => return Err(Failure::Os(errno)),
        }
        pause = (pause * 2).min(longest);
    }
}
