//! `ruptime --discover` on two networks with four machines, over IPv4 and IPv6; the machines run
//! `ruptimed`. See tests/common/lan.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::BOUND;
use crate::common::fake::{Ran, unshare};
use crate::common::forge::Forger;
use crate::common::netns::Namespace;
use crate::common::temp::TempDir;

/// What each machine runs.
fn server() -> String {
    let daemon = env!("CARGO_BIN_EXE_ruptimed");
    format!(
        "exec '{daemon}' --log-level error --listen udp:0.0.0.0:10513 --listen 'udp:[::]:10513'"
    )
}

/// Runs the client on the asking machine, once each of the four answers when it is asked alone.
fn on_the_lan(arguments: &str) -> Option<Ran> {
    let lan = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/lan");
    let client = env!("CARGO_BIN_EXE_ruptime");
    let script = format!(
        "'{client}' --udp --wait 30 -o json 192.0.2.11 192.0.2.12 192.0.2.13 198.51.100.14 \
             fe80::11%br0 fe80::14%br1 >/dev/null && exec '{client}' {arguments}"
    );
    let mut words = unshare("mnpf")?;
    let folder = TempDir::new();
    words.extend([lan, folder.join("")].map(|path| path.display().to_string()));
    words.extend([server(), "sh".to_owned(), "-c".to_owned(), script]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    Some(crate::common::fake::run(&mut command, b""))
}

/// The hosts of a table that are up.
fn up(ran: &Ran) -> Vec<String> {
    let text = ran.text();
    let rows = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|words| words[1] == "up")
        .map(|words| words[0].to_owned())
        .collect()
}

const V4: [&str; 4] = ["192.0.2.11", "192.0.2.12", "192.0.2.13", "198.51.100.14"];
const V6: [&str; 4] = [
    "fe80::11%br0",
    "fe80::12%br0",
    "fe80::13%br0",
    "fe80::14%br1",
];

#[test]
fn whoever_answers_is_listed_once_by_name() {
    // Long enough for all three questions.
    let Some(ran) = on_the_lan("--discover --timeout 3") else {
        return;
    };
    assert!(ran.status == 0 && ran.err.is_empty(), "{ran:?}");
    assert_eq!(up(&ran), [V4, V6].concat());
}

#[test]
fn one_family_can_be_asked_alone() {
    let Some(ran) = on_the_lan("--discover -4 --timeout 3") else {
        return;
    };
    assert_eq!(up(&ran), V4, "{ran:?}");
    let Some(ran) = on_the_lan("--discover -6 --timeout 3 -o jsonl") else {
        return;
    };
    let text = ran.text();
    let host = |line: &str| line.split('"').nth(3).map(str::to_owned);
    let hosts: BTreeSet<_> = text.lines().filter_map(host).collect();
    assert_eq!(hosts.into_iter().collect::<Vec<_>>(), V6, "{ran:?}");
    assert!(
        text.contains("\"address\":\"[fe80::14%br1]:10513\""),
        "{text}"
    );
}

#[test]
fn a_network_without_a_broadcast_address_is_asked() {
    let Some(mut words) = unshare("mnpf") else {
        return;
    };
    // A machine hears its own broadcast.
    let script = format!(
        "ip link set lo up
        ip link add d0 type veth peer name d1
        ip link set d1 up
        ip address add 192.0.2.1/24 dev d0
        ip link set d0 up
        ({}) &
        '{client}' --udp --wait 30 192.0.2.1 >/dev/null
        '{client}' --discover -4 --timeout 3",
        server(),
        client = env!("CARGO_BIN_EXE_ruptime")
    );
    words.extend(["sh".to_owned(), "-ec".to_owned(), script]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    let ran = crate::common::fake::run(&mut command, b"");
    assert_eq!(up(&ran), ["192.0.2.1"], "{ran:?}");
}

#[test]
fn nobody_is_an_answer_too() {
    let Some(ran) = on_the_lan("--discover --timeout 0.5 --port 9") else {
        return;
    };
    ran.assert_down("ruptime: nobody answered");
    let Some(ran) = on_the_lan("--discover --timeout 0.5 --port 9 -o json") else {
        return;
    };
    assert_eq!(
        (ran.status, ran.text().as_str(), ran.err.as_str()),
        (1, "[]\n", ""),
        "{ran:?}"
    );
}

#[test]
fn attack_a_forger_fills_no_more_than_the_list_and_the_cut_is_told() {
    let Some(network) = Namespace::new() else {
        return;
    };
    let listed = 16_384;
    let ran = network.enter(|| {
        let service = UdpSocket::bind("0.0.0.0:10513").expect("a port of this namespace's own");
        let forger = Forger::new();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                service.set_read_timeout(Some(BOUND)).expect("a time-out");
                let (_, client) = service.recv_from(&mut [0]).expect("a request");
                // Ever new addresses of this machine, until the client has enough.
                let addresses = (0x7f01_0000_u32..0x7fff_0000).map(Ipv4Addr::from_bits);
                for address in addresses.take_while(|_| !over.load(Ordering::Relaxed)) {
                    forger.send(SocketAddr::from((address, 10_513)), client);
                }
            });
            let arguments = ["--discover", "--timeout", "50", "-o", "jsonl"];
            let ran = crate::common::fake::ruptime(&arguments);
            over.store(true, Ordering::Relaxed);
            ran
        })
    });
    let told = format!("ruptime: too many answers: only the first {listed} are listed\n");
    assert_eq!((ran.status, &*ran.err), (1, &*told));
    assert_eq!(ran.text().lines().count(), listed);
    assert!(ran.took < Duration::from_secs(25), "{:?}", ran.took);
}
