//! A TCP service: connect, read to the end.
//!
//! Comes in: the addresses of one host, in the resolver's order. Goes out: the reply, or the most
//! telling failure. Several addresses are raced as in RFC 8305 (happy eyeballs): families
//! alternate, the next attempt starts when the last has failed or has not connected within
//! 250 ms, and the first connection wins.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockType, SockaddrStorage};
use tokio::time::timeout;

use super::reply::Reply;
use super::socket::{self, Socket};
use super::{Prober, Spare, Trace, family_of};
use crate::client::query::failure::Failure;

/// RFC 8305 section 5, "Connection Attempt Delay".
pub(super) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Asks the first of `addresses` that accepts the connection.
pub(super) async fn ask(
    prober: &Prober,
    addresses: &[SocketAddr],
    trace: &Trace,
) -> Result<Reply, Failure> {
    let socket = match addresses {
        // Its connect is not waited for: the first receive tells a failure as well, and that is
        // two system calls less for each of thousands of hosts.
        [address] => connect(prober, *address, trace).await?,
        _ => race(prober, addresses, trace).await?,
    };
    read_to_end(prober, &socket, MsgFlags::empty(), trace).await
}

/// Starts one connection.
async fn connect(prober: &Prober, address: SocketAddr, trace: &Trace) -> Result<Socket, Failure> {
    let fd = prober
        .open(family_of(&address), SockType::Stream, trace)
        .await?;
    trace.begin(address);
    socket::start(&fd.fd, &SockaddrStorage::from(address)).map_err(Failure::Os)?;
    Socket::watch(fd).map_err(Failure::Os)
}

/// A connection under way.
struct Attempt<'a> {
    socket: Socket,
    address: SocketAddr,
    /// The descriptor beyond the one that the host was counted with.
    _spare: Option<Spare<'a>>,
}

async fn race(prober: &Prober, addresses: &[SocketAddr], trace: &Trace) -> Result<Socket, Failure> {
    let mut waiting = addresses.iter().copied();
    let mut flying: Vec<Attempt<'_>> = Vec::new();
    let mut failures = Failures::default();
    loop {
        let started = match waiting.next() {
            Some(address) => {
                let spare = make_room(prober, &mut flying);
                match connect(prober, address, trace).await {
                    Ok(socket) => flying.push(Attempt {
                        socket,
                        address,
                        _spare: spare,
                    }),
                    Err(failure) => {
                        failures.note(failure, address);
                        continue;
                    }
                }
                true
            }
            None => false,
        };
        if flying.is_empty() {
            return Err(failures.most_telling(trace));
        }
        // With nobody left to start, only the host's own deadline ends the wait.
        let settled = if started && waiting.len() > 0 {
            timeout(ATTEMPT_DELAY, first_settled(&flying)).await.ok()
        } else {
            Some(first_settled(&flying).await)
        };
        match settled {
            Some((index, Ok(()))) => {
                let winner = flying.swap_remove(index);
                trace.settle(winner.address);
                return Ok(winner.socket);
            }
            Some((index, Err(errno))) => {
                let loser = flying.swap_remove(index);
                failures.note(Failure::Os(errno), loser.address);
            }
            None => {}
        }
    }
}

/// A descriptor for one more attempt: counted beside the host's own, or, where the limit leaves
/// none, that of the oldest attempt, which has had its delay.
fn make_room<'a>(prober: &'a Prober, flying: &mut Vec<Attempt<'a>>) -> Option<Spare<'a>> {
    if flying.is_empty() {
        return None;
    }
    let spare = prober.spare();
    if spare.is_none() {
        return flying.remove(0)._spare;
    }
    spare
}

/// The first attempt that stands or has failed.
async fn first_settled(flying: &[Attempt<'_>]) -> (usize, Result<(), Errno>) {
    poll_fn(|cx| {
        for (index, attempt) in flying.iter().enumerate() {
            if let Poll::Ready(result) = attempt.socket.poll_connected(cx) {
                return Poll::Ready((index, result));
            }
        }
        Poll::Pending
    })
    .await
}

/// The failures of a host's addresses, of which one is told.
#[derive(Default)]
pub(super) struct Failures(Option<(Failure, SocketAddr)>);

impl Failures {
    /// Keeps the more telling one, the later among equals.
    pub(super) fn note(&mut self, failure: Failure, address: SocketAddr) {
        match &self.0 {
            Some((worse, _)) if worse.weight() > failure.weight() => {}
            _ => self.0 = Some((failure, address)),
        }
    }

    /// The one to tell; its address becomes the one shown.
    pub(super) fn most_telling(self, trace: &Trace) -> Failure {
        match self.0 {
            Some((failure, address)) => {
                trace.settle(address);
                failure
            }
            None => Failure::LookUp("the name has no address".to_owned()),
        }
    }
}

/// Reads until the peer closes, through the buffer that all hosts share.
pub(super) async fn read_to_end(
    prober: &Prober,
    socket: &Socket,
    flags: MsgFlags,
    trace: &Trace,
) -> Result<Reply, Failure> {
    let mut reply = Reply::default();
    poll_fn(|cx| {
        loop {
            let mut buffer = prober.buffer.borrow_mut();
            let received = match socket.poll_recv(cx, &mut buffer, flags) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(received) => received,
            };
            match received {
                Ok(0) if reply.total == 0 => return Poll::Ready(Err(Failure::Closed)),
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(length) => {
                    let there = length.min(buffer.len());
                    reply.add(&buffer[..there], length, prober.keep);
                    trace.bytes();
                    if reply.too_long {
                        return Poll::Ready(Ok(()));
                    }
                }
                // Half an answer is none: what came before a reset may be cut anywhere.
                Err(errno) if reply.total > 0 => return Poll::Ready(Err(Failure::Broken(errno))),
                Err(errno) => return Poll::Ready(Err(Failure::Os(errno))),
            }
        }
    })
    .await?;
    Ok(reply)
}
