//! `--handoff capture` when something is wrong: too little of everything, readers that stall,
//! commands that fail, hang, say too much, or leave somebody behind. Nobody but the one concerned
//! may notice, and whoever asked hears why there is no answer.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use nix::unistd::Pid;

use crate::common::daemon::Ruptimed;
use crate::common::datagrams::{Asker, At};
use crate::common::net::{Address, Client, is_uptime_line};
use crate::common::process::{Process, group_members};
use crate::common::runs::{COUNTED, GATED, Runs};
use crate::common::temp::TempDir;
use crate::common::{always, wait_until};

/// A daemon on an inherited TCP listener.
fn serve(options: &[&str], command: &[&str]) -> (Process, Address) {
    let (listener, address) = Address::any_tcp().listen();
    let daemon = Ruptimed::new(["--handoff", "capture"].iter().chain(options));
    (daemon.command(command).inherit(listener).start(), address)
}

fn serve_script(options: &[&str], script: &str, argument: &str) -> (Process, Address) {
    serve(options, &["/bin/sh", "-c", script, argument])
}

/// As many as 300 clients and 64 descriptors: the connections that wait are held within the
/// limit, the others in the backlog, and everybody is answered, also those who send a line first.
#[test]
fn three_hundred_clients_and_sixty_four_descriptors() {
    for line in [&b""[..], b"GET / HTTP/1.0\r\n\r\n"] {
        let runs = Runs::new();
        let (listener, address) = Address::any_tcp().listen();
        let process = Ruptimed::new(["--handoff", "capture"])
            .change(|launch| launch.prologue("ulimit -n 64"))
            .script(GATED, &runs.path())
            .inherit(listener)
            .start();
        let ask = || {
            let client = address.connect();
            client.send(line).expect("sent");
            client
        };
        let first = ask();
        runs.wait_for(1);
        let clients: Vec<Client> = (0..299).map(|_| ask()).collect();
        wait_until("the limit is reached", || process.open_descriptors() >= 55);
        runs.release(1);
        assert_eq!(first.reply(), "run 1\n");
        runs.wait_for(2);
        runs.release(300);
        let mut last = 2;
        for client in &clients {
            let reply = client.reply();
            let run = reply
                .strip_prefix("run ")
                .and_then(|run| run.trim_end().parse().ok());
            let run: usize = run.unwrap_or_else(|| panic!("not an answer: {reply:?}"));
            assert!(run >= last, "one was served out of its turn");
            last = run;
        }
        // Not one for each: a busy machine may start a run before all have come who could.
        assert!(runs.count() <= 30, "{} runs", runs.count());
        assert_eq!(process.stderr(), "");
    }
}

/// Readers that never read an answer that does not fit into their connection hold up nobody, and
/// are gone after their time.
#[test]
fn readers_that_stall_hold_up_nobody() {
    let (listener, address) = Address::any_tcp().listen();
    // Accepted connections have it too; the kernel doubles it (socket(7)).
    setsockopt(&listener, sockopt::SndBuf, &2304).expect("SO_SNDBUF");
    let process = Ruptimed::new(["--handoff", "capture"])
        .command(&["seq", "1", "10000"])
        .inherit(listener)
        .start();
    let long: String = (1..=10_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(address.connect().reply(), long);
    wait_until("it is quiet", || process.open_descriptors() == 6);
    let stalled: Vec<Client> = (0..20).map(|_| small(&address)).collect();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert!(address.connect().reply() == long, "a part of the answer");
                }
            });
        }
    });
    wait_until("they are gone", || process.open_descriptors() == 6);
    drop(stalled);
    assert_eq!(process.stderr(), "");
}

/// A client with little room for what it is sent.
fn small(address: &Address) -> Client {
    let Address::Tcp(server) = address else {
        panic!("TCP has such a buffer");
    };
    let fd = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    );
    let fd = fd.expect("a socket");
    setsockopt(&fd, sockopt::RcvBuf, &2304).expect("SO_RCVBUF");
    connect(fd.as_raw_fd(), &SockaddrStorage::from(*server)).expect("a connection");
    Client::new(fd)
}

