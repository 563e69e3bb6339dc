//! Names with several addresses and with one family, each in a mount namespace with files of its own
//! in the place of those in /etc. What name servers do to them: client_resolver.rs.

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
    ran.assert_down(&format!(
        "ruptime: {host}: unknown name, or one without an IPv6 address"
    ));
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
