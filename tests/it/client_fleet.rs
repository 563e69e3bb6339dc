//! `ruptime` and many hosts: all rows, in order, within the limits of descriptors and time.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use crate::common::fake::{
    Fake, Full, LINE, Ran, at, closed_port, refusing_port, ruptime, wrapped,
};
use crate::common::temp::TempDir;

/// `COUNT` addresses of 127.0.0.0/8, all of them this machine.
fn addresses(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("127.77.{}.{}", number / 250, number % 250 + 1))
}

/// A machine that is up on all of 127.0.0.0/8.
fn up_everywhere() -> Fake {
    Fake::up("0.0.0.0")
}

fn rows(ran: &Ran) -> Vec<(String, String)> {
    let row = |line: &str| {
        let (host, rest) = line.split_once(' ').expect("a row");
        (host.to_owned(), rest.trim().to_owned())
    };
    ran.text().lines().map(row).collect()
}

#[test]
fn every_host_has_its_row_in_the_order_given() {
    let up = up_everywhere();
    let (_closed, closed) = closed_port("127.0.0.1");
    let refusing = refusing_port("127.0.0.1");
    let full = Full::new("127.0.0.1", 0);
    let hosts = [
        full.address.to_string(),
        format!("127.0.0.3:{}", up.port()),
        closed.to_string(),
        format!("127.0.0.2:{}", up.port()),
        format!("udp:{}", refusing.local_addr().unwrap()),
    ];
    let arguments = ["--timeout".to_owned(), "3".to_owned()];
    let ran = ruptime(&[&arguments[..], &hosts[..]].concat());
    assert!(ran.status == 1 && ran.err.is_empty(), "{ran:?}");
    let rows = rows(&ran);
    let named: Vec<_> = rows.iter().map(|(host, _)| host.as_str()).collect();
    assert_eq!(named, hosts);
    let starts = [
        "down  no answer within 3 s",
        "up",
        "down  connection refused",
        "up",
        "down  connection refused",
    ];
    assert_eq!(rows.len(), starts.len());
    for ((host, rest), start) in rows.iter().zip(starts) {
        assert!(rest.starts_with(start), "{host}: {rest}");
    }
}

#[test]
fn a_host_named_twice_is_asked_once() {
    let up = up_everywhere();
    let host = format!("127.0.0.1:{}", up.port());
    let folder = TempDir::new();
    let file = folder.file("hosts", format!("{host}\n{host}\n"));
    let ran = ruptime(&["-f", file.to_str().unwrap(), &host, &host]);
    // With -f a table, even for one host.
    assert_eq!(rows(&ran).len(), 1, "{ran:?}");
    assert_eq!(up.asked(), 1);
}

#[test]
fn a_low_descriptor_limit_is_lived_with() {
    let up = up_everywhere();
    let folder = TempDir::new();
    let numeric = addresses(400).map(|ip| format!("{ip}:{}\n", up.port()));
    // And names, whose look-ups take descriptors too: one name in 64 spellings.
    let names = (0..64).map(|bits| {
        let letter = |(n, c): (usize, char)| {
            if bits >> n & 1 == 1 {
                c.to_ascii_uppercase()
            } else {
                c
            }
        };
        let name: String = "localhost".chars().enumerate().map(letter).collect();
        format!("{name}:{}\n", up.port())
    });
    let file = folder.file("hosts", numeric.chain(names).collect::<String>());
    for limit in ["20", "64"] {
        let script = format!("ulimit -n {limit}; exec \"$@\"");
        let shell = ["sh", "-c", &script, "sh"];
        let arguments = [
            "--timeout",
            "50",
            "-j",
            "4096",
            "-f",
            file.to_str().unwrap(),
        ];
        let ran = crate::common::fake::run(&mut wrapped(&shell, &arguments), b"");
        assert!(ran.status == 0 && ran.err.is_empty(), "{ran:?}");
        assert_eq!(rows(&ran).len(), 464);
    }
}

#[test]
fn too_few_descriptors_are_told_and_no_hosts_fault() {
    let up = up_everywhere();
    let host = format!("127.0.0.1:{}", up.port());
    let reason = "too many open files (see ulimit -n, or use fewer --jobs)";
    // None for the runtime, none for a socket, one.
    for limit in 5..=9 {
        for scheme in ["", "udp:"] {
            let script = format!("ulimit -n {limit}; exec \"$@\"");
            let host = format!("{scheme}{host}");
            let arguments = ["--timeout", "50", &host];
            let ran = crate::common::fake::run(
                &mut wrapped(&["sh", "-c", &script, "sh"], &arguments),
                b"",
            );
            let told = ran.err.lines().count() == 1 && ran.err.trim_end().ends_with(reason);
            let answered = ran.status == 0 || ran.err.ends_with("refused\n");
            assert!(
                limit > 6 && answered || ran.status == 1 && told,
                "{limit} {ran:?}"
            );
            assert!(ran.took < Duration::from_secs(25), "{limit} {ran:?}");
        }
    }
}

