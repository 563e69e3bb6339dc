//! A local client passes descriptors whose last close takes days (SCM_RIGHTS, unix(7)): nobody else
//! waits for it, and the daemon leaves when it is told to.
//!
//! Linux 6.16 and newer refuse them; strace stands for older ones, by letting no such option be set.

use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{SockType, UnixAddr, connect, recvfrom};

use crate::common::daemon::Ruptimed;
use crate::common::datagrams::{Asker, At};
use crate::common::fake::{Fake, LINE, run, send, wrapped};
use crate::common::laden::{Lingering, pass_inotify};
use crate::common::net::{Address, Client, within_linger};
use crate::common::process::Process;
use crate::common::temp::TempDir;
use crate::common::{BOUND, is_installed, strace, wait_until};

/// Messages with descriptors, at once.
const MESSAGES: usize = 40;
/// Honest clients of each kind meanwhile.
const HONEST: usize = 20;
const HI: [&str; 2] = ["/bin/echo", "hi"];
/// Has the daemon run on an older kernel, as far as it can tell.
const OLDER_KERNEL: [&str; 7] = [
    "strace",
    "-D",
    "-qq",
    "--output=/dev/null",
    "--signal=none",
    "--trace=setsockopt",
    "--inject=setsockopt:error=ENOPROTOOPT",
];

/// What an attacker does once it has passed its descriptors.
#[derive(Clone, Copy)]
enum Then {
    Stays,
    Leaves,
    EndsSending,
}

/// A daemon with a UNIX socket that is attacked and a TCP socket that is not.
struct Attacked {
    process: Process,
    unix: Address,
    tcp: Address,
    /// The ends of what was passed: while they are open, a close of the others sleeps.
    peers: Vec<TcpStream>,
    /// Attackers that are still there.
    clients: Vec<Client>,
}

