//! `ruptime unix:PATH`: the kind of socket is found out, not asked for.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use crate::common::fake::{Fake, LINE, ruptime, send, unix_listener};
use crate::common::temp::TempDir;
use nix::sys::socket::{MsgFlags, SockType, UnixAddr, recvfrom, sendto};

fn word(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// Answers the sender of one datagram.
fn answer(socket: std::os::fd::BorrowedFd<'_>, reply: &[u8]) {
    let mut question = [0; 16];
    let (length, from) =
        recvfrom::<UnixAddr>(socket.as_raw_fd(), &mut question).expect("a question");
    assert_eq!(&question[..length], [0]);
    let from = from.expect("a sender");
    // An abstract name, which leaves nothing in the file system.
    assert!(from.as_abstract().is_some(), "{from:?}");
    let _ = sendto(socket.as_raw_fd(), reply, &from, MsgFlags::MSG_NOSIGNAL);
}

#[test]
fn stream_seqpacket_and_datagram_by_what_the_socket_is() {
    let folder = TempDir::new();
    for kind in [SockType::Stream, SockType::SeqPacket, SockType::Datagram] {
        let path = folder.join(&format!("{kind:?}"));
        let _server = Fake::unix(&path, kind, move |peer| match kind {
            SockType::Datagram => answer(peer, LINE.as_bytes()),
            _ => send(peer, LINE.as_bytes()),
        });
        ruptime(&[word(&path)]).assert_up(LINE);
    }
}

/// Both programs know names in the abstract name space.
#[test]
fn an_abstract_name_is_served_and_asked() {
    let name = format!("unix:@ruptime-test-{}", std::process::id());
    let (_process, addresses) = crate::common::daemon::Ruptimed::new([""; 0])
        .command(&["/bin/echo", "hi"])
        .standalone(&[&name]);
    assert_eq!(addresses[0].connect().reply(), "hi\n");
    ruptime(&[&name]).assert_up("hi\n");
    let gone = format!("{name}-gone");
    ruptime(&[&gone]).assert_down(&format!("ruptime: {gone}: connection refused"));
}

#[test]
fn records_of_a_seqpacket_are_one_reply() {
    let folder = TempDir::new();
    let path = folder.join("socket");
    let _server = Fake::unix(&path, SockType::SeqPacket, |peer| {
        send(peer, b"first ");
        send(peer, b"second\n");
    });
    ruptime(&[word(&path)]).assert_up("first second\n");
}

#[test]
fn what_does_not_fit_is_an_error_and_not_a_part() {
    let folder = TempDir::new();
    for kind in [SockType::SeqPacket, SockType::Datagram] {
        let path = folder.join(&format!("{kind:?}"));
        let _server = Fake::unix(&path, kind, move |peer| match kind {
            SockType::Datagram => answer(peer, &[b'x'; 100_000]),
            _ => send(peer, &[b'x'; 100_000]),
        });
        let host = word(&path);
        ruptime(&[&host]).assert_down(&format!(
            "ruptime: {host}: the answer is longer than 64 KiB"
        ));
    }
}

#[test]
fn a_path_without_a_service_is_told() {
    let folder = TempDir::new();
    let file = folder.file("file", "");
    let stale = folder.join("stale");
    drop(unix_listener(&stale, SockType::Stream, 1));
    let table = [
        (folder.join("missing"), "no such socket"),
        (file.clone(), "connection refused"),
        (stale, "connection refused"),
        (file.join("below"), "a part of the path is not a directory"),
    ];
    for (path, reason) in table {
        let host = word(&path);
        ruptime(&[&host]).assert_down(&format!("ruptime: {host}: {reason}"));
    }
}

#[test]
fn a_full_backlog_is_waited_for() {
    let folder = TempDir::new();
    let path = folder.join("socket");
    let listener = unix_listener(&path, SockType::Stream, 0);
    // The kernel holds one more than the backlog; the second connect would block.
    let _filler = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let host = word(&path);
    ruptime(&["--timeout", "0.3", &host])
        .assert_down(&format!("ruptime: {host}: no answer within 0.3 s"));

    let client = std::thread::spawn(move || ruptime(&["--timeout", "50", &host]));
    // The filler, then the client, which comes in once there is room.
    for _ in 0..2 {
        assert!(crate::common::fake::Stop::default().readable_within(listener.as_fd(), 25));
        let peer = crate::common::fake::accept(&listener).unwrap();
        send(peer.as_fd(), LINE.as_bytes());
    }
    let ran = client.join().unwrap();
    ran.assert_up(LINE);
    assert!(ran.took < Duration::from_secs(25), "{ran:?}");
}

#[test]
fn a_silent_datagram_service_ends_with_the_timeout() {
    let folder = TempDir::new();
    let path = folder.join("socket");
    let _listener = unix_listener(&path, SockType::Datagram, 0);
    let host = word(&path);
    ruptime(&["--timeout", "0.3", &host])
        .assert_down(&format!("ruptime: {host}: no answer within 0.3 s"));
}
