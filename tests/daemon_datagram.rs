//! Datagrams: one request, one reply, from the very address that was asked.
#![cfg(feature = "daemon")]

mod common;

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;

use common::daemon::Ruptimed;
use common::datagrams::{Asker, At};
use common::net::{Address, is_uptime_line};
use common::process::Process;
use common::temp::TempDir;
use common::{wait_for, wait_until};
use nix::sys::signal::Signal;

/// Whatever is asked, the answer is the same line, and one line only.
fn exchange(at: &At) {
    let asker = Asker::of(at);
    for question in [&b"\0"[..], b"", b"uptime?\r\n", &[b'x'; 1400]] {
        asker.send(question);
        let reply = asker.receive();
        assert!(is_uptime_line(&reply), "{at:?}: {reply:?}");
    }
    let reply = Asker::of(at).ask_as_in_the_textbook();
    assert!(is_uptime_line(&reply), "{at:?}: {reply:?}");
    assert!(asker.has_nothing());
}

fn places(dir: &TempDir) -> Vec<At> {
    vec![
        At::udp("127.0.0.1:0"),
        At::udp("[::1]:0"),
        At::Unix(dir.join("datagrams")),
    ]
}

/// A daemon on one inherited UDP socket.
fn on_udp(options: &[&str], command: &[&str]) -> (Process, At) {
    let (socket, at) = At::udp("127.0.0.1:0").bind();
    let process = Ruptimed::new(options)
        .command(command)
        .inherit(socket)
        .start();
    (process, at)
}

#[test]
fn inherited_sockets_of_every_transport_beside_a_listener() {
    let dir = TempDir::new();
    let (listener, address) = Address::any_tcp().listen();
    let mut daemon = Ruptimed::new(["--rate-limit", "0"]).inherit(listener);
    let mut all = Vec::new();
    for place in places(&dir) {
        let (socket, at) = place.bind();
        daemon = daemon.inherit(socket);
        all.push(at);
    }
    let _process = daemon.start();
    all.iter().for_each(exchange);
    assert!(is_uptime_line(&address.connect().reply()));
}

/// inetd's wait for a datagram service.
#[test]
fn a_datagram_socket_on_standard_input() {
    for options in [&["--inetd"][..], &[]] {
        let (socket, at) = At::udp("127.0.0.1:0").bind();
        let _process = Ruptimed::new(options)
            .change(|launch| launch.fd(0, socket))
            .start();
        exchange(&at);
    }
}

#[test]
fn standalone() {
    let (_process, addresses) = Ruptimed::new([""; 0]).standalone(&["udp:127.0.0.1:0"]);
    let Address::Tcp(address) = addresses[0] else {
        panic!("not an address: {addresses:?}");
    };
    exchange(&At::Udp(address));
}

/// One socket for both families, and every address of the machine (127.0.0.0/8 is ours here): the
/// client is connected, so only a reply from the right one reaches it.
#[test]
fn the_reply_comes_from_where_the_request_went() {
    let (socket, at) = At::udp("[::]:0").bind();
    let _process = Ruptimed::new(["--rate-limit", "0"]).inherit(socket).start();
    let At::Udp(bound) = at else {
        unreachable!("a UDP socket was asked for");
    };
    for host in ["127.0.0.1", "127.1.2.3", "127.255.255.254", "[::1]"] {
        exchange(&At::udp(&format!("{host}:{}", bound.port())));
    }
}

#[test]
fn what_goes_wrong_is_told_in_a_datagram() {
    for (command, told) in [
        (
            &["/nonexistent"][..],
            "error: /nonexistent: No such file or directory\n",
        ),
        (
            &["/bin/sh", "-c", "exit 3"],
            "error: /bin/sh: exit status 3\n",
        ),
        (&["/bin/true"], "error: /bin/true: said nothing\n"),
        (
            &["/bin/sh", "-c", "echo all the same; exit 3"],
            "all the same\n",
        ),
    ] {
        let (_process, at) = on_udp(&[], command);
        let asker = Asker::of(&at);
        asker.send(b"?");
        assert_eq!(asker.receive(), told);
    }
    let options = ["--child-timeout", "0.3"];
    let (_process, at) = on_udp(&options, &["/bin/sleep", "600"]);
    let asker = Asker::of(&at);
    asker.send(b"?");
    let told = "error: /bin/sleep: stopped, as it did not end within 0.3 s\n";
    assert_eq!(asker.receive(), told);
}

/// Everything that fits into a datagram, and a word where it does not.
#[test]
fn long_answers() {
    let (_process, at) = on_udp(&[], &["head", "-c", "60000", "/dev/zero"]);
    let asker = Asker::of(&at);
    asker.send(b"?");
    assert_eq!(asker.receive().len(), 60_000);
    let (_process, at) = on_udp(&[], &["head", "-c", "70000", "/dev/zero"]);
    let asker = Asker::of(&at);
    asker.send(b"?");
    assert!(asker.receive().starts_with("error: "));
}

