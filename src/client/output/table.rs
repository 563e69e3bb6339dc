//! `table`: a line for each host in the spelling of BSD's ruptime(1), in columns.
//!
//! ```text
//! web1       up    3+04:05,   2 users,  load 0.10, 0.20, 0.30 ↘
//! db1        down  connection refused
//! ```
//!
//! The mark after the loads says at a glance where they go, from 15 over 5 to 1 minute.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::Settings;
use crate::client::answer::{Answer, Outcome};
use crate::escape;

/// A longer name keeps its line to itself and does not push all the others to the right.
const MAX_NAME: usize = 48;

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// How the table looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Colours for what is down and for load.
    pub color: bool,
    /// Arrows, else their ASCII likeness.
    pub utf8: bool,
}

impl From<&Settings> for Style {
    fn from(settings: &Settings) -> Self {
        Self {
            color: settings.color,
            utf8: settings.utf8,
        }
    }
}

/// A host, and what `--watch` has to say about it.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// What became of the host.
    pub answer: &'a Answer,
    /// `rebooted`, `back up`, for a host that is not up `since 15:12:00`; empty for no change.
    pub mark: Cow<'a, str>,
}

impl<'a> From<&'a Answer> for Row<'a> {
    fn from(answer: &'a Answer) -> Self {
        Self {
            answer,
            mark: Cow::Borrowed(""),
        }
    }
}

/// Writes the rows in the order given.
///
/// # Errors
/// Writing failed.
pub fn write(out: &mut impl Write, rows: &[Row<'_>], style: Style) -> io::Result<()> {
    let cells: Vec<Cells<'_>> = rows.iter().map(Cells::new).collect();
    let widths = Widths::new(&cells);
    let mut line = String::new();
    for cell in &cells {
        line.clear();
        cell.push(&mut line, &widths, style);
        line.push('\n');
        out.write_all(line.as_bytes())?;
    }
    Ok(())
}

/// What stands in the columns.
struct Cells<'a> {
    name: Cow<'a, str>,
    mark: &'a str,
    state: State<'a>,
}

enum State<'a> {
    Up {
        uptime: String,
        users: Option<String>,
        load: Option<[f64; 3]>,
    },
    NotUp {
        status: &'static str,
        reason: &'a str,
    },
}

impl<'a> Cells<'a> {
    fn new(row: &'a Row<'a>) -> Self {
        let state = match &row.answer.outcome {
            Outcome::Up { report, .. } => State::Up {
                uptime: uptime(report.uptime.as_secs()),
                users: report.users.map(|n| n.to_string()),
                load: report.load,
            },
            Outcome::Error { reason, .. } => State::NotUp {
                status: "error",
                reason,
            },
            Outcome::Down { reason } => State::NotUp {
                status: "down",
                reason,
            },
        };
        Self {
            name: escape::line(row.answer.host.as_bytes()),
            mark: &row.mark,
            state,
        }
    }

    fn push(&self, line: &mut String, widths: &Widths, style: Style) {
        let _ = write!(
            line,
            "{}{:2$}  ",
            self.name,
            "",
            widths.name.saturating_sub(self.name.width())
        );
        match &self.state {
            State::NotUp { status, reason } => {
                let color = if *status == "down" { RED } else { YELLOW };
                let reason = escape::line(reason.as_bytes());
                let told = if self.mark.is_empty() {
                    format!("{status:<0$}", widths.status)
                } else {
                    format!("{status} {}", self.mark)
                };
                push_colored(
                    line,
                    &format!("{told}  {reason}"),
                    style.color.then_some(color),
                );
            }
            State::Up {
                uptime,
                users,
                load,
            } => {
                let _ = write!(line, "{:<1$}  ", "up", widths.status);
                push_values(line, widths, style, uptime, users.as_deref(), *load);
                if !self.mark.is_empty() {
                    line.push_str("  ");
                    push_colored(line, self.mark, style.color.then_some(YELLOW));
                }
            }
        }
    }
}

fn push_values(
    line: &mut String,
    widths: &Widths,
    style: Style,
    uptime: &str,
    users: Option<&str>,
    load: Option<[f64; 3]>,
) {
    let _ = write!(line, "{uptime:>0$}", widths.uptime);
    let users = users.map(|count| {
        let word = if count == "1" { "user" } else { "users" };
        format!("{count:>0$} {word}", widths.users)
    });
    match (users, load) {
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
    if let Some(load) = load {
        push_load(line, widths, style, load);
    }
}

fn push_load(line: &mut String, widths: &Widths, style: Style, load: [f64; 3]) {
    let mut text = "load ".to_owned();
    for (i, (value, width)) in load.iter().zip(widths.load).enumerate() {
        let _ = write!(text, "{}{value:>width$.2}", if i == 0 { "" } else { ", " });
    }
    let trend = Trend::of(load);
    text.push_str(trend.mark(style.utf8));
    let busy = trend == Trend::Rising && load[0] >= 1.0;
    push_colored(line, &text, (style.color && busy).then_some(YELLOW));
}

fn push_colored(line: &mut String, text: &str, color: Option<&str>) {
    match color {
        Some(color) => line.extend([color, text, PLAIN]),
        None => line.push_str(text),
    }
}

/// BSD's spelling of a span: days, a plus, hours and minutes.
fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days}+{hours:02}:{minutes:02}")
    } else {
        format!("{hours}:{minutes:02}")
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
    fn new(cells: &[Cells<'_>]) -> Self {
        let mut widths = Self::default();
        let grow = |width: &mut usize, to: usize| *width = to.max(*width);
        for cell in cells {
            let name = cell.name.width();
            if name <= MAX_NAME {
                grow(&mut widths.name, name);
            }
            match &cell.state {
                // With a mark the line goes its own way.
                State::NotUp { status, .. } if cell.mark.is_empty() => {
                    grow(&mut widths.status, status.len())
                }
                State::NotUp { .. } => {}
                State::Up {
                    uptime,
                    users,
                    load,
                } => {
                    grow(&mut widths.status, "up".len());
                    grow(&mut widths.uptime, uptime.len());
                    grow(&mut widths.users, users.as_ref().map_or(0, String::len));
                    widths.plural |= users.as_ref().is_some_and(|count| count != "1");
                    for (width, value) in widths.load.iter_mut().zip(load.unwrap_or_default()) {
                        grow(width, load_width(value));
                    }
                }
            }
        }
        widths
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
    fn mark(self, utf8: bool) -> &'static str {
        match (self, utf8) {
            (Self::Rising, true) => " ↗",
            (Self::Rising, false) => " /",
            (Self::Falling, true) => " ↘",
            (Self::Falling, false) => " \\",
            (Self::Steady, _) => "",
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
