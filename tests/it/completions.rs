//! The completions: as the command lines are now, and working in each shell.

#[path = "../../packaging/completions/generate.rs"]
#[allow(dead_code)] // its main
mod generate;

use std::path::Path;
use std::process::Command;

use crate::common::leave_out;
use crate::common::temp::TempDir;
use crate::common::terminal::Terminal;

const HOSTS: &str = "\
# a comment
web1   # the old one
web2:10513
\t[::1]:99
unix:/run/ruptime.sock
$(touch PWNED)
`touch PWNED`;x
web*
[rack] # node[1-9]
db1
node[08-10,3],udp:x[1-2/2]
n[1-

last";

fn script(name: &str) -> String {
    format!(
        "{}/packaging/completions/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// A folder with a configured hosts file, and another one.
fn configured() -> TempDir {
    let folder = TempDir::new();
    std::fs::create_dir_all(folder.join("config/ruptime")).expect("a folder");
    let pwned = folder.join("pwned").display().to_string();
    folder.file("config/ruptime/hosts", HOSTS.replace("PWNED", &pwned));
    folder.file("other", "other1\nother2\n");
    folder
}

fn is_installed(shell: &str) -> bool {
    let there = Command::new(shell).arg("--version").output().is_ok();
    if !there {
        leave_out(&format!("{shell} is not installed"));
    }
    there
}

/// Runs a shell with nothing of the user's configuration.
fn run(folder: &TempDir, shell: &[&str], script: &str) -> Vec<String> {
    let mut command = Command::new(shell[0]);
    command
        .args(&shell[1..])
        .arg(script)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder.join(""))
        .env("XDG_CONFIG_HOME", folder.join("config"))
        .current_dir(folder.join(""));
    let ran = crate::common::fake::run(&mut command, b"");
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.err, "");
    assert!(!folder.join("pwned").exists(), "a hosts file was run");
    ran.text().lines().map(str::to_owned).collect()
}

#[test]
fn the_files_are_those_of_the_command_lines() {
    for (name, text) in generate::files() {
        let file = std::fs::read_to_string(script(name)).expect(name);
        assert!(
            file == text,
            "{name} is not up to date: cargo run --example completions"
        );
    }
}

/// The words as readline splits them, with the line itself.
fn bash(folder: &TempDir, words: &[&str]) -> Vec<String> {
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let line = words
        .join(" ")
        .replace(" : ", ":")
        .replace(" :", ":")
        .replace(" = ", "=")
        .replace(" =", "=");
    let program = format!(
        "source {}
        compopt() {{ :; }}
        COMP_WORDS=({}) COMP_LINE='{line}' COMP_POINT={} COMP_CWORD={}
        complete -p ruptime | grep -q -- '-F _ruptime ruptime$' || exit
        _ruptime ruptime '{}' '{}'
        printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script("ruptime.bash"),
        quoted.join(" "),
        line.len(),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    run(folder, &["bash", "--norc", "--noprofile", "-c"], &program)
}

#[test]
fn bash_completes_options_values_and_hosts() {
    if !is_installed("bash") {
        return;
    }
    let folder = configured();
    let other = folder.join("other").display().to_string();
    #[rustfmt::skip]
    let table: &[(&[&str], &[&str])] = &[
        (&["ruptime", "we"], &["web1", "web2:10513"]),
        (&["ruptime", "-l", "db"], &["db1"]),
        (&["ruptime", ""], &["@rack", "[::1]:99", "db1", "last", "node08", "node09", "node10", "node3", "udp:x1", "unix:/run/ruptime.sock", "web1", "web2:10513"]),
        (&["ruptime", "@"], &["@rack"]),
        (&["ruptime", "-x", "node0"], &["node08", "node09"]),
        (&["ruptime", "--exclude", "=", "la"], &["last"]),
        // Readline replaces what is behind the last colon.
        (&["ruptime", "web2", ":", "1"], &["10513"]),
        (&["ruptime", "unix", ":", "/ru"], &["/run/ruptime.sock"]),
        (&["ruptime", "--disc"], &["--discover"]),
        (&["ruptime", "-o", "js"], &["json", "jsonl"]),
        (&["ruptime", "--output", "=", "op"], &["openmetrics"]),
        (&["ruptime", "--color", ""], &["auto", "always", "never"]),
        (&["ruptime", "-f", &other, ""], &["other1", "other2"]),
        (&["ruptime", "--hosts-file", "=", &other, "other2"], &["other2"]),
        (&["ruptime", "nobody"], &[""]),
    ];
    for (words, expected) in table {
        assert_eq!(bash(&folder, words), *expected, "{words:?}");
    }
    for expected in ["--udp", "--port", "--hosts-file", "--watch", "-4", "--help"] {
        assert!(
            bash(&folder, &["ruptime", "-"])
                .iter()
                .any(|word| word == expected),
            "{expected}"
        );
    }
}

#[test]
fn bash_falls_back_to_nothing_without_a_hosts_file() {
    if !is_installed("bash") {
        return;
    }
    // A machine may have /etc/ruptime/hosts; then its hosts are right.
    if Path::new("/etc/ruptime/hosts").exists() {
        leave_out("/etc/ruptime/hosts is there");
        return;
    }
    assert_eq!(bash(&TempDir::new(), &["ruptime", ""]), [""]);
}

#[test]
fn fish_completes_options_values_and_hosts() {
    if !is_installed("fish") {
        return;
    }
    let folder = configured();
    let other = folder.join("other").display().to_string();
    let fish = |line: &str| {
        let program = format!("source {}; complete -C '{line}'", script("ruptime.fish"));
        let lines = run(&folder, &["fish", "--no-config", "-c"], &program);
        // The description stands behind a tab.
        lines
            .iter()
            .map(|l| l.split('\t').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(fish("ruptime we"), ["web1", "web2:10513"]);
    assert_eq!(fish("ruptime web2:1"), ["web2:10513"]);
    assert_eq!(
        fish("ruptime node"),
        ["node3", "node08", "node09", "node10"]
    );
    assert_eq!(fish("ruptime -x @"), ["@rack"]);
    assert_eq!(fish("ruptime -o js"), ["json", "jsonl"]);
    assert_eq!(fish("ruptime --disc"), ["--discover"]);
    assert_eq!(fish(&format!("ruptime -f {other} o")), ["other1", "other2"]);
    assert_eq!(
        fish(&format!("ruptime --hosts-file={other} o")),
        ["other1", "other2"]
    );
}

#[test]
fn zsh_completes_options_values_and_hosts() {
    if !is_installed("zsh") || !crate::common::terminal::is_there() {
        return;
    }
    let folder = configured();
    let (config, other) = (folder.join("config"), folder.join("other"));
    std::fs::create_dir(folder.join("functions")).expect("a folder");
    std::os::unix::fs::symlink(script("_ruptime"), folder.join("functions/_ruptime"))
        .expect("a link");
    let startup = format!(
        "PS1='> '; fpath=({} $fpath); autoload -Uz compinit; compinit -u -D; export XDG_CONFIG_HOME={}",
        folder.join("functions").display(),
        config.display()
    );
    folder.file(".zshrc", startup);
    let zsh = format!("ZDOTDIR={} exec zsh -d -i", folder.join("").display());
    let terminal = Terminal::run(&zsh, 200, 20);
    terminal.wait_for("a prompt", |screen| {
        screen.last().is_some_and(|line| line == ">")
    });
    let complete = |typed: &str, expected: &str| {
        terminal.keys(&["-l", typed]);
        terminal.keys(&["Tab"]);
        terminal.wait_for(expected, |screen| {
            screen
                .iter()
                .any(|line| line.trim_start_matches("> ").starts_with(expected))
        });
        terminal.keys(&["C-u", "C-l"]);
        terminal.wait_for("an empty line", |screen| screen == [">"]);
    };
    complete("ruptime web2", "ruptime web2:10513");
    complete("ruptime la", "ruptime last");
    complete("ruptime -x @", "ruptime -x @rack");
    complete("ruptime node1", "ruptime node10");
    complete("ruptime w", "ruptime web");
    complete("ruptime --disc", "ruptime --discover");
    complete("ruptime -o op", "ruptime -o openmetrics");
    complete(
        &format!("ruptime -f {} other2", other.display()),
        &format!("ruptime -f {} other2", other.display()),
    );
    complete(
        &format!("ruptime -f {} ot", other.display()),
        &format!("ruptime -f {} other", other.display()),
    );
    assert!(!folder.join("pwned").exists(), "a hosts file was run");
}

/// Names of files that a shell would act on if they came unquoted, by the letter that they begin with.
const HOSTILE: [(&str, &str); 3] = [
    ("x", "x$(touch pwned)y"),
    ("q", "q`touch pwned`; touch pwned #'\"*"),
    ("s", "s > pwned"),
];

/// An interactive shell in a folder with hostile files, where both programs are functions that show
/// what they get.
struct Interactive {
    folder: TempDir,
    terminal: Terminal,
}

impl Interactive {
    /// None where it cannot be tried here.
    fn start(shell: &str, command: impl Fn(&TempDir) -> String) -> Option<Interactive> {
        if !is_installed(shell) || !crate::common::terminal::is_there() {
            return None;
        }
        let folder = TempDir::new();
        std::fs::create_dir_all(folder.join("files")).expect("a folder");
        std::fs::create_dir_all(folder.join("config/ruptime")).expect("a folder");
        folder.file("config/ruptime/hosts", "");
        for (_, name) in HOSTILE {
            folder.file(&format!("files/{name}"), "");
        }
        let command = command(&folder);
        let start = format!(
            "cd '{}'; export XDG_CONFIG_HOME='{}' HOME='{}'; exec {command}",
            folder.join("files").display(),
            folder.join("config").display(),
            folder.join("").display(),
        );
        let terminal = Terminal::run(&start, 200, 40);
        terminal.wait_for("a prompt", |screen| {
            screen.last().is_some_and(|line| line == ">")
        });
        Some(Interactive { folder, terminal })
    }

    /// Types, completes, types on and enters; gives what the function has shown.
    fn complete(&self, typed: &str, then: &str) -> String {
        self.terminal.keys(&["-l", typed]);
        self.terminal.keys(&["Tab"]);
        self.terminal.keys(&["-l", then]);
        self.terminal.keys(&["Enter"]);
        let shown = |screen: &[String]| {
            let last = screen.iter().rev().find(|line| line.starts_with("got "));
            last.filter(|_| screen.last().is_some_and(|line| line == ">"))
                .cloned()
        };
        let screen = self
            .terminal
            .wait_for(&format!("{typed}<TAB>{then}"), |screen| {
                shown(screen).is_some()
            });
        self.terminal.keys(&["C-l"]);
        self.terminal
            .wait_for("an empty screen", |screen| screen == [">"]);
        assert!(
            !self.folder.join("files/pwned").exists(),
            "{typed}<TAB> ran a command"
        );
        shown(&screen).expect("waited for")
    }

    /// Files are completed where a file is taken, quoted; and nowhere else.
    fn assert_files_are_quoted(&self) {
        for (letter, name) in HOSTILE {
            for typed in ["ruptime -f", "ruptime --hosts-file", "ruptimed -c 3 --"] {
                let got = self.complete(&format!("{typed} {letter}"), " end");
                assert!(
                    got.contains(&format!("<{name}>")),
                    "{typed} {letter}: {got}"
                );
                assert!(got.ends_with("<end>"), "{typed} {letter}: {got}");
            }
        }
        for command in [generate::client(), generate::daemon()] {
            let name = command.get_name().to_owned();
            let values = command.get_arguments().filter(|arg| {
                arg.get_action().takes_values()
                    && !arg.is_positional()
                    && !arg.is_require_equals_set()
                    // Words of its own, which fish finds by their descriptions too.
                    && arg.get_possible_values().is_empty()
                    && arg.get_id() != "hosts_files"
            });
            for arg in values {
                let short = arg.get_short().map(|c| format!("-{c}"));
                let long = arg.get_long().map(|long| format!("--{long}"));
                for option in short.into_iter().chain(long) {
                    let got = self.complete(&format!("{name} {option} q"), "Z");
                    assert_eq!(got, format!("got <{option}><qZ>"), "{name}");
                }
            }
        }
        assert_eq!(self.complete("ruptime q", "Z"), "got <qZ>");
    }
}

const FUNCTIONS: &str = "ruptime() { printf 'got '; printf '<%s>' \"$@\"; echo; }
ruptimed() { ruptime \"$@\"; }\n";

#[test]
fn bash_quotes_the_names_of_files() {
    let bash = Interactive::start("bash", |folder| {
        let (client, daemon) = (script("ruptime.bash"), script("ruptimed.bash"));
        let startup = format!(
            "{FUNCTIONS}PS1='> '; source {client}; source {daemon}; bind 'set bell-style none'\n"
        );
        let file = folder.file("startup", startup);
        format!("bash --noprofile --rcfile {} -i", file.display())
    });
    let Some(bash) = bash else { return };
    bash.assert_files_are_quoted();
    let got = bash.complete("ruptime unix:x", "");
    assert_eq!(got, "got <unix:x$(touch pwned)y>");
    let got = bash.complete("ruptime --hosts-file=x", "");
    assert_eq!(got, "got <--hosts-file=x$(touch pwned)y>");
}

#[test]
fn zsh_quotes_the_names_of_files() {
    let zsh = Interactive::start("zsh", |folder| {
        std::fs::create_dir(folder.join("functions")).expect("a folder");
        for name in ["_ruptime", "_ruptimed"] {
            std::os::unix::fs::symlink(script(name), folder.join("functions").join(name))
                .expect("a link");
        }
        let functions = folder.join("functions").display().to_string();
        folder.file(
            ".zshrc",
            format!("{FUNCTIONS}PS1='> '; fpath=({functions} $fpath); autoload -Uz compinit; compinit -u -D; unsetopt beep\n"),
        );
        format!("env ZDOTDIR={} zsh -d -i", folder.join("").display())
    });
    let Some(zsh) = zsh else { return };
    zsh.assert_files_are_quoted();
    let got = zsh.complete("ruptime --hosts-file=x", "");
    assert_eq!(got, "got <--hosts-file=x$(touch pwned)y>");
}

#[test]
fn fish_quotes_the_names_of_files() {
    let fish = Interactive::start("fish", |folder| {
        let (client, daemon) = (script("ruptime.fish"), script("ruptimed.fish"));
        let startup = format!(
            "function ruptime; printf 'got '; printf '<%s>' $argv; echo; end
            function ruptimed; ruptime $argv; end
            function fish_prompt; printf '> '; end
            set -g fish_greeting; set -g fish_autosuggestion_enabled 0
            source {client}; source {daemon}\n"
        );
        let file = folder.file("startup", startup);
        format!(
            "fish --no-config --init-command 'source {}' -i",
            file.display()
        )
    });
    let Some(fish) = fish else { return };
    fish.assert_files_are_quoted();
    let got = fish.complete("ruptime --hosts-file=x", "");
    assert_eq!(got, "got <--hosts-file=x$(touch pwned)y>");
}
