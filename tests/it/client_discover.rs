//! `ruptime --discover` on two networks with four machines, over IPv4 and IPv6; the machines run
//! `ruptimed`, see tests/common/lan. The names of machines are in client_discover_names.rs.

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
/// Names are those of these lines of hosts(5).
fn on_the_lan(hosts: &str, arguments: &str) -> Option<Ran> {
    let lan = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/lan");
    let client = env!("CARGO_BIN_EXE_ruptime");
    let folder = TempDir::new();
    let files = folder.file("hosts", hosts);
    let script = format!(
        "mount --bind '{}' /etc/hosts
        echo 'hosts: files' >'{conf}'
        mount --bind '{conf}' /etc/nsswitch.conf
        '{client}' --udp --wait 30 -o json 192.0.2.11 192.0.2.12 192.0.2.13 198.51.100.14 \
             fe80::11%br0 fe80::14%br1 >/dev/null && exec '{client}' {arguments}",
        files.display(),
        conf = folder.join("nsswitch.conf").display(),
    );
    let mut words = unshare("mnpf")?;
    let fifos = TempDir::new();
    words.extend([lan, fifos.join("")].map(|path| path.display().to_string()));
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

/// Three questions, and a busy machine has 4 s for each answer.
const LONG: &str = "--discover --timeout 20";
const V4: [&str; 4] = ["192.0.2.11", "192.0.2.12", "192.0.2.13", "198.51.100.14"];
const V6: [&str; 4] = [
    "fe80::11%br0",
    "fe80::12%br0",
    "fe80::13%br0",
    "fe80::14%br1",
];

#[test]
fn whoever_answers_is_listed_once_by_its_address() {
    let Some(ran) = on_the_lan("", LONG) else {
        return;
    };
    assert!(ran.status == 0 && ran.err.is_empty(), "{ran:?}");
    assert_eq!(up(&ran), [V4, V6].concat());
}

#[test]
fn one_name_is_one_machine_in_both_families() {
    let hosts = "192.0.2.11 Web11.test web11\nfe80::11 web11.test\n198.51.100.14 web14\n";
    let Some(ran) = on_the_lan(hosts, LONG) else {
        return;
    };
    assert!(ran.status == 0 && ran.err.is_empty(), "{ran:?}");
    let others = [V4[1], V4[2], V6[1], V6[2], V6[3]];
    assert_eq!(up(&ran), [&others[..], &["web11.test", "web14"]].concat());
    let text = ran.text();
    let line = text.lines().find(|line| line.starts_with("web11.test"));
    let behind = line.map(|line| {
        line.split_whitespace()
            .rev()
            .take(2)
            .collect::<BTreeSet<_>>()
    });
    assert_eq!(behind, Some(BTreeSet::from([V4[0], V6[0]])), "{text}");
}

#[test]
fn one_family_can_be_asked_alone() {
    let Some(ran) = on_the_lan("", &format!("{LONG} -4")) else {
        return;
    };
    assert_eq!(up(&ran), V4, "{ran:?}");
    let Some(ran) = on_the_lan("", &format!("{LONG} -6 -o jsonl")) else {
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
        '{client}' {LONG} -4",
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
    let Some(ran) = on_the_lan("", "--discover --timeout 0.5 --port 9") else {
        return;
    };
    ran.assert_down("ruptime: nobody answered");
    let Some(ran) = on_the_lan("", "--discover --timeout 0.5 --port 9 -o json") else {
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
    let told = format!("ruptime: too many answers: only the first {listed} addresses are listed\n");
    assert_eq!((ran.status, &*ran.err), (1, &*told));
    assert_eq!(ran.text().lines().count(), listed);
    assert!(ran.took < Duration::from_secs(25), "{:?}", ran.took);
}
