//! The lines of a hosts file, each bounded, and what each of them is.

use std::io::{self, BufRead, Read as _};

use crate::escape;

/// The longest line of a hosts file, bytes.
pub(super) const LINE_MAX: usize = 4096;
/// The most that is read of a hosts file, bytes: a million hosts, but not /dev/zero.
pub(super) const FILE_MAX: u64 = 64 * 1024 * 1024;

/// What a line of a hosts file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Blank, or a comment.
    Nothing,
    /// `[NAME]`, with what is between the brackets.
    Heading(&'a str),
    /// A HOST in any form.
    Host(&'a str),
}

impl<'a> Line<'a> {
    /// Reads a line. A comment begins with a `#` that starts the line or follows a blank, so that a
    /// path may have one.
    ///
    /// # Errors
    /// What is wrong with the line, safe to print.
    pub(super) fn read(line: &'a str) -> Result<Self, String> {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        let comment = line.match_indices('#').find(|(at, _)| {
            let before = line[..*at].chars().next_back();
            before.is_none_or(char::is_whitespace)
        });
        let word = comment.map_or(line, |(at, _)| &line[..at]).trim();
        if word.is_empty() {
            return Ok(Self::Nothing);
        }
        if !word.starts_with("unix:") && word.contains(char::is_whitespace) {
            return Err(format!("{}: one host a line", shown(word)));
        }
        Ok(match heading(word) {
            Some(name) => Self::Heading(name),
            None => Self::Host(word),
        })
    }
}

/// What is between brackets that are the whole word, unless it is an IPv6 address.
fn heading(word: &str) -> Option<&str> {
    let inside = word.strip_prefix('[')?.strip_suffix(']')?;
    (!inside.contains([':', '[', ']'])).then_some(inside)
}

/// A word of a file in a message.
pub(super) fn shown(word: &str) -> String {
    escape::excerpt(word.as_bytes(), 60)
}

/// The lines of a file.
pub(super) struct Lines<R> {
    input: io::Take<R>,
    /// Of the line that was read last, from 1.
    pub(super) number: usize,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            // One byte more than a file may have tells that it has more.
            input: input.take(FILE_MAX + 1),
            number: 0,
        }
    }

    /// Whether there was more than a file may have.
    pub(super) fn is_too_long(&self) -> bool {
        self.input.limit() == 0
    }

    /// The next line without its end; the inner error is what is wrong with this one line.
    pub(super) fn next(&mut self) -> io::Result<Option<Result<String, String>>> {
        let mut line = Vec::new();
        let read = (&mut self.input)
            .take(LINE_MAX as u64 + 1)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read > LINE_MAX && !line.ends_with(b"\n") {
            self.skip_line()?;
            return Ok(Some(Err(format!("a line longer than {LINE_MAX} bytes"))));
        }
        let line = String::from_utf8(line).map_err(|_| "not UTF-8".to_owned());
        Ok(Some(line))
    }

    /// Reads to the end of a line without keeping it.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.input.consume(used);
            if end.is_some() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_nothing_a_heading_or_a_host() {
        for (line, read) in [
            ("", Line::Nothing),
            (" \t# web1", Line::Nothing),
            ("[web]", Line::Heading("web")),
            (" [web] # all of them", Line::Heading("web")),
            ("[1-3]", Line::Heading("1-3")),
            ("[]", Line::Heading("")),
            ("[::1]", Line::Host("[::1]")),
            ("[1-3][4-5]", Line::Host("[1-3][4-5]")),
            ("[1-3].example", Line::Host("[1-3].example")),
            ("web1 # old", Line::Host("web1")),
            ("\u{feff}web1\r", Line::Host("web1")),
            ("@web", Line::Host("@web")),
            ("unix:/run/a b#c # x", Line::Host("unix:/run/a b#c")),
        ] {
            assert_eq!(Line::read(line).as_ref(), Ok(&read), "{line:?}");
        }
        assert!(Line::read("web1 web2").is_err());
    }
}
