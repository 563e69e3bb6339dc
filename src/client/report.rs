//! The text of an uptime line → values. Pure.
//!
//! A reply comes in as bytes that anybody may have sent; a [`Report`] or the reason why it is none
//! goes out. The line is read by one grammar that covers the spellings of procps, busybox, toybox,
//! GNU and uutils coreutils, the BSDs, macOS, Solaris and illumos, AIX, ESXi:
//!
//! ```text
//! [CLOCK] up SPAN [N users] [load average[s]: L L L …]
//! SPAN: decades, years, weeks, days, hours, minutes, seconds with their units, H:MM or H:MM:SS
//! ```
//!
//! Commas between the parts are optional, as are blanks in front. What fits no known spelling is
//! refused: a number is never guessed out of a text that means something else.

use std::fmt;
use std::time::Duration;

use crate::escape;

/// An uptime line is some 80 bytes; what is longer is something else.
const MAX_LINE: usize = 512;
/// No Unix machine has been up for a century, so it is a broken clock or a lie.
const MAX_UPTIME: u64 = 100 * YEAR;
/// How much of a foreign reply a reason shows, in characters.
const EXCERPT: usize = 60;
/// How much of a server's own error a reason shows, in characters.
const ERROR_EXCERPT: usize = 200;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
/// As `uptime --pretty` of procps counts it.
const YEAR: u64 = 365 * DAY;
const DECADE: u64 = 10 * YEAR;

/// What an uptime line says. `uptime` is always there; the rest only where the line has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// How long the machine has been up, to the resolution of the line (mostly a minute).
    pub uptime: Duration,
    /// How many users are logged in.
    pub users: Option<u32>,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
}

/// Why a reply is no uptime line. Shown, it is one line and safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotUptime {
    /// Nothing, or nothing but blanks.
    Empty,
    /// The server's own `error: REASON`; holds all of that line.
    Server(String),
    /// The excerpt of a text that is no uptime line.
    Foreign(String),
}

impl fmt::Display for NotUptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "empty reply"),
            Self::Server(line) => write!(f, "{line}"),
            Self::Foreign(excerpt) => write!(f, "not an uptime line: {excerpt}"),
        }
    }
}

impl std::error::Error for NotUptime {}

/// Reads the first line of `reply` that is not blank; lines after it (those of `w`) are ignored.
///
/// # Errors
/// [`NotUptime`] with the reason.
pub fn parse(reply: &[u8]) -> Result<Report, NotUptime> {
    let line = reply
        .split(|&b| b == b'\n')
        .map(<[u8]>::trim_ascii)
        .find(|line| !line.is_empty())
        .ok_or(NotUptime::Empty)?;
    if is_server_error(line) {
        return Err(NotUptime::Server(escape::excerpt(line, ERROR_EXCERPT)));
    }
    let foreign = || NotUptime::Foreign(escape::excerpt(line, EXCERPT));
    if line.len() > MAX_LINE {
        return Err(foreign());
    }
    let text = std::str::from_utf8(line).map_err(|_| foreign())?;
    report(text).ok_or_else(foreign)
}

/// Whether the reply is the server's own `error: REASON` instead of a command's output. Blank lines
/// before it count as little as before an uptime line.
pub fn is_server_error(reply: &[u8]) -> bool {
    reply.trim_ascii_start().starts_with(b"error: ")
}

fn report(line: &str) -> Option<Report> {
    let mut words = Words::new(line);
    let clock = words.clock();
    let up = words.take("up");
    let (uptime, unit) = words.span()?;
    let users = words.users()?;
    // OpenBSD leaves the "up" out in the first minute: `9:41AM  34 secs, 1 user, …`.
    let first_minute = clock && unit == 1 && uptime.as_secs() < MINUTE && users != Users::NotSaid;
    if !up && !first_minute {
        return None;
    }
    let load = words.load()?;
    Some(Report {
        uptime,
        users: match users {
            Users::Count(n) => Some(n),
            Users::NotSaid | Users::Unknown => None,
        },
        load,
    })
}

#[derive(PartialEq)]
enum Users {
    NotSaid,
    /// `? users`
    Unknown,
    Count(u32),
}

