//! `ruptime` and one host over TCP: real sockets, and servers of every kind of manners.

use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use nix::unistd::geteuid;

use crate::common::fake::{Fake, Full, LINE, closed_port, reset, ruptime, wrapped};
use crate::common::has_ipv6;
use crate::common::temp::TempDir;

#[test]
fn the_reply_is_printed_byte_for_byte() {
    let odd = b"not an uptime line, \0 \xff \x1b[31m and no line feed";
    for reply in [LINE.as_bytes(), b"two\nlines\n", odd, b"\n"] {
        let server = Fake::stream("127.0.0.1", move |peer, _| peer.write_all(reply).unwrap());
        let ran = ruptime(&[server.host()]);
        assert_eq!(ran.out, reply, "{ran:?}");
        assert!(ran.status == 0 && ran.err.is_empty(), "{ran:?}");
    }
}

#[test]
fn the_servers_own_error_is_a_failure() {
    let server = Fake::stream("127.0.0.1", |peer, _| {
        peer.write_all(b"error: cannot run /usr/bin/uptime\n")
            .unwrap();
    });
    let host = server.host();
    let line = format!("ruptime: {host}: error: cannot run /usr/bin/uptime");
    ruptime(&[host]).assert_down(&line);
}

#[test]
fn the_textbooks_popen_server_serves_line_by_line_and_serially() {
    let server = Fake::stream("127.0.0.1", |peer, stop| {
        // Each line in a segment of its own, and the lines themselves in pieces.
        peer.set_nodelay(true).unwrap();
        for piece in ["first ", "line\n", "second", " line\n"] {
            peer.write_all(piece.as_bytes()).unwrap();
            stop.pause(Duration::from_millis(20));
        }
    });
    let host = server.host();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let host = host.clone();
            std::thread::spawn(move || ruptime(&[host]))
        })
        .collect();
    for client in clients {
        client
            .join()
            .unwrap()
            .assert_up("first line\nsecond line\n");
    }
    assert_eq!(server.asked(), 4);
}

/// A fleet keeps 1 KiB of a reply, and reads all of it.
#[test]
fn an_uptime_line_is_found_behind_a_long_greeting_in_pieces() {
    let server = Fake::stream("127.0.0.1", |peer, stop| {
        peer.set_nodelay(true).unwrap();
        let greeting = "Welcome to Debian GNU/Linux 13\n\n".repeat(100);
        for piece in [
            &greeting,
            " 15:12:09 up 3 da",
            "ys,  4:05,  ? users,  load average: N/A\n",
        ] {
            peer.write_all(piece.as_bytes()).unwrap();
            stop.pause(Duration::from_millis(20));
        }
    });
    let ran = ruptime(&[
        "-o",
        "jsonl",
        &server.host(),
        &server.host().replace("127.0.0.1", "localhost"),
    ]);
    let out = String::from_utf8_lossy(&ran.out);
    for part in [
        r#""uptime_seconds":273900,"#,
        r#""users":null,"load":null,"#,
    ] {
        assert_eq!(out.matches(part).count(), 2, "{ran:?}");
    }
    assert_eq!(ran.status, 0, "{ran:?}");
}

#[test]
fn a_server_that_reads_first_gets_its_end_of_file_from_nobody() {
    // The textbook's client sends nothing and closes after the reply; so do we.
    let server = Fake::stream("127.0.0.1", |peer, stop| {
        peer.write_all(LINE.as_bytes()).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut sent = Vec::new();
        if stop.readable(std::os::fd::AsFd::as_fd(peer)) {
            peer.read_to_end(&mut sent).unwrap();
        }
        assert!(sent.is_empty(), "{sent:?}");
    });
    ruptime(&[server.host()]).assert_up(LINE);
}

#[test]
fn ipv6_and_its_brackets() {
    if !has_ipv6() {
        return;
    }
    let server = Fake::up("::1");
    let port = server.port().to_string();
    ruptime(&[server.host()]).assert_up(LINE);
    ruptime(&["-p", &port, "::1"]).assert_up(LINE);
    ruptime(&["-6", "-p", &port, "[::1]"]).assert_up(LINE);
    ruptime(&["-4", "-p", &port, "::1"])
        .assert_down("ruptime: ::1: an IPv6 address, and -4 allows only IPv4");
    ruptime(&["-p", &port, "::1%nosuch0"])
        .assert_down("ruptime: ::1%nosuch0: no network interface nosuch0");
}

#[test]
fn a_port_by_number_and_by_name() {
    let server = Fake::up("127.0.0.1");
    let port = server.port().to_string();
    ruptime(&["-p", &port, "127.0.0.1"]).assert_up(LINE);
    // The host's own port wins.
    ruptime(&["-p", "1", &server.host()]).assert_up(LINE);
    ruptime(&["127.0.0.1:no-such-service"]).assert_down(
        "ruptime: 127.0.0.1:no-such-service: /etc/services has no no-such-service/tcp",
    );
}

