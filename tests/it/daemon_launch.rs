//! One exchange, under every launcher and over every transport.
//!
//! Whoever holds the socket, and however it comes to the daemon, a client must not be able to
//! tell the difference.

use std::os::fd::OwnedFd;

use crate::common::daemon::Ruptimed;
use crate::common::launchers::{self, Launched};
use crate::common::net::{Address, is_uptime_line, tcp_pair, textbook_client, within_linger};
use crate::common::process::{Process, state_of};
use crate::common::temp::TempDir;
use crate::common::{has_ipv6, is_installed, tell, wait_until};

/// What every client gets, wherever it asks: the whole line, and then an orderly end.
fn exchange(address: &Address) {
    let check = |reply: &str| assert!(is_uptime_line(reply), "{address:?}: {reply:?}");
    check(&address.connect().reply());

    let talkative = within_linger(&format!("{address:?}, a line first"), || {
        let talkative = address.connect();
        talkative.send(b"GET / HTTP/1.0\r\n\r\n")?;
        talkative.read_by(64 << 10)
    });
    check(&String::from_utf8_lossy(&talkative));

    let curt = address.connect();
    curt.end_sending();
    check(&curt.reply());

    let clients: Vec<_> = (0..4).map(|_| address.connect()).collect();
    clients.iter().for_each(|client| check(&client.reply()));

    if let Address::Tcp(tcp) = address {
        check(&String::from_utf8_lossy(&textbook_client(*tcp)));
    }
}

fn exchange_with_all(mut launched: Launched) {
    assert!(!launched.addresses.is_empty());
    launched.addresses.iter().for_each(exchange);
    assert!(!launched.process.has_ended(), "the launcher has ended");
}

/// A listener of each transport.
fn every_transport(dir: &TempDir) -> Vec<(OwnedFd, Address)> {
    [
        Address::any_tcp(),
        Address::any_tcp6(),
        Address::Unix(dir.join("stream")),
        Address::Abstract(dir.text("abstract")),
        Address::Seqpacket(dir.join("seqpacket")),
    ]
    .iter()
    .map(Address::listen)
    .collect()
}

#[test]
fn inherited_listeners_of_every_transport_in_one_set() {
    let dir = TempDir::new();
    let mut daemon = Ruptimed::new(["--log-level", "info"]).env("LISTEN_FDNAMES", "a:b:c:d:e");
    let mut addresses = Vec::new();
    for (listener, address) in every_transport(&dir) {
        daemon = daemon.inherit(listener);
        addresses.push(address);
    }
    let process = daemon.start();
    addresses.iter().for_each(exchange);
    let stderr = process.stderr();
    for noun in ["TCP", "UNIX stream", "UNIX seqpacket"] {
        assert!(stderr.contains(&format!("({noun})")), "{noun}: {stderr}");
    }
}

/// The client cannot tell the hand-offs apart.
#[test]
fn one_run_for_many_over_every_transport() {
    let dir = TempDir::new();
    let mut daemon = Ruptimed::new(["--handoff", "capture"]);
    let mut addresses = Vec::new();
    for (listener, address) in every_transport(&dir) {
        daemon = daemon.inherit(listener);
        addresses.push(address);
    }
    let _process = daemon.start();
    addresses.iter().for_each(exchange);
    serve_one(&["--handoff", "capture"], Ruptimed::inherit);
}

/// NonBlocking= of systemd.socket(5) decides how a listener comes, and either is fine.
#[test]
fn listeners_may_come_blocking_or_not() {
    for nonblocking in [false, true] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(nonblocking).expect("a flag");
        let address = Address::Tcp(listener.local_addr().expect("a name"));
        let _daemon = Ruptimed::new([""; 0]).inherit(listener).start();
        exchange(&address);
    }
}

#[test]
fn standalone() {
    let dir = TempDir::new();
    let path = dir.text("s");
    let unix = format!("unix:{path}");
    let mut listen = vec!["127.0.0.1:0", &unix];
    if has_ipv6() {
        listen.push("[::1]:0");
    }
    let (mut process, addresses) = Ruptimed::new([""; 0]).standalone(&listen);
    assert_eq!(addresses.len(), listen.len());
    addresses.iter().for_each(exchange);
    process.signal(nix::sys::signal::SIGTERM);
    assert_eq!(process.exit_status(), 0);
    assert!(!dir.join("s").exists(), "the socket was left behind");
}

/// A port without a host is one socket for both families.
#[test]
fn standalone_on_every_address() {
    let (_process, addresses) = Ruptimed::new([""; 0]).standalone(&["0"]);
    let port = addresses[0].port();
    exchange(&Address::parse(&format!("127.0.0.1:{port}")));
    if has_ipv6() {
        exchange(&Address::parse(&format!("[::1]:{port}")));
    }
}

/// Serves one connection as inetd's nowait, and ends.
fn serve_one(options: &[&str], pass: impl FnOnce(Ruptimed, OwnedFd) -> Ruptimed) {
    let (far, client) = tcp_pair();
    let mut process: Process = pass(Ruptimed::new(options), far).start();
    client.send(b"a line\r\n").expect("room");
    let reply = client.reply();
    assert!(is_uptime_line(&reply), "{reply:?}");
    drop(client);
    assert_eq!(process.exit_status(), 0);
}

