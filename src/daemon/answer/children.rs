//! The command: started once a request (or once a run), bounded in time, reaped.
//!
//! Descriptors come in, process numbers and endings come out. Nothing is forked: posix_spawn(3)
//! shares the daemon's memory until the exec, so a start costs the same however large the daemon
//! is. The command gets an environment made from nothing, the null device as standard input,
//! default signals, an empty mask and a process group of its own, and no descriptor above 2,
//! since every descriptor of the daemon is close-on-exec.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::{AccessFlags, Pid, access};

use crate::daemon::sys::{Zombie, find_zombie};

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// Where a command without a slash is looked for when PATH is not set.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const DEFAULT_COMMAND: &str = "/usr/bin/uptime";

/// The command line that answers, ready to be started.
pub(crate) struct Command {
    name: OsString,
    /// Where it is; None while a name without a slash is not in PATH.
    path: Option<CString>,
    args: Vec<CString>,
    env: Vec<CString>,
    attr: PosixSpawnAttr,
}

impl Command {
    /// Prepares a command line; an empty one is `/usr/bin/uptime`.
    ///
    /// # Errors
    /// A NUL inside an argument, which no exec can pass; an empty name; no memory for the
    /// attributes.
    pub(crate) fn new(words: &[OsString]) -> Result<Self, String> {
        let default = [OsString::from(DEFAULT_COMMAND)];
        let words = if words.is_empty() {
            &default[..]
        } else {
            words
        };
        if words[0].is_empty() {
            return Err("COMMAND is empty; name a program after --".to_owned());
        }
        let args = words
            .iter()
            .map(|word| {
                CString::new(word.as_bytes()).map_err(|_| "a NUL byte in COMMAND".to_owned())
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut command = Command {
            name: words[0].clone(),
            path: None,
            args,
            env: environment(std::env::var_os("PATH"), std::env::var_os("TZ")),
            attr: attributes().map_err(|errno| format!("posix_spawnattr: {}", errno.desc()))?,
        };
        command.look_up();
        Ok(command)
    }

    /// Finds the program. A path is taken as it is; a name is looked for in PATH.
    fn look_up(&mut self) -> Option<&CString> {
        if self.path.is_none() {
            self.path = find_program(&self.name, std::env::var_os("PATH").as_deref());
        }
        self.path.as_ref()
    }

    /// False for a name without a slash that is not in PATH now.
    pub(crate) fn is_found(&self) -> bool {
        self.path.is_some()
    }

    /// Starts the command with its standard output and error on `output`, which must not be
    /// close to exec in the child: dup2 takes care of that. Standard input is the daemon's own,
    /// the null device.
    ///
    /// # Errors
    /// Those of posix_spawn(3), execve(2)'s among them; ENOENT for a name that is not in PATH.
    pub(crate) fn spawn(&mut self, output: BorrowedFd<'_>) -> nix::Result<Pid> {
        self.look_up();
        let path = self.path.as_deref().ok_or(Errno::ENOENT)?;
        let mut actions = PosixSpawnFileActions::init()?;
        actions.add_dup2(output.as_raw_fd(), 1)?;
        actions.add_dup2(output.as_raw_fd(), 2)?;
        posix_spawn(path, &actions, &self.attr, &self.args, &self.env)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.to_string_lossy().fmt(f)
    }
}

/// The command's whole environment. LC_ALL=C, because a reader of `0,10, 0,20, 0,30` cannot tell
/// decimal commas from separators; TZ, because uptime(1) prints the local time.
fn environment(path: Option<OsString>, tz: Option<OsString>) -> Vec<CString> {
    let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
    let mut env = vec![
        OsString::from("LC_ALL=C"),
        [OsStr::new("PATH="), &path].into_iter().collect(),
    ];
    env.extend(tz.map(|tz| [OsStr::new("TZ="), &tz].into_iter().collect::<OsString>()));
    // No variable of our own environment can hold a NUL.
    env.into_iter()
        .filter_map(|entry| CString::new(entry.into_vec()).ok())
        .collect()
}

/// A group of its own, so that a time-out reaches the command's children too; every signal at
/// its default and none blocked, whatever the daemon blocks for itself or inherited.
fn attributes() -> nix::Result<PosixSpawnAttr> {
    let mut attr = PosixSpawnAttr::init()?;
    attr.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    attr.set_pgroup(Pid::from_raw(0))?;
    attr.set_sigdefault(&SigSet::all())?;
    attr.set_sigmask(&SigSet::empty())?;
    Ok(attr)
}

fn find_program(name: &OsStr, path: Option<&OsStr>) -> Option<CString> {
    if name.as_bytes().contains(&b'/') {
        return CString::new(name.as_bytes()).ok();
    }
    std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH)))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|candidate| is_executable(candidate))
        .and_then(|found| CString::new(found.into_os_string().into_vec()).ok())
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

/// Why a command could not be started, in words that say what to look at.
pub(crate) fn words(errno: Errno) -> &'static str {
    match errno {
        Errno::EAGAIN => "no further process is allowed (TasksMax=, RLIMIT_NPROC)",
        errno => errno.desc(),
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Exited(i32),
    /// By the signal of this number; real-time signals have no name.
    Killed(i32),
}

impl Ending {
    fn of(zombie: &Zombie) -> Self {
        if zombie.exited {
            Ending::Exited(zombie.status)
        } else {
            Ending::Killed(zombie.status)
        }
    }

