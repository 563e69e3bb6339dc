//! The command line that answers: words come in, a process comes out.
//!
//! Nothing is forked: posix_spawn(3) shares the daemon's memory until the exec, so a start costs
//! the same however large the daemon is. The command gets an environment made from nothing, the
//! null device as standard input, default signals, an empty mask and a process group of its own,
//! and no descriptor above 2, since every descriptor of the daemon is close-on-exec.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use nix::unistd::{AccessFlags, Pid, access};

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

    /// Starts the command with its standard output and error on `output`; dup2 clears
    /// close-on-exec on the copies. Standard input is the daemon's own, the null device.
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

    /// The answer where there is none, as APUE's popen server gives it.
    pub(crate) fn error(&self, reason: &str) -> Arc<[u8]> {
        format!("error: {self}: {reason}\n").into_bytes().into()
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
}
