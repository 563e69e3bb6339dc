//! The signals that mean something to `--watch`, read as they come from a signalfd(2).

use std::fs;
use std::io;
use std::os::fd::AsFd as _;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::net::unix::pipe::Receiver;

/// Something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// SIGINT (Ctrl-C), SIGTERM, SIGHUP; with a screen SIGQUIT.
    Leave,
    /// SIGWINCH: the terminal has another size.
    Resized,
    /// SIGTSTP: Ctrl-Z.
    Suspend,
}

const LEAVE: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
/// These only where there is a screen, which has to be left in order.
const SCREEN: [Signal; 3] = [Signal::SIGQUIT, Signal::SIGWINCH, Signal::SIGTSTP];

/// The size of `struct signalfd_siginfo`; its first field is the signal's number.
const RECORD: usize = 128;

/// The signals, from now on ours.
#[derive(Debug)]
pub(crate) struct Signals(Receiver);

impl Signals {
    /// Takes the signals over, those of a `screen` too. What was ignored from the start stays so,
    /// as under nohup(1). Threads that start later inherit the mask.
    ///
    /// # Errors
    /// This machine is short of descriptors or memory.
    pub(crate) fn take(screen: bool) -> io::Result<Signals> {
        let wanted = LEAVE.iter().chain(SCREEN.iter().filter(|_| screen));
        let ignored = ignored();
        let mask: SigSet = wanted
            .filter(|n| !has(ignored, **n as i32))
            .copied()
            .collect();
        mask.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let fd = SignalFd::with_flags(&mask, flags)?;
        // It is read as a pipe is: whole records, or EAGAIN.
        Receiver::from_owned_fd_unchecked(fd.as_fd().try_clone_to_owned()?).map(Signals)
    }

    /// The next one.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub(crate) async fn next(&mut self) -> io::Result<Event> {
        let mut record = [0; RECORD];
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut record) {
                Ok(RECORD) => {}
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            let [a, b, c, d, ..] = record;
            let number = i32::from_ne_bytes([a, b, c, d]);
            return Ok(match Signal::try_from(number) {
                Ok(Signal::SIGWINCH) => Event::Resized,
                Ok(Signal::SIGTSTP) => Event::Suspend,
                _ => Event::Leave,
            });
        }
    }
}

/// The signals that are ignored, a bit each; proc(5). Without /proc, none.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    mask(&status)
}

fn mask(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn has(mask: u64, number: i32) -> bool {
    (1..=64).contains(&number) && mask >> (number - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_proc() {
        // SIGHUP and SIGPIPE.
        let mask = mask("Name:\truptime\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n");
        assert!(has(mask, 1) && has(mask, 13) && !has(mask, 2) && !has(mask, 0));
        assert_eq!(super::mask(""), 0);
        // The Rust runtime's own.
        assert!(has(ignored(), Signal::SIGPIPE as i32));
    }
}
