//! Whether somebody else takes what is to be written, so that the only thread never waits for
//! them: descriptors and socket names come in, yes or no comes out.
//!
//! A log that nobody reads, a stopped journald or a manager that is busy must not stop the daemon
//! from serving. The crate that writes to the service manager opens a socket of its own for each
//! message, and waits, so the manager's queue is looked at first.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// True where a short write to this descriptor would not wait: a pipe with room for PIPE_BUF
/// bytes (pipe(7)), any file, a terminal that is not stopped. True also where poll(2) cannot tell.
pub(crate) fn takes_a_line(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    match poll(&mut fds, PollTimeout::ZERO) {
        // POLLERR and POLLHUP: the write fails, and does not wait.
        Ok(count) => count > 0,
        Err(_) => true,
    }
}

/// The address of a UNIX socket; names that begin with @ are abstract, as in `$NOTIFY_SOCKET`
/// (sd_notify(3)).
pub(crate) fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

/// True where the UNIX datagram socket of that name has room in its queue, or where a send would
/// fail at once.
pub(crate) fn takes_a_datagram(name: &OsStr) -> bool {
    // What is no UNIX socket (vsock:, which sd_notify knows too) has another kind of queue.
    let Ok(address) = address(name) else {
        return true;
    };
    let Ok(probe) = UnixDatagram::unbound() else {
        return true;
    };
    match probe.connect_addr(&address) {
        Ok(()) => takes_a_line(probe.as_fd()),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_full_pipe_takes_no_line() {
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        let mut writer = std::fs::File::from(writer);
        assert!(takes_a_line(writer.as_fd()));
        crate::daemon::sockets::set_nonblocking(writer.as_fd(), true).expect("non-blocking");
        while writer.write(&[b'x'; 4096]).is_ok() {}
        assert!(!takes_a_line(writer.as_fd()));
        drop(reader);
        assert!(
            takes_a_line(writer.as_fd()),
            "a write fails now, and does not wait"
        );
    }

    #[test]
    fn a_full_queue_takes_no_datagram() {
        let name = format!("ruptime-queue-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let written = format!("@{name}");
        assert!(
            takes_a_datagram(OsStr::new(&written)),
            "nobody is there, so a send fails at once"
        );
        let reader = UnixDatagram::bind_addr(&address).expect("bound");
        assert!(takes_a_datagram(OsStr::new(&written)));
        let writer = UnixDatagram::unbound().expect("a socket");
        writer.set_nonblocking(true).expect("non-blocking");
        while writer.send_to_addr(b"x", &address).is_ok() {}
        assert!(!takes_a_datagram(OsStr::new(&written)));
        reader.recv(&mut [0; 8]).expect("one");
        while reader.set_nonblocking(true).is_ok() && reader.recv(&mut [0; 8]).is_ok() {}
        assert!(takes_a_datagram(OsStr::new(&written)));
    }
}
