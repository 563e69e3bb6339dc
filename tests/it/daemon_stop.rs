//! How a daemon is stopped: which signals do it, what becomes of those who wait and of those who
//! come meanwhile, and that it has an end in every case.

use std::io::ErrorKind;
use std::net::UdpSocket;

use nix::sys::signal::Signal;

use crate::common::daemon::Ruptimed;
use crate::common::manager::Manager;
use crate::common::net::{Address, Client, tcp_pair};
use crate::common::process::Process;
use crate::common::temp::TempDir;
use crate::common::{uninterrupted, wait_until};

const HI: [&str; 2] = ["/bin/echo", "hi"];

/// A command that runs until the file `open` is there, and tells with `began` that it does.
const GATED: &str =
    ": >$0/began; until [ -e $0/open ] || [ ! -d $0 ]; do sleep 0.05; done; echo hi";
/// What a command writes that never ends.
const HANGS: &str = ": >$0/began; sleep 600; :";

const LEAVING: &str = "error: /bin/sh: stopped, as ruptimed is leaving\n";

/// A script that runs in `dir`, and its first client, for whom it runs.
fn busy(options: &[&str], script: &str, dir: &TempDir) -> (Process, Address, Client) {
    let (listener, address) = Address::any_tcp().listen();
    let process = Ruptimed::new(options)
        .script(script, &dir.path().display().to_string())
        .inherit(listener)
        .start();
    let client = address.connect();
    wait_until("it runs", || dir.join("began").exists());
    (process, address, client)
}

/// The first signal waits for the command, the second does not.
#[test]
fn a_second_signal_hastens() {
    for (handoff, first, second) in [
        ("exec", Signal::SIGTERM, Signal::SIGTERM),
        ("exec", Signal::SIGHUP, Signal::SIGINT),
        ("capture", Signal::SIGINT, Signal::SIGINT),
        ("capture", Signal::SIGTERM, Signal::SIGTERM),
    ] {
        let dir = TempDir::new();
        let manager = Manager::new();
        let options = ["--handoff", handoff, "--child-timeout", "3600"];
        let (listener, address) = Address::any_tcp().listen();
        let mut process = Ruptimed::new(options)
            .script(HANGS, &dir.path().display().to_string())
            .managed_by(&manager)
            .inherit(listener)
            .start();
        let client = address.connect();
        wait_until("it runs", || dir.join("began").exists());
        process.signal(first);
        // The same signal twice is one, as long as nobody has taken the first (signal(7)).
        manager.wait_for("STOPPING=1", |assignment| assignment == "STOPPING=1");
        process.signal(second);
        assert_eq!(client.reply(), LEAVING, "{handoff} {first} {second}");
        assert_eq!(process.exit_status(), 0);
    }
}

/// Who waits for the end of another's command has no second --child-timeout.
#[test]
fn a_stop_takes_one_time_out_and_not_two() {
    let dir = TempDir::new();
    let options = ["--handoff", "capture", "--child-timeout", "1"];
    let (mut process, address, first) = busy(&options, HANGS, &dir);
    let idle = process.open_descriptors();
    let second = address.connect();
    wait_until("it is taken", || process.open_descriptors() > idle);
    process.signal(Signal::SIGTERM);
    let told = "error: /bin/sh: stopped, as it did not end within 1 s\n";
    assert_eq!(first.reply(), told);
    assert_eq!(second.reply(), LEAVING);
    assert_eq!(process.exit_status(), 0);
}

/// The same for connections that were handed over, and wait for a place.
#[test]
fn connections_that_were_handed_over_are_told_when_the_time_is_over() {
    let dir = TempDir::new();
    let mut daemon = Ruptimed::new(["--max-children", "1", "--child-timeout", "1"])
        .script(HANGS, &dir.path().display().to_string());
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (connection, client) = tcp_pair();
        daemon = daemon.inherit(connection);
        clients.push(client);
    }
    let mut process = daemon.start();
    wait_until("it runs", || dir.join("began").exists());
    process.signal(Signal::SIGTERM);
    let replies: Vec<String> = clients.iter().map(Client::reply).collect();
    let first = "error: /bin/sh: stopped, as it did not end within 1 s\n";
    assert_eq!(replies, [first, LEAVING, LEAVING]);
    assert_eq!(process.exit_status(), 0);
}

