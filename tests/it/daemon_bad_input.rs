//! A daemon that was started the wrong way, or with the wrong sockets: one clear line on standard
//! error, the right exit status (1 for what failed, 2 for what was asked wrongly), and never a
//! word of readiness to the service manager.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use crate::common::daemon::Ruptimed;
use crate::common::manager::Manager;
use crate::common::net::{Address, tcp_pair};
use crate::common::pipe::without_a_reader;
use crate::common::temp::TempDir;
use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, listen, shutdown, socket,
};
use nix::unistd::pipe2;

/// Starts a daemon that must not come up; checks that it ends with this status and tells why in
/// one line that holds all these words.
#[track_caller]
fn refused(daemon: Ruptimed, status: i32, words: &[&str]) {
    let manager = Manager::new();
    let mut process = daemon.managed_by(&manager).start();
    let ended = process.exit_status();
    let stderr = process.stderr();
    assert_eq!(ended, status, "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "not one line: {stderr}");
    assert!(stderr.starts_with("ruptimed: "), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "no {word:?} in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(process.stdout(), "");
    assert_eq!(manager.pending().concat(), [""; 0]);
}

fn with(options: &[&str]) -> Ruptimed {
    Ruptimed::new(options)
}

fn a_listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port")
}

/// With this in the environment, and a good listener as descriptor 3.
fn with_environment(variables: &str) -> Ruptimed {
    with(&[]).change(|launch| {
        launch
            .fd(3, a_listener())
            .prologue(&format!("export {variables}"))
    })
}

#[test]
fn nobody_passed_a_socket() {
    let how = "give --listen ADDR";
    refused(with(&[]), 2, &["LISTEN_FDS is not set", how]);
    for (variables, why) in [
        ("LISTEN_FDS=0 LISTEN_PID=$$", "LISTEN_FDS is 0"),
        ("LISTEN_FDS=1", "LISTEN_PID is not set"),
        ("LISTEN_FDS=1 LISTEN_PID=1", "LISTEN_PID is 1"),
        ("LISTEN_FDS=1 LISTEN_PID=$PPID", "LISTEN_PID is"),
    ] {
        refused(with_environment(variables), 2, &[why, how]);
    }
}

#[test]
fn what_the_environment_says_cannot_be() {
    for (variables, why) in [
        ("LISTEN_FDS=999999999 LISTEN_PID=$$", "LISTEN_FDS=999999999"),
        (
            "LISTEN_FDS=18446744073709551615 LISTEN_PID=$$",
            "LISTEN_FDS=18446744073709551615",
        ),
        ("LISTEN_FDS=two LISTEN_PID=$$", "LISTEN_FDS=two"),
        ("LISTEN_FDS= LISTEN_PID=$$", "LISTEN_FDS="),
        ("LISTEN_FDS=-1 LISTEN_PID=$$", "LISTEN_FDS=-1"),
        ("LISTEN_FDS=1 LISTEN_PID=me", "LISTEN_PID=me"),
    ] {
        refused(with_environment(variables), 1, &[why]);
    }
}

/// Whatever the environment holds, it gets no further than one printable line.
#[test]
fn what_the_environment_says_is_escaped() {
    let daemon = with_environment("LISTEN_FDS=\"$(printf '1\\033[31m\\n2')\" LISTEN_PID=$$");
    refused(daemon, 1, &["LISTEN_FDS=1\\u{1b}[31m\\n2"]);
}

#[test]
fn what_was_passed_is_not_a_socket() {
    // The second descriptor of two, so that a good one does not save it.
    let second = |fd: OwnedFd| with(&[]).inherit(a_listener()).inherit(fd);
    let file = File::open("/dev/null").expect("/dev/null");
    refused(second(file.into()), 1, &["fd 4", "/dev/null"]);
    let (read, _write) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    refused(second(read), 1, &["fd 4", "pipe"]);
    let closed = with(&[]).change(|launch| {
        launch
            .fd(3, a_listener())
            .prologue("export LISTEN_FDS=2 LISTEN_PID=$$")
    });
    refused(closed, 1, &["fd 4", "is not open"]);
}

#[test]
fn what_was_passed_is_named_as_the_unit_names_it() {
    let file = File::open("/dev/null").expect("/dev/null");
    let daemon = with(&[])
        .inherit(a_listener())
        .inherit(file)
        .env("LISTEN_FDNAMES", "good.socket:bad.socket");
    refused(daemon, 1, &["fd 4", "bad.socket"]);
}

#[test]
fn what_was_passed_is_a_socket_that_nobody_serves() {
    let open = |family, kind| socket(family, kind, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let netlink = open(AddressFamily::Netlink, SockType::Raw);
    refused(with(&[]).inherit(netlink), 1, &["fd 3", "kind"]);
    for family in [
        AddressFamily::Inet,
        AddressFamily::Inet6,
        AddressFamily::Unix,
    ] {
        let fresh = open(family, SockType::Stream);
        refused(with(&[]).inherit(fresh), 1, &["fd 3", "neither listens"]);
    }
    // A set of good ones does not save a bad one.
    let daemon = with(&[])
        .inherit(a_listener())
        .inherit(a_listener())
        .inherit(open(AddressFamily::Unix, SockType::SeqPacket));
    refused(daemon, 1, &["fd 5"]);
}

#[test]
fn a_listener_was_passed_twice() {
    let listener = a_listener();
    let address = listener.local_addr().expect("a name").to_string();
    let daemon = with(&[])
        .inherit(listener.try_clone().expect("a copy"))
        .inherit(listener);
    refused(daemon, 1, &["twice", &address]);
}

/// A refused set closes with the daemon; the service manager still holds its listeners.
#[test]
fn a_refused_daemon_takes_no_connection() {
    let (listener, address) = Address::any_tcp().listen();
    let client = address.connect();
    let file = File::open("/dev/null").expect("/dev/null");
    let bad = with(&[])
        .inherit(listener.try_clone().expect("a copy"))
        .inherit(file);
    refused(bad, 1, &["fd 4"]);
    let _good = with(&[]).command(&["echo", "hi"]).inherit(listener).start();
    assert_eq!(client.reply(), "hi\n");
}

#[test]
fn standard_input_is_not_a_socket() {
    refused(with(&["--inetd"]), 2, &["--inetd", "standard input"]);
    let (read, _write) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    let piped = with(&["--inetd"]).change(|launch| launch.fd(0, read));
    refused(piped, 2, &["--inetd", "standard input"]);
    let closed = with(&["--inetd"]).change(|launch| launch.prologue("exec 0<&-"));
    refused(closed, 2, &["--inetd", "standard input"]);
    let fresh = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("a socket");
    let idle = with(&["--inetd"]).change(|launch| launch.fd(0, fresh));
    refused(idle, 1, &["standard input", "neither listens"]);
}

#[test]
fn a_port_is_in_use() {
    let taken = a_listener();
    let address = taken.local_addr().expect("a name").to_string();
    refused(with(&["--listen", &address]), 1, &[&address, "in use"]);
    // Nothing is served where one of several cannot be.
    let some = with(&["--listen", "127.0.0.1:0", "--listen", &address]);
    refused(some, 1, &[&address, "in use"]);
    // The one that has it goes on.
    drop(std::net::TcpStream::connect(&address).expect("a connection"));
}

#[test]
fn a_host_is_unknown() {
    // A label of more than 63 bytes (RFC 1035, 2.3.4): no name server is asked.
    let host = format!("{}.invalid", "x".repeat(64));
    let daemon = with(&["--listen", &format!("{host}:0")]);
    refused(daemon, 1, &["unknown host", &host]);
    // An address of documentation (RFC 5737), which no machine has.
    refused(with(&["--listen", "192.0.2.1:0"]), 1, &["192.0.2.1"]);
}

#[test]
fn a_path_cannot_be_a_socket() {
    let dir = TempDir::new();
    let at = |name: &str| format!("unix:{}", dir.text(name));
    let path = dir.join("file");
    std::fs::write(&path, "precious").expect("a file");
    let daemon = with(&["--listen", &at("file")]);
    refused(daemon, 1, &["file", "is not a socket"]);
    assert_eq!(
        std::fs::read_to_string(&path).expect("the file"),
        "precious"
    );

    let _taken = UnixListener::bind(dir.join("taken")).expect("a socket");
    refused(with(&["--listen", &at("taken")]), 1, &["taken", "in use"]);
    assert!(dir.join("taken").exists());

    let daemon = with(&["--listen", &at("no/folder")]);
    refused(daemon, 1, &["no/folder", "No such file"]);
    let long = "x".repeat(120);
    refused(with(&["--listen", &at(&long)]), 1, &["107 bytes"]);
}

/// A link is somebody's, and is not followed.
#[test]
fn a_link_at_the_path_is_left_alone() {
    let dir = TempDir::new();
    drop(UnixListener::bind(dir.join("stale")).expect("a socket"));
    std::os::unix::fs::symlink(dir.join("stale"), dir.join("link")).expect("a link");
    let daemon = with(&["--listen", &format!("unix:{}", dir.text("link"))]);
    refused(daemon, 1, &["link", "is not a socket"]);
    assert!(dir.join("stale").exists() && dir.join("link").is_symlink());
}

#[test]
fn an_option_is_wrong() {
    for (options, word) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["uptime"], "uptime"),
        (&["--max-children", "0"], "--max-children"),
        (&["--max-children", "many"], "--max-children"),
        (&["--max-per-source", "0"], "--max-per-source"),
        (&["--child-timeout", "0"], "--child-timeout"),
        (&["--child-timeout"], "--child-timeout"),
        (&["--idle-timeout=-1"], "--idle-timeout"),
        (&["--idle-timeout", "soon"], "--idle-timeout"),
        (&["--allow", "192.0.2.0/33"], "--allow"),
        (&["--allow", "example.org"], "--allow"),
        (&["--handoff", "fork"], "--handoff"),
        (&["--log-level", "loud"], "--log-level"),
        (&["--rate-limit=-1"], "--rate-limit"),
        (&["--max-age=-1"], "--max-age"),
        (&["--listen", "::1:80"], "--listen"),
        (&["--listen", "127.0.0.1:70000"], "--listen"),
        (&["--listen", "unix:"], "--listen"),
        (&["--listen", "unix:@"], "--listen"),
        (&["--listen", "[fe80::1]:80"], "name its interface"),
        (&["--socket-mode", "rw-rw----"], "--socket-mode"),
        (&["--socket-mode", "01777"], "--socket-mode"),
        (&["--socket-group", "no-such-group"], "no such group"),
        (&["--listen", "0", "--inetd"], "--inetd"),
        (&["--listen", "0", "--idle-timeout", "1"], "--idle-timeout"),
    ] {
        refused(with(options), 2, &[word, "--help"]);
    }
}

