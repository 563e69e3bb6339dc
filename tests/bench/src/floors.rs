//! In: an address. Out: a server that does the least that a server of its kind can do, until it is killed.
//!
//! Beside the floors stand the textbook's servers (APUE, chapter 16), written anew in their shape: one client after
//! the other, a command for each.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;

use nix::cmsg_space;
use nix::libc::in_pktinfo;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    SockaddrIn, SockaddrStorage, bind, listen, recvmsg, sendmsg, setsockopt, socket, sockopt,
};

/// Shaped as procps prints it, and as long.
const LINE: &[u8] = b" 12:34:56 up 10 days,  3:04,  2 users,  load average: 0.10, 0.20, 0.30\n";

const UPTIME: &str = "/usr/bin/uptime";
/// The textbook's QLEN.
const TEXTBOOK_BACKLOG: i32 = 10;
/// The textbook's BUFLEN, less the byte for the NUL.
const TEXTBOOK_REPLY: usize = 127;

/// What a server is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Address and port; port 0 takes one from the kernel.
    pub address: SocketAddr,
    /// Reachable through the loopback device only, whatever the address is.
    pub only_loopback: bool,
    /// Size of a datagram socket's receive buffer in bytes, if not the kernel's usual one, which holds some 200
    /// datagrams of a byte: with more clients at once some are dropped, whatever the server does.
    pub rcvbuf: Option<usize>,
}

impl Place {
    fn bound(&self, kind: SockType) -> io::Result<OwnedFd> {
        let family = if self.address.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        if self.only_loopback {
            setsockopt(&fd, sockopt::BindToDevice, &OsString::from("lo"))?;
        }
        if let Some(bytes) = self.rcvbuf {
            setsockopt(&fd, sockopt::RcvBuf, &bytes)?;
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(self.address))?;
        Ok(fd)
    }

    fn stream(&self, backlog: i32) -> io::Result<TcpListener> {
        let fd = self.bound(SockType::Stream)?;
        listen(&fd, Backlog::new(backlog)?)?;
        let listener = TcpListener::from(fd);
        announce("tcp", listener.local_addr()?)?;
        Ok(listener)
    }

    fn datagram(&self) -> io::Result<UdpSocket> {
        let socket = UdpSocket::from(self.bound(SockType::Datagram)?);
        announce("udp", socket.local_addr()?)?;
        Ok(socket)
    }
}

fn announce(scheme: &str, address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{scheme}:{address}")?;
    out.flush()
}

/// Accepts, sends a constant, closes. Blocking calls in one thread: with a request always waiting, an event loop
/// would only add calls.
///
/// # Errors
/// What keeps the server from starting.
pub fn accept(place: &Place) -> io::Result<Infallible> {
    // The kernel caps this at net.core.somaxconn.
    let listener = place.stream(4096)?;
    loop {
        // accept(2): errors of one connection come up here and are not the listener's.
        if let Ok((mut connection, _)) = listener.accept() {
            let _ = connection.write(LINE);
        }
    }
}

/// Receives, sends a constant back.
///
/// # Errors
/// What keeps the server from starting.
pub fn datagram(place: &Place) -> io::Result<Infallible> {
    let socket = place.datagram()?;
    let mut byte = [0];
    loop {
        // A client that went away makes the next call fail with ECONNREFUSED; the one after is right again.
        if let Ok((_, from)) = socket.recv_from(&mut byte) {
            let _ = socket.send_to(LINE, from);
        }
    }
}

/// Receives, sends a constant back from the address that was asked (ip(7), IP_PKTINFO), as a server must whose
/// machine has more than one address.
///
/// # Errors
/// What keeps the server from starting.
pub fn datagram_pktinfo(place: &Place) -> io::Result<Infallible> {
    let socket = place.datagram()?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    let mut control = cmsg_space!(in_pktinfo);
    loop {
        // A client that went away makes the next call fail with ECONNREFUSED; the one after is right again.
        let _ = answer_from_there(&socket, &mut control);
    }
}

