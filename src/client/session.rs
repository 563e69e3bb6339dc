//! Everything that outlives one round of questions, and the round itself.
//!
//! Comes in: the options and the targets. Goes out: each answer to the renderer, and whether all
//! of them were answers. `--watch` asks several rounds of one session: the runtime, the threads
//! of the resolver and the buffer are made once.

use std::cell::RefCell;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::answer::Answer;
use super::discover;
use super::fleet::descriptors::{self, Budget};
use super::fleet::{self, Sink};
use super::hosts::target::Target;
use super::options::{Options, Output};
use super::output::{self, Format, Renderer};
use super::query::failure::{io_words, words};
use super::query::resolve::Family;
use super::query::{self, Prober};
use super::terminal::progress::{self, Progress};
use super::{complain, watch};

/// For standard output, bytes: a table of thousands leaves in a few writes.
const WRITE_BUFFER: usize = 64 * 1024;

/// The hosts of one call, and what is needed to ask them.
pub(super) struct Session {
    runtime: Runtime,
    prober: Rc<Prober>,
    targets: Rc<[Target]>,
    jobs: usize,
    wait: Option<Duration>,
    discover: bool,
}

impl Session {
    /// The error is one line: the machine is short of descriptors or memory.
    pub(super) fn new(options: &Options, targets: Vec<Target>) -> Result<Session, String> {
        let budget = match &targets[..] {
            // Nothing to divide.
            [] | [_] => Budget::of_one(),
            many => {
                let names = many.iter().any(|target| !target.is_direct());
                Budget::new(descriptors::raise_limit(), options.jobs, names)
            }
        };
        descriptors::suffice().map_err(|errno| format!("cannot start: {}", words(errno)))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start: {}", io_words(&error)))?;
        let many = options.discover || targets.len() > 1;
        let prober = Prober::new(asking(options, many), &budget);
        Ok(Session {
            runtime,
            prober: Rc::new(prober),
            targets: targets.into(),
            jobs: budget.jobs,
            wait: options.wait,
            discover: options.discover,
        })
    }

    /// More than one host is asked, or may answer.
    pub(super) fn is_many(&self) -> bool {
        self.discover || self.targets.len() > 1
    }

    /// Asks every host once and prints the answers. Ok: whether all are answers.
    pub(super) fn once(&self, settings: output::Settings) -> io::Result<bool> {
        let out = BufWriter::with_capacity(WRITE_BUFFER, io::stdout());
        let round = Round::new(Renderer::new(settings, out, io::stderr()), settings.format);
        let round = Rc::new(RefCell::new(Some(round)));
        let hosts = (!self.discover).then_some(self.targets.len());
        let stderr = io::stderr().is_terminal() && super::can_draw();
        let wanted = progress::is_wanted(settings.format, stderr);
        let progress = Rc::new(Progress::new(hosts, wanted));
        let sink = {
            let (round, progress) = (Rc::clone(&round), Rc::clone(&progress));
            Box::new(move |slot, answer| {
                progress.answered();
                // Taken only when nobody asks any more.
                round
                    .borrow_mut()
                    .as_mut()
                    .map_or(ControlFlow::Break(()), |r| r.take(slot, answer))
            })
        };
        let asked = self.runtime.block_on(progress.during(self.ask(sink)));
        match round.take() {
            Some(round) => round.finish(asked),
            None => Ok(false),
        }
    }

    /// Asks every host round after round until the user leaves. Ok: whether all of the last
    /// whole round are answers, and there was one; never where `spoilt`.
    pub(super) fn watch(
        &self,
        settings: output::Settings,
        interval: Duration,
        spoilt: bool,
    ) -> io::Result<bool> {
        let at_once = settings.lines_leave_at_once();
        let round = async || self.answers(at_once).await;
        self.runtime
            .block_on(watch::run(settings, interval, spoilt, round))
    }

    /// The answers of one round, in the order given; `at_once`: each a line on standard output
    /// already when it came, and the error is that of writing it.
    async fn answers(&self, at_once: bool) -> io::Result<watch::Asked> {
        let written = Rc::new(RefCell::new(Ok(())));
        let collected = Rc::new(RefCell::new(vec![None; self.targets.len()]));
        let sink = {
            let (collected, written) = (Rc::clone(&collected), Rc::clone(&written));
            Box::new(move |slot, answer| {
                if at_once {
                    let result = output::line(&mut io::stdout().lock(), &answer);
                    if result.is_err() {
                        *written.borrow_mut() = result;
                        return ControlFlow::Break(());
                    }
                }
                let mut answers = collected.borrow_mut();
                if answers.len() <= slot {
                    answers.resize(slot + 1, None);
                }
                answers[slot] = Some(answer);
                ControlFlow::Continue(())
            })
        };
        let failure = self.ask(sink).await.err();
        written.replace(Ok(()))?;
        let answers = collected.take().into_iter().flatten().collect();
        Ok(watch::Asked { answers, failure })
    }

    /// Asks every host; the error is one line: nobody could be asked at all.
    async fn ask(&self, sink: Sink) -> Result<(), String> {
        if self.discover {
            return discover::discover(&self.prober, sink).await;
        }
        let targets = Rc::clone(&self.targets);
        fleet::ask(Rc::clone(&self.prober), targets, self.jobs, self.wait, sink).await;
        Ok(())
    }
}

fn asking(options: &Options, many: bool) -> query::Settings {
    query::Settings {
        timeout: options.timeout,
        family: match (options.ipv4, options.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            _ => Family::Any,
        },
        udp: options.udp,
        port: options.port.clone(),
        keep: if many && options.output != Some(Output::Text) {
            query::KEEP_OF_MANY
        } else {
            query::KEEP_OF_ONE
        },
    }
}

/// The answers of one round on their way to the output.
struct Round<O: Write, E: Write> {
    renderer: Renderer<O, E>,
    format: Format,
    all_good: bool,
    answers: usize,
    /// Standard output failed: nothing more is asked.
    broken: Option<io::Error>,
}

impl<O: Write, E: Write> Round<O, E> {
    fn new(renderer: Renderer<O, E>, format: Format) -> Round<O, E> {
        Round {
            renderer,
            format,
            all_good: true,
            answers: 0,
            broken: None,
        }
    }

    fn take(&mut self, slot: usize, answer: Answer) -> ControlFlow<()> {
        self.answers += 1;
        self.all_good &= output::is_success(self.format, &answer);
        match self.renderer.answer(slot, answer) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.broken = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Prints what waits for the last answer. Ok: whether all were answers, and anybody answered.
    fn finish(self, asked: Result<(), String>) -> io::Result<bool> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.renderer.finish()?;
        match asked {
            Err(line) => complain(format_args!("{line}")),
            // The other formats say it with their empty output.
            Ok(()) if self.answers == 0 && matches!(self.format, Format::Text | Format::Table) => {
                complain(format_args!("nobody answered"));
            }
            Ok(()) => {}
        }
        Ok(self.all_good && self.answers > 0)
    }
}
