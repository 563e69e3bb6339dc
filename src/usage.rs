//! What clap has to say about a command line → one line on standard error, and an exit status.

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;

/// Prints `--help` and `--version` as asked, and anything else as one line that names the word
/// that is wrong. Gives exit status 0 for the former, 2 for the latter.
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
                one_line(&error.to_string())
            );
            ExitCode::from(2)
        }
    }
}

/// clap's first paragraph, without its label, on one line.
pub(crate) fn one_line(message: &str) -> String {
    let first = message.split("\n\n").next().unwrap_or(message);
    let first = first.strip_prefix("error: ").unwrap_or(first);
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_several_lines_becomes_one() {
        let message = "error: the following required arguments were not provided:\n  <HOST>\n\nUsage: x <HOST>\n";
        assert_eq!(
            one_line(message),
            "the following required arguments were not provided: <HOST>"
        );
    }
}
