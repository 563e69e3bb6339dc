//! A machine that runs no ruptimed: ssh(1) runs uptime there.
//!
//! Comes in: a user, a host and a port, as ssh takes them. Goes out: what uptime printed, or the
//! last line that ssh said. It is the user's own ssh with the user's own configuration (keys, jump
//! hosts, ControlMaster); all that we add keeps it from asking questions, from forwarding anything,
//! and from outliving the time for the host.

#![allow(unsafe_code)]

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc::{TIOCNOTTY, ioctl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::sleep;

use super::address::Family;
use super::failure::Failure;
use super::reply::Reply;
use super::trace::Trace;
use super::{DESCRIPTOR_PAUSE, Prober};
use crate::client::hosts::target::Host;
use crate::escape;

/// Another program than ssh, with its first arguments.
const PROGRAM: &str = "RUPTIME_SSH";
/// What runs there. The shell that reads it is the user's: bash, dash, zsh and fish know it.
const COMMAND: &str = "LC_ALL=C exec uptime";
/// The most at once: each is a process here, and a process and a login there.
const AT_ONCE: usize = 64;
/// Of what ssh says the end is kept, bytes.
const SAID_MAX: usize = 4096;
/// Of its last line so much is shown, characters.
const REASON_MAX: usize = 200;
/// Reads in a row before others have their turn.
const READS: usize = 16;
/// The stack of a thread that waits for a process, bytes.
const STACK_SIZE: usize = 64 * 1024;

/// How to reach a host.
pub(super) struct Login<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) host: &'a Host,
    /// None: what ssh_config(5) says.
    pub(super) port: Option<u16>,
    pub(super) family: Family,
}

/// What all hosts share.
pub(super) struct Ssh {
    /// The program and its first arguments.
    program: Vec<OsString>,
    turns: Semaphore,
}

impl Ssh {
    /// With the program that the environment names.
    pub(super) fn from_environment() -> Ssh {
        Ssh {
            program: words(&env::var_os(PROGRAM).unwrap_or_default()),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// Waits until one more may run.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes the semaphore.
        self.turns.acquire().await.ok()
    }

    fn command(&self, login: &Login<'_>, limit: Duration) -> Command {
        let mut command = Command::new(&self.program[0]);
        command
            .args(&self.program[1..])
            .args(arguments(login, limit))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that a time-out reaches what ssh has started.
            .process_group(0)
            // A ProxyJump is an ssh of its own without BatchMode: it finds no terminal, and no
            // program that asks in a window.
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env_remove("SSH_ASKPASS");
        let begin = || {
            leave_terminal()?;
            // A client that is killed leaves none behind.
            set_pdeathsig(Signal::SIGTERM)?;
            Ok(())
        };
        // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
        unsafe { command.pre_exec(begin) };
        command
    }
}

/// Gives up the controlling terminal, if there is one, of this process and all that it starts.
///
/// A session of its own would do that too, but the kernel's scheduler treats a session as a group
/// of its own (sched(7), autogroup): 64 of them at once take twice the time.
///
/// # Errors
/// EMFILE, ENFILE and ENOMEM of open(2); those of ioctl_tty(2), of which none is expected.
fn leave_terminal() -> nix::Result<()> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    match open(c"/dev/tty", flags, Mode::empty()) {
        // SAFETY: TIOCNOTTY has no argument.
        Ok(tty) => Errno::result(unsafe { ioctl(tty.as_raw_fd(), TIOCNOTTY) }).map(drop),
        Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => Err(errno),
        // ENXIO: there is none. What else keeps us from opening it keeps ssh from it, too.
        Err(_) => Ok(()),
    }
}

/// The words of a command, `ssh` where there are none.
fn words(command: &OsStr) -> Vec<OsString> {
    let mut words: Vec<_> = command
        .as_bytes()
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| OsStr::from_bytes(word).to_owned())
        .collect();
    if words.is_empty() {
        words.push("ssh".into());
    }
    words
}

