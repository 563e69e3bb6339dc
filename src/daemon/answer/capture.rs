//! One run of the command for all who wait: APUE's popen server, and its datagram server, with a
//! group commit. Requests come in; an answer and those it is for come out.
//!
//! The requests that wait when a run starts share it; one that arrives during a run waits for the
//! next, so that no answer was measured before its question, unless `--max-age` allows it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::epoll::EpollFlags;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, pipe2, read};

use super::children::{Exited, Late, Slot};
use super::command::words;
use super::commands::Commands;
use super::{Answered, Purpose};
use crate::daemon::logging as log;
use crate::daemon::logging::fault::Fault;
use crate::daemon::poll::{Registry, Token, Watched};
use crate::daemon::sockets::set_nonblocking;
use crate::daemon::sys::Ending;

/// The longest answer, in bytes; the command is stopped when it says more.
const LONGEST_ANSWER: usize = 64 << 10;
/// How long a run may wait for the clients of the last one to ask again, once their answers have been
/// sent. Those who ask in a loop come back almost together, and a run less is worth more
/// than this wait.
const GATHER: Duration = Duration::from_millis(1);
/// The client of a shared run, in a record.
const ALL: &str = "all who waited";

/// The requests, and the run that answers them. `W` is who waits.
pub(crate) struct Capture<W> {
    registry: Registry,
    waiting: Vec<W>,
    state: State<W>,
    crowd: Crowd,
    max_age: Duration,
    /// The last answer, and when its run was started, on [`uptime`]'s clock.
    kept: Option<(Duration, Arc<[u8]>)>,
    /// Reused from run to run.
    buffer: Vec<u8>,
    cut: Fault,
}

enum State<W> {
    /// Nobody waits, and nothing runs.
    Idle,
    /// Somebody waits, and the others of the last run have until then to come. `is_sent`: the turn of
    /// the loop is over in which the last run's answers were sent, and `until` counts from its end; so
    /// the sockets are polled before it.
    Gathering { until: Instant, is_sent: bool },
    /// Whoever comes now waits for the next run.
    Running(Run<W>),
}

struct Run<W> {
    pid: Pid,
    pipe: Watched<OwnedFd>,
    output: Vec<u8>,
    clients: Vec<W>,
    started: Option<Duration>,
}

/// How many clients are expected to wait for a run.
///
/// Clients who ask in a loop and happen to wait for different runs would stay apart: while one half
/// is being answered the other half asks, and each of them is answered by every second run only. So
/// now and then a run waits for both; once together, they come back together.
#[derive(Debug, Default)]
struct Crowd {
    expected: usize,
    /// They are those of two runs.
    is_joined: bool,
    /// Runs before the next attempt to join two crowds, and how many there were before the last:
    /// clients who do not come back are waited for ever less.
    attempt_in: u32,
    pause: u32,
}

impl Crowd {
    /// The most runs between two attempts.
    const LONGEST_PAUSE: u32 = 64;

    /// A run is over; so many more have come in the course of it.
    fn answered(&mut self, answered: usize, waiting: usize) {
        self.is_joined = waiting > 0 && self.attempt_in == 0;
        self.attempt_in = self.attempt_in.saturating_sub(1);
        self.expected = answered + if self.is_joined { waiting } else { 0 };
    }

    /// Whether about as many wait as are expected. A single client never waits for others.
    fn is_here(&self, waiting: usize) -> bool {
        self.expected <= 1 || waiting * 10 >= self.expected * 9
    }

    /// A run begins for so many.
    fn started(&mut self, waiting: usize) {
        if self.is_joined {
            self.pause = match self.is_here(waiting) {
                true => 0,
                false => (self.pause * 2).clamp(1, Self::LONGEST_PAUSE),
            };
            self.attempt_in = self.pause;
        }
    }
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
enum Progress {
    /// It may say more.
    Running,
    /// It has said everything.
    Ended,
    /// It has said nothing, and closed its output: only its exit status can tell why.
    Silent,
    /// It has said too much, and is to be stopped.
    Cut,
}

impl<W> Capture<W> {
    pub(crate) fn new(registry: Registry, max_age: Duration) -> Self {
        Capture {
            registry,
            waiting: Vec::new(),
            state: State::Idle,
            crowd: Crowd::default(),
            max_age,
            kept: None,
            buffer: Vec::new(),
            cut: Fault::default(),
        }
    }

    /// Nobody waits, and nothing runs.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// The number of those who wait for a run that has not started.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// An answer that is young enough to be given without a run.
    pub(crate) fn kept_answer(&self) -> Option<Arc<[u8]>> {
        let (started, answer) = self.kept.as_ref()?;
        (uptime()?.saturating_sub(*started) <= self.max_age).then(|| answer.clone())
    }

