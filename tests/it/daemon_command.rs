//! What the command finds when it starts, and what becomes of it.
//!
//! Nothing of the daemon or of its launcher may reach the command: no variable, no descriptor, no
//! ignored or blocked signal. And no command, however bad, may keep a client or the daemon.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::common::daemon::{Ruptimed, on_tcp};
use crate::common::net::{Address, tcp_pair};
use crate::common::process::{Orphan, group_members, is_alive};
use crate::common::temp::TempDir;
use crate::common::wait_until;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

/// Runs a command under a daemon that has all that a launcher may leave behind.
fn run(change: impl FnOnce(Ruptimed) -> Ruptimed, command: &[&str]) -> String {
    let (listener, address) = Address::any_tcp().listen();
    let daemon = Ruptimed::new([""; 0]).command(command).inherit(listener);
    let _process = change(daemon).start();
    address.connect().reply()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_environment_is_exactly_this() {
    let littered = |daemon: Ruptimed| {
        [
            ("LISTEN_FDNAMES", "ruptime.socket"),
            ("WATCHDOG_USEC", "30000000"),
            ("WATCHDOG_PID", "1"),
            ("JOURNAL_STREAM", "8:12345"),
            ("INVOCATION_ID", "0123456789abcdef0123456789abcdef"),
            ("NOTIFY_SOCKET", "@nobody/listens/here"),
            ("LANG", "de_DE.UTF-8"),
            ("LC_TIME", "de_DE.UTF-8"),
            ("LD_LIBRARY_PATH", "/nonexistent"),
            ("PATH", "/usr/bin:/bin"),
        ]
        .iter()
        .fold(daemon, |daemon, (name, value)| daemon.env(name, value))
    };
    let env = ["/usr/bin/env"];
    assert_eq!(
        sorted(&run(littered, &env)),
        ["LC_ALL=C", "PATH=/usr/bin:/bin"]
    );
    let in_tokyo = |daemon| littered(daemon).env("TZ", "Asia/Tokyo");
    assert_eq!(
        sorted(&run(in_tokyo, &env)),
        ["LC_ALL=C", "PATH=/usr/bin:/bin", "TZ=Asia/Tokyo"]
    );
}

/// Without a PATH of the daemon's own the command still has one.
#[test]
fn there_is_always_a_path() {
    let no_path = |daemon: Ruptimed| daemon.change(|launch| launch.prologue("unset PATH"));
    let env = run(no_path, &["env"]);
    assert!(env.contains("PATH=/"), "{env}");
}

/// ls(1) itself opens the folder, as number 3.
#[test]
fn no_descriptor_but_the_standard_three() {
    let leaky = |daemon: Ruptimed| {
        let null = || File::open("/dev/null").expect("/dev/null");
        let (_, far) = std::os::unix::net::UnixStream::pair().expect("a pair");
        daemon.change(|launch| launch.fd(7, null()).fd(20, far).fd(63, null()))
    };
    let list = ["/bin/ls", "/proc/self/fd"];
    assert_eq!(sorted(&run(leaky, &list)), ["0", "1", "2", "3"]);
    // The connection is on 1 and 2, and the null device, not the connection, on 0.
    let look = "readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2";
    let reply = run(leaky, &["sh", "-c", look]);
    let links: Vec<&str> = reply.lines().collect();
    assert_eq!(links[0], "/dev/null");
    assert!(
        links[1].starts_with("socket:") && links[1] == links[2],
        "{links:?}"
    );
}

/// The same for a connection that came on the standard descriptors.
#[test]
fn no_descriptor_is_left_of_an_inetd() {
    let (far, client) = tcp_pair();
    let _process = Ruptimed::new(["--inetd"])
        .command(&["/bin/ls", "/proc/self/fd"])
        .on_stdio(far)
        .start();
    assert_eq!(sorted(&client.reply()), ["0", "1", "2", "3"]);
}

/// The signals of a mask in /proc/PID/status, but for the two that the C library keeps for
/// itself (nptl(7)).
fn signals(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let mask = line.expect(name).trim_start_matches(':').trim();
    u64::from_str_radix(mask, 16).expect("a mask") & !(0b11 << 31)
}

#[test]
fn every_signal_is_at_its_default_and_none_is_blocked() {
    let deaf = |daemon: Ruptimed| {
        daemon.change(|launch| {
            launch
                .through(&["env", "--ignore-signal=CHLD,TERM,INT,HUP,PIPE,USR1,QUIT"])
                .blocking(SigSet::all())
        })
    };
    let status = run(deaf, &["/bin/cat", "/proc/self/status"]);
    for name in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
        assert_eq!(signals(&status, name), 0, "{name}: {status}");
    }
}

