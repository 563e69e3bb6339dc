//! The commands that run now: process numbers come in; those that have ended, or whose time is
//! over, come out, each with what it runs for.
//!
//! A command's time ends with SIGTERM to its process group, and with SIGKILL a second later.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::daemon::sys::{Ending, find_zombie};

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

impl Ending {
    /// The exit status as in a shell: 128 plus the signal's number for a killed command.
    pub(crate) fn code(self) -> i32 {
        match self {
            Ending::Exited(code) => code,
            Ending::Killed(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ending::Exited(code) => write!(f, "exit status {code}"),
            Ending::Killed(signal) => match Signal::try_from(signal) {
                Ok(name) => write!(f, "killed by {name}"),
                Err(_) => write!(f, "killed by signal {signal}"),
            },
        }
    }
}

/// Which limit a command counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// `--max-children`.
    Connection,
    /// The place beside it that a shared run has to itself, so that neither runs nor connections
    /// keep the others waiting. A run that finds the command of an earlier one still there, stopped
    /// or silent, needs one of the others.
    Run,
}

struct Child<T> {
    /// None once its time is over: its clients have been answered.
    purpose: Option<T>,
    slot: Slot,
    started: Instant,
    /// When the next signal is due; None after SIGKILL.
    deadline: Option<Instant>,
    is_stopped: bool,
}

/// A command whose time is over, and which is being stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Late {
    pub(crate) pid: Pid,
    /// It has not had its whole time: [`Children::end_by`] has cut it short.
    pub(crate) is_cut_short: bool,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Exited {
    pub(crate) pid: Pid,
    pub(crate) ending: Ending,
    pub(crate) took: Duration,
}

/// The commands that run now, each with what it runs for.
pub(crate) struct Children<T> {
    running: HashMap<Pid, Child<T>>,
    /// How many of them are shared runs.
    runs: usize,
    limit: usize,
    deadlines: BTreeSet<(Instant, Pid)>,
    timeout: Duration,
    /// No command has time beyond this.
    end_by: Option<Instant>,
}

