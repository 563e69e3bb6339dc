//! `table`: a line for each host in the spelling of BSD's ruptime(1), in columns.
//!
//! ```text
//! web1       up    3+04:05,   2 users,  load 0.10, 0.20, 0.30 ↘
//! db1        down  connection refused
//! ```
//!
//! Behind the name that was looked up for a machine, the line ends with its addresses. The mark
//! after the loads, on a terminal, says at a glance where they go, from 15 over 5 to
//! 1 minute.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use unicode_width::UnicodeWidthStr as _;

use super::{Row, Settings, Terminal, clock};
use crate::client::answer::Status;
use crate::client::report::Report;
use crate::escape;

/// A longer name keeps its line to itself and does not push all the others to the right.
const MAX_NAME: usize = 48;

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// How the table looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Style {
    /// Colours for what is down and for load.
    color: bool,
    marks: Marks,
}

/// What stands behind the loads. For people only: a program that reads the table would take it for
/// a value, and a backslash at the end of a line for its continuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    None,
    Ascii,
    Arrows,
}

impl From<&Settings> for Style {
    fn from(settings: &Settings) -> Self {
        let marks = match (settings.terminal, settings.utf8) {
            (Terminal::None, _) => Marks::None,
            (_, false) => Marks::Ascii,
            (_, true) => Marks::Arrows,
        };
        Self {
            color: settings.color,
            marks,
        }
    }
}

/// What a line says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) host: &'a str,
    pub(crate) mark: &'a str,
    pub(crate) state: State<'a>,
    /// Of a machine that was found and has a name.
    pub(crate) addresses: &'a [String],
}

/// What became of a host, as far as a line says it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum State<'a> {
    /// It has not answered since the call began, and may still.
    Waiting,
    Up(&'a Report),
    NotUp {
        status: Status,
        /// Since the host last answered, where that is known.
        silent: Option<Duration>,
        reason: &'a str,
    },
}

impl<'a> From<&'a Row<'a>> for Line<'a> {
    fn from(row: &'a Row<'a>) -> Self {
        let outcome = &row.answer.outcome;
        let state = match outcome.report() {
            Some(report) => State::Up(report),
            None => State::NotUp {
                status: outcome.status(),
                silent: row.past.silence(row.answer),
                reason: outcome.reason().unwrap_or_default(),
            },
        };
        Line {
            host: &row.answer.host,
            mark: &row.mark,
            state,
            addresses: match &row.answer.machine {
                Some(machine) if !machine.addresses.contains(&row.answer.host) => {
                    &machine.addresses
                }
                _ => &[],
            },
        }
    }
}

/// Writes the lines in the order given. They are gone through twice: first for the widths of the
/// columns, so that a table of a million hosts is never in memory as text.
pub(crate) fn write<'a>(
    out: &mut impl Write,
    settings: &Settings,
    lines: impl Iterator<Item = Line<'a>> + Clone,
) -> io::Result<()> {
    write_styled(out, Style::from(settings), lines)
}

/// The columns of a table whose lines are asked for one by one.
pub(crate) struct Layout {
    widths: Widths,
    style: Style,
}

impl Layout {
    /// Wide enough for all of `lines`.
    pub(crate) fn new<'a>(settings: &Settings, lines: impl Iterator<Item = Line<'a>>) -> Layout {
        Layout {
            widths: Widths::of(lines),
            style: Style::from(settings),
        }
    }

    /// One line for a screen of so many columns. Where the mark would not be seen any more, it
    /// stands before the values. A `dim` line has no colours.
    pub(crate) fn line(&self, line: &Line<'_>, columns: usize, dim: bool) -> String {
        let style = Style {
            color: self.style.color && !dim,
            ..self.style
        };
        let push = |style: Style, mark_first: bool| {
            let mut text = String::new();
            line.push_state(&mut text, &self.widths, style, mark_first);
            text
        };
        let bare = Style {
            color: false,
            ..style
        };
        let hidden = !line.mark.is_empty() && push(bare, false).width() > columns;
        let mut text = push(style, hidden);
        line.push_addresses(&mut text);
        text
    }
}

