//! Requests that were admitted come in, answers and those they are for come out.
//!
//! A connection goes to a command of its own ([`exec`]) or, as every datagram does, to a run that
//! is shared ([`capture`]). Both start and end their [`commands`] in one place. What has been
//! answered goes to [`linger`], or to the datagram sockets.

pub(crate) mod capture;
pub(crate) mod children;
pub(crate) mod command;
pub(crate) mod commands;
pub(crate) mod exec;
pub(crate) mod linger;

use std::sync::Arc;
use std::time::Instant;

use self::capture::Capture;
use self::children::{Children, Slot};
use self::command::Command;
use self::commands::{Commands, LEAVING};
use self::exec::Exec;
use super::datagrams::socket::Request;
use super::intake::admission::Connection;
use super::manager::Counts;
use super::options::{Handoff, Options};
use super::poll::{Registry, Timed};

/// Datagrams that may wait for a run; the rest stay in the socket's queue.
const WAITING_DATAGRAMS: usize = 4096;

/// What a command runs for.
pub(crate) enum Purpose {
    /// One connection, which is its output.
    Exec(Connection),
    /// All who waited when it started.
    Run,
}

/// Who is answered.
pub(crate) enum Client {
    Connection(Connection),
    /// A datagram, and the index of the socket that it came to.
    Datagram(usize, Request),
}

/// An answer, and who it is for. None: the command has written it.
pub(crate) struct Answered<W> {
    pub(crate) clients: Vec<W>,
    pub(crate) reply: Option<Arc<[u8]>>,
}

/// The requests that are being answered.
pub(crate) struct Answers {
    handoff: Handoff,
    commands: Commands,
    exec: Exec,
    capture: Capture<Client>,
    /// By when every command has ended or is stopped, once the daemon stops.
    end_by: Option<Instant>,
    /// What has been answered, and has not been taken yet.
    finished: Vec<Answered<Client>>,
}

impl Answers {
    pub(crate) fn new(options: &Options, command: Command, registry: Registry) -> Self {
        let children = Children::new(options.max_children.get(), options.child_timeout);
        Answers {
            handoff: options.handoff,
            commands: Commands::new(command, children),
            exec: Exec::default(),
            capture: Capture::new(registry, options.max_age),
            end_by: None,
            finished: Vec::new(),
        }
    }

    /// Nobody waits for an answer, and no command runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.commands.children.is_empty() && self.exec.is_idle() && self.capture.is_idle()
    }

    /// Nobody who sent a datagram waits for an answer.
    pub(crate) fn is_idle_for_datagrams(&self) -> bool {
        self.capture.is_idle()
    }

    /// True where one more connection can be answered.
    pub(crate) fn has_room_for_connection(&self) -> bool {
        match self.handoff {
            Handoff::Exec => self.exec.has_room(&self.commands),
            Handoff::Capture => true,
        }
    }

    /// True where one more datagram may wait.
    pub(crate) fn has_room_for_datagram(&self) -> bool {
        self.capture.waiting() < WAITING_DATAGRAMS
    }

    /// Answers a connection with a command of its own, or with the next run.
    pub(crate) fn connection(&mut self, connection: Connection, now: Instant) {
        match self.handoff {
            Handoff::Exec => {
                self.exec.push(connection);
                self.start_execs();
            }
            Handoff::Capture => self.share(Client::Connection(connection), now),
        }
    }

    /// Answers a datagram with the next run.
    pub(crate) fn datagram(&mut self, socket: usize, request: Request, now: Instant) {
        self.share(Client::Datagram(socket, request), now);
    }

    /// Queues a client for the next run, or answers it at once where `--max-age` allows it.
    fn share(&mut self, client: Client, now: Instant) {
        match self.capture.kept_answer() {
            Some(answer) => {
                self.commands.answered += 1;
                self.finished.push(Answered {
                    clients: vec![client],
                    reply: Some(answer),
                });
            }
            None => self.capture.push(client, now),
        }
    }

    fn start_execs(&mut self) {
        while let Some(refused) = self.exec.start(&mut self.commands) {
            self.finished.push(refused);
        }
    }

    /// Starts a run, where one is due and there is room for it.
    pub(crate) fn start_due_run(&mut self, now: Instant) {
        if self.capture.is_due(now) && self.commands.children.has_room(Slot::Run) {
            let refused = self.capture.start(&mut self.commands, now);
            self.finished.extend(refused);
        }
    }

    /// A turn of the loop is over.
    pub(crate) fn turn_over(&mut self, now: Instant) {
        self.capture.turn_over(now);
    }

    /// A run's command has said something, or everything.
    pub(crate) fn output_ready(&mut self, now: Instant) {
        let answered = self.capture.read(&mut self.commands, now);
        self.finished.extend(answered);
    }

    /// Concludes what has ended, and starts what waited for it.
    pub(crate) fn reap(&mut self) {
        while let Some((purpose, exited)) = self.commands.children.reap() {
            let now = Instant::now();
            let commands = &mut self.commands;
            let answered = match purpose {
                Some(Purpose::Exec(connection)) => {
                    Some(exec::conclude(connection, &exited, commands, now))
                }
                Some(Purpose::Run) => self.capture.conclude(&exited, commands, now),
                None => None,
            };
            self.finished.extend(answered);
        }
        self.start_execs();
    }

    fn stop_late(&mut self, now: Instant) {
        while let Some((late, purpose)) = self.commands.children.next_late(now) {
            let commands = &mut self.commands;
            let answered = match purpose {
                Purpose::Exec(connection) => Some(exec::time_out(connection, late, commands, now)),
                Purpose::Run => self.capture.time_out(late, commands, now),
            };
            self.finished.extend(answered);
        }
    }

    /// The daemon stops: after `end` no client waits any more.
    pub(crate) fn end_by(&mut self, end: Instant) {
        self.end_by = Some(end);
        self.commands.children.end_by(end);
    }

    /// Answers those who still wait for a command with the reason why none is started.
    fn turn_away_waiting(&mut self) {
        let refused = [
            self.exec.give_up(&mut self.commands, LEAVING),
            self.capture.give_up(&mut self.commands, LEAVING),
        ];
        let refused = refused.into_iter().filter(|it| !it.clients.is_empty());
        self.finished.extend(refused);
    }

    /// Takes what has been answered.
    pub(crate) fn finished(&mut self) -> impl Iterator<Item = Answered<Client>> {
        self.finished.drain(..)
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            answered: self.commands.answered,
            failed: self.commands.failed,
            running: self.commands.children.len(),
        }
    }
}