#[test]
fn thousands_of_hosts_are_all_told_in_little_memory() {
    let up = up_everywhere();
    // Accepts and says nothing, because nobody accepts: the kernel does.
    let silent = TcpListener::bind(at("0.0.0.0", 0)).unwrap();
    let silent = silent.local_addr().unwrap().port();
    let (_closed, closed) = closed_port("0.0.0.0");
    let port = |number: usize| match number {
        n if n % 10 == 3 => closed.port(),
        n if n % 50 == 7 => silent,
        _ => up.port(),
    };
    let line = |(number, ip): (usize, String)| format!("{ip}:{}\n", port(number));
    let folder = TempDir::new();
    let file = folder.file(
        "hosts",
        addresses(5000).enumerate().map(line).collect::<String>(),
    );
    // 32 MiB of private memory, unoptimised; what is beyond cannot be had.
    let script = "ulimit -n 1024; ulimit -d 32768; exec \"$@\"";
    let shell = ["sh", "-c", script, "sh"];
    let arguments = ["--timeout", "10", "-f", file.to_str().unwrap()];
    let ran = crate::common::fake::run(&mut wrapped(&shell, &arguments), b"");
    assert!(ran.status == 1 && ran.err.is_empty(), "{}", ran.err);
    let rows = rows(&ran);
    assert_eq!(rows.len(), 5000);
    let count = |what: &str| rows.iter().filter(|(_, rest)| rest.contains(what)).count();
    assert_eq!(
        (
            count("refused"),
            count("no answer within 10 s"),
            count("up ")
        ),
        (500, 100, 4400)
    );
    let mut hosts = addresses(5000).enumerate().map(line);
    assert!(
        rows.iter()
            .all(|(host, _)| hosts.next().is_some_and(|line| line.trim_end() == host))
    );
}

#[test]
fn a_slow_reader_makes_no_host_late() {
    let up = up_everywhere();
    let folder = TempDir::new();
    let hosts: String = addresses(1000)
        .map(|ip| format!("{ip}:{}\n", up.port()))
        .collect();
    let file = folder.file("hosts", hosts);
    // The pipe is full long before the reader begins, and the timeout over.
    let script = "\"$@\" | { sleep 6; cat; }";
    let shell = ["sh", "-c", script, "sh"];
    let arguments = [
        "-o",
        "jsonl",
        "--timeout",
        "4",
        "-j",
        "500",
        "-f",
        file.to_str().unwrap(),
    ];
    let ran = crate::common::fake::run(&mut wrapped(&shell, &arguments), b"");
    let text = ran.text();
    assert!(
        text.len() > 1 << 17,
        "a pipe would hold this: {}",
        text.len()
    );
    assert_eq!(text.matches("\"status\":\"up\"").count(), 1000, "{text}");
}

