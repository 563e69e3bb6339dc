//! In: a command and a time. Out: how often it could be run in that time, on every core at once.
//!
//! The bare cost of the command is the limit of any server that runs one for each client.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Spawn {
    /// The program's path and its arguments; it inherits this program's environment.
    pub command: Vec<String>,
    /// How many at once.
    pub workers: usize,
    /// For how long.
    pub duration: Duration,
    /// Whether the output is read, or goes to /dev/null.
    pub pipe: bool,
}

impl Spawn {
    /// Runs the command until the time is over; how often, and the seconds that it took.
    ///
    /// # Errors
    /// The command cannot be started, or fails.
    pub fn run(&self) -> io::Result<(u64, f64)> {
        let begin = Instant::now();
        let end = begin + self.duration;
        let runs: io::Result<Vec<u64>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..self.workers)
                .map(|_| scope.spawn(|| self.run_until(end)))
                .collect();
            let join = |worker: thread::ScopedJoinHandle<'_, _>| {
                let panicked = |_| Err(io::Error::other("a worker panicked"));
                worker.join().unwrap_or_else(panicked)
            };
            workers.into_iter().map(join).collect()
        });
        Ok((runs?.iter().sum(), begin.elapsed().as_secs_f64()))
    }

    fn run_until(&self, end: Instant) -> io::Result<u64> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null());
        command.stdout(if self.pipe {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let mut output = Vec::with_capacity(256);
        let mut runs = 0;
        // Once at the least, however short the time: a run that tried nothing has found nothing.
        loop {
            let mut child = command.spawn()?;
            if let Some(mut stdout) = child.stdout.take() {
                output.clear();
                stdout.read_to_end(&mut output)?;
            }
            let status = child.wait()?;
            if !status.success() {
                return Err(io::Error::other(status.to_string()));
            }
            runs += 1;
            if Instant::now() >= end {
                return Ok(runs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawn(command: &[&str], pipe: bool) -> io::Result<(u64, f64)> {
        let spawn = Spawn {
            command: command.iter().map(|&word| word.to_owned()).collect(),
            workers: 2,
            duration: Duration::from_millis(1),
            pipe,
        };
        spawn.run()
    }

    #[test]
    fn every_worker_runs_the_command_at_least_once() {
        for pipe in [false, true] {
            assert!(spawn(&["/bin/echo", "x"], pipe).unwrap().0 >= 2);
        }
    }

    #[test]
    fn a_failing_or_missing_command_is_no_figure() {
        assert!(spawn(&["/bin/false"], false).is_err());
        assert!(spawn(&["/nonexistent/uptime"], false).is_err());
    }
}
