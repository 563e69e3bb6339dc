//! `--watch` as a user sees it: in a real terminal, and in a pipe.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::fake::{Fake, LINE, client};
use crate::common::temp::TempDir;
use crate::common::terminal::Terminal;
use crate::common::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const RUPTIME: &str = env!("CARGO_BIN_EXE_ruptime");
/// Only a hang reaches it.
const BOUND: Duration = Duration::from_secs(30);
/// After a reboot.
const REBOOTED: &str = " 18:20:00 up 0 min,  1 user,  load average: 3.00, 2.00, 1.00\n";

/// A machine whose every answer the test gives, so that a round lasts until the test goes on.
struct Machine {
    fake: Fake,
    answers: Sender<&'static str>,
}

impl Machine {
    /// `ip` is no other test's, so that nobody takes its port while it is down.
    fn new(ip: &str) -> Machine {
        Machine::on(crate::common::fake::at(ip, 0))
    }

    fn on(address: SocketAddr) -> Machine {
        let (answers, given): (Sender<&'static str>, Receiver<&'static str>) = channel();
        let listener = TcpListener::bind(address).expect("bind");
        let fake = Fake::stream_on(listener, move |peer, stop| {
            while !stop.is_set() {
                if let Ok(answer) = given.recv_timeout(Duration::from_millis(5)) {
                    // A client that has left is no matter.
                    let _ = peer.write_all(answer.as_bytes());
                    return;
                }
            }
        });
        Machine { fake, answers }
    }

    fn answer(&self, line: &'static str) {
        self.answers.send(line).expect("a machine that is up");
    }

    /// Refuses everybody from now on.
    fn go_down(self) -> SocketAddr {
        self.fake.address()
    }
}

/// A script that watches, says how that ended and what became of the terminal, and stays.
fn watching(arguments: &str) -> String {
    format!(
        "trap : INT QUIT; {RUPTIME} --timeout 600 {arguments}; echo \"status $?\"; stty -a | grep -o -- '[-]*echo '; exec sleep 1000\n"
    )
}

#[test]
fn what_changes_is_marked_in_place() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let machine = Machine::new("127.64.1.1");
    let other = Fake::up("127.64.1.2");
    let (host, second) = (machine.fake.host(), other.host());
    let terminal = Terminal::run(&watching(&format!("-w=0.05 {host} {second}")), 100, 10);

    machine.answer(LINE);
    let screen = terminal.wait_for("both hosts", |screen| {
        screen.len() == 10 && screen[0].ends_with("  every 0.05 s  2 hosts: 2 up")
    });
    assert_eq!(screen.len(), 10, "a footer stands below: {screen:?}");
    assert!(screen[1].is_empty(), "{screen:?}");
    assert!(
        screen[2].starts_with(&host) && screen[3].starts_with(&second),
        "{screen:?}"
    );
    assert!(screen[2].ends_with("3+04:05,  2 users,  load 0.10, 0.20, 0.30 ↘"));
    assert_eq!(screen[9], "c clears marks, q leaves");
    assert_eq!(terminal.modes(), (true, false, false));

    machine.answer(REBOOTED);
    let reboot = "0:00,  1 user,   load 3.00, 2.00, 1.00 ↗  rebooted ";
    let screen = terminal.wait_for_text(reboot);
    let (_, time) = screen[2].split_once(reboot).expect("the first host");
    assert!(is_time(time), "{screen:?}");
    machine.answer(REBOOTED);
    machine.answer(REBOOTED);
    terminal.wait_for_text(time);
    terminal.keys(&["c"]);
    terminal.wait_for("no mark any more", |screen| !screen[2].contains("rebooted"));

    let address = machine.go_down();
    // Whoever was in the queue when it went down was told something else.
    let screen = terminal.wait_for_text("  connection refused");
    let (_, told) = screen[2].split_once("down since ").expect("found above");
    assert!(is_time(&told[..8]), "{told}");
    assert_eq!(&told[8..], "  connection refused");
    assert!(screen[0].ends_with("2 hosts: 1 up, 1 down"), "{screen:?}");

    let machine = Machine::on(address);
    machine.answer(LINE);
    terminal.wait_for_text("load 0.10, 0.20, 0.30 ↘  back up ");
    terminal.keys(&["c"]);
    terminal.wait_for("no mark any more", |screen| !screen[2].contains("back up"));
}

