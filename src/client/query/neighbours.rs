//! Turns for hosts on directly attached networks, so that the kernel's table of neighbours does not
//! overflow.
//!
//! Comes in: the addresses of a host that is about to be asked. Goes out: when it may be. The table
//! holds `gc_thresh3` neighbours (arp(7)), those that do not answer included; beyond that packets
//! are dropped in silence, other programs' too, and hosts that are up look down. To ask fewer at
//! once would not do: a new neighbour stays in the table long after it was asked.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::address;

/// How long a neighbour that answers stays: half as long again as the kernel's base_reachable_time
/// of 30 s at most, and 5 s more until it may be thrown out.
const STAY_REACHABLE: Duration = Duration::from_secs(51);
/// How long one stays that does not: it is probed for 3 s, and once more after a SYN at 3 s.
const STAY_SILENT: Duration = Duration::from_millis(6_500);
/// Left to other programs.
const RESERVE: usize = 32;
/// The kernel's default of `gc_thresh3`; it shows its own only outside network namespaces.
const TABLE: usize = 1024;

/// Who may be asked when.
pub(super) struct Neighbours {
    networks: Vec<Network>,
    v4: Arc<Semaphore>,
    v6: Arc<Semaphore>,
}

/// The places that a host takes in the table.
#[derive(Default)]
pub(super) struct Turn(Vec<(Instant, OwnedSemaphorePermit)>);

impl Neighbours {
    /// For a call that asks this many `hosts`: few need no turns, and then no network is looked at.
    pub(super) fn new(hosts: usize) -> Neighbours {
        let room = |family| if hosts > 1 { room(family) } else { 1 };
        let (v4, v6) = (room("ipv4"), room("ipv6"));
        let networks = if hosts > v4.min(v6) {
            attached()
        } else {
            Vec::new()
        };
        Neighbours {
            networks,
            v4: Arc::new(Semaphore::new(v4)),
            v6: Arc::new(Semaphore::new(v6)),
        }
    }

    /// Waits until a host with these addresses may be asked.
    pub(super) async fn turn(&self, addresses: &[SocketAddr]) -> Turn {
        let mut turn = Turn::default();
        let near = |address: &&SocketAddr| self.networks.iter().any(|n| n.has(address.ip()));
        // One of each family: the race asks further ones only of a host that does not answer.
        for (room, is_v4) in [(&self.v4, true), (&self.v6, false)] {
            let mut family = addresses.iter().filter(|a| a.is_ipv4() == is_v4);
            if family.find(near).is_some() {
                // An error would mean a closed semaphore, and it is never closed.
                if let Ok(permit) = Arc::clone(room).acquire_owned().await {
                    turn.0.push((Instant::now(), permit));
                }
            }
        }
        turn
    }
}

impl Turn {
    /// The host was asked, and was `silent` or not. Its places become free when the kernel may
    /// give them to others.
    pub(super) fn end(self, silent: bool) {
        let stay = if silent { STAY_SILENT } else { STAY_REACHABLE };
        for (begun, permit) in self.0 {
            spawn_local(async move {
                sleep_until(begun + stay).await;
                drop(permit);
            });
        }
    }
}

/// How many neighbours may be new at a time.
fn room(family: &str) -> usize {
    let file = format!("/proc/sys/net/{family}/neigh/default/gc_thresh3");
    let text = fs::read_to_string(file).unwrap_or_default();
    let table: usize = text.trim().parse().unwrap_or(TABLE);
    table
        .saturating_sub(RESERVE)
        .clamp(1, Semaphore::MAX_PERMITS)
}

/// A network whose hosts are neighbours.
#[derive(Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    netmask: IpAddr,
}

impl Network {
    fn has(&self, ip: IpAddr) -> bool {
        match (self.address, self.netmask, ip) {
            (IpAddr::V4(network), IpAddr::V4(mask), IpAddr::V4(ip)) => network & mask == ip & mask,
            (IpAddr::V6(network), IpAddr::V6(mask), IpAddr::V6(ip)) => network & mask == ip & mask,
            _ => false,
        }
    }
}

/// The networks of this machine's interfaces that have neighbours. None where they cannot be
/// listed: then no host waits.
fn attached() -> Vec<Network> {
    let without =
        InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT | InterfaceFlags::IFF_NOARP;
    let interfaces = getifaddrs().into_iter().flatten();
    let near = interfaces.filter(|interface| !interface.flags.intersects(without));
    near.filter_map(|interface| {
        Some(Network {
            address: address::ip_of(interface.address)?,
            netmask: address::ip_of(interface.netmask)?,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    #[test]
    fn a_network_has_the_addresses_of_its_prefix() {
        let network = |address: &str, netmask: &str| Network {
            address: address.parse().unwrap(),
            netmask: netmask.parse().unwrap(),
        };
        let has = |network: &Network, ip: &str| network.has(ip.parse().unwrap());
        let v4 = network("192.0.2.77", "255.255.255.128");
        assert!(has(&v4, "192.0.2.1") && !has(&v4, "192.0.2.128") && !has(&v4, "::1"));
        let v6 = network("2001:db8::1", "ffff:ffff:ffff:ffff::");
        assert!(has(&v6, "2001:db8::ffff") && !has(&v6, "2001:db8:1::1"));
        assert!(!has(&v6, "192.0.2.1"));
    }

    #[tokio::test(start_paused = true)]
    async fn neighbours_wait_until_the_kernel_has_room_for_them() {
        let begun = Instant::now();
        let network = Network {
            address: "192.0.2.1".parse().unwrap(),
            netmask: "255.255.255.0".parse().unwrap(),
        };
        let neighbours = Neighbours {
            networks: vec![network],
            v4: Arc::new(Semaphore::new(2)),
            v6: Arc::new(Semaphore::new(1)),
        };
        let ask = async |ip: &str, silent| {
            let address = SocketAddr::new(ip.parse().unwrap(), 7);
            neighbours.turn(&[address]).await.end(silent);
            begun.elapsed()
        };
        let asking = async {
            assert_eq!(ask("192.0.2.7", false).await, Duration::ZERO);
            assert_eq!(ask("192.0.2.8", true).await, Duration::ZERO);
            assert_eq!(ask("192.0.2.9", true).await, STAY_SILENT);
            // What is behind a router is no neighbour.
            assert_eq!(ask("198.51.100.7", false).await, STAY_SILENT);
            assert_eq!(ask("192.0.2.10", false).await, STAY_SILENT * 2);
            assert_eq!(ask("192.0.2.11", false).await, STAY_REACHABLE);
        };
        LocalSet::new().run_until(asking).await;
    }
}
