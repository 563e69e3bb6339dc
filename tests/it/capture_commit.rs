//! One run of the command for all who wait, and never an answer that is older than its question:
//! `--handoff capture`, `--max-age`.

use std::thread;
use std::time::{Duration, Instant};

use crate::common::daemon::Ruptimed;
use crate::common::datagrams::{Asker, At};
use crate::common::net::{Address, Client, is_uptime_line};
use crate::common::process::Process;
use crate::common::runs::{COUNTED, GATED, Runs};
use crate::common::temp::TempDir;
use crate::common::wait_until;

/// What a daemon of [`Served`] has open when nobody is there: three standard descriptors, epoll,
/// signals, eight sockets. A run has a pipe besides.
const OWN: usize = 13;

/// A daemon that listens on every transport.
struct Served {
    process: Process,
    streams: Vec<Address>,
    datagrams: Vec<At>,
    _dir: TempDir,
}

impl Served {
    fn new(options: &[&str], script: &str, argument: &str) -> Served {
        let dir = TempDir::new();
        let always = ["--handoff", "capture", "--rate-limit", "0"];
        let mut daemon = Ruptimed::new(always.iter().chain(options))
            .change(|launch| launch.prologue("ulimit -n 1024"))
            .script(script, argument);
        let mut streams = Vec::new();
        for wanted in [
            Address::any_tcp(),
            Address::any_tcp6(),
            Address::Unix(dir.join("stream")),
            Address::Abstract(dir.text("abstract")),
            Address::Seqpacket(dir.join("seqpacket")),
        ] {
            let (listener, address) = wanted.listen();
            daemon = daemon.inherit(listener);
            streams.push(address);
        }
        let mut datagrams = Vec::new();
        for wanted in [
            At::udp("127.0.0.1:0"),
            At::udp("[::1]:0"),
            At::Unix(dir.join("datagrams")),
        ] {
            let (socket, at) = wanted.bind();
            daemon = daemon.inherit(socket);
            datagrams.push(at);
        }
        Served {
            process: daemon.start(),
            streams,
            datagrams,
            _dir: dir,
        }
    }

    /// Asks once over each transport, datagrams first: when the connections have been taken, so
    /// have they.
    fn ask_all(&self) -> Questions {
        let askers: Vec<Asker> = self.datagrams.iter().map(Asker::of).collect();
        askers.iter().for_each(|asker| asker.send(b"\0"));
        Questions {
            askers,
            streams: self.streams.iter().map(Address::connect).collect(),
        }
    }

    fn wait_for_descriptors(&self, number: usize) {
        wait_until("the daemon has taken or closed them", || {
            self.process.open_descriptors() == number
        });
    }
}

/// A question over each transport, not answered yet.
struct Questions {
    askers: Vec<Asker>,
    streams: Vec<Client>,
}

impl Questions {
    fn replies(self) -> Vec<String> {
        let streams = self.streams.iter().map(Client::reply);
        streams
            .chain(self.askers.iter().map(Asker::receive))
            .collect()
    }
}

/// All of them, from one run.
#[track_caller]
fn all_are(replies: &[String], expected: &str) {
    for (index, reply) in replies.iter().enumerate() {
        assert_eq!(reply, expected, "transport {index}");
    }
}

/// A command that waits for the test's word proves it: whoever asks while run 1 is under way is
/// not answered by it, although the daemon has long taken the question; and all of them by run 2.
#[test]
fn a_run_answers_only_those_who_were_there_before_it() {
    let runs = Runs::new();
    let served = Served::new(&[], GATED, &runs.path());
    let first = served.ask_all();
    runs.wait_for(1);
    // Some of the first may have come after the start of the run. They hear from the second.
    served.wait_for_descriptors(OWN + 1 + 5);
    let later: Vec<Questions> = (0..20).map(|_| served.ask_all()).collect();
    served.wait_for_descriptors(OWN + 1 + 5 + 20 * 5);
    runs.release(1);
    runs.wait_for(2);
    runs.release(1);
    for reply in first.replies() {
        assert!(["run 1\n", "run 2\n"].contains(&reply.as_str()), "{reply}");
    }
    for questions in later {
        all_are(&questions.replies(), "run 2\n");
    }
    assert_eq!(runs.count(), 2, "a run that nobody asked for");
}

