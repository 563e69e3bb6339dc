//! Answers → what is printed.
//!
//! Comes in: a round's answers, each with what `--watch` has to say about it, in the order in
//! which they are shown. Goes out: bytes for standard output, and for `text` the failures for
//! standard error. JSON lines can leave one by one; every other format needs all the rows for its
//! columns, its order or its families.
//!
//! Writing may fail (a closed pipe, a full disk); what that means is the caller's to say, so every
//! function gives the [`io::Error`] back.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::io::{self, Write};

use clap::ValueEnum;

use self::sort::Key;
use crate::cli;
use crate::client::answer::{Answer, Outcome, Status};
use crate::client::memory::Past;

pub mod clock;
mod closed;
pub mod conditions;
mod json;
pub(super) mod nagios;
mod openmetrics;
pub mod sort;
pub(super) mod table;
mod text;

pub(super) use self::closed::is_closed;
pub(super) use self::json::line;
pub(super) use self::text::push as push_text;

/// What to say where [`is_closed`].
pub(super) const CLOSED: &str = "standard output is closed, or cannot be written to";

/// One line on standard error.
pub(super) fn complain(line: impl Display) {
    cli::complain("ruptime", line);
}

/// A plugin's answer where there is none: one line on standard output, which alone monitoring
/// systems read. Gives the exit status.
pub(super) fn unknown(line: &str) -> u8 {
    // If it cannot be written, the status says it.
    let _ = nagios::unknown(&mut io::stdout(), line);
    nagios::State::Unknown.status()
}

/// Why standard output cannot be written to; nothing where its reader has seen enough and closed
/// the pipe (`ruptime … | head -1`).
pub(super) fn complain_of(error: &io::Error) {
    if error.kind() != io::ErrorKind::BrokenPipe {
        let words = cli::io_words(error);
        complain(format_args!("cannot write to standard output: {words}"));
    }
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The reply as it came
    Text,
    /// A line for each host, as BSD's ruptime has it
    Table,
    /// One array
    Json,
    /// One object a line, as each host answers
    Jsonl,
    /// One scrape's worth of metrics
    Openmetrics,
    /// A monitoring plugin's answer
    Nagios,
}

/// What standard output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// A pipe, a file, a socket: no terminal.
    None,
    /// A terminal that knows no control sequences.
    Dumb,
    /// A terminal that can be drawn on.
    Screen,
}

/// What the renderer has to know; filled from the command line and the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How to print.
    pub format: Format,
    /// More than one host was asked: `text` says whose line it is.
    pub many: bool,
    /// The hosts are remembered from call to call.
    pub remember: bool,
    /// Sorted by this, else in the order given. JSON lines are never sorted.
    pub sort: Option<Key>,
    /// The other way round.
    pub reverse: bool,
    /// A last line for the table counts the hosts.
    pub summary: bool,
    /// Colours for the table.
    pub color: bool,
    /// Before a terminal a reply is escaped, and a table has marks.
    pub terminal: Terminal,
    /// Arrows may be printed; else their ASCII likeness.
    pub utf8: bool,
}

impl Settings {
    /// `format` for one host or `many`, and nothing special else.
    pub fn new(format: Format, many: bool) -> Self {
        Self {
            format,
            many,
            remember: false,
            sort: None,
            reverse: false,
            summary: false,
            color: false,
            terminal: Terminal::None,
            utf8: false,
        }
    }

    /// In `--watch`: a picture on the screen, and not one round after the other. What a program
    /// reads is appended wherever it goes.
    pub(super) fn is_drawn(&self) -> bool {
        let for_people = matches!(self.format, Format::Text | Format::Table);
        for_people && self.terminal == Terminal::Screen
    }
}

/// An answer, and what `--watch` has to say about it.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// What became of the host.
    pub answer: &'a Answer,
    /// `rebooted`, `back up`, for a host that is not up `since 15:12:00`; empty for no change.
    pub mark: Cow<'a, str>,
    /// What was known of the host before.
    pub past: Past,
}

impl<'a> Row<'a> {
    /// An answer, and what was known of its host before: marked where it has rebooted since.
    pub fn new(answer: &'a Answer, past: Past) -> Self {
        Self {
            answer,
            mark: Cow::Borrowed(mark(past.rebooted)),
            past,
        }
    }
}

/// What stands behind a host that has `rebooted` since an earlier call.
pub(super) fn mark(rebooted: bool) -> &'static str {
    if rebooted { "rebooted" } else { "" }
}

impl<'a> From<&'a Answer> for Row<'a> {
    fn from(answer: &'a Answer) -> Self {
        Self::new(answer, Past::default())
    }
}

/// How many hosts of a round are up, down and neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts([usize; 3]);

impl Counts {
    const EACH: [Status; 3] = [Status::Up, Status::Down, Status::Error];

