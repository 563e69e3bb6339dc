//! `--discover`: one request to every host on the local networks, and the hosts that answer.
//!
//! Comes in: the interfaces. Goes out: one [`Answer`] for each address that answered within the
//! timeout, as it comes. The question is repeated, because broadcasts are the first that a busy
//! network drops; a host that answers twice is listed once. Only what comes from the port that
//! was asked is an answer.

mod networks;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockType, setsockopt, sockopt};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep_until};

use self::networks::Probe;
use crate::client::answer::Answer;
use crate::client::query::address;
use crate::client::query::failure::Failure;
use crate::client::query::reply::Reply;
use crate::client::query::socket::{self, Socket};
use crate::client::query::{Prober, judge, show};

/// When the question is asked: at once and after these times, if the timeout is not over.
const REPEATS: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(1000)];
/// The most addresses that are listed: a forger has as many as he likes.
pub(crate) const ANSWERS_MAX: usize = 16_384;
/// The most bytes of answers that are kept, which only `text` can reach.
const KEPT_MAX: usize = 64 << 20;
/// Room for the answers of a whole network at once, bytes; what the system gives of it is enough.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Asks every host; the answers go to `answers` with their number. The error is one line: no
/// request could be sent, or there are too many answers for a list.
pub(crate) async fn discover(
    prober: Rc<Prober>,
    answers: UnboundedSender<(usize, Answer)>,
) -> Result<(), String> {
    let port = prober.port(None, true);
    let port = port.map_err(|failure| failure.reason())?;
    let probes = networks::probes(port, prober.settings.family)
        .map_err(|errno| format!("cannot list the network interfaces: {}", errno.desc()))?;
    if probes.is_empty() {
        return Err("no network interface to ask on".to_owned());
    }
    let begun = Instant::now();
    let end = begun + prober.timeout();
    let sockets = Sockets::open(&probes).map_err(|errno| Failure::Os(errno).reason())?;
    sockets.send_all(&probes)?;
    let search = Search {
        prober: &prober,
        answers: &answers,
        begun,
        port,
        seen: RefCell::default(),
        kept: Cell::new(0),
    };
    let repeat = async {
        for after in REPEATS {
            sleep_until(begun + after).await;
            // It was sent once; a failure now means that a network went away since.
            let _ = sockets.send_all(&probes);
        }
        pending().await
    };
    tokio::select! {
        () = repeat => Ok(()),
        () = answers.closed() => Ok(()),
        // The ordinary end.
        () = sleep_until(end) => Ok(()),
        () = search.collect(sockets.v4.as_ref()) => search.cut(),
        () = search.collect(sockets.v6.as_ref()) => search.cut(),
    }
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
    answers: &'a UnboundedSender<(usize, Answer)>,
    begun: Instant,
    port: u16,
    seen: RefCell<HashSet<SocketAddr>>,
    kept: Cell<usize>,
}

impl Search<'_> {
    /// Takes what comes on one socket, until there are too many answers.
    async fn collect(&self, socket: Option<&Socket>) {
        let Some(socket) = socket else {
            return pending().await;
        };
        while !self.is_full() {
            // An error of one answer does not end the others, and recv(2) clears it.
            if let Ok((length, Some(from))) = socket.receive_from(&self.prober.buffer).await {
                self.note(from, length);
            }
        }
    }

    /// Only what comes from the port that was asked is an answer, and that once.
    fn note(&self, from: SocketAddr, length: usize) {
        let mut seen = self.seen.borrow_mut();
        if from.port() != self.port || !seen.insert(from) {
            return;
        }
        let mut reply = Reply::default();
        let buffer = self.prober.buffer.borrow();
        reply.add(&buffer[..length], length, self.prober.settings.keep);
        self.kept.set(self.kept.get() + reply.kept.len());
        let answer = Answer {
            host: host_of(from),
            address: Some(show(&from)),
            outcome: judge(reply).0,
            rtt: Some(self.begun.elapsed()),
            at: SystemTime::now(),
        };
        // If the receiver is gone, discover() ends by itself.
        let _ = self.answers.send((seen.len() - 1, answer));
    }

    fn is_full(&self) -> bool {
        self.seen.borrow().len() >= ANSWERS_MAX || self.kept.get() >= KEPT_MAX
    }

    fn cut(&self) -> Result<(), String> {
        let listed = self.seen.borrow().len();
        Err(format!(
            "too many answers: only the first {listed} are listed"
        ))
    }
}

/// The name to list: the address without the port, with the zone where it needs one.
fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => {
            format!("{}%{}", v6.ip(), address::zone_name(v6.scope_id()))
        }
        other => match other.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => ip.to_string(),
        },
    }
}