#[test]
fn a_refusal_is_told_at_once() {
    let (_closed, address) = closed_port("127.0.0.1");
    let ran = ruptime(&["--timeout", "50", &address.to_string()]);
    ran.assert_down(&format!("ruptime: {address}: connection refused"));
    assert!(ran.took < Duration::from_secs(25), "{ran:?}");
}

#[test]
fn silence_before_and_after_the_accept_ends_with_the_timeout() {
    let server = Fake::stream("127.0.0.1", |peer, stop| stop.until_closed(peer));
    let full = Full::new("127.0.0.1", 0);
    for host in [server.host(), full.address.to_string()] {
        let ran = ruptime(&["--timeout", "0.3", &host]);
        ran.assert_down(&format!("ruptime: {host}: no answer within 0.3 s"));
        assert!(ran.took >= Duration::from_millis(300), "{ran:?}");
    }
}

#[test]
fn dripping_does_not_extend_the_timeout() {
    let server = Fake::stream("127.0.0.1", |peer, stop| {
        peer.set_nodelay(true).unwrap();
        while !stop.is_set() && peer.write_all(b"x").is_ok() {
            stop.pause(Duration::from_millis(20));
        }
    });
    let host = server.host();
    let ran = ruptime(&["--timeout", "0.5", &host]);
    ran.assert_down(&format!(
        "ruptime: {host}: no end of the answer within 0.5 s"
    ));
}

#[test]
fn a_flood_is_refused_and_the_connection_closed() {
    let server = Fake::stream("127.0.0.1", |peer, stop| {
        let block = [b'x'; 8192];
        while !stop.is_set() && peer.write_all(&block).is_ok() {}
    });
    let host = server.host();
    let ran = ruptime(&["--timeout", "50", &host]);
    ran.assert_down(&format!(
        "ruptime: {host}: the answer is longer than 64 KiB"
    ));
    assert!(ran.took < Duration::from_secs(25), "{ran:?}");
    // The server was told by the closed connection: it serves the next.
    assert_eq!(ruptime(&[&host]).status, 1);
    assert_eq!(server.asked(), 2);
}

#[test]
fn exactly_64_kib_are_a_reply() {
    for (length, status) in [(64 * 1024, 0), (64 * 1024 + 1, 1)] {
        let server = Fake::stream("127.0.0.1", move |peer, _| {
            let _ = peer.write_all(&vec![b'x'; length]);
        });
        let ran = ruptime(&[server.host()]);
        assert_eq!(ran.status, status, "{length}: {}", ran.err);
        assert_eq!(ran.out.len(), if status == 0 { length } else { 0 });
    }
}

#[test]
fn a_close_without_a_byte_is_no_answer() {
    let server = Fake::stream("127.0.0.1", |_, _| {});
    let host = server.host();
    ruptime(&[&host]).assert_down(&format!("ruptime: {host}: closed without an answer"));
}

#[test]
fn half_a_line_and_a_reset_are_no_answer() {
    let server = Fake::stream("127.0.0.1", |peer, stop| {
        // The whole line even: what ends in a reset may have been cut anywhere.
        peer.write_all(LINE.as_bytes()).unwrap();
        stop.pause(Duration::from_millis(100));
        reset(peer);
    });
    let host = server.host();
    let ran = ruptime(&[&host]);
    // The reset can overtake the bytes within the client's kernel.
    assert!(
        ran.err
            .starts_with(&format!("ruptime: {host}: connection reset")),
        "{ran:?}"
    );
    assert!(ran.status == 1 && ran.out.is_empty(), "{ran:?}");
}

#[test]
fn a_machine_that_comes_back_is_waited_for() {
    let mut asked = 0;
    let server = Fake::stream("127.0.0.1", move |peer, _| {
        asked += 1;
        match asked {
            1 | 2 => reset(peer),
            _ => peer.write_all(LINE.as_bytes()).unwrap(),
        }
    });
    let ran = ruptime(&["--wait", "50", &server.host()]);
    ran.assert_up(LINE);
    assert_eq!(server.asked(), 3);
    // Pauses of one and two seconds, as in the textbook.
    assert!(ran.took >= Duration::from_secs(3), "{ran:?}");
}

