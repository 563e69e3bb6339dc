//! Answers → what is printed.
//!
//! Comes in: one [`Answer`] after the other, in whatever order the hosts answer, each with its
//! place in the order given. Goes out: bytes for standard output, and for `text` the failures for
//! standard error. JSON lines leave at once; every other format waits for the last host, since its
//! columns, its order or its families need all of them.
//!
//! Writing may fail (a closed pipe, a full disk); what that means is the caller's to say, so every
//! function gives the [`io::Error`] back.

use std::io::{self, Write};

use self::sort::Key;
use crate::client::answer::{Answer, Outcome};

pub mod clock;
mod json;
mod openmetrics;
pub mod sort;
pub mod table;
pub mod text;

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The reply as it came.
    Text,
    /// BSD ruptime's line for each host.
    Table,
    /// One array.
    Json,
    /// One object a line, as each host answers.
    JsonLines,
    /// One scrape's worth for Prometheus.
    OpenMetrics,
}

/// What the renderer has to know; filled from the command line and the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How to print.
    pub format: Format,
    /// More than one host was asked: `text` says whose line it is.
    pub many: bool,
    /// Sorted by this, else in the order given. JSON lines are never sorted.
    pub sort: Option<Key>,
    /// The other way round.
    pub reverse: bool,
    /// Colours for the table.
    pub color: bool,
    /// Standard output is a terminal: a reply is escaped before it goes there.
    pub terminal: bool,
    /// It can be drawn on.
    pub screen: bool,
    /// Arrows may be printed; else their ASCII likeness.
    pub utf8: bool,
}

impl Settings {
    /// `format` for one host or `many`, and nothing special else.
    pub fn new(format: Format, many: bool) -> Self {
        let (reverse, color, terminal, screen, utf8) = (false, false, false, false, false);
        Self {
            format,
            many,
            sort: None,
            reverse,
            color,
            terminal,
            screen,
            utf8,
        }
    }

    /// JSON lines, and no picture that would have to hold them.
    pub(crate) fn lines_leave_at_once(&self) -> bool {
        self.format == Format::JsonLines && !self.screen
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
pub fn is_success(format: Format, answer: &Answer) -> bool {
    match &answer.outcome {
        Outcome::Up { .. } => true,
        Outcome::Error { raw, whole, .. } => {
            format == Format::Text && *whole && text::is_reply(raw)
        }
        Outcome::Down { .. } => false,
    }
}

/// A JSON line that leaves at once.
pub(crate) fn line(out: &mut impl Write, answer: &Answer) -> io::Result<()> {
    json::line(out, answer)
}

/// Prints answers; made for one call, or for one round of `--watch`.
#[derive(Debug)]
pub struct Renderer<O: Write, E: Write> {
    settings: Settings,
    out: O,
    err: E,
    answers: Vec<Option<Answer>>,
}

impl<O: Write, E: Write> Renderer<O, E> {
    /// Prints to `out`; failures in `text` go to `err`.
    pub fn new(settings: Settings, out: O, err: E) -> Self {
        Self {
            settings,
            out,
            err,
            answers: Vec::new(),
        }
    }

    /// Takes the answer of the host at `slot` (from 0) in the order given.
    ///
    /// # Errors
    /// Writing to standard output failed.
    pub fn answer(&mut self, slot: usize, mut answer: Answer) -> io::Result<()> {
        match self.settings.format {
            Format::JsonLines => return json::line(&mut self.out, &answer),
            // A reply that is not shown is not kept: a fleet's rows must stay small.
            Format::Table | Format::OpenMetrics => drop_raw(&mut answer),
            Format::Text | Format::Json => {}
        }
        if self.answers.len() <= slot {
            self.answers.resize_with(slot + 1, || None);
        }
        self.answers[slot] = Some(answer);
        Ok(())
    }

    /// Prints what was collected, and flushes.
    ///
    /// # Errors
    /// Writing to standard output failed.
    pub fn finish(mut self) -> io::Result<()> {
        let mut answers: Vec<Answer> = self.answers.drain(..).flatten().collect();
        sort::sort(&mut answers, self.settings.sort, self.settings.reverse);
        let out = &mut self.out;
        match self.settings.format {
            Format::Text => text::write(out, &mut self.err, &self.settings, &answers),
            Format::Table => {
                let rows = answers.iter().map(table::Row::from).collect::<Vec<_>>();
                table::write(out, &rows, table::Style::from(&self.settings))
            }
            Format::Json => json::array(out, &answers),
            Format::JsonLines => Ok(()),
            Format::OpenMetrics => openmetrics::write(out, &answers),
        }?;
        self.out.flush()
    }
}

fn drop_raw(answer: &mut Answer) {
    if let Outcome::Up { raw, .. } | Outcome::Error { raw, .. } = &mut answer.outcome {
        *raw = Vec::new();
    }
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
    fn only_text_takes_any_reply_for_an_answer() {
        for format in [
            Format::Text,
            Format::Table,
            Format::Json,
            Format::JsonLines,
            Format::OpenMetrics,
        ] {
            let text = format == Format::Text;
            assert!(is_success(format, &up("a", 1, None, None)));
            assert!(!is_success(format, &down("a", "refused")));
            assert_eq!(is_success(format, &error("a", "load is high today")), text);
            assert!(!is_success(format, &error("a", "error: no such command")));
            assert!(!is_success(format, &error("a", "")));
        }
    }

    #[test]
    fn rows_come_in_the_order_given_whoever_answers_first() {
        let mut out = Vec::new();
        let mut renderer = Renderer::new(Settings::new(Format::Table, true), &mut out, io::sink());
        renderer.answer(2, up("c", 60, None, None)).expect("a row");
        renderer.answer(0, up("a", 60, None, None)).expect("a row");
        renderer.answer(1, down("b", "no")).expect("a row");
        renderer.finish().expect("a table");
        let names: Vec<_> = std::str::from_utf8(&out)
            .expect("text")
            .lines()
            .map(|l| &l[..1])
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
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
        for format in [
            Format::Text,
            Format::Table,
            Format::Json,
            Format::JsonLines,
            Format::OpenMetrics,
        ] {
            let mut renderer = Renderer::new(Settings::new(format, false), Full, io::sink());
            let wrote = renderer
                .answer(0, up("a", 60, None, None))
                .and_then(|()| renderer.finish());
            assert_eq!(
                wrote.expect_err("a full disk").kind(),
                io::ErrorKind::StorageFull,
                "{format:?}"
            );
        }
    }
}
