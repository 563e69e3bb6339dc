//! A name server of a test's own, in a network namespace of its own, and the client in there.
//!
//! It answers as a test tells it to: late, never, by one family only, with a thousand addresses.
//! Everything is RFC 1035: questions over UDP, and over TCP for an answer that is too long for it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::fake::{self, Ran};
use super::netns::Namespace;
use super::temp::TempDir;

/// Types of records, RFC 1035 section 3.2.2 and RFC 3596.
pub(crate) const A: u16 = 1;
pub(crate) const PTR: u16 = 12;
pub(crate) const AAAA: u16 = 28;
/// Response codes, RFC 1035 section 4.1.1.
pub(crate) const SERVFAIL: u8 = 2;
pub(crate) const NXDOMAIN: u8 = 3;
pub(crate) const REFUSED: u8 = 5;

/// How often a server looks whether its time is over, milliseconds.
const TICK: u16 = 20;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// Without the dot at the end.
    pub(crate) name: String,
    /// [`A`], [`AAAA`] or [`PTR`].
    pub(crate) kind: u16,
    /// The questions that wait for their answer, with this one.
    pub(crate) at_once: usize,
}

/// What is said to it.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Those of the right family.
    Addresses(Vec<IpAddr>),
    /// A name, whatever bytes are between its dots.
    Name(Vec<u8>),
    /// One of the response codes, without delay.
    Code(u8),
    /// These bytes behind the question's number.
    Bytes(Vec<u8>),
    Silence,
}

impl Reply {
    pub(crate) fn address(ip: &str) -> Reply {
        Reply::Addresses(vec![ip.parse().expect("an address")])
    }
}

/// A server on port 53 of an address.
pub(crate) struct NameServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    questions: Arc<Mutex<Vec<Question>>>,
}

impl NameServer {
    /// Starts one at `ip` in `namespace`; each answer leaves `delay` after its question came.
    pub(crate) fn new(
        namespace: &Namespace,
        ip: &str,
        delay: Duration,
        reply: impl FnMut(&Question) -> Reply + Send + 'static,
    ) -> NameServer {
        let address = fake::at(ip, 53);
        let (udp, tcp) = namespace.enter(|| {
            let udp = UdpSocket::bind(address).expect("port 53");
            // A thousand threads ask at once.
            setsockopt(&udp, sockopt::RcvBufForce, &(8 << 20)).expect("SO_RCVBUFFORCE");
            (udp, TcpListener::bind(address).expect("port 53"))
        });
        udp.set_nonblocking(true).expect("non-blocking");
        let stop = Arc::new(AtomicBool::new(false));
        let questions = Arc::new(Mutex::new(Vec::new()));
        let server = Server {
            udp,
            tcp,
            delay,
            reply,
            stop: Arc::clone(&stop),
            questions: Arc::clone(&questions),
            waiting: BinaryHeap::new(),
        };
        NameServer {
            stop,
            thread: Some(thread::spawn(move || server.run())),
            questions,
        }
    }

    /// What was asked so far.
    pub(crate) fn questions(&self) -> Vec<Question> {
        self.questions.lock().expect("a lock").clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "a name server failed");
        }
    }
}

struct Server<R> {
    udp: UdpSocket,
    tcp: TcpListener,
    delay: Duration,
    reply: R,
    stop: Arc<AtomicBool>,
    questions: Arc<Mutex<Vec<Question>>>,
    /// Answers that wait for their time.
    waiting: BinaryHeap<Reverse<(Instant, Vec<u8>, SocketAddr)>>,
}

