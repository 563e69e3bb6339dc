//! When a search may end before its time: every question has been asked, somebody has answered, the
//! network has been quiet since, and nobody's name is being looked up any more.
//!
//! Comes in: what happens in the search, as it happens. Goes out: the end of [`Lull::over`].

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

/// The part of a search's time that the network must be quiet. Whoever waits longer for an answer,
/// because machines are slow, also waits longer for the last one.
const PART: u32 = 5;

pub(super) struct Lull {
    quiet: Duration,
    state: Cell<State>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// When the last of all questions was asked.
    asked: Option<Instant>,
    /// When somebody was last heard.
    heard: Option<Instant>,
    /// Names that are being looked up.
    names: usize,
}

impl Lull {
    /// For a search that takes `time` at most.
    pub(super) fn new(time: Duration) -> Lull {
        Lull {
            quiet: time / PART,
            state: Cell::default(),
            changed: Notify::new(),
        }
    }

    /// The last question has been asked.
    pub(super) fn asked(&self) {
        self.change(|state| state.asked = Some(Instant::now()));
    }

    /// An answer came, also one that is known already: the network is not quiet.
    pub(super) fn heard(&self) {
        self.change(|state| state.heard = Some(Instant::now()));
    }

    /// A name is going to be looked up.
    pub(super) fn name_begins(&self) {
        self.change(|state| state.names += 1);
    }

    /// It has been looked up.
    pub(super) fn name_ends(&self) {
        self.change(|state| state.names -= 1);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.get();
        change(&mut state);
        self.state.set(state);
        self.changed.notify_one();
    }

    /// When the search is over if nothing else happens. Never where nobody has answered: the only
    /// machine may be a slow one.
    fn end(&self) -> Option<Instant> {
        match self.state.get() {
            State {
                asked: Some(asked),
                heard: Some(heard),
                names: 0,
            } => Some(asked.max(heard) + self.quiet),
            _ => None,
        }
    }

    /// Waits until the search may end.
    pub(super) async fn over(&self) {
        loop {
            let Some(end) = self.end() else {
                self.changed.notified().await;
                continue;
            };
            sleep_until(end).await;
            // What has arrived meanwhile is looked at first: this process may have been stopped.
            yield_now().await;
            if self.end().is_some_and(|end| end <= Instant::now()) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{sleep, timeout};

    const SECOND: Duration = Duration::from_secs(1);

    /// What happens, and when, in milliseconds.
    type Event = (u64, fn(&Lull));

    /// How long a search of 5 s takes in which `events` happen, in milliseconds; None: no early end.
    async fn length(events: &[Event]) -> Option<u128> {
        let lull = Lull::new(5 * SECOND);
        let begun = Instant::now();
        let happen = async {
            for (at, event) in events {
                sleep_until(begun + Duration::from_millis(*at)).await;
                event(&lull);
            }
            sleep(100 * SECOND).await;
        };
        tokio::select! {
            () = lull.over() => Some(begun.elapsed().as_millis()),
            () = happen => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_the_network_is_quiet_after_the_last_question() {
        let quick = [(1, Lull::heard as fn(&Lull)), (1_000, Lull::asked)];
        assert_eq!(length(&quick).await, Some(2_000));
        let slow = [
            (1_000, Lull::asked as fn(&Lull)),
            (1_700, Lull::heard),
            (2_600, Lull::heard),
        ];
        assert_eq!(length(&slow).await, Some(3_600));
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_end_while_questions_are_left_or_nobody_has_answered() {
        assert_eq!(length(&[(1, Lull::heard)]).await, None);
        assert_eq!(length(&[(1_000, Lull::asked)]).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_the_names_but_not_for_a_lull_after_them() {
        let begins = |lull: &Lull| {
            lull.heard();
            lull.name_begins();
        };
        let mut events: Vec<Event> = vec![(1, begins), (2, begins), (9, Lull::name_ends)];
        events.push((1_000, Lull::asked));
        assert_eq!(length(&events).await, None);
        events.push((1_500, Lull::name_ends));
        assert_eq!(length(&events).await, Some(2_000));
        events.pop();
        events.push((4_000, Lull::name_ends));
        assert_eq!(length(&events).await, Some(4_000));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_waits_to_be_read_is_heard() {
        let lull = Lull::new(5 * SECOND);
        lull.asked();
        lull.heard();
        let late = async {
            // Ready at the same moment as the end.
            sleep(SECOND).await;
            lull.heard();
            sleep(100 * SECOND).await;
        };
        let begun = Instant::now();
        tokio::select! {
            biased;
            () = lull.over() => assert_eq!(begun.elapsed(), 2 * SECOND),
            () = late => panic!("it does not end"),
        }
        assert!(timeout(SECOND, lull.over()).await.is_ok());
    }
}
