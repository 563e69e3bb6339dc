//! The run that is shared: who waits for it, on a stream or with a datagram, and the answer to
//! all of them. APUE's popen server and its datagram server, with one run for many.

use std::rc::Rc;
use std::time::Instant;

use super::{Purpose, Server, Waiter};
use crate::daemon::answer::capture::{Answered, LONGEST_ANSWER, Progress};
use crate::daemon::answer::children::{Ending, Exited, Late, words};
use crate::daemon::datagrams::socket::Request;
use crate::daemon::logging as log;
use crate::daemon::options::Handoff;

impl Server {
    /// Has somebody wait for the next run, or answers at once where `--max-age` allows it.
    pub(super) fn share(&mut self, waiter: Waiter, now: Instant) {
        match self.capture.kept_answer() {
            Some(answer) => {
                self.counts.answered += 1;
                self.deliver(waiter, answer, now);
            }
            None => self.capture.wait(waiter, now),
        }
    }

    fn deliver(&mut self, waiter: Waiter, answer: Rc<[u8]>, now: Instant) {
        match waiter {
            Waiter::Stream(connection) => self.finish(connection, Some(answer), now),
            Waiter::Datagram { socket, request } => {
                if let Some(answer) = self.within_rate_limit(&request, answer, now) {
                    self.datagrams[socket].reply(request, answer, now);
                }
            }
        }
    }

    /// Counts an answer's bytes (`--rate-limit`). One that is longer than a second's whole share can
    /// never be sent, so its client is told; one that is too much now is dropped, and its client
    /// asks again.
    fn within_rate_limit(
        &mut self,
        request: &Request,
        answer: Rc<[u8]>,
        now: Instant,
    ) -> Option<Rc<[u8]>> {
        let Some(source) = request.peer().ip() else {
            return Some(answer);
        };
        let (length, longest) = (answer.len(), self.rate_limiter.longest());
        let answer = match longest.filter(|longest| length as u64 > *longest) {
            Some(longest) => format!(
                "error: the answer's {length} bytes are more than the {longest} of --rate-limit\n"
            )
            .into_bytes()
            .into(),
            None => answer,
        };
        self.rate_limiter
            .admits_bytes(source, answer.len(), now)
            .then_some(answer)
    }

    pub(super) fn deliver_all(&mut self, answered: Option<Answered<Waiter>>, now: Instant) {
        if let Some(Answered { clients, answer }) = answered {
            for waiter in clients {
                self.deliver(waiter, answer.clone(), now);
            }
            self.last_active = now;
        }
    }

    /// True where a run is due and a command may be started.
    pub(super) fn run_is_due(&self, now: Instant) -> bool {
        self.may_start() && self.capture.is_due(now)
    }

    /// Starts a run for all who wait; if it cannot be started, they hear why.
    pub(super) fn start_run(&mut self, now: Instant) {
        self.is_runs_turn = self.handoff == Handoff::Capture || self.listeners.is_empty();
        match self.capture.start(&self.poll, &mut self.command) {
            Ok(pid) => {
                log::spawn_recovered(self.faults.spawn.ok(), &self.command);
                // Its time begins when it has been started, which may take a while.
                self.children.insert(pid, Purpose::Shared, Instant::now());
            }
            Err(errno) => {
                log::spawn_failed(self.faults.spawn.fail(now), &self.command, errno);
                let clients = self.capture.give_up();
                self.count(false, clients.len());
                let answer = self.error(words(errno));
                self.deliver_all(Some(Answered { clients, answer }), now);
            }
        }
    }

    /// The command has said something, or everything.
    pub(super) fn output_ready(&mut self, now: Instant) {
        match self.capture.read() {
            // Silence is explained by the exit status, which is about to come.
            Progress::Running | Progress::Silent => {}
            Progress::Ended => {
                self.faults.cut.ok();
                self.end_run(now, Ending::Exited(0));
            }
            Progress::Cut(pid) => {
                log::cut(self.faults.cut.fail(now), pid, LONGEST_ANSWER);
                self.children.stop(pid, Purpose::Told, now);
                self.end_run(now, Ending::Exited(0));
            }
        }
    }

    /// Answers those who share the run, with what the command has said or with how it ended.
    fn end_run(&mut self, now: Instant, ending: Ending) {
        let reason = match ending {
            Ending::Exited(0) => "said nothing".to_owned(),
            ending => ending.to_string(),
        };
        let error = self.error(&reason);
        let answered = self.capture.finish(now, || error.clone());
        if let Some(answered) = &answered {
            self.count(
                !Rc::ptr_eq(&answered.answer, &error),
                answered.clients.len(),
            );
        }
        self.deliver_all(answered, now);
    }

    /// A run's command has ended. A grandchild that holds the pipe is not waited for.
    pub(super) fn conclude_run(&mut self, exited: &Exited) {
        let now = Instant::now();
        log::ended(
            self.faults.ended(exited.ending, now),
            &"all who waited",
            exited.pid,
            exited.ending,
            exited.took,
        );
        if self.capture.is_run(exited.pid) {
            self.capture.read();
            self.end_run(now, exited.ending);
        }
    }

    /// A run's command takes too long, and is being stopped: what it has said is not everything.
    pub(super) fn time_out_run(&mut self, late: Late, now: Instant) {
        let error = self.too_late(late, &"all who waited", now);
        if self.capture.is_run(late.pid) {
            let answered = self.capture.fail(now, error);
            self.count(
                false,
                answered
                    .as_ref()
                    .map_or(0, |answered| answered.clients.len()),
            );
            self.deliver_all(answered, now);
        }
    }
}
