//! One run of the command for all who wait: APUE's popen server, with a group commit.
//!
//! Requests come in, an answer and those it is for come out. The requests that wait when a run
//! starts share it; one that arrives during a run waits for the next, so that no answer was
//! measured before its question, unless `--max-age` allows it.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::epoll::EpollFlags;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, pipe2, read};

use crate::daemon::answer::children::Command;
use crate::daemon::poll::{Poll, Token, Watched};
use crate::daemon::sockets::set_nonblocking;

/// The longest answer, in bytes; the command is stopped when it says more.
pub(crate) const LONGEST_ANSWER: usize = 64 << 10;
/// How long a run may wait for the clients of the last one to ask again. Those who ask in a loop
/// come back almost together, and a run less is worth more than this wait.
const GATHER: Duration = Duration::from_millis(1);

/// The requests, and the run that answers them. `W` is who waits.
pub(crate) struct Capture<W> {
    waiting: Vec<W>,
    run: Option<Run<W>>,
    /// How many the last run answered.
    last_batch: usize,
    /// When the oldest of those who wait has waited long enough.
    gather_until: Option<Instant>,
    /// The sockets have been looked at since the last run ended.
    has_looked: bool,
    max_age: Duration,
    /// The last answer, and when its run was started, on [`uptime`]'s clock.
    kept: Option<(Duration, Rc<[u8]>)>,
    /// Reused from run to run.
    buffer: Vec<u8>,
}

struct Run<W> {
    pid: Pid,
    pipe: Watched<OwnedFd>,
    output: Vec<u8>,
    clients: Vec<W>,
    started: Option<Duration>,
}

/// The time since the machine was started, the time it was suspended included: an answer ages while
/// the machine sleeps, and CLOCK_MONOTONIC does not (clock_gettime(2)).
fn uptime() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .ok()
        .map(Duration::from)
}

/// What reading the command's output came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It may say more.
    Running,
    /// It has said everything.
    Ended,
    /// It has said nothing, and closed its output: only its exit status can tell why.
    Silent,
    /// It has said too much, and is to be stopped.
    Cut(Pid),
}

/// An answer, and who it is for.
pub(crate) struct Answered<W> {
    pub(crate) clients: Vec<W>,
    pub(crate) answer: Rc<[u8]>,
}

impl<W> Capture<W> {
    pub(crate) fn new(max_age: Duration) -> Self {
        Capture {
            waiting: Vec::new(),
            run: None,
            last_batch: 0,
            gather_until: None,
            has_looked: true,
            max_age,
            kept: None,
            buffer: Vec::new(),
        }
    }

