//! A machine with many addresses, on a network of its own: the reply comes from the very address
//! that was asked, over IPv4 and IPv6, and a question to everybody is answered from an address of
//! one.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

use crate::common::daemon::Ruptimed;
use crate::common::netns::Namespace;
use crate::common::process::Process;
use crate::common::{BOUND, uninterrupted, wait_for};

/// Two machines and two wires between them. The service's has several addresses of a network,
/// several networks, link-local ones that it has on both wires, and one on no wire at all.
struct Lan {
    service: Namespace,
    client: Namespace,
}

const ON_FIRST: [&str; 7] = [
    "10.1.0.1/24",
    "10.1.0.2/24",
    "10.2.0.1/24",
    "2001:db8:1::1/64",
    "2001:db8:1::2/64",
    "fe80::1/64",
    "fe80::99/64",
];
const ON_SECOND: [&str; 3] = ["10.3.0.1/24", "2001:db8:3::1/64", "fe80::1/64"];

impl Lan {
    fn new() -> Option<Lan> {
        let (service, client) = (Namespace::new()?, Namespace::new()?);
        service.wire(&client, "first");
        service.wire(&client, "second");
        service.addresses("first", &ON_FIRST);
        service.addresses("second", &ON_SECOND);
        service.addresses("lo", &["192.0.2.1/32", "2001:db8:99::1/128"]);
        let of_client = [
            "10.1.0.254/24",
            "10.2.0.254/24",
            "2001:db8:1::fe/64",
            "fe80::fe/64",
        ];
        client.addresses("first", &of_client);
        let of_client = ["10.3.0.254/24", "2001:db8:3::fe/64", "fe80::fe/64"];
        client.addresses("second", &of_client);
        client.ip("route add 192.0.2.1/32 via 10.3.0.1");
        client.ip("route add 2001:db8:99::1/128 via 2001:db8:1::1");
        Some(Lan { service, client })
    }

    fn start(&self, sockets: impl IntoIterator<Item = OwnedFd>) -> Process {
        let mut daemon = Ruptimed::new(["--rate-limit", "0"]).command(&["/bin/echo", "hi"]);
        for socket in sockets {
            daemon = daemon.inherit(socket);
        }
        self.service.enter(|| daemon.start())
    }

    /// Every address of the service, as the client writes it.
    fn all_of_service(&self, port: u16) -> Vec<SocketAddr> {
        let plain = |address: &&str| {
            let ip = address.split('/').next().and_then(|ip| ip.parse().ok());
            ip.expect("an address")
        };
        let index = |name: &str| self.client.enter(|| if_nametoindex(name).expect(name));
        let scoped = |ip: IpAddr, name: &str| match ip {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                SocketAddr::V6(SocketAddrV6::new(v6, port, 0, index(name)))
            }
            ip => SocketAddr::new(ip, port),
        };
        let first = ON_FIRST
            .iter()
            .map(|address| scoped(plain(address), "first"));
        let second = ON_SECOND
            .iter()
            .map(|address| scoped(plain(address), "second"));
        let others = ["192.0.2.1", "2001:db8:99::1"];
        let others = others.iter().map(|address| scoped(plain(address), ""));
        first.chain(second).chain(others).collect()
    }
}

/// A socket on every address: of IPv4, of IPv6, or of both.
fn bound(family: AddressFamily, v6_only: bool) -> (OwnedFd, u16) {
    let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let any: IpAddr = if family == AddressFamily::Inet {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        setsockopt(&fd, sockopt::Ipv6V6Only, &v6_only).expect("IPV6_V6ONLY");
        Ipv6Addr::UNSPECIFIED.into()
    };
    bind(
        fd.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::new(any, 0)),
    )
    .expect("a port");
    let socket = UdpSocket::from(fd);
    let port = socket.local_addr().expect("a name").port();
    (socket.into(), port)
}

