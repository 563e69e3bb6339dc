//! The local networks: this machine's interfaces → the broadcast and multicast addresses to ask.
//!
//! IPv4: the broadcast address of each address of each interface. IPv6: the all-nodes group
//! ff02::1 (RFC 4291 section 2.7.1) on each interface that has multicast. The loopback interface
//! is asked only where there is no other: this machine hears its own question on the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

use crate::client::query::address::{self, Family};

/// RFC 4291 section 2.7.1, link-local scope.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// One request to every host on one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The broadcast or multicast address.
    pub(crate) to: SocketAddr,
    /// The interface that it leaves from.
    pub(crate) interface: u32,
    /// The address that it leaves from, for IPv4.
    pub(crate) from: Option<Ipv4Addr>,
}

/// One address of one interface.
#[derive(Debug, Clone, Copy)]
struct Interface {
    index: u32,
    flags: InterfaceFlags,
    address: IpAddr,
    broadcast: Option<Ipv4Addr>,
    netmask: Option<Ipv4Addr>,
}

/// The questions that reach every local network, on `port`; see getifaddrs(3).
pub(crate) fn probes(port: u16, family: Family) -> Result<Vec<Probe>, Errno> {
    let mut interfaces = Vec::new();
    for entry in getifaddrs()? {
        let v4 = |address| match address::ip_of(address) {
            Some(IpAddr::V4(v4)) => Some(v4),
            _ => None,
        };
        // An interface that went away since is no network any more.
        let index = if_nametoindex(entry.interface_name.as_str());
        if let (Some(address), Ok(index)) = (address::ip_of(entry.address), index) {
            interfaces.push(Interface {
                index,
                flags: entry.flags,
                address,
                broadcast: v4(entry.broadcast),
                netmask: v4(entry.netmask),
            });
        }
    }
    Ok(choose(&interfaces, port, family))
}

fn choose(interfaces: &[Interface], port: u16, family: Family) -> Vec<Probe> {
    let up = |interface: &&Interface| interface.flags.contains(InterfaceFlags::IFF_UP);
    let is_loopback =
        |interface: &Interface| interface.flags.contains(InterfaceFlags::IFF_LOOPBACK);
    let real = interfaces
        .iter()
        .filter(up)
        .filter(|interface| !is_loopback(interface));
    let mut probes: Vec<Probe> = Vec::new();
    for probe in real.filter_map(|interface| probe(interface, port)) {
        if family.allows(&probe.to) && !probes.contains(&probe) {
            probes.push(probe);
        }
    }
    if probes.is_empty() {
        let loopback = interfaces
            .iter()
            .filter(up)
            .find(|i| is_loopback(i) && i.address.is_ipv4());
        probes.extend(
            loopback
                .and_then(|i| loopback_probe(i, port))
                .filter(|c| family.allows(&c.to)),
        );
    }
    probes
}

fn probe(interface: &Interface, port: u16) -> Option<Probe> {
    match interface.address {
        IpAddr::V4(own) if interface.flags.contains(InterfaceFlags::IFF_BROADCAST) => {
            // Without one of its own (`ip address add` gives none; what glibc tells then is the
            // address itself), the network's is as good: the kernel routes it as one.
            let broadcast = interface
                .broadcast
                .filter(|b| *b != own && !b.is_unspecified())
                .or_else(|| last_of(own, interface.netmask?))?;
            Some(broadcast_probe(interface, own, broadcast, port))
        }
        IpAddr::V6(_) if interface.flags.contains(InterfaceFlags::IFF_MULTICAST) => Some(Probe {
            to: SocketAddrV6::new(ALL_NODES, port, 0, interface.index).into(),
            interface: interface.index,
            from: None,
        }),
        _ => None,
    }
}

fn broadcast_probe(interface: &Interface, own: Ipv4Addr, to: Ipv4Addr, port: u16) -> Probe {
    Probe {
        to: SocketAddrV4::new(to, port).into(),
        interface: interface.index,
        from: Some(own),
    }
}

