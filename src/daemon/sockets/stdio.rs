//! What the launcher has left on the standard descriptors: looked at before anything is written, put
//! in order before anything is served.

use std::fs::File;
use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Which of the standard descriptors are the socket that an inetd put on standard input.
pub(crate) struct Stdio {
    stdout_is_connection: bool,
    pub(crate) stderr_is_connection: bool,
}

impl Stdio {
    /// Looks at descriptors 0 to 2. inetd puts the connection on all three.
    pub(crate) fn look() -> Self {
        let connection = socket_identity(stdin().as_fd());
        let is_connection =
            |fd: BorrowedFd<'_>| connection.is_some() && socket_identity(fd) == connection;
        Stdio {
            stdout_is_connection: is_connection(stdout().as_fd()),
            stderr_is_connection: is_connection(stderr().as_fd()),
        }
    }

    /// Puts the null device on standard input, where every command inherits it, and on whatever
    /// else is the client's connection: a copy kept there would keep the connection open, and a
    /// record written there would be read by the client.
    ///
    /// # Errors
    /// Those of opening /dev/null and of dup2(2).
    pub(crate) fn detach(&self) -> std::io::Result<()> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        dup2_stdin(&null)?;
        if self.stdout_is_connection {
            dup2_stdout(&null)?;
        }
        if self.stderr_is_connection {
            dup2_stderr(&null)?;
        }
        Ok(())
    }
}

/// Device and inode of a socket; None for anything else, or for a closed descriptor.
fn socket_identity(fd: BorrowedFd<'_>) -> Option<(nix::libc::dev_t, nix::libc::ino_t)> {
    let stat = fstat(fd).ok()?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    (kind == SFlag::S_IFSOCK).then_some((stat.st_dev, stat.st_ino))
}
