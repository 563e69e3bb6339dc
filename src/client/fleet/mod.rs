//! Many hosts at once, on one thread.
//!
//! Comes in: targets, and how many may be asked at a time. Goes out: each host's answer, with its
//! place in the order given, as soon as it is there. A fixed number of workers take one host after
//! the other, so that memory and descriptors follow the hosts at once and not the hosts in all.
//! Hosts that need no look-up go first: slow names delay nobody but names. A host that is to be
//! tried again (`--wait`) holds no worker while there are hosts that were not asked yet; where no
//! worker is free in time, it is tried late, but with time for an answer.

pub(crate) mod descriptors;
mod retry;

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

use self::retry::RetryPolicy;
use crate::client::answer::Answer;
use crate::client::hosts::target::Target;
use crate::client::query::Prober;

/// Takes the answer of the host at a place in the order given; Break: ask no more.
pub(crate) type Sink = Box<dyn FnMut(usize, Answer) -> ControlFlow<()>>;

/// Asks all of `targets`, at most `jobs` at a time, each again for `wait` while it does not
/// answer.
pub(crate) async fn ask(
    prober: Rc<Prober>,
    targets: Rc<[Target]>,
    jobs: usize,
    wait: Option<Duration>,
    mut sink: Sink,
) {
    if let [target] = &*targets {
        // No workers to start for the most ordinary call.
        let answer = ask_with_retries(&prober, target, wait).await;
        let _ = sink(0, answer);
        return;
    }
    let workers = jobs.min(targets.len());
    if workers == 0 {
        return;
    }
    let fleet = Rc::new(Fleet {
        prober,
        queue: RefCell::new(Queue {
            cursor: 0,
            again: BinaryHeap::new(),
        }),
        targets,
        wait,
        sink: RefCell::new(sink),
        working: Cell::new(workers),
        stop: Cell::new(false),
        done: Notify::new(),
    });
    let set = LocalSet::new();
    for _ in 0..workers {
        set.spawn_local(work(Rc::clone(&fleet)));
    }
    // Workers that are left when the sink wants no more are dropped with the set.
    set.run_until(fleet.done.notified()).await;
}

/// Asks one host until it answers or the policy gives up.
async fn ask_with_retries(prober: &Prober, target: &Target, wait: Option<Duration>) -> Answer {
    let begun = Instant::now();
    let mut policy = wait.map(RetryPolicy::new);
    loop {
        let (answer, may_pass) = prober
            .ask(target, limit(prober, policy.as_ref(), begun))
            .await;
        let pause = policy
            .as_mut()
            .filter(|_| may_pass)
            .and_then(|p| p.pause(begun.elapsed()));
        match pause {
            Some(pause) => sleep_until(Instant::now() + pause).await,
            None => return answer,
        }
    }
}

fn limit(prober: &Prober, policy: Option<&RetryPolicy>, begun: Instant) -> Duration {
    match policy {
        Some(policy) => policy.for_try(begun.elapsed(), prober.timeout()),
        None => prober.timeout(),
    }
}

struct Fleet {
    prober: Rc<Prober>,
    targets: Rc<[Target]>,
    queue: RefCell<Queue>,
    wait: Option<Duration>,
    sink: RefCell<Sink>,
    working: Cell<usize>,
    stop: Cell<bool>,
    done: Notify,
}

/// The hosts that nobody asks at the moment.
struct Queue {
    /// Counts twice through the targets: first those without a look-up, then the others.
    cursor: usize,
    /// Those to be tried again, the earliest on top.
    again: BinaryHeap<Reverse<Again>>,
}

/// A host that is to be tried again.
struct Again {
    at: Instant,
    slot: usize,
    begun: Instant,
    policy: RetryPolicy,
}

impl PartialEq for Again {
    fn eq(&self, other: &Again) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Again {}
impl PartialOrd for Again {
    fn partial_cmp(&self, other: &Again) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Again {
    fn cmp(&self, other: &Again) -> std::cmp::Ordering {
        (self.at, self.slot).cmp(&(other.at, other.slot))
    }
}

async fn work(fleet: Rc<Fleet>) {
    while !fleet.stop.get() {
        let Some(mut task) = fleet.next() else { break };
        // In the past for a first try: costs no timer then.
        if task.at > Instant::now() {
            sleep_until(task.at).await;
        }
        let policy = fleet.wait.is_some().then_some(&task.policy);
        let limit = limit(&fleet.prober, policy, task.begun);
        let (answer, may_pass) = fleet.prober.ask(&fleet.targets[task.slot], limit).await;
        let pause = match fleet.wait {
            Some(_) if may_pass => task.policy.pause(task.begun.elapsed()),
            _ => None,
        };
        match pause {
            Some(pause) => {
                task.at = Instant::now() + pause;
                fleet.queue.borrow_mut().again.push(Reverse(task));
            }
            None => {
                if (fleet.sink.borrow_mut())(task.slot, answer).is_break() {
                    fleet.stop.set(true);
                    fleet.done.notify_one();
                }
            }
        }
    }
    fleet.working.set(fleet.working.get() - 1);
    if fleet.working.get() == 0 {
        fleet.done.notify_one();
    }
}

impl Fleet {
    /// What to do next: a host whose time has come, else one that was not asked yet, else the
    /// one whose time comes first.
    fn next(&self) -> Option<Again> {
        let mut queue = self.queue.borrow_mut();
        let now = Instant::now();
        if queue
            .again
            .peek()
            .is_some_and(|Reverse(again)| again.at <= now)
        {
            return queue.again.pop().map(|Reverse(again)| again);
        }
        let all = self.targets.len();
        while queue.cursor < 2 * all {
            let (slot, direct) = (queue.cursor % all, queue.cursor < all);
            queue.cursor += 1;
            if self.targets[slot].is_direct() == direct {
                let policy = RetryPolicy::new(self.wait.unwrap_or_default());
                return Some(Again {
                    at: now,
                    slot,
                    begun: now,
                    policy,
                });
            }
        }
        queue.again.pop().map(|Reverse(again)| again)
    }
}
