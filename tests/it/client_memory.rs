//! What was seen of the hosts before: `$XDG_STATE_HOME/ruptime/memory`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::common::fake::{Fake, LINE, Ran, client, closed_port, run};
use crate::common::temp::TempDir;

/// A home for memories, and two hosts: one that is up, and one that is not.
struct Home {
    dir: TempDir,
    up: Fake,
    down: String,
    _held: std::os::fd::OwnedFd,
}

impl Home {
    fn new() -> Home {
        let (held, down) = closed_port("127.0.0.1");
        Home {
            dir: TempDir::new(),
            up: Fake::up("127.0.0.1"),
            down: down.to_string(),
            _held: held,
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.join("ruptime/memory")
    }

    fn command(&self, options: &[&str]) -> Command {
        let hosts = [self.up.host(), self.down.clone()];
        let options = options.iter().map(|word| (*word).to_owned());
        let words: Vec<String> = options.chain(hosts).collect();
        let mut command = client(&words[..]);
        command.env("XDG_STATE_HOME", self.dir.path());
        command
    }

    fn ask(&self, options: &[&str]) -> Ran {
        run(&mut self.command(options), b"")
    }

    fn rows(&self, options: &[&str]) -> Vec<Value> {
        let ran = self.ask(&[&["-o", "json"][..], options].concat());
        assert_eq!((ran.status, ran.err.as_str()), (1, ""), "{ran:?}");
        serde_json::from_slice(&ran.out).expect("JSON")
    }

    /// The file of a host that was seen long ago, with a boot before that.
    fn remember(&self, host: &str, last: i64, boot: i64) {
        fs::create_dir_all(self.dir.join("ruptime")).expect("a folder");
        let text = format!("ruptime memory 1\n[\"{host}\",{last},{boot}]\n");
        fs::write(self.file(), text).expect("a memory");
    }
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970")
        .as_secs()
        .try_into()
        .expect("a time")
}

#[test]
fn a_host_that_is_down_has_a_last_time() {
    let home = Home::new();
    let days = 2 * 86_400 + 3_600 + 630;
    home.remember(&home.down, now() - days, now() - 9 * 86_400);
    let ran = home.ask(&[]);
    let line = "  2+01:10, connection refused\n";
    assert!(ran.text().ends_with(line), "{ran:?}");
    assert_eq!((ran.status, ran.err.as_str()), (1, ""), "{ran:?}");
    let rows = home.rows(&[]);
    assert!(rows[0]["last_seen"].is_string(), "{rows:?}");
    assert_eq!(rows[0]["rebooted"], false);
    assert!(
        rows[1]["last_seen"].is_string() && rows[1]["rebooted"].is_null(),
        "{rows:?}"
    );
    // The down host is remembered still, and the other one now, too.
    let text = fs::read_to_string(home.file()).expect("a memory");
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.starts_with("ruptime memory 1\n"), "{text}");
}

#[test]
fn a_single_host_is_remembered_where_a_condition_asks() {
    let home = Home::new();
    let host = home.up.host();
    let run_with = |words: &[&str]| run(client(words).env("XDG_STATE_HOME", home.dir.path()), b"");
    let ask = |more: &[&str]| run_with(&[&["--where", "rebooted", &host], more].concat());
    for output in [&[][..], &["-o", "text"], &["-o", "table"], &["-o", "jsonl"]] {
        home.remember(&host, now() - 5 * 86_400, now() - 99 * 86_400);
        let ran = ask(output);
        assert!(
            ran.status == 0 && ran.text().lines().count() == 1,
            "{ran:?}"
        );
        // It has been seen since.
        assert_eq!(ask(output).text(), "", "{output:?}");
    }
    // Without such a condition it is not.
    std::fs::remove_file(home.file()).expect("a memory");
    assert_eq!(run_with(&[&host, "-o", "table"]).status, 0);
    assert!(!home.file().exists());
}

#[test]
fn attack_a_folder_whose_name_a_terminal_obeys() {
    let home = Home::new();
    let state = home.dir.join("\x1b[31m");
    std::fs::write(&state, "no folder").expect("written");
    let mut client = client(&[&home.up.host(), &home.down]);
    let ran = run(client.env("XDG_STATE_HOME", &state), b"");
    assert!(
        !ran.err.contains('\x1b') && ran.err.contains("\\x1b[31m/ruptime"),
        "{ran:?}"
    );
}

#[test]
fn a_boot_later_than_the_last_answer_is_a_reboot() {
    let home = Home::new();
    assert!(LINE.contains("up 3 days,  4:05"));
    home.remember(&home.up.host(), now() - 5 * 86_400, now() - 99 * 86_400);
    let ran = home.ask(&[]);
    assert!(
        ran.text()
            .lines()
            .next()
            .expect("a row")
            .ends_with("  rebooted"),
        "{ran:?}"
    );
    // It has been seen since.
    let ran = home.ask(&[]);
    assert!(!ran.text().contains("rebooted"), "{ran:?}");
    home.remember(&home.up.host(), now() - 5 * 86_400, now() - 99 * 86_400);
    assert_eq!(home.rows(&[])[0]["rebooted"], true);
}

