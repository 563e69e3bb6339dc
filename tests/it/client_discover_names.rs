//! The names of the machines that `ruptime --discover` finds: a name server that a test has in its
//! hand, and machines at several addresses of one network.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::dns::{self, NameServer, Question, Reply, Resolving};
use crate::common::fake::{Fake, LINE, Ran, at};
use crate::common::temp::TempDir;

const CONF: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
const PORT: u16 = 10_513;
/// A machine that has run for an hour longer than [`LINE`] says.
const OTHER: &str = " 18:16:29 up 3 days,  5:05,  2 users,  load average: 0.10, 0.20, 0.30\n";

/// A network without interfaces but loopback, which is asked by its broadcast address. Each address
/// answers with its line.
fn machines(machine: &Resolving, lines: &'static [(&'static str, &'static str)]) -> Fake {
    machine.namespace.enter(|| {
        let bind =
            |ip: &str| UdpSocket::bind(at(ip, PORT)).expect("a port of this namespace's own");
        let sockets: Vec<_> = lines.iter().map(|(ip, line)| (bind(ip), line)).collect();
        Fake::datagram_on(bind("127.255.255.255"), move |_, _, from| {
            for (socket, line) in &sockets {
                // A client that is gone already is no matter.
                let _ = socket.send_to(line.as_bytes(), from);
            }
        })
    })
}

/// The last number of the address that a PTR question is for.
fn last(question: &Question) -> Option<u8> {
    let number = question.name.strip_suffix(".0.0.127.in-addr.arpa")?;
    number.parse().ok().filter(|_| question.kind == dns::PTR)
}

/// 127.0.0.2 and 3 are web1, 4 is db1, 5 has no name. 6 and 7 say they are web1 too, one of them in
/// vain. 8 is nothing but escape sequences, 9 an address, 10 an option.
fn zone(question: &Question) -> Reply {
    let addresses = |ips: &[&str]| {
        Reply::Addresses(
            ips.iter()
                .map(|ip| ip.parse().expect("an address"))
                .collect(),
        )
    };
    match (last(question), &question.name[..]) {
        (Some(2 | 6), _) => Reply::Name(b"web1.test".to_vec()),
        (Some(3), _) => Reply::Name(b"WEB1.test".to_vec()),
        (Some(4), _) => Reply::Name(b"db1.test".to_vec()),
        (Some(7), _) => Reply::Name(b"db1.test".to_vec()),
        (Some(8), _) => Reply::Name(b"x\x1b[2J\nweb9  up.test".to_vec()),
        (Some(9), _) => Reply::Name(b"127.0.0.4".to_vec()),
        (Some(10), _) => Reply::Name(b"-oProxyCommand=x".to_vec()),
        (_, "web1.test") => addresses(&["127.0.0.2", "127.0.0.3"]),
        (_, "db1.test") => addresses(&["127.0.0.4", "127.0.0.7"]),
        // Whoever asks for the name of a forger gets the forger's address.
        (_, name) if !name.ends_with(".arpa") => {
            addresses(&["127.0.0.8", "127.0.0.9", "127.0.0.10"])
        }
        _ => Reply::Code(dns::NXDOMAIN),
    }
}

/// The first words of the lines, and those behind the loads.
fn rows(ran: &Ran) -> Vec<(String, Vec<String>)> {
    let row = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let host = words.next().expect("a host");
        (host, words.skip(8).collect())
    };
    ran.text().lines().map(row).collect()
}

fn row(host: &str, addresses: &[&str]) -> (String, Vec<String>) {
    let addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
    (host.to_owned(), addresses)
}

#[test]
fn a_machine_is_listed_once_by_its_name_with_its_addresses() {
    let Some(machine) = Resolving::new(CONF, "") else {
        return;
    };
    let _server = NameServer::new(&machine.namespace, "127.0.0.1", Duration::ZERO, zone);
    let answers = &[
        ("127.0.0.2", LINE),
        ("127.0.0.3", LINE),
        ("127.0.0.5", LINE),
    ];
    let _machines = machines(&machine, answers);
    let ran = machine.ruptime(&["--discover", "--timeout", "30"]);
    assert!(ran.status == 0 && ran.err.is_empty(), "{ran:?}");
    let (plain, web1) = (
        row("127.0.0.5", &[]),
        row("web1.test", &["127.0.0.2", "127.0.0.3"]),
    );
    assert_eq!(rows(&ran), [plain, web1]);
    // 1 s for the questions, and a fifth of 30 without an answer.
    assert!(ran.took < Duration::from_secs(25), "{:?}", ran.took);

    let short = ["--discover", "--timeout", "5"];
    let ran = machine.ruptime(&[&short[..], &["-o", "jsonl", "--where", "load1<0.2"]].concat());
    let text = ran.text();
    let members = "\"host\":\"web1.test\",\"address\":\"127.0.0.2:10513\",\"status\":\"up\",";
    assert!(
        text.contains(members) && text.lines().count() == 2,
        "{text}"
    );
    let addresses = "\"addresses\":[\"127.0.0.2\",\"127.0.0.3\"]}\n";
    assert!(
        text.contains(addresses) && text.contains("[\"127.0.0.5\"]}\n"),
        "{text}"
    );
    let ran = machine.ruptime(&[&short[..], &["-o", "openmetrics"]].concat());
    assert!(
        ran.text().contains("ruptime_up{host=\"web1.test\"} 1\n"),
        "{ran:?}"
    );
    assert_eq!(ran.text().matches("ruptime_up{").count(), 2, "{ran:?}");
}

