//! In: a command. Out: what one run of it has used.
//!
//! It exists because a process that a large one starts has the large one's peak memory from its beginning: exec
//! keeps the greatest there was (ru_maxrss in getrusage(2)). This program is small.

use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

/// What a command and the processes that it waited for have used.
#[derive(Debug, Clone, Copy)]
pub struct Weight {
    /// How the command ended.
    pub status: ExitStatus,
    /// From its start to its end.
    pub seconds: f64,
    /// User and system time.
    pub cpu_seconds: f64,
    /// Resident memory of the largest of the processes at its largest, in KiB.
    pub peak_kib: i64,
}

/// Runs a command once, with this program's environment, output and errors, and an empty input. Nothing else may
/// have been run before.
///
/// # Errors
/// The command cannot be started.
pub fn weigh(command: &[String]) -> io::Result<Weight> {
    let begin = Instant::now();
    let status = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .status()?;
    let seconds = begin.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds_of = |time: TimeVal| time.num_microseconds() as f64 / 1e6;
    Ok(Weight {
        status,
        seconds,
        cpu_seconds: seconds_of(usage.user_time()) + seconds_of(usage.system_time()),
        peak_kib: usage.max_rss(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_weighed() {
        let word = [
            "/bin/sh",
            "-c",
            "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 3",
        ];
        let weight = weigh(&word.map(str::to_owned)).expect("a shell");
        assert_eq!(weight.status.code(), Some(3));
        assert!(weight.seconds > 0.0 && weight.cpu_seconds > 0.0);
        assert!(weight.peak_kib > 0);
    }
}
