//! The completions of both programs, from the definition of their command lines.
//!
//! `cargo run --example completions` writes the files beside this one. What clap_complete makes
//! knows the options; the hosts of the hosts file come from the `hosts.*` scripts here, which are
//! put into the places where a HOST may stand. What reads such a file is the same in all of them:
//! `hosts.awk`.

use std::error::Error;
use std::fs;
use std::path::Path;

use clap::{Command, ValueHint};
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
        ("ruptime.bash", bash()),
        ("_ruptime", zsh()),
        ("ruptime.fish", fish()),
        ("ruptimed.bash", daemon(Shell::Bash)),
        ("_ruptimed", daemon(Shell::Zsh)),
        ("ruptimed.fish", daemon(Shell::Fish)),
    ]
}

/// A HOST is hinted as the name of a host, to find the place; a number is not a file.
fn client() -> Command {
    ruptime::client::options::command().mut_args(|arg| match arg.get_id().as_str() {
        "hosts" | "exclude" => arg.value_hint(ValueHint::Hostname),
        "port" | "timeout" | "deadline" | "wait" | "jobs" | "watch" => {
            arg.value_hint(ValueHint::Other)
        }
        _ => arg,
    })
}

fn written(shell: Shell, mut command: Command, name: &str) -> String {
    let mut bytes = Vec::new();
    generate(shell, &mut command, name, &mut bytes);
    let text = String::from_utf8(bytes).expect("a script is text");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

fn daemon(shell: Shell) -> String {
    written(shell, ruptime::daemon::command(), "ruptimed")
}

/// The generated function completes options and their values; a function around it, the hosts.
fn bash() -> String {
    let text = written(Shell::Bash, client(), "ruptime");
    let (options, _) = text
        .split_once("\nif [[ \"${BASH_VERSINFO")
        .expect("the registration at the end");
    let options = replaced(options, "_ruptime() {", "_ruptime_options() {");
    let values: Vec<String> = client()
        .get_arguments()
        .filter(|arg| arg.get_action().takes_values() && !arg.is_positional())
        .filter(|arg| !arg.is_require_equals_set() && arg.get_id() != "exclude")
        .flat_map(|arg| {
            let short = arg.get_short().map(|c| format!("-{c}"));
            let long = arg.get_long().map(|name| format!("--{name}"));
            short.into_iter().chain(long)
        })
        .collect();
    let hosts = replaced(
        &hosts(include_str!("hosts.bash")),
        "@VALUES@",
        &values.join(" | "),
    );
    format!("{}\n\n{hosts}", options.trim_end())
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
