//! `ruptime` and one host over UDP: losses, duplicates, refusals, and what others send.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::common::fake::{Fake, LINE, at, refusing_port, ruptime};
use crate::common::has_ipv6;

fn udp(fake: &Fake) -> String {
    format!("udp:{}", fake.host())
}

#[test]
fn one_byte_there_and_one_datagram_back() {
    let server = Fake::datagram("127.0.0.1", |_, socket, from| {
        socket.send_to(LINE.as_bytes(), from).unwrap();
    });
    ruptime(&[udp(&server)]).assert_up(LINE);
    ruptime(&["--udp", &server.host()]).assert_up(LINE);
    // More where an answer was late.
    assert!(server.asked() >= 2, "{}", server.asked());
    if has_ipv6() {
        let server = Fake::datagram("::1", |_, socket, from| {
            socket.send_to(LINE.as_bytes(), from).unwrap();
        });
        ruptime(&[udp(&server)]).assert_up(LINE);
    }
}

#[test]
fn the_textbooks_server_answers_only_the_first_127_bytes() {
    let long = "x".repeat(200);
    let server = Fake::datagram("127.0.0.1", move |_, socket, from| {
        socket.send_to(&long.as_bytes()[..127], from).unwrap();
    });
    ruptime(&[udp(&server)]).assert_up(&"x".repeat(127));
}

#[test]
fn lost_questions_are_asked_again() {
    // Loses two questions in three.
    let server = Fake::datagram("127.0.0.1", |number, socket, from| {
        if number % 3 == 2 {
            socket.send_to(LINE.as_bytes(), from).unwrap();
        }
    });
    for _ in 0..3 {
        ruptime(&["--timeout", "20", &udp(&server)]).assert_up(LINE);
    }
    assert!(server.asked() >= 9, "{}", server.asked());
}

#[test]
fn repeated_questions_pause_ever_longer() {
    let server = Fake::datagram("127.0.0.1", |_, _, _| {});
    let host = udp(&server);
    let ran = ruptime(&["--timeout", "2", &host]);
    ran.assert_down(&format!("ruptime: {host}: no answer within 2 s"));
    // At 0, 0.2, 0.6 and 1.4 seconds; fewer where the machine is slow.
    assert!((1..=4).contains(&server.asked()), "{}", server.asked());
}

#[test]
fn a_refused_port_is_told_at_once() {
    let socket = refusing_port("127.0.0.1");
    let host = format!("udp:{}", socket.local_addr().unwrap());
    let ran = ruptime(&["--timeout", "50", &host]);
    ran.assert_down(&format!("ruptime: {host}: connection refused"));
    assert!(ran.took < Duration::from_secs(25), "{ran:?}");
}

#[test]
fn a_refusal_needs_no_second_question() {
    let socket = refusing_port("127.0.0.1");
    let host = format!("udp:{}", socket.local_addr().unwrap());
    // The second question would be asked after 20 ms, the refusal is there within microseconds;
    // only a machine that stands still for all of the time may be late, and not every time.
    let told = format!("ruptime: {host}: connection refused\n");
    let at_once = (0..20).any(|_| ruptime(&["--timeout", "0.015", &host]).err == told);
    assert!(at_once, "no refusal before the second question");
}

#[test]
fn a_port_that_closes_while_it_is_asked_is_told() {
    // Deaf at the first question, gone at the second.
    let socket = UdpSocket::bind(at("127.0.0.1", 0)).unwrap();
    let host = format!("udp:{}", socket.local_addr().unwrap());
    let client = std::thread::spawn({
        let host = host.clone();
        move || ruptime(&["--timeout", "50", &host])
    });
    assert!(crate::common::fake::Stop::default().readable_within(socket.as_fd(), 25));
    drop(socket);
    let ran = client.join().unwrap();
    ran.assert_down(&format!("ruptime: {host}: connection refused"));
    assert!(ran.took < Duration::from_secs(25), "{ran:?}");
}

#[test]
fn what_another_address_sends_is_no_answer() {
    let stranger = UdpSocket::bind(at("127.0.0.1", 0)).unwrap();
    let server = Fake::datagram("127.0.0.1", move |_, _, from| {
        stranger.send_to(b"forged\n", from).unwrap();
    });
    let host = udp(&server);
    ruptime(&["--timeout", "0.5", &host])
        .assert_down(&format!("ruptime: {host}: no answer within 0.5 s"));
}

#[test]
fn late_duplicates_reach_no_other_host() {
    // Each answers every question three times, the last copies to whoever asked before.
    let server = |text: &'static str| {
        let mut before = None;
        Fake::datagram("127.0.0.1", move |_, socket, from| {
            for to in [Some(from), Some(from), before.replace(from)]
                .into_iter()
                .flatten()
            {
                // Whoever asked before may be gone: refused.
                let _ = socket.send_to(text.as_bytes(), to);
            }
        })
    };
    let servers = [server("one\n"), server("two\n"), server("three\n")];
    let hosts: Vec<_> = servers.iter().map(udp).collect();
    for _ in 0..5 {
        let ran = ruptime(&[&["-o".to_owned(), "text".to_owned()], &hosts[..]].concat());
        let expected = format!(
            "{}: one\n{}: two\n{}: three\n",
            hosts[0], hosts[1], hosts[2]
        );
        ran.assert_up(&expected);
    }
}

#[test]
fn an_empty_datagram_and_the_servers_error_are_failures() {
    let server = Fake::datagram("127.0.0.1", |_, socket, from| {
        socket.send_to(b"", from).unwrap();
    });
    let ran = ruptime(&[udp(&server)]);
    assert!(
        ran.status == 1 && ran.out.is_empty() && ran.err.lines().count() == 1,
        "{ran:?}"
    );

    let server = Fake::datagram("127.0.0.1", |_, socket, from| {
        socket.send_to(b"error: no\n", from).unwrap();
    });
    let host = udp(&server);
    ruptime(&[&host]).assert_down(&format!("ruptime: {host}: error: no"));
}

#[test]
fn the_largest_datagram_is_whole() {
    let server = Fake::datagram("127.0.0.1", |_, socket, from| {
        socket.send_to(&[b'x'; 65_507], from).unwrap();
    });
    let ran = ruptime(&[udp(&server)]);
    assert_eq!((ran.status, ran.out.len()), (0, 65_507), "{}", ran.err);
}
