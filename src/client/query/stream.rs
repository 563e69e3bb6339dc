//! A stream service: connect, read to the end.
//!
//! Comes in: the addresses of one host, in the resolver's order. Goes out: the reply, or the most
//! telling failure. The first connection wins the race. An address that accepts and closes without
//! a byte has not answered (a forwarder whose server is down): the remaining ones are tried.

use std::net::SocketAddr;

use nix::sys::socket::{MsgFlags, SockType, SockaddrStorage, recv};

use super::failure::Failure;
use super::race::{Candidates, race};
use super::reply::Reply;
use super::socket::{self, Receive, Socket};
use super::trace::Trace;
use super::{Prober, family_of};

/// Asks the first of `addresses` that accepts the connection and answers.
pub(super) async fn ask(
    prober: &Prober,
    addresses: &[SocketAddr],
    trace: &Trace,
) -> Result<Reply, Failure> {
    if let [address] = addresses {
        // Do not wait for the connect: the first receive reports its failure as well, and that
        // saves two system calls for each of thousands of hosts.
        let socket = start(prober, *address, trace).await?;
        return read_to_end(prober, &socket, recv, MsgFlags::empty(), trace).await;
    }
    let mut candidates = Candidates::new(addresses);
    loop {
        let connect = |address| connect(prober, address, trace);
        let (address, socket) = race(prober, &mut candidates, trace, connect).await?;
        match read_to_end(prober, &socket, recv, MsgFlags::empty(), trace).await {
            Err(failure @ (Failure::Closed | Failure::Os(_))) => {
                candidates.failed(address, failure);
            }
            result => return result,
        }
    }
}

/// Starts one connection.
async fn start(prober: &Prober, address: SocketAddr, trace: &Trace) -> Result<Socket, Failure> {
    let fd = prober
        .open(family_of(&address), SockType::Stream, trace)
        .await?;
    trace.begin(address);
    socket::start(&fd, &SockaddrStorage::from(address)).map_err(Failure::Os)?;
    Socket::watch(fd).map_err(Failure::Os)
}

/// One connection that stands.
async fn connect(prober: &Prober, address: SocketAddr, trace: &Trace) -> Result<Socket, Failure> {
    let socket = start(prober, address, trace).await?;
    socket.connected().await.map_err(Failure::Os)?;
    Ok(socket)
}

/// Reads until the peer closes, through the buffer that all hosts share.
pub(super) async fn read_to_end(
    prober: &Prober,
    socket: &Socket,
    recv: Receive,
    flags: MsgFlags,
    trace: &Trace,
) -> Result<Reply, Failure> {
    let mut reply = Reply::default();
    loop {
        let received = socket.receive(|fd| {
            let mut buffer = prober.buffer.borrow_mut();
            let length = recv(fd, &mut buffer, flags)?;
            let there = length.min(buffer.len());
            reply.add(&buffer[..there], length, prober.settings.keep);
            Ok(length)
        });
        match received.await {
            Ok(0) if reply.total == 0 => return Err(Failure::Closed),
            Ok(0) => return Ok(reply),
            Ok(_) if reply.too_long => return Ok(reply),
            Ok(_) => trace.bytes(),
            // Half an answer is none: what came before a reset may be cut anywhere.
            Err(errno) if reply.total > 0 => return Err(Failure::Broken(errno)),
            Err(errno) => return Err(Failure::Os(errno)),
        }
    }
}
