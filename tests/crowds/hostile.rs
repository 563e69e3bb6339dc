//! Clients that mean harm, a crowd of each kind, and beside them an honest one that is always
//! answered. How long it waits with and without them is printed (`--nocapture`); what is asserted
//! is generous, since the attackers here use the same processors as the daemon.
//!
//! `HOSTILE_SCALE=10` makes each crowd ten times as large, and the honest client ask ten times as
//! often.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::daemon::{Ruptimed, on_tcp};
use crate::common::net::{Address, is_uptime_line};
use crate::common::process::Process;
use crate::common::temp::TempDir;
use crate::common::{BOUND, wait_until};
use nix::libc::linger;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

/// How often the honest client asks with nobody about, and how often under attack.
const ASKED: usize = 30;
/// An attacker's pace: thousands a second would be a test of this machine's processors.
const PACE: Duration = Duration::from_millis(2);
/// What the honest client may have to wait at most, beyond twenty times its time in peace.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the daemon may have grown by, in KiB: nothing that lasts is kept for a client.
const GROWTH: u64 = 16 << 10;
/// What a daemon with one listener has open when nobody is there: the standard three, epoll,
/// signals, the listener.
const DESCRIPTORS: usize = 6;

fn scale() -> usize {
    std::env::var("HOSTILE_SCALE").map_or(1, |text| text.parse().expect("HOSTILE_SCALE=NUMBER"))
}

/// What the attackers of one crowd share.
struct Crowd {
    target: SocketAddr,
    size: usize,
    over: AtomicBool,
    /// Connections made so far; also gives each its source address.
    made: AtomicUsize,
}

impl Crowd {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// A connection from one of eight addresses that are not the honest client's; None where the
    /// system refuses (no port, no room), as it may for an attacker.
    fn connect(&self) -> Option<TcpStream> {
        std::thread::sleep(PACE);
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let source = Ipv4Addr::new(127, 0, 66, (number % 8) as u8 + 1);
        dial(self.target, source.into()).ok()
    }
}

fn dial(target: SocketAddr, source: IpAddr) -> io::Result<TcpStream> {
    let fd = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    bind(
        fd.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::new(source, 0)),
    )?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(target))?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok(stream)
}

/// Goes away with RST instead of FIN (SO_LINGER of socket(7)).
fn reset(stream: TcpStream) {
    let now = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // A connection that the server has reset already cannot be reset again.
    let _ = setsockopt(&stream, sockopt::Linger, &now);
}

/// Opens, says nothing, never closes.
fn open_and_leave(crowd: &Crowd) {
    let mut left = Vec::new();
    while crowd.goes_on() {
        if crowd.made() < crowd.size {
            left.extend(crowd.connect());
        } else {
            std::thread::sleep(PACE);
        }
    }
}

/// Keeps connections busy with a byte ten times a second, on each until it is thrown out.
fn drip(crowd: &Crowd) {
    let mut fed: Vec<TcpStream> = Vec::new();
    while crowd.goes_on() {
        if fed.len() < crowd.size / 10 {
            fed.extend(crowd.connect());
        }
        for mut stream in std::mem::take(&mut fed) {
            std::thread::sleep(Duration::from_millis(100) / (crowd.size / 10) as u32);
            if stream.write(b".").is_ok() {
                fed.push(stream);
            }
        }
    }
}

/// Sends as fast as the server takes it.
fn pour(crowd: &Crowd) {
    let chunk = vec![b'x'; 64 << 10];
    while crowd.goes_on() {
        let Some(mut stream) = crowd.connect() else {
            continue;
        };
        let mut sent = 0;
        while crowd.goes_on() && sent < 32 << 20 {
            match stream.write(&chunk) {
                Ok(bytes) => sent += bytes,
                Err(_) => break,
            }
        }
    }
}

/// Resets at every point of the exchange, in turn.
fn reset_everywhere(crowd: &Crowd) {
    for turn in 0.. {
        if !crowd.goes_on() {
            return;
        }
        let Some(mut stream) = crowd.connect() else {
            continue;
        };
        let mut byte = [0];
        match turn % 5 {
            0 => {}
            1 => drop(stream.write(b"x")),
            2 => drop(stream.read(&mut byte)),
            3 => drop(stream.read_to_end(&mut Vec::new())),
            _ => drop(stream.shutdown(Shutdown::Write)),
        }
        reset(stream);
    }
}

/// Says at once that it will send nothing, and stays.
fn half_close(crowd: &Crowd) {
    let mut left = Vec::new();
    while crowd.goes_on() {
        if crowd.made() < crowd.size {
            let stream = crowd.connect();
            if let Some(stream) = &stream {
                let _ = stream.shutdown(Shutdown::Write);
            }
            left.extend(stream);
        } else {
            std::thread::sleep(PACE);
        }
    }
}

/// Its name, what an attacker does, and how large a part of the crowd is enough to begin with.
type Attack = (&'static str, fn(&Crowd), usize);

const ATTACKS: [Attack; 5] = [
    ("opened and left", open_and_leave, 1),
    ("drip-feeders", drip, 20),
    ("senders of megabytes", pour, 300),
    ("resets everywhere", reset_everywhere, 10),
    ("half-closed", half_close, 1),
];

/// The honest client's times, sorted.
fn ask(address: &Address, times: usize, is_right: impl Fn(&str) -> bool) -> Vec<Duration> {
    let mut took: Vec<Duration> = (0..times)
        .map(|_| {
            let begin = Instant::now();
            let reply = address.connect().reply();
            assert!(is_right(&reply), "{} bytes: {reply:.100}", reply.len());
            begin.elapsed()
        })
        .collect();
    took.sort_unstable();
    took
}

fn median(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() / 2]
}