/// Seconds since boot, in hundredths: a clock that the command can read too, and that nobody sets
/// (proc_uptime(5)).
fn now() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").expect("/proc/uptime");
    hundredths(uptime.split_whitespace().next().expect("a time"))
}

fn hundredths(text: &str) -> u64 {
    let text = text.trim().replace('.', "");
    text.parse().expect("hundredths of seconds")
}

/// Asks with a socket of its own.
fn ask(at: &At) -> String {
    let asker = Asker::of(at);
    asker.send(b"\0");
    asker.receive()
}

/// Says when it started, and takes its time.
const CLOCK: &str = "read -r up _ </proc/uptime; sleep 0.03; echo $up";

/// Clients of every transport that ask again and again, each at a pace of its own, so that some
/// always ask in the middle of a run.
fn ask_the_clock(served: &Served, time: Duration, check: impl Fn(u64, u64) + Sync) {
    let (check, end) = (&check, Instant::now() + time);
    let at_a_pace = |pace: usize, ask: &dyn Fn() -> String| {
        while Instant::now() < end {
            let asked = now();
            check(asked, hundredths(&ask()));
            thread::sleep(Duration::from_millis(7 * pace as u64));
        }
    };
    thread::scope(|scope| {
        for (pace, address) in served.streams.iter().enumerate() {
            scope.spawn(move || at_a_pace(pace, &|| address.connect().reply()));
        }
        for (pace, at) in served.datagrams.iter().enumerate() {
            scope.spawn(move || at_a_pace(pace + 5, &|| ask(at)));
        }
    });
}

#[test]
fn no_answer_was_measured_before_its_question() {
    let served = Served::new(&[], CLOCK, "");
    ask_the_clock(&served, Duration::from_secs(1), |asked, measured| {
        assert!(
            measured >= asked,
            "asked at {asked}, measured at {measured}"
        );
    });
}

#[test]
fn no_answer_is_older_than_max_age() {
    let served = Served::new(&["--max-age", "0.2"], CLOCK, "");
    ask_the_clock(&served, Duration::from_secs(1), |asked, measured| {
        // The clock's own step is a hundredth.
        assert!(
            measured + 21 >= asked,
            "asked at {asked}, measured at {measured}"
        );
    });
}

#[test]
fn an_answer_that_is_young_enough_serves_everybody() {
    let runs = Runs::new();
    let served = Served::new(&["--max-age", "3600"], COUNTED, &runs.path());
    assert_eq!(served.streams[0].connect().reply(), "run 1\n");
    for _ in 0..10 {
        all_are(&served.ask_all().replies(), "run 1\n");
    }
    assert_eq!(runs.count(), 1);
}

#[test]
fn without_max_age_no_answer_is_given_twice() {
    let runs = Runs::new();
    for options in [&[][..], &["--max-age", "0"]] {
        let served = Served::new(options, COUNTED, &runs.path());
        for address in served.streams.iter().cycle().take(10) {
            let before = runs.count();
            assert_eq!(address.connect().reply(), format!("run {}\n", before + 1));
            let reply = ask(&served.datagrams[0]);
            assert_eq!(reply, format!("run {}\n", before + 2));
        }
    }
}

/// A client that goes away while it waits costs the others nothing.
#[test]
fn who_goes_away_while_it_waits_is_forgotten() {
    let runs = Runs::new();
    let served = Served::new(&[], GATED, &runs.path());
    let first = served.streams[0].connect();
    runs.wait_for(1);
    let gone = served.ask_all();
    let stay = served.ask_all();
    served.wait_for_descriptors(OWN + 1 + 11);
    drop(gone.askers);
    gone.streams.into_iter().for_each(Client::reset);
    runs.release(2);
    assert_eq!(first.reply(), "run 1\n");
    all_are(&stay.replies(), "run 2\n");
    drop(first);
    served.wait_for_descriptors(OWN);
    assert_eq!(served.process.stderr(), "");
}

/// Whatever the load, each gets the line, whole.
#[test]
fn everybody_gets_the_line_of_uptime() {
    let served = Served::new(&[], "exec /usr/bin/uptime", "");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    for reply in served.ask_all().replies() {
                        assert!(is_uptime_line(&reply), "{reply}");
                    }
                }
            });
        }
    });
}
