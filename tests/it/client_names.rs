//! Names with several addresses, with one family, and with a resolver that does not answer: each
//! in a mount namespace with files of its own in the place of those in /etc.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use crate::common::fake::{Fake, Full, LINE, Ran, at, closed_port, unshare, wrapped};
use crate::common::has_ipv6;
use crate::common::temp::TempDir;

/// Runs the client where /etc/hosts is `hosts` and only it is asked. None where that cannot be.
fn with_hosts(hosts: &str, arguments: &[&str]) -> Option<Ran> {
    let folder = TempDir::new();
    let hosts = folder.file("hosts", hosts);
    let switch = folder.file("nsswitch.conf", "hosts: files\n");
    let script = format!(
        "mount --bind {} /etc/hosts && mount --bind {} /etc/nsswitch.conf && exec \"$@\"",
        hosts.display(),
        switch.display()
    );
    let mut wrapper = unshare("mf")?;
    wrapper.extend(["sh", "-c", &script, "sh"].map(str::to_owned));
    Some(crate::common::fake::run(
        &mut wrapped(&wrapper, arguments),
        b"",
    ))
}

#[test]
fn a_name_with_both_families_is_up_when_one_listens() {
    if !has_ipv6() {
        return;
    }
    for ip in ["127.0.0.1", "::1"] {
        let up = Fake::up(ip);
        let port = up.port().to_string();
        let hosts = "127.0.0.1 both.test\n::1 both.test\n";
        for more in [&[][..], &["--udp"]] {
            let arguments = [&["-p", &port, "both.test"], more].concat();
            let Some(ran) = with_hosts(hosts, &arguments) else {
                return;
            };
            if more.is_empty() {
                ran.assert_up(LINE);
            } else {
                // The datagram port is nobody's: refused, on both families.
                ran.assert_down("ruptime: both.test: connection refused");
            }
        }
    }
}

#[test]
fn an_address_that_hangs_does_not_hide_the_next() {
    for (hanging, answering) in [("127.0.0.2", "127.0.0.3"), ("127.0.0.3", "127.0.0.2")] {
        let full = Full::new(hanging, 0);
        let port = full.address.port();
        let Ok(listener) = TcpListener::bind(at(answering, port)) else {
            continue; // Somebody else's by chance; the other round has another port.
        };
        let _up = Fake::stream_on(listener, |peer, _| {
            let _ = std::io::Write::write_all(peer, LINE.as_bytes());
        });
        let hosts = "127.0.0.2 two.test\n127.0.0.3 two.test\n";
        let host = format!("two.test:{port}");
        let Some(ran) = with_hosts(hosts, &["--timeout", "50", &host]) else {
            return;
        };
        ran.assert_up(LINE);
        assert!(ran.took < Duration::from_secs(25), "{ran:?}");
    }
}

#[test]
fn an_address_that_closes_without_a_byte_does_not_hide_the_next() {
    for (closing, answering) in [("127.0.0.2", "127.0.0.3"), ("127.0.0.3", "127.0.0.2")] {
        // As a forwarder whose server is down: docker-proxy, ssh -L.
        let forwarder = Fake::stream(closing, |_, _| {});
        let port = forwarder.port();
        let Ok(listener) = TcpListener::bind(at(answering, port)) else {
            continue; // Somebody else's by chance; the other round has another port.
        };
        let _up = Fake::stream_on(listener, |peer, _| {
            let _ = std::io::Write::write_all(peer, LINE.as_bytes());
        });
        let hosts = "127.0.0.2 two.test\n127.0.0.3 two.test\n";
        let Some(ran) = with_hosts(hosts, &[&format!("two.test:{port}")]) else {
            return;
        };
        ran.assert_up(LINE);
    }
}

