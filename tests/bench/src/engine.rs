//! In: a plan. Out: a tally. One thread, one epoll instance, N clients that ask again as soon as they are answered.
//!
//! The measured window begins after the warm-up. When it ends nobody asks any more, and the requests under way are
//! waited for, each within its time-out: their latencies and failures count (leaving the slowest out would flatter
//! the server), their answers do not count into the rate.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};

use crate::answer::Expected;
use crate::conversation::{Conversation, Peer, Step, Target};
use crate::tally::{Failure, Tally};

/// Events taken from the kernel at a time.
const BATCH: usize = 512;
/// How often deadlines are looked at; they are seconds long.
const SWEEP: Duration = Duration::from_millis(50);
/// How long a full UNIX backlog is left alone.
const STALL_MS: u8 = 1;

/// What to ask, and for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Who is asked.
    pub target: Target,
    /// What an answer has to be.
    pub expected: Expected,
    /// Clients at once.
    pub clients: usize,
    /// Time before the measured window.
    pub warmup: Duration,
    /// Length of the measured window, unless `count` is reached before.
    pub duration: Duration,
    /// Requests at most, if bounded.
    pub count: Option<u64>,
    /// Time for one request.
    pub timeout: Duration,
}

struct Run<'a> {
    plan: &'a Plan,
    peer: Peer,
    epoll: Epoll,
    clients: Vec<Conversation>,
    /// UNIX clients that found the backlog full.
    stalled: Vec<usize>,
    /// Clients that failed and ask again at the next sweep: where a server refuses at once, asking again at once
    /// would measure nothing but this loop.
    resting: Vec<usize>,
    active: usize,
    window_begin: Instant,
    window_end: Instant,
    last_answer: Instant,
    tally: Tally,
}

/// Carries out a plan.
///
/// # Errors
/// Only what makes the whole run impossible: no epoll instance, a UNIX path that is too long. All else is a count.
pub fn run(plan: &Plan) -> Result<Tally, Errno> {
    let begin = Instant::now();
    let mut run = Run {
        plan,
        peer: Peer::new(&plan.target)?,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        clients: (0..plan.clients)
            .map(|_| Conversation::new(begin))
            .collect(),
        stalled: Vec::new(),
        resting: Vec::new(),
        active: 0,
        window_begin: begin + plan.warmup,
        window_end: begin + plan.warmup + plan.duration,
        last_answer: begin,
        tally: Tally::default(),
    };
    for client in 0..plan.clients {
        run.ask(client);
    }
    run.serve()?;
    let ended = Instant::now();
    let mut tally = run.tally;
    tally.surplus = run.clients.iter().map(Conversation::surplus).sum();
    tally.total = ended - begin;
    // A run that was bounded by its count has its window end with the last answer.
    let window_end = run.window_end.min(run.last_answer.max(run.window_begin));
    tally.window = match plan.count {
        Some(_) => window_end - run.window_begin,
        None => plan.duration,
    };
    Ok(tally)
}

impl Run<'_> {
    fn serve(&mut self) -> Result<(), Errno> {
        let mut events = vec![EpollEvent::empty(); BATCH];
        let mut sweep_at = Instant::now() + SWEEP;
        while self.active > 0 || !self.resting.is_empty() {
            let patience = if self.stalled.is_empty() {
                EpollTimeout::from(SWEEP.as_millis() as u8)
            } else {
                EpollTimeout::from(STALL_MS)
            };
            let ready = match self.epoll.wait(&mut events, patience) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno),
            };
            for event in &events[..ready] {
                self.advance(event.data() as usize);
            }
            for client in std::mem::take(&mut self.stalled) {
                if self.clients[client].active {
                    let step = self.clients[client].retry(&self.peer, &self.epoll, client as u64);
                    self.take(client, step);
                }
            }
            let now = Instant::now();
            if now >= sweep_at {
                self.sweep(now);
                sweep_at = now + SWEEP;
            }
        }
        Ok(())
    }

    /// Lets a client ask, unless the time or the count is used up.
    fn ask(&mut self, client: usize) {
        let used_up = self
            .plan
            .count
            .is_some_and(|count| self.tally.asked >= count);
        if used_up || Instant::now() >= self.window_end {
            return;
        }
        self.tally.asked += 1;
        self.active += 1;
        let step = self.clients[client].begin(&self.peer, &self.epoll, client as u64);
        self.take(client, step);
    }

    fn advance(&mut self, client: usize) {
        if self.clients[client].active {
            let step = self.clients[client].advance(&self.peer, &self.plan.expected);
            self.take(client, step);
        }
    }

    /// Counts what a step came to; whoever has an answer asks anew.
    fn take(&mut self, client: usize, step: Step) {
        match step {
            Step::Pending => {}
            Step::Stalled => self.stalled.push(client),
            Step::Answered => {
                self.active -= 1;
                self.answered(client);
                self.ask(client);
            }
            Step::Failed(failure) => {
                self.active -= 1;
                if failure == Failure::Wrong && self.tally.first_wrong.is_none() {
                    self.tally.first_wrong = Some(self.clients[client].excerpt());
                }
                self.tally.fail(failure);
                self.resting.push(client);
            }
        }
    }

    fn answered(&mut self, client: usize) {
        let now = Instant::now();
        self.last_answer = now;
        self.tally.answered += 1;
        if now < self.window_begin {
            return;
        }
        let latency = now - self.clients[client].began;
        self.tally.latencies.push(latency.as_nanos() as u64);
        if now < self.window_end {
            self.tally.in_window += 1;
        }
    }

    /// Gives up on the requests whose time is over, and wakes those who rest.
    fn sweep(&mut self, now: Instant) {
        for client in std::mem::take(&mut self.resting) {
            self.ask(client);
        }
        for client in 0..self.clients.len() {
            let conversation = &mut self.clients[client];
            if conversation.active && now - conversation.began >= self.plan.timeout {
                conversation.abandon();
                self.take(client, Step::Failed(Failure::Timeout));
            }
        }
    }
}