fn is_time(text: &str) -> bool {
    text.len() == 8 && text.split(':').all(|part| part.parse::<u8>().is_ok())
}

#[test]
fn a_silent_host_delays_no_row_and_keeps_its_last_values() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let (silent, live) = (Machine::new("127.64.5.1"), Machine::new("127.64.5.2"));
    let hosts = format!("-w=0.05 {} {}", silent.fake.host(), live.fake.host());
    let terminal = Terminal::run(&watching(&hosts), 100, 10);
    terminal.wait_for("all hosts before any has answered", |screen| {
        screen.len() == 10
            && screen[2..4]
                .iter()
                .all(|row| row.ends_with("no answer yet"))
    });
    live.answer(LINE);
    terminal.wait_for_text("2 hosts: 1 up, 1 no answer yet");
    // One question after the other to the live one; the first one to the silent one still waits.
    for _ in 0..5 {
        live.answer(REBOOTED);
        terminal.wait_for("a new answer", |screen| screen[3].contains("0:00,  1 user"));
        live.answer(LINE);
        terminal.wait_for("another one", |screen| screen[3].contains("3+04:05"));
        assert!(terminal.screen()[2].ends_with("no answer yet"));
    }
    silent.answer(LINE);
    terminal.wait_for_text("2 hosts: 2 up");
    // It is silent again: its values stay.
    live.answer(REBOOTED);
    let screen = terminal.wait_for("a new answer", |screen| screen[3].contains("0:00,  1 user"));
    assert!(screen[2].contains("3+04:05,  2 users"), "{screen:?}");
    ends_with(terminal);
}

/// The terminal goes away, and with it the program.
fn ends_with(terminal: Terminal) {
    let pid = terminal.pid_of("ruptime").expect("it runs");
    drop(terminal);
    let stat = format!("/proc/{pid}/stat");
    wait_until("its end", || {
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        !stat.contains("(ruptime)") || stat.contains(") Z ")
    });
}

#[test]
fn keys_scroll_and_leave_also_where_hosts_come_from_a_pipe() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let machine = Fake::up("127.0.0.1");
    let port = machine.port();
    let list = format!("for n in $(seq 1 40); do echo 127.0.0.$n:{port}; done");
    let script = watching("-w=60 -f -").replacen("; ", &format!("; {list} | "), 1);
    // The daemon of all of them.
    drop(machine);
    let _everywhere = Fake::stream_on(
        TcpListener::bind(("0.0.0.0", port)).expect("bind"),
        |peer, _| {
            let _ = peer.write_all(LINE.as_bytes());
        },
    );
    let terminal = Terminal::run(&script, 100, 12);
    let first = |n: usize| {
        let begin = format!("127.0.0.{n}:");
        move |screen: &[String]| screen.len() == 12 && screen[2].starts_with(&begin)
    };
    terminal.wait_for("all are up", |screen| {
        screen.iter().any(|line| line.ends_with("40 hosts: 40 up"))
    });
    for (key, line) in [
        ("Down", 2),
        ("Down", 3),
        ("Up", 2),
        ("NPage", 10),
        ("PPage", 2),
        ("End", 32),
        ("Home", 1),
    ] {
        terminal.keys(&[key]);
        terminal.wait_for(key, first(line));
    }
    assert!(
        terminal.screen()[11].starts_with("lines 1-9 of 40"),
        "{:?}",
        terminal.screen()
    );
    terminal.keys(&["q"]);
    terminal.wait_for_text("status 0");
    assert_eq!(terminal.modes(), (false, true, true));
}

