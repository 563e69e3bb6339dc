//! Messages that carry descriptors whose last close takes long, passed by a hostile client.

use std::io::{ErrorKind, IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc::linger;
use nix::sys::inotify::{InitFlags, Inotify};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};

/// A TCP socket whose last close sleeps for eleven days: it lingers, with data that its peer, which
/// lives as long as this, does not read.
pub(crate) struct Lingering {
    socket: TcpStream,
    peer: TcpStream,
}

impl Lingering {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        // Small, since tests make hundreds of these.
        setsockopt(&listener, sockopt::RcvBuf, &4096).expect("SO_RCVBUF");
        let mut socket = TcpStream::connect(address).expect("a connection");
        let (peer, _) = listener.accept().expect("its other end");
        setsockopt(&socket, sockopt::SndBuf, &4096).expect("SO_SNDBUF");
        socket.set_nonblocking(true).expect("non-blocking");
        loop {
            match socket.write(&[0; 64 << 10]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("filling a socket: {error}"),
            }
        }
        let long = linger {
            l_onoff: 1,
            l_linger: 1_000_000,
        };
        setsockopt(&socket, sockopt::Linger, &long).expect("SO_LINGER");
        Lingering { socket, peer }
    }

    /// Passes the socket away with a message, so that whoever drops the message makes its last
    /// close, and gives its other end, which is to be kept. EPERM where the kernel refuses.
    pub(crate) fn pass(self, to: &impl AsRawFd) -> nix::Result<TcpStream> {
        let passed = pass(to, &[self.socket.as_raw_fd()]);
        if passed.is_err() {
            // It is closed here then, which must not sleep.
            let none = linger {
                l_onoff: 0,
                l_linger: 0,
            };
            setsockopt(&self.socket, sockopt::Linger, &none).expect("SO_LINGER");
        }
        // Where the message has been dropped already, this is the last close, and sleeps until the
        // peer is closed.
        let socket = self.socket;
        std::thread::spawn(move || drop(socket));
        passed.map(|()| self.peer)
    }
}

/// Passes descriptors that take long to release for another reason: a grace period of the kernel's
/// for each of them.
pub(crate) fn pass_inotify(to: &impl AsRawFd, count: usize) -> nix::Result<()> {
    let all: Vec<Inotify> = (0..count)
        .map(|_| Inotify::init(InitFlags::IN_CLOEXEC).expect("an inotify"))
        .collect();
    let fds: Vec<OwnedFd> = all.into_iter().map(OwnedFd::from).collect();
    let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    pass(to, &numbers)
}

fn pass(to: &impl AsRawFd, numbers: &[i32]) -> nix::Result<()> {
    let content = [IoSlice::new(b"?")];
    let control = [ControlMessage::ScmRights(numbers)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(to.as_raw_fd(), &content, &control, flags, None).map(drop)
}
