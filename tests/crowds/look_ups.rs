//! Hundreds and thousands of names, and name servers that are good, far away or dead.

use std::time::Duration;

use crate::common::dns::{NameServer, Reply, Resolving};
use crate::common::tell;

/// Asks for so many names, all at a port that refuses; gives how many were refused, and the time.
fn ask(machine: &Resolving, names: usize, arguments: &[&str]) -> (usize, Duration, String) {
    let hosts: String = (0..names).map(|n| format!("web{n}.test:1\n")).collect();
    let arguments = [&["-o", "jsonl", "-f", "-"], arguments].concat();
    let ran = machine.run(machine.client(&arguments), hosts.as_bytes());
    let text = ran.text();
    assert_eq!(
        (ran.status, text.lines().count()),
        (1, names),
        "{}",
        ran.err
    );
    (text.matches("connection refused").count(), ran.took, text)
}

#[test]
fn a_server_that_is_far_away_delays_a_fleet_by_little() {
    let conf = "nameserver 127.0.0.1\n";
    for delay in [0, 20, 50].map(Duration::from_millis) {
        let Some(machine) = Resolving::new(conf, "127.0.0.1 localhost\n") else {
            return;
        };
        let says = |_: &_| Reply::address("127.0.0.1");
        let _server = NameServer::new(&machine.namespace, "127.0.0.1", delay, says);
        for names in [700, 5000] {
            let (found, took, text) = ask(&machine, names, &[]);
            tell(&format!("{names} names, {delay:?} away: {took:?}"));
            assert_eq!(found, names, "{text}");
            // One after the other it would take more than four minutes.
            assert!(took < Duration::from_secs(30), "{took:?}");
        }
    }
}

#[test]
fn a_dead_name_server_holds_a_fleet_up_for_seconds() {
    let conf = "nameserver 127.0.0.1\n";
    for names in [700, 5000] {
        let Some(machine) = Resolving::new(conf, "127.0.0.1 localhost\n") else {
            return;
        };
        let _dead = NameServer::new(&machine.namespace, "127.0.0.1", Duration::ZERO, |_| {
            Reply::Silence
        });
        let (_, took, text) = ask(&machine, names, &[]);
        tell(&format!("{names} names, a dead server: {took:?}"));
        let told = text.matches("the name server did not answer").count();
        assert_eq!(told, names, "{text}");
        assert!(took < Duration::from_secs(45), "{took:?}");
    }
}
