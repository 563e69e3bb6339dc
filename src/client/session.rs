//! Everything that outlives one round of questions, and the round itself.
//!
//! Comes in: the options and the targets. Goes out: the answers, printed, and whether all of them
//! were answers. The answers of a round come through one channel, from the fleet's workers or from
//! the search of the local networks. `--watch` asks several rounds of one session: the runtime,
//! the threads of the resolver and the buffer are made once.

use std::cell::RefCell;
use std::io;
use std::iter;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::answer::Round;
use super::discover::{self, Names};
use super::fleet::descriptors;
use super::fleet::{self, Plan, Schedule};
use super::hosts::targets::Targets;
use super::memory::{Recorder, note};
use super::options::Options;
use super::output::conditions::{Condition, all_hold};
use super::output::nagios::Check;
use super::output::{self, Format, Row, Settings};
use super::page::Page;
use super::query::address::Family;
use super::query::failure::words;
use super::query::reply::REPLY_MAX;
use super::query::{self, Prober};
use super::slots::{Arrival, Late, Slots};
use super::terminal::progress::Progress;
use super::watch::{self, News};

/// At most this many answers are taken out of the channel at a time.
const BATCH: usize = 1024;

/// How much of a reply is kept where more than one host is asked, bytes. `text` keeps all of it,
/// since it prints replies as they came, in the order given: while a slow host is waited for, up to
/// 64 KiB of each later host are held.
const KEPT_OF_MANY: usize = 1024;

/// The memory of a call, where it has one.
type Remembered = RefCell<Option<Recorder>>;

/// The hosts of one call, and what is needed to ask them.
pub(super) struct Session {
    runtime: Runtime,
    prober: Rc<Prober>,
    targets: Rc<Targets>,
    plan: Plan,
    /// When the whole call is over, and how long it was to take.
    deadline: Option<(Instant, Duration)>,
    /// The names of those that `--discover` finds; None without it.
    search: Option<Rc<Names>>,
    /// Of every host that is printed.
    conditions: Vec<Condition>,
    check: Check,
    settings: Settings,
    /// None: nothing is remembered.
    recorder: Option<Recorder>,
}

impl Session {
    /// For a call that has `begun`. The error is one line: the machine is short of descriptors or
    /// memory.
    pub(super) fn new(
        options: &Options,
        targets: Targets,
        check: Check,
        settings: Settings,
        begun: Instant,
    ) -> Result<Session, String> {
        let budget = match targets.len() {
            // A search, which looks up whoever answers.
            0 => descriptors::divide(descriptors::raise_limit(), options.jobs, true),
            // Nothing to divide.
            1 => descriptors::of_one(),
            _ => {
                let names = targets.iter().any(|target| !target.is_direct());
                descriptors::divide(descriptors::raise_limit(), options.jobs, names)
            }
        };
        let runtime = runtime().map_err(|errno| format!("cannot start: {}", words(errno)))?;
        let prober = Prober::new(asking(options, &settings), &budget, targets.len());
        let names = || Rc::new(Names::new(budget.look_ups, prober.settings.family));
        let search = options.discover.then(names);
        // The rows of JSON tell all that is known; a program that reads them reads nothing else.
        let is_loud = !matches!(settings.format, Format::Json | Format::Jsonl);
        let recorder = settings
            .remember
            .then(|| Recorder::open(targets.len(), is_loud));
        Ok(Session {
            runtime,
            prober: Rc::new(prober),
            targets: Rc::new(targets),
            plan: Plan {
                jobs: budget.jobs,
                wait: options.wait,
                rebooted_since: options.rebooted.then_some(begun),
            },
            deadline: options.deadline.map(|time| (begun + time, time)),
            search,
            conditions: options.conditions.clone(),
            check,
            settings,
            recorder: recorder.flatten(),
        })
    }

