//! `--discover`: one request to every host on the local networks, and the machines that answer.
//!
//! Comes in: the interfaces. Goes out: one [`Answer`] for each machine that answered, with its
//! addresses, when the search is over: only then is it known which addresses are one machine's.
//! That is at the timeout, or once the network is quiet and the names are looked up (`lull`). A
//! name that is not there by then is not waited for. The question is repeated, because broadcasts
//! are the first that a busy network drops; an address that answers twice is listed once. Only what
//! comes from the port that was asked is an answer.

mod lull;
mod machines;
mod names;
mod networks;
mod sockets;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::pending;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use self::lull::Lull;
use self::machines::Found;
pub(super) use self::names::Names;
use self::sockets::Sockets;
use crate::client::answer::Answer;
use crate::client::query::address;
use crate::client::query::failure::Failure;
use crate::client::query::reply::Reply;
use crate::client::query::socket::Socket;
use crate::client::query::{Prober, judge, show};

/// When the question is asked: at once and after these times, if the timeout is not over.
const REPEATS: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(1000)];
/// The most addresses that are listed: a forger has as many as he likes.
pub(crate) const ANSWERS_MAX: usize = 16_384;
/// The most bytes of answers that are kept, which only `text` can reach.
const KEPT_MAX: usize = 64 << 20;

/// Asks every host; the machines' answers go to `answers` with their number, at `deadline` at the
/// latest. The error is one line: no request could be sent, or there are too many answers for a
/// list.
pub(crate) async fn discover(
    prober: Rc<Prober>,
    names: Rc<Names>,
    deadline: Option<Instant>,
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
    let end = deadline.map_or(end, |deadline| deadline.min(end));
    let sockets = Sockets::open(&probes).map_err(|errno| Failure::Os(errno).reason())?;
    sockets.send_all(&probes)?;
    let search = Rc::new(Search {
        prober,
        names,
        begun,
        end,
        port,
        lull: Lull::new(end - begun),
        seen: RefCell::default(),
        found: RefCell::default(),
        kept: Cell::new(0),
    });
    let repeat = async {
        for after in REPEATS {
            sleep_until(begun + after).await;
            // It was sent once; a failure now means that a network went away since.
            let _ = sockets.send_all(&probes);
        }
        search.lull.asked();
        pending().await
    };
    let ended = tokio::select! {
        () = repeat => Ok(()),
        () = answers.closed() => Ok(()),
        // The ordinary ends.
        () = search.lull.over() => Ok(()),
        () = sleep_until(end) => Ok(()),
        () = search.collect(sockets.v4.as_ref()) => search.cut(),
        () = search.collect(sockets.v6.as_ref()) => search.cut(),
    };
    for arrival in search.machines().into_iter().enumerate() {
        // A receiver that is gone wants none.
        let _ = answers.send(arrival);
    }
    ended
}

struct Search {
    prober: Rc<Prober>,
    names: Rc<Names>,
    begun: Instant,
    end: Instant,
    port: u16,
    lull: Lull,
    seen: RefCell<HashSet<SocketAddr>>,
    /// In the order in which they answered.
    found: RefCell<Vec<(SocketAddr, Found)>>,
    kept: Cell<usize>,
}

impl Search {
    /// Takes what comes on one socket, until there are too many answers.
    async fn collect(self: &Rc<Self>, socket: Option<&Socket>) {
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
    fn note(self: &Rc<Self>, from: SocketAddr, length: usize) {
        if from.port() != self.port {
            return;
        }
        self.lull.heard();
        if !self.seen.borrow_mut().insert(from) {
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
            machine: None,
        };
        let mut found = self.found.borrow_mut();
        let place = found.len();
        found.push((from, Found { answer, name: None }));
        self.lull.name_begins();
        // It ends with the round's tasks.
        spawn_local(Rc::clone(self).name(place, from));
    }

    /// Looks up the name of an address that was found.
    async fn name(self: Rc<Self>, place: usize, address: SocketAddr) {
        let limit = self.end.saturating_duration_since(Instant::now());
        let name = self.names.look_up(address, limit).await;
        if let Some((_, found)) = self.found.borrow_mut().get_mut(place) {
            found.name = name;
        }
        self.lull.name_ends();
    }

    /// The machines, whether their names have been looked up or not.
    fn machines(&self) -> Vec<Answer> {
        let found = mem::take(&mut *self.found.borrow_mut());
        let found = found.into_iter().map(|(address, Found { answer, name })| {
            let name = name.or_else(|| self.names.known(&address));
            Found { answer, name }
        });
        machines::join(found.collect())
    }

    fn is_full(&self) -> bool {
        self.seen.borrow().len() >= ANSWERS_MAX || self.kept.get() >= KEPT_MAX
    }

    fn cut(&self) -> Result<(), String> {
        let listed = self.seen.borrow().len();
        Err(format!(
            "too many answers: only the first {listed} addresses are listed"
        ))
    }
}

/// The address without the port, with the zone where it needs one.
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