fn any_like(address: &SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        SocketAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

/// Asks with a connected socket, which hears nothing from any other address (udp(7)).
fn ask_connected(service: SocketAddr) {
    let client = UdpSocket::bind(any_like(&service)).expect("a port");
    client.set_read_timeout(Some(BOUND)).expect("SO_RCVTIMEO");
    client.connect(service).expect("a route");
    client.send(b"\0").expect("sent");
    let mut reply = [0; 16];
    let length = uninterrupted(|| client.recv(&mut reply));
    let length = length.unwrap_or_else(|error| panic!("no reply from {service}: {error}"));
    assert_eq!(&reply[..length], b"hi\n", "{service}");
}

#[test]
fn the_reply_comes_from_the_address_that_was_asked() {
    let Some(lan) = Lan::new() else { return };
    let sockets = lan.service.enter(|| {
        [
            bound(AddressFamily::Inet, false),
            bound(AddressFamily::Inet6, true),
            bound(AddressFamily::Inet6, false),
        ]
    });
    let ports = sockets.each_ref().map(|(_, port)| *port);
    let process = lan.start(sockets.map(|(socket, _)| socket));
    for (port, v4, v6) in [
        (ports[0], true, false),
        (ports[1], false, true),
        (ports[2], true, true),
    ] {
        for service in lan.all_of_service(port) {
            if (service.is_ipv4() && v4) || (service.is_ipv6() && v6) {
                lan.client.enter(|| ask_connected(service));
            }
        }
    }
    assert_eq!(process.stderr(), "");
}

/// The same for a daemon that has bound its socket itself.
#[test]
fn standalone_too() {
    let Some(lan) = Lan::new() else { return };
    let daemon = Ruptimed::new(["--rate-limit", "0"]).command(&["/bin/echo", "hi"]);
    let (_process, addresses) = lan.service.enter(|| daemon.standalone(&["udp:0"]));
    for service in lan.all_of_service(addresses[0].port()) {
        lan.client.enter(|| ask_connected(service));
    }
}

/// A question to everybody may be lost on a wire that is just up; it is asked again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// Asks everybody on an interface, from this address; gives who answered.
fn ask_everybody(interface: &str, from: &str, to: SocketAddr) -> IpAddr {
    let from: IpAddr = from.parse().expect("an address");
    let index = if_nametoindex(interface).expect(interface);
    let with_scope = |ip: IpAddr, port| match ip {
        IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, port, 0, index)),
        ip => SocketAddr::new(ip, port),
    };
    let client = UdpSocket::bind(with_scope(from, 0)).expect("an address of its own");
    client.set_read_timeout(Some(AGAIN)).expect("SO_RCVTIMEO");
    client.set_broadcast(true).expect("SO_BROADCAST");
    setsockopt(&client.as_fd(), sockopt::BindToDevice, &interface.into()).expect("a device");
    let mut reply = [0; 16];
    let what = format!("an answer to {from}, who asked {to} on {interface}");
    let (length, who) = wait_for(&what, || {
        client
            .send_to(b"\0", with_scope(to.ip(), to.port()))
            .expect("sent");
        match uninterrupted(|| client.recv_from(&mut reply)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            answer => Some(answer.expect(&what)),
        }
    });
    assert_eq!((&reply[..length], who.port()), (&b"hi\n"[..], to.port()));
    who.ip()
}

#[test]
fn a_question_to_everybody_is_answered_from_an_address_of_one() {
    let Some(lan) = Lan::new() else { return };
    let sockets = lan.service.enter(|| {
        [
            bound(AddressFamily::Inet, false),
            bound(AddressFamily::Inet6, false),
        ]
    });
    let ports = sockets.each_ref().map(|(_, port)| *port);
    let _process = lan.start(sockets.map(|(socket, _)| socket));
    for (interface, from, everybody, one_of) in [
        ("first", "10.1.0.254", "10.1.0.255", &["10.1.0.1"][..]),
        ("first", "10.2.0.254", "10.2.0.255", &["10.2.0.1"]),
        ("first", "10.2.0.254", "255.255.255.255", &["10.2.0.1"]),
        ("second", "10.3.0.254", "10.3.0.255", &["10.3.0.1"]),
        ("second", "10.3.0.254", "255.255.255.255", &["10.3.0.1"]),
        ("first", "fe80::fe", "ff02::1", &["fe80::1", "fe80::99"]),
        ("second", "fe80::fe", "ff02::1", &["fe80::1"]),
        (
            "first",
            "2001:db8:1::fe",
            "ff02::1",
            &["2001:db8:1::1", "2001:db8:1::2"],
        ),
        ("second", "2001:db8:3::fe", "ff02::1", &["2001:db8:3::1"]),
    ] {
        let everybody: IpAddr = everybody.parse().expect("an address");
        for port in ports.into_iter().skip(usize::from(everybody.is_ipv6())) {
            let to = SocketAddr::new(everybody, port);
            let who = lan
                .client
                .enter(|| ask_everybody(interface, from, to))
                .to_string();
            assert!(
                one_of.contains(&who.as_str()),
                "{who} answered {from} on {interface}"
            );
        }
    }
}
