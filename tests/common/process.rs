//! Processes of a test's own: started with exactly the descriptors, signals and environment that
//! a launcher would give, waited for within bounds, and stopped with all their children.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, close};

use super::temp::TempDir;
use super::{wait_for, wait_until};

/// Copies of descriptors on their way into a child lie above all that a child is to get.
const ABOVE: RawFd = 300;
/// What a child gets lies below this; every other number up to here is closed in it.
const TARGETS: RawFd = 64;

/// A program to be started, by way of a shell, so that limits, traps and LISTEN_PID can be set
/// by the process that becomes the program.
pub(crate) struct Launch {
    prologue: String,
    words: Vec<String>,
    env: Vec<(String, String)>,
    fds: Vec<(OwnedFd, RawFd)>,
    blocked: SigSet,
}

impl Launch {
    /// With a PATH and nothing else in its environment, and /dev/null as standard input.
    pub(crate) fn new(program: &str) -> Self {
        Launch {
            prologue: String::new(),
            words: vec![program.to_owned()],
            env: vec![(
                "PATH".to_owned(),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            )],
            fds: Vec::new(),
            blocked: SigSet::empty(),
        }
    }

    pub(crate) fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.words
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Starts the program through another one, which takes its command line and becomes it.
    pub(crate) fn through(mut self, program: &[&str]) -> Self {
        let words = program.iter().map(|word| (*word).to_owned());
        self.words.splice(0..0, words);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Shell commands to run before the program takes the shell's place.
    pub(crate) fn prologue(mut self, commands: &str) -> Self {
        self.prologue.push_str(commands);
        self.prologue.push('\n');
        self
    }

    /// Gives a descriptor to the program under this number.
    pub(crate) fn fd(mut self, number: RawFd, fd: impl Into<OwnedFd>) -> Self {
        assert!(number < TARGETS);
        self.fds.push((fd.into(), number));
        self
    }

    /// Starts the program with these signals blocked.
    pub(crate) fn blocking(mut self, signals: SigSet) -> Self {
        self.blocked = signals;
        self
    }

    /// Starts it. What it writes to standard output and error is kept, unless those descriptors
    /// were given.
    pub(crate) fn start(self) -> Process {
        let dir = TempDir::new();
        let (out, err) = (dir.join("out"), dir.join("err"));
        let null = File::open("/dev/null").expect("/dev/null").into();
        let create = |path: &PathBuf| OwnedFd::from(File::create(path).expect("a log file"));
        let mut fds = vec![(null, 0), (create(&out), 1), (create(&err), 2)];
        fds.retain(|(_, number)| self.fds.iter().all(|(_, given)| given != number));
        fds.extend(self.fds);

        let script = format!("{}exec \"$0\" \"$@\"", self.prologue);
        let mut args = vec![c"sh".to_owned(), c"-c".to_owned(), c_string(&script)];
        args.extend(self.words.iter().map(|word| c_string(word)));
        let env: Vec<CString> = self
            .env
            .iter()
            .map(|(name, value)| c_string(&format!("{name}={value}")))
            .collect();
        let mut attr = PosixSpawnAttr::init().expect("spawn attributes");
        attr.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)
            .expect("spawn flags");
        attr.set_sigmask(&self.blocked).expect("a signal mask");
        let pid = with_descriptors(&fds, |actions| {
            posix_spawn(c"/bin/sh", actions, &attr, &args, &env).expect("a shell")
        });
        Process {
            name: self.words[0].clone(),
            pid,
            status: None,
            out,
            err,
            _dir: dir,
        }
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("no NUL in a test's words")
}

/// Lets `spawn` use file actions that put each descriptor on its number, and close the rest. The
/// copies are close-on-exec, so that no other test's child gets them.
fn with_descriptors<T>(
    fds: &[(OwnedFd, RawFd)],
    spawn: impl FnOnce(&PosixSpawnFileActions) -> T,
) -> T {
    let mut actions = PosixSpawnFileActions::init().expect("file actions");
    let mut copies = Vec::new();
    for (fd, number) in fds {
        let copy = fcntl(fd.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(ABOVE)).expect("a copy");
        actions.add_dup2(copy, *number).expect("a file action");
        copies.push(copy);
    }
    for number in (3..TARGETS).filter(|number| fds.iter().all(|(_, used)| used != number)) {
        actions.add_close(number).expect("a file action");
    }
    let result = spawn(&actions);
    for copy in copies {
        close(copy).expect("a copy of our own");
    }
    result
}

/// A process that does not outlive its test, and neither do its children.
pub(crate) struct Process {
    name: String,
    pid: Pid,
    status: Option<WaitStatus>,
    out: PathBuf,
    err: PathBuf,
    _dir: TempDir,
}

impl Process {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn signal(&self, signal: Signal) {
        assert!(self.status.is_none(), "{} has ended", self.name);
        kill(self.pid, signal).expect("a process of our own");
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.err).unwrap_or_default()).into_owned()
    }

    /// What it has written to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.out).unwrap_or_default()).into_owned()
    }

    /// Waits until standard error holds `text`, and gives all that it holds then.
    pub(crate) fn wait_for_stderr(&mut self, text: &str) -> String {
        let what = format!("\"{text}\" on standard error");
        wait_for(&what, || {
            let ended = self.has_ended();
            let stderr = self.stderr();
            assert!(
                stderr.contains(text) || !ended,
                "{} ended without \"{text}\"",
                self.name
            );
            stderr.contains(text).then_some(stderr)
        })
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)).expect("a child of our own") {
                WaitStatus::StillAlive => {}
                status => self.status = Some(status),
            }
        }
        self.status.is_some()
    }

    /// Waits for its end; gives its exit status.
    pub(crate) fn exit_status(&mut self) -> i32 {
        let what = format!("the end of {}", self.name);
        wait_until(&what, || self.has_ended());
        match self.status {
            Some(WaitStatus::Exited(_, code)) => code,
            other => panic!("{} ended as {other:?}", self.name),
        }
    }

    /// The processes that it has started and not yet reaped.
    pub(crate) fn children(&self) -> Vec<Pid> {
        children_of(self.pid)
    }

    /// The descriptors that it has open, as numbers.
    pub(crate) fn open_descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid))
            .expect("a process of our own")
            .count()
    }

    /// The processor time that it has used itself, without its children.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = stat_fields(self.pid).expect("a process of our own");
        // utime and stime of proc_pid_stat(5), in clock ticks: a hundred a second on Linux.
        let ticks: u64 =
            stat[11].parse::<u64>().expect("utime") + stat[12].parse::<u64>().expect("stime");
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} wrote: {}", self.name, self.stderr());
        }
        if !self.has_ended() {
            stop_tree(self.pid);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// Kills a process and all that it has started. It is stopped first, so that it starts no more.
fn stop_tree(pid: Pid) {
    let _ = kill(pid, Signal::SIGSTOP);
    for child in children_of(pid) {
        stop_tree(child);
    }
    let _ = kill(pid, Signal::SIGKILL);
}

/// A process that is nobody's child any more: killed in the end, unless it has gone by itself.
pub(crate) struct Orphan(Pid);

impl Orphan {
    /// The process with this number, told by the command that started it.
    pub(crate) fn new(pid: &str) -> Self {
        Orphan(Pid::from_raw(pid.trim().parse().expect("a process number")))
    }

    pub(crate) fn is_alive(&self) -> bool {
        is_alive(self.0)
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if self.is_alive() {
            let _ = kill(self.0, Signal::SIGKILL);
        }
    }
}

/// Neither gone nor a zombie.
pub(crate) fn is_alive(pid: Pid) -> bool {
    stat_fields(pid).is_some_and(|stat| stat[0] != "Z" && stat[0] != "X")
}

/// A process's name and its state: R where it runs, S or D where it waits, Z where it has ended.
pub(crate) fn state_of(pid: Pid) -> Option<(String, char)> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let state = stat_fields(pid)?[0].chars().next()?;
    Some((name.trim().to_owned(), state))
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let parent = parent.to_string();
    all_with(|stat| stat[1] == parent)
}

/// The living members of a process group.
pub(crate) fn group_members(group: Pid) -> Vec<Pid> {
    let group = group.to_string();
    all_with(|stat| stat[2] == group && stat[0] != "Z")
}

fn all_with(matches: impl Fn(&[String]) -> bool) -> Vec<Pid> {
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter(|pid| stat_fields(*pid).is_some_and(|stat| matches(&stat)))
        .collect()
}

/// The fields of /proc/PID/stat from the state on; the name before it may hold anything.
fn stat_fields(pid: Pid) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<String> = fields.split_whitespace().map(str::to_owned).collect();
    (fields.len() > 12).then_some(fields)
}
