//! A command of its own for each connection, which is its standard output: APUE's fork/dup2/exec
//! server, without the fork. Connections come in; those whose command has ended, or could not be
//! started, go out.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;

use super::children::{Exited, Late, Slot};
use super::command::words;
use super::commands::Commands;
use super::{Answered, Client, Purpose};
use crate::daemon::intake::admission::Connection;
use crate::daemon::intake::peer::ClientOf;
use crate::daemon::logging as log;
use crate::daemon::sys::Ending;

/// The connections whose command has not been started yet: more were handed over than commands
/// may run, or the machine has no further process for one that was accepted.
#[derive(Default)]
pub(crate) struct Exec {
    waiting: VecDeque<Connection>,
}

impl Exec {
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// True where a connection's command could be started at once.
    pub(crate) fn has_room(&self, commands: &Commands) -> bool {
        self.is_idle() && commands.children.has_room(Slot::Connection)
    }

    pub(crate) fn push(&mut self, connection: Connection) {
        self.waiting.push_back(connection);
    }

    /// Starts a command for each connection that waits, while there is room; gives the next one
    /// whose command cannot be started, and the reason as its answer.
    pub(crate) fn start(&mut self, commands: &mut Commands) -> Option<Answered<Client>> {
        while commands.children.has_room(Slot::Connection) {
            let connection = self.waiting.pop_front()?;
            match commands.spawn(connection.as_fd()) {
                Ok((pid, now)) => {
                    let purpose = Purpose::Exec(connection);
                    commands
                        .children
                        .insert(pid, purpose, Slot::Connection, now);
                }
                // No more processes or memory now, but some of ours are about to end: wait for one.
                Err(Errno::EAGAIN | Errno::ENOMEM) if !commands.children.is_empty() => {
                    self.waiting.push_front(connection);
                    return None;
                }
                Err(errno) => {
                    return Some(commands.refuse(client(connection), words(errno)));
                }
            }
        }
        None
    }

    /// Answers those that wait with the reason why no more commands are started.
    pub(crate) fn give_up(&mut self, commands: &mut Commands, why: &str) -> Answered<Client> {
        let clients = self.waiting.drain(..).map(Client::Connection).collect();
        commands.refuse(clients, why)
    }
}

/// A connection's command has ended: its client has its answer, or gets the reason why not.
pub(crate) fn conclude(
    connection: Connection,
    exited: &Exited,
    commands: &mut Commands,
    now: Instant,
) -> Answered<Client> {
    let well = exited.ending == Ending::Exited(0);
    let peer = ClientOf(connection.as_fd());
    let stream = &connection.stream;
    if !well && (stream.has_gone() || stream.is_deaf()) {
        // The command could not write, because its client does not read.
        log::client_gone(&peer, exited.pid, &exited.ending);
        return Answered {
            clients: client(connection),
            reply: None,
        };
    }
    commands.ended(&peer, exited, now);
    let reply = match exited.ending {
        Ending::Killed(_) => Some(commands.error(&exited.ending.to_string())),
        Ending::Exited(_) => None,
    };
    commands.answer(client(connection), well, reply)
}

/// A connection's command takes too long, and is being stopped.
pub(crate) fn time_out(
    connection: Connection,
    late: Late,
    commands: &mut Commands,
    now: Instant,
) -> Answered<Client> {
    let why = commands.too_late(&ClientOf(connection.as_fd()), late, now);
    commands.refuse(client(connection), &why)
}

