//! Clients of every manner: those who talk before they listen, go away at any moment, never read,
//! or never end. An honest one gets its whole reply and an orderly end (FIN, never RST), whatever
//! the others do; and nothing is left of any of them.
#![cfg(feature = "daemon")]

mod common;

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use common::daemon::Ruptimed;
use common::net::{Address, Client};
use common::process::Process;
use common::temp::TempDir;
use common::{always, wait_for, wait_until};

const HANDOFFS: [&str; 2] = ["exec", "capture"];
/// For so long, counted from its half-close, the daemon takes what a client still sends
/// (ruptimed(8)). Only an exchange that took less can be held against it.
const LINGER: Duration = Duration::from_secs(1);

/// A reply longer than any single write of a client's small buffer.
const LONG: [&str; 3] = ["seq", "1", "5000"];

fn long_reply() -> String {
    (1..=5000).map(|number| format!("{number}\n")).collect()
}

/// Starts a daemon that listens on every transport.
fn serve(options: &[&str], command: &[&str]) -> (Process, Vec<Address>, TempDir) {
    let dir = TempDir::new();
    let mut daemon = Ruptimed::new(options).command(command);
    let mut addresses = Vec::new();
    for wanted in [
        Address::any_tcp(),
        Address::any_tcp6(),
        Address::Unix(dir.join("stream")),
        Address::Abstract(dir.text("abstract")),
        Address::Seqpacket(dir.join("seqpacket")),
    ] {
        let (listener, address) = wanted.listen();
        daemon = daemon.inherit(listener);
        addresses.push(address);
    }
    (daemon.start(), addresses, dir)
}

/// The number of descriptors that a daemon has when nobody is there.
fn idle_descriptors(process: &Process, address: &Address) -> usize {
    drop(address.connect().read_by(64 << 10));
    let mut last = 0;
    wait_until("the daemon is quiet", || {
        let before = std::mem::replace(&mut last, process.open_descriptors());
        before == last && process.children().is_empty()
    });
    last
}

fn wait_for_descriptors(process: &Process, idle: usize) {
    wait_until("every connection is closed", || {
        process.open_descriptors() <= idle && process.children().is_empty()
    });
}

/// Sends this many bytes before reading anything, in messages that a seqpacket socket takes.
fn talk_first(address: &Address, bytes: usize) -> io::Result<String> {
    let client = address.connect();
    let chunk = [b'x'; 16 << 10];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(chunk.len());
        client.send(&chunk[..now])?;
        left -= now;
    }
    let reply = client.read_by(64 << 10)?;
    Ok(String::from_utf8(reply).expect("text"))
}

/// One that sends before it reads gets everything. Where the exchange took longer than the
/// daemon lingers, it says nothing about the daemon, and is tried again.
fn gets_everything(address: &Address, bytes: usize) {
    wait_for("an exchange within the time of lingering", || {
        let start = Instant::now();
        match talk_first(address, bytes) {
            Ok(reply) => {
                assert!(reply == long_reply(), "{address:?}: a part of the reply");
                Some(())
            }
            Err(_) if start.elapsed() >= LINGER => None,
            Err(error) => panic!("{address:?}, {bytes} bytes first: {error}"),
        }
    });
}

#[test]
fn who_talks_first_gets_the_whole_reply_and_an_orderly_end() {
    for handoff in HANDOFFS {
        let (_process, addresses, _dir) = serve(&["--handoff", handoff], &LONG);
        for bytes in [1, 18, 1 << 20, 3 << 20] {
            thread::scope(|scope| {
                for address in addresses.iter().chain(&addresses) {
                    scope.spawn(move || gets_everything(address, bytes));
                }
            });
        }
    }
}

/// Many in parallel, each with a line, as a port scanner or a browser sends it.
#[test]
fn none_of_many_talkative_clients_is_reset() {
    for handoff in HANDOFFS {
        let (_process, addresses, _dir) = serve(&["--handoff", handoff], &LONG);
        thread::scope(|scope| {
            for address in &addresses[..4] {
                scope.spawn(move || {
                    for _ in 0..25 {
                        gets_everything(address, 18);
                    }
                });
            }
        });
    }
}

/// A seqpacket message may be empty, and is not the end then (recv(2)).
#[test]
fn an_empty_message_is_not_the_end() {
    for handoff in HANDOFFS {
        let (_process, addresses, _dir) = serve(&["--handoff", handoff], &LONG);
        let address = &addresses[4];
        assert!(matches!(address, Address::Seqpacket(_)));
        wait_for("an exchange within the time of lingering", || {
            let start = Instant::now();
            let client = address.connect();
            for message in [&b""[..], b"x", b"", b"y"] {
                client.send_message(message);
            }
            match client.read_by(64 << 10) {
                Ok(reply) => assert!(reply == long_reply().into_bytes(), "a part of the reply"),
                Err(_) if start.elapsed() >= LINGER => return None,
                Err(error) => panic!("with {handoff}: {error}"),
            }
            Some(())
        });
    }
}

/// Goes away after as much of an exchange.
fn leave(address: &Address, how: usize) {
    let client = address.connect();
    if how & 1 != 0 {
        // It may have been turned away already; that is one more way to leave.
        let _ = client.send(&[b'x'; 100]);
    }
    if how & 2 != 0 {
        let _ = client.receive(10);
    }
    if how & 4 != 0 {
        client.reset();
    }
}

