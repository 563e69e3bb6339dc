//! Faults on demand: a call, an errno and a count go in, a running process that cannot make that
//! call any more comes out, until the fault is ended. strace(1) attaches to it and injects.

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::process::{Launch, Process};
use crate::common::temp::TempDir;
use crate::common::wait_until;

/// How often the call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    /// So many times, and then no more.
    First(u32),
    /// Each time, until the fault is ended.
    Always,
}

/// A fault that lasts until it is ended or dropped.
pub(crate) struct Fault {
    pid: Pid,
    tracer: Process,
    record: PathBuf,
    _dir: TempDir,
}

/// The options of strace that make `call` fail. The call is traced, since what is not traced is
/// not tampered with; `?` before a name lets it be missing on this machine.
fn injection(call: &str, errno: &str, times: Times) -> [String; 2] {
    let when = match times {
        Times::First(count) => format!("1..{count}"),
        Times::Always => "1+".to_owned(),
    };
    [
        format!("--trace={call}"),
        format!("--inject={call}:error={errno}:when={when}"),
    ]
}

impl Fault {
    /// Makes `call` fail in a running process from now on; not in what it starts.
    pub(crate) fn begin(pid: Pid, call: &str, errno: &str, times: Times) -> Fault {
        let dir = TempDir::new();
        let record = dir.join("calls");
        let mut tracer = Launch::new("strace")
            .args(injection(call, errno, times))
            .args(["-o", &dir.text("calls"), "-p", &pid.to_string()])
            .start();
        tracer.wait_for_stderr("attached");
        Fault {
            pid,
            tracer,
            record,
            _dir: dir,
        }
    }

    /// How many calls have failed by it so far.
    pub(crate) fn injected(&self) -> usize {
        self.record().matches("(INJECTED)").count()
    }

    /// Ends the fault: the process is let go, and its calls are its own again.
    ///
    /// It is let go while it stands still, which it does between two calls: strace has a call fail
    /// by making it one that there is not, and whoever is let go within it meets ENOSYS.
    pub(crate) fn end(mut self) {
        kill(self.pid, Signal::SIGSTOP).expect("a process of our own");
        wait_until("the process stands still", || {
            self.tracer.has_ended() || self.record().contains("--- stopped by SIGSTOP ---")
        });
        if !self.tracer.has_ended() {
            self.tracer.signal(Signal::SIGTERM);
            wait_until("the end of strace", || self.tracer.has_ended());
        }
        kill(self.pid, Signal::SIGCONT).expect("a process of our own");
    }

    /// The calls, and the signals.
    fn record(&self) -> String {
        std::fs::read_to_string(&self.record).unwrap_or_default()
    }
}

/// A program to be started with a call that fails from its first instruction on.
pub(crate) fn launch_with(call: &str, errno: &str, only_on: Option<&str>) -> Launch {
    let launch = Launch::new("strace")
        .args(injection(call, errno, Times::Always))
        .args(["-o", "/dev/null"]);
    match only_on {
        Some(path) => launch.args(["-P", path]),
        None => launch,
    }
}
