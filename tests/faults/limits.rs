//! Limits of the process, and those who do not listen: the service manager, the journal, whoever
//! reads standard error.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::{getuid, pipe2};

use crate::common::daemon::{RUPTIMED, Ruptimed};
use crate::common::net::tcp_pair;
use crate::common::pipe::without_a_reader;
use crate::common::process::Launch;
use crate::common::temp::TempDir;
use crate::common::{BOUND, is_installed, leave_out, uninterrupted, wait_until};
use crate::service::{Got, Mode, Service};

/// A user that nobody is, so that nobody else's processes count.
const NOBODY: u32 = 61_973;

/// For a prologue that ends in an exec of its own: the process keeps its number through it.
const PASSED: &str = "LISTEN_PID=$$; export LISTEN_PID; ";

/// All of them at once; each is answered, or hears why not.
fn crowd(service: &Service, size: usize) -> Vec<Got> {
    let mut askers: Vec<_> = (0..size).map(|_| service.ask()).collect();
    askers.iter_mut().map(|asker| asker.wait(BOUND)).collect()
}

#[test]
fn sixteen_descriptors_are_enough_for_a_crowd() {
    for mode in [Mode::Exec, Mode::Capture] {
        let service = Service::start_as(mode, &[], |daemon| {
            daemon.change(|launch| launch.prologue("ulimit -n 16"))
        });
        let got = crowd(&service, 60);
        assert!(
            got.iter().all(|got| *got == Got::Answer),
            "{mode:?} {got:?}"
        );
        assert_eq!(service.records(), [""; 0], "{mode:?}");
    }
}

/// With room for two processes besides the daemon the crowd is served two by two; with none,
/// everybody hears so, and it is told once.
#[test]
fn the_limit_of_processes_is_lived_with() {
    if !getuid().is_root() {
        return leave_out("RLIMIT_NPROC needs a user of its own, which only root can become");
    }
    if !(is_installed("setpriv", "util-linux") && is_installed("prlimit", "util-linux")) {
        return;
    }
    // The folder that it was built in may be closed to other users.
    let dir = TempDir::new();
    let program = dir.text("ruptimed");
    // By a process of its own: a child that another test forks while a copy is being written holds
    // it open, and what is open for writing cannot be run (ETXTBSY of execve(2)).
    let copied = Launch::new("cp")
        .args([RUPTIMED, &program])
        .start()
        .exit_status();
    assert_eq!(copied, 0, "a copy");
    for (limit, wanted) in [(3, Got::Answer), (1, Got::Refusal)] {
        let service = Service::start_as(Mode::Exec, &[], |daemon| {
            daemon.change(|launch| limited(launch, &program, limit))
        });
        let got = crowd(&service, 20);
        assert!(got.iter().all(|got| *got == wanted), "{limit}: {got:?}");
        let records = service.records();
        assert!(records.len() <= 2, "{records:?}");
        assert!(
            limit > 1 || records[0].contains("cannot start /usr/bin/uptime: "),
            "{records:?}"
        );
    }
}

/// The same program as a user with this many processes at most. setpriv(1) becomes the user, and
/// prlimit(1), running as that user, cannot raise the limit again.
fn limited(launch: Launch, program: &str, processes: u32) -> Launch {
    launch.prologue(&format!(
        "{PASSED}exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups \\
            prlimit --nproc={processes}:{processes} {program} \"$@\""
    ))
}

/// Answered, one after the other, so many times.
fn serves(service: &Service, times: usize) {
    for _ in 0..times {
        assert_eq!(service.ask().wait(BOUND), Got::Answer);
    }
}

#[test]
fn a_service_manager_that_is_not_there_is_told_of_once() {
    let dir = TempDir::new();
    let service = Service::start_as(Mode::Exec, &[], |daemon| {
        daemon
            .env("NOTIFY_SOCKET", &dir.text("nobody"))
            .env("WATCHDOG_USEC", "20000")
    });
    serves(&service, 3);
    wait_until("several messages", || {
        service.daemon.cpu_time() > Duration::ZERO || !service.records().is_empty()
    });
    std::thread::sleep(Duration::from_millis(300));
    serves(&service, 3);
    let records = service.records();
    assert!(
        records.len() == 1 && records[0].contains("cannot tell the service manager: "),
        "{records:?}"
    );
}

/// It has heard READY=1, and hangs: its queue (net.unix.max_dgram_qlen) fills up. That is its own
/// trouble, not the clients'.
#[test]
fn a_service_manager_that_does_not_read_on_holds_nobody_up() {
    let dir = TempDir::new();
    let manager = UnixDatagram::bind(dir.join("notify")).expect("a notification socket");
    manager.set_read_timeout(Some(BOUND)).expect("SO_RCVTIMEO");
    let mut service = Service::start_as(Mode::Exec, &[], |daemon| {
        daemon
            .env("NOTIFY_SOCKET", &dir.text("notify"))
            .env("WATCHDOG_USEC", "20000")
    });
    uninterrupted(|| manager.recv(&mut [0; 4096])).expect("READY=1");
    fill(&dir.text("notify"));
    serves(&service, 5);
    let used = service.daemon.cpu_time();
    std::thread::sleep(Duration::from_millis(300));
    let used = service.daemon.cpu_time() - used;
    assert!(used <= Duration::from_millis(80), "{used:?} in 300 ms");
    serves(&service, 5);
    let records = service.records();
    assert!(records.len() <= 1, "{records:?}");
    service.daemon.signal(Signal::SIGTERM);
    assert_eq!(service.daemon.exit_status(), 0);
    drop(manager);
}

