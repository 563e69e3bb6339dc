//! Datagrams of every size and number, from senders that must not be answered, that have gone, or
//! that do not read: nobody else notices, and the daemon's memory and time stay bounded.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::{SysconfVar, sysconf};

use crate::common::daemon::Ruptimed;
use crate::common::datagrams::{Asker, At};
use crate::common::net::Address;
use crate::common::process::Process;
use crate::common::runs::{GATED, Runs};
use crate::common::temp::TempDir;
use crate::common::{always, has_ipv6, wait_until};

/// The longest datagram of UDP over IPv4, in bytes.
const LONGEST: usize = 65_507;

const HI: [&str; 2] = ["/bin/echo", "hi"];

fn copy(socket: &OwnedFd) -> OwnedFd {
    socket.try_clone().expect("a copy")
}

/// The test's own hold of a daemon's socket.
fn as_udp(socket: &OwnedFd) -> UdpSocket {
    UdpSocket::from(copy(socket))
}

fn udp_address(at: &At) -> SocketAddr {
    match at {
        At::Udp(address) => *address,
        At::Unix(path) => panic!("{path:?} is no UDP socket"),
    }
}

/// A daemon on one inherited socket; the socket stays in the test's hands too.
fn on(wanted: &At, options: &[&str], command: &[&str]) -> (Process, At, OwnedFd) {
    let (socket, at) = wanted.bind();
    let daemon = Ruptimed::new(["--rate-limit", "0"].iter().chain(options));
    let process = daemon.command(command).inherit(copy(&socket)).start();
    (process, at, socket)
}

/// What a process has in memory now, in bytes (proc_pid_statm(5)).
fn memory(process: &Process) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", process.pid()));
    let statm = statm.expect("a process of our own");
    let pages = statm.split_whitespace().nth(1).expect("resident pages");
    let size = sysconf(SysconfVar::PAGE_SIZE)
        .expect("a limit")
        .expect("a size");
    pages.parse::<usize>().expect("a number") * size as usize
}

fn ask(at: &At) -> String {
    let asker = Asker::of(at);
    asker.send(b"\0");
    asker.receive()
}

#[test]
fn a_request_may_have_any_size() {
    let dir = TempDir::new();
    let places = [
        (At::udp("127.0.0.1:0"), LONGEST),
        (At::udp("[::1]:0"), LONGEST),
        (At::Unix(dir.join("s")), 200_000),
    ];
    for (place, longest) in places {
        let (_process, at, _) = on(&place, &[], &HI);
        for size in [0, 1, 1473, longest] {
            let asker = Asker::of(&at);
            asker.send(&vec![b'x'; size]);
            assert_eq!(asker.receive(), "hi\n", "{size} bytes to {at:?}");
        }
    }
}

/// A reply is one datagram, whole, or an error in one line.
#[test]
fn a_reply_is_whole_or_an_error() {
    let dir = TempDir::new();
    let whole = |at: &At, size: usize| assert_eq!(ask(at).len(), size, "{at:?}");
    for (size, fits) in [(LONGEST, true), (LONGEST + 1, false), (200_000, false)] {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let size = size.to_string();
            let command = ["head", "-c", &size, "/dev/zero"];
            let (_process, at, _) = on(&At::udp(place), &[], &command);
            if fits {
                whole(&at, LONGEST);
            } else {
                let reply = ask(&at);
                let line = reply.starts_with("error: ") && reply.ends_with('\n');
                assert!(line && reply.len() < 120, "{reply:?}");
            }
        }
    }
    // A UNIX socket takes all that an answer may have.
    let command = ["head", "-c", "200000", "/dev/zero"];
    let (_process, at, _) = on(&At::Unix(dir.join("s")), &[], &command);
    whole(&at, 65_536);
}

