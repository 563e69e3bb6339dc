//! Whether one more may come in: peers, and what is in use, come in; verdicts go out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};

use ipnet::{IpNet, Ipv4Net};

use super::peer::{ClientOf, Peer, Source};
use super::stream::Stream;
use crate::daemon::logging as log;
use crate::daemon::options::Options;

/// Who is admitted, and how much is in use.
pub(crate) struct Admission {
    allow: Allow,
    sources: Sources,
    /// Connections, held and lingering, that the descriptor limit allows.
    capacity: usize,
    /// Connections that are being served or wait for it, and those of them to which descriptors may
    /// have been passed.
    held: usize,
    suspicious: usize,
}

/// A connection that was admitted, and its place in its source's count.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    place: Place,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A connection that was not admitted, and the reply to its client, if any.
#[derive(Debug)]
pub(crate) struct TurnedAway(pub(crate) Stream, pub(crate) &'static [u8]);

/// Whether there is a descriptor for one more connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    /// In the place of one that lingers.
    AfterEviction,
    Full,
}

impl Admission {
    /// `capacity` is the number of descriptors that connections may have.
    pub(crate) fn new(options: &Options, capacity: usize) -> Self {
        Admission {
            allow: Allow::new(&options.allow),
            sources: Sources::new(options.max_per_source),
            capacity,
            held: 0,
            suspicious: 0,
        }
    }

    /// Whether one more connection may be accepted while `lingering` others are being ended, any of
    /// which could be closed now or, unless `can_evict`, none.
    pub(crate) fn room(&self, lingering: usize, can_evict: bool) -> Room {
        if self.held + lingering < self.capacity {
            Room::Free
        } else if can_evict {
            Room::AfterEviction
        } else {
            Room::Full
        }
    }

    /// Whether one more connection of a UNIX socket may be accepted while `lingering` others, to which
    /// descriptors may have been passed, are being ended: who passes some can delay the end, and must
    /// not use up the descriptors of all others.
    pub(crate) fn has_room_for_unix(&self, lingering: usize) -> bool {
        self.suspicious + lingering < self.capacity.div_ceil(2)
    }

    /// Admits a connection, or turns it away. The kernel is asked who it is only where that matters.
    pub(crate) fn admit(&mut self, stream: Stream) -> Result<Connection, TurnedAway> {
        let limit = self.sources.limit();
        let is_limited = self.allow.is_restricted() || limit.is_some();
        let peer = is_limited.then(|| Peer::of(stream.as_fd())).flatten();
        // A connection that was reset in the backlog has no address to judge, and no client.
        if (is_limited && peer.is_none()) || stream.has_gone() {
            log::gone_at_once(&ClientOf(stream.as_fd()));
            return Err(TurnedAway(stream, b""));
        }
        if let Some(denied) = peer.filter(|peer| !self.allow.admits(peer)) {
            log::denied(&denied);
            return Err(TurnedAway(stream, b""));
        }
        let Some(place) = self.sources.enter(peer.and_then(|peer| peer.source())) else {
            log::too_many(&ClientOf(stream.as_fd()), limit.unwrap_or_default());
            let reply = b"error: too many connections at once from your address\n";
            return Err(TurnedAway(stream, reply));
        };
        self.held += 1;
        self.suspicious += usize::from(stream.may_be_laden());
        Ok(Connection { stream, place })
    }

    /// Gives back what an admitted connection held, and its descriptor, to be ended.
    pub(crate) fn release(&mut self, connection: Connection) -> Stream {
        self.held -= 1;
        self.suspicious -= usize::from(connection.stream.may_be_laden());
        self.sources.leave(connection.place);
        connection.stream
    }
}

/// Who is answered at all (`--allow`).
pub(crate) struct Allow {
    networks: Vec<IpNet>,
}

impl Allow {
    pub(crate) fn new(networks: &[IpNet]) -> Self {
        // A host's address with a prefix, 192.0.2.7/24, means its network.
        Allow {
            networks: networks.iter().map(canonical).collect(),
        }
    }

    /// False where everyone is answered.
    pub(crate) fn is_restricted(&self) -> bool {
        !self.networks.is_empty()
    }

