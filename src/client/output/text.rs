//! `text`: replies as they came, failures on standard error.

use std::io::{self, Write};

use super::Settings;
use crate::client::answer::{Answer, Outcome};
use crate::client::report;
use crate::escape;

/// Whether the bytes are a reply and not the server's own `error:`, or nothing.
pub(super) fn is_reply(raw: &[u8]) -> bool {
    !raw.is_empty() && !report::is_server_error(raw)
}

/// One host: exactly the bytes that it sent, escaped before a terminal. Several: `HOST: ` before
/// each line, escaped always, since a line that forges another host's is no use in a file either.
///
/// # Errors
/// Writing to `out` failed.
pub fn write(
    out: &mut impl Write,
    err: &mut impl Write,
    settings: &Settings,
    answers: &[Answer],
) -> io::Result<()> {
    for answer in answers {
        match &answer.outcome {
            Outcome::Up { raw, .. } => reply(out, settings, &answer.host, raw)?,
            Outcome::Error {
                raw, whole: true, ..
            } if is_reply(raw) => reply(out, settings, &answer.host, raw)?,
            Outcome::Error { reason, .. } | Outcome::Down { reason } => {
                failure(out, err, &answer.host, reason)?
            }
        }
    }
    Ok(())
}

fn reply(out: &mut impl Write, settings: &Settings, host: &str, raw: &[u8]) -> io::Result<()> {
    if settings.many {
        let host = escape::line(host.as_bytes());
        let lines = raw.strip_suffix(b"\n").unwrap_or(raw);
        for line in lines.split(|&b| b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            writeln!(out, "{host}: {}", escape::line(line))?;
        }
        Ok(())
    } else if settings.terminal {
        out.write_all(escape::text(raw).as_bytes())
    } else {
        out.write_all(raw)
    }
}

/// What came before is flushed first, so that both streams on one terminal stay in order. A
/// standard error that cannot be written to leaves nobody to tell.
fn failure(out: &mut impl Write, err: &mut impl Write, host: &str, reason: &str) -> io::Result<()> {
    out.flush()?;
    let host = escape::line(host.as_bytes());
    let reason = escape::line(reason.as_bytes());
    let _ = writeln!(err, "ruptime: {host}: {reason}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;
    use crate::client::answer::samples::{down, error, up};

    fn written(terminal: bool, answers: &[Answer]) -> (Vec<u8>, String) {
        let settings = Settings {
            terminal,
            ..Settings::new(Format::Text, answers.len() > 1)
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        write(&mut out, &mut err, &settings, answers).expect("written");
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
        assert!(!super::super::is_success(Format::Text, &answer));
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
        let mut flood = saying("a", b"xxxxxx");
        if let Outcome::Error { whole, .. } = &mut flood.outcome {
            *whole = false;
        }
        for failed in [saying("a", b""), flood] {
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
        write(
            &mut out,
            &mut Closed,
            &settings,
            &[down("a", "no"), saying("b", b"x")],
        )
        .expect("written");
        assert_eq!(out, b"b: x\n");
    }
}
