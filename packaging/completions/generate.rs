//! The completions of both programs, from the definition of their command lines.
//!
//! `cargo run --example completions` writes the files beside this one. What clap_complete makes
//! knows the options; the hosts of the hosts file come from the `hosts.*` scripts here, which are
//! put into the places where a HOST may stand. What reads such a file is the same in all of them:
//! `hosts.awk`.

use std::error::Error;
use std::fs;
use std::path::Path;

use clap::{Arg, Command, ValueHint};
use clap_complete::{Shell, generate};

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/completions");
    for (name, text) in files() {
        fs::write(here.join(name), text)?;
    }
    Ok(())
}

/// Each file's name and contents.
pub(crate) fn files() -> Vec<(&'static str, String)> {
    vec![
        (
            "ruptime.bash",
            bash(client(), "ruptime", &hosts(include_str!("hosts.bash"))),
        ),
        ("_ruptime", zsh()),
        ("ruptime.fish", fish()),
        (
            "ruptimed.bash",
            bash(daemon(), "ruptimed", include_str!("command.bash")),
        ),
        ("_ruptimed", written(Shell::Zsh, daemon(), "ruptimed")),
        ("ruptimed.fish", written(Shell::Fish, daemon(), "ruptimed")),
    ]
}

pub(crate) fn client() -> Command {
    ruptime::client::options::command().mut_args(hinted)
}

pub(crate) fn daemon() -> Command {
    ruptime::daemon::command().mut_args(hinted)
}

/// With what its value is: a HOST, found by the hint for the name of a host; the name of a file; or
/// nothing that a shell could complete, like a number.
fn hinted(arg: Arg) -> Arg {
    let hint = match arg.get_id().as_str() {
        "hosts" | "exclude" => ValueHint::Hostname,
        "hosts_files" | "command" => ValueHint::FilePath,
        _ if !arg.get_action().takes_values() || !arg.get_possible_values().is_empty() => {
            return arg;
        }
        _ => ValueHint::Other,
    };
    arg.value_hint(hint)
}

fn written(shell: Shell, mut command: Command, name: &str) -> String {
    let mut bytes = Vec::new();
    generate(shell, &mut command, name, &mut bytes);
    let text = String::from_utf8(bytes).expect("a script is text");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// The generated function completes options and their values; a function around it, hosts and files.
fn bash(command: Command, name: &str, around: &str) -> String {
    let text = written(Shell::Bash, command.clone(), name);
    let (options, _) = text
        .split_once("\nif [[ \"${BASH_VERSINFO")
        .expect("the registration at the end");
    let options = replaced(
        options,
        &format!("_{name}() {{"),
        &format!("_{name}_options() {{"),
    );
    let values: Vec<String> = command
        .get_arguments()
        .filter(|arg| arg.get_action().takes_values() && !arg.is_positional())
        .filter(|arg| !arg.is_require_equals_set() && arg.get_id() != "exclude")
        .flat_map(|arg| {
            let short = arg.get_short().map(|c| format!("-{c}"));
            let long = arg.get_long().map(|name| format!("--{name}"));
            short.into_iter().chain(long)
        })
        .collect();
    let around = replaced(around, "@VALUES@", &values.join(" | "));
    format!("{}\n{around}", without_files(options.trim_end()))
}

/// The function, but files are left to readline, which quotes their names: what a function lists is
/// typed as it is, and a file named `$(command)` would be run. What cannot be completed is left alone.
fn without_files(function: &str) -> String {
    let mut text = String::new();
    let mut lines = function.lines().peekable();
    while let Some(line) = lines.next() {
        match line.trim_start() {
            "local oldifs" => text += &line.replace("local oldifs", "compopt -o default\n"),
            "COMPREPLY=(\"${cur}\")" | "COMPREPLY=($(compgen -f \"${cur}\"))" => {}
            _ => {
                text += line;
                text.push('\n');
                continue;
            }
        }
        // The rest of the branch.
        while lines
            .next_if(|line| line.trim_start() != "return 0")
            .is_some()
        {}
    }
    assert!(!text.contains("compgen -f"), "files that are not quoted");
    text
}

fn zsh() -> String {
    let text = written(Shell::Zsh, client(), "ruptime");
    let text = text.replace(":_hosts'", ":_ruptime_hosts'");
    // With two colons the function would see the hosts alone, and no -f (zshcompsys(1)).
    let text = replaced(&text, "'*::hosts", "'*:hosts");
    let (head, rest) = text
        .split_once("\nautoload")
        .expect("the line that loads what it uses");
    format!(
        "{head}\n\n{}\nautoload{rest}",
        hosts(include_str!("hosts.zsh"))
    )
}

fn fish() -> String {
    let text = written(Shell::Fish, client(), "ruptime");
    let text = text.replace("(__fish_print_hostnames)", "(__ruptime_hosts)");
    format!("{text}\n{}", hosts(include_str!("hosts.fish")))
}

/// The script with what reads hosts files.
fn hosts(script: &str) -> String {
    replaced(script, "@AWK@", include_str!("hosts.awk"))
}

/// With the one place that is meant, or else clap_complete writes something else now.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "one {from}");
    text.replacen(from, to, 1)
}
