//! What the launcher has left on the standard descriptors, and above them: looked at before
//! anything is written, put in order before anything is served.

use std::fs::File;
use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{close, dup2_stderr, dup2_stdin, dup2_stdout};

/// O_CLOEXEC as /proc/PID/fdinfo/FD shows it, on every architecture that rustc knows but alpha,
/// parisc and sparc (proc_pid_fdinfo(5)).
const CLOEXEC: u64 = 0o2_000_000;

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
    /// record written there would be read by the client. Then closes what the launcher forgot.
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
        close_strays();
        Ok(())
    }
}

/// Device and inode of a socket; None for anything else, or for a closed descriptor.
fn socket_identity(fd: BorrowedFd<'_>) -> Option<(nix::libc::dev_t, nix::libc::ino_t)> {
    let stat = fstat(fd).ok()?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    (kind == SFlag::S_IFSOCK).then_some((stat.st_dev, stat.st_ino))
}

/// Closes every descriptor above 2 that a command would inherit. Everything of our own is
/// close-on-exec, so these are a launcher's leftovers. Without /proc they stay.
fn close_strays() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    let strays: Vec<RawFd> = numbers
        .filter(|number| *number > 2 && is_inheritable(*number))
        .collect();
    for stray in strays {
        // EBADF and EIO leave nothing more to do for a descriptor that nobody uses.
        let _ = close(stray);
    }
}

fn is_inheritable(number: RawFd) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    flags_of(&info).is_some_and(|flags| flags & CLOEXEC == 0)
}

fn flags_of(fdinfo: &str) -> Option<u64> {
    let octal = fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))?;
    u64::from_str_radix(octal.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_std_opens_is_not_inheritable() {
        let file = File::open("/dev/null").expect("/dev/null");
        assert!(!is_inheritable(file.as_raw_fd()));
    }

    #[test]
    fn the_flags_are_octal() {
        assert_eq!(
            flags_of("pos:\t0\nflags:\t02100002\nmnt_id:\t15\n"),
            Some(0o2_100_002)
        );
        assert_eq!(flags_of("pos:\t0\n"), None);
    }
}
