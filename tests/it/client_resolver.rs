//! What name servers do: late, silent, failing, hostile ones, each in a network namespace of its own.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::common::dns::{self, NameServer, Question, Reply, Resolving};
use crate::common::fake::{Fake, LINE};

const AT_ONCE: Duration = Duration::ZERO;
const LOCALHOST: &str = "127.0.0.1 localhost\n";

/// A machine that is up, at 127.0.0.1 of the namespace.
fn up(machine: &Resolving) -> Fake {
    machine.namespace.enter(|| Fake::up("127.0.0.1"))
}

fn says_localhost(_: &Question) -> Reply {
    Reply::address("127.0.0.1")
}

#[test]
fn a_dead_first_name_server_is_outlived() {
    // Longer than the time for the host.
    let conf = "nameserver 127.0.0.2\nnameserver 127.0.0.1\noptions timeout:2 attempts:1\n";
    let Some(machine) = Resolving::new(conf, LOCALHOST) else {
        return;
    };
    let dead = NameServer::new(&machine.namespace, "127.0.0.2", AT_ONCE, |_| Reply::Silence);
    let _good = NameServer::new(&machine.namespace, "127.0.0.1", AT_ONCE, says_localhost);
    let up = up(&machine);
    let host = format!("web1.test:{}", up.port());
    let ran = machine.ruptime(&["--timeout", "1", &host]);
    ran.assert_up(LINE);
    assert!(ran.took >= Duration::from_secs(2) && !dead.questions().is_empty());
}

#[test]
fn the_words_say_what_went_wrong_with_the_name() {
    let conf = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
    let Some(machine) = Resolving::new(conf, LOCALHOST) else {
        return;
    };
    let ask = |name: &str, more: &[&str]| {
        let ran = machine.ruptime(&[&[name], more].concat());
        assert!(ran.status == 1 && ran.out.is_empty(), "{ran:?}");
        let reason = ran.err.trim_end();
        reason
            .rsplit_once(": ")
            .map(|(_, reason)| reason.to_owned())
    };
    let words = |text: &str| Some(text.to_owned());
    let failure = words("temporary failure of the name look-up");
    // Nobody listens: refused.
    assert_eq!(ask("no-server.test", &[]), failure);
    let server = NameServer::new(
        &machine.namespace,
        "127.0.0.1",
        AT_ONCE,
        |question| match question.name.split('.').next() {
            Some("unknown") => Reply::Code(dns::NXDOMAIN),
            Some("fails") => Reply::Code(dns::SERVFAIL),
            Some("refuses") => Reply::Code(dns::REFUSED),
            Some("four") => Reply::address("127.0.0.1"),
            Some("six") => Reply::address("::1"),
            Some("none") => Reply::Addresses(vec![]),
            Some("nonsense") => Reply::Bytes(vec![0xff; 600]),
            Some("short") => Reply::Bytes(vec![]),
            _ => Reply::Silence,
        },
    );
    let silent = words("the name server did not answer");
    assert_eq!(ask("unknown.test", &[]), words("unknown name"));
    assert_eq!(ask("fails.test", &[]), failure);
    assert_eq!(ask("refuses.test", &[]), failure);
    assert_eq!(ask("silent.test", &[]), silent);
    // What makes no sense is thrown away by some versions of the C library, and told by others.
    for name in ["short.test", "nonsense.test"] {
        let reason = ask(name, &[]);
        assert!(reason == silent || reason == failure, "{name}: {reason:?}");
    }
    assert_eq!(ask("none.test", &[]), words("the name has no address"));
    assert_eq!(
        ask("four.test", &["-6"]),
        words("the name has no IPv6 address")
    );
    assert_eq!(
        ask("six.test", &["-4"]),
        words("the name has no IPv4 address")
    );
    assert!(server.questions().iter().any(|q| q.name == "six.test"));
}