/// Sends to a datagram socket until its queue takes no more.
fn fill(path: &str) {
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.set_nonblocking(true).expect("non-blocking");
    while socket.send_to(b"x", path).is_ok() {}
}

/// What of /run a daemon sees in a mount namespace of its own.
enum Run<'a> {
    /// Nothing.
    Empty,
    /// A journal's socket, which is this one.
    Journal(&'a str),
}

/// The daemon in a mount namespace of its own with this /run, after `then`, a shell command.
fn with_run(launch: Launch, run: Run<'_>, then: &str) -> Launch {
    let journal = match run {
        Run::Empty => String::new(),
        Run::Journal(socket) => format!(
            "&& mkdir -p /run/systemd/journal && : >/run/systemd/journal/socket
             && mount --bind \"{socket}\" /run/systemd/journal/socket"
        ),
    }
    .replace('\n', " ");
    launch.prologue(&format!(
        "{PASSED}exec unshare -m sh -c '
            mount --make-rprivate / && mount -t tmpfs none /run {journal} || exit 99
            {then}
            exec \"$0\" \"$@\"' \"$0\" \"$@\""
    ))
}

/// A daemon whose standard error is a journal's stream, as far as it can tell.
fn under_a_journal(run: Run<'_>) -> Option<Service> {
    if !getuid().is_root() {
        leave_out("a mount namespace of its own needs root");
        return None;
    }
    // systemd.exec(5): device and inode of standard error, in decimal.
    let stream = "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) && export JOURNAL_STREAM";
    Some(Service::start_as(
        Mode::Exec,
        &["--log-level", "info"],
        |daemon| daemon.change(|launch| with_run(launch, run, stream)),
    ))
}

#[test]
fn without_a_journal_standard_error_gets_the_records() {
    let Some(service) = under_a_journal(Run::Empty) else {
        return;
    };
    serves(&service, 3);
    wait_until("the records", || {
        let ended = |record: &String| record.starts_with("<6>ruptimed: command ");
        service.records().iter().filter(|r| ended(r)).count() == 3
    });
}

#[test]
fn a_journal_that_reads_gets_the_records() {
    let dir = TempDir::new();
    let journal = UnixDatagram::bind(dir.join("journal")).expect("a journal");
    journal.set_read_timeout(Some(BOUND)).expect("SO_RCVTIMEO");
    let Some(service) = under_a_journal(Run::Journal(&dir.text("journal"))) else {
        return;
    };
    serves(&service, 1);
    let mut record = [0; 4096];
    loop {
        let length = uninterrupted(|| journal.recv(&mut record)).expect("a record");
        let text = String::from_utf8_lossy(&record[..length]).into_owned();
        if text.contains("RUPTIME_EXIT_STATUS=0\n") {
            assert!(text.contains("PRIORITY=6\n"), "{text}");
            break;
        }
    }
    assert_eq!(service.records(), [""; 0]);
}

#[test]
fn a_journal_that_is_full_holds_nobody_up() {
    let dir = TempDir::new();
    let _journal = UnixDatagram::bind(dir.join("journal")).expect("a journal");
    fill(&dir.text("journal"));
    let Some(mut service) = under_a_journal(Run::Journal(&dir.text("journal"))) else {
        return;
    };
    serves(&service, 20);
    service.daemon.signal(Signal::SIGTERM);
    assert_eq!(service.daemon.exit_status(), 0);
}

/// systemd raises net.unix.max_dgram_qlen to 512 where journald runs; then it is the sender's own
/// buffer that a journal which hangs fills up first.
#[test]
fn a_journal_that_hangs_behind_a_long_queue_holds_nobody_up() {
    if !is_installed("python3", "python3") || !getuid().is_root() {
        return leave_out("a network namespace of its own needs root");
    }
    let dir = TempDir::new();
    // The limit is that of the namespace in which the socket was made (unix(7)).
    let script = "echo 512 >/proc/sys/net/unix/max_dgram_qlen && exec python3 -c '
import signal, socket, sys
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind(sys.argv[1])
signal.pause()' \"$0\"";
    let _journal = Launch::new("unshare")
        .args(["-n", "sh", "-c", script, &dir.text("journal")])
        .start();
    wait_until("a journal", || dir.join("journal").exists());
    let Some(mut service) = under_a_journal(Run::Journal(&dir.text("journal"))) else {
        return;
    };
    serves(&service, 600);
    service.daemon.signal(Signal::SIGTERM);
    assert_eq!(service.daemon.exit_status(), 0);
}

/// Under an inetd everything but the answer is the client's too: a record that nobody takes is lost.
#[test]
fn without_a_journal_an_inetds_client_gets_no_record() {
    if !getuid().is_root() {
        return leave_out("a mount namespace of its own needs root");
    }
    let dir = TempDir::new();
    // There, and nobody listens any more.
    drop(UnixDatagram::bind(dir.join("journal")).expect("a journal"));
    let (connection, client) = tcp_pair();
    let (no_socket, _) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    let mut daemon = Ruptimed::new([""; 0])
        .on_stdio(connection)
        .inherit(no_socket)
        .change(|launch| with_run(launch, Run::Journal(&dir.text("journal")), ""))
        .start();
    assert_eq!(daemon.exit_status(), 1);
    assert_eq!(client.reply(), "");
}

/// Whoever read its records has gone.
#[test]
fn standard_error_that_is_closed_hurts_nobody() {
    let mut service = Service::start_as(Mode::Exec, &["--log-level", "info"], |daemon| {
        daemon.change(|launch| launch.fd(2, without_a_reader()))
    });
    serves(&service, 5);
    service.daemon.signal(Signal::SIGTERM);
    assert_eq!(service.daemon.exit_status(), 0);
}