fn write_styled<'a>(
    out: &mut impl Write,
    style: Style,
    lines: impl Iterator<Item = Line<'a>> + Clone,
) -> io::Result<()> {
    let widths = Widths::of(lines.clone());
    let mut text = String::new();
    for line in lines {
        text.clear();
        line.push_state(&mut text, &widths, style, false);
        line.push_addresses(&mut text);
        text.push('\n');
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

impl Line<'_> {
    /// How long the host has been up; or for how long it has not answered, where no mark says it.
    fn span(&self) -> Option<String> {
        let span = match self.state {
            State::Up(report) => Some(report.uptime),
            State::NotUp { silent, .. } if self.mark.is_empty() => silent,
            State::Waiting | State::NotUp { .. } => None,
        };
        span.map(clock::span)
    }

    fn push_addresses(&self, text: &mut String) {
        for (place, address) in self.addresses.iter().enumerate() {
            text.push_str(if place == 0 { "  " } else { " " });
            text.push_str(&escape::line(address.as_bytes()));
        }
    }

    fn push_state(&self, text: &mut String, widths: &Widths, style: Style, mark_first: bool) {
        let name = escape::line(self.host.as_bytes());
        let blanks = widths.name.saturating_sub(name.width());
        let _ = write!(text, "{name}{:blanks$}  ", "");
        match self.state {
            State::Waiting => text.push_str("no answer yet"),
            State::NotUp { status, reason, .. } => {
                let color = if status == Status::Down { RED } else { YELLOW };
                let status = status.as_str();
                let reason = escape::line(reason.as_bytes());
                let told = if self.mark.is_empty() {
                    format!("{status:<0$}", widths.status)
                } else {
                    format!("{status} {}", self.mark)
                };
                let told = match self.span() {
                    Some(span) => format!("{told}  {span:>0$}, {reason}", widths.uptime),
                    None => format!("{told}  {reason}"),
                };
                push_colored(text, &told, style.color.then_some(color));
            }
            State::Up(report) => {
                let color = style.color.then_some(YELLOW);
                if mark_first {
                    text.push_str("up ");
                    push_colored(text, self.mark, color);
                    text.push_str("  ");
                } else {
                    let _ = write!(text, "{:<1$}  ", "up", widths.status);
                }
                push_values(text, widths, style, report);
                if !mark_first && !self.mark.is_empty() {
                    text.push_str("  ");
                    push_colored(text, self.mark, color);
                }
            }
        }
    }
}

fn push_values(line: &mut String, widths: &Widths, style: Style, report: &Report) {
    let uptime = clock::span(report.uptime);
    let _ = write!(line, "{uptime:>0$}", widths.uptime);
    let users = report.users.map(|count| {
        let word = if count == 1 { "user" } else { "users" };
        format!("{count:>0$} {word}", widths.users)
    });
    match (users, report.load) {
        (None, None) => {}
        (Some(users), None) => line.extend([",  ", &users]),
        (None, Some(_)) if widths.users == 0 => line.push_str(",  "),
        // The loads stand below each other, whatever the users' column has.
        (users, Some(_)) => {
            let comma = users.map_or_else(String::new, |users| users + ",");
            let width = widths.users + if widths.plural { " users," } else { " user," }.len();
            let _ = write!(line, ",  {comma:<width$}  ");
        }
    }
    if let Some(load) = report.load {
        push_load(line, widths, style, load);
    }
}

fn push_load(line: &mut String, widths: &Widths, style: Style, load: [f64; 3]) {
    let mut text = "load ".to_owned();
    for (i, (value, width)) in load.iter().zip(widths.load).enumerate() {
        let _ = write!(text, "{}{value:>width$.2}", if i == 0 { "" } else { ", " });
    }
    let trend = Trend::of(load);
    text.push_str(trend.mark(style.marks));
    let busy = trend == Trend::Rising && load[0] >= 1.0;
    push_colored(line, &text, (style.color && busy).then_some(YELLOW));
}

fn push_colored(line: &mut String, text: &str, color: Option<&str>) {
    match color {
        Some(color) => line.extend([color, text, PLAIN]),
        None => line.push_str(text),
    }
}

/// How wide the columns are: as wide as what stands in them.
#[derive(Default)]
struct Widths {
    name: usize,
    status: usize,
    uptime: usize,
    /// The count alone; 0 where no host says it.
    users: usize,
    /// Some count is not 1, so the word is `users`.
    plural: bool,
    load: [usize; 3],
}

impl Widths {
    fn of<'a>(lines: impl Iterator<Item = Line<'a>>) -> Widths {
        let mut widths = Widths::default();
        lines.for_each(|line| widths.add(&line));
        widths
    }

    fn add(&mut self, line: &Line<'_>) {
        let grow = |width: &mut usize, to: usize| *width = to.max(*width);
        let name = escape::line(line.host.as_bytes()).width();
        if name <= MAX_NAME {
            grow(&mut self.name, name);
        }
        grow(&mut self.uptime, line.span().map_or(0, |span| span.len()));
        match line.state {
            State::Waiting => {}
            // With a mark the line goes its own way.
            State::NotUp { .. } if !line.mark.is_empty() => {}
            State::NotUp { status, .. } => grow(&mut self.status, status.as_str().len()),
            State::Up(report) => {
                grow(&mut self.status, "up".len());
                if let Some(users) = report.users {
                    grow(
                        &mut self.users,
                        users.checked_ilog10().map_or(1, |n| n as usize + 1),
                    );
                    self.plural |= users != 1;
                }
                for (width, value) in self.load.iter_mut().zip(report.load.unwrap_or_default()) {
                    grow(width, load_width(value));
                }
            }
        }
    }
}

/// Of `{:.2}`, without writing it: a table of thousands is measured for every round.
fn load_width(value: f64) -> usize {
    // What rounds up to the next power of ten is as wide as that.
    let mut width = "0.00".len();
    let mut limit = 9.995;
    while value >= limit && width < 16 {
        width += 1;
        limit = limit * 10.0 + 0.045;
    }
    width
}

/// Where the load goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trend {
    Rising,
    Falling,
    Steady,
}

impl Trend {
    /// Rising (falling) when from 15 over 5 to 1 minute no step goes the other way, and the whole
    /// way is more than noise: a tenth of a process, and a fifth of the load over 15 minutes.
    fn of([one, five, fifteen]: [f64; 3]) -> Self {
        // Printed with two places; what differs less than that is binary rounding.
        let noise = (fifteen / 5.0).max(0.1) - 0.001;
        if one - fifteen >= noise && fifteen <= five && five <= one {
            Self::Rising
        } else if fifteen - one >= noise && fifteen >= five && five >= one {
            Self::Falling
        } else {
            Self::Steady
        }
    }

    /// A steady load gets none, so that the others stand out.
    fn mark(self, marks: Marks) -> &'static str {
        match (self, marks) {
            (_, Marks::None) | (Self::Steady, _) => "",
            (Self::Rising, Marks::Arrows) => " ↗",
            (Self::Rising, Marks::Ascii) => " ^",
            (Self::Falling, Marks::Arrows) => " ↘",
            (Self::Falling, Marks::Ascii) => " v",
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
