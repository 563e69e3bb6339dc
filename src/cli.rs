//! What both command lines share: times, words for errors, and what clap has to say about a mistake → one line on
//! standard error, and an exit status.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use nix::errno::Errno;

use crate::escape;

/// Prints `--help` and `--version` as asked, and anything else as one line that names the word
/// that is wrong. Gives exit status 0 for the former, 2 for the latter.
// The client has a suffix and a status of its own.
#[cfg_attr(not(feature = "daemon"), allow(dead_code))]
pub(crate) fn report(program: &str, error: clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        _ => {
            let line = one_line(error);
            complain(program, format_args!("{line}; see {program} --help"));
            ExitCode::from(2)
        }
    }
}

/// One line on standard error. If it cannot be written, there is no other place to report that.
pub(crate) fn complain(program: &str, line: impl Display) {
    let _ = writeln!(io::stderr(), "{program}: {line}");
}

/// clap's first paragraph, without its label, on one line. What the user wrote is escaped before
/// that is cut out: it can hold anything, line breaks and a terminal's escape sequences too.
pub(crate) fn one_line(mut error: clap::Error) -> String {
    let escaped = |(kind, value): (ContextKind, &ContextValue)| {
        let value = match value {
            ContextValue::String(word) => ContextValue::String(escape::word(word)),
            ContextValue::Strings(words) => {
                ContextValue::Strings(words.iter().map(|word| escape::word(word)).collect())
            }
            _ => return None,
        };
        Some((kind, value))
    };
    let escaped: Vec<_> = error.context().filter_map(escaped).collect();
    for (kind, value) in escaped {
        error.insert(kind, value);
    }
    let message = error.to_string();
    let first = message.split("\n\n").next().unwrap_or(&message);
    let first = first.strip_prefix("error: ").unwrap_or(first);
    escape::word(&first.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// An error of std in words, without the number that it appends.
// The daemon's log has words of its own.
#[cfg_attr(not(feature = "client"), allow(dead_code))]
pub(crate) fn io_words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(raw) => Errno::from_raw(raw).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// The longest time that an option takes, a year, in seconds.
const LONGEST: f64 = 365.0 * 86_400.0;

/// A time above 0: seconds, or a number with a unit of s, m, h, d or w.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        // What rounds to nothing would be no time at all.
        seconds if seconds > 0.0 => {
            Ok(Duration::from_secs_f64(seconds).max(Duration::from_millis(1)))
        }
        _ => Err(format!("not a time above 0: {FORMS}")),
    }
}

/// A time, or 0.
// The client has no such option.
#[cfg_attr(not(feature = "daemon"), allow(dead_code))]
pub(crate) fn time_from_0(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        seconds if seconds >= 0.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("not a time: {FORMS}")),
    }
}

const FORMS: &str = "a number of seconds, or one with a unit of s, m, h, d or w";

/// The seconds of a time; not a number where it is none.
fn seconds(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "w" => 7.0 * 86_400.0,
        _ => f64::NAN,
    };
    match number.parse::<f64>().unwrap_or(f64::NAN) * unit {
        seconds if seconds > LONGEST => Err("more than a year".to_owned()),
        seconds => Ok(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_seconds_or_has_a_unit() {
        for (text, milliseconds) in [
            ("5", 5_000),
            ("0.25", 250),
            (".5", 500),
            ("2s", 2_000),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("52w", 52 * 7 * 86_400_000),
            ("0.0000001", 1),
        ] {
            assert_eq!(
                time(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "", "s", "0", "0m", "-1", "nan", "inf", "5x", "5ms", "5 s", "5µ", "--5",
        ] {
            assert!(
                time(text).is_err_and(|e| e.starts_with("not a time")),
                "{text}"
            );
        }
        assert_eq!(time_from_0("0"), Ok(Duration::ZERO));
        assert_eq!(time_from_0("0.5m"), Ok(Duration::from_secs(30)));
        for text in ["", "-1", "nan", "inf", "0x", "s"] {
            assert!(time_from_0(text).is_err(), "{text}");
        }
        for text in ["53w", "366d", "1e99"] {
            assert_eq!(time(text), Err("more than a year".to_owned()), "{text}");
        }
    }

    fn told(arguments: &[&str]) -> String {
        let command = clap::Command::new("x")
            .arg(clap::Arg::new("HOST").required(true))
            .arg(
                clap::Arg::new("number")
                    .long("number")
                    .value_parser(clap::value_parser!(u8)),
            );
        let words = [&["x"], arguments].concat();
        one_line(
            command
                .try_get_matches_from(words)
                .expect_err("a usage error"),
        )
    }

    #[test]
    fn a_message_of_several_lines_becomes_one() {
        assert_eq!(
            told(&[]),
            "the following required arguments were not provided: <HOST>"
        );
    }

    #[test]
    fn attack_an_argument_cannot_cut_the_message_or_write_to_the_terminal() {
        let line = told(&["--number", "1\n\n2\u{202e}\x1b[31m\\"]);
        let word = r"'1\n\n2\u{202e}\x1b[31m\' for '--number <number>'";
        assert!(line.starts_with(&format!("invalid value {word}")), "{line}");
        let line = told(&["--no\n\nsuch"]);
        assert_eq!(line, r"unexpected argument '--no\n\nsuch' found");
        assert!(told(&["--number", "\n\n"]).starts_with(r"invalid value '\n\n' for"));
    }
}
