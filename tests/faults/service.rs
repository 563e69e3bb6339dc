//! A daemon to be hurt, and its clients: over one transport and one hand-off, asked and judged.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::common::daemon::Ruptimed;
use crate::common::net::{Address, is_uptime_line};
use crate::common::process::Process;
use crate::common::{BOUND, uninterrupted};

/// Between two looks at a client.
const LOOK: Duration = Duration::from_millis(5);

/// How clients are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// TCP, a command for each connection.
    Exec,
    /// TCP, a shared run.
    Capture,
    /// UDP.
    Datagram,
}

/// A daemon on a socket that it has inherited, and that outlives it.
pub(crate) struct Service {
    pub(crate) daemon: Process,
    mode: Mode,
    address: SocketAddr,
}

/// What a client has got so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// An uptime line, whole.
    Answer,
    /// The daemon's `error: …`.
    Refusal,
    /// Its connection was closed or reset without a word.
    Nothing,
    /// It still waits.
    Pending,
}

impl Service {
    pub(crate) fn start(mode: Mode, options: &[&str]) -> Service {
        Service::start_as(mode, options, |daemon| daemon)
    }

    /// With whatever else about the daemon `change` does.
    pub(crate) fn start_as(
        mode: Mode,
        options: &[&str],
        change: impl FnOnce(Ruptimed) -> Ruptimed,
    ) -> Service {
        let mut all = options.to_vec();
        if mode == Mode::Capture {
            all.extend(["--handoff", "capture"]);
        }
        let daemon = Ruptimed::new(all);
        let (daemon, address) = match mode {
            Mode::Datagram => {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
                let address = socket.local_addr().expect("an address");
                (daemon.inherit(socket), address)
            }
            Mode::Exec | Mode::Capture => {
                let (listener, address) = Address::any_tcp().listen();
                let Address::Tcp(address) = address else {
                    unreachable!("a TCP address was asked for");
                };
                (daemon.inherit(listener), address)
            }
        };
        Service {
            daemon: change(daemon).start(),
            mode,
            address,
        }
    }

    pub(crate) fn ask(&self) -> Asker {
        match self.mode {
            Mode::Datagram => {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
                socket.connect(self.address).expect("connected");
                socket.send(b"\0").expect("sent");
                socket.set_nonblocking(true).expect("non-blocking");
                Asker::Datagram(socket)
            }
            Mode::Exec | Mode::Capture => {
                let stream = TcpStream::connect(self.address).expect("a backlog with room");
                stream.set_nonblocking(true).expect("non-blocking");
                Asker::Stream(stream, Vec::new())
            }
        }
    }

    /// Asks, and asks again as a client would whose datagram or connection was lost, until there
    /// is an answer, and waits so long for each. Gives how often it had to ask.
    pub(crate) fn ask_until_answered(&self, patience: Duration) -> usize {
        let end = Instant::now() + BOUND;
        for tries in 1.. {
            if self.ask().wait(patience) == Got::Answer {
                return tries;
            }
            assert!(Instant::now() < end, "no answer in {tries} tries");
        }
        unreachable!("the loop ends by returning")
    }

    /// The records that the daemon has written since it began.
    pub(crate) fn records(&self) -> Vec<String> {
        self.daemon.stderr().lines().map(str::to_owned).collect()
    }
}

/// One request under way.
pub(crate) enum Asker {
    Stream(TcpStream, Vec<u8>),
    Datagram(UdpSocket),
}

impl Asker {
    /// What has come by now.
    pub(crate) fn look(&mut self) -> Got {
        let mut buffer = [0; 4096];
        match self {
            Asker::Datagram(socket) => match uninterrupted(|| socket.recv(&mut buffer)) {
                Ok(length) => judge(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Got::Pending,
                Err(error) => panic!("recv: {error}"),
            },
            Asker::Stream(stream, reply) => loop {
                match uninterrupted(|| stream.read(&mut buffer)) {
                    Ok(0) => return judge(reply),
                    Ok(length) => reply.extend_from_slice(&buffer[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Got::Pending,
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                        return judge(reply);
                    }
                    Err(error) => panic!("recv: {error}"),
                }
            },
        }
    }

    /// Waits until something has come, so long at most.
    pub(crate) fn wait(&mut self, patience: Duration) -> Got {
        let end = Instant::now() + patience;
        loop {
            let got = self.look();
            if got != Got::Pending || Instant::now() >= end {
                return got;
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn judge(reply: &[u8]) -> Got {
    let text = String::from_utf8_lossy(reply);
    if is_uptime_line(&text) {
        Got::Answer
    } else if text.starts_with("error: ") && text.ends_with('\n') {
        Got::Refusal
    } else if text.is_empty() {
        Got::Nothing
    } else {
        panic!("half an answer, or two: {}", reply.escape_ascii())
    }
}
