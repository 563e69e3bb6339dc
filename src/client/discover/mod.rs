//! `--discover`: one question to everybody on the local networks, and whoever answers.
//!
//! Comes in: the interfaces. Goes out: one [`Answer`] for each address that answered within the
//! timeout, as it comes. The question is repeated, because broadcasts are the first that a busy
//! network drops; a host that answers twice is listed once. Only what comes from the port that
//! was asked is an answer.

mod networks;

use std::collections::HashSet;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockType, setsockopt, sockopt};
use tokio::time::{sleep_until, timeout_at};

use self::networks::Probe;
use crate::client::answer::Answer;
use crate::client::query::failure::Failure;
use crate::client::query::reply::Reply;
use crate::client::query::resolve;
use crate::client::query::socket::{self, Socket};
use crate::client::query::{Prober, judge, show};

/// When the question is asked: at once and after these times, if the timeout is not over.
const REPEATS: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(1000)];
/// The most addresses that are listed: a forger has as many as he likes.
const ANSWERS_MAX: usize = 16_384;
/// The most bytes of answers that are kept, which only `text` can reach.
const KEPT_MAX: usize = 64 << 20;
/// Room for the answers of a whole network at once, bytes; what the system gives of it is enough.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Asks everybody; `sink` takes the answers with their number. The error is one line.
pub(crate) async fn discover(
    prober: &Prober,
    mut sink: impl FnMut(usize, Answer) -> ControlFlow<()>,
) -> Result<(), String> {
    let port = prober
        .port(None, true)
        .map_err(|failure| failure.reason())?;
    let probes = networks::probes(port, prober.settings.family)
        .map_err(|errno| format!("cannot list the network interfaces: {}", errno.desc()))?;
    if probes.is_empty() {
        return Err("no network interface to ask on".to_owned());
    }
    let begun = Instant::now();
    let end = tokio::time::Instant::from_std(begun + prober.timeout());
    let mut search = Search {
        prober,
        begun,
        port,
        seen: HashSet::new(),
        kept: 0,
    };
    let sockets = Sockets::open(&probes).map_err(|errno| Failure::Os(errno).reason())?;
    sockets.send_all(&probes)?;
    let collect = async {
        while let Some(answer) = search.next(&sockets).await {
            if sink(search.seen.len() - 1, answer).is_break() {
                break;
            }
        }
    };
    let repeat = async {
        for after in REPEATS {
            sleep_until(tokio::time::Instant::from_std(begun + after)).await;
            // It went out once: a failure now is a network that went away meanwhile.
            let _ = sockets.send_all(&probes);
        }
        pending::<()>().await;
    };
    let both = async {
        tokio::select! {
            () = collect => {}
            () = repeat => {}
        }
    };
    // The end of the time is the ordinary end.
    let _ = timeout_at(end, both).await;
    Ok(())
}

/// One socket for each family that is asked in.
struct Sockets {
    v4: Option<Socket>,
    v6: Option<Socket>,
}

impl Sockets {
    fn open(probes: &[Probe]) -> Result<Sockets, Errno> {
        let any = |v4: bool| probes.iter().any(|probe| probe.to.is_ipv4() == v4);
        let v4 = any(true).then(|| {
            let fd = prepared(AddressFamily::Inet)?;
            // Without it a send to a broadcast address is EACCES, ip(7).
            setsockopt(&fd, sockopt::Broadcast, &true)?;
            Socket::watch(fd)
        });
        let v6 = any(false).then(|| Socket::watch(prepared(AddressFamily::Inet6)?));
        match (v4, v6) {
            // A family that the kernel does not have is no obstacle to the other.
            (Some(Err(errno)), None | Some(Err(_))) | (None, Some(Err(errno))) => Err(errno),
            (v4, v6) => Ok(Sockets {
                v4: v4.and_then(Result::ok),
                v6: v6.and_then(Result::ok),
            }),
        }
    }

    /// Sends every question once; an error only if none went out.
    fn send_all(&self, probes: &[Probe]) -> Result<(), String> {
        let mut last = Errno::ENETUNREACH;
        let mut sent = false;
        for probe in probes {
            let socket = if probe.to.is_ipv4() {
                &self.v4
            } else {
                &self.v6
            };
            let Some(socket) = socket else { continue };
            match socket.ask_everybody(probe.to, probe.interface, probe.from) {
                Ok(()) => sent = true,
                Err(errno) => last = errno,
            }
        }
        if sent {
            Ok(())
        } else {
            Err(Failure::Os(last).reason())
        }
    }
}

fn prepared(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let fd = socket::open(family, SockType::Datagram)?;
    // Bounded by net.core.rmem_max; the default size does for a small network.
    let _ = setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER);
    Ok(fd)
}

struct Search<'a> {
    prober: &'a Prober,
    begun: Instant,
    port: u16,
    seen: HashSet<SocketAddr>,
    kept: usize,
}

impl Search<'_> {
    /// The next address that answers for the first time. None when there may be no more.
    async fn next(&mut self, sockets: &Sockets) -> Option<Answer> {
        loop {
            if self.seen.len() >= ANSWERS_MAX || self.kept >= KEPT_MAX {
                return None;
            }
            let (from, reply) = self.receive(sockets).await;
            if from.port() == self.port && self.seen.insert(from) {
                self.kept += reply.kept.len();
                return Some(Answer {
                    host: host_of(from),
                    address: Some(show(&from)),
                    outcome: judge(reply),
                    rtt: Some(self.begun.elapsed()),
                    at: SystemTime::now(),
                });
            }
        }
    }

    async fn receive(&self, sockets: &Sockets) -> (SocketAddr, Reply) {
        tokio::select! {
            received = self.receive_on(sockets.v4.as_ref()) => received,
            received = self.receive_on(sockets.v6.as_ref()) => received,
        }
    }

    async fn receive_on(&self, socket: Option<&Socket>) -> (SocketAddr, Reply) {
        let Some(socket) = socket else {
            return pending().await;
        };
        loop {
            // An error is not the end of the others' answers, and it is taken off the socket by
            // being told, recv(2).
            if let Ok((length, Some(from))) = socket.receive_from(&self.prober.buffer).await {
                let mut reply = Reply::default();
                let buffer = self.prober.buffer.borrow();
                reply.add(&buffer[..length], length, self.prober.settings.keep);
                return (from, reply);
            }
        }
    }
}

/// The name to list: the address without the port, with the zone where it needs one.
fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => {
            format!("{}%{}", v6.ip(), resolve::zone_name(v6.scope_id()))
        }
        other => match other.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => ip.to_string(),
        },
    }
}
