//! Fake services and a bounded run of the client, for the tests of `ruptime`.
//!
//! Each fake is a thread with a socket whose port or path nobody else has. It polls with a bound
//! and looks at a flag, so that dropping it ends it whatever its peer does; a test that fails
//! leaves nothing behind.
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    self, AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, sockopt,
};

/// What a machine that is up says.
pub(crate) const LINE: &str =
    " 18:16:29 up 3 days,  4:05,  2 users,  load average: 0.10, 0.20, 0.30\n";

/// No run of the client in these tests takes so long unless it hangs.
const BOUND: Duration = Duration::from_secs(60);
/// How often a fake looks at its flag.
const TICK: u8 = 20;

/// What became of a run of the client.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl Ran {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }
    /// Nothing on standard output, status 1, and the one line on standard error.
    #[track_caller]
    pub(crate) fn assert_down(&self, line: &str) {
        assert_eq!(self.err, format!("{line}\n"), "{self:?}");
        assert!(self.out.is_empty() && self.status == 1, "{self:?}");
    }
    /// Status 0 and nothing on standard error.
    #[track_caller]
    pub(crate) fn assert_up(&self, out: &str) {
        assert_eq!(self.text(), out, "{self:?}");
        assert!(self.err.is_empty() && self.status == 0, "{self:?}");
    }
}

/// The client, with an environment in which nothing is configured.
pub(crate) fn client(arguments: &[impl AsRef<OsStr>]) -> Command {
    wrapped(&[] as &[&str], arguments)
}

/// The client run by `wrapper`, a program that executes its last arguments.
pub(crate) fn wrapped(wrapper: &[impl AsRef<OsStr>], arguments: &[impl AsRef<OsStr>]) -> Command {
    let binary = OsStr::new(env!("CARGO_BIN_EXE_ruptime"));
    let mut words = wrapper.iter().map(AsRef::as_ref).chain([binary]);
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).args(arguments);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null());
    command
}

/// Runs the client to its end.
#[track_caller]
pub(crate) fn ruptime(arguments: &[impl AsRef<OsStr>]) -> Ran {
    run(&mut client(arguments), b"")
}

/// Runs a command to its end, with `input` on its standard input; one that hangs is killed.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Ran {
    command.stdout(Stdio::piped());
    to_the_end(command, input)
}

/// The same with a standard output of the test's own.
#[track_caller]
pub(crate) fn run_into(command: &mut Command, out: impl Into<Stdio>) -> Ran {
    to_the_end(command.stdout(out), b"")
}

#[track_caller]
fn to_the_end(command: &mut Command, input: &[u8]) -> Ran {
    let begun = Instant::now();
    command.stderr(Stdio::piped());
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().expect("the client starts");
    let (out, mut err) = (child.stdout.take(), child.stderr.take().expect("piped"));
    let out = thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = out.map_or(Ok(0), |mut out| out.read_to_end(&mut bytes));
        read.map(|_| bytes)
    });
    let err = thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).map(|_| text)
    });
    if let Some(mut stdin) = child.stdin.take() {
        // A client that does not read it all has its reasons.
        let _ = stdin.write_all(input);
    }
    let status = loop {
        match child.try_wait().expect("waitpid") {
            Some(status) => break status,
            None if begun.elapsed() > BOUND => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the client hangs: {command:?}");
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    let took = begun.elapsed();
    Ran {
        status: status.code().unwrap_or(-1),
        out: out.join().expect("a reader").expect("standard output"),
        err: err
            .join()
            .expect("a reader")
            .expect("standard error is text"),
        took,
    }
}

/// The flag that ends a fake.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
    /// Waits until there is something to read or accept; false when it is time to end.
    pub(crate) fn readable(&self, fd: BorrowedFd<'_>) -> bool {
        self.poll(fd, PollFlags::POLLIN)
    }
    /// The same, for so many seconds at most.
    pub(crate) fn readable_within(&self, fd: BorrowedFd<'_>, seconds: u64) -> bool {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut there = false;
        // In short turns: a machine that is stopped and goes on interrupts poll(2).
        while !there && Instant::now() < end {
            let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
            there = matches!(poll(&mut fds, PollTimeout::from(TICK)), Ok(1..));
        }
        there
    }
    fn poll(&self, fd: BorrowedFd<'_>, events: PollFlags) -> bool {
        while !self.is_set() {
            let mut fds = [PollFd::new(fd, events)];
            if matches!(poll(&mut fds, PollTimeout::from(TICK)), Ok(1..)) {
                return true;
            }
        }
        false
    }
    /// Waits for the peer to close its end, or for the end of the fake.
    pub(crate) fn until_closed(&self, peer: &mut TcpStream) {
        let mut byte = [0];
        while self.readable(peer.as_fd()) {
            if !matches!(peer.read(&mut byte), Ok(1)) {
                return;
            }
        }
    }
    /// A pause that ends with the fake.
    pub(crate) fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.is_set() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5).min(time));
        }
    }
}