/// With as few descriptors as there can be, and nobody else who waits, a slow reader's answer is
/// not given up for the sake of a place that nobody needs.
#[test]
fn a_place_is_made_for_nobody_but_who_waits() {
    let long = "x".repeat(60_000);
    for limit in [12, 20] {
        let (listener, address) = Address::any_tcp().listen();
        setsockopt(&listener, sockopt::SndBuf, &2304).expect("SO_SNDBUF");
        let process = Ruptimed::new(["--handoff", "capture"])
            .change(|launch| launch.prologue(&format!("ulimit -n {limit}")))
            .script("head -c 60000 /dev/zero | tr '\\0' x", "")
            .inherit(listener)
            .start();
        let client = small(&address);
        // A part of it is there, and the rest waits for room while the loop turns.
        assert_eq!(client.receive(1).expect("a part"), b"x");
        wait_until("the run is over", || process.children().is_empty());
        always(Duration::from_millis(200), || {});
        assert!(client.reply() == long[1..], "{limit} descriptors");
    }
}

/// 64 KiB are an answer, and one byte more is too much: it is cut there.
#[test]
fn an_answer_has_64_kib_at_most() {
    let dir = TempDir::new();
    let path = dir.path().display().to_string();
    let script = "head -c $(cat $0/size) /dev/zero | tr '\\0' x";
    let (_process, address) = serve_script(&[], script, &path);
    for (size, length) in [
        (65_535, 65_535),
        (65_536, 65_536),
        (65_537, 65_536),
        (200_000, 65_536),
    ] {
        std::fs::write(dir.join("size"), size.to_string()).expect("a file");
        assert_eq!(address.connect().reply().len(), length, "of {size}");
    }
}

/// A command that says too much is stopped, with all that it has started and whatever it ignores.
#[test]
fn a_command_that_says_too_much_is_stopped_with_its_children() {
    let dir = TempDir::new();
    let path = dir.path().display().to_string();
    let script = "trap '' TERM PIPE
        echo $$ >>$0/groups
        sleep 600 &
        sh -c 'trap \"\" TERM PIPE; sleep 600' &
        while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done";
    let (process, address) = serve_script(&[], script, &path);
    let clients: Vec<Client> = (0..3).map(|_| address.connect()).collect();
    for client in clients {
        assert_eq!(client.reply().len(), 65_536);
    }
    let groups = std::fs::read_to_string(dir.join("groups")).expect("process groups");
    for group in groups.lines() {
        let group = Pid::from_raw(group.parse().expect("a number"));
        wait_until("the group ends", || group_members(group).is_empty());
    }
    wait_until("all are reaped", || process.children().is_empty());
}

/// Everybody who waits for a command that hangs hears so, also where it has said a part, or has
/// closed its output without a word.
#[test]
fn a_command_that_hangs_is_stopped_and_everybody_hears_so() {
    for script in ["echo a part; sleep 600; :", "exec >&- 2>&-; sleep 600; :"] {
        let (socket, at) = At::udp("127.0.0.1:0").bind();
        let (listener, address) = Address::any_tcp().listen();
        let process = Ruptimed::new(["--handoff", "capture", "--child-timeout", "0.5"])
            .script(script, "")
            .inherit(listener)
            .inherit(socket)
            .start();
        let asker = Asker::of(&at);
        asker.send(b"\0");
        let clients: Vec<Client> = (0..5).map(|_| address.connect()).collect();
        let told = "error: /bin/sh: stopped, as it did not end within 0.5 s\n";
        assert_eq!(asker.receive(), told);
        for client in clients {
            assert_eq!(client.reply(), told, "{script}");
        }
        wait_until("all are reaped", || process.children().is_empty());
    }
}

/// The run ends with the output, although the command lives on; the next one need not wait.
#[test]
fn a_command_that_lives_on_without_its_output_does_not_keep_the_clients() {
    let runs = Runs::new();
    let script = format!("{COUNTED}\nexec >&- 2>&-\nread -r _ <$0/gate");
    let (process, address) = serve_script(&["--max-children", "2"], &script, &runs.path());
    assert_eq!(address.connect().reply(), "run 1\n");
    assert_eq!(address.connect().reply(), "run 2\n");
    assert_eq!(process.children().len(), 2, "they live on");
    // No third command at once; its client waits until one of them has ended.
    wait_until("the connections are closed", || {
        process.open_descriptors() == 6
    });
    let third = address.connect();
    wait_until("it is taken", || process.open_descriptors() == 7);
    assert_eq!(runs.count(), 2);
    runs.release(1);
    assert_eq!(third.reply(), "run 3\n");
    runs.release(2);
    wait_until("all are reaped", || process.children().is_empty());
}

