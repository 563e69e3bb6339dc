//! What the service manager hears (sd_notify(3)), and what it may do: stop the daemon at any
//! moment without a client losing its answer.

use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::time::Instant;

use crate::common::daemon::Ruptimed;
use crate::common::manager::Manager;
use crate::common::net::{Address, Client};
use crate::common::process::Process;
use crate::common::temp::TempDir;
use crate::common::{BOUND, uninterrupted, wait_until};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;

const HI: [&str; 2] = ["/bin/echo", "hi"];

fn serve(manager: &Manager, options: &[&str]) -> (Process, Address) {
    let (listener, address) = Address::any_tcp().listen();
    let process = Ruptimed::new(options)
        .command(&HI)
        .managed_by(manager)
        .inherit(listener)
        .start();
    (process, address)
}

#[test]
fn it_is_ready_once_and_says_when_it_stops() {
    let manager = Manager::new();
    let (mut process, address) = serve(&manager, &[]);
    let first = manager.next();
    assert_eq!(first[0], "READY=1");
    assert!(first[1].starts_with("STATUS="), "{first:?}");
    assert_eq!(address.connect().reply(), "hi\n");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit_status(), 0);
    let rest: Vec<String> = manager.pending().concat();
    assert_eq!(rest.iter().filter(|line| *line == "STOPPING=1").count(), 1);
    assert!(!rest.contains(&"READY=1".to_owned()), "{rest:?}");
}

#[test]
fn an_idle_exit_is_told_too() {
    let manager = Manager::new();
    let (mut process, _) = serve(&manager, &["--idle-timeout", "0.2"]);
    assert_eq!(process.exit_status(), 0);
    let heard = manager.pending().concat();
    assert_eq!(heard.first().map(String::as_str), Some("READY=1"));
    assert_eq!(heard.last().map(String::as_str), Some("STOPPING=1"));
}

/// A manager that is not there is one record, and no reason to stop.
#[test]
fn a_manager_that_does_not_listen_hurts_nobody() {
    let manager = Manager::new();
    let path = manager.path();
    drop(manager);
    let (listener, address) = Address::any_tcp().listen();
    let process = Ruptimed::new([""; 0])
        .command(&HI)
        .env("NOTIFY_SOCKET", &path)
        .inherit(listener)
        .start();
    for _ in 0..3 {
        assert_eq!(address.connect().reply(), "hi\n");
    }
    let stderr = process.stderr();
    assert_eq!(
        stderr.matches("cannot tell the service manager").count(),
        1,
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// A full pipe, and nobody who reads the records from it: they are lost, and the clients are not.
#[test]
fn a_standard_error_that_nobody_reads_holds_nobody_up() {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    let filler = std::fs::File::from(write.try_clone().expect("a copy"));
    let (listener, address) = Address::any_tcp().listen();
    let _process = Ruptimed::new(["--log-level", "debug"])
        .command(&HI)
        .change(|launch| launch.fd(2, write))
        .inherit(listener)
        .start();
    assert_eq!(address.connect().reply(), "hi\n");
    fill(&filler);
    for _ in 0..20 {
        assert_eq!(address.connect().reply(), "hi\n");
    }
    drop(read);
    assert_eq!(address.connect().reply(), "hi\n");
}

/// Writes into a pipe until nothing more goes in. The flag that this takes is the daemon's, too,
/// for the moment.
fn fill(mut pipe: &std::fs::File) {
    use nix::fcntl::{FcntlArg, fcntl};
    use std::io::Write;
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a flag");
    while pipe.write(b"x").is_ok() {}
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::empty())).expect("a flag");
}

