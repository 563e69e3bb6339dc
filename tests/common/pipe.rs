//! A pipe whose reader has gone, for certain.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

/// No process that another test has just started holds a copy for so long.
const BOUND: Duration = Duration::from_secs(30);

/// The end of a pipe that fails with EPIPE when it is written to. Another test's process may hold
/// a copy of the reader between its fork and its exec; that is waited for.
pub(crate) fn without_a_reader() -> OwnedFd {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    drop(reader);
    // POLLERR: the read end has been closed (poll(2)); it is always told.
    let mut fds = [PollFd::new(writer.as_fd(), PollFlags::empty())];
    let timeout = PollTimeout::try_from(BOUND).expect("a time-out");
    assert_eq!(poll(&mut fds, timeout), Ok(1), "somebody holds the reader");
    writer
}