    /// Asks every host once and prints the answers. Ok: the exit status, 0 where all are answers.
    pub(super) fn once(mut self, may_draw: bool) -> io::Result<u8> {
        let format = self.settings.format;
        let recorder = self.recorder.take();
        let (conditions, targets) = (&self.conditions, &self.targets);
        let mut page = Page::new(self.settings, conditions, &self.check, targets, recorder);
        // JSON lines would be written across the progress line: the end of a pipe that they go
        // through is mostly the same terminal.
        let hosts = self.search.is_none().then_some(self.targets.len());
        let progress = Progress::new(hosts, may_draw && format != Format::Jsonl);
        let work = async { self.round(progress, async |batch| page.take(batch)).await };
        let failure = self.runtime.block_on(work)?;
        if let (Some(line), Format::Nagios) = (&failure, format) {
            return Ok(output::unknown(line));
        }
        let (hosts, status) = page.finish()?;
        match failure {
            Some(line) => {
                output::complain(line);
                return Ok(status.max(1));
            }
            // The other formats say it with their empty output.
            None if hosts == 0 && matches!(format, Format::Text | Format::Table) => {
                output::complain("nobody answered");
            }
            None => {}
        }
        Ok(status)
    }

    /// Asks every host again and again until the user leaves. Ok: whether all of the last
    /// answers are some, and there were any.
    pub(super) fn watch(mut self, interval: Duration) -> io::Result<bool> {
        let recorder = RefCell::new(self.recorder.take());
        let plan = watch::Plan {
            settings: self.settings,
            conditions: &self.conditions,
            interval,
            search: self.search.is_some(),
        };
        let good = match self.settings.is_drawn() {
            true => self.watch_live(plan, &recorder),
            false => self.watch_rounds(plan, &recorder),
        };
        if let Some(recorder) = recorder.borrow_mut().as_mut() {
            recorder.save();
        }
        // A write that is blocked by its reader ends with the process; do not wait for it.
        self.runtime.shutdown_background();
        good
    }

    /// On a screen, each host on its own schedule.
    fn watch_live(&self, plan: watch::Plan<'_>, recorder: &Remembered) -> io::Result<bool> {
        let schedule = Schedule::new(plan.interval, self.targets.len());
        // The tasks end with it.
        let tasks = LocalSet::new();
        let watching = async {
            let (answers, arrivals) = unbounded_channel();
            let (found, rounds) = unbounded_channel();
            match &self.search {
                Some(names) => {
                    let (prober, names) = (Rc::clone(&self.prober), Rc::clone(names));
                    spawn_local(search(prober, names, plan.interval, found));
                }
                None => {
                    let schedule = Some(schedule.clone());
                    fleet::start(&self.prober, &self.targets, self.plan, schedule, &answers);
                }
            }
            let news = News { arrivals, rounds };
            let names = (0..self.targets.len()).map(|slot| self.targets.word(slot));
            watch::run_live(plan, recorder, names, &schedule, news).await
        };
        self.runtime.block_on(tasks.run_until(watching))
    }

    /// One round after the other.
    fn watch_rounds(&self, plan: watch::Plan<'_>, recorder: &Remembered) -> io::Result<bool> {
        let at_once = self.settings.format == Format::Jsonl;
        let round = async || {
            let mut slots = Slots::new(self.targets.len());
            let take = async |batch: Vec<Arrival>| {
                if at_once {
                    let mut lines = Vec::new();
                    for (_, answer) in &batch {
                        let past = note(&mut recorder.borrow_mut(), answer);
                        if all_hold(&self.conditions, answer, past.rebooted) {
                            output::line(&mut lines, &Row::new(answer, past))?;
                        }
                    }
                    watch::print(lines, Vec::new()).await?;
                }
                batch
                    .into_iter()
                    .for_each(|(slot, answer)| slots.put(slot, answer));
                Ok(())
            };
            let failure = self.round(Progress::new(None, false), take).await?;
            let answers = slots.into_answers();
            Ok(Round { answers, failure })
        };
        self.runtime.block_on(watch::run(plan, recorder, round))
    }