    /// UNIX sockets always: who may connect there is decided by the file's mode and owner.
    pub(crate) fn admits(&self, peer: &Peer) -> bool {
        if !self.is_restricted() {
            return true;
        }
        match peer {
            Peer::Unix(_) => true,
            Peer::Inet(address) => {
                let ip = address.ip().to_canonical();
                self.networks.iter().any(|network| network.contains(&ip))
            }
            Peer::Vsock { .. } => false,
        }
    }
}

/// The network itself; one of IPv4 addresses mapped into IPv6 becomes one of IPv4, as peers do.
fn canonical(network: &IpNet) -> IpNet {
    let network = network.trunc();
    match (
        network.addr().to_canonical(),
        network.prefix_len().checked_sub(96),
    ) {
        (IpAddr::V4(v4), Some(prefix)) if network.addr().is_ipv6() => {
            Ipv4Net::new(v4, prefix).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

/// How many connections each source has at once (`--max-per-source`). Empty, and free, without
/// that limit; with it, as large as the number of sources that are being served.
pub(crate) struct Sources {
    limit: Option<NonZeroUsize>,
    counts: HashMap<Source, usize>,
}

impl Sources {
    pub(crate) fn new(limit: Option<NonZeroUsize>) -> Self {
        Sources {
            limit,
            counts: HashMap::new(),
        }
    }

    pub(crate) fn limit(&self) -> Option<usize> {
        self.limit.map(NonZeroUsize::get)
    }

    /// Counts one more connection of this source: the place that [`Self::leave`] gives back, or
    /// None where there is no place left. A peer without an address has none, and is not counted.
    pub(crate) fn enter(&mut self, source: Option<Source>) -> Option<Place> {
        let (Some(limit), Some(source)) = (self.limit(), source) else {
            return Some(Place(None));
        };
        let count = self.counts.entry(source).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place(Some(source)))
    }

    /// Gives a place back.
    pub(crate) fn leave(&mut self, place: Place) {
        let Some(source) = place.0 else { return };
        if let Some(count) = self.counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&source);
            }
        }
    }
}

