//! Many hosts at once, on one thread.
//!
//! Comes in: targets, and how many may be asked at a time. Goes out: each host's answer through a
//! channel, with its slot in the order given, as soon as it is known. A fixed number of workers
//! take one host after the other, so that memory and descriptors follow the hosts at once and not
//! the hosts in all. Hosts that need no look-up go first, so that a slow name server delays names only. A host
//! that is to be tried again (`--wait`) holds no worker while there are hosts that were not asked
//! yet; where no worker is free in time, it is tried late, but with time for an answer.

pub(crate) mod descriptors;
mod retry;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use self::retry::{RetryPolicy, has_rebooted};
use crate::client::answer::{Answer, Outcome};
use crate::client::hosts::targets::Targets;
use crate::client::output::clock;
use crate::client::query::Prober;

/// How hosts are asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// At most this many at a time.
    pub(crate) jobs: usize,
    /// `--wait`: each again for this long while it does not answer.
    pub(crate) wait: Option<Duration>,
    /// `--rebooted`: only an answer counts whose boot is later than this.
    pub(crate) rebooted_since: Option<Instant>,
}

/// `--watch`: each host again and again.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    /// From the start of one question to the start of the next; at once where that took longer.
    pub(crate) interval: Duration,
    /// Since when each host has been asked without an answer, by its slot.
    pub(crate) asked: Rc<[Cell<Option<Instant>>]>,
}

impl Schedule {
    pub(crate) fn new(interval: Duration, hosts: usize) -> Schedule {
        let asked = (0..hosts).map(|_| Cell::new(None)).collect();
        Schedule { interval, asked }
    }
}

/// Starts to ask all of `targets`, by tasks of the `LocalSet` that this runs in. Each answer goes
/// to `answers` with its slot; the channel is closed after the last one, which never comes with a
/// `schedule`. Once its other end is dropped, no further host is asked.
pub(crate) fn start(
    prober: &Rc<Prober>,
    targets: &Rc<Targets>,
    plan: Plan,
    schedule: Option<Schedule>,
    answers: &UnboundedSender<(usize, Answer)>,
) {
    let fleet = Rc::new(Fleet {
        prober: Rc::clone(prober),
        targets: Rc::clone(targets),
        plan,
        schedule,
        queue: RefCell::default(),
    });
    for _ in 0..plan.jobs.min(targets.len()) {
        spawn_local(work(Rc::clone(&fleet), answers.clone()));
    }
}

struct Fleet {
    prober: Rc<Prober>,
    targets: Rc<Targets>,
    plan: Plan,
    schedule: Option<Schedule>,
    queue: RefCell<Queue>,
}

/// The hosts that no worker holds.
#[derive(Default)]
struct Queue {
    /// Counts twice through the targets: first those without a look-up, then the others.
    cursor: usize,
    /// Those to be tried again, the earliest first.
    again: BTreeMap<(Instant, usize), Task>,
}

/// A host that is being asked, once or several times.
struct Task {
    slot: usize,
    /// When it was asked for the first time.
    begun: Instant,
    /// It is not its first try.
    is_again: bool,
    policy: RetryPolicy,
}

async fn work(fleet: Rc<Fleet>, answers: UnboundedSender<(usize, Answer)>) {
    while let Some((at, mut task)) = fleet.next() {
        // In the past for a first try: costs no timer then.
        if at > Instant::now() {
            sleep_until(at).await;
        }
        fleet.begin(&mut task);
        let (answer, again) = fleet.ask(&task).await;
        let pause = task.policy.pause(task.begun.elapsed());
        match pause.filter(|_| again) {
            Some(pause) => {
                let at = Instant::now() + pause;
                let mut queue = fleet.queue.borrow_mut();
                queue.again.insert((at, task.slot), task);
            }
            None if answers.send((task.slot, answer)).is_err() => break,
            None => fleet.end(task),
        }
    }
}

impl Fleet {
    /// A try begins.
    fn begin(&self, task: &mut Task) {
        if task.is_again {
            return;
        }
        (task.begun, task.is_again) = (Instant::now(), true);
        if let Some(schedule) = &self.schedule {
            schedule.asked[task.slot].set(Some(task.begun));
        }
    }

    /// A host has answered, or never will. With a schedule its next question is due.
    fn end(&self, task: Task) {
        let Some(Schedule { interval, asked }) = &self.schedule else {
            return;
        };
        asked[task.slot].set(None);
        let now = Instant::now();
        // An interval beyond all times is never over.
        let Some(at) = task.begun.checked_add(*interval) else {
            return;
        };
        let task = Task {
            is_again: false,
            policy: RetryPolicy::new(self.plan.wait),
            ..task
        };
        let mut queue = self.queue.borrow_mut();
        queue.again.insert((at.max(now), task.slot), task);
    }

    /// What to do next, and when: a host whose time has come, else one that was not asked yet, else
    /// the one whose time comes first.
    fn next(&self) -> Option<(Instant, Task)> {
        let mut queue = self.queue.borrow_mut();
        let now = Instant::now();
        let due = queue.again.first_key_value();
        // In a watch no host waits for the second question to another before its own first one.
        if self.schedule.is_some() || due.is_none_or(|((at, _), _)| *at > now) {
            let all = self.targets.len();
            while queue.cursor < 2 * all {
                let (slot, direct) = (queue.cursor % all, queue.cursor < all);
                queue.cursor += 1;
                if self.targets.get(slot).is_direct() == direct {
                    let policy = RetryPolicy::new(self.plan.wait);
                    let task = Task {
                        slot,
                        begun: now,
                        is_again: false,
                        policy,
                    };
                    return Some((now, task));
                }
            }
        }
        let ((at, _), task) = queue.again.pop_first()?;
        Some((at, task))
    }

    /// Asks once. The second value is whether a later try may succeed.
    async fn ask(&self, task: &Task) -> (Answer, bool) {
        let limit = |most| task.policy.for_try(task.begun.elapsed(), most);
        let target = self.targets.get(task.slot);
        let (mut answer, again) = self.prober.ask(&target, limit).await;
        if let (Some(since), Some(report)) = (self.plan.rebooted_since, answer.outcome.report()) {
            if !has_rebooted(report.uptime, since.elapsed()) {
                let uptime = clock::span(report.uptime);
                let reason = format!("not rebooted, up {uptime}");
                answer.outcome = Outcome::Down { reason };
                return (answer, true);
            }
        }
        (answer, again)
    }
}
