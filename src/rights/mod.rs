//! Passed descriptors (SCM_RIGHTS, unix(7)): nobody here wants them, and dropping them may sleep.
//!
//! A message that carries descriptors is laden with whatever their last close does: a TCP socket with
//! SO_LINGER and unsent data sleeps for as long as its owner has set, a file on a network that is
//! gone even longer. Who receives such a message without wanting its descriptors makes that close,
//! and so does who closes a socket in whose queue it is. So such messages are refused where the
//! kernel can (SO_PASSRIGHTS, Linux 6.16). Elsewhere two rules hold on a thread that others wait for:
//! a UNIX socket is read by [`receive_unladen`], which takes no laden message, and closed by
//! [`release`], which knows whether one is left.
#![allow(unsafe_code)]

pub(crate) mod alarm;
pub(crate) mod worker;

use std::cell::RefCell;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    MsgFlags, Shutdown, SockType, getsockopt, recv, recvmsg, setsockopt, shutdown, sockopt,
};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};

use self::alarm::Alarm;
use self::worker::Worker;

/// Reads that empty any queue: 16 KiB or a message each, of which a queue holds some hundred.
const QUEUED: usize = 1024;

/// `SO_PASSRIGHTS` of asm/socket.h, which libc does not have yet.
#[cfg(not(any(target_arch = "sparc", target_arch = "sparc64")))]
const SO_PASSRIGHTS: libc::c_int = 83;
#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
const SO_PASSRIGHTS: libc::c_int = 0x5c;
sockopt_impl!(PassRights, Both, libc::SOL_SOCKET, SO_PASSRIGHTS, bool);

/// Whether the kernel refuses descriptors that are passed to a UNIX socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It did before, and none can be in the queue.
    Before,
    /// From now on; what was queued before is there still.
    FromNow,
    /// It cannot.
    Never,
}

/// Has the kernel refuse descriptors that are passed to this UNIX socket: their sender gets EPERM.
/// Sockets that are accepted from a listener inherit it.
pub(crate) fn refuse(socket: BorrowedFd<'_>) -> Refusal {
    let refusal = match getsockopt(&socket, PassRights) {
        Ok(false) => return Refusal::Before,
        Ok(true) if setsockopt(&socket, PassRights, &false).is_ok() => Refusal::FromNow,
        // ENOPROTOOPT: Linux before 6.16. EOPNOTSUPP: not a UNIX socket.
        _ => Refusal::Never,
    };
    // A peek does not see out-of-band data unless it has its place among the rest.
    let _ = setsockopt(&socket, sockopt::OobInline, &true);
    refusal
}

/// Receives like recv(2), without waiting, but takes only what no descriptors come with: a peek
/// leaves them where they are, and reports what there is no room for (recvmsg(2), MSG_CTRUNC). Only
/// this thread may receive from the socket meanwhile.
///
/// # Errors
/// Those of recv(2); EPROTO where the next message carries descriptors: it stays in the queue.
pub(crate) fn receive_unladen(socket: i32, buffer: &mut [u8], flags: MsgFlags) -> Result<usize> {
    let mut iov = [IoSliceMut::new(buffer)];
    let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket, &mut iov, None, peek)?;
    let (length, seen) = (message.bytes, message.flags);
    if seen.contains(MsgFlags::MSG_CTRUNC) {
        return Err(Errno::EPROTO);
    }
    // No more than was seen. Where that is nothing, an empty packet or the end is next.
    recv(
        socket,
        &mut buffer[..length],
        flags | MsgFlags::MSG_DONTWAIT,
    )
}

thread_local! {
    static RELEASER: RefCell<Releaser> = RefCell::new(Releaser::new());
}

/// Closes a UNIX connection whose queue may be laden, without ever sleeping in the caller's thread.
pub(crate) fn release(connection: OwnedFd) {
    RELEASER.with_borrow_mut(|releaser| releaser.release(connection));
}

/// How many connections of the caller's thread wait to be closed; each has its descriptor.
#[cfg(feature = "daemon")]
pub(crate) fn unreleased() -> usize {
    RELEASER.with_borrow(|releaser| releaser.worker.len())
}

/// Tries again to start the thread that closes them, if that has failed.
#[cfg(feature = "daemon")]
pub(crate) fn start_releaser() {
    RELEASER.with_borrow_mut(|releaser| releaser.worker.start());
}

/// True unless the kernel says that no descriptor is in the receive queue of this UNIX socket:
/// `scm_fds` in /proc/self/fdinfo (proc_pid_fdinfo(5); Linux 5.8), which counts those of empty and
/// out-of-band messages, too.
pub(crate) fn may_be_queued(socket: BorrowedFd<'_>) -> bool {
    let path = format!("/proc/self/fdinfo/{}", socket.as_raw_fd());
    // No /proc, no descriptor or memory left: nobody knows.
    let info = std::fs::read_to_string(path).unwrap_or_default();
    let count = info.lines().find_map(|line| line.strip_prefix("scm_fds:"));
    count.is_none_or(|count| count.trim() != "0")
}

/// What closes the connections of one thread.
struct Releaser {
    worker: Worker,
    /// Of the caller's thread. Before Linux 6.9 any close of a UNIX socket may collect the garbage
    /// of strangers, whose lingering sockets then sleep here (unix_gc).
    alarm: Option<Alarm>,
}

impl Releaser {
    fn new() -> Self {
        Releaser {
            worker: Worker::alarmed("release"),
            alarm: None,
        }
    }

