//! `--handoff capture`: one run of the command answers all who waited when it started, and nobody
//! is given an answer that was measured before the question, unless `--max-age` allows it.
#![cfg(feature = "daemon")]

mod common;

use common::daemon::on_tcp;
use common::net::{Address, Client};
use common::process::{Orphan, Process, group_members};
use common::temp::TempDir;
use common::wait_until;
use nix::unistd::Pid;

const CAPTURE: [&str; 2] = ["--handoff", "capture"];

fn serve(options: &[&str], script: &str, argument: &str) -> (Process, Address) {
    let options: Vec<&str> = CAPTURE.iter().chain(options).copied().collect();
    on_tcp(&options, &["/bin/sh", "-c", script, argument])
}

/// A command that says which run it is, and waits for a file before it does so.
const NUMBERED: &str = "n=$(ls $0 | grep -c run); : >$0/run.$n
    until [ -e $0/open.$n ]; do sleep 0.05; done; echo $n";

fn let_go(dir: &TempDir, run: usize) {
    std::fs::write(dir.join(&format!("open.{run}")), "").expect("a file");
}

#[test]
fn those_who_come_during_a_run_share_the_next() {
    let dir = TempDir::new();
    let path = dir.path().display().to_string();
    let (process, address) = serve(&["--child-timeout", "3600"], NUMBERED, &path);
    let first = address.connect();
    wait_until("the first run", || dir.entries("run.") == 1);
    let before = process.open_descriptors();
    let others: Vec<Client> = (0..30).map(|_| address.connect()).collect();
    wait_until("all are in", || process.open_descriptors() >= before + 30);
    let_go(&dir, 0);
    assert_eq!(first.reply(), "0\n");
    wait_until("the second run", || dir.entries("run.") == 2);
    let_go(&dir, 1);
    for client in &others {
        assert_eq!(client.reply(), "1\n");
    }
    assert_eq!(dir.entries("run."), 2);
}

#[test]
fn an_answer_serves_for_its_age() {
    let dir = TempDir::new();
    let path = dir.path().display().to_string();
    let (_process, address) = serve(&["--max-age", "3600"], NUMBERED, &path);
    (0..3).for_each(|run| let_go(&dir, run));
    for _ in 0..20 {
        assert_eq!(address.connect().reply(), "0\n");
    }
    assert_eq!(dir.entries("run."), 1);
}

/// An error is nobody's answer but theirs who asked for it.
#[test]
fn an_error_serves_nobody_else() {
    let dir = TempDir::new();
    let path = dir.path().display().to_string();
    let script = "[ -e $0/well ] && echo hi";
    let (_process, address) = serve(&["--max-age", "3600"], script, &path);
    assert_eq!(address.connect().reply(), "error: /bin/sh: exit status 1\n");
    std::fs::write(dir.join("well"), "").expect("a file");
    assert_eq!(address.connect().reply(), "hi\n");
}

#[test]
fn what_a_command_says_is_what_everybody_gets() {
    for (script, reply) in [
        ("echo hi", "hi\n"),
        ("printf hi", "hi"),
        ("echo out; echo err >&2", "out\nerr\n"),
        ("echo all the same; exit 3", "all the same\n"),
        ("exit 3", "error: /bin/sh: exit status 3\n"),
        (":", "error: /bin/sh: said nothing\n"),
        ("exec >&- 2>&-; exit 4", "error: /bin/sh: exit status 4\n"),
    ] {
        let (_process, address) = serve(&[], script, "");
        for _ in 0..2 {
            assert_eq!(address.connect().reply(), reply, "{script}");
        }
    }
}

#[test]
fn too_long_an_answer_is_cut_and_its_command_stopped() {
    let (process, address) = serve(&["--child-timeout", "3600"], "exec cat /dev/zero", "");
    for _ in 0..2 {
        assert_eq!(address.connect().reply().len(), 64 << 10);
    }
    wait_until("the command has gone", || process.children().is_empty());
}

#[test]
fn a_hanging_run_is_stopped_and_the_next_one_is_free() {
    // Where even a shell needs long to start, it gets more time.
    assert!(["1", "20"].iter().any(|seconds| hangs_for(seconds)));
}

/// False where the command had not come to hang by then.
fn hangs_for(seconds: &str) -> bool {
    let dir = TempDir::new();
    let path = dir.path().display().to_string();
    let script = "[ -e $0/group ] && exec echo hi
        trap '' TERM; echo partly; echo $$ >$0/group; sleep 600 & sleep 600";
    let (_process, address) = serve(&["--child-timeout", seconds], script, &path);
    let told = format!("error: /bin/sh: stopped, as it did not end within {seconds} s\n");
    assert_eq!(address.connect().reply(), told);
    let Ok(group) = std::fs::read_to_string(dir.join("group")) else {
        return false;
    };
    let next = address.connect().reply();
    if next == told {
        return false;
    }
    assert_eq!(next, "hi\n");
    let group = Pid::from_raw(group.trim().parse().expect("a number"));
    wait_until("the whole group has gone", || {
        group_members(group).is_empty()
    });
    true
}

/// The run is over when its command is, whoever holds the pipe.
#[test]
fn a_grandchild_that_holds_the_pipe_is_not_waited_for() {
    let (_process, address) = serve(&[], "sleep 600 & echo $!", "");
    for _ in 0..2 {
        let orphan = Orphan::new(&address.connect().reply());
        assert!(orphan.is_alive(), "the answer came only after its end");
    }
}

/// Those who have gone before their answer cost the others nothing.
#[test]
fn a_run_outlives_those_who_do_not_wait_for_it() {
    let dir = TempDir::new();
    let path = dir.path().display().to_string();
    let (process, address) = serve(&[], NUMBERED, &path);
    let impatient: Vec<Client> = (0..10).map(|_| address.connect()).collect();
    let patient = address.connect();
    wait_until("a run", || dir.entries("run.") == 1);
    impatient.into_iter().for_each(Client::reset);
    (0..3).for_each(|run| let_go(&dir, run));
    assert!(patient.reply().ends_with('\n'));
    assert_eq!(process.stderr(), "");
}
