//! A datagram service: one byte there, one datagram back.
//!
//! Comes in: the addresses of one host. Goes out: the reply, or the most telling failure. Each
//! address has a connected socket of its own, so that the kernel drops what others send, a late
//! duplicate can never reach another host's question, and a closed port is told at once
//! (ECONNREFUSED from the ICMP error, udp(7)). A question or an answer can be lost: it is asked
//! again after pauses that double. Several addresses are asked as in RFC 8305, the next when the
//! last has failed or has not answered within 250 ms, and all that were asked may still answer.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockType, SockaddrStorage, recv};
use tokio::time::{Instant, timeout_at};

use super::reply::Reply;
use super::socket::{self, Socket};
use super::stream::{ATTEMPT_DELAY, Failures};
use super::{Prober, Spare, Trace, family_of};
use crate::client::query::failure::Failure;

/// The first pause before a question is repeated: a tenth of the timeout, within these bounds.
/// A local network answers within the lower, and the command itself takes milliseconds.
const FIRST_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// The pause when the socket's queue is full and nothing was sent.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// A question to one address.
struct Inquiry<'a> {
    socket: Socket,
    address: Option<SocketAddr>,
    /// When to ask again.
    next: Instant,
    /// How long to wait then.
    pause: Duration,
    /// The descriptor beyond the one that the host was counted with.
    _spare: Option<Spare<'a>>,
}

impl<'a> Inquiry<'a> {
    fn new(
        prober: &Prober,
        socket: Socket,
        address: Option<SocketAddr>,
        spare: Option<Spare<'a>>,
    ) -> Result<Inquiry<'a>, Errno> {
        let (least, most) = FIRST_PAUSE;
        let pause = (prober.timeout() / 10).clamp(least, most);
        let mut inquiry = Inquiry {
            socket,
            address,
            next: Instant::now(),
            pause,
            _spare: spare,
        };
        inquiry.send()?;
        Ok(inquiry)
    }

    /// Asks, and plans the next time.
    fn send(&mut self) -> Result<(), Errno> {
        match self.socket.ask() {
            Ok(()) => {
                self.next = Instant::now() + self.pause;
                self.pause *= 2;
                Ok(())
            }
            // Nothing was sent, the queue is full: soon again.
            Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                self.next = Instant::now() + QUEUE_PAUSE;
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }
}

/// Asks all of `addresses`, one after another, until one answers.
pub(super) async fn ask(
    prober: &Prober,
    addresses: &[SocketAddr],
    trace: &Trace,
) -> Result<Reply, Failure> {
    let mut waiting = addresses.iter().copied();
    let mut flying: Vec<Inquiry<'_>> = Vec::new();
    let mut failures = Failures::default();
    let mut next_start = Instant::now();
    loop {
        if flying.is_empty() || Instant::now() >= next_start {
            if let Some(address) = waiting.next() {
                match start(prober, address, &mut flying, trace).await {
                    Ok(inquiry) => flying.push(inquiry),
                    Err(failure) => {
                        failures.note(failure, address);
                        continue;
                    }
                }
                next_start = Instant::now() + ATTEMPT_DELAY;
            } else if flying.is_empty() {
                return Err(failures.most_telling(trace));
            }
        }
        let start_at = (waiting.len() > 0).then_some(next_start);
        let (index, result) = match next_event(prober, &mut flying, start_at).await {
            Some(event) => event,
            None => continue,
        };
        let inquiry = flying.swap_remove(index);
        match (result, inquiry.address) {
            (Ok(reply), address) => {
                address
                    .into_iter()
                    .for_each(|address| trace.settle(address));
                return Ok(reply);
            }
            (Err(errno), Some(address)) => failures.note(Failure::Os(errno), address),
            (Err(errno), None) => return Err(Failure::Os(errno)),
        }
        // A failed address makes room for the next at once.
        next_start = Instant::now();
    }
}

/// Asks over a socket that is connected already.
pub(super) async fn ask_one(prober: &Prober, socket: Socket, _: &Trace) -> Result<Reply, Failure> {
    let mut flying = vec![Inquiry::new(prober, socket, None, None).map_err(Failure::Os)?];
    loop {
        if let Some((_, result)) = next_event(prober, &mut flying, None).await {
            return result.map_err(Failure::Os);
        }
    }
}

async fn start<'a>(
    prober: &'a Prober,
    address: SocketAddr,
    flying: &mut Vec<Inquiry<'a>>,
    trace: &Trace,
) -> Result<Inquiry<'a>, Failure> {
    let mut spare = None;
    if !flying.is_empty() {
        spare = prober.spare();
        if spare.is_none() {
            // The limit leaves no descriptor: the oldest question gives its own up.
            spare = flying.remove(0)._spare;
        }
    }
    let fd = prober
        .open(family_of(&address), SockType::Datagram, trace)
        .await?;
    trace.begin(address);
    socket::start(&fd.fd, &SockaddrStorage::from(address)).map_err(Failure::Os)?;
    let socket = Socket::watch(fd).map_err(Failure::Os)?;
    Inquiry::new(prober, socket, Some(address), spare).map_err(Failure::Os)
}

/// Waits for an answer or an error of any question, and repeats those whose time has come. None
/// when it is time to start with another address.
async fn next_event(
    prober: &Prober,
    flying: &mut [Inquiry<'_>],
    start_at: Option<Instant>,
) -> Option<(usize, Result<Reply, Errno>)> {
    loop {
        let repeat_at = flying.iter().map(|inquiry| inquiry.next).min()?;
        let until = start_at.map_or(repeat_at, |start_at| start_at.min(repeat_at));
        if let Ok(event) = timeout_at(until, first_reply(prober, flying)).await {
            return Some(event);
        }
        let now = Instant::now();
        for (index, inquiry) in flying.iter_mut().enumerate() {
            if inquiry.next <= now {
                // The error of an earlier question can come out here, udp(7).
                if let Err(errno) = inquiry.send() {
                    return Some((index, Err(errno)));
                }
            }
        }
        if start_at.is_some_and(|start_at| start_at <= now) {
            return None;
        }
    }
}

async fn first_reply(prober: &Prober, flying: &[Inquiry<'_>]) -> (usize, Result<Reply, Errno>) {
    let receive = |inquiry| Box::pin(receive(prober, inquiry));
    let mut receiving: Vec<_> = flying.iter().map(receive).collect();
    poll_fn(|cx| {
        for (index, reply) in receiving.iter_mut().enumerate() {
            if let Poll::Ready(reply) = reply.as_mut().poll(cx) {
                return Poll::Ready((index, reply));
            }
        }
        Poll::Pending
    })
    .await
}

async fn receive(prober: &Prober, inquiry: &Inquiry<'_>) -> Result<Reply, Errno> {
    let once = |fd| {
        let mut buffer = prober.buffer.borrow_mut();
        // With MSG_TRUNC a datagram that was cut tells its whole length, recv(2).
        let length = recv(fd, &mut buffer, MsgFlags::MSG_TRUNC)?;
        let mut reply = Reply::default();
        reply.add(&buffer[..length.min(buffer.len())], length, prober.keep);
        Ok(reply)
    };
    inquiry.socket.receive(once).await
}