/// The broadcast address of the network, its last one. A /31 or /32 has none, RFC 3021: there is no
/// other host to find.
fn last_of(own: Ipv4Addr, netmask: Ipv4Addr) -> Option<Ipv4Addr> {
    let mask = netmask.to_bits();
    (mask.count_ones() < 31).then(|| Ipv4Addr::from_bits(own.to_bits() | !mask))
}

/// 127.0.0.0/8 has a broadcast address in the routing table, though its interface has no flag.
fn loopback_probe(interface: &Interface, port: u16) -> Option<Probe> {
    let IpAddr::V4(own) = interface.address else {
        return None;
    };
    let everybody = Ipv4Addr::new(127, 255, 255, 255);
    Some(broadcast_probe(interface, own, everybody, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(
        index: u32,
        flags: InterfaceFlags,
        address: &str,
        broadcast: Option<&str>,
    ) -> Interface {
        let broadcast = broadcast.map(|text| text.parse().unwrap());
        Interface {
            index,
            flags,
            address: address.parse().unwrap(),
            broadcast,
            netmask: None,
        }
    }
    fn ethernet() -> InterfaceFlags {
        InterfaceFlags::IFF_UP | InterfaceFlags::IFF_BROADCAST | InterfaceFlags::IFF_MULTICAST
    }
    fn loopback() -> Interface {
        interface(
            1,
            InterfaceFlags::IFF_UP | InterfaceFlags::IFF_LOOPBACK,
            "127.0.0.1",
            None,
        )
    }
    fn chosen(interfaces: &[Interface], family: Family) -> Vec<String> {
        choose(interfaces, 7, family)
            .iter()
            .map(|probe| format!("{}@{}", probe.to, probe.interface))
            .collect()
    }

    #[test]
    fn every_network_is_asked_once() {
        let tunnel = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_POINTOPOINT;
        let all = [
            loopback(),
            interface(2, ethernet(), "192.0.2.1", Some("192.0.2.255")),
            interface(2, ethernet(), "198.51.100.1", Some("198.51.100.255")),
            interface(2, ethernet(), "fe80::1", None),
            interface(2, ethernet(), "2001:db8::1", None),
            interface(3, ethernet(), "fe80::2", None),
            interface(4, tunnel, "203.0.113.1", None),
            interface(5, ethernet(), "203.0.113.9", Some("203.0.113.9")),
            interface(
                6,
                ethernet() - InterfaceFlags::IFF_UP,
                "192.0.2.99",
                Some("192.0.2.255"),
            ),
        ];
        let v4 = ["192.0.2.255:7@2", "198.51.100.255:7@2"];
        let v6 = ["[ff02::1%2]:7@2", "[ff02::1%3]:7@3"];
        assert_eq!(chosen(&all, Family::Any), [&v4[..], &v6[..]].concat());
        assert_eq!(chosen(&all, Family::V4), v4);
        assert_eq!(chosen(&all, Family::V6), v6);
    }

    #[test]
    fn an_address_without_a_broadcast_address_has_its_networks() {
        let with = |mask: &str, broadcast, flags| {
            let plain = interface(2, flags, "192.0.2.1", broadcast);
            let netmask = Some(mask.parse().unwrap());
            chosen(&[Interface { netmask, ..plain }], Family::Any)
        };
        let (lan, own) = ("255.255.255.0", Some("192.0.2.1"));
        for broadcast in [None, own, Some("0.0.0.0")] {
            assert_eq!(with(lan, broadcast, ethernet()), ["192.0.2.255:7@2"]);
        }
        let given = Some("192.0.2.127");
        assert_eq!(with(lan, given, ethernet()), ["192.0.2.127:7@2"]);
        for mask in ["255.255.255.254", "255.255.255.255"] {
            assert!(with(mask, own, ethernet()).is_empty(), "{mask}");
        }
        let tunnel = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_POINTOPOINT;
        assert!(with(lan, None, tunnel).is_empty());
    }

    #[test]
    fn a_machine_without_a_network_asks_itself() {
        assert_eq!(chosen(&[loopback()], Family::Any), ["127.255.255.255:7@1"]);
        assert!(chosen(&[loopback()], Family::V6).is_empty());
        assert!(chosen(&[], Family::Any).is_empty());
    }
}
