//! Floods of datagrams with forged senders, on a network of its own: a victim gets no more than
//! the limit, memory does not grow with the senders, and nobody honest is shut out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

use nix::unistd::{SysconfVar, sysconf};

use crate::common::daemon::Ruptimed;
use crate::common::forge::Forger;
use crate::common::netns::Namespace;
use crate::common::process::Process;
use crate::common::wait_until;

/// The service at 10.0.0.1 and 2001:db8::1, and the rest of the world, where 198.51.100.0/24,
/// 203.0.113.0/24, 2001:db8:f00::/48 and 2001:db8:ba5::/48 are.
struct World {
    service: Namespace,
    rest: Namespace,
}

impl World {
    fn new() -> Option<World> {
        let (service, rest) = (Namespace::new()?, Namespace::new()?);
        service.wire(&rest, "wire");
        service.addresses("wire", &["10.0.0.1/16", "2001:db8::1/64", "fe80::1/64"]);
        rest.addresses("wire", &["10.0.0.2/16", "2001:db8::2/64", "fe80::2/64"]);
        service.ip("route add default via 10.0.0.2");
        service.ip("-6 route add default via 2001:db8::2");
        for network in [
            "198.51.100.0/24",
            "203.0.113.0/24",
            "2001:db8:f00::/48",
            "2001:db8:ba5::/48",
        ] {
            rest.ip(&format!("route add local {network} dev lo"));
        }
        Some(World { service, rest })
    }

    /// A daemon there, and its address of either family.
    fn start(&self, options: &[&str]) -> (Process, [SocketAddr; 2]) {
        let daemon = Ruptimed::new(options).command(&["/bin/echo", "hi"]);
        let (process, addresses) = self.service.enter(|| daemon.standalone(&["udp:0"]));
        let port = addresses[0].port();
        let v4 = SocketAddr::from(([10, 0, 0, 1], port));
        let v6 = SocketAddr::new("2001:db8::1".parse().expect("an address"), port);
        // A new wire drops what is sent before the kernel has seen it come up; forgers send once.
        self.rest.enter(|| [v4, v6].map(ask));
        (process, [v4, v6])
    }

    /// Whoever has an address of the rest: a socket with room for a flood.
    fn anybody(&self, port: u16) -> UdpSocket {
        self.rest.enter(|| {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a port");
            setsockopt(&socket, RcvBufForce, &(8 << 20)).expect("SO_RCVBUFFORCE");
            socket
        })
    }
}

/// What has come to a socket within so long after the last.
fn count(socket: &UdpSocket, time: Duration) -> usize {
    socket.set_read_timeout(Some(time)).expect("SO_RCVTIMEO");
    std::iter::from_fn(|| socket.recv(&mut [0; 16]).ok()).count()
}

/// An honest client, who asks until there is an answer.
fn ask(service: SocketAddr) {
    let any: IpAddr = match service {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let client = UdpSocket::bind((any, 0)).expect("a port");
    client.connect(service).expect("a route");
    client.set_nonblocking(true).expect("non-blocking");
    wait_until("an answer", || {
        client.send(b"\0").expect("sent");
        client.recv(&mut [0; 16]).is_ok()
    });
}

/// Resident, in bytes (proc_pid_statm(5)).
fn memory(process: &Process) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", process.pid()));
    let statm = statm.expect("a process of our own");
    let pages = statm.split_whitespace().nth(1).expect("resident pages");
    let size = sysconf(SysconfVar::PAGE_SIZE).expect("a limit");
    pages.parse::<usize>().expect("a number") * size.expect("a size") as usize
}

/// Whoever forges the addresses of a victim's network gets it no more than the limit, however many
/// hosts of it he forges, and meanwhile others are answered.
#[test]
fn a_victim_gets_no_more_than_the_limit() {
    const LIMIT: usize = 10;
    let Some(world) = World::new() else { return };
    // Each family on its own port, so that each is counted for itself.
    for (index, network) in ["198.51.100.", "2001:db8:f00:ff"].iter().enumerate() {
        let (mut process, services) = world.start(&["--rate-limit", "10"]);
        let service = services[index];
        let victim = world.anybody(4000);
        let begin = Instant::now();
        world.rest.enter(|| {
            let forger = Forger::new();
            for number in 0..20_000_u32 {
                let host = match service {
                    SocketAddr::V4(_) => format!("{network}{}", 1 + number % 250),
                    // All of one /56.
                    SocketAddr::V6(_) => format!("{network}{:02x}::{number:x}", number % 256),
                };
                let from = SocketAddr::new(host.parse().expect("an address"), 4000);
                forger.send(from, service);
                if number % 5_000 == 0 {
                    ask(service);
                }
            }
            // Whatever is answered after this one, that was sent before it, has left.
            ask(service);
        });
        let replies = count(&victim, Duration::from_millis(200));
        let seconds = begin.elapsed().as_secs() as usize;
        // A second begins with the first reply that it counts.
        assert!(
            (1..=LIMIT * (seconds + 1)).contains(&replies),
            "{replies} replies to {network} in {seconds} s"
        );
        process.wait_for_stderr("beyond --rate-limit, not answered");
        let stderr = process.stderr();
        assert!(stderr.lines().count() <= 3 + seconds / 10, "{stderr}");
    }
}