impl Attacked {
    /// `early` attackers are in the backlog before the daemon is started.
    fn start(unix: Address, handoff: &str, older_kernel: bool, early: usize) -> Attacked {
        let (unix_listener, unix) = unix.listen();
        let (tcp_listener, tcp) = Address::any_tcp().listen();
        let (mut peers, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..early {
            let client = unix.connect();
            let passed = Lingering::new().pass(client.socket());
            peers.push(passed.expect("nobody has refused it yet"));
            clients.push(client);
        }
        let daemon = Ruptimed::new(["--handoff", handoff])
            .command(&HI)
            .inherit(unix_listener)
            .inherit(tcp_listener);
        let daemon = match older_kernel {
            true => daemon.change(|launch| launch.through(&OLDER_KERNEL)),
            false => daemon,
        };
        let process = daemon.start();
        let mut attacked = Attacked {
            process,
            unix,
            tcp,
            peers,
            clients,
        };
        attacked.is_as_ever();
        attacked
    }

    /// Attacks in every way, and counts how many were refused.
    fn attack(&mut self) -> usize {
        let mut refused = 0;
        for number in 0..MESSAGES {
            let client = self.unix.connect();
            match Lingering::new().pass(client.socket()) {
                Ok(peer) => self.peers.push(peer),
                // EPIPE: it has been answered and dismissed before.
                Err(Errno::EPERM | Errno::EPIPE | Errno::ECONNRESET) => refused += 1,
                Err(errno) => panic!("passing a descriptor: {errno}"),
            }
            match [Then::Stays, Then::Leaves, Then::EndsSending][number % 3] {
                Then::Stays => self.clients.push(client),
                Then::Leaves => drop(client),
                Then::EndsSending => {
                    client.end_sending();
                    self.clients.push(client);
                }
            }
        }
        refused
    }

    /// Honest clients of either socket have their answers, also those that have sent something.
    fn is_as_ever(&mut self) {
        for _ in 0..HONEST {
            assert_eq!(self.tcp.connect().reply(), "hi\n");
            let client = self.unix.connect();
            client.send(b"hello").expect("room");
            assert_eq!(client.reply(), "hi\n");
        }
        // One sends more than its socket's buffer holds before it reads.
        let reply = within_linger("a megabyte first", || {
            let client = self.unix.connect();
            for _ in 0..64 {
                client.send(&[b'x'; 16 << 10])?;
            }
            client.read_by(64 << 10)
        });
        assert_eq!(reply, b"hi\n");
    }

    /// It leaves at once, whatever was passed, and cleanly.
    fn leaves(&mut self) {
        self.process.signal(Signal::SIGTERM);
        assert_eq!(self.process.exit_status(), 0);
    }
}

fn unix_kinds(dir: &TempDir) -> [Address; 2] {
    [
        Address::Unix(dir.join("stream")),
        Address::Seqpacket(dir.join("seqpacket")),
    ]
}

#[test]
fn a_kernel_that_can_refuses_them() {
    let dir = TempDir::new();
    for unix in unix_kinds(&dir) {
        let mut attacked = Attacked::start(unix, "exec", false, 0);
        let refused = attacked.attack();
        attacked.is_as_ever();
        // Older ones take all of them, and the next test is about those.
        let probe = attacked.unix.connect();
        let has_option = Lingering::new().pass(probe.socket()).err() == Some(Errno::EPERM);
        if has_option {
            assert_eq!(refused, MESSAGES);
        }
        attacked.leaves();
    }
}

#[test]
fn where_the_kernel_cannot_nobody_waits_for_them() {
    if !strace::is_possible() {
        return;
    }
    let dir = TempDir::new();
    for (unix, handoff) in unix_kinds(&dir).into_iter().zip(["exec", "capture"]) {
        let mut attacked = Attacked::start(unix, handoff, true, 0);
        attacked.attack();
        attacked.is_as_ever();
        // 100 in one message: no signal cuts short what they take.
        let slow = attacked.unix.connect();
        let _ = pass_inotify(slow.socket(), 100);
        drop(slow);
        attacked.is_as_ever();
        attacked.leaves();
    }
}

#[test]
fn what_was_passed_before_the_daemon_came_holds_up_nobody() {
    let dir = TempDir::new();
    for (unix, handoff) in unix_kinds(&dir).into_iter().zip(["capture", "exec"]) {
        let mut attacked = Attacked::start(unix, handoff, false, MESSAGES);
        attacked.is_as_ever();
        attacked.leaves();
    }
}

/// Attackers use up all the descriptors that UNIX clients may have. When the thread has closed their
/// connections, nothing but the daemon's own deadline tells it that there is room again.
#[test]
fn a_client_that_finds_no_room_is_answered_when_there_is_some() {
    for (limit, attackers, handoff) in [(16, 3, "capture"), (13, 1, "exec")] {
        let dir = TempDir::new();
        let (listener, unix) = Address::Unix(dir.join("s")).listen();
        let clients: Vec<Client> = (0..attackers).map(|_| unix.connect()).collect();
        let pass = |client: &Client| Lingering::new().pass(client.socket());
        let _peers: Vec<_> = clients
            .iter()
            .map(|client| pass(client).expect("passed"))
            .collect();
        let _process = Ruptimed::new(["--handoff", handoff])
            .script("sleep 0.3; echo hi", "")
            .inherit(listener)
            .change(|launch| launch.prologue(&format!("ulimit -n {limit}")))
            .start();
        for client in &clients {
            assert_eq!(client.reply(), "hi\n");
        }
        let honest = unix.connect();
        assert_eq!(honest.reply(), "hi\n");
    }
}

/// One connection, as `Accept=yes` and inetd hand it over: it is answered, and the process ends.
#[test]
fn a_connection_that_was_handed_over_is_answered() {
    for older_kernel in [false, true] {
        if older_kernel && !strace::is_possible() {
            return;
        }
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let theirs = Client::new(theirs.into());
        let _peer = Lingering::new().pass(theirs.socket()).expect("passed");
        let daemon = Ruptimed::new(["--inetd"]).command(&HI).on_stdio(ours);
        let daemon = match older_kernel {
            true => daemon.change(|launch| launch.through(&OLDER_KERNEL)),
            false => daemon,
        };
        let mut process = daemon.start();
        assert_eq!(theirs.reply(), "hi\n");
        drop(theirs);
        assert_eq!(process.exit_status(), 0);
    }
}

/// Sends until the daemon's queue has room; the daemon may be receiving what was passed.
fn until_there_is_room(mut send: impl FnMut() -> Result<(), Errno>) {
    wait_until("room in the queue", || match send() {
        Ok(()) => true,
        Err(Errno::EAGAIN) => false,
        Err(errno) => panic!("sending: {errno}"),
    });
}

#[test]
fn datagrams_that_pass_descriptors_hold_up_nobody() {
    for older_kernel in [false, true] {
        if older_kernel && !strace::is_possible() {
            return;
        }
        let dir = TempDir::new();
        let (socket, at) = At::Unix(dir.join("s")).bind();
        let (tcp_listener, tcp) = Address::any_tcp().listen();
        let client = UnixDatagram::bind(dir.join("attacker")).expect("a path");
        client.connect(dir.join("s")).expect("a server");
        let mut peers = vec![Lingering::new().pass(&client).expect("not refused yet")];
        let daemon = Ruptimed::new([""; 0])
            .command(&HI)
            .inherit(socket)
            .inherit(tcp_listener);
        let daemon = match older_kernel {
            true => daemon.change(|launch| launch.through(&OLDER_KERNEL)),
            false => daemon,
        };
        let mut process = daemon.start();
        assert_eq!(Asker::of(&at).ask_as_in_the_textbook(), "hi\n");
        for _ in 0..MESSAGES {
            let mut refused = false;
            until_there_is_room(|| match Lingering::new().pass(&client) {
                Ok(peer) => {
                    peers.push(peer);
                    Ok(())
                }
                Err(Errno::EPERM) => {
                    refused = true;
                    Ok(())
                }
                Err(errno) => Err(errno),
            });
            assert!(!(refused && older_kernel), "the option could be set");
            assert_eq!(tcp.connect().reply(), "hi\n");
            assert_eq!(Asker::of(&at).ask_as_in_the_textbook(), "hi\n");
        }
        if older_kernel {
            until_there_is_room(|| pass_inotify(&client, 100));
            assert_eq!(tcp.connect().reply(), "hi\n");
            assert_eq!(Asker::of(&at).ask_as_in_the_textbook(), "hi\n");
        }
        process.signal(Signal::SIGTERM);
        assert_eq!(process.exit_status(), 0);
    }
}

/// Binds its standard input to a UNIX address of its own making: no library lets a path fill
/// `sun_path`. The path is relative to the directory.
const BIND: &str = "
import ctypes, os, sys
os.chdir(sys.argv[1])
path = os.fsencode(sys.argv[2])
address = b'\\1\\0' + path
libc = ctypes.CDLL(None, use_errno=True)
sys.exit(libc.bind(0, address, len(address)) and os.strerror(ctypes.get_errno()))";

fn bound_to(dir: &TempDir, path: &str) -> UnixDatagram {
    let socket = UnixDatagram::unbound().expect("a socket");
    let stdin = OwnedFd::from(socket.try_clone().expect("a copy"));
    let bound = std::process::Command::new("python3")
        .args(["-c", BIND, &dir.text(""), path])
        .stdin(stdin)
        .status();
    assert!(bound.expect("python3").success());
    socket.set_read_timeout(Some(BOUND)).expect("SO_RCVTIMEO");
    socket.connect(dir.join("s")).expect("a server");
    socket.send(&[0]).expect("room");
    socket
}

#[test]
fn a_path_that_fills_the_address_is_answered_and_a_relative_one_is_not() {
    if !is_installed("python3", "python3") {
        return;
    }
    let dir = TempDir::new();
    let (socket, at) = At::Unix(dir.join("s")).bind();
    let mut process = Ruptimed::new(["--log-level", "debug"])
        .command(&HI)
        .inherit(socket)
        .start();
    let fill = 108 - dir.text("").len();
    let client = bound_to(&dir, &dir.text(&"x".repeat(fill)));
    let mut reply = [0; 16];
    assert_eq!(client.recv(&mut reply).expect("a reply"), 3);
    let _relative = bound_to(&dir, "client");
    process.wait_for_stderr("cannot be answered: its socket's path is relative");
    assert_eq!(Asker::of(&at).ask_as_in_the_textbook(), "hi\n");
}

/// A hostile server passes descriptors to the client, which keeps its time-out and leaves.
#[test]
fn a_client_is_held_up_by_no_server() {
    for kind in [SockType::Stream, SockType::SeqPacket, SockType::Datagram] {
        for (older_kernel, stays) in [(false, false), (true, false), (true, true)] {
            if older_kernel && !strace::is_possible() {
                return;
            }
            let dir = TempDir::new();
            let (path, mut kept) = (dir.join("s"), Vec::new());
            let _server = Fake::unix(&path, kind, move |peer| {
                let to = match kind {
                    SockType::Datagram => {
                        let (_, from) =
                            recvfrom::<UnixAddr>(peer.as_raw_fd(), &mut [0]).expect("a question");
                        let from = from.expect("a sender");
                        let own = UnixDatagram::from(peer.try_clone_to_owned().expect("a copy"));
                        let _ = connect(own.as_raw_fd(), &from);
                        OwnedFd::from(own)
                    }
                    _ => peer.try_clone_to_owned().expect("a copy"),
                };
                kept.extend((0..3).filter_map(|_| Lingering::new().pass(&to).ok()));
                send(to.as_fd(), LINE.as_bytes());
                if stays {
                    KEPT.lock().expect("no panic").push(to);
                }
            });
            let word = format!("unix:{}", path.display());
            let words = ["--timeout", "1", &word];
            let wrapper = if older_kernel { &OLDER_KERNEL[..] } else { &[] };
            let ran = run(&mut wrapped(wrapper, &words), b"");
            if older_kernel {
                assert_eq!(ran.status, 1, "{kind:?}: {ran:?}");
                assert!(ran.out.is_empty(), "{kind:?}: {ran:?}");
            } else if ran.status != 0 {
                // An older kernel indeed.
                assert!(ran.err.contains("passes descriptors"), "{kind:?}: {ran:?}");
            }
            KEPT.lock().expect("no panic").clear();
        }
    }
}

/// Connections that a hostile server keeps open.
static KEPT: std::sync::Mutex<Vec<OwnedFd>> = std::sync::Mutex::new(Vec::new());
