//! What clap has to say about a command line → one line on standard error, and an exit status.

use std::io::Write;
use std::process::ExitCode;

use clap::error::{ContextValue, ErrorKind};

/// Prints `--help` and `--version` as asked, and anything else as one line that names the word
/// that is wrong. Gives exit status 0 for the former, 2 for the latter.
// The client has a suffix and a status of its own.
#[cfg_attr(not(feature = "daemon"), allow(dead_code))]
pub(crate) fn report(program: &str, error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        _ => {
            // A dead standard error changes nothing about the status.
            let _ = writeln!(
                std::io::stderr(),
                "{program}: {}; see {program} --help",
                one_line(error)
            );
            ExitCode::from(2)
        }
    }
}

/// clap's first paragraph, without its label, on one line. What the user wrote is escaped before
/// that is cut out: it can hold anything, line breaks and a terminal's escape sequences too.
pub(crate) fn one_line(error: &clap::Error) -> String {
    // With clap's own styles, since its plain text has lost what looks like one in an argument.
    let mut message = error.render().ansi().to_string();
    for (_, value) in error.context() {
        let words = match value {
            ContextValue::String(word) => std::slice::from_ref(word),
            ContextValue::Strings(words) => words,
            _ => continue,
        };
        for word in words.iter().filter(|word| word.contains(is_odd)) {
            message = message.replace(&format!("m{word}\x1b["), &format!("m{}\x1b[", shown(word)));
        }
    }
    let message = without_styles(&message);
    let first = message.split("\n\n").next().unwrap_or(&message);
    let first = first.strip_prefix("error: ").unwrap_or(first);
    shown(&first.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Without `ESC [ … m`.
fn without_styles(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

/// Controls, and what hides or reorders other characters (U+202E).
fn is_odd(c: char) -> bool {
    !matches!(c, '\'' | '"' | '\\') && c.escape_debug().len() > 1
}

fn shown(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if is_odd(c) {
            out.extend(c.escape_debug());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

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
            &command
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
        let word = r"'1\n\n2\u{202e}\u{1b}[31m\' for '--number <number>'";
        assert!(line.starts_with(&format!("invalid value {word}")), "{line}");
        let line = told(&["--no\n\nsuch"]);
        assert_eq!(line, r"unexpected argument '--no\n\nsuch' found");
        assert!(told(&["--number", "\n\n"]).starts_with(r"invalid value '\n\n' for"));
    }
}
