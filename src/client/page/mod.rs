//! What one round prints, as its answers come.
//!
//! Comes in: answers, in any order. Goes out: JSON lines at once; everything else at the end, in the
//! order given or asked for. Of a table only what its lines say is kept, 64 bytes a host, so that a
//! million hosts fit into little memory; the other formats need whole answers.

mod reports;

use std::io::{self, BufWriter, Stdout, Write};

use self::reports::Reports;
use super::answer::Answer;
use super::hosts::targets::Targets;
use super::memory::{Recorder, note};
use super::output::conditions::{Condition, all_hold};
use super::output::nagios::{self, Check};
use super::output::sort;
use super::output::table;
use super::output::{self, Counts, Format, Row, Settings, is_success};
use super::slots::{Arrival, Slots};

/// The buffer of standard output, bytes: a table of thousands of rows takes a few writes.
const WRITE_BUFFER: usize = 64 * 1024;

/// A page that is being filled.
pub(super) struct Page<'a> {
    settings: Settings,
    conditions: &'a [Condition],
    check: &'a Check,
    targets: &'a Targets,
    /// None: nothing is remembered.
    recorder: Option<Recorder>,
    out: BufWriter<Stdout>,
    kept: Kept,
    counts: Counts,
    all_good: bool,
}

/// What the end of the round needs of the answers.
enum Kept {
    Nothing,
    Reports(Reports),
    Answers(Slots),
}

impl<'a> Page<'a> {
    /// An empty one. The hosts that a search finds have no word of the user's.
    pub(super) fn new(
        settings: Settings,
        conditions: &'a [Condition],
        check: &'a Check,
        targets: &'a Targets,
        recorder: Option<Recorder>,
    ) -> Page<'a> {
        let kept = match settings.format {
            Format::Jsonl => Kept::Nothing,
            Format::Table if !targets.is_empty() => Kept::Reports(Reports::new(targets.len())),
            _ => Kept::Answers(Slots::new(targets.len())),
        };
        Page {
            settings,
            conditions,
            check,
            targets,
            recorder,
            out: BufWriter::with_capacity(WRITE_BUFFER, io::stdout()),
            kept,
            counts: Counts::default(),
            all_good: true,
        }
    }

    /// Takes answers as they come.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub(super) fn take(&mut self, batch: Vec<Arrival>) -> io::Result<()> {
        for (slot, answer) in batch {
            self.all_good &= is_success(self.settings.format, &answer.outcome);
            self.counts.add(answer.outcome.status());
            if let Kept::Answers(slots) = &mut self.kept {
                slots.put(slot, answer);
                continue;
            }
            let past = note(&mut self.recorder, &answer);
            if !all_hold(self.conditions, &answer, past.rebooted) {
                continue;
            }
            match &mut self.kept {
                Kept::Reports(reports) => reports.add(slot, &answer, past),
                _ => output::line(&mut self.out, &Row::new(&answer, past))?,
            }
        }
        // The reader sees the lines at once.
        match self.kept {
            Kept::Nothing => self.out.flush(),
            _ => Ok(()),
        }
    }

    /// Prints what was kept, and remembers what was seen. Gives how many hosts there are, and the
    /// exit status: 0 where all of them answered.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub(super) fn finish(mut self) -> io::Result<(usize, u8)> {
        let hosts = self.counts.hosts();
        let mut status = u8::from(!self.all_good || hosts == 0);
        match std::mem::replace(&mut self.kept, Kept::Nothing) {
            Kept::Nothing => {}
            Kept::Reports(mut reports) => {
                reports.sort(&self.settings, self.targets);
                table::write(&mut self.out, &self.settings, reports.lines(self.targets))?;
            }
            Kept::Answers(slots) if self.settings.format == Format::Nagios => {
                status = self.judge(slots.into_answers())?.status();
            }
            Kept::Answers(slots) => self.print(slots.into_answers())?,
        }
        if self.settings.summary {
            writeln!(self.out, "{}", self.counts.summary())?;
        }
        self.out.flush()?;
        if let Some(recorder) = &mut self.recorder {
            recorder.save();
        }
        Ok((hosts, status))
    }

    fn print(&mut self, mut answers: Vec<Answer>) -> io::Result<()> {
        sort::sort(&mut answers, self.settings.sort, self.settings.reverse);
        let row = |answer| Row::new(answer, note(&mut self.recorder, answer));
        let is_shown = |row: &Row<'_>| all_hold(self.conditions, row.answer, row.past.rebooted);
        let rows: Vec<_> = answers.iter().map(row).filter(is_shown).collect();
        output::write(&mut self.out, &mut io::stderr(), &self.settings, &rows)
    }

    fn judge(&mut self, mut answers: Vec<Answer>) -> io::Result<nagios::State> {
        sort::sort(&mut answers, self.settings.sort, self.settings.reverse);
        let rows: Vec<_> = answers.iter().map(Row::from).collect();
        let is_shown = |answer: &Answer| all_hold(self.conditions, answer, false);
        nagios::write(&mut self.out, self.check, &self.settings, &rows, is_shown)
    }
}