/// What ssh is told. Options before `--`, so that nothing behind it can be one.
fn arguments(login: &Login<'_>, limit: Duration) -> Vec<String> {
    let connect = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
    let options = [
        "BatchMode=yes",
        &format!("ConnectTimeout={connect}"),
        // Of its configuration these are for a shell on the terminal.
        "ClearAllForwardings=yes",
        "ForwardX11=no",
        "PermitLocalCommand=no",
        "RemoteCommand=none",
        "RequestTTY=no",
    ];
    let mut arguments: Vec<String> = options
        .iter()
        .flat_map(|option| ["-o".to_owned(), (*option).to_owned()])
        .collect();
    match login.family {
        Family::Any => {}
        Family::V4 => arguments.push("-4".to_owned()),
        Family::V6 => arguments.push("-6".to_owned()),
    }
    if let Some(port) = login.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    let host = match login.host {
        Host::Name(name) => name.clone(),
        Host::Address(address) => address.to_string(),
        Host::Scoped(address, zone) => format!("{address}%{zone}"),
    };
    let destination = match login.user {
        Some(user) => format!("{user}@{host}"),
        None => host,
    };
    arguments.extend(["--".to_owned(), destination, COMMAND.to_owned()]);
    arguments
}

/// Asks one host, within `limit` if the caller keeps to it: dropping the future ends the process.
pub(super) async fn ask(
    prober: &Prober,
    login: &Login<'_>,
    limit: Duration,
    trace: &Trace,
) -> Result<Reply, Failure> {
    let mut command = prober.ssh.command(login, limit);
    trace.start_clock();
    let child = loop {
        match command.spawn() {
            Ok(child) => break child,
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                // Nobody will close any.
                Some(Errno::EMFILE) if prober.alone => return Err(Failure::Os(Errno::EMFILE)),
                // Until another host's is closed.
                Some(errno @ (Errno::EMFILE | Errno::ENFILE)) => {
                    trace.short.set(Some(errno));
                    sleep(DESCRIPTOR_PAUSE).await;
                }
                Some(errno @ (Errno::EAGAIN | Errno::ENOMEM)) => {
                    let reason = format!("cannot start ssh: {}", errno.desc().to_lowercase());
                    return Err(Failure::Ssh(reason));
                }
                errno => {
                    let program = escape::excerpt(command.get_program().as_bytes(), REASON_MAX);
                    let errno = errno.unwrap_or(Errno::EINVAL).desc().to_lowercase();
                    return Err(Failure::Unusable(format!("cannot run {program}: {errno}")));
                }
            },
        }
    };
    trace.short.set(None);
    let mut run = Run::new(child).map_err(Failure::Os)?;
    let (mut reply, mut said) = (Reply::default(), Said::default());
    let mut last = b'\n';
    loop {
        let ended = run.something().await;
        let mut buffer = prober.buffer.borrow_mut();
        let end = ended.is_some();
        read(&mut run.output, &mut buffer, end, |bytes| {
            reply.add(bytes, bytes.len(), prober.settings.keep);
            last = bytes.last().copied().unwrap_or(last);
            trace.bytes();
        });
        read(&mut run.errors, &mut buffer, end, |bytes| said.add(bytes));
        if reply.too_long {
            return Ok(reply);
        }
        if let Some(status) = ended {
            return verdict(reply, last == b'\n', &said, status);
        }
    }
}

/// What came of it. An uptime line counts whatever happened after its end; without one a connection
/// that broke may have cut it anywhere.
fn verdict(
    reply: Reply,
    has_ended_line: bool,
    said: &Said,
    status: WaitStatus,
) -> Result<Reply, Failure> {
    let is_up = || reply.reader.clone().finish().is_ok();
    let reason = match status {
        _ if has_ended_line && is_up() => return Ok(reply),
        WaitStatus::Exited(_, 0) if reply.total > 0 => return Ok(reply),
        WaitStatus::Exited(_, 0) => return Err(Failure::Closed),
        WaitStatus::Exited(_, code) => format!("ssh: exit status {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("ssh: ended by {signal}"),
        // Nobody can tell how.
        _ => "ssh: ended".to_owned(),
    };
    Err(Failure::Ssh(said.last_line().unwrap_or(reason)))
}

/// The end of what ssh has said on its standard error.
#[derive(Default)]
struct Said(Vec<u8>);

impl Said {
    fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let surplus = self.0.len().saturating_sub(SAID_MAX);
        self.0.drain(..surplus);
    }

    /// The last line that is not blank, safe to print.
    fn last_line(&self) -> Option<String> {
        let lines = self.0.split(|byte| matches!(byte, b'\n' | b'\r'));
        let mut lines = lines.map(<[u8]>::trim_ascii).rev();
        let line = lines.find(|line| !line.is_empty())?;
        Some(escape::excerpt(line, REASON_MAX))
    }
}