impl<R: FnMut(&Question) -> Reply> Server<R> {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let pause = self.send_what_is_due();
            let mut fds = [
                PollFd::new(self.udp.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.tcp.as_fd(), PollFlags::POLLIN),
            ];
            // Interrupted where the machine was stopped for a moment.
            let _ = poll(&mut fds, pause);
            let stream = fds[1].any().unwrap_or(false);
            let mut buffer = [0; 1024];
            while let Ok((length, from)) = self.udp.recv_from(&mut buffer) {
                let now = Instant::now();
                if let Some((answer, is_code)) = self.answer(&buffer[..length], true) {
                    let due = if is_code { now } else { now + self.delay };
                    self.waiting.push(Reverse((due, answer, from)));
                }
            }
            if stream {
                if let Ok((peer, _)) = self.tcp.accept() {
                    // A client that went away is no matter.
                    let _ = self.answer_over_tcp(peer);
                }
            }
        }
    }

    /// Gives the time until the next one is due.
    fn send_what_is_due(&mut self) -> PollTimeout {
        while let Some(Reverse((due, answer, to))) = self.waiting.pop() {
            let now = Instant::now();
            if due > now {
                self.waiting.push(Reverse((due, answer, to)));
                let left = u16::try_from((due - now).as_millis()).unwrap_or(TICK);
                return PollTimeout::from(left.min(TICK));
            }
            // Nobody may be there any more.
            let _ = self.udp.send_to(&answer, to);
        }
        PollTimeout::from(TICK)
    }

    fn answer_over_tcp(&mut self, mut peer: TcpStream) -> std::io::Result<()> {
        peer.set_read_timeout(Some(super::BOUND))?;
        let mut length = [0; 2];
        // A stream carries several questions: A and AAAA.
        while peer.read_exact(&mut length).is_ok() {
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            peer.read_exact(&mut question)?;
            if let Some((answer, _)) = self.answer(&question, false) {
                let length = u16::try_from(answer.len()).expect("an answer of 64 KiB at most");
                peer.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
            }
        }
        Ok(())
    }

    /// The answer, and whether it is but a code.
    fn answer(&mut self, packet: &[u8], datagram: bool) -> Option<(Vec<u8>, bool)> {
        let (question, end) = parse(packet, self.waiting.len() + 1);
        let reply = (self.reply)(&question);
        let kind = question.kind;
        self.questions.lock().expect("a lock").push(question);
        let is_code = matches!(reply, Reply::Code(_));
        let answer = match reply {
            Reply::Silence => return None,
            Reply::Bytes(bytes) => [&packet[..2], &bytes].concat(),
            Reply::Code(code) => message(packet, end, code, &[], false),
            Reply::Name(name) => message(packet, end, 0, &[pointer(&name)], false),
            Reply::Addresses(addresses) => {
                let records: Vec<_> = addresses
                    .iter()
                    .filter(|ip| ip.is_ipv4() == (kind == A))
                    .map(address)
                    .collect();
                let whole = message(packet, end, 0, &records, false);
                // RFC 1035 section 4.2.1: 512 bytes, and what is longer is asked for over TCP.
                if datagram && whole.len() > 512 {
                    message(packet, end, 0, &[], true)
                } else {
                    whole
                }
            }
        };
        Some((answer, is_code))
    }
}

/// A packet → its question, and where that ends.
fn parse(packet: &[u8], at_once: usize) -> (Question, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while packet[at] != 0 {
        let end = at + 1 + usize::from(packet[at]);
        labels.push(String::from_utf8_lossy(&packet[at + 1..end]).into_owned());
        at = end;
    }
    let kind = u16::from_be_bytes([packet[at + 1], packet[at + 2]]);
    let name = labels.join(".");
    let question = Question {
        name,
        kind,
        at_once,
    };
    (question, at + 5)
}

/// RFC 1035 section 4.1: a header with the question's number, the question, the answers.
fn message(packet: &[u8], end: usize, code: u8, records: &[Vec<u8>], truncated: bool) -> Vec<u8> {
    let count = u16::try_from(records.len())
        .expect("a few thousand")
        .to_be_bytes();
    let flags = [0x85 | u8::from(truncated) << 1, 0x80 | code];
    let header = [&packet[..2], &flags, &[0, 1], &count, &[0, 0, 0, 0]].concat();
    [&header, &packet[12..end], &records.concat()].concat()
}

fn address(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => record(A, &v4.octets()),
        IpAddr::V6(v6) => record(AAAA, &v6.octets()),
    }
}

/// RFC 1035 section 3.1: labels with their lengths, up to an empty one.
fn pointer(name: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for label in name.split(|byte| *byte == b'.') {
        data.push(u8::try_from(label.len()).expect("63 bytes at most"));
        data.extend(label);
    }
    data.push(0);
    record(PTR, &data)
}

/// Section 4.1.3: a pointer to the question's name, type, class, a minute to live, the data.
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len())
        .expect("a short record")
        .to_be_bytes();
    let kind = kind.to_be_bytes();
    [&[0xc0, 12], &kind[..], &[0, 1, 0, 0, 0, 60], &length, data].concat()
}

/// A machine whose resolver asks the name servers of a test.
pub(crate) struct Resolving {
    pub(crate) namespace: Namespace,
    wrapper: Vec<String>,
    _files: TempDir,
}

impl Resolving {
    /// With these lines in resolv.conf(5), and these in hosts(5). None (told) where that cannot be.
    pub(crate) fn new(resolv_conf: &str, hosts: &str) -> Option<Resolving> {
        let namespace = Namespace::new()?;
        let files = TempDir::new();
        let mounts = [
            ("resolv.conf", resolv_conf),
            ("hosts", hosts),
            ("nsswitch.conf", "hosts: files dns\n"),
        ]
        .map(|(name, content)| {
            let path = files.file(name, content);
            format!("mount --bind {} /etc/{name}", path.display())
        });
        let script = format!("{} && exec \"$@\"", mounts.join(" && "));
        let mut wrapper = fake::unshare("mf")?;
        wrapper.extend(["sh", "-c", &script, "sh"].map(str::to_owned));
        Some(Resolving {
            namespace,
            wrapper,
            _files: files,
        })
    }

    /// The client there.
    pub(crate) fn client(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        fake::wrapped(&self.wrapper, arguments)
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn ruptime(&self, arguments: &[impl AsRef<OsStr> + Sync]) -> Ran {
        self.run(self.client(arguments), b"")
    }

    /// Runs a command to its end, with `input` on its standard input.
    #[track_caller]
    pub(crate) fn run(&self, mut command: Command, input: &[u8]) -> Ran {
        self.namespace.enter(move || fake::run(&mut command, input))
    }
}
