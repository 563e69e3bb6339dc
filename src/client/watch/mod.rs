//! `--watch`: one round of asking after the other, and what changed in between.
//!
//! Comes in: how to ask (a closure that gives a round's answers), how to print, how often. Goes
//! out: on a terminal a table that is drawn over in place; elsewhere one round after the other; and
//! whether the last whole round was good. Ends with Ctrl-C (or SIGTERM, SIGHUP, and on a screen
//! SIGQUIT), or when standard output cannot be written to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, raise};
use tokio::time::Instant;

use self::changes::History;
use self::rounds::Round;
use crate::client::answer::Answer;
use crate::client::output::clock::Local;
use crate::client::output::sort;
use crate::client::output::{Format, Settings, is_success};
use crate::client::terminal::frame::Frame;
use crate::client::terminal::screen::Screen;
use crate::client::terminal::signals::{self, Event, Events};

mod changes;
mod rounds;

/// What a round has brought.
#[derive(Debug)]
pub struct Asked {
    /// In the order given, or found.
    pub answers: Vec<Answer>,
    /// Nobody could be asked: one line that says why.
    pub failure: Option<String>,
}

/// Asks every `interval`, from the start of one round to the start of the next (or at once, where
/// a round took longer), until the user leaves. Ok: whether everybody answered in the last whole
/// round; not so before the first. `spoilt`: it can never be good.
///
/// # Errors
/// Asking failed; standard output cannot be written to, or no signal handler can be installed.
pub async fn run(
    settings: Settings,
    interval: Duration,
    spoilt: bool,
    mut ask: impl AsyncFnMut() -> io::Result<Asked>,
) -> io::Result<bool> {
    let good = Arc::new(AtomicBool::new(false));
    let mut watch = Watch::start(settings, interval)?;
    if watch.screen.is_none() {
        signals::leave_apart(Arc::clone(&good))?;
    }
    loop {
        let start = Instant::now();
        let Some(asked) = watch.until(ask()).await? else {
            return Ok(good.load(Ordering::Relaxed));
        };
        let everybody = watch.show(asked?)?;
        good.store(everybody && !spoilt, Ordering::Relaxed);
        if watch
            .until(tokio::time::sleep_until(start + interval))
            .await?
            .is_none()
        {
            return Ok(good.load(Ordering::Relaxed));
        }
    }
}

/// Whether a round was one in which everybody answered, and anybody.
fn is_good(format: Format, answers: &[Answer]) -> bool {
    !answers.is_empty() && answers.iter().all(|answer| is_success(format, answer))
}

struct Watch {
    settings: Settings,
    interval: Duration,
    history: History,
    clock: Local,
    /// None where standard output is no terminal, or one that cannot be drawn on.
    screen: Option<(Screen, Events)>,
    frame: Frame,
}

impl Watch {
    fn start(settings: Settings, interval: Duration) -> io::Result<Self> {
        let header = format!("asking every {} s", interval.as_secs_f64());
        let watch = Self {
            settings,
            interval,
            history: History::default(),
            clock: Local::new(),
            screen: if settings.screen {
                Some(take_screen()?)
            } else {
                None
            },
            frame: Frame {
                header,
                lines: Vec::new(),
            },
        };
        watch.draw()?;
        Ok(watch)
    }

    /// Waits for `future` and handles what happens meanwhile. None: the user wants to leave.
    async fn until<F: Future>(&mut self, future: F) -> io::Result<Option<F::Output>> {
        let mut future = std::pin::pin!(future);
        loop {
            let Some((screen, events)) = &mut self.screen else {
                return Ok(Some(future.await));
            };
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                done = &mut future => return Ok(Some(done)),
            };
            match event {
                Event::Leave => return Ok(None),
                Event::Resized => {}
                Event::Suspend => {
                    // The shell has its screen back until it says `fg`.
                    screen.suspend()?;
                    raise(Signal::SIGSTOP)?;
                    screen.resume()?;
                }
            }
            self.draw()?;
        }
    }

    fn draw(&self) -> io::Result<()> {
        match &self.screen {
            Some((screen, _)) => screen.draw(&self.frame),
            None => Ok(()),
        }
    }

    /// Ok: whether the round was good.
    fn show(&mut self, asked: Asked) -> io::Result<bool> {
        let Asked {
            mut answers,
            failure,
        } = asked;
        let now = SystemTime::now();
        let absent = self.history.absent(&answers, now);
        answers.extend(absent.iter().cloned());
        let good = failure.is_none() && is_good(self.settings.format, &answers);
        sort::sort(&mut answers, self.settings.sort, self.settings.reverse);
        let changes = self.history.note(&answers);
        if self.settings.lines_leave_at_once() {
            answers = absent;
        }
        let round = Round {
            settings: Settings {
                sort: None,
                reverse: false,
                ..self.settings
            },
            clock: &self.clock,
            now,
            changes,
            answers,
            failure,
        };
        if self.screen.is_some() {
            self.frame = round.frame(self.interval)?;
            self.draw()?;
        } else {
            round.append(&mut io::stdout().lock(), &mut io::stderr())?;
        }
        Ok(good)
    }
}

/// First the handlers, then the screen: no signal finds it taken and nobody to give it back.
fn take_screen() -> io::Result<(Screen, Events)> {
    let events = Events::new()?;
    Ok((Screen::enter()?, events))
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::client::answer::samples::{down, error, up};

    #[test]
    fn a_round_is_good_when_everybody_and_anybody_answered() {
        let (web, db, odd) = (
            up("web1", 60, None, None),
            down("db1", "no answer"),
            error("odd", "hello"),
        );
        assert!(is_good(Format::Table, slice::from_ref(&web)));
        assert!(!is_good(Format::Table, &[]));
        assert!(!is_good(Format::Table, &[web.clone(), db]));
        assert!(!is_good(Format::Json, slice::from_ref(&odd)));
        assert!(is_good(Format::Text, &[web, odd]));
    }
}