/// More senders than the table has places: each network another one.
#[test]
fn forged_senders_cost_no_memory_and_shut_nobody_out() {
    let Some(world) = World::new() else { return };
    let (process, [v4, v6]) = world.start(&[]);
    world.rest.enter(|| ask(v4));
    let forger = world.rest.enter(Forger::new);
    for number in 0..40_000_u32 {
        // 0.0.0.0/8, 127.0.0.0/8 and multicast would be dropped on the way.
        let network = 0x0b00_0001 + (number << 8);
        forger.send(SocketAddr::from((Ipv4Addr::from(network), 4000)), v4);
        let network = 0x3fff_0000_u128 << 96 | u128::from(number) << 72 | 1;
        forger.send(SocketAddr::from((Ipv6Addr::from(network), 4000)), v6);
    }
    world.rest.enter(|| ask(v4));
    world.rest.enter(|| ask(v6));
    assert!(memory(&process) < 16 << 20, "{} bytes", memory(&process));
}

/// Two services that answered each other would do so for ever: neither answers what comes from
/// the service's port, from its own, from a reserved one, or from none.
#[test]
fn a_server_is_not_answered_whoever_it_is() {
    let Some(world) = World::new() else { return };
    let options = ["--rate-limit", "0", "--log-level", "debug"];
    let (mut process, services) = world.start(&options);
    let watch = world.anybody(10_513);
    let forger = world.rest.enter(Forger::new);
    for service in services {
        let host = match service {
            SocketAddr::V4(_) => "198.51.100.1",
            SocketAddr::V6(_) => "2001:db8:f00::1",
        };
        for port in [0, 7, 1023, 10_513, service.port()] {
            let from = SocketAddr::new(host.parse().expect("an address"), port);
            forger.send(from, service);
            process.wait_for_stderr(&format!("not answered {from}: it is a server's port"));
        }
        world.rest.enter(|| ask(service));
    }
    assert_eq!(count(&watch, Duration::from_millis(1)), 0);
}

/// Two machines with the service on its own port, each told that the other asks.
#[test]
fn two_services_do_not_talk_to_each_other() {
    let Some(world) = World::new() else { return };
    let start = |namespace: &Namespace| {
        let daemon = Ruptimed::new(["--rate-limit", "0", "--log-level", "debug"]);
        let daemon = daemon.command(&["/bin/echo", "hi"]);
        namespace.enter(|| daemon.standalone(&["udp:10513"])).0
    };
    let mut one = start(&world.service);
    let mut two = start(&world.rest);
    let [at_one, at_two] = ["10.0.0.1", "10.0.0.2"]
        .map(|host| SocketAddr::new(host.parse().expect("an address"), 10_513));
    // As in World::start.
    world.rest.enter(|| ask(at_one));
    world.service.enter(|| ask(at_two));
    world.rest.enter(|| Forger::new().send(at_two, at_one));
    world.service.enter(|| Forger::new().send(at_one, at_two));
    one.wait_for_stderr(&format!("not answered {at_two}"));
    two.wait_for_stderr(&format!("not answered {at_one}"));
    world.rest.enter(|| ask(at_one));
    world.service.enter(|| ask(at_two));
    let stderr = [one.stderr(), two.stderr()];
    for stderr in stderr {
        assert_eq!(stderr.matches("not answered").count(), 1, "{stderr}");
    }
}

/// Forged senders who would have to be looked for on the local network (arp(7)) and are not there:
/// the replies to them wait for the look-up, and must not keep the others waiting as long.
#[test]
fn senders_who_cannot_be_found_hold_up_nobody() {
    let Some(world) = World::new() else { return };
    let (process, [v4, _]) = world.start(&["--rate-limit", "0"]);
    let forger = world.rest.enter(Forger::new);
    for number in 0..3_000_u32 {
        let host = 0x0a00_0100 + number;
        forger.send(SocketAddr::from((Ipv4Addr::from(host), 4000)), v4);
    }
    let begin = Instant::now();
    world.rest.enter(|| ask(v4));
    // The kernel gives up on a neighbour after three seconds.
    let waited = begin.elapsed();
    assert!(waited < Duration::from_secs(10), "{waited:?}");
    assert_eq!(process.stderr().lines().count(), 1, "{}", process.stderr());
}