    /// The exit status as a shell tells it: 128 and the signal's number for a killed command.
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

struct Child<T> {
    purpose: T,
    started: Instant,
    /// When the next signal is due; None after SIGKILL.
    deadline: Option<Instant>,
    /// SIGTERM has been sent.
    timed_out: bool,
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
    deadlines: BTreeSet<(Instant, Pid)>,
    timeout: Duration,
    /// No command has time beyond this.
    end_by: Option<Instant>,
}

impl<T> Children<T> {
    pub(crate) fn new(timeout: Duration) -> Self {
        Children {
            running: HashMap::new(),
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

    pub(crate) fn insert(&mut self, pid: Pid, purpose: T, now: Instant) {
        let own = now + self.timeout;
        let deadline = self.end_by.map_or(own, |end| end.min(own));
        self.deadlines.insert((deadline, pid));
        let child = Child {
            purpose,
            started: now,
            deadline: Some(deadline),
            timed_out: false,
        };
        self.running.insert(pid, child);
    }

    /// From now on no command has time beyond `end`, whenever it was started.
    pub(crate) fn end_by(&mut self, end: Instant) {
        self.end_by = Some(end);
        for (pid, child) in &mut self.running {
            let Some(deadline) = child.deadline.as_mut().filter(|_| !child.timed_out) else {
                continue;
            };
            if *deadline > end {
                self.deadlines.remove(&(*deadline, *pid));
                *deadline = end;
                self.deadlines.insert((end, *pid));
            }
        }
    }

    /// When [`Self::expire`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Stops the process groups whose time is over: SIGTERM first, SIGKILL a second later.
    /// `on_timeout` hears of each once, at its SIGTERM.
    pub(crate) fn expire(&mut self, now: Instant, mut on_timeout: impl FnMut(Late, &mut T)) {
        while let Some(&(at, pid)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, pid));
            if let Some(child) = self.running.get_mut(&pid) {
                child.deadline = signal_group(pid, child.timed_out, now);
                if let Some(at) = child.deadline {
                    self.deadlines.insert((at, pid));
                }
                if !std::mem::replace(&mut child.timed_out, true) {
                    let is_cut_short = now < child.started + self.timeout;
                    on_timeout(Late { pid, is_cut_short }, &mut child.purpose);
                }
            }
        }
    }

    /// Stops one command before its time, as a time-out would; from now on it runs for `purpose`.
    pub(crate) fn stop(&mut self, pid: Pid, purpose: T, now: Instant) {
        if let Some(child) = self.running.get_mut(&pid).filter(|child| !child.timed_out) {
            if let Some(at) = child.deadline.take() {
                self.deadlines.remove(&(at, pid));
            }
            child.timed_out = true;
            child.purpose = purpose;
            child.deadline = signal_group(pid, false, now);
            self.deadlines.extend(child.deadline.map(|at| (at, pid)));
        }
    }

    /// Takes the next command that has ended, if there is one, and what it ran for.
    ///
    /// It is looked at before it is reaped: as long as the leader is not reaped its number cannot
    /// be given to another group, so what is left of a group whose time was over is killed first.
    pub(crate) fn reap(&mut self) -> Option<(T, Exited)> {
        loop {
            let zombie = match find_zombie() {
                Ok(zombie) => zombie?,
                Err(Errno::EINTR) => continue,
                // No child is left. The others of wait(2) cannot be for these arguments.
                Err(Errno::ECHILD | _) => return None,
            };
            let pid = zombie.pid;
            if self.running.get(&pid).is_some_and(|child| child.timed_out) {
                kill_rest_of_group(pid);
            }
            // How it ended is known; nix fails for a real-time signal, but has reaped it.
            let _ = waitpid(pid, None);
            // A child that is not ours to answer for was there before the exec that made us, or
            // is an orphan that became PID 1's.
            if let Some(exited) = self.remove(pid, Ending::of(&zombie)) {
                return Some(exited);
            }
        }
    }

    fn remove(&mut self, pid: Pid, ending: Ending) -> Option<(T, Exited)> {
        let child = self.running.remove(&pid)?;
        if let Some(at) = child.deadline {
            self.deadlines.remove(&(at, pid));
        }
        let took = child.started.elapsed();
        Some((child.purpose, Exited { pid, ending, took }))
    }
}

/// Signals a command's group; gives the time of the next signal.
fn signal_group(pid: Pid, again: bool, now: Instant) -> Option<Instant> {
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
    (!again).then(|| now + GRACE)
}

fn kill_rest_of_group(pid: Pid) {
    // ESRCH: only the leader was left.
    let _ = killpg(pid, Signal::SIGKILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_made_from_nothing() {
        let env = environment(Some("/bin".into()), Some("Europe/Berlin".into()));
        assert_eq!(
            env,
            [
                c"LC_ALL=C".to_owned(),
                c"PATH=/bin".to_owned(),
                c"TZ=Europe/Berlin".to_owned()
            ]
        );
        assert_eq!(environment(None, None).len(), 2);
    }

    #[test]
    fn a_name_is_looked_up_and_a_path_is_not() {
        let path = Some(OsStr::new("relative:/nonexistent:/bin"));
        assert_eq!(
            find_program(OsStr::new("sh"), path),
            Some(c"/bin/sh".to_owned())
        );
        assert_eq!(find_program(OsStr::new("no-such-program"), path), None);
        assert_eq!(
            find_program(OsStr::new("/no/such"), path),
            Some(c"/no/such".to_owned())
        );
    }

    #[test]
    fn endings_read_like_a_shell() {
        assert_eq!(Ending::Exited(3).to_string(), "exit status 3");
        assert_eq!(Ending::Killed(9).code(), 137);
        assert_eq!(Ending::Killed(15).to_string(), "killed by SIGTERM");
        assert_eq!(Ending::Killed(40).to_string(), "killed by signal 40");
    }
}
