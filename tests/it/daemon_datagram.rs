//! Datagrams: one request, one reply, from the very address that was asked.

use std::net::SocketAddr;

use crate::common::daemon::Ruptimed;
use crate::common::datagrams::{Asker, At};
use crate::common::net::{Address, is_uptime_line};
use crate::common::process::Process;
use crate::common::temp::TempDir;
use crate::common::{has_ipv6, wait_for, wait_until};
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
    if !has_ipv6() {
        return;
    }
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

/// Whoever is not allowed gets nothing. What it would have got would have left before.
#[test]
fn who_is_not_allowed_gets_nothing() {
    let options = ["--allow", "127.0.0.2", "--log-level", "info"];
    let (mut process, at) = on_udp(&options, &["/bin/echo", "hi"]);
    let denied = Asker::of(&at);
    denied.send(b"?");
    process.wait_for_stderr("127.0.0.1");
    let At::Udp(to) = at else {
        unreachable!("a UDP socket was asked for");
    };
    let allowed = Asker::from(SocketAddr::from(([127, 0, 0, 2], 0)), to);
    allowed.send(b"?");
    assert_eq!(allowed.receive(), "hi\n");
    assert!(denied.has_nothing());
}

#[test]
fn requests_that_were_taken_are_answered_when_it_is_stopped() {
    // Each run leaves a mark, and ends when it may.
    let dir = TempDir::new();
    let script = ": >$0/began.$$; until [ -e $0/open ]; do sleep 0.05; done; echo hi";
    let path = dir.path().display().to_string();
    let (socket, at) = At::udp("127.0.0.1:0").bind();
    let askers: Vec<Asker> = (0..5).map(|_| Asker::of(&at)).collect();
    askers.iter().for_each(|asker| asker.send(b"?"));
    // All of them are there when it comes, so it takes them together.
    let mut process = Ruptimed::new([""; 0])
        .script(script, &path)
        .inherit(socket)
        .start();
    wait_until("a command runs", || dir.entries("began.") > 0);
    process.signal(Signal::SIGTERM);
    std::fs::write(dir.join("open"), "").expect("a file");
    for asker in &askers {
        assert_eq!(asker.receive(), "hi\n");
    }
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