#[test]
fn one_connection_on_standard_input() {
    serve_one(&["--inetd"], Ruptimed::on_stdio);
    // Records go anywhere but to the client, whatever their level.
    serve_one(&["--inetd", "--log-level", "debug"], Ruptimed::on_stdio);
    // Without the option, a socket on standard input is found.
    serve_one(&[], Ruptimed::on_stdio);
}

#[test]
fn one_connection_passed_by_number() {
    serve_one(&[], Ruptimed::inherit);
}

/// O_NONBLOCK would be the command's too, and its writes would fail (fcntl(2)).
#[test]
fn a_connection_that_comes_non_blocking_gets_everything() {
    const LENGTH: usize = 50_000_000;
    let (far, client) = tcp_pair();
    let far = std::net::TcpStream::from(far);
    far.set_nonblocking(true).expect("a flag");
    let process = Ruptimed::new(["--inetd", "--child-timeout", "3600"])
        .command(&["head", "-c", &LENGTH.to_string(), "/dev/zero"])
        .on_stdio(far)
        .start();
    // Nobody reads, so the buffers between are full before all of it is written: it waits.
    wait_until("the command waits for room", || {
        let children = process.children();
        let state = children.first().and_then(|child| state_of(*child));
        state.is_some_and(|(name, state)| name == "head" && state != 'R')
    });
    assert_eq!(
        client.read_by(64 << 10).expect("an orderly end").len(),
        LENGTH
    );
}

/// The client went away while the daemon was being started for it: no failure of the daemon's.
#[test]
fn a_connection_that_is_over_already_is_no_failure() {
    let (far, client) = tcp_pair();
    client.reset();
    let mut process = Ruptimed::new([""; 0]).inherit(far).start();
    assert_eq!(process.exit_status(), 0);
    assert_eq!(process.stderr(), "");
}

/// A listener on standard input: inetd's wait.
#[test]
fn a_listener_on_standard_input() {
    for options in [&["--inetd"][..], &[]] {
        let (listener, address) = Address::any_tcp().listen();
        let mut process = Ruptimed::new(options)
            .change(|launch| launch.fd(0, listener))
            .start();
        exchange(&address);
        assert!(
            !process.has_ended(),
            "it took the listener for a connection"
        );
    }
}

/// A virtual machine asks its host by vsock(7); there is no loopback for it here, so the daemon is
/// only asked what it takes the listener for.
#[test]
fn a_vsock_listener_is_a_stream_listener() {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, VsockAddr, bind, listen, socket,
    };
    use std::os::fd::AsRawFd;
    let Ok(vsock) = socket(
        AddressFamily::Vsock,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    ) else {
        // Not in every kernel, so nothing that a test run could install.
        return tell("left out: this kernel has no AF_VSOCK");
    };
    let any = VsockAddr::new(nix::libc::VMADDR_CID_ANY, nix::libc::VMADDR_PORT_ANY);
    bind(vsock.as_raw_fd(), &any).expect("a vsock port");
    listen(&vsock, Backlog::MAXCONN).expect("a listener");
    let (tcp, address) = Address::any_tcp().listen();
    let mut process = Ruptimed::new(["--log-level", "info"])
        .inherit(vsock)
        .inherit(tcp)
        .start();
    exchange(&address);
    process.wait_for_stderr("(vsock)");
}

const ACTIVATE: (&str, &str) = ("systemd-socket-activate", "systemd");

#[test]
fn systemd_socket_activate() {
    if is_installed(ACTIVATE.0, ACTIVATE.1) {
        exchange_with_all(launchers::socket_activate(&[], &[]));
        exchange_with_all(launchers::socket_activate_seqpacket(&[], &[]));
    }
}

#[test]
fn systemd_socket_activate_accept() {
    if is_installed(ACTIVATE.0, ACTIVATE.1) {
        exchange_with_all(launchers::socket_activate(&["--accept"], &[]));
        exchange_with_all(launchers::socket_activate_seqpacket(&["--accept"], &[]));
    }
}

/// Accept=yes with StandardInput=socket.
#[test]
fn systemd_socket_activate_inetd() {
    if is_installed(ACTIVATE.0, ACTIVATE.1) {
        exchange_with_all(launchers::socket_activate(
            &["--accept", "--inetd"],
            &["--inetd"],
        ));
    }
}

#[test]
fn socat() {
    if is_installed("socat", "socat") {
        exchange_with_all(launchers::socat(",nofork"));
        exchange_with_all(launchers::socat(""));
        exchange_with_all(launchers::socat_unix());
    }
}

#[test]
fn tcpserver() {
    if is_installed("tcpserver", "ucspi-tcp") {
        exchange_with_all(launchers::tcpserver());
    }
}

#[test]
fn xinetd_nowait() {
    if is_installed("xinetd", "xinetd") {
        exchange_with_all(launchers::xinetd(false, &["--inetd"]));
    }
}

#[test]
fn xinetd_wait() {
    if is_installed("xinetd", "xinetd") {
        let daemon = ["--inetd", "--idle-timeout", "0.5"];
        let launched = launchers::xinetd(true, &daemon);
        exchange(&launched.addresses[0]);
        // It leaves, xinetd takes the listener back, and starts it again for the next client.
        wait_until("the idle exit", || launched.process.children().is_empty());
        exchange_with_all(launched);
    }
}
