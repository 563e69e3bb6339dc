//! Who may ask, and how often at once: peers come in, verdicts go out. Pure bookkeeping.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;

use ipnet::{IpNet, Ipv4Net};

use crate::daemon::intake::peer::{Peer, Source};

/// Who is answered at all (`--allow`).
pub(crate) struct Allow {
    networks: Vec<IpNet>,
}

impl Allow {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
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

/// The network itself; one of IPv4 addresses mapped into IPv6 as one of IPv4, as its peers are told.
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
    use std::net::SocketAddr;

    fn peer(text: &str) -> Peer {
        Peer::Inet(text.parse::<SocketAddr>().expect("an address"))
    }

    const UNIX: Peer = Peer::Unix(None);

    fn source(text: &str) -> Option<Source> {
        peer(text).source()
    }

    fn allow(networks: &[&str]) -> Allow {
        Allow::new(
            networks
                .iter()
                .map(|text| text.parse().expect("a network"))
                .collect(),
        )
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
}