#[test]
fn a_forwarder_and_a_server_that_are_not_ready_are_waited_for() {
    let mut asked = 0;
    let server = Fake::stream("127.0.0.1", move |peer, _| {
        asked += 1;
        let reply = match asked {
            1 => "",
            2 => "error: not yet\n",
            _ => LINE,
        };
        peer.write_all(reply.as_bytes()).unwrap();
    });
    ruptime(&["--wait", "50s", &server.host()]).assert_up(LINE);
    assert_eq!(server.asked(), 3);
    // A reply that is anything else is no reason to try again.
    let server = Fake::stream("127.0.0.1", |peer, _| peer.write_all(b"hello\n").unwrap());
    ruptime(&["--wait", "50s", &server.host()]).assert_up("hello\n");
    assert_eq!(server.asked(), 1);
}

#[test]
fn only_an_answer_after_a_reboot_counts_with_rebooted() {
    const JUST_BOOTED: &str = " 21:04:41 up 0 min,  0 user,  load average: 0.26, 0.22, 0.10\n";
    let mut asked = 0;
    let server = Fake::stream("127.0.0.1", move |peer, _| {
        asked += 1;
        let reply = if asked < 3 { LINE } else { JUST_BOOTED };
        peer.write_all(reply.as_bytes()).unwrap();
    });
    ruptime(&["--wait", "50", "--rebooted", &server.host()]).assert_up(JUST_BOOTED);
    assert_eq!(server.asked(), 3);
    let server = Fake::up("127.0.0.1");
    let host = server.host();
    ruptime(&["--wait", "1", "--rebooted", &host])
        .assert_down(&format!("ruptime: {host}: not rebooted, up 3+04:05"));
}

#[test]
fn an_output_that_is_closed_at_the_start_is_told() {
    let server = Fake::up("127.0.0.1");
    let told = "ruptime: standard output is closed, or cannot be written to\n";
    let script = |redirection: &str| format!("exec \"$@\" {redirection}");
    for arguments in [
        &[&*server.host()][..],
        &["-o", "json", &server.host()],
        &["--help"],
    ] {
        for closed in [">&-", "</dev/null >&0", "<&- >&-"] {
            let shell = ["sh", "-c", &script(closed), "sh"];
            let ran = crate::common::fake::run(&mut wrapped(&shell, arguments), b"");
            assert_eq!((ran.status, &*ran.err), (1, told), "{closed} {ran:?}");
        }
        // Whoever wants no output says so, for writing alone or as Python's DEVNULL does.
        for nothing in [">/dev/null", "<>/dev/null >&0", "<&- >/dev/null"] {
            let shell = ["sh", "-c", &script(nothing), "sh"];
            let ran = crate::common::fake::run(&mut wrapped(&shell, arguments), b"");
            assert_eq!((ran.status, &*ran.err), (0, ""), "{nothing} {ran:?}");
        }
    }
    assert_eq!(server.asked(), 6, "nobody is asked in vain");
}

#[test]
fn a_look_up_without_a_thread_is_told() {
    // Where anybody may run it.
    let folder = TempDir::new();
    let program = folder.join("ruptime");
    std::fs::copy(env!("CARGO_BIN_EXE_ruptime"), &program).expect("a copy");
    let mut words = vec!["prlimit", "--nproc=1"];
    if geteuid().is_root() {
        // root has no such limit; prlimit(1) comes second, or setpriv could not run it.
        words.splice(0..0, ["setpriv", "--reuid=65534", "--clear-groups"]);
    }
    let mut command = Command::new(words[0]);
    let command = command.args(&words[1..]).arg(program).arg("localhost");
    crate::common::fake::run(command, b"")
        .assert_down("ruptime: localhost: this machine has no thread left for the look-up");
}

#[test]
fn waiting_ends_with_the_patience() {
    let (_closed, address) = closed_port("127.0.0.1");
    let ran = ruptime(&["--wait", "1", &address.to_string()]);
    ran.assert_down(&format!("ruptime: {address}: connection refused"));
    assert!(ran.took >= Duration::from_millis(700), "{ran:?}");
    // What will never be otherwise is not waited for.
    let ran = ruptime(&["--wait", "50", "-6", "127.0.0.1"]);
    assert!(
        ran.status == 1 && ran.took < Duration::from_secs(25),
        "{ran:?}"
    );
}

#[test]
fn a_closed_pipe_ends_quietly_and_a_full_disk_is_told() {
    let server = Fake::up("127.0.0.1");
    let mut command = crate::common::fake::client(&[server.host()]);
    let ran = crate::common::fake::run_into(&mut command, crate::common::pipe::without_a_reader());
    assert!(ran.status == 1 && ran.err.is_empty(), "{ran:?}");

    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let ran =
        crate::common::fake::run_into(&mut crate::common::fake::client(&[server.host()]), full);
    assert_eq!(ran.status, 1);
    let told = "ruptime: cannot write to standard output: no space left on device\n";
    assert_eq!(ran.err, told);
}