/// Far more at once than may wait: those that fit into the queues are answered, memory is
/// bounded, and whoever comes afterwards is answered as if nothing had been.
#[test]
fn a_burst_takes_neither_memory_nor_the_service() {
    let runs = Runs::new();
    let command = ["/bin/sh", "-c", GATED, &runs.path()];
    let (process, at, _socket) = on(&At::udp("127.0.0.1:0"), &[], &command);
    let flood = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for number in 0..50_000 {
        // It never reads, so its own queue drops the replies; what the daemon's drops is lost.
        let _ = flood.send_to(b"?", udp_address(&at));
        if number == 0 {
            runs.wait_for(1);
        }
    }
    assert!(memory(&process) < 16 << 20, "{} bytes", memory(&process));
    runs.release(1_000);
    let asker = Asker::of(&at);
    wait_until("one more is answered", || {
        // Sent again, since there may not have been room for the first.
        asker.send(b"?");
        !asker.has_nothing()
    });
    assert!(memory(&process) < 16 << 20, "{} bytes", memory(&process));
    assert_eq!(process.stderr(), "");
}

/// Two daemons that answered each other's answers would do so for ever. So would one with itself.
#[test]
fn servers_do_not_answer_each_other() {
    let debug = ["--log-level", "debug"];
    let (mut one, at_one, socket_one) = on(&At::udp("127.0.0.1:0"), &debug, &HI);
    // The same port, on another machine as far as the first can tell.
    let twin = SocketAddr::new(
        "127.0.0.2".parse().expect("it is"),
        udp_address(&at_one).port(),
    );
    let (mut two, at_two, socket_two) = on(&At::Udp(twin), &debug, &HI);
    as_udp(&socket_one).send_to(b"?", twin).expect("sent");
    as_udp(&socket_two)
        .send_to(b"?", udp_address(&at_one))
        .expect("sent");
    as_udp(&socket_one)
        .send_to(b"?", udp_address(&at_one))
        .expect("sent");
    let told = |address: SocketAddr| format!("not answered {address}: it is a server's port");
    one.wait_for_stderr(&told(twin));
    one.wait_for_stderr(&told(udp_address(&at_one)));
    two.wait_for_stderr(&told(udp_address(&at_one)));
    assert_eq!((ask(&at_one), ask(&at_two)), ("hi\n".into(), "hi\n".into()));
    // Each has run its command for the honest question only, which came last.
    for process in [&mut one, &mut two] {
        let told = process.wait_for_stderr("command ");
        assert_eq!(told.matches("command ").count(), 1, "{told}");
    }
}

/// Nor do the sockets of one daemon, whatever their ports.
#[test]
fn the_sockets_of_one_daemon_do_not_answer_each_other() {
    let (first, at_first) = At::udp("127.0.0.1:0").bind();
    let (second, at_second) = At::udp("127.0.0.1:0").bind();
    let mut process = Ruptimed::new(["--rate-limit", "0", "--log-level", "debug"])
        .command(&HI)
        .inherit(copy(&first))
        .inherit(second)
        .start();
    as_udp(&first)
        .send_to(b"?", udp_address(&at_second))
        .expect("sent");
    process.wait_for_stderr("it is a server's port");
    assert_eq!(ask(&at_first), "hi\n");
    let told = process.wait_for_stderr("command ");
    assert_eq!(told.matches("command ").count(), 1, "{told}");
}

/// A port where other services answer whatever they get: echo and its like would be answered for
/// ever (CERT advisory CA-1996-01). No client has such a port.
#[test]
fn privileged_ports_are_not_answered() {
    if !nix::unistd::geteuid().is_root() {
        return crate::common::leave_out("only root may use a port below 1024");
    }
    let (mut process, at, _) = on(&At::udp("127.0.0.1:0"), &["--log-level", "debug"], &HI);
    // Some address of this machine whose port nobody else uses now.
    let host = 2 + std::process::id() % 250;
    let echo = UdpSocket::bind(format!("127.77.0.{host}:7")).expect("a port");
    echo.send_to(b"?", udp_address(&at)).expect("sent");
    process.wait_for_stderr("it is a server's port");
    assert_eq!(ask(&at), "hi\n");
}