/// Reads what is there. The end of it, or an error, closes the pipe. At the `end` the reactor is not
/// relied on: it may not have heard of the last bytes.
fn read(pipe: &mut Option<Receiver>, buffer: &mut [u8], end: bool, mut add: impl FnMut(&[u8])) {
    for _ in 0..READS {
        let Some(open) = pipe else { return };
        let received = if end {
            nix::unistd::read(&*open, buffer).map_err(io::Error::from)
        } else {
            open.try_read(buffer)
        };
        match received {
            Ok(0) => *pipe = None,
            Ok(length) => add(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => *pipe = None,
        }
    }
}

/// A process that runs, and what it says. Dropped while it runs, its group is killed.
struct Run {
    group: Pid,
    output: Option<Receiver>,
    errors: Option<Receiver>,
    /// Its end, by the thread that waits for it.
    ended: oneshot::Receiver<WaitStatus>,
    has_ended: bool,
    /// Until it is dropped, the process stays a zombie, and its number nobody else's.
    _zombie: mpsc::Sender<()>,
}

impl Run {
    fn new(mut child: Child) -> Result<Run, Errno> {
        let group = Pid::from_raw(i32::try_from(child.id()).map_err(|_| Errno::ESRCH)?);
        let (tell, ended) = oneshot::channel();
        let (zombie, released) = mpsc::channel::<()>();
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        // waitpid(2) blocks, and a descriptor for a process, pidfd_open(2), is of Linux 5.3.
        let wait = move || {
            let status = wait_without_reaping(group);
            // Whoever has given up wants no status.
            let _ = tell.send(status);
            let _ = released.recv();
            // It has ended: this only takes it off the table of processes.
            let _ = child.wait();
        };
        let builder = thread::Builder::new().name("ssh".to_owned());
        if let Err(error) = builder.stack_size(STACK_SIZE).spawn(wait) {
            // Its group is not waited for; init reaps it when this client ends.
            let _ = killpg(group, Signal::SIGKILL);
            return Err(errno(&error));
        }
        let pipe = |end: Option<OwnedFd>| end.map(Receiver::from_owned_fd).transpose();
        let mut run = Run {
            group,
            output: None,
            errors: None,
            ended,
            has_ended: false,
            _zombie: zombie,
        };
        run.output = pipe(output.map(OwnedFd::from)).map_err(|error| errno(&error))?;
        run.errors = pipe(errors.map(OwnedFd::from)).map_err(|error| errno(&error))?;
        Ok(run)
    }

    /// Waits until there is something to read, or until the process has ended: then its status.
    /// The pipes may be open still, in the hands of a ControlMaster that goes on.
    async fn something(&mut self) -> Option<WaitStatus> {
        tokio::select! {
            // What was said before the end is read with the end.
            biased;
            status = &mut self.ended => {
                self.has_ended = true;
                // Nothing ends the thread before it has told but a panic.
                Some(status.unwrap_or(WaitStatus::StillAlive))
            }
            () = readable(self.output.as_ref()) => None,
            () = readable(self.errors.as_ref()) => None,
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.has_ended {
            // ESRCH: nobody is left in it.
            let _ = killpg(self.group, Signal::SIGKILL);
        }
    }
}

async fn readable(pipe: Option<&Receiver>) {
    match pipe {
        // An error is told by the read that follows.
        Some(pipe) => drop(pipe.readable().await),
        None => std::future::pending().await,
    }
}

/// The end of a process whose number must stay its own.
fn wait_without_reaping(process: Pid) -> WaitStatus {
    loop {
        match waitid(
            Id::Pid(process),
            WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT,
        ) {
            Ok(status) => return status,
            Err(Errno::EINTR) => {}
            // ECHILD: whoever started us ignores SIGCHLD, and the kernel has reaped it, wait(2).
            Err(_) => return WaitStatus::StillAlive,
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(login: &Login<'_>, seconds: f64) -> String {
        arguments(login, Duration::from_secs_f64(seconds)).join(" ")
    }

    #[test]
    fn what_is_said_to_ssh() {
        let host = Host::Name("web1".to_owned());
        let mut login = Login {
            user: None,
            host: &host,
            port: None,
            family: Family::Any,
        };
        let plain = told(&login, 5.0);
        assert!(
            plain.starts_with("-o BatchMode=yes -o ConnectTimeout=5 -o "),
            "{plain}"
        );
        assert!(
            plain.ends_with(" -o RequestTTY=no -- web1 LC_ALL=C exec uptime"),
            "{plain}"
        );
        login.user = Some("root");
        login.port = Some(2222);
        login.family = Family::V6;
        let address = Host::Scoped("fe80::1".parse().expect("an address"), "eth0".to_owned());
        login.host = &address;
        let full = told(&login, 0.2);
        assert!(full.contains(" ConnectTimeout=1 "), "{full}");
        let end = " -6 -p 2222 -- root@fe80::1%eth0 LC_ALL=C exec uptime";
        assert!(full.ends_with(end), "{full}");
    }

    #[test]
    fn another_program_has_words() {
        assert_eq!(words(OsStr::new("")), ["ssh"]);
        assert_eq!(words(OsStr::new("  ")), ["ssh"]);
        assert_eq!(
            words(OsStr::new("sshpass -e\tssh ")),
            ["sshpass", "-e", "ssh"]
        );
    }

    #[test]
    fn the_reason_is_the_last_line_and_bounded() {
        let last = |said: &[u8]| {
            let mut all = Said::default();
            said.chunks(7).for_each(|piece| all.add(piece));
            all.last_line()
        };
        assert_eq!(last(b""), None);
        assert_eq!(last(b"\r\n \n"), None);
        let denied = "root@web1: Permission denied (publickey).";
        let said = format!("Welcome!\r\n\r\n{denied}\r\n\n");
        assert_eq!(last(said.as_bytes()).as_deref(), Some(denied));
        let hostile = last(b"no\n\x1b[31mred").expect("a line");
        assert!(!hostile.contains('\x1b'), "{hostile}");
        let long = last(&[b'x'; 100_000]).expect("a line");
        assert!(long.chars().count() <= REASON_MAX + 3, "{long}");
    }

    #[test]
    fn an_uptime_line_counts_whatever_the_status() {
        let reply = |bytes: &[u8]| {
            let mut reply = Reply::default();
            reply.add(bytes, bytes.len(), 100);
            reply
        };
        let pid = Pid::from_raw(1);
        let mut said = Said::default();
        let reason = |reply, said: &Said, status| verdict(reply, true, said, status).err();
        let line = b" 21:04:41 up 12 min,  0 user\n";
        let broken = WaitStatus::Exited(pid, 255);
        assert_eq!(reason(reply(line), &said, broken), None);
        let cut = verdict(reply(&line[..12]), false, &said, broken);
        assert!(cut.is_err(), "the line has no end");
        assert_eq!(
            reason(reply(b"hello\n"), &said, WaitStatus::Exited(pid, 0)),
            None
        );
        let nothing = reason(reply(b""), &said, WaitStatus::Exited(pid, 0));
        assert_eq!(nothing, Some(Failure::Closed));
        let silent = reason(reply(b"hello\n"), &said, broken);
        assert_eq!(
            silent,
            Some(Failure::Ssh("ssh: exit status 255".to_owned()))
        );
        let killed = WaitStatus::Signaled(pid, Signal::SIGTERM, false);
        let killed = reason(reply(b""), &said, killed);
        assert_eq!(
            killed,
            Some(Failure::Ssh("ssh: ended by SIGTERM".to_owned()))
        );
        said.add(b"Host key verification failed.\r\n");
        let told = reason(reply(b""), &said, broken);
        let line = "Host key verification failed.".to_owned();
        assert_eq!(told, Some(Failure::Ssh(line)));
    }
}
