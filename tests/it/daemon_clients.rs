//! Clients of every manner: those who talk before they listen, go away at any moment, never read,
//! or never end. An honest one gets its whole reply and an orderly end (FIN, never RST), whatever
//! the others do; and nothing is left of any of them.

use std::io;
use std::thread;
use std::time::Duration;

use crate::common::daemon::Ruptimed;
use crate::common::net::{Address, Client, within_linger};
use crate::common::process::Process;
use crate::common::temp::TempDir;
use crate::common::{always, wait_for, wait_until};

const HANDOFFS: [&str; 2] = ["exec", "capture"];

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

/// What a daemon has open besides its listeners and connections: the standard three, epoll, signals.
const OWN_DESCRIPTORS: usize = 5;

/// Waits until nothing is left of any client: no connection, no command.
fn wait_for_quiet(process: &Process, addresses: &[Address]) {
    let idle = OWN_DESCRIPTORS + addresses.len();
    wait_until("every connection is closed", || {
        process.open_descriptors() == idle && process.children().is_empty()
    });
}

/// A daemon that has served somebody, and has nobody now.
fn warm_up(process: &Process, addresses: &[Address]) {
    drop(addresses[0].connect().read_by(64 << 10));
    wait_for_quiet(process, addresses);
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

/// One that sends before it reads gets everything.
fn gets_everything(address: &Address, bytes: usize) {
    let what = format!("{address:?}, {bytes} bytes first");
    let reply = within_linger(&what, || talk_first(address, bytes));
    assert!(reply == long_reply(), "{address:?}: a part of the reply");
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
        let reply = within_linger(handoff, || {
            let client = address.connect();
            for message in [&b""[..], b"x", b"", b"y"] {
                client.send_message(message)?;
            }
            client.read_by(64 << 10)
        });
        assert!(reply == long_reply().into_bytes(), "a part of the reply");
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
        warm_up(&process, &addresses);
        for round in 0..10 {
            for address in &addresses {
                (0..8).for_each(|how| leave(address, how));
            }
            let reply = addresses[round % addresses.len()].connect().reply();
            assert!(reply == long_reply(), "a part of the reply");
        }
        wait_for_quiet(&process, &addresses);
    }
}

/// Whatever clients do wrong, it is nothing that an administrator must read about.
#[test]
fn clients_cannot_fill_the_log() {
    let (process, addresses, _dir) = serve(&[], &LONG);
    warm_up(&process, &addresses);
    for _ in 0..10 {
        for address in &addresses {
            (0..8).for_each(|how| leave(address, how));
        }
        assert!(addresses[0].connect().reply() == long_reply());
    }
    wait_for_quiet(&process, &addresses);
    assert_eq!(process.stderr(), "");
}

/// A client that keeps its connection open after the answer is closed all the same.
#[test]
fn clients_that_never_close_are_closed() {
    for handoff in HANDOFFS {
        let (process, addresses, _dir) = serve(&["--handoff", handoff], &LONG);
        warm_up(&process, &addresses);
        let clients: Vec<Client> = addresses
            .iter()
            .cycle()
            .take(50)
            .map(Address::connect)
            .collect();
        wait_for_quiet(&process, &addresses);
        for client in &clients {
            assert!(client.reply() == long_reply(), "a part of the reply");
        }
        wait_for_quiet(&process, &addresses);
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
    wait_for_quiet(&process, &addresses);
    drop(idler);
}

/// Sends a byte now and then, for ever, until the daemon has closed; gives what it has read.
fn drip(address: &Address) -> String {
    let (client, reply) = within_linger("the reply to a client that drips", || {
        let client = address.connect();
        client.send(b".")?;
        let reply = client.read_by(64 << 10)?;
        Ok((client, reply))
    });
    wait_for("the daemon closes on a client that drips", || {
        client.send(b".").err()
    });
    String::from_utf8(reply).expect("text")
}

#[test]
fn clients_that_drip_are_cut_off_after_their_reply() {
    for handoff in HANDOFFS {
        let (process, addresses, _dir) = serve(&["--handoff", handoff], &LONG);
        warm_up(&process, &addresses);
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
        wait_for_quiet(&process, &addresses);
    }
}

/// Sends without end and never reads. It is cut off, and costs nothing any more.
#[test]
fn clients_that_send_without_end_are_cut_off() {
    for handoff in HANDOFFS {
        let (process, addresses, _dir) = serve(&["--handoff", handoff], &LONG);
        warm_up(&process, &addresses);
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
        wait_for_quiet(&process, &addresses);
    }
}

/// Nobody is there, and nothing is done.
#[test]
fn an_idle_daemon_does_not_run() {
    let (process, addresses, _dir) = serve(&[], &LONG);
    warm_up(&process, &addresses);
    let before = process.cpu_time();
    always(Duration::from_millis(300), || {
        let used = process.cpu_time() - before;
        assert!(used <= Duration::from_millis(20), "{used:?} for nobody");
    });
}