/// Resident memory in KiB (VmRSS of proc_pid_status(5)).
fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))
        .expect("a process of our own");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

/// Serves an honest client beside one crowd after the other.
fn withstand(options: &[&str]) {
    let (listener, address) = Address::any_tcp().listen();
    let Address::Tcp(target) = address else {
        unreachable!("a TCP address was asked for");
    };
    let mut daemon = Ruptimed::new(options).inherit(listener).start();
    ask(&address, 3, is_uptime_line);
    // The honest client's connections are looked after for a moment after their answers.
    wait_until("the daemon is quiet", || {
        daemon.open_descriptors() == DESCRIPTORS
    });
    let memory = resident(&daemon);
    for (name, attack, part) in ATTACKS {
        let peace = ask(&address, ASKED, is_uptime_line);
        let crowd = Crowd {
            target,
            size: 1000 * scale(),
            over: AtomicBool::new(false),
            made: AtomicUsize::new(0),
        };
        let war = std::thread::scope(|scope| {
            let attackers = [0, 1].map(|_| scope.spawn(|| attack(&crowd)));
            // Whatever panics here, the attackers have to hear that it is over.
            let war = std::panic::catch_unwind(|| {
                wait_until("a crowd", || crowd.made() >= crowd.size / part);
                ask(&address, ASKED * scale(), is_uptime_line)
            });
            crowd.over.store(true, Ordering::Relaxed);
            drop(attackers);
            war
        })
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        println!(
            "{}: {name}, {} connections: median {:.1?} instead of {:.1?} ({:.2} times), longest {:.1?}",
            options.join(" "),
            crowd.made(),
            median(&war),
            median(&peace),
            median(&war).as_secs_f64() / median(&peace).as_secs_f64(),
            war[war.len() - 1],
        );
        let most = 20 * median(&peace) + PATIENCE;
        assert!(median(&war) <= most, "{name}: {:?}", median(&war));
        // Nothing is left of them.
        wait_until("the end of what they held", || {
            daemon.open_descriptors() == DESCRIPTORS && daemon.children().is_empty()
        });
    }
    let grown = resident(&daemon).saturating_sub(memory);
    assert!(grown < GROWTH, "grown by {grown} KiB");
    let stderr = daemon.stderr();
    assert!(
        stderr.lines().count() < 20,
        "they could write into the log: {stderr}"
    );
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.exit_status(), 0);
}

#[test]
fn an_honest_client_is_served_beside_hostile_ones_by_commands_of_their_own() {
    withstand(&["--max-per-source", "4"]);
}

#[test]
fn an_honest_client_is_served_beside_hostile_ones_by_a_shared_run() {
    withstand(&["--handoff", "capture"]);
}

/// A command that never ends by itself, and clients that never read it: each holds a place until
/// its time is over, no source more places than its share, and the honest client gets all that it
/// wants to read.
#[test]
fn those_who_never_read_an_endless_command_hold_no_more_than_their_share() {
    const ENOUGH: usize = 1 << 20;
    let (listener, address) = Address::any_tcp().listen();
    let Address::Tcp(target) = address else {
        unreachable!("a TCP address was asked for");
    };
    let options = [
        "--max-children",
        "12",
        "--max-per-source",
        "4",
        "--child-timeout",
        "10",
    ];
    let mut daemon = Ruptimed::new(options)
        .command(&["/usr/bin/yes"])
        .inherit(listener)
        .start();
    let mut stuck: Vec<TcpStream> = Vec::new();
    let mut refused = 0;
    for number in 0..40 {
        let source = Ipv4Addr::new(127, 0, 66, number % 2 + 1);
        let stream = dial(target, source.into()).expect("a connection");
        // The first two bytes tell a place from a refusal; the rest is never read.
        stream.set_read_timeout(Some(BOUND)).expect("SO_RCVTIMEO");
        let mut word = [0; 2];
        let mut reader = &stream;
        reader.read_exact(&mut word).expect("some word");
        match &word {
            b"y\n" => stuck.push(stream),
            _ => refused += 1,
        }
    }
    assert!(refused >= 24, "only {refused} of 40 were turned away");
    let begin = Instant::now();
    let client = address.connect();
    let mut got = 0;
    while got < ENOUGH {
        let part = client.receive(64 << 10).expect("more of it");
        assert!(!part.is_empty(), "the end after {got} bytes");
        got += part.len();
    }
    println!(
        "{} held places; 1 MiB after {:?}",
        stuck.len(),
        begin.elapsed()
    );
    drop(client);
    // They are thrown out when their time is over, without having read.
    wait_until("the end of all commands", || daemon.children().is_empty());
    for mut stream in stuck {
        // To the end of file, or to a reset: what was sent cannot all have been taken.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.exit_status(), 0);
}

/// Reset while they wait in the backlog: nobody would read an answer, so no command runs for them.
#[test]
fn connections_that_are_reset_in_the_backlog_cost_no_command() {
    let dir = TempDir::new();
    let (daemon, address) = on_tcp(
        &["--max-per-source", "4"],
        &[
            "/bin/sh",
            "-c",
            ": >$0/run.$$; echo hi",
            &dir.path().display().to_string(),
        ],
    );
    assert_eq!(address.connect().reply(), "hi\n");
    daemon.signal(Signal::SIGSTOP);
    for _ in 0..200 {
        address.connect().reset();
    }
    daemon.signal(Signal::SIGCONT);
    assert_eq!(address.connect().reply(), "hi\n");
    assert_eq!(dir.entries("run."), 2);
}
