//! The load generator against the floors, the textbook's servers and servers that misbehave on purpose: a
//! generator that takes a failure for an answer would make every figure a lie.

// clippy's leave for tests ends at the functions that tests share.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};
use serde_json::Value;

const LINE: &[u8] = b" 12:34:56 up 1 day,  3:04,  2 users,  load average: 0.10, 0.20, 0.30\n";

/// A floor that is killed when the test ends, however it ends.
struct Floor(Child, String);

impl Floor {
    fn start(words: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_floor"))
            .args(words)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut target = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut target).unwrap();
        Self(child, target.trim().to_owned())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn load(target: &str, options: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(options)
        .arg(target)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let line = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {text}"));
    (output.status.code().unwrap(), line)
}

/// Serves TCP connections with `serve`, one after the other, as long as the test lives.
fn tcp(serve: fn(std::net::TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp:{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            serve(connection);
        }
    });
    target
}

#[test]
fn floors_and_textbook_servers_answer_every_request() {
    for (server, clients) in [
        ("accept", "64"),
        ("exec", "64"),
        ("datagram", "64"),
        ("datagram-pktinfo", "64"),
        // Their backlog is 10.
        ("textbook-exec", "4"),
        ("textbook-popen", "4"),
        ("textbook-datagram", "4"),
    ] {
        let floor = Floor::start(&[server]);
        let (status, line) = load(
            &floor.1,
            &["--clients", clients, "--count", "200", "--for", "60"],
        );
        assert_eq!(status, 0, "{server}: {line}");
        assert_eq!(line["answered"], 200, "{server}: {line}");
        assert_eq!(line["surplus"], 0, "{server}: {line}");
        assert!(line["latency_us"]["p50"].as_f64().unwrap() > 0.0, "{line}");
    }
}

#[test]
fn a_server_on_the_loopback_device_answers_at_all_of_its_addresses() {
    let floor = Floor::start(&["accept", "--listen", "0.0.0.0:0", "--only-loopback"]);
    let address: SocketAddr = floor.1.strip_prefix("tcp:").unwrap().parse().unwrap();
    let (status, line) = load(&format!("tcp:127.3.2.1:{}", address.port()), &["--burst"]);
    assert_eq!((status, &line["answered"]), (0, &1.into()), "{line}");
}

#[test]
fn a_burst_asks_once_for_each_client() {
    let floor = Floor::start(&["accept"]);
    let (status, line) = load(
        &floor.1,
        &["--burst", "--clients", "500", "--timeout", "60"],
    );
    assert_eq!((status, &line["asked"]), (0, &500.into()), "{line}");
    assert_eq!(line["answered"], 500, "{line}");
}

#[test]
fn nobody_listening_is_refused() {
    // Bound, so that nobody else can have the port; not listening, and connected to somebody else.
    let idle = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )
    .unwrap();
    bind(idle.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let port = getsockname::<SockaddrIn>(idle.as_raw_fd()).unwrap().port();
    let (status, line) = load(
        &format!("tcp:127.0.0.1:{port}"),
        &["--burst", "--clients", "3"],
    );
    assert_eq!(
        (status, &line["failures"]["refused"]),
        (1, &3.into()),
        "{line}"
    );
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    taken.connect(taken.local_addr().unwrap()).unwrap();
    let target = format!("udp:{}", taken.local_addr().unwrap());
    let (status, line) = load(&target, &["--burst", "--clients", "3"]);
    assert_eq!(
        (status, &line["failures"]["refused"]),
        (1, &3.into()),
        "{line}"
    );
}

#[test]
fn end_of_file_without_a_byte_is_empty() {
    let (status, line) = load(&tcp(drop), &["--burst", "--clients", "3"]);
    assert_eq!(
        (status, &line["failures"]["empty"]),
        (1, &3.into()),
        "{line}"
    );
}

#[test]
fn another_text_is_wrong_and_shown() {
    let target = tcp(|mut connection| connection.write_all(b"error: no\n").unwrap());
    let (status, line) = load(&target, &["--burst", "--clients", "3"]);
    assert_eq!(
        (status, &line["failures"]["wrong"]),
        (1, &3.into()),
        "{line}"
    );
    assert_eq!(line["first_wrong"], "error: no\\n");
    let (status, line) = load(&target, &["--burst", "--expect", "error: no\n"]);
    assert_eq!((status, &line["answered"]), (0, &1.into()), "{line}");
}

#[test]
fn a_line_without_its_end_of_file_times_out() {
    let target = tcp(|mut connection| {
        connection.write_all(LINE).unwrap();
        // Held open until the client goes.
        let _ = connection.read(&mut [0]);
    });
    let (status, line) = load(&target, &["--burst", "--timeout", "0.2"]);
    assert_eq!(
        (status, &line["failures"]["timeout"]),
        (1, &1.into()),
        "{line}"
    );
}

#[test]
fn a_second_datagram_for_one_question_is_surplus() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = format!("udp:{}", socket.local_addr().unwrap());
    thread::spawn(move || {
        // The first client's extra one is sent before the second client's answer, and so before the run ends.
        for answers in [2, 1] {
            let (_, from) = socket.recv_from(&mut [0]).unwrap();
            for _ in 0..answers {
                socket.send_to(LINE, from).unwrap();
            }
        }
    });
    let (status, line) = load(&target, &["--burst", "--clients", "2"]);
    assert_eq!((status, &line["surplus"]), (0, &1.into()), "{line}");
}

#[test]
fn a_lost_datagram_costs_its_client_the_timeout() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = format!("udp:{}", socket.local_addr().unwrap());
    thread::spawn(move || {
        let mut number = 0;
        while let Ok((_, from)) = socket.recv_from(&mut [0]) {
            number += 1;
            if number != 2 {
                socket.send_to(LINE, from).unwrap();
            }
        }
    });
    let (status, line) = load(&target, &["--count", "3", "--timeout", "3", "--for", "60"]);
    assert_eq!(
        (status, &line["failures"]["timeout"]),
        (1, &1.into()),
        "{line}"
    );
    assert_eq!(line["answered"], 2, "{line}");
}

#[test]
fn unix_clients_wait_for_a_place_in_the_backlog() {
    let path = std::env::temp_dir().join(format!("ruptime-bench-{}", std::process::id()));
    // Process numbers come again, and a test that was killed leaves its socket.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    listen(&listener, Backlog::new(2).unwrap()).unwrap();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            connection.write_all(LINE).unwrap();
        }
    });
    let target = format!("unix:{}", path.display());
    let result = load(&target, &["--burst", "--clients", "200"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        (result.0, &result.1["answered"]),
        (0, &200.into()),
        "{}",
        result.1
    );
}

#[test]
fn mistakes_on_the_command_line_are_usage_errors() {
    for words in [
        &["--clients", "0", "tcp:127.0.0.1:1"][..],
        &["--burst", "--count", "1", "tcp:127.0.0.1:1"],
        &["--clients", "99999999", "tcp:127.0.0.1:1"],
        &["http:127.0.0.1:1"],
        &[],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_load"))
            .args(words)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stderr.starts_with(b"load: "), "{words:?}");
    }
}