/// Those who are not to be answered get nothing, and the next one is answered. What they would
/// have got would have left before.
#[test]
fn who_is_not_to_be_answered_gets_nothing() {
    let there: SocketAddr = "127.0.0.2:0".parse().expect("an address");
    let (mut process, at) = on_udp(
        &["--allow", "127.0.0.1", "--log-level", "info"],
        &["/bin/echo", "hi"],
    );
    let At::Udp(to) = at.clone() else {
        unreachable!("a UDP socket was asked for");
    };
    let denied = Asker::from(there, to);
    denied.send(b"?");
    process.wait_for_stderr("127.0.0.2");
    // Somebody with the daemon's own port is a daemon, or pretends to be one.
    let (_process, at) = on_udp(&[], &["/bin/echo", "hi"]);
    let At::Udp(to) = at.clone() else {
        unreachable!("a UDP socket was asked for");
    };
    let twin = Asker::from(SocketAddr::new(there.ip(), to.port()), to);
    twin.send(b"?");
    let honest = Asker::of(&at);
    honest.send(b"?");
    assert_eq!(honest.receive(), "hi\n");
    assert!(denied.has_nothing() && twin.has_nothing());
}

/// There is no address to answer to.
#[test]
fn a_unix_client_without_a_name_hurts_nobody() {
    let dir = TempDir::new();
    let (socket, at) = At::Unix(dir.join("s")).bind();
    let process = Ruptimed::new([""; 0])
        .command(&["/bin/echo", "hi"])
        .inherit(socket)
        .start();
    let nameless = UnixDatagram::unbound().expect("a socket");
    nameless.send_to(b"?", dir.join("s")).expect("room");
    // One that goes away before its answer, too.
    Asker::of(&at).send(b"?");
    let asker = Asker::of(&at);
    asker.send(b"?");
    assert_eq!(asker.receive(), "hi\n");
    assert_eq!(process.stderr(), "");
}

/// How many of these requests in a row get a reply, asked of a daemon with this limit.
fn replies_to(requests: usize, limit: &str) -> usize {
    let (_process, at) = on_udp(&["--rate-limit", limit], &["/bin/echo", "hi"]);
    let asker = Asker::of(&at);
    (0..requests).for_each(|_| asker.send(b"?"));
    let mut replies = 1;
    assert_eq!(asker.receive(), "hi\n");
    // The last word comes to somebody else, whom no limit of the first concerns.
    let At::Udp(to) = at else {
        unreachable!("a UDP socket was asked for");
    };
    let other = Asker::from("127.9.9.9:0".parse().expect("an address"), to);
    other.send(b"?");
    assert_eq!(other.receive(), "hi\n");
    while !asker.has_nothing() {
        replies += 1;
    }
    replies
}

#[test]
fn a_source_is_answered_so_often_a_second() {
    assert_eq!(replies_to(100, "0"), 100);
    // Exact figures are for the limiter's own tests, where the clock is in hand. A hundred
    // requests in so many seconds that all are admitted would be a machine at a standstill.
    assert!(replies_to(100, "2") < 100);
}

#[test]
fn requests_that_were_taken_are_answered_when_it_is_stopped() {
    let (mut process, at) = on_udp(&[], &["/bin/sh", "-c", "sleep 0.5; echo hi"]);
    let askers: Vec<Asker> = (0..5).map(|_| Asker::of(&at)).collect();
    askers.iter().for_each(|asker| asker.send(b"?"));
    wait_until("a command runs", || !process.children().is_empty());
    process.signal(Signal::SIGTERM);
    assert_eq!(askers[0].receive(), "hi\n");
    assert_eq!(process.exit_status(), 0);
}

/// What comes while nobody is there waits in the socket for the next daemon.
#[test]
fn requests_wait_for_the_next_daemon() {
    let (socket, at) = At::udp("127.0.0.1:0").bind();
    for _ in 0..2 {
        let askers: Vec<Asker> = (0..5).map(|_| Asker::of(&at)).collect();
        askers.iter().for_each(|asker| asker.send(b"?"));
        let start = || {
            Ruptimed::new(["--idle-timeout", "0.5"])
                .command(&["/bin/echo", "hi"])
                .inherit(socket.try_clone().expect("a copy"))
                .start()
        };
        let mut process = start();
        wait_for("its idle exit", || process.has_ended().then_some(()));
        assert_eq!(process.exit_status(), 0);
        // A machine that stood still may have made it leave at once.
        let _next = start();
        for asker in &askers {
            assert_eq!(asker.receive(), "hi\n");
        }
    }
}