fn client(connection: Connection) -> Vec<Client> {
    vec![Client::Connection(connection)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::answer::children::Children;
    use crate::daemon::answer::command::Command;
    use crate::daemon::intake::admission::Admission;
    use crate::daemon::intake::stream::wait_until_gone;
    use crate::daemon::options::Options;
    use clap::Parser;
    use nix::sys::wait::waitpid;
    use nix::unistd::Pid;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn commands(words: &[&str], limit: usize) -> Commands {
        let words: Vec<_> = words.iter().map(Into::into).collect();
        let command = Command::new(&words).expect("a command");
        Commands::new(command, Children::new(limit, Duration::from_secs(10)))
    }

    /// A client, and its connection.
    fn connection() -> (UnixStream, Connection) {
        let (theirs, ours) = UnixStream::pair().expect("a pair");
        let mut admission = Admission::new(&Options::parse_from(["ruptimed"]), 8);
        (theirs, admission.admit(ours.into()).expect("admitted"))
    }

    fn exited(code: Ending) -> Exited {
        Exited {
            pid: Pid::from_raw(i32::MAX),
            ending: code,
            took: Duration::ZERO,
        }
    }

    fn reply(answered: &Answered<Client>) -> Option<String> {
        let reply = answered.reply.as_ref()?;
        Some(String::from_utf8_lossy(reply).into_owned())
    }

    #[test]
    fn the_connection_is_the_commands_output_and_the_others_wait() {
        let mut commands = commands(&["/bin/sh", "-c", "echo out; echo err >&2"], 1);
        let mut exec = Exec::default();
        let (mut theirs, first) = connection();
        let (_theirs, second) = connection();
        assert!(exec.has_room(&commands));
        exec.push(first);
        exec.push(second);
        assert!(exec.start(&mut commands).is_none());
        assert!(!exec.has_room(&commands) && !exec.is_idle());
        let mut output = [0; 8];
        theirs.read_exact(&mut output).expect("the output");
        assert_eq!(&output, b"out\nerr\n");
        let (late, _first) = commands
            .children
            .next_late(Instant::now() + Duration::from_secs(20))
            .expect("a command");
        waitpid(late.pid, None).expect("reaped");
        let given_up = exec.give_up(&mut commands, "why");
        assert_eq!(given_up.clients.len(), 1, "the second still waits");
    }

    #[test]
    fn a_command_that_cannot_be_started_is_an_answer() {
        let mut commands = commands(&["/no/such/command"], 9);
        let mut exec = Exec::default();
        exec.push(connection().1);
        let refused = exec.start(&mut commands).expect("an answer");
        assert_eq!(
            reply(&refused).as_deref(),
            Some("error: /no/such/command: No such file or directory\n")
        );
        assert!(exec.is_idle());
        assert_eq!((commands.answered, commands.failed), (0, 1));
    }

    #[test]
    fn an_end_is_an_answer_counted_and_a_kill_is_told() {
        let mut commands = commands(&["it"], 9);
        let now = Instant::now();
        for (ending, told) in [
            (Ending::Exited(0), None),
            (Ending::Exited(3), None),
            (Ending::Killed(9), Some("error: it: killed by SIGKILL\n")),
        ] {
            let (_theirs, connection) = connection();
            let answered = conclude(connection, &exited(ending), &mut commands, now);
            assert_eq!(reply(&answered).as_deref(), told, "{ending}");
        }
        assert_eq!((commands.answered, commands.failed), (1, 2));
    }

    #[test]
    fn a_client_that_has_gone_is_neither_told_nor_counted() {
        let mut commands = commands(&["it"], 9);
        let (theirs, connection) = connection();
        drop(theirs);
        wait_until_gone(&connection.stream);
        let exited = exited(Ending::Killed(13));
        let answered = conclude(connection, &exited, &mut commands, Instant::now());
        assert_eq!(reply(&answered), None);
        assert_eq!((commands.answered, commands.failed), (0, 0));
    }

    #[test]
    fn who_waits_too_long_is_told_why() {
        let mut commands = commands(&["it"], 9);
        for (is_cut_short, told) in [
            (false, "error: it: stopped, as it did not end within 10 s\n"),
            (true, "error: it: stopped, as ruptimed is leaving\n"),
        ] {
            let pid = Pid::from_raw(i32::MAX);
            let late = Late { pid, is_cut_short };
            let answered = time_out(connection().1, late, &mut commands, Instant::now());
            assert_eq!(reply(&answered).as_deref(), Some(told));
        }
        assert_eq!(commands.failed, 2);
    }
}
