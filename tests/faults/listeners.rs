//! Sockets that are lost for good, one or all: the rest goes on, and without a rest the daemon
//! leaves, so that the service manager can start another.

use std::net::UdpSocket;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::common::daemon::{Ruptimed, on_tcp};
use crate::common::net::{Address, is_uptime_line};
use crate::common::temp::TempDir;
use crate::common::{BOUND, has_ipv6, uninterrupted, wait_until};
use crate::fault::{Fault, Times};
use crate::service::{Mode, Service};

/// accept4(2) says that this is no listener, as after somebody has shut it down.
const LOST: [&str; 3] = ["EBADF", "EINVAL", "ENOTSOCK"];

#[test]
fn without_its_last_listener_it_leaves_and_says_why() {
    if !crate::common::strace::is_possible() {
        return;
    }
    for errno in LOST {
        let mut service = Service::start(Mode::Exec, &[]);
        service.ask_until_answered(BOUND);
        let fault = Fault::begin(service.daemon.pid(), "accept4", errno, Times::Always);
        let _asker = service.ask();
        assert_eq!(service.daemon.exit_status(), 1, "{errno}");
        drop(fault);
        let records = service.records();
        assert!(
            records.len() == 2
                && records[0].contains("is no listener any more: ")
                && records[1].contains("no listener is left"),
            "{records:?}"
        );
    }
}

#[test]
fn the_other_listeners_go_on() {
    if !crate::common::strace::is_possible() {
        return;
    }
    let (lost, lost_at) = Address::any_tcp().listen();
    let (kept, kept_at) = Address::any_tcp().listen();
    let mut daemon = Ruptimed::new([""; 0]).inherit(lost).inherit(kept).start();
    assert!(is_uptime_line(&kept_at.connect().reply()));
    let fault = Fault::begin(daemon.pid(), "accept4", "EINVAL", Times::First(1));
    let _client = lost_at.connect();
    daemon.wait_for_stderr("is no listener any more: ");
    fault.end();
    let before = daemon.cpu_time();
    for _ in 0..3 {
        assert!(is_uptime_line(&kept_at.connect().reply()));
    }
    let used = daemon.cpu_time() - before;
    assert!(
        used < Duration::from_millis(500),
        "{used:?} beside a lost listener"
    );
}

/// What epoll_wait(2) cannot give to a right call: going on is impossible.
#[test]
fn without_its_epoll_it_leaves_and_says_why() {
    if !crate::common::strace::is_possible() {
        return;
    }
    for errno in ["EBADF", "EINVAL"] {
        let mut service = Service::start(Mode::Exec, &[]);
        service.ask_until_answered(BOUND);
        let call = "?epoll_wait,?epoll_pwait";
        let fault = Fault::begin(service.daemon.pid(), call, errno, Times::Always);
        assert_eq!(service.daemon.exit_status(), 1, "{errno}");
        drop(fault);
        let records = service.records();
        assert!(
            records.len() == 1 && records[0].contains("epoll_wait: "),
            "{records:?}"
        );
    }
}

/// A listener that was left while the only place was taken, and cannot be polled again for want of
/// memory (epoll_ctl(2)): told once, tried on at leisure, and nobody is lost.
#[test]
fn a_listener_that_cannot_be_polled_is_tried_again() {
    if !crate::common::strace::is_possible() {
        return;
    }
    for errno in ["ENOMEM", "ENOSPC"] {
        let dir = TempDir::new();
        let script = ": >$0/began; until [ -e $0/open ]; do sleep 0.05; done; echo hi";
        let (daemon, address) = on_tcp(
            &["--max-children", "1"],
            &["/bin/sh", "-c", script, &dir.path().display().to_string()],
        );
        let first = address.connect();
        wait_until("a command", || dir.join("began").exists());
        let fault = Fault::begin(daemon.pid(), "epoll_ctl", errno, Times::Always);
        std::fs::write(dir.join("open"), "").expect("a file");
        assert_eq!(first.reply(), "hi\n");
        wait_until("a try", || fault.injected() > 0);
        let second = address.connect();
        let before = daemon.cpu_time();
        std::thread::sleep(Duration::from_millis(500));
        let used = daemon.cpu_time() - before;
        assert!(used <= Duration::from_millis(120), "{used:?} in 500 ms");
        assert!(fault.injected() < 50, "tried {} times", fault.injected());
        fault.end();
        assert_eq!(second.reply(), "hi\n");
        let stderr = daemon.stderr();
        assert_eq!(stderr.matches("cannot accept on ").count(), 1, "{stderr}");
    }
}

/// Whatever else a datagram socket was set to tell with each datagram (socket(7), ip(7)).
#[test]
fn a_socket_that_tells_more_is_served() {
    if !has_ipv6() {
        return;
    }
    let socket = UdpSocket::bind("[::]:0").expect("a port");
    setsockopt(&socket, sockopt::ReceiveTimestamp, &true).expect("SO_TIMESTAMP");
    setsockopt(&socket, sockopt::Ipv4RecvTtl, &true).expect("IP_RECVTTL");
    setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true).expect("IPV6_RECVHOPLIMIT");
    let port = socket.local_addr().expect("an address").port();
    let daemon = Ruptimed::new([""; 0]).inherit(socket).start();
    for (from, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let client = UdpSocket::bind(from).expect("a port");
        client.connect((to, port)).expect("connected");
        client.set_read_timeout(Some(BOUND)).expect("SO_RCVTIMEO");
        client.send(b"\0").expect("sent");
        let mut reply = [0; 512];
        let length = uninterrupted(|| client.recv(&mut reply)).expect("a reply");
        assert!(is_uptime_line(&String::from_utf8_lossy(&reply[..length])));
    }
    assert_eq!(daemon.stderr(), "");
}