impl<T> Children<T> {
    /// `limit` commands at once and one shared run besides, each for `timeout` at most.
    pub(crate) fn new(limit: usize, timeout: Duration) -> Self {
        Children {
            running: HashMap::new(),
            runs: 0,
            limit,
            deadlines: BTreeSet::new(),
            timeout,
            end_by: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// True where one more command may be started.
    pub(crate) fn has_room(&self, slot: Slot) -> bool {
        match slot {
            Slot::Connection => self.running.len() - self.runs.min(1) < self.limit,
            Slot::Run => self.runs == 0 || self.running.len() < self.limit,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn insert(&mut self, pid: Pid, purpose: T, slot: Slot, now: Instant) {
        let own = now + self.timeout;
        let deadline = self.end_by.map_or(own, |end| end.min(own));
        self.deadlines.insert((deadline, pid));
        self.runs += usize::from(slot == Slot::Run);
        let child = Child {
            purpose: Some(purpose),
            slot,
            started: now,
            deadline: Some(deadline),
            is_stopped: false,
        };
        self.running.insert(pid, child);
    }

    /// From now on no command has time beyond `end`, whenever it was started.
    pub(crate) fn end_by(&mut self, end: Instant) {
        self.end_by = Some(end);
        for (pid, child) in &mut self.running {
            let Some(deadline) = child.deadline.as_mut().filter(|_| !child.is_stopped) else {
                continue;
            };
            if *deadline > end {
                self.deadlines.remove(&(*deadline, *pid));
                *deadline = end;
                self.deadlines.insert((end, *pid));
            }
        }
    }

    /// When [`Self::next_late`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Signals the process groups whose time is over, and gives the next command that is stopped
    /// by that, with what it ran for. Each is given once, at its SIGTERM.
    pub(crate) fn next_late(&mut self, now: Instant) -> Option<(Late, T)> {
        while let Some(&(at, pid)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, pid));
            let Some(child) = self.running.get_mut(&pid) else {
                continue;
            };
            let is_cut_short = now < child.started + self.timeout;
            let purpose = child.purpose.take();
            self.signal(pid, now);
            if let Some(purpose) = purpose {
                return Some((Late { pid, is_cut_short }, purpose));
            }
        }
        None
    }

    /// Stops one command before its time, as a time-out would; its clients have been answered.
    pub(crate) fn stop(&mut self, pid: Pid, now: Instant) {
        if let Some(child) = self.running.get_mut(&pid).filter(|child| !child.is_stopped) {
            child.purpose = None;
            if let Some(at) = child.deadline.take() {
                self.deadlines.remove(&(at, pid));
            }
            self.signal(pid, now);
        }
    }

    /// Sends SIGTERM, or SIGKILL the second time, and sets the next deadline.
    fn signal(&mut self, pid: Pid, now: Instant) {
        let Some(child) = self.running.get_mut(&pid) else {
            return;
        };
        let again = std::mem::replace(&mut child.is_stopped, true);
        signal_group(pid, again);
        child.deadline = (!again).then(|| now + GRACE);
        self.deadlines.extend(child.deadline.map(|at| (at, pid)));
    }

    /// Takes the next command that has ended, if there is one, and what it ran for.
    pub(crate) fn reap(&mut self) -> Option<(Option<T>, Exited)> {
        self.reap_by(|| find_zombie(None))
    }

    /// It is looked at before it is reaped: as long as the leader is not reaped its number cannot
    /// be given to another group, so what is left of a group whose time was over is killed first.
    fn reap_by(
        &mut self,
        find: impl Fn() -> nix::Result<Option<(Pid, Ending)>>,
    ) -> Option<(Option<T>, Exited)> {
        loop {
            let (pid, ending) = match find() {
                Ok(zombie) => zombie?,
                Err(Errno::EINTR) => continue,
                // No child is left.
                Err(Errno::ECHILD) => return None,
                // wait(2) has no other for these arguments, but a filter of system calls may.
                Err(_) => return self.reap_known(),
            };
            if self.running.get(&pid).is_some_and(|child| child.is_stopped) {
                // ESRCH: only the leader was left.
                let _ = killpg(pid, Signal::SIGKILL);
            }
            // How it ended is known; nix fails for a real-time signal, but has reaped it.
            let _ = waitpid(pid, None);
            // A child that is not ours to answer for was there before the exec that made us, or
            // is an orphan that became PID 1's.
            if let Some(ended) = self.remove(pid, ending) {
                return Some(ended);
            }
        }
    }

    /// The same by wait4(2), for the commands alone: orphans stay, and what a stopped command leaves
    /// of its group.
    fn reap_known(&mut self) -> Option<(Option<T>, Exited)> {
        let look = |pid: &Pid| match waitpid(*pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Some((*pid, Ending::Exited(code))),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some((*pid, Ending::Killed(signal as i32))),
            // nix has reaped it, and has no name for its real-time signal; or it has gone.
            Err(Errno::EINVAL | Errno::ECHILD) => Some((*pid, Ending::Killed(0))),
            Ok(_) | Err(_) => None,
        };
        let (pid, ending) = self.running.keys().find_map(look)?;
        self.remove(pid, ending)
    }

    fn remove(&mut self, pid: Pid, ending: Ending) -> Option<(Option<T>, Exited)> {
        let child = self.running.remove(&pid)?;
        self.runs -= usize::from(child.slot == Slot::Run);
        if let Some(at) = child.deadline {
            self.deadlines.remove(&(at, pid));
        }
        let took = child.started.elapsed();
        Some((child.purpose, Exited { pid, ending, took }))
    }
}

fn signal_group(pid: Pid, again: bool) {
    let signal = if again {
        Signal::SIGKILL
    } else {
        Signal::SIGTERM
    };
    // EPERM: it has become another user's (set-user-ID); nothing more can be done about it.
    let group = killpg(pid, signal);
    // It may have moved to another group, and left its own (ESRCH) or others in it. It is not
    // reaped yet, so the number is still its own.
    if again || group == Err(Errno::ESRCH) {
        let _ = kill(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::answer::command::Command;
    use std::os::fd::AsFd;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn start(script: &str) -> Pid {
        let mut command = Command::new(&["/bin/sh", "-c", script].map(Into::into)).expect("it");
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        let pid = command.spawn(writer.as_fd()).expect("started");
        drop(writer);
        // Until the script has said something, or has ended.
        let _ = nix::unistd::read(reader, &mut [0; 8]).expect("read");
        pid
    }

    /// A number that no process has, for where nothing is signalled.
    fn nobody(number: i32) -> Pid {
        Pid::from_raw(i32::MAX - number)
    }

    /// Reaps this command and no other test's.
    fn reap<T>(children: &mut Children<T>, pid: Pid) -> (Option<T>, Exited) {
        let end = Instant::now() + 2 * TIMEOUT;
        loop {
            if let Some(ended) = children.reap_by(|| find_zombie(Some(pid))) {
                return ended;
            }
            assert!(Instant::now() < end, "{pid} does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn endings_read_like_a_shell() {
        assert_eq!(Ending::Exited(3).to_string(), "exit status 3");
        assert_eq!(Ending::Killed(9).code(), 137);
        assert_eq!(Ending::Killed(15).to_string(), "killed by SIGTERM");
        assert_eq!(Ending::Killed(40).to_string(), "killed by signal 40");
    }

    #[test]
    fn a_command_is_reaped_with_its_purpose_and_its_status() {
        let mut children = Children::new(1, TIMEOUT);
        let pid = start("exit 3");
        children.insert(pid, "it", Slot::Connection, Instant::now());
        let (purpose, exited) = reap(&mut children, pid);
        assert_eq!((purpose, exited.pid), (Some("it"), pid));
        assert_eq!(exited.ending, Ending::Exited(3));
        assert!(children.is_empty() && children.deadline().is_none());
    }

    #[test]
    fn the_number_of_a_real_time_signal_is_known() {
        let mut children = Children::new(1, TIMEOUT);
        let pid = start("kill -40 $$");
        children.insert(pid, (), Slot::Connection, Instant::now());
        assert_eq!(reap(&mut children, pid).1.ending, Ending::Killed(40));
    }

    #[test]
    fn a_late_command_is_given_once_and_killed_where_it_does_not_end() {
        let now = Instant::now();
        let mut children = Children::new(1, TIMEOUT);
        let pid = start("trap '' TERM; echo; while :; do sleep 1; done");
        children.insert(pid, "it", Slot::Connection, now);
        assert_eq!(children.next_late(now), None);
        let late = Late {
            pid,
            is_cut_short: false,
        };
        assert_eq!(children.next_late(now + TIMEOUT), Some((late, "it")));
        assert_eq!(children.deadline(), Some(now + TIMEOUT + GRACE));
        assert_eq!(children.next_late(now + TIMEOUT + GRACE), None);
        assert_eq!(children.deadline(), None);
        let (purpose, exited) = reap(&mut children, pid);
        assert_eq!((purpose, exited.ending), (None, Ending::Killed(9)));
    }

    #[test]
    fn nobody_waits_for_a_command_that_is_stopped() {
        let now = Instant::now();
        let mut children = Children::new(1, TIMEOUT);
        let pid = start("echo; exec sleep 60");
        children.insert(pid, (), Slot::Run, now);
        children.stop(pid, now);
        assert_eq!(children.next_late(now), None);
        let (purpose, exited) = reap(&mut children, pid);
        assert_eq!((purpose, exited.ending), (None, Ending::Killed(15)));
    }

    #[test]
    fn an_end_cuts_the_time_of_those_that_run_and_of_those_to_come() {
        let now = Instant::now();
        let end = now + TIMEOUT / 2;
        let mut children = Children::new(2, TIMEOUT);
        let first = start("echo; exec sleep 60");
        children.insert(first, 1, Slot::Connection, now);
        children.end_by(end);
        let second = start("echo; exec sleep 60");
        children.insert(second, 2, Slot::Connection, now);
        let mut late = [children.next_late(end), children.next_late(end)].map(Option::unwrap);
        late.sort_by_key(|(_, purpose)| *purpose);
        assert_eq!(late.map(|(late, _)| late.pid), [first, second]);
        assert!(late.iter().all(|(late, _)| late.is_cut_short));
        reap(&mut children, first);
        reap(&mut children, second);
    }

    #[test]
    fn a_shared_run_has_a_place_of_its_own() {
        let now = Instant::now();
        let mut children = Children::new(2, TIMEOUT);
        let room = |children: &Children<()>| {
            [Slot::Connection, Slot::Run].map(|slot| children.has_room(slot))
        };
        children.insert(nobody(1), (), Slot::Connection, now);
        children.insert(nobody(2), (), Slot::Connection, now);
        assert_eq!(room(&children), [false, true], "beside the connections");
        children.insert(nobody(3), (), Slot::Run, now);
        assert_eq!(room(&children), [false, false]);
        children.remove(nobody(1), Ending::Exited(0));
        assert_eq!(room(&children), [true, false]);
        children.remove(nobody(2), Ending::Exited(0));
        assert_eq!(room(&children), [true, true], "an earlier run lives on");
        children.insert(nobody(4), (), Slot::Run, now);
        assert_eq!(room(&children), [true, false], "two of them do");
    }
}