    /// Nobody waits, and nothing runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.run.is_none()
    }

    /// The number of those who wait for a run that has not started.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// An answer that is young enough to be given without a run.
    pub(crate) fn kept_answer(&self) -> Option<Rc<[u8]>> {
        let (started, answer) = self.kept.as_ref()?;
        (uptime()?.saturating_sub(*started) <= self.max_age).then(|| answer.clone())
    }

    /// Has a client wait for the next run.
    pub(crate) fn wait(&mut self, client: W, now: Instant) {
        if self.waiting.is_empty() && self.run.is_none() {
            self.gather_until = Some(now + GATHER);
        }
        self.waiting.push(client);
    }

    /// True where a run is to be started now: somebody waits, nothing runs, and about as many
    /// have come as the last time, or have had their time to come.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        if self.waiting.is_empty() || self.run.is_some() {
            return false;
        }
        self.last_batch <= 1
            || self.waiting.len() * 10 >= self.last_batch * 9
            || (self.has_looked && self.gather_until.is_none_or(|until| until <= now))
    }

    /// The sockets have been looked at: whoever was there already is among those who wait. On a
    /// busy machine that may be later than the time to gather.
    pub(crate) fn looked(&mut self) {
        self.has_looked = self.run.is_none();
    }

    /// When [`Self::is_due`] will be true without anybody coming.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.waiting.is_empty() || self.run.is_some() {
            None
        } else {
            self.gather_until
        }
    }

    /// Starts a run for everybody who waits.
    ///
    /// # Errors
    /// Those of pipe2(2), fcntl(2), epoll_ctl(2) and posix_spawn(3), with the call's name for the
    /// first three; nobody has been answered then, and [`Self::give_up`] has them.
    pub(crate) fn start(&mut self, poll: &Poll, command: &mut Command) -> Result<Pid, Errno> {
        let (pipe, output) = pipe2(OFlag::O_CLOEXEC)?;
        // Only our end: each end of a pipe is an open file description of its own.
        set_nonblocking(pipe.as_fd(), true)?;
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        let mut pipe = poll.watch(pipe, Token::Output, interest);
        pipe.arm(true)?;
        let started = if self.max_age.is_zero() {
            None
        } else {
            uptime()
        };
        let pid = command.spawn(output.as_fd())?;
        self.last_batch = self.waiting.len();
        self.run = Some(Run {
            pid,
            pipe,
            output: std::mem::take(&mut self.buffer),
            clients: std::mem::take(&mut self.waiting),
            started,
        });
        Ok(pid)
    }

    /// Takes everybody who waits, when no run could be started for them.
    pub(crate) fn give_up(&mut self) -> Vec<W> {
        std::mem::take(&mut self.waiting)
    }

    /// Reads what the command has said since.
    pub(crate) fn read(&mut self) -> Progress {
        let Some(run) = &mut self.run else {
            return Progress::Running;
        };
        let mut chunk = [0; 4096];
        loop {
            match read(&*run.pipe, &mut chunk) {
                Ok(0) if run.output.is_empty() => return Progress::Silent,
                Ok(0) => return Progress::Ended,
                Ok(bytes) => run.output.extend_from_slice(&chunk[..bytes]),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Progress::Running,
                // EIO and whatever else: there is nothing more to be had.
                Err(_) => return Progress::Ended,
            }
            if run.output.len() > LONGEST_ANSWER {
                run.output.truncate(LONGEST_ANSWER);
                return Progress::Cut(run.pid);
            }
        }
    }

    /// True while the answer of this command is awaited.
    pub(crate) fn is_run(&self, pid: Pid) -> bool {
        self.run.as_ref().is_some_and(|run| run.pid == pid)
    }

    /// Ends the run with what the command has said, or, where it has said nothing, with `error`.
    pub(crate) fn finish(
        &mut self,
        now: Instant,
        error: impl FnOnce() -> Rc<[u8]>,
    ) -> Option<Answered<W>> {
        let mut run = self.close(now)?;
        let answer = if run.output.is_empty() {
            error()
        } else {
            let answer: Rc<[u8]> = run.output.as_slice().into();
            self.kept = run.started.map(|started| (started, answer.clone()));
            answer
        };
        run.output.clear();
        self.buffer = run.output;
        Some(Answered {
            clients: run.clients,
            answer,
        })
    }

    /// Ends the run with `error`, whatever the command has said: it was not everything.
    pub(crate) fn fail(&mut self, now: Instant, error: Rc<[u8]>) -> Option<Answered<W>> {
        let run = self.close(now)?;
        Some(Answered {
            clients: run.clients,
            answer: error,
        })
    }

    fn close(&mut self, now: Instant) -> Option<Run<W>> {
        let run = self.run.take()?;
        // A grandchild may hold the other end for ever; this end is ours to close.
        self.gather_until = Some(now + GATHER);
        self.has_looked = false;
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::waitpid;

    fn world(script: &str) -> (Poll, Capture<u32>, Command) {
        let words = ["/bin/sh", "-c", script].map(Into::into);
        (
            Poll::new().expect("an epoll"),
            Capture::new(Duration::ZERO),
            Command::new(&words).expect("a command"),
        )
    }

    /// Reads until the command has said what it has to say.
    fn run_to_end(poll: &mut Poll, capture: &mut Capture<u32>) -> Progress {
        let mut ready = Vec::new();
        loop {
            match capture.read() {
                Progress::Running => {}
                progress => return progress,
            }
            let now = Instant::now();
            let deadline = now + Duration::from_secs(20);
            poll.wait(&mut ready, Some(deadline), now).expect("a wait");
            assert_eq!(ready.first().expect("nothing came").token, Token::Output);
        }
    }

    fn nothing() -> Rc<[u8]> {
        Rc::from(&b"error\n"[..])
    }

    #[test]
    fn those_who_wait_share_a_run_and_those_who_come_during_it_do_not() {
        let (mut poll, mut capture, mut command) = world("echo up");
        let now = Instant::now();
        capture.wait(1, now);
        capture.wait(2, now);
        assert!(capture.is_due(now));
        let pid = capture.start(&poll, &mut command).expect("a run");
        capture.wait(3, now);
        assert!(
            !capture.is_due(now + Duration::from_secs(9)),
            "two runs at once"
        );
        assert_eq!(run_to_end(&mut poll, &mut capture), Progress::Ended);
        let answered = capture.finish(now, nothing).expect("an answer");
        assert_eq!(
            (answered.clients, &*answered.answer),
            (vec![1, 2], &b"up\n"[..])
        );
        assert_eq!(capture.waiting(), 1);
        waitpid(pid, None).expect("reaped");
    }

    #[test]
    fn a_run_waits_a_moment_for_about_as_many_as_the_last_one_had() {
        let mut capture: Capture<u32> = Capture::new(Duration::ZERO);
        let now = Instant::now();
        capture.last_batch = 10;
        for client in 0..8 {
            capture.wait(client, now);
        }
        assert!(!capture.is_due(now));
        assert_eq!(capture.next_deadline(), Some(now + GATHER));
        assert!(capture.is_due(now + GATHER));
        capture.wait(8, now);
        assert!(capture.is_due(now));
        capture.last_batch = 1;
        capture.waiting.truncate(1);
        assert!(
            capture.is_due(now),
            "a single client never waits for others"
        );
    }

    #[test]
    fn too_much_is_cut() {
        let (mut poll, mut capture, mut command) = world("exec cat /dev/zero");
        let now = Instant::now();
        capture.wait(1, now);
        let pid = capture.start(&poll, &mut command).expect("a run");
        assert_eq!(run_to_end(&mut poll, &mut capture), Progress::Cut(pid));
        let answered = capture.finish(now, nothing).expect("an answer");
        assert_eq!(answered.answer.len(), LONGEST_ANSWER);
        waitpid(pid, None).expect("it ends, since nobody reads on");
    }

    #[test]
    fn silence_is_an_error_and_is_not_kept() {
        let (mut poll, mut capture, mut command) = world("exit 3");
        capture.max_age = Duration::from_secs(60);
        let now = Instant::now();
        capture.wait(1, now);
        let pid = capture.start(&poll, &mut command).expect("a run");
        assert_eq!(run_to_end(&mut poll, &mut capture), Progress::Silent);
        let answered = capture.finish(now, nothing).expect("an answer");
        assert_eq!(&*answered.answer, b"error\n");
        assert!(capture.kept_answer().is_none());
        waitpid(pid, None).expect("reaped");
    }

    #[test]
    fn an_answer_is_kept_for_its_age_counted_from_the_start_of_its_run() {
        let (mut poll, mut capture, mut command) = world("echo up");
        capture.max_age = Duration::from_secs(3600);
        let now = Instant::now();
        capture.wait(1, now);
        let pid = capture.start(&poll, &mut command).expect("a run");
        run_to_end(&mut poll, &mut capture);
        capture.finish(now, nothing).expect("an answer");
        assert!(capture.kept_answer().is_some());
        capture.max_age = Duration::from_nanos(1);
        assert!(capture.kept_answer().is_none());
        waitpid(pid, None).expect("reaped");
    }

    #[test]
    fn without_an_age_nothing_is_kept() {
        let (mut poll, mut capture, mut command) = world("echo up");
        let now = Instant::now();
        capture.wait(1, now);
        let pid = capture.start(&poll, &mut command).expect("a run");
        run_to_end(&mut poll, &mut capture);
        capture.finish(now, nothing).expect("an answer");
        assert!(capture.kept_answer().is_none());
        waitpid(pid, None).expect("reaped");
    }
}