    /// Asks every host; `take` gets the answers as they come, and its error ends the asking. The
    /// result is one line where no host could be asked at all, or the list is incomplete.
    async fn round(
        &self,
        mut progress: Progress,
        mut take: impl AsyncFnMut(Vec<Arrival>) -> io::Result<()>,
    ) -> io::Result<Option<String>> {
        let (sender, mut arrivals) = unbounded_channel();
        // The tasks end with it.
        let tasks = LocalSet::new();
        let collect = async {
            let search = self.start(sender);
            // A search keeps it by itself.
            let mut late = self
                .deadline
                .filter(|_| search.is_none())
                .map(|deadline| Late::new(deadline, self.targets.len()));
            loop {
                if let Some(mut late) = late.take_if(|late| late.is_over()) {
                    // Those that came in time, but were not taken yet.
                    let batch: Vec<_> = iter::from_fn(|| arrivals.try_recv().ok()).collect();
                    late.note(&batch);
                    take(batch).await?;
                    let mut answers = late.answers(&self.targets);
                    loop {
                        let batch: Vec<_> = answers.by_ref().take(BATCH).collect();
                        if batch.is_empty() {
                            return Ok(None);
                        }
                        take(batch).await?;
                    }
                }
                let mut batch = Vec::new();
                let receive = arrivals.recv_many(&mut batch, BATCH);
                let end = late.as_ref().map(|late| late.end);
                let received = match progress.next().into_iter().chain(end).min() {
                    None => Ok(receive.await),
                    Some(at) => timeout_at(at, receive).await,
                };
                match received {
                    Ok(0) => break,
                    Ok(count) => {
                        progress.add(count);
                        if let Some(late) = &mut late {
                            late.note(&batch);
                        }
                        take(batch).await?;
                    }
                    Err(_) => progress.draw(),
                }
            }
            match search {
                None => Ok(None),
                Some(search) => Ok(search.await.map_err(io::Error::other)?.err()),
            }
        };
        tasks.run_until(collect).await
    }

    /// Starts the tasks that ask. The channel is closed when they are done; a search has a failure
    /// of its own.
    fn start(&self, answers: UnboundedSender<Arrival>) -> Option<JoinHandle<Result<(), String>>> {
        let prober = Rc::clone(&self.prober);
        if let Some(names) = &self.search {
            let deadline = self.deadline.map(|(end, _)| end);
            let search = discover::discover(prober, Rc::clone(names), deadline, answers);
            return Some(spawn_local(search));
        }
        fleet::start(&prober, &self.targets, self.plan, None, &answers);
        None
    }
}

/// `--watch --discover` on a screen: one search after the other.
async fn search(
    prober: Rc<Prober>,
    names: Rc<Names>,
    interval: Duration,
    rounds: UnboundedSender<Round>,
) {
    loop {
        let begun = Instant::now();
        let (sender, mut arrivals) = unbounded_channel();
        let searched = discover::discover(Rc::clone(&prober), Rc::clone(&names), None, sender);
        // All of them come at the end.
        let failure = searched.await.err();
        let mut answers = Vec::new();
        while let Some((_, answer)) = arrivals.recv().await {
            answers.push(answer);
        }
        if rounds.send(Round { answers, failure }).is_err() {
            return;
        }
        sleep_until(begun + interval).await;
    }
}

/// The runtime, which needs three descriptors: a limit that is too low for them is raised.
fn runtime() -> Result<Runtime, Errno> {
    let build = || Builder::new_current_thread().enable_all().build();
    let built = build().or_else(|_| {
        descriptors::raise_limit();
        build()
    });
    built.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))
}

fn asking(options: &Options, settings: &Settings) -> query::Settings {
    query::Settings {
        timeout: options.timeout,
        family: match (options.ipv4, options.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            _ => Family::Any,
        },
        udp: options.udp,
        ssh: options.ssh,
        port: options.port.clone(),
        keep: match settings.format {
            // Not shown: the rows of a fleet must stay small.
            Format::Table | Format::Openmetrics | Format::Nagios => 0,
            Format::Json | Format::Jsonl if settings.many => KEPT_OF_MANY,
            _ => REPLY_MAX,
        },
    }
}
