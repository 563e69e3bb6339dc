//! The five programs of APUE, chapter 16, by their behaviour, with ours at the other end: the
//! stream client and the datagram client ask `ruptimed`; the popen server, the fork/dup2/exec
//! server and the datagram server answer `ruptime`.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::common::daemon::Ruptimed;
use crate::common::datagrams::At;
use crate::common::fake::{Fake, Ran, ruptime};
use crate::common::net::{Address, is_uptime_line, textbook_client};
use crate::common::{BOUND, uninterrupted};

const UPTIME: &str = "/usr/bin/uptime";

/// The stream client's whole output, and nothing but it, whatever the hand-off and the length.
#[test]
fn the_stream_client_asks_our_daemon() {
    let exact: String = "x".repeat(127) + "\n";
    let script = format!("printf '{exact}{exact}'");
    let long = exact.repeat(2);
    for handoff in ["exec", "capture"] {
        for any in [Address::any_tcp(), Address::any_tcp6()] {
            let start = |command: &[&str]| {
                let (listener, address) = any.listen();
                let daemon = Ruptimed::new(["--handoff", handoff]);
                let process = daemon.command(command).inherit(listener).start();
                let Address::Tcp(address) = address else {
                    unreachable!("TCP was asked for");
                };
                (process, address)
            };
            let (_process, address) = start(&[]);
            let output = String::from_utf8(textbook_client(address)).expect("text");
            assert!(is_uptime_line(&output), "{output:?}");
            // Whole buffers of the client's 128 bytes, and then the end.
            let (_process, address) = start(&["/bin/sh", "-c", &script]);
            assert_eq!(textbook_client(address), long.as_bytes());
            // No answer is one line too.
            let (_process, address) = start(&["/nonexistent"]);
            let output = String::from_utf8(textbook_client(address)).expect("text");
            assert!(
                output.starts_with("error: ") && output.lines().count() == 1,
                "{output:?}"
            );
        }
    }
}

/// Sends one NUL byte, without a connect(2), and reads at most 128 bytes of one datagram; alarm(2)
/// ends its wait.
fn datagram_client(server: SocketAddr) -> String {
    let any = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).expect("a port");
    socket.set_read_timeout(Some(BOUND)).expect("SO_RCVTIMEO");
    socket.send_to(&[0], server).expect("sendto error");
    let mut buffer = [0; 128];
    let (length, from) = uninterrupted(|| socket.recv_from(&mut buffer)).expect("recv error");
    assert_eq!(from, server, "somebody else answered");
    String::from_utf8(buffer[..length].to_vec()).expect("text")
}

#[test]
fn the_datagram_client_asks_our_daemon() {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let (socket, at) = At::udp(any).bind();
        let _process = Ruptimed::new([""; 0]).inherit(socket).start();
        let At::Udp(address) = at else {
            unreachable!("UDP was asked for");
        };
        let output = datagram_client(address);
        assert!(is_uptime_line(&output), "{output:?}");
    }
}

/// Runs a command through a pipe, as popen(3) does, and hands on its output line by line.
fn popen(command: &str, mut each_line: impl FnMut(&str)) {
    let mut child = match Command::new(command)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => return each_line(&format!("error: {error}\n")),
    };
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|length| length > 0) {
        each_line(&line);
        line.clear();
    }
    child.wait().expect("a child of our own");
}

fn popen_server(command: &'static str) -> Fake {
    Fake::stream("127.0.0.1", move |client, _| {
        popen(command, |line| {
            let _ = client.write_all(line.as_bytes());
        });
    })
}

/// The child's standard output and error are the connection; the parent waits for it.
fn fork_dup2_exec_server() -> Fake {
    Fake::stream("127.0.0.1", |client: &mut TcpStream, _| {
        let copy = || OwnedFd::from(client.try_clone().expect("dup"));
        let child = Command::new(UPTIME)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(copy())
            .stderr(copy())
            .status();
        assert!(child.expect("a child").success());
    })
}

/// Its answer is the first line only, and as much of it as fits into 128 bytes with a NUL.
fn datagram_server(command: &'static str, loses: impl Fn(usize) -> bool + Send + 'static) -> Fake {
    Fake::datagram("127.0.0.1", move |number, socket, from| {
        let mut first = true;
        popen(command, |line| {
            if std::mem::take(&mut first) && !loses(number) {
                let length = line.len().min(127);
                socket
                    .send_to(&line.as_bytes()[..length], from)
                    .expect("sent");
            }
        });
    })
}

#[track_caller]
fn is_up(ran: &Ran) {
    assert!(ran.status == 0 && ran.err.is_empty(), "{ran:?}");
    assert!(is_uptime_line(&ran.text()), "{ran:?}");
}

#[test]
fn our_client_asks_the_stream_servers() {
    for server in [popen_server(UPTIME), fork_dup2_exec_server()] {
        for _ in 0..3 {
            is_up(&ruptime(&[server.host()]));
        }
        let ran = ruptime(&["-o", "json", &server.host()]);
        assert!(
            ran.status == 0 && ran.text().contains("\"status\":\"up\""),
            "{ran:?}"
        );
        assert_eq!(server.asked(), 4);
    }
}

/// The server's own error is no answer, and is told as it said it.
#[test]
fn our_client_tells_the_popen_servers_error() {
    let server = popen_server("/nonexistent/uptime");
    let host = server.host();
    let ran = ruptime(&[&host]);
    ran.assert_down(&format!(
        "ruptime: {host}: error: No such file or directory (os error 2)"
    ));
}

#[test]
fn our_client_asks_the_datagram_server() {
    let server = datagram_server(UPTIME, |_| false);
    is_up(&ruptime(&["--udp", &server.host()]));
    // What the textbook leaves to the reader: a question or an answer may be lost.
    let server = datagram_server(UPTIME, |number| number % 3 != 2);
    let host = format!("udp:{}", server.host());
    is_up(&ruptime(&["--timeout", "30", &host]));
    assert!(server.asked() >= 3);
}

/// Serial servers, each asked beside the others.
#[test]
fn our_client_asks_all_of_them_at_once() {
    let servers = [
        popen_server(UPTIME),
        fork_dup2_exec_server(),
        datagram_server(UPTIME, |_| false),
    ];
    let hosts: Vec<String> = ["", "", "udp:"]
        .iter()
        .zip(&servers)
        .map(|(scheme, server)| format!("{scheme}{}", server.host()))
        .collect();
    let ran = ruptime(&[&["--timeout".to_owned(), "30".to_owned()], &hosts[..]].concat());
    let text = ran.text();
    assert!(ran.status == 0 && text.lines().count() == 3, "{ran:?}");
    for (line, host) in text.lines().zip(&hosts) {
        assert!(
            line.starts_with(host.as_str()) && line.contains(" up "),
            "{line}"
        );
    }
}