/// A command that is not there is an answer, and no reason to leave.
#[test]
fn a_missing_command_is_told_and_is_right_again_when_it_is_back() {
    let dir = TempDir::new();
    let path = dir.text("command");
    let (mut process, address) = serve(&[], &[&path]);
    let told = format!("error: {path}: No such file or directory\n");
    for _ in 0..3 {
        let clients: Vec<Client> = (0..3).map(|_| address.connect()).collect();
        clients
            .iter()
            .for_each(|client| assert_eq!(client.reply(), told));
    }
    symlink("/usr/bin/uptime", &path).expect("a link");
    assert!(is_uptime_line(&address.connect().reply()));
    process.wait_for_stderr("starts again");
    std::fs::remove_file(dir.join("command")).expect("removed");
    assert_eq!(address.connect().reply(), told);
    assert_eq!(process.stderr().lines().count(), 2, "told once");
}

/// SIGTERM during a run: everybody who was accepted is answered, each by a run that was not
/// under way when it asked; whoever comes later is kept for the next daemon.
#[test]
fn who_was_accepted_is_answered_when_it_is_stopped() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let runs = Runs::new();
        let (listener, address) = Address::any_tcp().listen();
        let (socket, at) = At::udp("127.0.0.1:0").bind();
        let start = || {
            let listener: OwnedFd = listener.try_clone().expect("a copy");
            Ruptimed::new(["--handoff", "capture", "--log-level", "info"])
                .script(GATED, &runs.path())
                .inherit(listener)
                .inherit(socket.try_clone().expect("a copy"))
                .start()
        };
        let mut process = start();
        let first = address.connect();
        runs.wait_for(1);
        let asker = Asker::of(&at);
        asker.send(b"\0");
        let waiting: Vec<Client> = (0..20).map(|_| address.connect()).collect();
        // Three standard descriptors, epoll, signals, two sockets, the pipe, and the connections.
        wait_until("they are taken", || process.open_descriptors() == 8 + 21);
        process.signal(signal);
        // It has heard when it does not take a connection any more; the one that tells so is
        // answered by it, or by the next.
        let late = address.connect();
        let late_asker = Asker::of(&at);
        late_asker.send(b"\0");
        runs.release(2);
        assert_eq!(first.reply(), "run 1\n");
        for client in waiting {
            assert_eq!(client.reply(), "run 2\n");
        }
        assert_eq!(asker.receive(), "run 2\n");
        drop(first);
        assert_eq!(process.exit_status(), 0);
        assert!(
            process
                .stderr()
                .contains("asked to stop, leaving: answered 2")
        );
        let _next = start();
        runs.release(1);
        for reply in [late.reply(), late_asker.receive()] {
            assert!(["run 2\n", "run 3\n"].contains(&reply.as_str()), "{reply}");
        }
    }
}

/// A stop does not wait for a command that hangs longer than its time, nor for readers that stall.
#[test]
fn a_stop_is_bounded() {
    let dir = TempDir::new();
    let script = ": >$0/began; sleep 600; :";
    let path = dir.path().display().to_string();
    let (mut process, address) = serve_script(&["--child-timeout", "1"], script, &path);
    let clients: Vec<Client> = (0..3).map(|_| address.connect()).collect();
    wait_until("it runs", || dir.join("began").exists());
    process.signal(Signal::SIGTERM);
    for client in clients {
        assert!(client.reply().starts_with("error: /bin/sh: stopped"));
    }
    assert_eq!(process.exit_status(), 0);
}

/// It is not the command's fault that it is stopped.
#[test]
fn an_answer_that_is_cut_is_told_as_such() {
    let (mut process, address) = serve(&[], &["/usr/bin/yes"]);
    assert_eq!(address.connect().reply().len(), 64 << 10);
    wait_until("it is stopped", || process.children().is_empty());
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit_status(), 0);
    let stderr = process.stderr();
    assert!(
        stderr.contains("said more than 65536 bytes") && stderr.lines().count() == 1,
        "{stderr}"
    );
}