/// Clients that have closed their sockets before the reply: their ICMP errors come back to the
/// daemon's socket (udp(7)), here also those that only a socket with IP_RECVERR hears of.
#[test]
fn clients_that_have_gone_hurt_nobody() {
    for hears_errors in [false, true] {
        let runs = Runs::new();
        let (socket, at) = At::udp("127.0.0.1:0").bind();
        if hears_errors {
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true).expect("IP_RECVERR");
        }
        let process = Ruptimed::new(["--rate-limit", "0"])
            .script(GATED, &runs.path())
            .inherit(copy(&socket))
            .start();
        Asker::of(&at).send(b"\0");
        runs.wait_for(1);
        // More of them than the daemon bears in a row, and honest ones in between.
        let mut honest = Vec::new();
        for _ in 0..20 {
            (0..10).for_each(|_| Asker::of(&at).send(b"\0"));
            honest.push(Asker::of(&at));
            honest.iter().last().expect("the last").send(b"\0");
        }
        runs.release(2);
        for asker in &honest {
            // Whatever has not been taken before the second run waits for a third.
            assert_eq!(
                asker.receive(),
                "run 2\n",
                "errors are heard: {hears_errors}"
            );
        }
        runs.release(1);
        assert_eq!(ask(&at), "run 3\n");
        let before = process.cpu_time();
        always(Duration::from_secs(1), || {
            let used = process.cpu_time() - before;
            assert!(
                used <= Duration::from_millis(50),
                "{used:?} with nothing to do"
            );
        });
        assert_eq!(process.stderr(), "");
    }
}

/// A service manager may ask the kernel to send more along with a datagram than the address it
/// came to: Timestamping= and others of systemd.socket(5).
#[test]
fn a_socket_may_tell_more_than_the_daemon_asks_for() {
    if !has_ipv6() {
        return;
    }
    let (socket, at) = At::udp("[::]:0").bind();
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("SO_TIMESTAMPNS");
    setsockopt(&socket, sockopt::RxqOvfl, &1).expect("SO_RXQ_OVFL");
    setsockopt(&socket, sockopt::IpRecvTos, &true).expect("IP_RECVTOS");
    setsockopt(&socket, sockopt::Ipv4RecvTtl, &true).expect("IP_RECVTTL");
    setsockopt(&socket, sockopt::Ipv6RecvTClass, &true).expect("IPV6_RECVTCLASS");
    setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true).expect("IPV6_RECVHOPLIMIT");
    let daemon = Ruptimed::new(["--rate-limit", "0"]).command(&HI);
    let process = daemon.inherit(socket).start();
    let port = udp_address(&at).port();
    for host in ["127.0.0.1", "127.1.2.3", "[::1]"] {
        assert_eq!(ask(&At::udp(&format!("{host}:{port}"))), "hi\n", "{host}");
    }
    assert_eq!(process.stderr(), "");
}

/// A client of a UNIX socket that has not bound its own: told at debug, once a request.
#[test]
fn a_unix_client_without_an_address_is_told_at_debug() {
    let dir = TempDir::new();
    let debug = ["--log-level", "debug"];
    let (mut process, at, _) = on(&At::Unix(dir.join("s")), &debug, &HI);
    let nameless = UnixDatagram::unbound().expect("a socket");
    for _ in 0..3 {
        nameless.send_to(b"?", dir.join("s")).expect("room");
    }
    assert_eq!(ask(&at), "hi\n");
    let told = process.wait_for_stderr("cannot be answered: its socket has no name");
    assert_eq!(told.matches("its socket has no name").count(), 3);
}

