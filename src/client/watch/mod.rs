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

use self::board::Board;
pub(crate) use self::live::{News, run as run_live};
use self::rounds::View;
use crate::client::answer::Round;
use crate::client::discover::ANSWERS_MAX;
use crate::client::memory::{Recorder, note};
use crate::client::output::Settings;
use crate::client::output::clock::Local;
use crate::client::output::conditions::Condition;
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

/// Puts a round on the board, and remembers it. Gives why it is incomplete, one line.
fn take(board: &mut Board, recorder: &RefCell<Option<Recorder>>, round: Round) -> Option<String> {
    let mut recorder = recorder.borrow_mut();
    let has_room = board.put_round(round.answers, |answer| note(&mut recorder, answer));
    if let Some(recorder) = recorder.as_mut() {
        recorder.save_now_and_then();
    }
    let most = || format!("too many machines: only the first {ANSWERS_MAX} are listed");
    round.failure.or_else(|| (!has_room).then(most))
}

struct Watch<'a> {
    plan: Plan<'a>,
    recorder: &'a RefCell<Option<Recorder>>,
    board: Board,
    clock: Local,
    signals: Signals,
}

impl<'a> Watch<'a> {
    fn start(plan: Plan<'a>, recorder: &'a RefCell<Option<Recorder>>) -> io::Result<Self> {
        Ok(Self {
            plan,
            recorder,
            board: Board::of_rounds(if plan.search { ANSWERS_MAX } else { usize::MAX }),
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

    /// Some: whether the round was good; None: the user wants to leave.
    async fn show(&mut self, round: Round) -> io::Result<Option<bool>> {
        // What is marked is new in this round.
        self.board.clear();
        let failure = take(&mut self.board, self.recorder, round);
        let good = failure.is_none() && self.board.is_good(&self.plan.settings);
        let view = View {
            plan: &self.plan,
            board: &self.board,
            clock: &self.clock,
            now: SystemTime::now(),
            failure: failure.as_deref(),
        };
        let (out, err) = view.append()?;
        let done = self.until(print(out, err)).await?;
        Ok(done.transpose()?.map(|()| good))
    }
}