#[test]
fn jobs_bounds_the_hosts_at_once() {
    // One at a time: a serial server that counts whoever waits beside the one it serves.
    let listener = TcpListener::bind(at("0.0.0.0", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let second = listener.try_clone().unwrap();
    let server = Fake::stream_on(listener, move |peer, stop| {
        stop.pause(Duration::from_millis(10));
        assert!(
            second.accept().is_err(),
            "another host is asked at the same time"
        );
        peer.write_all(LINE.as_bytes()).unwrap();
    });
    let hosts: Vec<_> = addresses(10).map(|ip| format!("{ip}:{port}")).collect();
    let arguments = ["-j".to_owned(), "1".to_owned()];
    let ran = ruptime(&[&arguments[..], &hosts[..]].concat());
    assert_eq!((ran.status, server.asked()), (0, 10), "{ran:?}");
}

#[test]
fn jsonl_comes_as_each_host_answers() {
    let up = up_everywhere();
    // Answers when the other's line has been read, and not before.
    let (go, told) = std::sync::mpsc::channel();
    let slow = Fake::stream("127.0.0.1", move |peer, _| {
        let _ = told.recv_timeout(Duration::from_secs(30));
        peer.write_all(LINE.as_bytes()).unwrap();
    });
    let fast = format!("127.0.0.1:{}", up.port());
    let mut command =
        crate::common::fake::client(&["-o", "jsonl", "--timeout", "50", &slow.host(), &fast]);
    let mut client = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    go.send(()).unwrap();
    let second = lines.next().unwrap().unwrap();
    assert!(
        first.contains(&fast) && second.contains(&slow.host()),
        "{first} {second}"
    );
    assert!(client.wait().unwrap().success());
}

#[test]
fn hostile_hosts_spoil_nobody_elses_row() {
    let up = up_everywhere();
    let hostile = [
        Fake::stream("127.0.0.1", |peer, stop| {
            while !stop.is_set() && peer.write_all(&[0; 4096]).is_ok() {}
        }),
        Fake::stream("127.0.0.1", |peer, stop| {
            while !stop.is_set() && peer.write_all(b"\x1b").is_ok() {
                stop.pause(Duration::from_millis(20));
            }
        }),
        Fake::stream("127.0.0.1", |peer, _| {
            peer.write_all(b" 18:16:29 up 3 da").unwrap()
        }),
        Fake::stream("127.0.0.1", |peer, _| {
            peer.write_all(b"\x1b[2J\x1b]0;x\x07\n127.0.0.1 up 1:00\n")
                .unwrap();
        }),
        Fake::stream("127.0.0.1", |_, _| {}),
    ];
    let good = format!("127.0.0.9:{}", up.port());
    let mut arguments = vec!["--timeout".to_owned(), "3".to_owned(), good.clone()];
    arguments.extend(hostile.iter().map(Fake::host));
    let ran = ruptime(&arguments);
    assert!(ran.status == 1 && ran.err.is_empty(), "{ran:?}");
    let rows = rows(&ran);
    assert_eq!(rows.len(), 6, "{ran:?}");
    assert!(
        rows[0].0 == good && rows[0].1.starts_with("up "),
        "{rows:?}"
    );
    // Each row is its own host's, whatever looks like one in a reply.
    for ((host, rest), fake) in rows[1..].iter().zip(&hostile) {
        assert_eq!(*host, fake.host(), "{ran:?}");
        let is_forged = fake.host() == hostile[3].host();
        assert_eq!(rest.starts_with("up "), is_forged, "{host} {rest}");
    }
    assert!(!ran.out.contains(&0x1b) && !ran.out.contains(&0), "{ran:?}");
}

#[test]
fn a_fleet_is_waited_for_host_by_host() {
    // Every host resets the first two questions; two workers ask ten hosts.
    let mut asked = std::collections::HashMap::new();
    let server = Fake::stream("0.0.0.0", move |peer, _| {
        let times = asked.entry(peer.local_addr().unwrap()).or_insert(0);
        *times += 1;
        if *times > 2 {
            peer.write_all(LINE.as_bytes()).unwrap();
        } else {
            crate::common::fake::reset(peer);
        }
    });
    let hosts: Vec<_> = addresses(10)
        .map(|ip| format!("{ip}:{}", server.port()))
        .collect();
    let arguments = ["--wait", "50", "-j", "2"].map(str::to_owned);
    let ran = ruptime(&[&arguments[..], &hosts[..]].concat());
    assert_eq!((ran.status, server.asked()), (0, 30), "{ran:?}");
    assert!(
        rows(&ran).iter().all(|(_, rest)| rest.starts_with("up ")),
        "{ran:?}"
    );
    // Ten hosts, two at a time, three seconds of pauses each: together, not one after another.
    assert!(ran.took >= Duration::from_secs(3), "{ran:?}");
    assert!(ran.took < Duration::from_secs(12), "{ran:?}");
}

#[test]
fn at_the_deadline_every_host_has_its_row() {
    let up = Fake::up("127.0.0.1");
    let silent = Fake::stream("127.0.0.1", |_, stop| stop.pause(Duration::from_secs(50)));
    let hosts = [silent.host(), up.host(), "ssh.invalid".to_owned()];
    let late = "no answer within the deadline of 1.5 s";
    for format in ["table", "json", "jsonl", "openmetrics"] {
        // One at a time: the last host is not even asked.
        let arguments = [
            "--deadline",
            "1.5",
            "--timeout",
            "50",
            "-o",
            format,
            "-j1",
            &hosts[0],
            &hosts[1],
            &hosts[2],
        ];
        let ran = ruptime(&arguments);
        assert_eq!((ran.status, &*ran.err), (1, ""), "{ran:?}");
        assert!(ran.took < Duration::from_secs(25), "{ran:?}");
        let text = ran.text();
        for host in &hosts {
            assert!(text.contains(host.as_str()), "{text}");
        }
        let told = if format == "openmetrics" { 0 } else { 3 };
        assert_eq!(text.matches(late).count(), told, "{text}");
    }
    let ran = ruptime(&["--deadline", "50", &hosts[1]]);
    ran.assert_up(LINE);
}

#[test]
fn a_host_whose_turn_comes_late_is_asked_all_the_same() {
    // Refuses the first question; one worker, and another host keeps it busy for all of the time.
    let mut asked = 0;
    let server = Fake::stream("127.0.0.1", move |peer, _| {
        asked += 1;
        match asked {
            1 => crate::common::fake::reset(peer),
            _ => peer.write_all(LINE.as_bytes()).unwrap(),
        }
    });
    let silent = Fake::stream("127.0.0.1", |peer, stop| stop.until_closed(peer));
    let arguments = ["-j", "1", "--wait", "2", &server.host(), &silent.host()];
    let ran = ruptime(&arguments);
    let rows = rows(&ran);
    assert!(rows[0].1.starts_with("up "), "{ran:?}");
    assert_eq!(rows[1].1, "down  no answer within 2 s", "{ran:?}");
}

#[test]
fn text_of_several_hosts_is_whole_and_raw_is_cut_between_characters() {
    let long = "ü".repeat(20_000) + "\n";
    let blank = "\n".repeat(2000) + LINE;
    let serve = |text: String| {
        Fake::stream("127.0.0.1", move |peer, _| {
            peer.write_all(text.as_bytes()).unwrap()
        })
    };
    let servers = [serve("a".to_owned() + &long), serve(blank)];
    let hosts = servers.each_ref().map(Fake::host);
    let ran = ruptime(&["-o", "text", &hosts[0], &hosts[1]]);
    let blank = format!("{}: \n", hosts[1]).repeat(2000);
    let expected = format!("{}: a{long}{blank}{}: {LINE}", hosts[0], hosts[1]);
    assert!(ran.status == 0 && ran.text() == expected, "{}", ran.err);

    let ran = ruptime(&["-o", "jsonl", &hosts[0], &hosts[1]]);
    let text = ran.text();
    // 1,024 bytes would end within a character.
    let raw = format!("\"a{}\"", "ü".repeat(511));
    assert!(text.contains(&raw) && !text.contains('\u{fffd}'), "{text}");
    // The same verdict as where it is asked alone.
    assert!(text.contains("\"uptime_seconds\":273900"), "{text}");
}

#[test]
fn a_reader_that_is_gone_ends_the_asking() {
    let up = up_everywhere();
    let hosts: Vec<_> = addresses(50)
        .map(|ip| format!("{ip}:{}", up.port()))
        .collect();
    let arguments = ["-o", "jsonl", "-j", "1"].map(str::to_owned);
    let mut command = crate::common::fake::client(&[&arguments[..], &hosts[..]].concat());
    let writer = crate::common::pipe::without_a_reader();
    let ran = crate::common::fake::run_into(&mut command, writer);
    assert!(ran.err.is_empty() && ran.status == 1, "{ran:?}");
    assert!(up.asked() < 50, "all were asked for a reader that was gone");
}

/// All hosts are asked and count; only some are printed.
#[test]
fn conditions_choose_what_is_printed_and_a_summary_counts_all() {
    let up = Fake::up("127.0.0.1");
    let odd = Fake::stream("127.0.0.1", |peer, _| peer.write_all(b"hello\n").unwrap());
    let (_held, closed) = closed_port("127.0.0.1");
    let (up, odd, closed) = (up.host(), odd.host(), closed.to_string());
    let printed = |format: &str, conditions: &[&str]| {
        let wheres = conditions.iter().flat_map(|word| ["--where", word]);
        let arguments: Vec<_> = ["-o", format].into_iter().chain(wheres).collect();
        let ran = ruptime(&[&arguments[..], &[&up, &odd, &closed]].concat());
        assert_eq!(ran.status, 1, "{ran:?}");
        let text = format!("{}{}", ran.text(), ran.err);
        [&up, &odd, &closed].map(|host| text.contains(host.as_str()))
    };
    for format in ["table", "json", "jsonl", "text", "openmetrics"] {
        assert_eq!(printed(format, &[]), [true; 3], "{format}");
        assert_eq!(printed(format, &["up"]), [true, false, false], "{format}");
        assert_eq!(printed(format, &["!up"]), [false, true, true], "{format}");
        let both = ["!up", "!error"];
        assert_eq!(printed(format, &both), [false, false, true], "{format}");
        let long = ["uptime>=3d", "users=2", "load15<1"];
        assert_eq!(printed(format, &long), [true, false, false], "{format}");
        assert_eq!(printed(format, &["uptime>1w"]), [false; 3], "{format}");
    }
    let ran = ruptime(&["--summary", "--where", "down", &up, &odd, &closed]);
    let lines: Vec<_> = ran.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert_eq!(lines[1], "3 hosts: 1 up, 1 down, 1 error");
    // For one host too it is a table then.
    let ran = ruptime(&["--summary", &up]);
    assert!(
        ran.status == 0 && ran.text().ends_with("\n1 host: 1 up\n"),
        "{ran:?}"
    );
}