fn answer_from_there(socket: &UdpSocket, control: &mut [u8]) -> nix::Result<()> {
    let fd = socket.as_raw_fd();
    let mut byte = [0];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<SockaddrIn>(fd, &mut buffers, Some(control), MsgFlags::empty())?;
    let info = message.cmsgs()?.find_map(|one| match one {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(in_pktinfo {
            ipi_ifindex: 0,
            ..info
        }),
        _ => None,
    });
    let from = message.address;
    let info = info.as_ref().map(ControlMessage::Ipv4PacketInfo);
    let line = [IoSlice::new(LINE)];
    sendmsg(fd, &line, info.as_slice(), MsgFlags::empty(), from.as_ref()).map(drop)
}

/// The least that a server can do which runs a command for each connection, with its clients on the same machine:
/// on every core a thread that accepts, gives the connection to the command, waits for it, and closes.
///
/// # Errors
/// What keeps the server from starting.
pub fn exec(place: &Place) -> io::Result<Infallible> {
    let listener = place.stream(4096)?;
    thread::scope(|scope| {
        for _ in 1..thread::available_parallelism()?.get() {
            scope.spawn(|| hand_over_each(&listener));
        }
        hand_over_each(&listener)
    })
}

/// The textbook's second stream server: the command gets the connection as its output, and the server waits for it.
///
/// # Errors
/// What keeps the server from starting.
pub fn textbook_exec(place: &Place) -> io::Result<Infallible> {
    hand_over_each(&place.stream(TEXTBOOK_BACKLOG)?)
}

fn hand_over_each(listener: &TcpListener) -> ! {
    loop {
        // accept(2): errors of one connection come up here and are not the listener's. A command that cannot be
        // started leaves the client without an answer, as in the book.
        if let Ok((connection, _)) = listener.accept() {
            let _ = hand_over(connection.into());
        }
    }
}

fn hand_over(connection: OwnedFd) -> io::Result<()> {
    let mut command = Command::new(UPTIME);
    command
        .stdin(Stdio::null())
        .stderr(connection.try_clone()?)
        .stdout(connection);
    let mut child = command.spawn()?;
    // The command holds the parent's copies until it goes; the client must see the end of file when uptime ends.
    drop(command);
    child.wait().map(drop)
}

/// The textbook's first stream server: popen(3), then line by line to the client.
///
/// # Errors
/// What keeps the server from starting.
pub fn textbook_popen(place: &Place) -> io::Result<Infallible> {
    let listener = place.stream(TEXTBOOK_BACKLOG)?;
    loop {
        let Ok((mut connection, _)) = listener.accept() else {
            continue;
        };
        for line in popen().split_inclusive(|&byte| byte == b'\n') {
            let _ = connection.write(line);
        }
    }
}

/// The textbook's datagram server: popen(3), the first line in one datagram.
///
/// # Errors
/// What keeps the server from starting.
pub fn textbook_datagram(place: &Place) -> io::Result<Infallible> {
    let socket = place.datagram()?;
    let mut byte = [0];
    loop {
        if let Ok((_, from)) = socket.recv_from(&mut byte) {
            let output = popen();
            let line = output.split_inclusive(|&byte| byte == b'\n').next();
            let line = line.unwrap_or_default();
            let _ = socket.send_to(&line[..line.len().min(TEXTBOOK_REPLY)], from);
        }
    }
}

/// What the command says when a shell starts it, as popen(3) does; a failure's reason in its place.
fn popen() -> Vec<u8> {
    let read = || {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", UPTIME]).stdout(Stdio::piped());
        let mut child = shell.spawn()?;
        let mut output = Vec::with_capacity(256);
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_end(&mut output)?;
        }
        child.wait()?;
        io::Result::Ok(output)
    };
    read().unwrap_or_else(|e| format!("error: {e}\n").into_bytes())
}
