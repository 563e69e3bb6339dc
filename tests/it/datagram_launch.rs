//! Datagram services under the launchers that have them, on the service's own port: each in a
//! network of its own, where that port is nobody else's.

use std::net::{SocketAddr, UdpSocket};

use crate::common::daemon::{RUPTIMED, Ruptimed};
use crate::common::datagrams::{Asker, At};
use crate::common::net::is_uptime_line;
use crate::common::netns::Namespace;
use crate::common::process::Launch;
use crate::common::temp::TempDir;
use crate::common::{is_installed, wait_for, wait_until};

const PORT: u16 = 10_513;

/// Asks until there is an answer: nobody tells when a launcher has bound the port, and a refused
/// question is lost.
fn ask(ip: &str) -> String {
    let to = SocketAddr::new(ip.parse().expect("an address"), PORT);
    let any = SocketAddr::new(ip.parse().expect("an address"), 0);
    let client = std::net::UdpSocket::bind(any).expect("a port");
    client.connect(to).expect("a route");
    client.set_nonblocking(true).expect("non-blocking");
    let mut buffer = [0; 128];
    let length = wait_for("an answer", || {
        // ECONNREFUSED of the last one comes out here.
        let _ = client.send(b"\0");
        client.recv(&mut buffer).ok()
    });
    String::from_utf8(buffer[..length].to_vec()).expect("text")
}

#[test]
fn systemd_socket_activate() {
    if !is_installed("systemd-socket-activate", "systemd") {
        return;
    }
    let Some(namespace) = Namespace::new() else {
        return;
    };
    namespace.enter(|| {
        let mut launcher = Launch::new("systemd-socket-activate")
            .args([
                "--datagram",
                "--listen=127.0.0.1:10513",
                "--listen=[::1]:10513",
            ])
            .args([RUPTIMED, "--rate-limit", "0"])
            .start();
        for ip in ["127.0.0.1", "::1"] {
            assert!(is_uptime_line(&ask(ip)), "{ip}");
        }
        assert!(!launcher.has_ended());
    });
}

/// The server's end of a datagram socket with one client, as socat's UDP-LISTEN,fork makes it, and the
/// client.
fn socket_of_one_client() -> (UdpSocket, UdpSocket) {
    let [ours, client] = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    for (from, to) in [(&ours, &client), (&client, &ours)] {
        let address = to.local_addr().expect("an address");
        from.connect(address).expect("a peer");
    }
    client
        .set_read_timeout(Some(crate::common::BOUND))
        .expect("SO_RCVTIMEO");
    (ours, client)
}

#[test]
fn a_socket_of_one_client_is_left_after_its_answer() {
    let (ours, client) = socket_of_one_client();
    for _ in 0..3 {
        client.send(&[0]).expect("room");
    }
    let mut process = Ruptimed::new(["--inetd"])
        .command(&["/bin/echo", "hi"])
        .on_stdio(ours)
        .start();
    for _ in 0..3 {
        assert_eq!(client.recv(&mut [0; 16]).expect("a reply"), 3);
    }
    assert_eq!(process.exit_status(), 0);
}

/// There is nobody to wait for any more.
#[test]
fn a_socket_whose_only_client_is_not_answered_is_left_as_well() {
    let (ours, client) = socket_of_one_client();
    client.send(&[0]).expect("room");
    let mut process = Ruptimed::new(["--inetd", "--allow", "192.0.2.0/24"])
        .on_stdio(ours)
        .start();
    assert_eq!(process.exit_status(), 0);
}

/// The socket is the daemon's until it leaves, then xinetd's again, until somebody asks.
#[test]
fn xinetd_wait() {
    if !is_installed("xinetd", "xinetd") {
        return;
    }
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let dir = TempDir::new();
    let config = format!(
        "defaults\n{{\n log_type = FILE {log}\n cps = 1000 1\n}}\n\
         service ruptime\n{{\n type = UNLISTED\n socket_type = dgram\n protocol = udp\n \
         bind = 127.0.0.1\n port = {PORT}\n wait = yes\n user = root\n \
         server = {RUPTIMED}\n server_args = --inetd --idle-timeout 0.5 --rate-limit 0\n}}\n",
        log = dir.text("log"),
    );
    std::fs::write(dir.join("conf"), config).expect("a configuration file");
    namespace.enter(|| {
        let launcher = Launch::new("xinetd")
            .args(["-dontfork", "-f", &dir.text("conf")])
            .args(["-pidfile", &dir.text("pid")])
            .start();
        for _ in 0..2 {
            for _ in 0..3 {
                assert!(is_uptime_line(&ask("127.0.0.1")));
            }
            wait_until("the idle exit", || launcher.children().is_empty());
        }
    });
}

/// inetd puts the socket on all three standard descriptors: what the daemon or its command says
/// there must never leave as a datagram of its own.
#[test]
fn a_datagram_socket_on_all_of_the_standard_descriptors() {
    let (socket, at) = At::udp("127.0.0.1:0").bind();
    let _process = Ruptimed::new(["--inetd", "--log-level", "debug"])
        .command(&["/bin/sh", "-c", "echo out; echo err >&2; exit 3"])
        .on_stdio(socket)
        .start();
    let asker = Asker::of(&at);
    for _ in 0..3 {
        asker.send(b"\0");
        assert_eq!(asker.receive(), "out\nerr\n");
    }
    assert!(asker.has_nothing());
}