    /// Has a client wait for the next run.
    pub(crate) fn push(&mut self, client: W, now: Instant) {
        self.waiting.push(client);
        if let State::Idle = self.state {
            self.gather(now);
        }
    }

    fn gather(&mut self, now: Instant) {
        self.state = State::Gathering {
            until: now + GATHER,
            is_sent: false,
        };
    }

    /// A turn of the loop is over: the answers of a run that has ended in it have been sent.
    pub(crate) fn turn_over(&mut self, now: Instant) {
        if let State::Gathering { until, is_sent } = &mut self.state {
            if !std::mem::replace(is_sent, true) {
                *until = now + GATHER;
            }
        }
    }

    /// True where a run is to be started now: somebody waits, nothing runs, and about as many
    /// have come as are expected, or have had their time to come.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let State::Gathering { until, is_sent } = self.state else {
            return false;
        };
        self.crowd.is_here(self.waiting.len()) || (is_sent && until <= now)
    }

    /// When [`Self::is_due`] becomes true without further requests.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Gathering { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Starts a run for all who wait. Where it cannot be started, the reason is the answer to all of
    /// them.
    pub(crate) fn start(&mut self, commands: &mut Commands, now: Instant) -> Option<Answered<W>> {
        match self.spawn(commands, now) {
            Ok(run) => {
                self.crowd.started(run.clients.len());
                self.state = State::Running(run);
                None
            }
            Err(errno) => Some(self.give_up(commands, words(errno))),
        }
    }

    /// # Errors
    /// Those of pipe2(2), fcntl(2), epoll_ctl(2) and posix_spawn(3).
    fn spawn(&mut self, commands: &mut Commands, now: Instant) -> Result<Run<W>, Errno> {
        let (pipe, output) = self
            .open_pipe()
            .inspect_err(|errno| commands.not_started(*errno, now))?;
        let started = (!self.max_age.is_zero()).then(uptime).flatten();
        let (pid, now) = commands.spawn(output.as_fd())?;
        commands.children.insert(pid, Purpose::Run, Slot::Run, now);
        Ok(Run {
            pid,
            pipe,
            output: std::mem::take(&mut self.buffer),
            clients: std::mem::take(&mut self.waiting),
            started,
        })
    }

    fn open_pipe(&self) -> nix::Result<(Watched<OwnedFd>, OwnedFd)> {
        let (pipe, output) = pipe2(OFlag::O_CLOEXEC)?;
        // Only our end: each end of a pipe is an open file description of its own.
        set_nonblocking(pipe.as_fd(), true)?;
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        let mut pipe = self.registry.watch(pipe, Token::Output, interest);
        pipe.arm(true)?;
        Ok((pipe, output))
    }

    /// Answers all who wait with the reason why no run is started for them.
    pub(crate) fn give_up(&mut self, commands: &mut Commands, why: &str) -> Answered<W> {
        if let State::Gathering { .. } = self.state {
            self.state = State::Idle;
        }
        commands.refuse(std::mem::take(&mut self.waiting), why)
    }

    /// The command has said something, or everything.
    pub(crate) fn read(&mut self, commands: &mut Commands, now: Instant) -> Option<Answered<W>> {
        match self.gather_output() {
            // Silence is explained by the exit status, which is about to come.
            Progress::Running | Progress::Silent => return None,
            Progress::Ended => drop(self.cut.ok()),
            Progress::Cut => {
                if let State::Running(run) = &self.state {
                    log::cut(self.cut.fail(now), run.pid, LONGEST_ANSWER);
                    commands.children.stop(run.pid, now);
                }
            }
        }
        self.finish(Ending::Exited(0), commands, now)
    }

    /// Reads what the command has said since.
    fn gather_output(&mut self) -> Progress {
        let State::Running(run) = &mut self.state else {
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
                return Progress::Cut;
            }
        }
    }

    /// A run's command has ended. A grandchild that holds the pipe is not waited for.
    pub(crate) fn conclude(
        &mut self,
        exited: &Exited,
        commands: &mut Commands,
        now: Instant,
    ) -> Option<Answered<W>> {
        commands.ended(&ALL, exited, now);
        if !self.is_run(exited.pid) {
            return None;
        }
        self.gather_output();
        self.finish(exited.ending, commands, now)
    }

    /// A run's command takes too long, and is being stopped: what it has said is not everything.
    pub(crate) fn time_out(
        &mut self,
        late: Late,
        commands: &mut Commands,
        now: Instant,
    ) -> Option<Answered<W>> {
        let why = commands.too_late(&ALL, late, now);
        if !self.is_run(late.pid) {
            return None;
        }
        let run = self.close(now)?;
        Some(commands.refuse(run.clients, &why))
    }

    /// True while the answer of this command is awaited.
    fn is_run(&self, pid: Pid) -> bool {
        matches!(&self.state, State::Running(run) if run.pid == pid)
    }

    /// Ends the run with what the command has said or, where it has said nothing, with how it ended.
    fn finish(
        &mut self,
        ending: Ending,
        commands: &mut Commands,
        now: Instant,
    ) -> Option<Answered<W>> {
        let mut run = self.close(now)?;
        let is_silent = run.output.is_empty();
        let answer: Arc<[u8]> = match ending {
            _ if !is_silent => run.output.as_slice().into(),
            Ending::Exited(0) => commands.error("said nothing"),
            ending => commands.error(&ending.to_string()),
        };
        if !is_silent {
            self.kept = run.started.map(|started| (started, answer.clone()));
        }
        run.output.clear();
        self.buffer = run.output;
        Some(commands.answer(run.clients, !is_silent, Some(answer)))
    }

    /// Takes the run, and begins to gather for the next. A grandchild may hold the other end of the
    /// pipe for ever; dropping the run closes this end.
    fn close(&mut self, now: Instant) -> Option<Run<W>> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Running(run) => {
                self.crowd.answered(run.clients.len(), self.waiting.len());
                if !self.waiting.is_empty() {
                    self.gather(now);
                }
                Some(run)
            }
            other => {
                self.state = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::answer::children::Children;
    use crate::daemon::answer::command::Command;
    use crate::daemon::poll::Poll;
    use nix::sys::wait::waitpid;

    /// A capture whose runs are awaited, and whose commands are reaped, here.
    struct World {
        poll: Poll,
        capture: Capture<u32>,
        commands: Commands,
        now: Instant,
    }

    impl World {
        fn new(script: &str, max_age: Duration) -> World {
            let poll = Poll::new().expect("an epoll");
            let words = ["/bin/sh", "-c", script].map(Into::into);
            let command = Command::new(&words).expect("a command");
            World {
                capture: Capture::new(poll.registry().clone(), max_age),
                poll,
                commands: Commands::new(command, Children::new(9, Duration::from_secs(20))),
                now: Instant::now(),
            }
        }

        /// Starts a run.
        fn start(&mut self) -> Pid {
            assert!(self.capture.is_due(self.now));
            let refused = self.capture.start(&mut self.commands, self.now);
            assert!(refused.is_none(), "no run was started");
            match &self.capture.state {
                State::Running(run) => run.pid,
                _ => panic!("nothing runs"),
            }
        }

        /// Reads until there is an answer.
        fn answer(&mut self) -> Answered<u32> {
            let mut ready = Vec::new();
            loop {
                if let Some(answered) = self.capture.read(&mut self.commands, self.now) {
                    return answered;
                }
                let now = Instant::now();
                let deadline = now + Duration::from_secs(20);
                self.poll
                    .wait(&mut ready, Some(deadline), now)
                    .expect("a wait");
                assert_eq!(ready.first().expect("nothing came").token, Token::Output);
            }
        }

        fn ended(&mut self, pid: Pid, ending: Ending) -> Option<Answered<u32>> {
            waitpid(pid, None).expect("reaped");
            let took = Duration::ZERO;
            let exited = Exited { pid, ending, took };
            self.capture.conclude(&exited, &mut self.commands, self.now)
        }
    }

    fn parts(answered: Answered<u32>) -> (Vec<u32>, String) {
        let reply = answered.reply.expect("a reply");
        (
            answered.clients,
            String::from_utf8_lossy(&reply).into_owned(),
        )
    }

    #[test]
    fn those_who_wait_share_a_run_and_those_who_come_during_it_do_not() {
        let mut world = World::new("echo up", Duration::ZERO);
        world.capture.push(1, world.now);
        world.capture.push(2, world.now);
        let pid = world.start();
        world.capture.push(3, world.now);
        let later = world.now + Duration::from_secs(9);
        assert!(!world.capture.is_due(later), "two runs at once");
        assert_eq!(parts(world.answer()), (vec![1, 2], "up\n".to_owned()));
        assert_eq!(world.capture.waiting(), 1);
        assert!(!world.capture.is_idle());
        assert!(
            world.ended(pid, Ending::Exited(0)).is_none(),
            "answered twice"
        );
        assert_eq!(world.commands.answered, 2);
    }

    #[test]
    fn a_run_waits_a_moment_for_about_as_many_as_the_last_one_had() {
        let World {
            mut capture, now, ..
        } = World::new("", Duration::ZERO);
        capture.crowd.expected = 10;
        for client in 0..8 {
            capture.push(client, now);
        }
        assert!(!capture.is_due(now));
        assert_eq!(capture.deadline(), Some(now + GATHER));
        assert!(!capture.is_due(now + GATHER), "nobody has looked for more");
        capture.turn_over(now);
        assert!(capture.is_due(now + GATHER));
        capture.push(8, now);
        assert!(capture.is_due(now));
        capture.crowd.expected = 1;
        capture.waiting.truncate(1);
        assert!(
            capture.is_due(now),
            "a single client never waits for others"
        );
    }

    #[test]
    fn two_crowds_are_joined_and_those_who_do_not_come_back_are_waited_for_ever_less() {
        let mut crowd = Crowd::default();
        // Half of the clients ask while the others are being answered.
        crowd.answered(10, 10);
        assert!(!crowd.is_here(10), "they would stay apart");
        assert!(crowd.is_here(18));
        crowd.started(18);
        crowd.answered(18, 2);
        assert!(!crowd.is_here(17) && crowd.is_here(18), "and together");
        crowd.started(18);
        let mut attempts = 0;
        for _ in 0..1000 {
            crowd.answered(10, 10);
            attempts += usize::from(!crowd.is_here(10));
            crowd.started(10);
        }
        assert!((10..=25).contains(&attempts), "{attempts}");
    }

    #[test]
    fn too_much_is_cut() {
        let mut world = World::new("exec cat /dev/zero", Duration::ZERO);
        world.capture.push(1, world.now);
        let pid = world.start();
        assert_eq!(parts(world.answer()).1.len(), LONGEST_ANSWER);
        waitpid(pid, None).expect("it is stopped");
    }

    #[test]
    fn silence_is_an_error_and_is_not_kept() {
        for (script, ending, reply) in [
            (
                "exit 3",
                Ending::Exited(3),
                "error: /bin/sh: exit status 3\n",
            ),
            ("", Ending::Exited(0), "error: /bin/sh: said nothing\n"),
        ] {
            let mut world = World::new(script, Duration::from_secs(60));
            world.capture.push(1, world.now);
            let pid = world.start();
            let answered = world.ended(pid, ending).expect("an answer");
            assert_eq!(parts(answered), (vec![1], reply.to_owned()));
            assert!(world.capture.kept_answer().is_none() && world.capture.is_idle());
            assert_eq!((world.commands.answered, world.commands.failed), (0, 1));
        }
    }

    #[test]
    fn a_part_of_an_answer_is_none() {
        let mut world = World::new("echo a part; exec sleep 60", Duration::from_secs(60));
        world.capture.push(1, world.now);
        let pid = world.start();
        let late = Late {
            pid,
            is_cut_short: false,
        };
        let commands = &mut world.commands;
        let answered = world.capture.time_out(late, commands, world.now);
        let (clients, reply) = parts(answered.expect("an answer"));
        assert_eq!(clients, [1]);
        assert_eq!(
            reply,
            "error: /bin/sh: stopped, as it did not end within 20 s\n"
        );
        assert!(world.capture.kept_answer().is_none());
        commands.children.stop(pid, world.now);
        waitpid(pid, None).expect("it is stopped");
    }

    #[test]
    fn without_a_command_everybody_is_told_why() {
        let mut world = World::new("", Duration::ZERO);
        let command = Command::new(&["/no/such/command".into()]).expect("a command");
        world.commands = Commands::new(command, Children::new(9, Duration::from_secs(20)));
        world.capture.push(1, world.now);
        let refused = world.capture.start(&mut world.commands, world.now);
        let (clients, reply) = parts(refused.expect("an answer"));
        assert_eq!(clients, [1]);
        assert_eq!(
            reply,
            "error: /no/such/command: No such file or directory\n"
        );
        assert!(world.capture.is_idle() && world.commands.failed == 1);
    }

    #[test]
    fn an_answer_is_kept_for_its_age_counted_from_the_start_of_its_run() {
        let mut world = World::new("echo up", Duration::from_secs(3600));
        world.capture.push(1, world.now);
        let pid = world.start();
        world.answer();
        assert!(world.capture.kept_answer().is_some());
        world.capture.max_age = Duration::from_nanos(1);
        assert!(world.capture.kept_answer().is_none());
        waitpid(pid, None).expect("reaped");
    }

    #[test]
    fn without_an_age_nothing_is_kept() {
        let mut world = World::new("echo up", Duration::ZERO);
        world.capture.push(1, world.now);
        let pid = world.start();
        world.answer();
        assert!(world.capture.kept_answer().is_none());
        waitpid(pid, None).expect("reaped");
    }
}
