//! `--watch` on a screen: each host on its own schedule, and a picture of all of them.
//!
//! Comes in: answers as they come, keys, signals. Goes out: a frame when something has changed, or
//! the clock has, and whether every host's last answer was one. Ends with `q` or Ctrl-C (or SIGTERM,
//! SIGHUP, SIGQUIT), or when standard output cannot be written to.

use std::cell::RefCell;
use std::io;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, raise};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::board::Board;
use super::picture::{Picture, Scroll};
use super::{Plan, take};
use crate::client::answer::Round;
use crate::client::discover::ANSWERS_MAX;
use crate::client::fleet::Schedule;
use crate::client::memory::{Recorder, note};
use crate::client::output::clock::Local;
use crate::client::slots::Arrival;
use crate::client::terminal::keys::Key;
use crate::client::terminal::screen::{Screen, size};
use crate::client::terminal::signals::{Event, Signals};

/// At most this much news is taken at a time.
const BATCH: usize = 1024;
/// Between two frames at least; more where a frame takes long.
const PAUSE: Duration = Duration::from_millis(100);
/// A frame may take this part of the time.
const SHARE: u32 = 8;
/// The clock on the screen goes on by itself.
const TICK: Duration = Duration::from_secs(1);
/// A host that answers within this time is not dimmed in between.
const GRACE: Duration = Duration::from_millis(500);

/// Where answers come from: one by one with their slots, or the rounds of a search.
pub(crate) struct News {
    pub(crate) arrivals: UnboundedReceiver<Arrival>,
    pub(crate) rounds: UnboundedReceiver<Round>,
}

/// Watches hosts of these `names`, or those that searches find, until the user leaves. Ok: whether
/// there are hosts, and each has answered the last time it was asked.
///
/// # Errors
/// Standard output cannot be written to, or signals cannot be taken over.
pub(crate) async fn run<'a>(
    plan: Plan<'_>,
    recorder: &RefCell<Option<Recorder>>,
    names: impl Iterator<Item = &'a str>,
    schedule: &Schedule,
    news: News,
) -> io::Result<bool> {
    // First the signals, then the screen, so that no signal ends the process with the screen taken.
    let signals = Signals::take(true)?;
    let mut live = Live {
        plan,
        recorder,
        schedule,
        board: match plan.search {
            true => Board::of_rounds(ANSWERS_MAX),
            false => Board::of(names),
        },
        good: false,
        failure: None,
        scroll: Scroll::default(),
        clock: Local::new(),
        screen: Screen::enter()?,
        drawn: Instant::now(),
        pause: Duration::ZERO,
        has_changed: true,
    };
    let watched = live.watch(signals, news).await;
    live.screen.suspend().await;
    watched?;
    Ok(match plan.search {
        true => live.good,
        false => live.board.is_good(&plan.settings),
    })
}

struct Live<'a> {
    plan: Plan<'a>,
    recorder: &'a RefCell<Option<Recorder>>,
    schedule: &'a Schedule,
    board: Board,
    /// The last search was.
    good: bool,
    /// Of the last search.
    failure: Option<String>,
    scroll: Scroll,
    clock: Local,
    screen: Screen,
    /// When the last frame was.
    drawn: Instant,
    /// From then to the next one.
    pause: Duration,
    has_changed: bool,
}

impl Live<'_> {
    async fn watch(&mut self, mut signals: Signals, mut news: News) -> io::Result<()> {
        let (mut keys, mut batch) = (Vec::new(), Vec::new());
        loop {
            let next = self.next_frame();
            tokio::select! {
                biased;
                event = signals.next() => match event? {
                    Event::Leave => return Ok(()),
                    Event::Suspend => self.suspend().await?,
                    Event::Resized => self.draw_soon(),
                },
                done = self.screen.next(&mut keys) => {
                    done?;
                    if keys.contains(&Key::Leave) {
                        return Ok(());
                    }
                    keys.drain(..).for_each(|key| self.press(key));
                }
                () = sleep_until(next), if !self.screen.is_busy() => self.draw()?,
                // A channel that has ended matches nothing.
                1..=BATCH = news.arrivals.recv_many(&mut batch, BATCH) => {
                    self.put(batch.drain(..));
                    self.has_changed = true;
                }
                Some(round) = news.rounds.recv() => {
                    self.failure = take(&mut self.board, self.recorder, round);
                    self.good = self.failure.is_none() && self.board.is_good(&self.plan.settings);
                    self.has_changed = true;
                }
            }
        }
    }

    fn next_frame(&self) -> Instant {
        let pause = match self.has_changed {
            true => self.pause,
            false => TICK.max(self.pause),
        };
        self.drawn + pause
    }

    /// Without the pause that answers have to wait for.
    fn draw_soon(&mut self) {
        self.has_changed = true;
        self.pause = Duration::ZERO;
    }

    fn press(&mut self, key: Key) {
        match key {
            Key::Clear => self.board.clear(),
            Key::Redraw => self.screen.forget(),
            key => self.scroll.go(key),
        }
        self.draw_soon();
    }

    /// The shell has its screen back until it says `fg`.
    async fn suspend(&mut self) -> io::Result<()> {
        self.screen.suspend().await;
        raise(Signal::SIGSTOP)?;
        self.screen.resume();
        self.draw_soon();
        Ok(())
    }

    fn put(&mut self, arrivals: impl Iterator<Item = Arrival>) {
        let mut recorder = self.recorder.borrow_mut();
        for (slot, answer) in arrivals {
            let past = note(&mut recorder, &answer);
            self.board.put(slot, answer, past);
        }
        if let Some(recorder) = recorder.as_mut() {
            recorder.save_now_and_then();
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        let is_pending = |place: usize| {
            let asked = self.schedule.asked.get(place);
            let since = asked.and_then(|since| since.get());
            since.is_some_and(|since| begun.saturating_duration_since(since) > GRACE)
        };
        let picture = Picture {
            plan: &self.plan,
            board: &self.board,
            clock: &self.clock,
            now: SystemTime::now(),
            failure: self.failure.as_deref(),
            is_pending: &is_pending,
        };
        let size = size();
        let lines = picture.lines(&mut self.scroll, size);
        self.screen.draw(lines, size)?;
        self.has_changed = false;
        self.drawn = Instant::now();
        self.pause = PAUSE.max(begun.elapsed() * SHARE);
        Ok(())
    }
}