    pub(super) fn add(&mut self, status: Status) {
        for (count, each) in self.0.iter_mut().zip(Self::EACH) {
            *count += usize::from(each == status);
        }
    }

    /// Each of them, with its name.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let names = Self::EACH.iter().map(|status| status.as_str());
        names.zip(self.0)
    }

    /// All of them.
    pub(super) fn hosts(&self) -> usize {
        self.0.iter().sum()
    }

    /// `103 hosts: 100 up, 2 down, 1 error`.
    pub(super) fn summary(&self) -> String {
        match self.hosts() {
            0 => "0 hosts".to_owned(),
            1 => format!("1 host: {self}"),
            hosts => format!("{hosts} hosts: {self}"),
        }
    }
}

impl<'a> FromIterator<&'a Answer> for Counts {
    fn from_iter<I: IntoIterator<Item = &'a Answer>>(answers: I) -> Self {
        let mut counts = Self::default();
        for answer in answers {
            counts.add(answer.outcome.status());
        }
        counts
    }
}

/// `3 up, 1 down`, without what there is none of.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = self.each().filter(|(_, count)| *count > 0);
        for (number, (status, count)) in there.enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{count} {status}")?;
        }
        Ok(())
    }
}

/// Whether the locale's character set is UTF-8, by LC_ALL, LC_CTYPE and LANG in the order of
/// locale(7): the first that is set and not empty counts.
pub fn is_utf8_locale(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()));
    locale.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        name.contains("utf-8") || name.contains("utf8")
    })
}

/// Whether this counts as an answer for the exit status: for `text` a whole reply that is not the
/// server's `error:`, for the others an uptime line.
pub fn is_success(format: Format, outcome: &Outcome) -> bool {
    match format {
        Format::Text => outcome.reply().is_some(),
        _ => outcome.report().is_some(),
    }
}

/// Prints the rows of one round in their order, and flushes.
///
/// # Errors
/// Writing to standard output failed.
pub fn write(
    out: &mut impl Write,
    err: &mut impl Write,
    settings: &Settings,
    rows: &[Row<'_>],
) -> io::Result<()> {
    match settings.format {
        Format::Text => text::write(out, err, settings, rows),
        Format::Table => table::write(out, settings, rows.iter().map(table::Line::from)),
        Format::Json => json::array(out, rows),
        Format::Jsonl => rows.iter().try_for_each(|row| json::line(out, row)),
        Format::Openmetrics => openmetrics::write(out, rows),
        Format::Nagios => {
            let check = nagios::Check::default();
            nagios::write(out, &check, settings, rows, |_| true).map(drop)
        }
    }?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{down, error, up};

    #[test]
    fn the_locale_is_the_first_variable_that_is_set() {
        let with = |set: &'static [(&str, &str)]| {
            is_utf8_locale(|name| {
                set.iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, v)| (*v).to_owned())
            })
        };
        assert!(with(&[("LANG", "de_DE.UTF-8")]));
        assert!(with(&[("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
        assert!(with(&[("LC_ALL", ""), ("LANG", "C.UTF-8")]));
        assert!(!with(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
        assert!(!with(&[("LANG", "de_DE.ISO-8859-1")]));
        assert!(!with(&[]));
    }

    #[test]
    fn a_summary_counts_what_there_is() {
        let good = || up("a", 1, None, None);
        let (bad, odd) = (|| down("b", "refused"), || error("c", "x"));
        let summary = |answers: &[Answer]| answers.iter().collect::<Counts>().summary();
        assert_eq!(summary(&[]), "0 hosts");
        assert_eq!(summary(&[bad()]), "1 host: 1 down");
        assert_eq!(summary(&[good(), odd(), good()]), "3 hosts: 2 up, 1 error");
        let each = [odd(), bad(), good()];
        assert_eq!(summary(&each), "3 hosts: 1 up, 1 down, 1 error");
    }

    #[test]
    fn only_text_takes_any_reply_for_an_answer() {
        for &format in Format::value_variants() {
            let text = format == Format::Text;
            let good = |answer: &Answer| is_success(format, &answer.outcome);
            assert!(good(&up("a", 1, None, None)));
            assert!(!good(&down("a", "refused")));
            assert_eq!(good(&error("a", "load is high today")), text);
            assert!(!good(&error("a", "error: no such command")));
            assert!(!good(&error("a", "")));
        }
    }

    #[test]
    fn a_full_disk_is_given_back_to_the_caller() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for &format in Format::value_variants() {
            let settings = Settings::new(format, false);
            let answer = up("a", 60, None, None);
            let wrote = write(&mut Full, &mut io::sink(), &settings, &[Row::from(&answer)]);
            assert_eq!(
                wrote.expect_err("a full disk").kind(),
                io::ErrorKind::StorageFull,
                "{format:?}"
            );
        }
    }
}