#[test]
fn a_terminal_that_goes_away_ends_it() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let machine = Fake::up("127.0.0.1");
    let arguments = format!("-w=0.05 -o table {}", machine.host());
    let terminal = Terminal::run(&watching(&arguments), 100, 10);
    terminal.wait_for_text("3+04:05");
    ends_with(terminal);
}

#[test]
fn a_terminal_whose_reader_hangs_does_not_delay_the_end() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let machine = Fake::up("127.0.0.1");
    let terminal = Terminal::run(
        &watching(&format!("-w=0.05 -o table {}", machine.host())),
        100,
        10,
    );
    terminal.wait_for_text("3+04:05");
    // Ctrl-S: the terminal takes nothing more until Ctrl-Q.
    terminal.keys(&["C-s"]);
    sleep(Duration::from_millis(300));
    terminal.signal("ruptime", "TERM");
    terminal.wait_for_end_of("ruptime");
    terminal.keys(&["C-q"]);
    terminal.wait_for_text("status 0");
}

#[test]
fn every_way_to_leave_gives_the_terminal_back() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let machine = Fake::up("127.0.0.1");
    let script = watching(&format!("-w=60 -o table {}", machine.host()));
    for way in ["C-c", "C-\\", "q", "TERM", "HUP", "QUIT"] {
        let terminal = Terminal::run(&format!("echo before\n{script}"), 100, 10);
        let screen = terminal.wait_for_text("3+04:05");
        assert!(!screen.concat().contains("before"), "{screen:?}");
        match way {
            "C-c" | "C-\\" | "q" => terminal.keys(&["typed", way]),
            signal => terminal.signal("ruptime", signal),
        }
        let screen = terminal.wait_for_text("echo");
        assert_eq!(screen, ["before", "status 0", "echo"], "{way}");
        assert_eq!(terminal.modes(), (false, true, true), "{way}");
    }
}

#[test]
fn suspended_it_gives_the_terminal_back_until_it_goes_on() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let machine = Fake::up("127.0.0.1");
    let terminal = Terminal::run("exec bash --norc --noprofile -i", 100, 10);
    let command = format!("{RUPTIME} -w=60 -o table {}", machine.host());
    terminal.keys(&[&command, "Enter"]);
    terminal.wait_for_text("3+04:05");
    terminal.keys(&["C-z"]);
    let screen = terminal.wait_for_text("Stopped");
    assert!(!screen.concat().contains("3+04:05"), "{screen:?}");
    assert_eq!(terminal.modes(), (false, true, true));
    terminal.keys(&["fg", "Enter"]);
    terminal.wait_for_text("3+04:05");
    assert_eq!(terminal.modes(), (true, false, false));
    terminal.keys(&["C-c"]);
    terminal.wait_for("the shell", |screen| screen.concat().contains("Stopped"));
}

#[test]
fn a_resize_is_followed_at_once() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let machines: Vec<_> = (0..6).map(|_| Fake::up("127.0.0.1")).collect();
    let (_held, closed) = crate::common::fake::closed_port("127.0.0.1");
    let hosts: Vec<_> = machines
        .iter()
        .map(Fake::host)
        .chain([closed.to_string()])
        .collect();
    // No second round: what is drawn again is the round that is there.
    let terminal = Terminal::run(&watching(&format!("-w=3600 {}", hosts.join(" "))), 100, 20);
    terminal.wait_for("all hosts", |screen| {
        screen.len() == 20 && screen[0].ends_with("6 up, 1 down")
    });
    terminal.resize(30, 5);
    let screen = terminal.wait_for("a small screen", |screen| {
        screen.len() == 5 && screen[4] == "lines 1-3 of 7"
    });
    assert!(
        screen.iter().all(|line| line.chars().count() <= 30),
        "{screen:?}"
    );
    assert!(
        screen[1].starts_with(&hosts[0]) && screen[3].starts_with(&hosts[2]),
        "{screen:?}"
    );
    terminal.resize(90, 24);
    terminal.wait_for("all hosts again", |screen| {
        screen.len() == 24 && screen[2].ends_with('↘') && screen[8].starts_with(&hosts[6])
    });
}