#[test]
fn attack_a_name_of_anothers_or_none_hides_nobody() {
    let Some(machine) = Resolving::new(CONF, "") else {
        return;
    };
    let _server = NameServer::new(&machine.namespace, "127.0.0.1", Duration::ZERO, zone);
    let answers = &[
        ("127.0.0.2", LINE),
        // Its PTR record leads to web1, which does not lead back.
        ("127.0.0.6", LINE),
        // Both are db1, and are two machines.
        ("127.0.0.4", LINE),
        ("127.0.0.7", OTHER),
        ("127.0.0.8", LINE),
        ("127.0.0.9", LINE),
        ("127.0.0.10", LINE),
    ];
    let _machines = machines(&machine, answers);
    let ran = machine.ruptime(&["--discover", "--timeout", "30"]);
    let addresses =
        ["10", "4", "6", "7", "8", "9"].map(|last| row(&format!("127.0.0.{last}"), &[]));
    assert_eq!(
        rows(&ran),
        [&addresses[..], &[row("web1.test", &["127.0.0.2"])]].concat()
    );
}

#[test]
fn a_name_server_that_does_not_answer_is_not_waited_for() {
    let Some(machine) = Resolving::new("nameserver 127.0.0.1\n", "") else {
        return;
    };
    let server = NameServer::new(&machine.namespace, "127.0.0.1", Duration::ZERO, |_| {
        Reply::Silence
    });
    let _machines = machines(&machine, &[("127.0.0.2", LINE), ("127.0.0.3", LINE)]);
    let ran = machine.ruptime(&["--discover", "--timeout", "3"]);
    assert_eq!(rows(&ran), [row("127.0.0.2", &[]), row("127.0.0.3", &[])]);
    assert!(ran.status == 0 && !server.questions().is_empty(), "{ran:?}");
    // glibc would ask for 10 s.
    assert!((3..9).contains(&ran.took.as_secs()), "{:?}", ran.took);
    // The deadline of the call holds, too, and what has been found by then is listed.
    let ran = machine.ruptime(&[
        "--discover",
        "--timeout",
        "50",
        "--deadline",
        "2",
        "-o",
        "jsonl",
    ]);
    assert_eq!(ran.text().lines().count(), 2, "{ran:?}");
    assert!(ran.took < Duration::from_secs(25), "{:?}", ran.took);
}

#[test]
fn a_name_is_kept_in_the_rounds_in_which_it_cannot_be_looked_up() {
    let Some(machine) = Resolving::new(CONF, "") else {
        return;
    };
    let silent = Arc::new(AtomicBool::new(false));
    let is_silent = Arc::clone(&silent);
    let _server = NameServer::new(
        &machine.namespace,
        "127.0.0.1",
        Duration::ZERO,
        move |question| match is_silent.load(Ordering::Relaxed) {
            true => Reply::Silence,
            false => zone(question),
        },
    );
    let network = machines(&machine, &[("127.0.0.2", LINE)]);
    let folder = TempDir::new();
    let errors = std::fs::File::create(folder.join("errors")).expect("a file");
    let arguments = ["--discover", "-w=0.1", "--timeout", "2", "-o", "jsonl"];
    let mut client = machine.client(&arguments);
    client.stdout(Stdio::piped()).stderr(errors);
    let mut client = machine
        .namespace
        .enter(|| client.spawn())
        .expect("the client");
    let mut lines = BufReader::new(client.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    let first = next();
    silent.store(true, Ordering::Relaxed);
    let asked = network.asked();
    let mut later = vec![next()];
    // A whole round without a name server.
    while network.asked() < asked + 5 {
        later.push(next());
    }
    // Its reader is gone: it ends.
    drop(lines);
    client.wait().expect("its end");
    for line in [&[first], &later[..]].concat() {
        assert!(
            line.starts_with("{\"host\":\"web1.test\",") && line.contains("\"up\""),
            "{line}"
        );
    }
}
