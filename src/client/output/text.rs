//! `text`: replies as they came, failures on standard error.

use std::io::{self, Write};

use super::{Row, Settings, Terminal};
use crate::client::answer::Status;
use crate::escape;

/// Replies go to `out`, failures and changes to `err`. What came before is flushed first, so that
/// both streams on one terminal stay in order. If standard error cannot be written to, there is
/// no place to report that.
pub(super) fn write(
    out: &mut impl Write,
    err: &mut impl Write,
    settings: &Settings,
    rows: &[Row<'_>],
) -> io::Result<()> {
    let (mut said, mut told) = (Vec::new(), Vec::new());
    for row in rows {
        push(&mut said, &mut told, settings, row);
        out.write_all(&said)?;
        if !told.is_empty() {
            out.flush()?;
            let _ = err.write_all(&told);
        }
        said.clear();
        told.clear();
    }
    Ok(())
}

/// One host's reply, or else why there is none, and what has changed.
pub(crate) fn push(out: &mut Vec<u8>, err: &mut Vec<u8>, settings: &Settings, row: &Row<'_>) {
    let outcome = &row.answer.outcome;
    let host = escape::line(row.answer.host.as_bytes());
    match (outcome.reply(), outcome.reason()) {
        (Some(raw), _) => push_reply(out, settings, &host, raw),
        (None, reason) => {
            let reason = escape::line(reason.unwrap_or_default().as_bytes());
            err.extend(format!("ruptime: {host}: {reason}\n").bytes());
        }
    }
    if !row.mark.is_empty() {
        let state = match outcome.status() {
            Status::Up => String::new(),
            other => format!("{} ", other.as_str()),
        };
        err.extend(format!("ruptime: {host}: {state}{}\n", row.mark).bytes());
    }
}

/// One host: exactly the bytes that it sent, escaped before a terminal. Several: `HOST: ` before
/// each line, escaped always, since a line that forges another host's is no use in a file either.
fn push_reply(out: &mut Vec<u8>, settings: &Settings, host: &str, raw: &[u8]) {
    if settings.many {
        let lines = raw.strip_suffix(b"\n").unwrap_or(raw);
        for line in lines.split(|&b| b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            out.extend(format!("{host}: {}\n", escape::line(line)).bytes());
        }
    } else if settings.terminal == Terminal::None {
        out.extend(raw);
    } else {
        out.extend(escape::text(raw).bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;
    use crate::client::answer::samples::{down, error, up};
    use crate::client::answer::{Answer, Outcome};

    fn written(terminal: bool, answers: &[Answer]) -> (Vec<u8>, String) {
        let terminal = match terminal {
            true => Terminal::Dumb,
            false => Terminal::None,
        };
        let settings = Settings {
            terminal,
            ..Settings::new(Format::Text, answers.len() > 1)
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let rows: Vec<_> = answers.iter().map(Row::from).collect();
        write(&mut out, &mut err, &settings, &rows).expect("written");
        (out, String::from_utf8(err).expect("text"))
    }

    fn saying(host: &str, raw: &[u8]) -> Answer {
        let mut answer = error(host, "not an uptime line");
        if let Outcome::Error { raw: bytes, .. } = &mut answer.outcome {
            *bytes = raw.to_vec();
        }
        answer
    }

    #[test]
    fn one_host_gives_exactly_its_bytes_when_no_terminal_sees_them() {
        let bytes = b"\x1b[2J\xff\0 up\r\nno line feed at the end";
        assert_eq!(
            written(false, &[saying("a", bytes)]),
            (bytes.to_vec(), String::new())
        );
    }

    #[test]
    fn attack_escape_sequences_are_shown_on_a_terminal() {
        let (out, _) = written(true, &[saying("a", b"\x1b[2Jx\n")]);
        assert_eq!(out, b"\\x1b[2Jx\n");
    }

    #[test]
    fn plain_text_reaches_a_terminal_unchanged() {
        let answers = [up("a", 60, None, None)];
        assert_eq!(written(true, &answers), written(false, &answers));
    }

    #[test]
    fn several_hosts_are_named_on_every_line() {
        let (out, err) = written(
            false,
            &[
                saying("a", b"1\n2\r\n"),
                saying("b", b"3"),
                down("c", "refused"),
            ],
        );
        assert_eq!(String::from_utf8_lossy(&out), "a: 1\na: 2\nb: 3\n");
        assert_eq!(err, "ruptime: c: refused\n");
    }

    #[test]
    fn a_reply_of_blank_lines_is_a_reply_of_its_host() {
        let (out, err) = written(false, &[saying("a", b"\n"), saying("b", b"\n\n")]);
        assert_eq!(String::from_utf8_lossy(&out), "a: \nb: \nb: \n");
        assert_eq!(err, "");
    }

    #[test]
    fn the_servers_error_behind_blank_lines_is_its_error() {
        let mut answer = error("a", "error: no");
        if let Outcome::Error { raw, .. } = &mut answer.outcome {
            *raw = b"\n \nerror: no\n".to_vec();
        }
        let (out, err) = written(false, &[answer]);
        assert_eq!((out, err.as_str()), (vec![], "ruptime: a: error: no\n"));
    }

    #[test]
    fn attack_a_carriage_return_does_not_hide_the_name() {
        let (out, _) = written(false, &[saying("a", b"x\rb: up\n"), saying("b", b"y\n")]);
        assert_eq!(String::from_utf8_lossy(&out), "a: x\\rb: up\nb: y\n");
    }

    #[test]
    fn the_servers_error_and_a_reply_that_is_not_whole_are_failures() {
        let (out, err) = written(false, &[error("a", "error: no such command")]);
        assert_eq!(out, b"");
        assert_eq!(err, "ruptime: a: error: no such command\n");
        for raw in [&b""[..], b"xxxxxx"] {
            let mut failed = saying("a", raw);
            if let Outcome::Error { is_reply, .. } = &mut failed.outcome {
                *is_reply = false;
            }
            let (out, err) = written(false, &[failed]);
            assert_eq!(
                (out, err.as_str()),
                (vec![], "ruptime: a: not an uptime line\n")
            );
        }
    }

    #[test]
    fn a_closed_standard_error_stops_nothing() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let settings = Settings::new(Format::Text, true);
        let mut out = Vec::new();
        let answers = [down("a", "no"), saying("b", b"x")];
        let rows: Vec<_> = answers.iter().map(Row::from).collect();
        write(&mut out, &mut Closed, &settings, &rows).expect("written");
        assert_eq!(out, b"b: x\n");
    }
}