/// Only a socket file has a mode and a group.
#[test]
fn rights_need_a_socket_file() {
    for option in ["--socket-mode=0660", "--socket-group=0"] {
        let name = option.split('=').next().expect("a name");
        for others in [
            &[][..],
            &["--listen", "127.0.0.1:0"],
            &["--listen", "unix:@ruptime-none"],
            &["--inetd"],
        ] {
            let options: Vec<&str> = [option].iter().chain(others).copied().collect();
            refused(with(&options), 2, &[name, "--listen unix:PATH"]);
        }
    }
}

/// Nobody reads what is wrong, but the exit status tells it all the same.
#[test]
fn a_dead_standard_error_changes_nothing() {
    for (options, status) in [
        (&["--no-such-option"][..], 2),
        (&[], 2),
        (&["--listen", "192.0.2.1:0"], 1),
    ] {
        let mut process = with(options)
            .change(|launch| launch.fd(2, without_a_reader()))
            .start();
        assert_eq!(process.exit_status(), status, "{options:?}");
    }
}

/// Its owner accepts nothing now, and its backlog is full: it is in use all the same.
#[test]
fn a_path_whose_owner_is_busy_is_in_use() {
    let dir = TempDir::new();
    let (listener, address) = Address::Unix(dir.join("s")).listen();
    listen(&listener, Backlog::new(0).expect("a backlog")).expect("a listener");
    let _waiting = address.connect();
    let daemon = with(&["--listen", &format!("unix:{}", dir.text("s"))]);
    refused(daemon, 1, &["in use"]);
}