/// The words of a line, without the commas behind them.
#[derive(Clone)]
struct Words<'a>(std::str::SplitAsciiWhitespace<'a>);

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        Self(line.split_ascii_whitespace())
    }

    fn next(&mut self) -> Option<&'a str> {
        self.0
            .by_ref()
            .map(|word| word.strip_suffix(',').unwrap_or(word))
            .find(|word| !word.is_empty())
    }

    /// Goes forward only if `read` finds what it looks for.
    fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut ahead = self.clone();
        let found = read(&mut ahead)?;
        *self = ahead;
        Some(found)
    }

    fn take(&mut self, wanted: &str) -> bool {
        self.attempt(|w| w.next().filter(|word| word.eq_ignore_ascii_case(wanted)))
            .is_some()
    }

    /// `21:04:41`, `9:41AM`, `10:17am`, `3:05 PM`, `??:????`; its value is not of interest, the
    /// time zone is not known anyhow.
    fn clock(&mut self) -> bool {
        let found = self.attempt(|w| {
            let word = w.next()?;
            let digits_end = word.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '?'));
            let (time, suffix) = word.split_at(digits_end.unwrap_or(word.len()));
            let letters =
                suffix.len() <= 16 && suffix.chars().all(|c| c.is_alphabetic() || c == '.');
            (time.contains(':') && letters).then_some(())
        });
        if found.is_some() {
            let _ = self.take("am") || self.take("pm");
        }
        found.is_some()
    }

    /// A span of time and the unit of its last part, in seconds. Units come in falling order, each
    /// once, so `up 5 min, 3 days` is none.
    fn span(&mut self) -> Option<(Duration, u64)> {
        let mut total = 0_u64;
        let mut smallest = u64::MAX;
        while smallest > MINUTE {
            // H:MM stands for hours and minutes, so it ends the span.
            let Some((seconds, size, unit)) = self.attempt(|w| w.part()) else {
                break;
            };
            if size >= smallest {
                return None;
            }
            total = total.checked_add(seconds)?;
            smallest = unit;
        }
        // Seconds behind minutes.
        if smallest == MINUTE {
            if let Some((seconds, 1, _)) = self.attempt(|w| w.part().filter(|p| p.1 == 1)) {
                total = total.checked_add(seconds)?;
            }
        }
        (smallest != u64::MAX && total <= MAX_UPTIME)
            .then(|| (Duration::from_secs(total), smallest))
    }

    /// One part of a span: its seconds, its largest unit, its smallest unit.
    fn part(&mut self) -> Option<(u64, u64, u64)> {
        let word = self.next()?;
        if let Some((hours, minutes)) = word.split_once(':') {
            // ESXi has seconds behind the minutes.
            if let Some((minutes, seconds)) = minutes.split_once(':') {
                let sixty = |part: &str| number(part).filter(|&n| n < 60 && part.len() == 2);
                let rest = sixty(minutes)? * MINUTE + sixty(seconds)?;
                return Some((number(hours)? * HOUR + rest, HOUR, 1));
            }
            let minutes = number(minutes).filter(|&m| m < 60 && minutes.len() == 2)?;
            return Some((number(hours)? * HOUR + minutes * MINUTE, HOUR, MINUTE));
        }
        let unit = unit(self.next()?)?;
        Some((number(word)?.checked_mul(unit)?, unit, unit))
    }

    /// None for words that look like users but are not.
    fn users(&mut self) -> Option<Users> {
        let found = self.attempt(|w| {
            let count = w.next()?;
            (w.take("user") || w.take("users")).then_some(count)
        });
        Some(match found {
            None => Users::NotSaid,
            Some("?") => Users::Unknown,
            Some("no") => Users::Count(0),
            Some(count) => Users::Count(u32::try_from(number(count)?).ok()?),
        })
    }

    /// `Some(None)`: the line ends here, or says that it has no load. None: something else follows.
    fn load(&mut self) -> Option<Option<[f64; 3]>> {
        if self.clone().next().is_none() {
            return Some(None);
        }
        if self
            .attempt(|w| (w.take("no") && w.take("load")).then_some(()))
            .is_some()
        {
            return Some(None);
        }
        if !self.take("load") || !(self.take("average:") || self.take("averages:")) {
            return None;
        }
        let mut load = [0.0; 3];
        for value in &mut load {
            match self.next() {
                Some(word) => *value = decimal(word)?,
                // getloadavg(3) may give fewer than three.
                None => return Some(None),
            }
        }
        // What may follow is ours no more: Synology's uptime adds `[IO: …]`.
        Some(Some(load))
    }
}

/// A unit of time in seconds: `day`, `days`, `day(s)`, …
fn unit(word: &str) -> Option<u64> {
    let lower = word.to_ascii_lowercase();
    let stem = lower
        .strip_suffix("(s)")
        .or_else(|| lower.strip_suffix('s'))
        .unwrap_or(&lower);
    match stem {
        "decade" => Some(DECADE),
        "year" => Some(YEAR),
        "week" => Some(WEEK),
        "day" => Some(DAY),
        "hour" | "hr" => Some(HOUR),
        "minute" | "min" => Some(MINUTE),
        "second" | "sec" => Some(1),
        _ => None,
    }
}

/// Digits only: no sign, no blanks, at most nine, so nothing overflows.
fn number(word: &str) -> Option<u64> {
    let plain = (1..=9).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| word.parse().ok()).flatten()
}

/// `0.10`, or `0,10` as some locales write it.
fn decimal(word: &str) -> Option<f64> {
    match word.split_once(['.', ',']) {
        None => number(word).and_then(|_| word.parse().ok()),
        Some((whole, fraction)) => {
            number(whole)?;
            number(fraction)?;
            format!("{whole}.{fraction}").parse().ok()
        }
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