/// A fake service.
pub(crate) struct Fake {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    address: Option<SocketAddr>,
    asked: Arc<AtomicUsize>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            // A fake's own assertion is the test's; but not while another is on its way.
            if ended.is_err() && !thread::panicking() {
                panic!("a fake failed, see above");
            }
        }
    }
}

impl Fake {
    fn start(
        address: Option<SocketAddr>,
        body: impl FnOnce(Stop, Arc<AtomicUsize>) + Send + 'static,
    ) -> Fake {
        let (stop, asked) = (Stop::default(), Arc::new(AtomicUsize::new(0)));
        let (its_stop, its_asked) = (stop.clone(), Arc::clone(&asked));
        let thread = thread::spawn(move || body(its_stop, its_asked));
        Fake {
            stop,
            thread: Some(thread),
            address,
            asked,
        }
    }

    /// A TCP service on `ip`, serial: `serve` gets one connection after the other.
    pub(crate) fn stream(
        ip: &str,
        serve: impl FnMut(&mut TcpStream, &Stop) + Send + 'static,
    ) -> Fake {
        let listener = TcpListener::bind(at(ip, 0)).expect("bind");
        Fake::stream_on(listener, serve)
    }

    pub(crate) fn stream_on(
        listener: TcpListener,
        mut serve: impl FnMut(&mut TcpStream, &Stop) + Send + 'static,
    ) -> Fake {
        let address = listener.local_addr().ok();
        listener.set_nonblocking(true).expect("non-blocking");
        // std's backlog of 128 overflows when a thousand ask at once on a busy machine, and what is
        // dropped then is asked again after 1, 3 and 7 s (tcp(7)).
        nix::sys::socket::listen(&listener, Backlog::MAXCONN).expect("listening");
        Fake::start(address, move |stop, asked| {
            while stop.readable(listener.as_fd()) {
                // A client that is gone already is no matter.
                if let Ok((mut peer, _)) = listener.accept() {
                    peer.set_nonblocking(false).expect("blocking");
                    asked.fetch_add(1, Ordering::Relaxed);
                    serve(&mut peer, &stop);
                }
            }
        })
    }

    /// A machine that is up, over TCP.
    pub(crate) fn up(ip: &str) -> Fake {
        Fake::stream(ip, |peer, _| {
            let _ = peer.write_all(LINE.as_bytes());
        })
    }

    /// A UDP service on `ip`: `reply` gets the number of the question, from 0, and where to
    /// answer; it asserts nothing about the client but that its question is one byte.
    pub(crate) fn datagram(
        ip: &str,
        reply: impl FnMut(usize, &UdpSocket, SocketAddr) + Send + 'static,
    ) -> Fake {
        Fake::datagram_on(UdpSocket::bind(at(ip, 0)).expect("bind"), reply)
    }

    pub(crate) fn datagram_on(
        socket: UdpSocket,
        mut reply: impl FnMut(usize, &UdpSocket, SocketAddr) + Send + 'static,
    ) -> Fake {
        let address = socket.local_addr().ok();
        Fake::start(address, move |stop, asked| {
            let mut question = [0; 16];
            while stop.readable(socket.as_fd()) {
                if let Ok((length, from)) = socket.recv_from(&mut question) {
                    assert_eq!(
                        &question[..length],
                        [0],
                        "the textbook's question is one NUL"
                    );
                    reply(asked.fetch_add(1, Ordering::Relaxed), &socket, from);
                }
            }
        })
    }