#[test]
fn attack_a_reply_cannot_draw_on_the_screen() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let attacker = Fake::stream("127.0.0.1", |peer, _| {
        let _ = peer.write_all(b"\x1b[2J\x1b[H\x1b]0;owned\x07\x9b31mhello\n");
    });
    let script = watching(&format!("-w=3600 {} -o ", attacker.host()));
    for format in ["text", "table", "json", "jsonl"] {
        let terminal = Terminal::run(&script.replace("-o ", &format!("-o {format}")), 400, 10);
        let screen = terminal.wait_for_text("hello");
        // What programs read is appended.
        let is_drawn = format == "text" || format == "table";
        assert_eq!(
            screen[0].contains("every 3600 s"),
            is_drawn,
            "{format}: {screen:?}"
        );
        assert!(screen.concat().contains("[2J"), "{format}: {screen:?}");
    }
}

/// Stopped when the test is over.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        let child = command.stdout(Stdio::piped()).spawn();
        Running(child.expect("the client starts"))
    }

    /// Its lines, read on a thread that ends with it.
    fn lines(&mut self) -> Receiver<String> {
        let out = BufReader::new(self.0.stdout.take().expect("piped"));
        let (line, lines) = channel();
        std::thread::spawn(move || {
            // The test may have seen enough.
            out.lines()
                .map_while(Result::ok)
                .try_for_each(|l| line.send(l))
        });
        lines
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().try_into().expect("a pid"));
        kill(pid, signal).expect("it runs");
    }

    /// The status after a signal; None where the signal killed it, or it did not end.
    fn end(&mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        let end = Instant::now() + BOUND;
        while Instant::now() < end {
            if let Some(status) = self.0.try_wait().expect("waitpid") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

/// The next line, if it comes.
fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(BOUND).expect("a line")
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_terminal_rounds_are_appended() {
    let machine = Machine::new("127.64.2.1");
    let mut command = client(&[
        "-w=0.01",
        "-o",
        "table",
        "--timeout",
        "600",
        &machine.fake.host(),
    ]);
    let mut running = Running::start(&mut command);
    let lines = running.lines();
    let round = || [(); 3].map(|()| next(&lines));
    for (answer, end) in [
        (LINE, "0.30"),
        (REBOOTED, "1.00  rebooted"),
        (REBOOTED, "1.00"),
    ] {
        machine.answer(answer);
        let lines = round();
        // 2026-11-22 18:16:29  1 up
        assert!(
            lines[0].ends_with("  1 up") && lines[0].len() == "2026-11-22 18:16:29  1 up".len(),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with(&machine.fake.host()) && lines[1].ends_with(end),
            "{lines:?}"
        );
        assert_eq!(lines[2], "");
    }
    machine.go_down();
    let down = round();
    assert!(down[1].contains("down since "), "{down:?}");
}

#[test]
fn a_terminal_that_cannot_be_drawn_on_gets_one_round_after_the_other() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let machine = Fake::up("127.0.0.1");
    let (_held, closed) = crate::common::fake::closed_port("127.0.0.1");
    for term in ["TERM=dumb", "-u TERM"] {
        let script = format!(
            "trap : INT; env {term} {RUPTIME} -w=0.01 {} {closed}; echo \"status $?\"; exec sleep 1000\n",
            machine.host()
        );
        let terminal = Terminal::run(&script, 100, 20);
        let screen = terminal.wait_for("several rounds", |screen| {
            screen
                .iter()
                .filter(|l| l.ends_with("1 up, 1 down"))
                .count()
                > 2
        });
        assert!(!terminal.modes().0, "{screen:?}");
        terminal.keys(&["C-c"]);
        terminal.wait_for_text("status 1");
    }
}

#[test]
fn to_leave_before_the_first_round_is_over_is_no_success() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let machine = Machine::new("127.64.3.1");
    let terminal = Terminal::run(
        &watching(&format!("-w=60 {}", machine.fake.host())),
        100,
        10,
    );
    terminal.wait_for_text("every 60 s  1 host: 1 no answer yet");
    terminal.keys(&["C-c"]);
    terminal.wait_for_text("status 1");
}