/// A UNIX client that asks and asks and never reads: its own queue is full, not the daemon's.
#[test]
fn a_unix_client_that_does_not_read_holds_up_nobody() {
    let dir = TempDir::new();
    let (process, at, _) = on(&At::Unix(dir.join("s")), &[], &HI);
    let idler = UnixDatagram::bind(dir.join("idler")).expect("a path");
    for _ in 0..1000 {
        idler
            .send_to(b"?", dir.join("s"))
            .expect("the daemon reads");
    }
    assert_eq!(ask(&at), "hi\n");
    assert_eq!(process.stderr(), "");
}

/// The limit of one source concerns no other, nor any other transport; and what was not answered
/// is told as a sum.
#[test]
fn the_rate_limit_concerns_one_source_and_is_told_once() {
    let dir = TempDir::new();
    let (udp, at) = At::udp("127.0.0.1:0").bind();
    let (unix, at_unix) = At::Unix(dir.join("s")).bind();
    let (listener, address) = Address::any_tcp().listen();
    let mut process = Ruptimed::new(["--rate-limit", "3"])
        .command(&HI)
        .inherit(udp)
        .inherit(unix)
        .inherit(listener)
        .start();
    // One /24 is one source, whatever its hosts.
    let flood: Vec<Asker> = (1..=50)
        .map(|host| {
            let from = SocketAddr::from(([127, 0, 0, host], 0));
            Asker::from(from, udp_address(&at))
        })
        .collect();
    let start = Instant::now();
    for _ in 0..20 {
        flood.iter().for_each(|asker| asker.send(b"?"));
    }
    for _ in 0..20 {
        assert_eq!(ask(&at_unix), "hi\n");
        assert_eq!(address.connect().reply(), "hi\n");
    }
    let other = Asker::from(SocketAddr::from(([127, 0, 1, 1], 0)), udp_address(&at));
    other.send(b"?");
    assert_eq!(other.receive(), "hi\n");
    let told = process.wait_for_stderr("beyond --rate-limit, not answered");
    assert!(told.contains("from the network of 127.0.0.0"), "{told}");
    // Each second that is counted begins with a reply. One sum is told in ten seconds.
    let seconds = start.elapsed().as_secs() as usize;
    let mut replies = 0;
    for asker in &flood {
        while !asker.has_nothing() {
            replies += 1;
        }
    }
    assert!(
        (1..=3 * (seconds + 1)).contains(&replies),
        "{replies} in {seconds} s"
    );
    let stderr = process.stderr();
    assert!(stderr.lines().count() <= 2 + seconds / 10, "{stderr}");
}

/// A command that says much is no amplifier: the bytes to one source are bounded as well.
#[test]
fn the_rate_limit_counts_bytes() {
    const BYTES: usize = 3000;
    let (udp, at) = At::udp("127.0.0.1:0").bind();
    let script = format!("printf %{BYTES}d 7");
    let mut process = Ruptimed::new([""; 0])
        .command(&["/bin/sh", "-c", &script])
        .inherit(udp)
        .start();
    let start = Instant::now();
    let askers: Vec<Asker> = (0..8).map(|_| Asker::of(&at)).collect();
    askers.iter().for_each(|asker| asker.send(b"?"));
    process.wait_for_stderr("beyond --rate-limit, not answered");
    let seconds = start.elapsed().as_secs() as usize;
    let answered = askers.iter().filter(|asker| !asker.has_nothing()).count();
    // In each second that is counted from a reply on.
    let most = 10 * 512 / BYTES * (seconds + 1);
    assert!(
        (1..=most).contains(&answered),
        "{answered} answers in {seconds} s"
    );
}

#[test]
fn an_answer_beyond_a_seconds_share_is_told() {
    let (udp, at) = At::udp("127.0.0.1:0").bind();
    let _process = Ruptimed::new(["--rate-limit", "2"])
        .command(&["/bin/sh", "-c", "printf %1025d 7"])
        .inherit(udp)
        .start();
    let told = "error: the answer's 1025 bytes are more than the 1024 of --rate-limit\n";
    assert_eq!(ask(&at), told);
}
