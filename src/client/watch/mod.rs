//! `--watch`: hosts asked again and again, and what changed in between.
//!
//! On a screen: `live`. Elsewhere, here: one round of asking after the other. Comes in: how to ask
//! (a closure that gives a round's answers), how to print, how often. Goes out: one round after the
//! other, and whether the last whole one was good. Ends with Ctrl-C (or SIGTERM, SIGHUP), or when
//! standard output cannot be written to.

mod board;
mod changes;
mod live;
mod marks;
mod picture;
mod rounds;

use std::cell::RefCell;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use self::changes::History;
pub(crate) use self::live::{News, run as run_live};
use self::rounds::View;
use crate::client::answer::{Answer, Round};
use crate::client::discover::ANSWERS_MAX;
use crate::client::memory::{Past, Recorder, note};
use crate::client::output::clock::Local;
use crate::client::output::conditions::Condition;
use crate::client::output::sort;
use crate::client::output::{Format, Settings, is_success};
use crate::client::terminal::signals::{Event, Signals};

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) settings: Settings,
    /// Of every host that is shown.
    pub(crate) conditions: &'a [Condition],
    /// From the start of one round to the start of the next.
    pub(crate) interval: Duration,
    /// Each round finds the hosts anew.
    pub(crate) search: bool,
}

/// Asks round after round (the next at once, where a round took longer than the interval) until the
/// user leaves. Ok: whether every host answered in the last whole round; false before the first.
///
/// # Errors
/// Asking failed; standard output cannot be written to, or signals cannot be taken over.
pub(crate) async fn run(
    plan: Plan<'_>,
    recorder: &RefCell<Option<Recorder>>,
    mut ask: impl AsyncFnMut() -> io::Result<Round>,
) -> io::Result<bool> {
    let mut good = false;
    let mut watch = Watch::start(plan, recorder)?;
    loop {
        let start = Instant::now();
        let Some(round) = watch.until(ask()).await? else {
            return Ok(good);
        };
        let Some(everybody) = watch.show(round?).await? else {
            return Ok(good);
        };
        good = everybody;
        let pause = sleep_until(start + plan.interval);
        if watch.until(pause).await?.is_none() {
            return Ok(good);
        }
    }
}

/// Writes to standard error and standard output on a thread of its own, since a write to a pipe
/// blocks while its reader does not read, and a signal must end the process nevertheless. If
/// standard error cannot be written to, there is no place to report that.
pub(crate) async fn print(out: Vec<u8>, err: Vec<u8>) -> io::Result<()> {
    let write = move || {
        let _ = io::stderr().write_all(&err);
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out)?;
        stdout.flush()
    };
    spawn_blocking(write).await.map_err(io::Error::other)?
}

/// Whether there were hosts in a round, and all of them answered.
fn is_good(format: Format, round: &Round) -> bool {
    let mut outcomes = round.answers.iter().map(|answer| &answer.outcome);
    let everybody = outcomes.all(|outcome| is_success(format, outcome));
    everybody && !round.answers.is_empty() && round.failure.is_none()
}

struct Watch<'a> {
    plan: Plan<'a>,
    recorder: &'a RefCell<Option<Recorder>>,
    history: History,
    clock: Local,
    signals: Signals,
}

impl<'a> Watch<'a> {
    fn start(plan: Plan<'a>, recorder: &'a RefCell<Option<Recorder>>) -> io::Result<Self> {
        let most = if plan.search { ANSWERS_MAX } else { usize::MAX };
        Ok(Self {
            plan,
            recorder,
            history: History::new(most),
            clock: Local::new(),
            signals: Signals::take(false)?,
        })
    }

    /// Waits for `future` and handles signals while it does. None: the user wants to leave.
    async fn until<F: Future>(&mut self, future: F) -> io::Result<Option<F::Output>> {
        let mut future = std::pin::pin!(future);
        loop {
            tokio::select! {
                biased;
                event = self.signals.next() => if event? == Event::Leave {
                    return Ok(None);
                },
                done = &mut future => return Ok(Some(done)),
            }
        }
    }

    /// What was known of each host before its answer; JSON lines that have left have been noted.
    fn remember(&self, answers: &[Answer]) -> Vec<Past> {
        let mut recorder = self.recorder.borrow_mut();
        let pasts = answers
            .iter()
            .map(|answer| note(&mut recorder, answer))
            .collect();
        if let Some(recorder) = recorder.as_mut() {
            recorder.save_now_and_then();
        }
        pasts
    }

    /// Some: whether the round was good; None: the user wants to leave.
    async fn show(&mut self, mut round: Round) -> io::Result<Option<bool>> {
        // JSON lines have left as they came, but for the hosts that are found no more.
        let settings = self.plan.settings;
        let at_once = settings.format == Format::Jsonl;
        let printed = if at_once { round.answers.len() } else { 0 };
        if self.plan.search {
            round.answers.extend(self.history.absent(&round.answers));
        }
        let good = is_good(settings.format, &round);
        if !at_once {
            sort::sort(&mut round.answers, settings.sort, settings.reverse);
        }
        let changes = self.history.note(&round.answers);
        let pasts = self.remember(&round.answers[printed..]);
        let view = View {
            settings: &settings,
            conditions: self.plan.conditions,
            clock: &self.clock,
            now: SystemTime::now(),
            answers: &round.answers[printed..],
            changes: &changes[printed..],
            pasts: &pasts,
            failure: round.failure.as_deref(),
        };
        let (out, err) = view.append()?;
        let done = self.until(print(out, err)).await?;
        Ok(done.transpose()?.map(|()| good))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{down, error, up};

    #[test]
    fn a_round_is_good_when_everybody_and_anybody_answered() {
        let web = || up("web1", 60, None, None);
        let db = || down("db1", "no answer");
        let odd = || error("odd", "hello");
        let good = |format, answers| {
            let failure = None;
            is_good(format, &Round { answers, failure })
        };
        assert!(good(Format::Table, vec![web()]));
        assert!(!good(Format::Table, vec![]));
        assert!(!good(Format::Table, vec![web(), db()]));
        assert!(!good(Format::Json, vec![odd()]));
        assert!(good(Format::Text, vec![web(), odd()]));
        let cut = Round {
            answers: vec![web()],
            failure: Some("too many answers".to_owned()),
        };
        assert!(!is_good(Format::Table, &cut));
    }
}