#[test]
fn in_a_pipe_a_line_leaves_as_its_host_answers_and_a_signal_ends_with_the_status() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let (slow, fast) = (Machine::new("127.64.4.1"), Fake::up("127.64.4.2"));
        let arguments = ["-w=0.01", "-o", "jsonl", "--timeout", "600"].map(str::to_owned);
        let hosts = [slow.fake.host(), fast.host()];
        let mut running = Running::start(&mut client(&[&arguments[..], &hosts[..]].concat()));
        let lines = running.lines();
        assert!(next(&lines).contains(&fast.host()));
        slow.answer(LINE);
        assert!(next(&lines).contains(&slow.fake.host()));
        // The next round has begun, so this one is over.
        assert!(next(&lines).contains(&fast.host()));
        assert_eq!(running.end(signal), Some(0), "{signal}");
    }
}

#[test]
fn a_signal_before_the_first_round_is_over_is_no_success_in_a_pipe_either() {
    let (slow, fast) = (Machine::new("127.64.5.1"), Fake::up("127.64.5.2"));
    let arguments = ["-w=60", "-o", "jsonl", "--timeout", "600"].map(str::to_owned);
    let hosts = [slow.fake.host(), fast.host()];
    let mut running = Running::start(&mut client(&[&arguments[..], &hosts[..]].concat()));
    next(&running.lines());
    assert_eq!(running.end(Signal::SIGTERM), Some(1));
}

#[test]
fn what_is_ignored_stays_ignored() {
    let machine = Fake::up("127.0.0.1");
    let shell = ["sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh"];
    let arguments = ["-w=0.01", "-o", "jsonl", &machine.host()];
    let mut running = Running::start(&mut crate::common::fake::wrapped(&shell, &arguments));
    let lines = running.lines();
    next(&lines);
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        running.signal(signal);
        let asked = machine.asked();
        while machine.asked() < asked + 3 {
            next(&lines);
        }
    }
    assert_eq!(running.end(Signal::SIGTERM), Some(0));
}

#[test]
fn a_search_without_a_network_is_told_and_no_success() {
    let Some(mut words) = crate::common::fake::unshare("mn") else {
        return;
    };
    // Loopback is down there.
    let script = format!(
        "'{RUPTIME}' --discover -w=0.1 -o json & for n in 1 2 3; do read -r line && echo \"$line\"; done <\"$1\"; kill $!; wait $!; echo status $?"
    );
    let folder = TempDir::new();
    let fifo = folder.join("fifo");
    let script = format!(
        "mkfifo \"$1\"; {}",
        script.replace("-o json &", "-o json >\"$1\" &")
    );
    words.extend(["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]);
    words.push(fifo.display().to_string());
    let mut command = std::process::Command::new(&words[0]);
    let ran = crate::common::fake::run(command.args(&words[1..]), b"");
    assert_eq!(ran.text(), "[]\n[]\n[]\nstatus 1\n", "{ran:?}");
    assert!(
        ran.err
            .starts_with("ruptime: no network interface to ask on\n"),
        "{ran:?}"
    );
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let folder = TempDir::new();
    let machine = Fake::up("127.0.0.1");
    let errors = folder.join("errors");
    let script = format!(
        "{RUPTIME} -w=0.01 -o jsonl {} 2>{} | head -n 2",
        machine.host(),
        errors.display()
    );
    let ran = crate::common::fake::run(
        std::process::Command::new("/bin/sh").args(["-c", &script]),
        b"",
    );
    assert_eq!(ran.text().lines().count(), 2, "{ran:?}");
    assert_eq!(std::fs::read_to_string(errors).expect("errors"), "");
}