/// The counts of a STATUS= line: answered, failed, running.
fn counts(status: &str) -> Option<[u64; 3]> {
    let mut numbers = ["answered ", "failed ", "running "].iter().map(|word| {
        let (_, rest) = status.split_once(word)?;
        rest.split(',').next()?.trim().parse().ok()
    });
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

#[test]
fn the_status_counts_at_most_once_a_second() {
    let manager = Manager::new();
    let dir = TempDir::new();
    let (listener, address) = Address::any_tcp().listen();
    let script = "[ -e $0/fail ] && exit 3; echo hi";
    let start = Instant::now();
    let _process = Ruptimed::new([""; 0])
        .script(script, &dir.path().display().to_string())
        .managed_by(&manager)
        .inherit(listener)
        .start();
    assert_eq!(manager.next()[0], "READY=1");
    for _ in 0..10 {
        assert_eq!(address.connect().reply(), "hi\n");
    }
    std::fs::write(dir.join("fail"), "").expect("a file");
    for _ in 0..3 {
        assert_eq!(address.connect().reply(), "");
    }
    let mut told = 0;
    manager.wait_for("all the requests in the status", |line| {
        let counts = line.strip_prefix("STATUS=").and_then(counts);
        told += u64::from(counts.is_some());
        counts == Some([10, 3, 0])
    });
    // So many messages, a second or more between each two of them.
    assert!(
        told <= start.elapsed().as_secs() + 1,
        "{told} status messages in {:?}",
        start.elapsed()
    );
}

/// The running commands are told while they run.
#[test]
fn the_status_tells_of_running_commands() {
    let manager = Manager::new();
    let (listener, address) = Address::any_tcp().listen();
    let _process = Ruptimed::new(["--child-timeout", "3600"])
        .command(&["/bin/sleep", "600"])
        .managed_by(&manager)
        .inherit(listener)
        .start();
    let _clients: Vec<Client> = (0..3).map(|_| address.connect()).collect();
    manager.wait_for("three running commands", |line| {
        line.strip_prefix("STATUS=").and_then(counts) == Some([0, 0, 3])
    });
}

#[test]
fn the_watchdog_hears_from_it_while_commands_hang() {
    let manager = Manager::new();
    let (listener, address) = Address::any_tcp().listen();
    let _process = Ruptimed::new(["--child-timeout", "3600"])
        .command(&["/bin/sleep", "600"])
        .managed_by(&manager)
        .env("WATCHDOG_USEC", "200000")
        .change(|launch| launch.prologue("WATCHDOG_PID=$$ && export WATCHDOG_PID"))
        .inherit(listener)
        .start();
    let _client = address.connect();
    for _ in 0..5 {
        manager.wait_for("the watchdog's message", |line| line == "WATCHDOG=1");
    }
}

/// Neither another process's watchdog, nor none, nor nonsense.
#[test]
fn no_watchdog_is_told_that_did_not_ask() {
    std::thread::scope(|scope| {
        for (usec, pid) in [
            ("10000", "1"),
            ("0", "$$"),
            ("", "$$"),
            ("soon", "$$"),
            ("-1", "$$"),
        ] {
            scope.spawn(move || hears_of_no_watchdog(usec, pid));
        }
    });
}

fn hears_of_no_watchdog(usec: &str, pid: &str) {
    let manager = Manager::new();
    let (listener, address) = Address::any_tcp().listen();
    let _process = Ruptimed::new([""; 0])
        .command(&HI)
        .managed_by(&manager)
        .env("WATCHDOG_USEC", usec)
        .change(|launch| launch.prologue(&format!("export WATCHDOG_PID={pid}")))
        .inherit(listener)
        .start();
    // Two status messages are a second apart: time for a hundred of the watchdog's.
    for answered in 1..=2 {
        assert_eq!(address.connect().reply(), "hi\n");
        manager.wait_for("the status", |line| {
            assert!(!line.starts_with("WATCHDOG"), "{usec}, {pid}: {line}");
            line.strip_prefix("STATUS=").and_then(counts) == Some([answered, 0, 0])
        });
    }
}

/// Who has come before a daemon starts, and who comes while it is being stopped.
const CLIENTS: usize = 40;
const LATE: usize = 5;

/// Stops a daemon that has many clients; gives the number that it had answered by then. Its
/// successor on the same listener has the rest.
fn stop_under_load(listen_at: &Address, handoff: &str, signal: Signal) -> usize {
    let (listener, address) = listen_at.listen();
    let start = |listener: &OwnedFd, name: &str| {
        Ruptimed::new(["--max-children", "4", "--handoff", handoff])
            .script("sleep 0.1; echo $0", name)
            .inherit(listener.try_clone().expect("a copy"))
            .start()
    };
    let clients: Vec<Client> = (0..CLIENTS).map(|_| address.connect()).collect();
    let mut first = start(&listener, "first");
    // As soon as one has its answer, others are being served.
    assert_eq!(clients[0].reply(), "first\n");
    first.signal(signal);
    let late: Vec<Client> = (0..LATE).map(|_| address.connect()).collect();
    assert_eq!(first.exit_status(), 0, "after {signal}");
    let _second = start(&listener, "second");
    let mut by_first = 1;
    for client in clients[1..].iter().chain(&late) {
        match client.reply().as_str() {
            "first\n" => by_first += 1,
            "second\n" => {}
            other => panic!("after {signal} with {handoff}: {other:?}"),
        }
    }
    by_first
}

#[test]
fn nobody_loses_an_answer_when_it_is_stopped() {
    let dir = TempDir::new();
    let unix = Address::Unix(dir.join("s"));
    for (address, signal) in [
        (Address::any_tcp(), Signal::SIGTERM),
        (unix, Signal::SIGINT),
    ] {
        // Those that it had not accepted were left to the next.
        let by_first = stop_under_load(&address, "exec", signal);
        let all = CLIENTS + LATE;
        assert!(by_first < all, "{by_first} of {all} by the first");
    }
    // Here all who had come are accepted at once, and are answered.
    let by_first = stop_under_load(&Address::any_tcp(), "capture", Signal::SIGTERM);
    assert!(by_first >= CLIENTS, "{by_first} of {CLIENTS} by the first");
}

/// A command that hangs holds up a stop for its time, and no longer.
#[test]
fn a_stop_waits_for_a_hanging_command_within_its_time() {
    for handoff in ["exec", "capture"] {
        let dir = TempDir::new();
        let (listener, address) = Address::any_tcp().listen();
        let mut process = Ruptimed::new(["--child-timeout", "1", "--handoff", handoff])
            .script(
                ": >$0/began; sleep 600; :",
                &dir.path().display().to_string(),
            )
            .inherit(listener)
            .start();
        let client = address.connect();
        wait_until("it runs", || dir.join("began").exists());
        process.signal(Signal::SIGTERM);
        let told = "error: /bin/sh: stopped, as it did not end within 1 s\n";
        assert_eq!(client.reply(), told);
        assert_eq!(process.exit_status(), 0);
    }
}

/// Names that begin with @ are in the abstract namespace (sd_notify(3), unix(7)).
#[test]
fn a_manager_with_an_abstract_name_hears_everything() {
    let name = format!("ruptime-manager-{}", std::process::id());
    let socket = UnixAddress::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&socket).expect("a notification socket");
    socket.set_read_timeout(Some(BOUND)).expect("a time limit");
    let next = || {
        let mut message = [0; 4096];
        let length = uninterrupted(|| socket.recv(&mut message)).expect("a message");
        String::from_utf8(message[..length].to_vec()).expect("text")
    };
    let (listener, _) = Address::any_tcp().listen();
    let mut daemon = Ruptimed::new([""; 0])
        .env("NOTIFY_SOCKET", &format!("@{name}"))
        .inherit(listener)
        .start();
    assert!(next().starts_with("READY=1\n"));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(next(), "STOPPING=1\n");
    assert_eq!(daemon.exit_status(), 0);
    assert_eq!(daemon.stderr(), "");
}

/// It serves meanwhile, hears a signal to stop, and tells that it is ready when there is room.
#[test]
fn a_manager_that_is_busy_holds_nobody_up() {
    let manager = Manager::new();
    let filler = UnixDatagram::unbound().expect("a socket");
    filler.set_nonblocking(true).expect("non-blocking");
    while filler.send_to(b"FILL=1", manager.path()).is_ok() {}
    for stops_first in [true, false] {
        let (listener, address) = Address::any_tcp().listen();
        let mut daemon = Ruptimed::new([""; 0])
            .managed_by(&manager)
            .command(&["/bin/echo", "hi"])
            .inherit(listener)
            .start();
        assert_eq!(address.connect().reply(), "hi\n");
        if !stops_first {
            manager.wait_for("READY=1", |assignment| assignment == "READY=1");
        }
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.exit_status(), 0);
    }
}