/// A connection's place in its source's count.
#[derive(Debug)]
#[must_use]
pub(crate) struct Place(Option<Source>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::intake::stream::wait_until_gone;
    use crate::rights::tests::pass;
    use clap::Parser;
    use nix::sys::socket::{AddressFamily, MsgFlags};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    fn peer(text: &str) -> Peer {
        Peer::Inet(text.parse::<SocketAddr>().expect("an address"))
    }

    const UNIX: Peer = Peer::Unix(None);

    fn source(text: &str) -> Option<Source> {
        peer(text).source()
    }

    fn allow(networks: &[&str]) -> Allow {
        let networks = networks.iter().map(|text| text.parse().expect("a network"));
        Allow::new(&networks.collect::<Vec<_>>())
    }

    #[test]
    fn without_a_list_everyone_is_admitted() {
        for who in [peer("192.0.2.1:1"), UNIX, Peer::Vsock { cid: 2, port: 1 }] {
            assert!(allow(&[]).admits(&who));
        }
    }

    #[test]
    fn with_a_list_only_its_networks_and_unix_sockets_are() {
        let allow = allow(&["192.0.2.7/24", "2001:db8::/32"]);
        for (who, admitted) in [
            (peer("192.0.2.200:1"), true),
            (peer("192.0.3.1:1"), false),
            (peer("[::ffff:192.0.2.1]:1"), true),
            (peer("[2001:db8::1]:1"), true),
            (peer("[2001:db9::1]:1"), false),
            (UNIX, true),
            (Peer::Vsock { cid: 2, port: 1 }, false),
        ] {
            assert_eq!(allow.admits(&who), admitted, "{who}");
        }
    }

    #[test]
    fn a_mapped_network_is_one_of_ipv4() {
        let allow = allow(&["::ffff:192.0.2.0/120"]);
        assert!(allow.admits(&peer("192.0.2.9:1")) && !allow.admits(&peer("192.0.3.9:1")));
    }

    #[test]
    fn a_source_has_so_many_places_and_gets_them_back() {
        let mut sources = Sources::new(NonZeroUsize::new(2));
        let first = sources.enter(source("192.0.2.1:1")).expect("a place");
        let _second = sources.enter(source("192.0.2.1:2")).expect("a place");
        assert!(sources.enter(source("192.0.2.1:3")).is_none());
        assert!(sources.enter(source("192.0.2.2:3")).is_some());
        assert!(sources.enter(UNIX.source()).is_some());
        sources.leave(first);
        assert!(sources.enter(source("192.0.2.1:3")).is_some());
    }

    #[test]
    fn an_ipv6_64_is_one_source() {
        let mut sources = Sources::new(NonZeroUsize::new(1));
        let place = sources.enter(source("[2001:db8::1]:1")).expect("a place");
        assert!(sources.enter(source("[2001:db8::2]:1")).is_none());
        sources.leave(place);
        assert!(sources.counts.is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let mut sources = Sources::new(None);
        let _place = sources.enter(source("192.0.2.1:1")).expect("a place");
        assert!(sources.counts.is_empty());
    }

    fn admission(arguments: &[&str], capacity: usize) -> Admission {
        let words = ["ruptimed"].iter().chain(arguments);
        Admission::new(&Options::parse_from(words), capacity)
    }

    fn tcp() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let theirs = TcpStream::connect(address).expect("connected");
        let ours = listener.accept().expect("accepted").0;
        (theirs, Stream::new(ours.into(), AddressFamily::Inet))
    }

    #[test]
    fn a_place_is_held_from_admission_to_release() {
        let mut admission = admission(&["--max-per-source", "1"], 8);
        let (_theirs, ours) = tcp();
        let first = admission.admit(ours).expect("admitted");
        let (_theirs, ours) = tcp();
        let turned_away = admission.admit(ours).expect_err("one too many");
        assert!(turned_away.1.starts_with(b"error: too many"));
        admission.release(first);
        let (_theirs, ours) = tcp();
        admission.admit(ours).expect("its place is free again");
    }

    #[test]
    fn who_is_not_allowed_is_told_nothing() {
        let mut admission = admission(&["--allow", "192.0.2.0/24"], 8);
        let (_theirs, ours) = tcp();
        assert_eq!(admission.admit(ours).expect_err("denied").1, b"");
        let (_theirs, ours) = UnixStream::pair().expect("a pair");
        admission.admit(ours.into()).expect("UNIX sockets always");
    }

    #[test]
    fn a_client_that_has_gone_is_not_served() {
        for arguments in [&[][..], &["--allow", "127.0.0.0/8"]] {
            let (theirs, ours) = UnixStream::pair().expect("a pair");
            drop(theirs);
            let ours = Stream::from(ours);
            wait_until_gone(&ours);
            let turned_away = admission(arguments, 8).admit(ours);
            assert_eq!(turned_away.expect_err("gone").1, b"");
        }
    }

    #[test]
    fn the_descriptors_bound_the_connections() {
        let mut admission = admission(&[], 2);
        assert_eq!(admission.room(0, false), Room::Free);
        let (_theirs, ours) = tcp();
        let connection = admission.admit(ours).expect("admitted");
        assert_eq!(admission.room(0, false), Room::Free);
        assert_eq!(admission.room(1, true), Room::AfterEviction);
        assert_eq!(
            admission.room(1, false),
            Room::Full,
            "it waits for a thread"
        );
        let (_theirs, ours) = tcp();
        let _second = admission.admit(ours).expect("admitted");
        assert_eq!(admission.room(0, false), Room::Full);
        admission.release(connection);
        assert_eq!(admission.room(0, false), Room::Free);
    }

    #[test]
    fn those_who_may_pass_descriptors_have_half_of_them() {
        let mut admission = admission(&[], 4);
        let (passed, _other) = UnixStream::pair().expect("a pair");
        let laden = || {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            pass(&theirs, &passed, MsgFlags::empty()).expect("passed");
            (theirs, Stream::new(ours.into(), AddressFamily::Unix))
        };
        let ((_first, one), (_second, other)) = (laden(), laden());
        assert!(admission.has_room_for_unix(1) && !admission.has_room_for_unix(2));
        let one = admission.admit(one).expect("admitted");
        assert!(!admission.has_room_for_unix(1));
        let _other = admission.admit(other).expect("admitted");
        assert!(!admission.has_room_for_unix(0));
        assert_eq!(admission.room(0, false), Room::Free);
        admission.release(one);
        assert!(admission.has_room_for_unix(0));
    }
}