/// With sockets of its own nobody would ever take those who come: they are refused.
#[test]
fn a_daemon_of_its_own_sockets_refuses_who_comes_while_it_stops() {
    let dir = TempDir::new();
    let unix = format!("unix:{}", dir.text("s"));
    let name = format!("unix:@ruptime-stop-{}", std::process::id());
    let listen = ["127.0.0.1:0", "udp:127.0.0.1:0", &unix, &name];
    let (mut process, addresses) = Ruptimed::new([""; 0])
        .script(GATED, &dir.path().display().to_string())
        .standalone(&listen);
    let client = addresses[0].connect();
    wait_until("it runs", || dir.join("began").exists());
    process.signal(Signal::SIGTERM);
    let (udp, streams): (Vec<_>, Vec<_>) = addresses
        .iter()
        .enumerate()
        .partition(|(index, _)| *index == 1);
    for (_, address) in streams {
        wait_until(&format!("{address:?} is closed"), || {
            address
                .try_connect()
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        });
    }
    let asker = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = udp[0].1.port();
    asker.connect(("127.0.0.1", port)).expect("a destination");
    asker.set_nonblocking(true).expect("a flag");
    wait_until("the datagram socket is closed", || {
        let refused = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
        let sent = uninterrupted(|| asker.send(b"\0"));
        sent.is_err_and(|error| refused(&error))
            || uninterrupted(|| asker.recv(&mut [0; 16])).is_err_and(|error| refused(&error))
    });
    assert!(!process.has_ended(), "its client is still being served");
    std::fs::write(dir.join("open"), "").expect("a file");
    assert_eq!(client.reply(), "hi\n");
    assert_eq!(process.exit_status(), 0);
    assert!(!dir.join("s").exists(), "the socket was left behind");
}

fn standalone_unix(dir: &TempDir, prologue: &str) -> (Process, Address) {
    let unix = format!("unix:{}", dir.text("s"));
    let (process, mut addresses) = Ruptimed::new([""; 0])
        .command(&HI)
        .change(|launch| launch.prologue(prologue))
        .standalone(&[&unix]);
    (process, addresses.remove(0))
}

/// A terminal that goes, an alarm that a launcher has set: one line, and nothing is left behind.
#[test]
fn sighup_and_sigalrm_stop_it_in_order() {
    for signal in [Signal::SIGHUP, Signal::SIGALRM] {
        let dir = TempDir::new();
        let (mut process, address) = standalone_unix(&dir, "");
        assert_eq!(address.connect().reply(), "hi\n");
        let before = process.stderr();
        process.signal(signal);
        assert_eq!(process.exit_status(), 0, "{signal}");
        let told = process.stderr()[before.len()..].to_owned();
        assert!(
            told.lines().count() == 1 && told.contains(signal.as_str()),
            "{signal}: {told:?}"
        );
        assert!(!dir.join("s").exists(), "{signal}: the socket was left");
    }
}

#[test]
fn sigusr1_and_sigusr2_change_nothing() {
    let dir = TempDir::new();
    let (mut process, address) = standalone_unix(&dir, "");
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        process.signal(signal);
        process.wait_for_stderr(signal.as_str());
        assert_eq!(address.connect().reply(), "hi\n");
    }
}

/// nohup(1) asks for it.
#[test]
fn a_sighup_that_the_launcher_ignores_stays_ignored() {
    let dir = TempDir::new();
    let (mut process, address) = standalone_unix(&dir, "trap '' HUP");
    process.signal(Signal::SIGHUP);
    process.signal(Signal::SIGUSR1);
    process.wait_for_stderr("SIGUSR1");
    assert_eq!(address.connect().reply(), "hi\n");
    assert!(!process.stderr().contains("SIGHUP"));
}
