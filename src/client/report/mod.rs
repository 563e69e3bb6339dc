//! A reply → what its uptime line says. Pure.
//!
//! A reply comes in as bytes that anybody may have sent; a [`Report`] or the reason why it is none
//! goes out, in four steps, a file each:
//!
//! - here: the reply is cut into lines, and the first that is an uptime line is taken, whatever
//!   stands before it (a loader's or a locale's warning, a greeting);
//! - `plain`: a line's bytes become plain text (no colours, one kind of blank and comma);
//! - `tokens`: numbers, words and marks, with or without blanks between them;
//! - `grammar`: the clock, the span, the users; `load`: the three loads; `words`: the vocabulary.
//!
//! Nothing is guessed. Where a text has two readings none is taken: for the uptime that means that
//! the line is no uptime line, for a user count or a load that it is not told. So a count or a load
//! that cannot be read never hides an uptime that can.

use std::fmt;
use std::time::Duration;

use crate::escape;

mod grammar;
mod load;
mod plain;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

/// An uptime line is some 80 bytes; what is longer is something else.
const MAX_LINE: usize = 512;
/// How much of a foreign reply a reason shows, in characters.
const EXCERPT: usize = 60;
/// How much of a server's own error a reason shows, in characters.
const ERROR_EXCERPT: usize = 200;
/// As much of a line is kept, in bytes: what a reason shows, four bytes a character.
const FIRST_LINE: usize = 4 * ERROR_EXCERPT + 4;
/// How the server's own error begins.
const ERROR: &[u8] = b"error: ";

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

/// Reads a whole reply.
///
/// # Errors
/// [`NotUptime`] with the reason.
pub fn parse(reply: &[u8]) -> Result<Report, NotUptime> {
    let mut reader = Reader::default();
    reader.feed(reply);
    reader.finish()
}

/// Whether the reply is the server's own `error: REASON` instead of a command's output. Blank lines
/// before it count as little as before an uptime line.
pub fn is_server_error(reply: &[u8]) -> bool {
    reply.trim_ascii_start().starts_with(ERROR)
}

/// Reads a reply as it comes, piece by piece, in little memory however long it is.
#[derive(Debug, Default, Clone)]
pub struct Reader {
    /// The first line that is neither blank nor an uptime line, cut to [`FIRST_LINE`]: what a
    /// reason shows.
    first: Vec<u8>,
    /// The line whose end has not come, without the blanks before it, cut to [`FIRST_LINE`].
    unended: Vec<u8>,
    /// Something that is not blank was cut off `unended`.
    is_cut: bool,
    /// What the first uptime line says.
    report: Option<Report>,
}

impl Reader {
    /// Takes the next piece of the reply.
    pub fn feed(&mut self, piece: &[u8]) {
        let mut lines = piece.split(|&byte| byte == b'\n');
        let unended = lines.next_back().unwrap_or_default();
        for line in lines {
            self.end_line(line);
        }
        self.keep(unended);
    }

    /// What the reply says, now that it is whole.
    ///
    /// # Errors
    /// [`NotUptime`] with the reason.
    pub fn finish(mut self) -> Result<Report, NotUptime> {
        self.end_line(b"");
        match self.report {
            Some(report) => Ok(report),
            None if self.first.is_empty() => Err(NotUptime::Empty),
            None if is_server_error(&self.first) => {
                let line = escape::excerpt(&self.first, ERROR_EXCERPT);
                Err(NotUptime::Server(line))
            }
            None => Err(NotUptime::Foreign(escape::excerpt(&self.first, EXCERPT))),
        }
    }

    /// Keeps the beginning of a line until its end comes.
    fn keep(&mut self, part: &[u8]) {
        let part = match self.unended.is_empty() {
            true => part.trim_ascii_start(),
            false => part,
        };
        let room = FIRST_LINE - self.unended.len();
        let (kept, rest) = part.split_at(room.min(part.len()));
        self.unended.extend_from_slice(kept);
        self.is_cut |= !rest.trim_ascii_start().is_empty();
    }

    /// Reads the line that ends with this part.
    fn end_line(&mut self, part: &[u8]) {
        if self.unended.is_empty() {
            self.line(part.trim_ascii(), false);
            return;
        }
        self.keep(part);
        let line = std::mem::take(&mut self.unended);
        let is_cut = std::mem::take(&mut self.is_cut);
        self.line(line.trim_ascii(), is_cut);
    }

    fn line(&mut self, line: &[u8], is_cut: bool) {
        if self.report.is_some() || line.is_empty() || is_server_error(&self.first) {
            return;
        }
        if !is_cut && line.len() <= MAX_LINE {
            self.report = grammar::report(&plain::text(line));
        }
        if self.report.is_none() && self.first.is_empty() {
            self.first = line[..line.len().min(FIRST_LINE)].to_vec();
        }
    }
}