    /// Keeps the peer from sending, reads and throws away what it has sent, and closes: here, or in
    /// a thread where that may sleep.
    fn release(&mut self, connection: OwnedFd) {
        // ENOTCONN: it has gone, and can queue nothing more either.
        let _ = shutdown(connection.as_raw_fd(), Shutdown::Read);
        if may_be_queued(connection.as_fd()) {
            return self.worker.run(move || drain_and_close(connection));
        }
        if self.alarm.is_none() {
            self.alarm = Alarm::for_this_thread();
        }
        match &mut self.alarm {
            Some(alarm) => alarm.during(|| drain_and_close(connection)),
            None => drain_and_close(connection),
        }
    }
}

/// Unread data would have the client's next read fail (ECONNRESET), and the client of a packet
/// socket would lose the reply with it: so what is in the queue is read before the close. The peer
/// has been kept from sending, so that the queue has an end.
///
/// What is passed is not received: descriptors that come without room for them are dropped, and
/// dropping, unlike close(2), does not wait for a file to be flushed.
fn drain_and_close(connection: OwnedFd) {
    // An empty packet reads like the end.
    let packets = getsockopt(&connection, sockopt::SockType) == Ok(SockType::SeqPacket);
    let mut buffer = [0; 16 << 10];
    for _ in 0..QUEUED {
        match recv(connection.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) if !packets => break,
            Ok(_) | Err(Errno::EINTR) => {}
            // EAGAIN: empty. ECONNRESET: the client has closed with our reply unread.
            Err(_) => break,
        }
    }
    drop(connection);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::{IoSlice, Read, Write};
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{AddressFamily, ControlMessage, SockFlag, send, sendmsg, socketpair};

    /// Passes a descriptor with a byte.
    pub(crate) fn pass(to: &impl AsRawFd, from: &UnixStream, flags: MsgFlags) -> Result<usize> {
        let fds = [from.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&fds)];
        let content = [IoSlice::new(b"x")];
        let flags = flags | MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(to.as_raw_fd(), &content, &control, flags, None)
    }

    /// Has the releaser of this thread hang until the other end is dropped.
    #[cfg(feature = "daemon")]
    pub(crate) fn hang() -> std::sync::mpsc::Sender<()> {
        let (gate, wait) = std::sync::mpsc::channel();
        let job = move || assert!(wait.recv().is_err());
        RELEASER.with_borrow_mut(|releaser| releaser.worker.run(job));
        gate
    }

    #[test]
    fn what_was_passed_before_is_known() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let (passed, _other) = UnixStream::pair().expect("a pair");
        assert!(!may_be_queued(ours.as_fd()));
        theirs.write_all(b"hello").expect("written");
        assert!(!may_be_queued(ours.as_fd()), "bytes are no descriptors");
        pass(&theirs, &passed, MsgFlags::empty()).expect("passed");
        assert!(may_be_queued(ours.as_fd()));
        let refusal = refuse(ours.as_fd());
        assert_ne!(refusal, Refusal::Before, "there is one already");
        // Where the kernel can refuse them, it does from now on.
        if refusal == Refusal::FromNow {
            assert_eq!(pass(&theirs, &passed, MsgFlags::empty()), Err(Errno::EPERM));
            assert_eq!(refuse(ours.as_fd()), Refusal::Before);
        }
    }

    #[test]
    fn what_is_laden_is_not_received() {
        let now = MsgFlags::empty();
        for (kind, passing) in [
            (SockType::Stream, now),
            (SockType::Stream, MsgFlags::MSG_OOB),
            (SockType::SeqPacket, now),
            (SockType::Datagram, now),
        ] {
            let pair = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC);
            let (ours, theirs) = pair.expect("a pair");
            let (passed, mut other) = UnixStream::pair().expect("a pair");
            // As refuse() does where the kernel cannot.
            setsockopt(&ours, sockopt::OobInline, &true).expect("SO_OOBINLINE");
            let mut buffer = [0; 8];
            let mut receive = || receive_unladen(ours.as_raw_fd(), &mut buffer, now);
            assert_eq!(receive(), Err(Errno::EAGAIN), "{kind:?}");
            assert_eq!(send(theirs.as_raw_fd(), b"hello, world", now), Ok(12));
            assert_eq!(receive(), Ok(8), "{kind:?}");
            if kind == SockType::Stream {
                assert_eq!(receive(), Ok(4));
            } else {
                // An empty packet, and not the end.
                assert_eq!(send(theirs.as_raw_fd(), b"", now), Ok(0));
                assert_eq!(receive(), Ok(0));
            }
            pass(&theirs, &passed, passing).expect("passed");
            drop(passed);
            for _ in 0..2 {
                assert_eq!(receive(), Err(Errno::EPROTO), "{kind:?} {passing:?}");
            }
            other.set_nonblocking(true).expect("non-blocking");
            let open = other
                .read(&mut [0])
                .expect_err("what was passed is still open");
            assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_released_connection_is_read_and_closed() {
        for laden in [false, true] {
            let mut releaser = Releaser::new();
            let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
            let (passed, mut other) = UnixStream::pair().expect("a pair");
            theirs.write_all(b"hello").expect("written");
            if laden {
                pass(&theirs, &passed, MsgFlags::empty()).expect("passed");
            }
            drop(passed);
            ours.write_all(b"up").expect("written");
            releaser.release(ours.into());
            let mut reply = String::new();
            theirs.read_to_string(&mut reply).expect("no reset");
            assert_eq!(reply, "up");
            assert_eq!(other.read(&mut [0]).expect("closed"), 0, "{laden}");
            while releaser.worker.len() > 0 {
                std::thread::yield_now();
            }
        }
    }
}
