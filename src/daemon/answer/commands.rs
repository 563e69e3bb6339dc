//! The commands and what has come of them: a hand-off starts them here, and says here how each
//! has ended, so that both count and report alike.

use std::fmt::Display;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::children::{Children, Exited, Late};
use super::command::{Command, words};
use super::{Answered, Purpose};
use crate::daemon::logging as log;
use crate::daemon::logging::fault::Fault;
use crate::daemon::sys::Ending;

/// Why there is no answer for those who still wait when a stop has taken its time.
pub(crate) const LEAVING: &str = "stopped, as ruptimed is leaving";

/// The commands, and the counts and faults of all of them.
pub(crate) struct Commands {
    command: Command,
    pub(super) children: Children<Purpose>,
    /// Requests whose command went well.
    pub(super) answered: u64,
    /// Requests whose command could not be started, failed or was stopped.
    pub(super) failed: u64,
    starting: Fault,
    ending: Fault,
    timeout: Fault,
}

impl Commands {
    pub(crate) fn new(command: Command, children: Children<Purpose>) -> Self {
        Commands {
            command,
            children,
            answered: 0,
            failed: 0,
            starting: Fault::default(),
            ending: Fault::default(),
            timeout: Fault::default(),
        }
    }

    /// Starts a command with its output on `output`. Gives the time after that, since hundreds may
    /// be started in one turn of the loop.
    ///
    /// # Errors
    /// Those of [`Command::spawn`], which are recorded here.
    pub(super) fn spawn(&mut self, output: BorrowedFd<'_>) -> Result<(Pid, Instant), Errno> {
        let spawned = self.command.spawn(output);
        let now = Instant::now();
        let pid = spawned.inspect_err(|errno| self.not_started(*errno, now))?;
        if let Some(failures) = self.starting.ok() {
            log::spawn_recovered(failures, &self.command);
        }
        Ok((pid, now))
    }

    /// Records that a command could not be started.
    pub(super) fn not_started(&mut self, errno: Errno, now: Instant) {
        log::spawn_failed(self.starting.fail(now), &self.command, words(errno), errno);
    }

    /// The answer where there is none.
    pub(super) fn error(&self, reason: &str) -> Arc<[u8]> {
        self.command.error(reason)
    }

    /// Counts requests that are answered, well or not, and gives their answer.
    pub(super) fn answer<W>(
        &mut self,
        clients: Vec<W>,
        well: bool,
        reply: Option<Arc<[u8]>>,
    ) -> Answered<W> {
        if well {
            self.answered += clients.len() as u64;
            self.timeout.ok();
        } else {
            self.failed += clients.len() as u64;
        }
        Answered { clients, reply }
    }

    /// The same where the reason why there is no answer is the answer.
    pub(super) fn refuse<W>(&mut self, clients: Vec<W>, why: &str) -> Answered<W> {
        let reply = self.error(why);
        self.answer(clients, false, Some(reply))
    }

    /// Records how a command has ended by itself.
    pub(super) fn ended(&mut self, client: &dyn Display, exited: &Exited, now: Instant) {
        let failure = if exited.ending == Ending::Exited(0) {
            self.ending.ok();
            None
        } else {
            Some(self.ending.fail(now))
        };
        let Exited { pid, ending, took } = *exited;
        log::ended(failure, client, pid, &ending, ending.code(), took);
    }

    /// Records that a command is being stopped, and gives the reason.
    pub(super) fn too_late(&mut self, client: &dyn Display, late: Late, now: Instant) -> String {
        if late.is_cut_short {
            log::cut_short(client, late.pid);
            return LEAVING.to_owned();
        }
        let timeout = self.children.timeout();
        log::timed_out(self.timeout.fail(now), client, late.pid, timeout);
        let seconds = timeout.as_secs_f64();
        format!("stopped, as it did not end within {seconds} s")
    }
}
