//! Everything that outlives one round of questions, and the round itself.
//!
//! Comes in: the options and the targets. Goes out: each answer to the renderer, and whether all
//! of them were answers. `--watch` asks several rounds of one session: the runtime, the threads
//! of the resolver and the buffer are made once.

use std::cell::RefCell;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::answer::Answer;
use super::descriptors::{self, Budget};
use super::failure::io_words;
use super::fleet;
use super::options::Options;
use super::query::{self, Asker};
use super::render::{self, Format, Renderer};
use super::resolve::{Family, Resolver};
use super::target::Target;

/// The hosts of one call, and what is needed to ask them.
pub(super) struct Session {
    runtime: Runtime,
    asker: Rc<Asker>,
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
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start: {}", io_words(&error)))?;
        let many = options.discover || targets.len() > 1;
        let asker = Asker::new(
            asking(options, many),
            Resolver::new(budget.look_ups),
            budget.spare,
        );
        Ok(Session {
            runtime,
            asker: Rc::new(asker),
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

    /// Asks every host once.
    pub(super) fn ask<O: Write + 'static, E: Write + 'static>(
        &self,
        round: Round<O, E>,
    ) -> Round<O, E> {
        let shared = Rc::new(RefCell::new(round));
        let taker = Rc::clone(&shared);
        let sink = move |place, answer| taker.borrow_mut().take(place, answer);
        if self.discover {
            let searched = self.runtime.block_on(query::discover(&self.asker, sink));
            shared.borrow_mut().searched(searched);
        } else {
            let targets = Rc::clone(&self.targets);
            let work = fleet::ask(
                Rc::clone(&self.asker),
                targets,
                self.jobs,
                self.wait,
                Box::new(sink),
            );
            self.runtime.block_on(work);
        }
        match Rc::try_unwrap(shared) {
            Ok(round) => round.into_inner(),
            // The sink's clone is gone with the work that had it.
            Err(_) => unreachable!("the sink outlived the round"),
        }
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
        keep: if many {
            query::KEEP_OF_MANY
        } else {
            query::KEEP_OF_ONE
        },
    }
}

/// The answers of one round on their way to the output.
pub(super) struct Round<O: Write, E: Write> {
    renderer: Renderer<O, E>,
    format: Format,
    all_good: bool,
    answers: usize,
    /// Standard output failed: nothing more is asked.
    broken: Option<io::Error>,
    /// What no row can say, one line for standard error.
    pub(super) complaint: Option<String>,
}

impl<O: Write, E: Write> Round<O, E> {
    pub(super) fn new(renderer: Renderer<O, E>, format: Format) -> Round<O, E> {
        Round {
            renderer,
            format,
            all_good: true,
            answers: 0,
            broken: None,
            complaint: None,
        }
    }

    fn take(&mut self, place: usize, answer: Answer) -> ControlFlow<()> {
        self.answers += 1;
        self.all_good &= render::is_success(self.format, &answer);
        match self.renderer.answer(place, answer) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.broken = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// The end of a search: nobody at all is a failure too.
    fn searched(&mut self, result: Result<(), String>) {
        let nobody = self.answers == 0;
        self.all_good &= result.is_ok() && !nobody;
        self.complaint = match result {
            Err(line) => Some(line),
            // The others' empty output says it already.
            Ok(()) if nobody && matches!(self.format, Format::Text | Format::Table) => {
                Some("nobody answered".to_owned())
            }
            Ok(()) => None,
        };
    }

    /// Prints what waits for the last answer; whether all were answers.
    pub(super) fn finish(self) -> io::Result<bool> {
        match self.broken {
            Some(error) => Err(error),
            None => self.renderer.finish().map(|()| self.all_good),
        }
    }
}