#[test]
fn a_silent_datagram_address_does_not_hide_the_next() {
    for (silent, answering) in [("127.0.0.2", "127.0.0.3"), ("127.0.0.3", "127.0.0.2")] {
        let silent = Fake::datagram(silent, |_, _, _| {});
        let port = silent.port();
        let Ok(socket) = UdpSocket::bind(at(answering, port)) else {
            continue; // Somebody else's by chance; the other round has another port.
        };
        let _up = Fake::datagram_on(socket, |_, socket, from| {
            let _ = socket.send_to(LINE.as_bytes(), from);
        });
        let hosts = "127.0.0.2 two.test\n127.0.0.3 two.test\n";
        let host = format!("udp:two.test:{port}");
        let Some(ran) = with_hosts(hosts, &["--timeout", "50", &host]) else {
            return;
        };
        ran.assert_up(LINE);
        assert!(ran.took < Duration::from_secs(25), "{ran:?}");
    }
}

#[test]
fn the_families_that_may_be_used_are_respected() {
    let up = Fake::up("127.0.0.1");
    let host = format!("four.test:{}", up.port());
    let hosts = "127.0.0.1 four.test\n";
    let Some(ran) = with_hosts(hosts, &["-4", &host]) else {
        return;
    };
    ran.assert_up(LINE);
    let Some(ran) = with_hosts(hosts, &["-6", &host]) else {
        return;
    };
    ran.assert_down(&format!("ruptime: {host}: the name has no IPv6 address"));
}

#[test]
fn an_unknown_name_and_a_closed_port_are_told_apart() {
    let (_closed, address) = closed_port("127.0.0.1");
    let host = format!("one.test:{}", address.port());
    let hosts = "127.0.0.1 one.test\n";
    let Some(ran) = with_hosts(hosts, &[&host]) else {
        return;
    };
    ran.assert_down(&format!("ruptime: {host}: connection refused"));
    let Some(ran) = with_hosts(hosts, &["other.test"]) else {
        return;
    };
    ran.assert_down("ruptime: other.test: unknown name");
}

/// A network whose name server takes every question and answers none: what is sent to it goes to
/// a neighbour that does not exist. The resolver would wait for a minute and a half.
const STUCK: &str = "
    ip link set lo up
    ip link add d0 type veth peer name d1
    ip link set d1 up
    ip address add 192.0.2.2/24 dev d0
    ip link set d0 up
    ip neighbour add 192.0.2.1 lladdr 02:00:00:00:00:01 nud permanent dev d0
    mount --bind \"$1\" /etc/resolv.conf
    mount --bind \"$2\" /etc/nsswitch.conf
    shift 2
    exec \"$@\"";

#[test]
fn a_stuck_look_up_holds_up_nobody_not_even_the_end() {
    let Some(mut wrapper) = unshare("mnf") else {
        return;
    };
    let folder = TempDir::new();
    let resolver = folder.file(
        "resolv.conf",
        "nameserver 192.0.2.1\noptions timeout:30 attempts:3\n",
    );
    let switch = folder.file("nsswitch.conf", "hosts: files dns\n");
    wrapper.extend(["sh", "-ec", STUCK, "sh"].map(str::to_owned));
    wrapper.extend([resolver, switch].map(|path| path.display().to_string()));
    let run = |arguments: &[&str]| crate::common::fake::run(&mut wrapped(&wrapper, arguments), b"");

    let ran = run(&["--timeout", "0.5", "web1.test"]);
    ran.assert_down("ruptime: web1.test: the name was not found within 0.5 s");
    assert!(ran.took < Duration::from_secs(20), "{ran:?}");

    // More names than look-ups at once, and a host without a name at the end of the list.
    let names: Vec<_> = (0..150).map(|n| format!("web{n}.test")).collect();
    let mut arguments = vec!["-o", "jsonl", "--timeout", "3", "-j", "150"];
    arguments.extend(names.iter().map(String::as_str));
    arguments.push("127.0.0.1:1");
    let ran = run(&arguments);
    assert!(
        ran.status == 1 && ran.took < Duration::from_secs(25),
        "{ran:?}"
    );
    let text = ran.text();
    assert_eq!(text.lines().count(), 151, "{ran:?}");
    assert!(
        text.lines()
            .next()
            .is_some_and(|line| line.contains("127.0.0.1:1")),
        "{text}"
    );
    assert_eq!(
        text.matches("the name was not found within 3 s").count(),
        150,
        "{text}"
    );
}