    /// A UNIX service of any kind at `path`; `serve` gets a connection or the datagram socket.
    pub(crate) fn unix(
        path: &Path,
        kind: SockType,
        mut serve: impl FnMut(BorrowedFd<'_>) + Send + 'static,
    ) -> Fake {
        let fd = unix_listener(path, kind, 10);
        Fake::start(None, move |stop, asked| {
            while stop.readable(fd.as_fd()) {
                if kind == SockType::Datagram {
                    asked.fetch_add(1, Ordering::Relaxed);
                    serve(fd.as_fd());
                } else if let Ok(peer) = accept(&fd) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    serve(peer.as_fd());
                }
            }
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("an Internet address")
    }
    pub(crate) fn host(&self) -> String {
        self.address().to_string()
    }
    pub(crate) fn port(&self) -> u16 {
        self.address().port()
    }
    /// How many connections or questions came.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// `IP:PORT` or `[IP]:PORT`.
pub(crate) fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

/// `unshare` with these flags, in a user namespace where that is allowed, else as root; None (told)
/// where neither is.
pub(crate) fn unshare(flags: &str) -> Option<Vec<String>> {
    for flags in [format!("-r{flags}"), format!("-{flags}")] {
        let mut probe = Command::new("unshare");
        let probe = probe.args([&flags, "mount", "-t", "tmpfs", "tmpfs", "/tmp"]);
        if probe.output().is_ok_and(|output| output.status.success()) {
            return Some(vec!["unshare".to_owned(), flags, "--kill-child".to_owned()]);
        }
    }
    super::leave_out("no namespaces without root");
    None
}

/// A port on which nobody listens: bound, so that nobody else gets it while the socket lives.
pub(crate) fn closed_port(ip: &str) -> (OwnedFd, SocketAddr) {
    let address = at(ip, 0);
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let fd =
        socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("socket");
    socket::bind(fd.as_raw_fd(), &socket::SockaddrStorage::from(address)).expect("bind");
    let bound: socket::SockaddrStorage = socket::getsockname(fd.as_raw_fd()).expect("getsockname");
    let port = match (bound.as_sockaddr_in(), bound.as_sockaddr_in6()) {
        (Some(v4), _) => v4.port(),
        (_, Some(v6)) => v6.port(),
        _ => unreachable!("an Internet socket"),
    };
    (fd, at(ip, port))
}

/// A listener whose backlog is full: a connect to it hangs. Holds what fills it.
pub(crate) struct Full {
    listener: OwnedFd,
    _fillers: Vec<OwnedFd>,
    pub(crate) address: SocketAddr,
}

impl Full {
    pub(crate) fn new(ip: &str, port: u16) -> Full {
        let address = at(ip, port);
        let fd = socket::socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .expect("socket");
        socket::bind(fd.as_raw_fd(), &socket::SockaddrStorage::from(address)).expect("bind");
        socket::listen(&fd, Backlog::new(0).expect("a backlog")).expect("listen");
        let bound: socket::SockaddrStorage =
            socket::getsockname(fd.as_raw_fd()).expect("getsockname");
        let address = at(ip, bound.as_sockaddr_in().expect("IPv4").port());
        let mut fillers = Vec::new();
        // Until a connect is still under way after a while: then the queue takes no more.
        while fillers.len() < 64 {
            let filler = socket::socket(
                AddressFamily::Inet,
                SockType::Stream,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                None,
            )
            .expect("socket");
            let _ = socket::connect(filler.as_raw_fd(), &socket::SockaddrStorage::from(address));
            let mut fds = [PollFd::new(filler.as_fd(), PollFlags::POLLOUT)];
            let connected = matches!(poll(&mut fds, PollTimeout::from(200_u8)), Ok(1..));
            fillers.push(filler);
            if !connected {
                return Full {
                    listener: fd,
                    _fillers: fillers,
                    address,
                };
            }
        }
        panic!("a backlog of 0 holds 64 connections");
    }
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// A UDP port on `ip` that refuses everybody: its socket hears only one peer, which is itself.
pub(crate) fn refusing_port(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind(at(ip, 0)).expect("bind");
    socket
        .connect(socket.local_addr().expect("an address"))
        .expect("connect");
    socket
}

/// A bound UNIX socket of any kind, listening where it is one to listen.
pub(crate) fn unix_listener(path: &Path, kind: SockType, backlog: i32) -> OwnedFd {
    let fd =
        socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).expect("socket");
    socket::bind(fd.as_raw_fd(), &UnixAddr::new(path).expect("a path")).expect("bind");
    if kind != SockType::Datagram {
        socket::listen(&fd, Backlog::new(backlog).expect("a backlog")).expect("listen");
    }
    fd
}

/// accept(2).
pub(crate) fn accept(listener: &impl AsFd) -> Result<OwnedFd, Errno> {
    use std::os::unix::net::UnixListener;
    // std accepts any kind: accept(2) does not care, and only the descriptor is used.
    let listener = UnixListener::from(listener.as_fd().try_clone_to_owned().expect("dup"));
    match listener.accept() {
        Ok((peer, _)) => Ok(OwnedFd::from(peer)),
        Err(error) => Err(Errno::from_raw(error.raw_os_error().unwrap_or(0))),
    }
}

/// send(2) of one record.
pub(crate) fn send(peer: BorrowedFd<'_>, bytes: &[u8]) {
    // A client that has had enough is no matter.
    let _ = socket::send(peer.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL);
}

/// Closes with a reset instead of an end.
pub(crate) fn reset(peer: &TcpStream) {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    socket::setsockopt(peer, sockopt::Linger, &linger).expect("SO_LINGER");
    // The caller drops the connection.
}