#[test]
fn help_and_version_are_no_errors() {
    for option in ["--help", "--version"] {
        let mut process = with(&[option]).start();
        assert_eq!(process.exit_status(), 0);
        assert!(process.stdout().contains("ruptimed"));
        assert_eq!(process.stderr(), "");
    }
}

/// A listener that stops being one under the daemon's hands (another process that shares it has
/// shut it down) is told once, and is the end where it was the only one.
#[test]
fn a_listener_that_is_lost_is_told_once() {
    for (others, ends) in [(1, false), (0, true)] {
        let (listener, lost) = Address::any_tcp().listen();
        let mut daemon = with(&[])
            .command(&["echo", "hi"])
            .inherit(listener.try_clone().expect("a copy"));
        let mut kept = Vec::new();
        for _ in 0..others {
            let (other, address) = Address::any_tcp().listen();
            daemon = daemon.inherit(other);
            kept.push(address);
        }
        let mut process = daemon.start();
        assert_eq!(lost.connect().reply(), "hi\n");
        shutdown(listener.as_raw_fd(), Shutdown::Both).expect("a listener");
        let stderr = process.wait_for_stderr("no listener any more");
        assert!(stderr.contains(&format!(":{} ", lost.port())), "{stderr}");
        for address in kept.iter().cycle().take(5 * others) {
            assert_eq!(address.connect().reply(), "hi\n");
        }
        if ends {
            assert_eq!(process.exit_status(), 1);
        }
        let told = process.stderr().matches("no listener any more").count();
        assert_eq!(told, 1);
    }
}

/// inetd puts the connection on standard error, too.
#[test]
fn an_inetds_client_does_not_read_what_is_wrong_with_the_command_line() {
    for options in [&["--inetd", "--bogus"][..], &["--listen", "nowhere at all"]] {
        let (connection, client) = tcp_pair();
        let mut daemon = with(options)
            .change(|launch| launch.prologue("unset JOURNAL_STREAM"))
            .on_stdio(connection)
            .start();
        assert_eq!(daemon.exit_status(), 2, "{options:?}");
        assert_eq!(client.reply(), "", "{options:?}");
    }
}

#[test]
fn an_empty_command_is_refused() {
    refused(
        with(&["--listen", "127.0.0.1:0", "--", ""]),
        2,
        &["COMMAND"],
    );
}