#[test]
fn nothing_is_kept_where_nothing_is_asked_for() {
    let home = Home::new();
    home.ask(&["--no-memory"]);
    home.ask(&["-o", "openmetrics"]);
    home.ask(&["-o", "text"]);
    let mut single = client(&[home.up.host()]);
    run(single.env("XDG_STATE_HOME", home.dir.path()), b"");
    assert!(!home.dir.join("ruptime").exists());
    home.remember(&home.down, now() - 86_400, now() - 9 * 86_400);
    let rows = home.rows(&["--no-memory"]);
    assert!(rows[1]["last_seen"].is_null(), "{rows:?}");
}

#[test]
fn without_a_home_nothing_is_said() {
    let home = Home::new();
    let mut command = home.command(&[]);
    command.env_remove("XDG_STATE_HOME").env_remove("HOME");
    let ran = run(&mut command, b"");
    assert_eq!((ran.status, ran.err.as_str()), (1, ""), "{ran:?}");
}

#[test]
fn a_home_that_is_not_there_is_not_made() {
    let home = Home::new();
    let none = home.dir.join("none");
    let mut command = home.command(&[]);
    command.env_remove("XDG_STATE_HOME").env("HOME", &none);
    let ran = run(&mut command, b"");
    assert_eq!((ran.status, ran.err.as_str()), (1, ""), "{ran:?}");
    assert!(!none.exists());
}

#[test]
fn a_memory_that_cannot_be_used_costs_one_line_and_no_answer() {
    type Put = fn(&Home);
    let put: [(&str, Put); 5] = [
        ("not a regular file", |home| {
            fs::create_dir_all(home.file()).expect("a directory");
        }),
        ("not a regular file", |home| {
            fs::create_dir_all(home.dir.join("ruptime")).expect("a folder");
            let mode = nix::sys::stat::Mode::S_IRWXU;
            nix::unistd::mkfifo(&home.file(), mode).expect("a FIFO");
        }),
        ("symbolic link", |home| {
            fs::create_dir_all(home.dir.join("ruptime")).expect("a folder");
            symlink("/etc/passwd", home.file()).expect("a link");
        }),
        ("a later ruptime", |home| {
            home.remember("x", 1, 1);
            fs::write(home.file(), "ruptime memory 7\n\0").expect("a file");
        }),
        ("not a directory", |home| {
            fs::write(home.dir.join("ruptime"), "").expect("a file");
        }),
    ];
    for (words, put) in put {
        let home = Home::new();
        put(&home);
        let ran = home.ask(&[]);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert_eq!(ran.text().lines().count(), 2, "{ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
        assert!(
            ran.err.starts_with("ruptime: memory: ") && ran.err.contains(words),
            "{ran:?}"
        );
        // A program that reads JSON reads nothing else.
        assert_eq!(home.rows(&[]).len(), 2);
    }
}

#[test]
fn another_users_memory_is_left_alone() {
    if !nix::unistd::geteuid().is_root() {
        return crate::common::leave_out("another user's memory: only root can make one");
    }
    let home = Home::new();
    home.remember(&home.down, now() - 86_400, now() - 9 * 86_400);
    let nobody = Some(65_534.into());
    nix::unistd::chown(&home.file(), nobody, None).expect("another owner");
    let before = fs::read(home.file()).expect("a memory");
    let ran = home.ask(&[]);
    assert!(ran.err.contains("belongs to another user"), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    assert_eq!(fs::read(home.file()).expect("a memory"), before);
}

#[test]
fn a_folder_that_cannot_be_written_to_costs_one_line() {
    let home = Home::new();
    home.remember(&home.down, now() - 86_400, now() - 9 * 86_400);
    // A full disk, as far as the client can tell: root may write anywhere.
    fs::create_dir(home.dir.join("ruptime/memory.new")).expect("in the way");
    let ran = home.ask(&[]);
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    assert!(ran.err.starts_with("ruptime: memory: "), "{ran:?}");
    assert!(
        ran.text().contains("1+00:00, connection refused"),
        "{ran:?}"
    );
}

#[test]
fn its_folder_and_its_file_are_its_users_alone() {
    let home = Home::new();
    home.ask(&[]);
    for (path, mode) in [(home.dir.join("ruptime"), 0o700), (home.file(), 0o600)] {
        let found = fs::metadata(&path).expect("it").permissions().mode();
        assert_eq!(found & 0o777, mode, "{path:?}");
    }
}

#[test]
fn calls_side_by_side_lose_nothing() {
    let home = Home::new();
    let ups: Vec<Fake> = (0..8).map(|_| Fake::up("127.0.0.1")).collect();
    std::thread::scope(|scope| {
        for up in &ups {
            let mut command = client(&[
                "-o".to_owned(),
                "json".to_owned(),
                up.host(),
                home.up.host(),
            ]);
            command.env("XDG_STATE_HOME", home.dir.path());
            scope.spawn(move || assert_eq!(run(&mut command, b"").status, 0));
        }
    });
    let text = fs::read_to_string(home.file()).expect("a memory");
    for up in ups.iter().chain([&home.up]) {
        assert!(text.contains(&format!("[\"{}\",", up.host())), "{text}");
    }
}
