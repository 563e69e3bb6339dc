//! Nobody is held up by those who ask elsewhere: not by a crowd at another listener, not by
//! datagrams that come without an end, not by connections that do. And nobody is told of a timeout
//! that only the daemon itself has had.
//!
//! What comes before what is counted in runs of the command, one at a time, and not by the clock.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::daemon::Ruptimed;
use crate::common::datagrams::{Asker, At};
use crate::common::net::Address;
use crate::common::process::{Process, state_of};
use crate::common::runs::{COUNTED, Runs};
use crate::common::temp::TempDir;
use crate::common::{LOOK, wait_for, wait_until};

/// Answers that a crowd takes at most, so that one who starves beside it is served in the end, and
/// the test says how late that was.
const ENOUGH: usize = 60;
/// How long a run takes.
const RUN: Duration = Duration::from_millis(50);

/// The run that a reply came from.
fn run_of(reply: &str) -> usize {
    let number = reply.strip_prefix("run ").map(str::trim_end);
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("not an answer: {reply:?}"))
}

/// Those who ask again and again.
struct Crowd {
    over: AtomicBool,
    answers: AtomicUsize,
}

impl Crowd {
    /// Lets `size` of them make one exchange after the other, while `lone`, who begins when each
    /// may have had an answer, does what it does; gives what that gives.
    fn beside<T>(size: usize, exchange: impl Fn() + Sync, lone: impl FnOnce() -> T) -> T {
        let crowd = Crowd {
            over: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
        };
        let result = thread::scope(|scope| {
            for _ in 0..size {
                scope.spawn(|| {
                    while !crowd.over.load(Ordering::Relaxed) && crowd.answers() < ENOUGH {
                        exchange();
                        crowd.answers.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // Whatever panics here, the crowd has to hear that it is over.
            let result = catch_unwind(AssertUnwindSafe(|| {
                wait_until("a crowd", || crowd.answers() >= size);
                lone()
            }));
            crowd.over.store(true, Ordering::Relaxed);
            result
        });
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }
}

/// One run at a time.
fn one_at_a_time(runs: &Runs) -> Ruptimed {
    let seconds = RUN.as_secs_f32();
    Ruptimed::new(["--max-children", "1", "--rate-limit", "0"])
        .script(&format!("{COUNTED}\nsleep {seconds}"), &runs.path())
}

/// Asks over TCP; gives how many runs began from then on until the one that answered, and with it.
fn runs_to_a_reply(address: &Address, runs: &Runs) -> usize {
    let client = address.connect();
    let before = runs.count();
    run_of(&client.reply()).saturating_sub(before)
}

#[test]
fn a_crowd_at_one_listener_does_not_hold_up_the_other() {
    for crowded in [0, 1] {
        let runs = Runs::new();
        let (first, second) = (Address::any_tcp().listen(), Address::any_tcp().listen());
        let addresses = [first.1, second.1];
        let _process = one_at_a_time(&runs)
            .inherit(first.0)
            .inherit(second.0)
            .start();
        let exchange = || {
            run_of(&addresses[crowded].connect().reply());
        };
        let took = Crowd::beside(8, exchange, || {
            runs_to_a_reply(&addresses[1 - crowded], &runs)
        });
        assert!(
            took < 12,
            "{took} runs to an answer, with a crowd at listener {crowded}"
        );
    }
}

/// A daemon with one socket of each kind, and where they are to be found.
fn on_tcp_and_udp(runs: &Runs) -> (Process, Address, At) {
    let (listener, address) = Address::any_tcp().listen();
    let (socket, at) = At::udp("127.0.0.1:0").bind();
    let daemon = one_at_a_time(runs).inherit(listener).inherit(socket);
    (daemon.start(), address, at)
}

#[test]
fn datagrams_without_an_end_do_not_hold_up_a_connection() {
    let runs = Runs::new();
    let (_process, address, at) = on_tcp_and_udp(&runs);
    // While one question is being answered another waits: each is asked when the next run has
    // begun, so that no run takes them both.
    let asker = Asker::of(&at);
    asker.send(b"?");
    runs.wait_for(1);
    asker.send(b"?");
    let exchange = || {
        let number = run_of(&asker.receive());
        let answered = Instant::now();
        // Where one took both after all, nobody waits for a run.
        while runs.count() <= number && answered.elapsed() < RUN / 2 {
            thread::sleep(Duration::from_millis(1));
        }
        asker.send(b"?");
    };
    let took = Crowd::beside(1, exchange, || runs_to_a_reply(&address, &runs));
    assert!(took <= 4, "{took} runs to an answer");
}

#[test]
fn connections_without_an_end_do_not_hold_up_a_datagram() {
    let runs = Runs::new();
    let (_process, address, at) = on_tcp_and_udp(&runs);
    // Of three one is served, and another always waits.
    let exchange = || {
        run_of(&address.connect().reply());
    };
    let took = Crowd::beside(3, exchange, || {
        let asker = Asker::of(&at);
        asker.send(b"?");
        let before = runs.count();
        run_of(&asker.receive()).saturating_sub(before)
    });
    assert!(took <= 4, "{took} runs to an answer");
}

const CHILD_TIMEOUT: Duration = Duration::from_secs(2);

/// A client of a daemon that is stopped (SIGSTOP) when its command ends in time, and goes on when
/// that would have been too late. None where this machine was too slow for that.
fn reply_after_a_pause(handoff: &str) -> Option<(String, Process)> {
    let dir = TempDir::new();
    let script = ": >$0/began; until [ -e $0/open ]; do sleep 0.05; done; echo hi";
    let (listener, address) = Address::any_tcp().listen();
    let timeout = CHILD_TIMEOUT.as_secs().to_string();
    let process = Ruptimed::new(["--handoff", handoff, "--child-timeout", &timeout])
        .script(script, &dir.path().display().to_string())
        .inherit(listener)
        .start();
    let asked = Instant::now();
    let client = address.connect();
    wait_until("a command", || dir.join("began").exists());
    let began = Instant::now();
    process.signal(Signal::SIGSTOP);
    let state = |pid| state_of(pid).map(|(_, state)| state);
    wait_until("the daemon stands still", || {
        state(process.pid()) == Some('T')
    });
    std::fs::write(dir.join("open"), "").expect("a file");
    wait_until("the command has ended", || {
        process
            .children()
            .into_iter()
            .all(|pid| state(pid) == Some('Z'))
    });
    let in_time = asked.elapsed() < CHILD_TIMEOUT;
    // Its time is over for certain.
    wait_until("the end of its time", || {
        began.elapsed() > CHILD_TIMEOUT + LOOK
    });
    process.signal(Signal::SIGCONT);
    let reply = client.reply();
    in_time.then_some((reply, process))
}

/// Its command has done what it should, so its client gets that and nothing else.
#[test]
fn a_daemon_that_stood_still_blames_no_command_that_ended_in_time() {
    for handoff in ["exec", "capture"] {
        let (reply, process) = wait_for("a command that ends in time", || {
            reply_after_a_pause(handoff)
        });
        assert_eq!(reply, "hi\n", "{handoff}");
        assert_eq!(process.stderr(), "", "{handoff}");
    }
}