#[test]
fn only_the_family_that_may_be_used_is_asked_for() {
    let conf = "nameserver 127.0.0.1\n";
    let Some(machine) = Resolving::new(conf, LOCALHOST) else {
        return;
    };
    // A server that drops what it does not know.
    let server = NameServer::new(&machine.namespace, "127.0.0.1", AT_ONCE, |question| {
        if question.kind == dns::A {
            Reply::address("127.0.0.1")
        } else {
            Reply::Silence
        }
    });
    let up = up(&machine);
    let host = format!("web1.test:{}", up.port());
    let ran = machine.ruptime(&["-4", &host]);
    ran.assert_up(LINE);
    let kinds: Vec<_> = server.questions().iter().map(|q| q.kind).collect();
    assert_eq!(kinds, [dns::A], "{ran:?}");
    let ran = machine.ruptime(&["-6", "--wait", "0.5", &host]);
    ran.assert_down(&format!(
        "ruptime: {host}: the name server did not answer within 0.5 s"
    ));
    let kinds: Vec<_> = server.questions().iter().skip(1).map(|q| q.kind).collect();
    assert_eq!(kinds, [dns::AAAA], "{ran:?}");
}

#[test]
fn hosts_of_one_name_share_a_look_up_and_a_second_try_joins_it() {
    // The resolver waits for longer than a look-up may take, and then asks no more.
    let conf = "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n";
    let Some(machine) = Resolving::new(conf, LOCALHOST) else {
        return;
    };
    let late = Duration::from_secs(17);
    let server = NameServer::new(&machine.namespace, "127.0.0.1", late, says_localhost);
    let fakes = [up(&machine), up(&machine)];
    let hosts = fakes
        .each_ref()
        .map(|fake| format!("web1.test:{}", fake.port()));
    let ran = machine.ruptime(&["--wait", "50", &hosts[0], &hosts[1]]);
    assert!(ran.status == 0 && ran.took >= late, "{ran:?}");
    assert_eq!(server.questions().len(), 2, "A and AAAA: {ran:?}");
}

#[test]
fn a_stuck_look_up_delays_nobody_not_even_the_end() {
    let conf = "nameserver 127.0.0.1\noptions timeout:30 attempts:3\n";
    let Some(machine) = Resolving::new(conf, LOCALHOST) else {
        return;
    };
    let _silent = NameServer::new(&machine.namespace, "127.0.0.1", AT_ONCE, |_| Reply::Silence);
    // More names than look-ups at once, and a host without a name at the end of the list.
    let names: Vec<_> = (0..600).map(|n| format!("web{n}.test")).collect();
    let mut arguments = vec!["-o", "jsonl"];
    arguments.extend(names.iter().map(String::as_str));
    arguments.push("127.0.0.1:1");
    let ran = machine.ruptime(&arguments);
    assert!(
        ran.status == 1 && ran.took < Duration::from_secs(25),
        "{ran:?}"
    );
    let text = ran.text();
    let first = text.lines().next().unwrap_or_default();
    assert!(first.contains("127.0.0.1:1"), "{first}");
    assert_eq!(text.lines().count(), 601);
    let told = text
        .matches("the name server did not answer within 15 s")
        .count();
    assert_eq!(told, 600, "{text}");
}

/// The call of ruptime-metrics.service.
#[test]
fn a_deadline_is_kept_whatever_the_name_servers_do() {
    let conf = "nameserver 127.0.0.1\n";
    let Some(machine) = Resolving::new(conf, LOCALHOST) else {
        return;
    };
    let _silent = NameServer::new(&machine.namespace, "127.0.0.1", AT_ONCE, |_| Reply::Silence);
    let names: String = (0..700).map(|n| format!("web{n}.test\n")).collect();
    let options = ["-o", "openmetrics", "--deadline", "3", "-f", "-"];
    let ran = machine.run(machine.client(&options), names.as_bytes());
    let text = ran.text();
    assert!(ran.status == 1 && text.ends_with("# EOF\n"), "{ran:?}");
    assert_eq!(text.matches("ruptime_up{").count(), 700, "{text}");
    // Before any of the names is given up.
    assert!(ran.took < Duration::from_secs(12), "{:?}", ran.took);
}