impl Timed for Answers {
    fn deadline(&self) -> Option<Instant> {
        // While no run can be started, the end of a command is what is waited for.
        let has_room = self.commands.children.has_room(Slot::Run);
        let run = self.capture.deadline().filter(|_| has_room);
        let is_waited_for = !self.exec.is_idle() || self.capture.waiting() > 0;
        let end = self.end_by.filter(|_| is_waited_for);
        [self.commands.children.deadline(), run, end]
            .into_iter()
            .flatten()
            .min()
    }

    fn tick(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.commands.children.deadline()) {
            // A command that has ended, or whose output has, is not late: this process was kept from
            // looking, by SIGSTOP or by a busy machine.
            self.output_ready(now);
            self.reap();
        }
        self.stop_late(now);
        if is_due(self.end_by) {
            self.turn_away_waiting();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::intake::admission::Admission;
    use crate::daemon::poll::Poll;
    use clap::Parser;
    use nix::sys::wait::waitpid;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    const SLEEP: [&str; 3] = ["--", "/bin/sleep", "60"];

    /// Answers by a command that sleeps, and the admission of its connections.
    fn world(arguments: &[&str]) -> (Answers, Admission) {
        let words = ["ruptimed"].iter().chain(arguments).chain(&SLEEP);
        let options = Options::parse_from(words);
        let command = Command::new(&options.command).expect("a command");
        let poll = Poll::new().expect("an epoll");
        let answers = Answers::new(&options, command, poll.registry().clone());
        (answers, Admission::new(&options, 8))
    }

    /// Has a connection answered; gives its client.
    fn connect(answers: &mut Answers, admission: &mut Admission, now: Instant) -> UnixStream {
        let (theirs, ours) = UnixStream::pair().expect("a pair");
        answers.connection(admission.admit(ours.into()).expect("admitted"), now);
        theirs
    }

    fn replies(answers: &mut Answers) -> Vec<String> {
        let replies = answers.finished().filter_map(|answered| answered.reply);
        replies
            .map(|reply| String::from_utf8_lossy(&reply).into_owned())
            .collect()
    }

    #[test]
    fn a_stop_bounds_those_who_run_and_turns_away_those_who_wait() {
        let now = Instant::now();
        let (mut answers, mut admission) = world(&["--max-children", "1"]);
        assert!(answers.has_room_for_connection() && answers.is_idle());
        let _clients = [0; 2].map(|_| connect(&mut answers, &mut admission, now));
        assert!(!answers.has_room_for_connection());
        assert_eq!(answers.counts().running, 1);
        let end = now + Duration::from_secs(1);
        answers.end_by(end);
        assert_eq!(answers.deadline(), Some(end));
        assert!(replies(&mut answers).is_empty());
        answers.turn_away_waiting();
        let leaving = "error: /bin/sleep: stopped, as ruptimed is leaving\n";
        assert_eq!(replies(&mut answers), [leaving]);
        let (late, _connection) = answers.commands.children.next_late(end).expect("it runs");
        assert!(late.is_cut_short);
        waitpid(late.pid, None).expect("it is stopped");
        assert_eq!(answers.counts().failed, 1);
    }

    #[test]
    fn a_shared_run_starts_beside_as_many_commands_as_may_run() {
        let now = Instant::now();
        let (mut answers, mut admission) = world(&["--max-children", "1"]);
        let _client = connect(&mut answers, &mut admission, now);
        let (theirs, ours) = UnixStream::pair().expect("a pair");
        let waiting = admission.admit(ours.into()).expect("admitted");
        answers.share(Client::Connection(waiting), now);
        assert!(answers.deadline().is_some());
        answers.start_due_run(now);
        assert_eq!(answers.counts().running, 2);
        assert!(!answers.is_idle_for_datagrams());
        drop(theirs);
        let end = now + Duration::from_secs(20);
        while let Some((late, _purpose)) = answers.commands.children.next_late(end) {
            waitpid(late.pid, None).expect("it is stopped");
        }
    }
}
