//! A datagram service: one byte there, one datagram back.
//!
//! Comes in: the addresses of one host. Goes out: the reply, or the most telling failure. Each
//! address has a connected socket of its own, so that the kernel drops what others send, a late
//! duplicate can never reach another host's request, and a closed port is reported at once
//! (ECONNREFUSED from the ICMP error, udp(7)). A request or an answer can be lost: the request is
//! repeated after pauses that double. Of several addresses all that were asked may still answer.

use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockType, SockaddrStorage, recv};
use tokio::time::timeout;

use super::failure::Failure;
use super::race::{Candidates, race};
use super::reply::Reply;
use super::socket::{self, Receive, Socket};
use super::trace::Trace;
use super::{Prober, family_of};

/// The first pause before a request is repeated: a tenth of the timeout, within these bounds.
/// A local network answers within the lower, and the command itself takes milliseconds.
const FIRST_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// The pause when the socket's queue is full and nothing was sent.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// Asks all of `addresses`, one after another, until one answers.
pub(super) async fn ask(
    prober: &Prober,
    addresses: &[SocketAddr],
    trace: &Trace,
) -> Result<Reply, Failure> {
    let attempt = |address: SocketAddr| async move {
        let family = family_of(&address);
        let fd = prober.open(family, SockType::Datagram, trace).await?;
        trace.begin(address);
        socket::start(&fd, &SockaddrStorage::from(address)).map_err(Failure::Os)?;
        let socket = Socket::watch(fd).map_err(Failure::Os)?;
        exchange(prober, &socket, recv).await
    };
    let mut candidates = Candidates::new(addresses);
    let (_, reply) = race(prober, &mut candidates, trace, attempt).await?;
    Ok(reply)
}

/// Asks over a socket that is connected, again and again, until an answer or an error comes.
pub(super) async fn exchange(
    prober: &Prober,
    socket: &Socket,
    recv: Receive,
) -> Result<Reply, Failure> {
    let (least, most) = FIRST_PAUSE;
    let mut pause = (prober.timeout() / 10).clamp(least, most);
    loop {
        let wait = match socket.ask() {
            Ok(()) => {
                pause *= 2;
                pause / 2
            }
            // Nothing was sent: soon again.
            Err(Errno::EAGAIN | Errno::ENOBUFS) => QUEUE_PAUSE,
            // The error of an earlier request can come out here, udp(7).
            Err(errno) => return Err(Failure::Os(errno)),
        };
        if let Ok(result) = timeout(wait, receive(prober, socket, recv)).await {
            return result.map_err(Failure::Os);
        }
    }
}

async fn receive(prober: &Prober, socket: &Socket, recv: Receive) -> Result<Reply, Errno> {
    let once = |fd| {
        let mut buffer = prober.buffer.borrow_mut();
        // With MSG_TRUNC the result is the whole length of a datagram that was cut, recv(2).
        let length = recv(fd, &mut buffer, MsgFlags::MSG_TRUNC)?;
        let mut reply = Reply::default();
        let there = length.min(buffer.len());
        reply.add(&buffer[..there], length, prober.settings.keep);
        Ok(reply)
    };
    socket.receive_or_error(once).await
}