#[test]
fn clients_that_go_away_at_any_moment_leave_nothing_behind() {
    for handoff in HANDOFFS {
        let (process, addresses, _dir) = serve(&["--handoff", handoff], &LONG);
        let idle = idle_descriptors(&process, &addresses[0]);
        for round in 0..10 {
            for address in &addresses {
                (0..8).for_each(|how| leave(address, how));
            }
            let reply = addresses[round % addresses.len()].connect().reply();
            assert!(reply == long_reply(), "a part of the reply");
        }
        wait_for_descriptors(&process, idle);
    }
}

/// Whatever clients do wrong, it is nothing that an administrator must read about.
#[test]
fn clients_cannot_fill_the_log() {
    let (process, addresses, _dir) = serve(&[], &LONG);
    let idle = idle_descriptors(&process, &addresses[0]);
    for _ in 0..10 {
        for address in &addresses {
            (0..8).for_each(|how| leave(address, how));
        }
        assert!(addresses[0].connect().reply() == long_reply());
    }
    wait_for_descriptors(&process, idle);
    assert_eq!(process.stderr(), "");
}

/// A client that keeps its connection open after the answer is closed all the same.
#[test]
fn clients_that_never_close_are_closed() {
    for handoff in HANDOFFS {
        let (process, addresses, _dir) = serve(&["--handoff", handoff], &LONG);
        let idle = idle_descriptors(&process, &addresses[0]);
        let clients: Vec<Client> = addresses
            .iter()
            .cycle()
            .take(50)
            .map(Address::connect)
            .collect();
        wait_for_descriptors(&process, idle);
        for client in &clients {
            assert!(client.reply() == long_reply(), "a part of the reply");
        }
    }
}

/// The first to come gets an endless answer; the others get theirs at once. The daemon does
/// nothing for the one that does not read, and in the end it is rid of it.
#[test]
fn who_never_reads_an_endless_answer_hurts_nobody() {
    let token = TempDir::new();
    let endless_once = "mkdir $0/taken 2>/dev/null && exec yes; echo fine";
    let path = token.path().display().to_string();
    let command = ["/bin/sh", "-c", endless_once, &path];
    let options = ["--child-timeout", "2", "--max-children", "3"];
    let (mut process, addresses, _dir) = serve(&options, &command);
    let idler = addresses[0].connect();
    wait_until("the endless command runs", || token.join("taken").exists());
    let before = process.cpu_time();
    for address in addresses.iter().cycle().take(20) {
        assert_eq!(address.connect().reply(), "fine\n");
    }
    let serving = process.cpu_time() - before;
    assert!(
        serving < Duration::from_secs(1),
        "{serving:?} for 20 requests"
    );
    process.wait_for_stderr("did not end within 2 s");
    // Its last word does not fit either; that too is waited for within a bound only.
    let with_idler = idle_descriptors(&process, &addresses[1]);
    wait_for_descriptors(&process, with_idler - 1);
    drop(idler);
}

/// Sends a byte now and then, for ever, until the daemon has closed; gives what it has read.
fn drip(address: &Address) -> String {
    let client = address.connect();
    let mut reply = None;
    wait_for("the daemon closes on a client that drips", || {
        let cut_off = client.send(b".").is_err();
        if reply.is_none() && !cut_off {
            reply = client.read_by(64 << 10).ok();
        }
        cut_off.then_some(())
    });
    String::from_utf8(reply.expect("the reply")).expect("text")
}

#[test]
fn clients_that_drip_are_cut_off_after_their_reply() {
    for handoff in HANDOFFS {
        let (process, addresses, _dir) = serve(&["--handoff", handoff], &LONG);
        let idle = idle_descriptors(&process, &addresses[0]);
        thread::scope(|scope| {
            let drips: Vec<_> = addresses
                .iter()
                .map(|address| scope.spawn(move || drip(address)))
                .collect();
            for address in &addresses {
                assert!(
                    address.connect().reply() == long_reply(),
                    "an honest client"
                );
            }
            for drip in drips {
                assert!(drip.join().expect("a reply") == long_reply());
            }
        });
        wait_for_descriptors(&process, idle);
    }
}

/// Sends without end and never reads. It is cut off, and costs nothing any more.
#[test]
fn clients_that_send_without_end_are_cut_off() {
    for handoff in HANDOFFS {
        let (process, addresses, _dir) = serve(&["--handoff", handoff], &LONG);
        let idle = idle_descriptors(&process, &addresses[0]);
        thread::scope(|scope| {
            for address in &addresses {
                scope.spawn(move || {
                    let client = address.connect();
                    wait_for("the daemon closes on a client that sends on", || {
                        client.send(&[b'x'; 16 << 10]).err()
                    });
                });
            }
            for address in &addresses {
                assert!(
                    address.connect().reply() == long_reply(),
                    "an honest client"
                );
            }
        });
        wait_for_descriptors(&process, idle);
    }
}

/// Nobody is there, and nothing is done.
#[test]
fn an_idle_daemon_does_not_run() {
    let (process, addresses, _dir) = serve(&[], &LONG);
    idle_descriptors(&process, &addresses[0]);
    let before = process.cpu_time();
    always(Duration::from_millis(300), || {
        let used = process.cpu_time() - before;
        assert!(used <= Duration::from_millis(20), "{used:?} for nobody");
    });
}