#[test]
fn a_name_with_a_thousand_addresses_is_tried_at_some() {
    let conf = "nameserver 127.0.0.1\n";
    let Some(machine) = Resolving::new(conf, LOCALHOST) else {
        return;
    };
    let addresses: Vec<IpAddr> = (0..1000_u32)
        .map(|n| Ipv4Addr::from(0x7f01_0000 + n).into())
        .collect();
    let reply = Reply::Addresses(addresses);
    let _server = NameServer::new(&machine.namespace, "127.0.0.1", AT_ONCE, move |_| {
        reply.clone()
    });
    // Whichever is asked: connections to all of them end here.
    let everybody = machine.namespace.enter(|| {
        Fake::stream("0.0.0.0", |peer, _| {
            let _ = peer.write_all(b"");
        })
    });
    let host = format!("many.test:{}", everybody.port());
    let ran = machine.ruptime(&[&host]);
    ran.assert_down(&format!("ruptime: {host}: closed without an answer"));
    assert!(
        (1..=64).contains(&everybody.asked()),
        "{}",
        everybody.asked()
    );
}

#[test]
fn a_name_server_with_a_limit_is_asked_for_less_at_once() {
    let conf = "nameserver 127.0.0.1\n";
    let Some(machine) = Resolving::new(conf, LOCALHOST) else {
        return;
    };
    // As dnsmasq does, whose limit (dns-forward-max) is 150.
    let delay = Duration::from_millis(20);
    let server = NameServer::new(&machine.namespace, "127.0.0.1", delay, |question| {
        if question.at_once > 150 {
            Reply::Code(dns::REFUSED)
        } else {
            Reply::address("127.0.0.1")
        }
    });
    let names: Vec<_> = (0..700).map(|n| format!("web{n}.test:1")).collect();
    let ran = machine.ruptime(&names);
    let refused = server
        .questions()
        .iter()
        .filter(|q| q.at_once > 150)
        .count();
    assert!(refused > 0, "nothing was tested");
    assert_eq!(
        ran.text().matches("connection refused").count(),
        700,
        "{ran:?}"
    );
}

#[test]
fn names_are_looked_up_at_once() {
    let conf = "nameserver 127.0.0.1\n";
    let Some(machine) = Resolving::new(conf, LOCALHOST) else {
        return;
    };
    // Long enough that a busy machine has asked for them all before the first answer.
    let late = Duration::from_secs(3);
    let server = NameServer::new(&machine.namespace, "127.0.0.1", late, says_localhost);
    let names: Vec<_> = (0..700).map(|n| format!("web{n}.test:1")).collect();
    let ran = machine.ruptime(&names);
    assert_eq!(
        ran.text().matches("connection refused").count(),
        700,
        "{ran:?}"
    );
    let most = server.questions().iter().map(|q| q.at_once).max();
    assert!(most > Some(700), "350 names at once: {most:?}");
}

#[test]
fn a_name_beyond_ascii_is_encoded_in_every_locale() {
    let conf = "nameserver 127.0.0.1\n";
    let Some(machine) = Resolving::new(conf, LOCALHOST) else {
        return;
    };
    let server =
        NameServer::new(
            &machine.namespace,
            "127.0.0.1",
            AT_ONCE,
            |question| match &question.name[..] {
                "xn--bcher-kva.example" | "xn--fa-hia.example" => Reply::address("127.0.0.1"),
                _ => Reply::Code(dns::NXDOMAIN),
            },
        );
    let up = up(&machine);
    for locale in ["C", "C.UTF-8", "no_SUCH.ISO-8859-1"] {
        for name in [
            "bücher.example",
            "BÜCHER.example",
            "bu\u{308}cher。example",
            "faß.example",
        ] {
            let mut client = machine.client(&[format!("{name}:{}", up.port())]);
            client.env("LC_ALL", locale);
            machine.run(client, b"").assert_up(LINE);
        }
    }
    let asked = server.questions();
    assert!(
        asked.iter().all(|question| question.name.is_ascii()),
        "{asked:?}"
    );
    // What is no name, and is not waited for: an unassigned character, and a letter of Arabic before
    // one of English (RFC 5893).
    for name in ["\u{e0fff}ü.example", "\u{628}a.example"] {
        let ran = machine.ruptime(&["--wait", "50", name]);
        let told = "not an international name, or this machine has no libidn2\n";
        assert!(ran.err.ends_with(told), "{ran:?}");
        assert!(ran.took < Duration::from_secs(25), "{ran:?}");
    }
}
