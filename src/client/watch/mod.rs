//! `--watch`: one round of asking after the other, and what changed in between.
//!
//! Comes in: how to ask (a closure that gives a round's answers), how to print, how often. Goes
//! out: on a terminal a table that is drawn over in place; elsewhere one round after the other.
//! Ends with Ctrl-C (or SIGTERM, SIGHUP), or when standard output cannot be written to.

use std::io;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, raise};
use tokio::time::Instant;

use self::change::History;
use self::events::{Event, Events};
use self::frame::Frame;
use self::round::Round;
use self::screen::Screen;
use super::answer::Answer;
use super::clock::Local;
use super::render::Settings;
use super::sort;

mod change;
mod events;
mod frame;
mod round;
mod screen;

/// Asks every `interval`, from the start of one round to the start of the next (or at once, where
/// a round took longer), until the user leaves.
///
/// # Errors
/// Standard output cannot be written to, or no signal handler can be installed.
pub async fn run(
    settings: Settings,
    interval: Duration,
    mut ask: impl AsyncFnMut() -> Vec<Answer>,
) -> io::Result<()> {
    let mut watch = Watch::start(settings, interval)?;
    loop {
        let start = Instant::now();
        let Some(answers) = watch.until(ask()).await? else {
            return Ok(());
        };
        watch.show(answers)?;
        if watch
            .until(tokio::time::sleep_until(start + interval))
            .await?
            .is_none()
        {
            return Ok(());
        }
    }
}

struct Watch {
    settings: Settings,
    interval: Duration,
    history: History,
    clock: Local,
    /// None where standard output is no terminal.
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
            screen: if settings.terminal {
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

    fn show(&mut self, mut answers: Vec<Answer>) -> io::Result<()> {
        let now = SystemTime::now();
        answers.extend(self.history.absent(&answers, now));
        sort::sort(&mut answers, self.settings.sort, self.settings.reverse);
        let round = Round {
            settings: Settings {
                sort: None,
                reverse: false,
                ..self.settings
            },
            clock: &self.clock,
            now,
            changes: self.history.note(&answers),
            answers,
        };
        if self.screen.is_some() {
            self.frame = round.frame(self.interval)?;
            self.draw()
        } else {
            round.append(&mut io::stdout().lock(), &mut io::stderr())
        }
    }
}

/// First the handlers, then the screen: no signal finds it taken and nobody to give it back.
fn take_screen() -> io::Result<(Screen, Events)> {
    let events = Events::new()?;
    Ok((Screen::enter()?, events))
}
