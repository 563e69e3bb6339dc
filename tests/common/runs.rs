//! A command that counts its runs and waits for a word before it answers, so that a test decides
//! what comes before what, and waits for nothing by the clock.

// Each test program uses its own part of this.
use std::fs::{File, OpenOptions, read_to_string};
use std::io::Write;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::common::temp::TempDir;
use crate::common::wait_until;

/// Answers `run NUMBER`, once it may.
pub(crate) const GATED: &str = "
    echo >>$0/runs
    number=0
    while read -r _; do number=$((number + 1)); done <$0/runs
    read -r _ <$0/gate
    echo run $number";

/// Answers `run NUMBER` at once.
pub(crate) const COUNTED: &str = "
    echo >>$0/runs
    number=0
    while read -r _; do number=$((number + 1)); done <$0/runs
    echo run $number";

/// The folder in which runs are counted, and the gate that they wait at.
pub(crate) struct Runs {
    dir: TempDir,
    /// A pipe with a name (fifo(7)). This end is open for reading too, so nobody waits to open
    /// it and nobody meets its end while the test lives: every line lets one run go on.
    gate: File,
}

impl Runs {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new();
        let path = dir.join("gate");
        mkfifo(&path, Mode::S_IRWXU).expect("a named pipe");
        let gate = OpenOptions::new().read(true).write(true).open(path);
        Runs {
            dir,
            gate: gate.expect("a named pipe"),
        }
    }

    /// What `$0` is to be in the command.
    pub(crate) fn path(&self) -> String {
        self.dir.path().display().to_string()
    }

    pub(crate) fn dir(&self) -> &TempDir {
        &self.dir
    }

    /// How many have started.
    pub(crate) fn count(&self) -> usize {
        read_to_string(self.dir.join("runs")).map_or(0, |runs| runs.lines().count())
    }

    /// Waits until this one has started.
    pub(crate) fn wait_for(&self, number: usize) {
        wait_until(&format!("run {number} starts"), || self.count() >= number);
    }

    /// Lets so many runs go on.
    pub(crate) fn release(&self, runs: usize) {
        (&self.gate)
            .write_all(&vec![b'\n'; runs])
            .expect("room in the pipe");
    }
}