#[test]
fn the_command_leads_a_process_group_of_its_own() {
    let stat = run(|daemon| daemon, &["/bin/cat", "/proc/self/stat"]);
    let fields: Vec<&str> = stat.split(' ').collect();
    assert_eq!(fields[0], fields[4], "{stat}");
}

#[test]
fn standard_error_reaches_the_client_too() {
    let reply = run(|daemon| daemon, &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(reply, "out\nerr\n");
}

#[test]
fn a_command_without_a_slash_is_found_in_path() {
    let dir = TempDir::new();
    symlink("/bin/echo", dir.join("greet")).expect("a link");
    let path = format!("relative:/nonexistent:{}", dir.path().display());
    let reply = run(
        |daemon| daemon.env("PATH", &path),
        &["greet", "a  b", "$HOME"],
    );
    assert_eq!(reply, "a  b $HOME\n");
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

/// A command that is not there is an answer and one record, and it is right again, and told so
/// once, when the command is back.
#[test]
fn a_missing_command_is_told_and_is_right_again_when_it_is_back() {
    let dir = TempDir::new();
    let path = dir.text("answer");
    let (mut process, address) = on_tcp(&[], &[&path, "here"]);
    let told = format!("error: {path}: No such file or directory\n");
    for _ in 0..3 {
        assert_eq!(address.connect().reply(), told);
    }
    symlink("/bin/echo", &path).expect("a link");
    for _ in 0..3 {
        assert_eq!(address.connect().reply(), "here\n");
    }
    let stderr = process.wait_for_stderr("starts again");
    assert_eq!(count(&stderr, "cannot start"), 1, "{stderr}");
    assert_eq!(count(&stderr, "starts again, after 3"), 1, "{stderr}");
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(address.connect().reply(), told);
}

#[test]
fn a_name_that_is_not_in_path_yet_is_looked_for_again() {
    let dir = TempDir::new();
    let (listener, address) = Address::any_tcp().listen();
    let mut process = Ruptimed::new([""; 0])
        .command(&["answer", "here"])
        .env("PATH", &dir.path().display().to_string())
        .inherit(listener)
        .start();
    process.wait_for_stderr("answer is not in PATH");
    let told = "error: answer: No such file or directory\n";
    assert_eq!(address.connect().reply(), told);
    symlink("/bin/echo", dir.join("answer")).expect("a link");
    assert_eq!(address.connect().reply(), "here\n");
}

#[test]
fn what_cannot_be_executed_is_told() {
    let dir = TempDir::new();
    let plain = dir.join("plain");
    std::fs::write(&plain, "echo never\n").expect("a file");
    let told = |path: &str, why: &str| {
        assert_eq!(
            run(|daemon| daemon, &[path]),
            format!("error: {path}: {why}\n")
        );
    };
    let path = dir.text("plain");
    told(&path, "Permission denied");
    told(&dir.path().display().to_string(), "Permission denied");
    told(&format!("{path}/below"), "Not a directory");
    // Executable by its mode, and nothing that the kernel knows: no shell is to try it (execve(2)).
    std::fs::set_permissions(&plain, PermissionsExt::from_mode(0o755)).expect("a mode");
    told(&path, "Exec format error");
}

#[test]
fn a_failing_command_gives_what_it_wrote_and_is_recorded_once() {
    let command = ["/bin/sh", "-c", "echo partly; exit 3"];
    let (mut process, address) = on_tcp(&[], &command);
    for _ in 0..3 {
        assert_eq!(address.connect().reply(), "partly\n");
    }
    let stderr = process.wait_for_stderr("exit status 3");
    assert_eq!(count(&stderr, "exit status 3"), 1, "{stderr}");
}

#[test]
fn a_command_that_is_killed_is_told_after_what_it_wrote() {
    let reply = run(
        |daemon| daemon,
        &["/bin/sh", "-c", "echo partly; kill -SEGV $$"],
    );
    assert!(reply.starts_with("partly\nerror: /bin/sh: "), "{reply:?}");
    assert!(
        reply.contains("SIGSEGV") && reply.ends_with('\n'),
        "{reply:?}"
    );
    // A real-time signal has no name.
    let reply = run(|daemon| daemon, &["/bin/sh", "-c", "kill -40 $$"]);
    assert_eq!(reply, "error: /bin/sh: killed by signal 40\n");
}

/// Runs a script that prints its process number and goes on for ever, and checks that it is
/// stopped, that its whole group has gone and that the client hears of it. Gives what it wrote.
fn is_stopped_in_time(script: &str) -> String {
    // Where even a shell needs long to start, it gets more time.
    let reply = ["0.3", "2", "20"]
        .iter()
        .find_map(|seconds| stopped_after(seconds, script));
    reply.expect("a script that starts within 20 s")
}

fn stopped_after(seconds: &str, script: &str) -> Option<String> {
    let command = ["/bin/sh", "-c", script];
    let (mut process, address) = on_tcp(&["--child-timeout", seconds], &command);
    let client = address.connect();
    let reply = client.reply();
    let told = format!("error: /bin/sh: stopped, as it did not end within {seconds} s\n");
    let wrote = reply.strip_suffix(&told).unwrap_or_else(|| {
        let end = &reply[reply.len().saturating_sub(200)..];
        panic!("not the end of a reply: {end:?}")
    });
    wait_until("no child is left", || process.children().is_empty());
    process.wait_for_stderr(&format!("did not end within {seconds} s"));
    let (pid, rest) = wrote.split_once('\n')?;
    let group = Pid::from_raw(pid.parse().expect("a process number"));
    wait_until("the end of the whole group", || {
        group_members(group).is_empty()
    });
    Some(rest.to_owned())
}

#[test]
fn a_hanging_command_is_stopped() {
    is_stopped_in_time("echo $$; exec sleep 600");
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_with_its_children() {
    is_stopped_in_time("trap '' TERM; echo $$; sleep 600 & sleep 600");
}

/// The leader goes at SIGTERM, and what is left of its group must not stay for ever.
#[test]
fn a_grandchild_that_ignores_sigterm_is_killed() {
    is_stopped_in_time("echo $$; (trap '' TERM; sleep 600; sleep 600) & wait");
}

/// What a stopped command has still written comes before the last word, never after it.
#[test]
fn an_endless_command_is_stopped() {
    let reply = is_stopped_in_time("echo $$; while :; do echo x; done");
    let lines = reply.lines().filter(|line| *line == "x").count();
    assert!(lines > 1, "{lines} lines");
}

/// The command's end is the end of the answer, whoever holds a copy of the connection.
#[test]
fn a_grandchild_that_keeps_the_connection_does_not_keep_the_client() {
    for address in [
        Address::any_tcp(),
        Address::Abstract(format!("ruptimed-test/{}/grandchild", std::process::id())),
    ] {
        let (listener, address) = address.listen();
        let _process = Ruptimed::new([""; 0])
            .command(&["/bin/sh", "-c", "sleep 600 & echo $!"])
            .inherit(listener)
            .start();
        let orphan = Orphan::new(&address.connect().reply());
        assert!(orphan.is_alive(), "the answer came only after its end");
    }
}

/// A launcher that ignores SIGCHLD (or had children before it became the daemon) must not make
/// the daemon miss the ends of its own.
#[test]
fn children_are_reaped_whatever_the_launcher_left() {
    let (listener, address) = Address::any_tcp().listen();
    let process = Ruptimed::new([""; 0])
        .change(|launch| {
            launch
                .prologue("sleep 0.1 & sleep 0.2 &")
                .through(&["env", "--ignore-signal=CHLD"])
        })
        .command(&["/bin/sh", "-c", "echo $$"])
        .inherit(listener)
        .start();
    let mut last = 0;
    for _ in 0..20 {
        last = address.connect().reply().trim().parse().expect("a number");
    }
    wait_until("no child is left", || process.children().is_empty());
    assert!(!is_alive(Pid::from_raw(last)));
}

/// As PID 1 the daemon reaps whatever becomes its child. One that a real-time signal has killed,
/// which nix cannot name, must not hide the others. The launcher's children stand for them.
#[test]
fn a_child_that_a_real_time_signal_has_killed_hides_no_other() {
    let (listener, address) = Address::any_tcp().listen();
    let process = Ruptimed::new([""; 0])
        .change(|launch| launch.prologue("sh -c 'sleep 0.3; kill -40 $$' & sleep 0.6 &"))
        .command(&["/bin/echo", "hi"])
        .inherit(listener)
        .start();
    assert_eq!(address.connect().reply(), "hi\n");
    wait_until("no child is left", || process.children().is_empty());
}

/// Commands that end while the daemon is looking elsewhere, some of them by a signal that has no
/// name: each client gets the answer of its own command.
#[test]
fn ends_that_come_together_are_told_apart() {
    const CLIENTS: usize = 20;
    let dir = TempDir::new();
    let (listener, address) = Address::any_tcp().listen();
    let script = ": >$0/run.$$; until [ -e $0/go ] || [ ! -d $0 ]; do sleep 0.05; done
        for token in 1 2 3 4 5 6 7 8; do mkdir $0/$token 2>/dev/null && kill -40 $$; done
        echo fine";
    let process = Ruptimed::new(["--child-timeout", "3600"])
        .script(script, &dir.path().display().to_string())
        .inherit(listener)
        .start();
    let clients: Vec<_> = (0..CLIENTS).map(|_| address.connect()).collect();
    wait_until("every command runs", || dir.entries("run.") == CLIENTS);
    process.signal(Signal::SIGSTOP);
    std::fs::write(dir.join("go"), "").expect("a file");
    wait_until("every command has ended", || {
        process.children().iter().all(|child| !is_alive(*child))
    });
    process.signal(Signal::SIGCONT);
    let replies: Vec<String> = clients.iter().map(|client| client.reply()).collect();
    let fine = replies.iter().filter(|reply| *reply == "fine\n").count();
    let killed = replies
        .iter()
        .filter(|reply| reply.starts_with("error: "))
        .count();
    assert_eq!((fine, killed), (CLIENTS - 8, 8), "{replies:?}");
}

/// The client is still there, so it was not the client's doing: it hears why there is no answer.
#[test]
fn a_command_that_breaks_a_pipe_of_its_own_is_told() {
    let (mut process, address) = on_tcp(&[], &["/bin/sh", "-c", "kill -PIPE $$"]);
    assert_eq!(
        address.connect().reply(),
        "error: /bin/sh: killed by SIGPIPE\n"
    );
    process.wait_for_stderr("killed by SIGPIPE");
}

/// Into the daemon's own group, where no time-out may reach for it as a group.
#[test]
fn a_command_that_leaves_its_group_is_stopped_all_the_same() {
    if !crate::common::is_installed("python3", "python3") {
        return;
    }
    let leave = "import os, time; os.setpgid(0, os.getpgid(os.getppid())); time.sleep(600)";
    for handoff in ["exec", "capture"] {
        let (mut process, address) = on_tcp(
            &["--child-timeout", "1", "--handoff", handoff],
            &["/usr/bin/python3", "-c", leave],
        );
        let told = "error: /usr/bin/python3: stopped, as it did not end within 1 s\n";
        assert_eq!(address.connect().reply(), told);
        wait_until("it is stopped", || process.children().is_empty());
        process.signal(Signal::SIGTERM);
        assert_eq!(process.exit_status(), 0);
    }
}

/// The time that it takes to start a command is none that the command has run.
#[test]
fn the_recorded_time_begins_when_the_command_runs() {
    const DELAY_USEC: u64 = 300_000;
    if !crate::common::is_installed("strace", "strace") {
        return;
    }
    for handoff in ["exec", "capture"] {
        let delay = format!("--inject=execve:delay_enter={DELAY_USEC}");
        // With -D the daemon is the process that was started, and strace its grandchild.
        let strace = [
            "strace",
            "-D",
            "-q",
            "-f",
            "-o",
            "/dev/null",
            "--trace=execve",
            &delay,
        ];
        let (listener, address) = Address::any_tcp().listen();
        let process = Ruptimed::new(["--handoff", handoff, "--log-level", "info"])
            .command(&["/bin/echo", "hi"])
            .change(|launch| launch.through(&strace))
            .inherit(listener)
            .start();
        // On a busy machine one command may take as long; not every one.
        wait_until("a time without the start", || {
            assert_eq!(address.connect().reply(), "hi\n");
            let stderr = process.stderr();
            let times = stderr.lines().filter_map(|line| {
                let (_, time) = line.strip_suffix(" us")?.rsplit_once(' ')?;
                time.parse::<u64>().ok()
            });
            times.min().is_some_and(|usec| usec < DELAY_USEC)
        });
    }
}
