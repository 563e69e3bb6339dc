//! A socket is an open file description, and others may hold it too: the service manager, a second
//! service with the same socket, whoever started the daemon by hand. What they do to it may cost
//! the daemon that socket, and nothing else: no hang, no processor time.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use crate::common::daemon::Ruptimed;
use crate::common::datagrams::{Asker, At};
use crate::common::net::Address;
use crate::common::process::Process;
use crate::common::temp::TempDir;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::socket::{Shutdown, shutdown};

const HI: [&str; 2] = ["/bin/echo", "hi"];

/// Datagram sockets of either kind.
fn datagrams(dir: &TempDir) -> [(OwnedFd, At); 2] {
    [
        At::udp("127.0.0.1:0").bind(),
        At::Unix(dir.join("datagrams")).bind(),
    ]
}

fn serve(sockets: &[&OwnedFd]) -> Process {
    let daemon = Ruptimed::new(["--rate-limit", "0"]).command(&HI);
    let inherit =
        |daemon: Ruptimed, socket: &&OwnedFd| daemon.inherit(socket.try_clone().expect("a copy"));
    sockets.iter().fold(daemon, inherit).start()
}

/// Each start of a service sets or clears it on the sockets that it is passed (NonBlocking= in
/// systemd.exec(5)), and so on those of whoever has them already.
fn clear_nonblocking(socket: &OwnedFd) {
    let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL).expect("flags"));
    assert!(flags.contains(OFlag::O_NONBLOCK), "it does not serve yet");
    fcntl(socket, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).expect("set");
}

#[test]
fn a_socket_that_is_made_blocking_holds_nobody_up() {
    let dir = TempDir::new();
    for (datagram, at) in datagrams(&dir) {
        let (listener, address) = Address::any_tcp().listen();
        let mut daemon = serve(&[&listener, &datagram]);
        assert_eq!(address.connect().reply(), "hi\n");
        for _ in 0..3 {
            clear_nonblocking(&listener);
            assert_eq!(address.connect().reply(), "hi\n");
        }
        clear_nonblocking(&datagram);
        for _ in 0..3 {
            let asker = Asker::of(&at);
            asker.send(b"?");
            assert_eq!(asker.receive(), "hi\n");
            assert_eq!(address.connect().reply(), "hi\n");
        }
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.exit_status(), 0);
    }
}

#[test]
fn a_datagram_socket_that_is_shut_down_is_told_and_costs_nothing() {
    let dir = TempDir::new();
    for (datagram, _) in datagrams(&dir) {
        let (listener, address) = Address::any_tcp().listen();
        let mut daemon = serve(&[&datagram, &listener]);
        assert_eq!(address.connect().reply(), "hi\n");
        // ENOTCONN, and done all the same.
        let _ = shutdown(datagram.as_raw_fd(), Shutdown::Read);
        daemon.wait_for_stderr("receives nothing any more");
        let before = daemon.cpu_time();
        std::thread::sleep(Duration::from_secs(1));
        let used = daemon.cpu_time() - before;
        assert!(used < Duration::from_millis(200), "{used:?} in a second");
        assert_eq!(address.connect().reply(), "hi\n");
        assert_eq!(daemon.stderr().lines().count(), 1);
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.exit_status(), 0);
    }
}

#[test]
fn without_another_socket_there_is_nothing_left_to_do() {
    let dir = TempDir::new();
    for (datagram, at) in datagrams(&dir) {
        let mut daemon = serve(&[&datagram]);
        let asker = Asker::of(&at);
        asker.send(b"?");
        assert_eq!(asker.receive(), "hi\n");
        let _ = shutdown(datagram.as_raw_fd(), Shutdown::Both);
        assert_eq!(daemon.exit_status(), 1);
        assert!(daemon.stderr().ends_with("no listener is left\n"));
    }
}
