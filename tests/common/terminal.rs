//! A terminal of the test's own, in a tmux server of its own: what a user would see.
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::temp::TempDir;

/// Only a hang reaches it.
const BOUND: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Ends with all that runs in it when it is dropped.
pub(crate) struct Terminal {
    folder: TempDir,
    /// tmux in the foreground, so that it is a child to be waited for.
    server: Option<Child>,
}

impl Terminal {
    /// Runs a shell script in a terminal of so many columns and rows. The screen stays when the
    /// script has ended.
    pub(crate) fn run(script: &str, columns: u32, rows: u32) -> Terminal {
        let folder = TempDir::new();
        folder.file("script", script);
        folder.file(
            "tmux.conf",
            "set -g remain-on-exit on\nset -g status off\nset -g escape-time 0\n",
        );
        let mut terminal = Terminal {
            folder,
            server: None,
        };
        let server = terminal
            .command()
            .arg("-D")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        terminal.server = Some(server.expect("tmux starts"));
        let size = [columns, rows].map(|n| n.to_string());
        let script = terminal.folder.join("script").display().to_string();
        let start = [
            "new-session",
            "-d",
            "-x",
            &size[0],
            "-y",
            &size[1],
            "--",
            "/bin/sh",
            &script,
        ];
        let end = Instant::now() + BOUND;
        // Until the server listens.
        while !terminal
            .command()
            .arg("-N")
            .args(start)
            .output()
            .is_ok_and(|done| done.status.success())
        {
            assert!(Instant::now() < end, "no answer from tmux");
            sleep(LOOK);
        }
        terminal
    }

    /// Waits for the screen to be as `wanted`, and gives its lines.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let end = Instant::now() + BOUND;
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(
                Instant::now() < end,
                "waited in vain for {what} on\n{}",
                screen.join("\n")
            );
            sleep(LOOK);
        }
    }

    /// Waits for a text on the screen.
    pub(crate) fn wait_for_text(&self, text: &str) -> Vec<String> {
        self.wait_for(text, |screen| screen.iter().any(|line| line.contains(text)))
    }

    /// The lines of the screen without the blanks at their ends.
    pub(crate) fn screen(&self) -> Vec<String> {
        let text = self.tmux(&["capture-pane", "-p"]);
        text.trim_end()
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    /// Types keys, by tmux's names or as they are.
    pub(crate) fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    pub(crate) fn resize(&self, columns: u32, rows: u32) {
        self.tmux(&[
            "resize-window",
            "-x",
            &columns.to_string(),
            "-y",
            &rows.to_string(),
        ]);
    }

    /// Sends a signal to the program of this name that the script runs now.
    pub(crate) fn signal(&self, program: &str, signal: &str) {
        let pid = self.pid_of(program).expect("a program of our own");
        let sent = Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .expect("kill starts");
        assert!(sent.success(), "kill -s {signal} {pid}");
    }

    /// Waits for the end of the program of this name.
    pub(crate) fn wait_for_end_of(&self, program: &str) {
        let end = Instant::now() + BOUND;
        while self.pid_of(program).is_some() {
            assert!(Instant::now() < end, "{program} does not end");
            sleep(LOOK);
        }
    }

    /// A child of the script's shell that has not ended.
    pub(crate) fn pid_of(&self, program: &str) -> Option<String> {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let found = Command::new("ps")
            .args(["-o", "pid=", "-C", program, "--ppid", shell.trim()])
            .output()
            .expect("ps starts");
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        let shells_own = |pid: &&str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let (_, rest) = stat.rsplit_once(") ").unwrap_or_default();
            let mut fields = rest.split(' ');
            fields.next() != Some("Z") && fields.next() == Some(shell.trim())
        };
        let mut found = found.split_whitespace();
        found.find(shells_own).map(str::to_owned)
    }

    /// Whether the alternate screen is on, the cursor is shown, long lines wrap.
    pub(crate) fn modes(&self) -> (bool, bool, bool) {
        let flags = self.tmux(&[
            "display-message",
            "-p",
            "#{alternate_on}#{cursor_flag}#{wrap_flag}",
        ]);
        let is_on = |place: usize| flags.as_bytes().get(place) == Some(&b'1');
        (is_on(0), is_on(1), is_on(2))
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self
            .command()
            .arg("-N")
            .args(arguments)
            .output()
            .expect("tmux starts");
        assert!(
            status.success(),
            "tmux {arguments:?}: {}",
            String::from_utf8_lossy(&stderr)
        );
        String::from_utf8_lossy(&stdout).into_owned()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command
            .arg("-u")
            .arg("-S")
            .arg(self.folder.join("socket"))
            .arg("-f")
            .arg(self.folder.join("tmux.conf"))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("TERM", "xterm-256color")
            .env("LANG", "C.UTF-8")
            .env("SHELL", "/bin/sh")
            .env("HOME", self.folder.join(""));
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Hangs up whatever still runs in it.
        let _ = self.command().args(["-N", "kill-server"]).output();
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// True where tmux is installed; else tells what is left out.
pub(crate) fn is_there() -> bool {
    let there = Command::new("tmux").arg("-V").output().is_ok();
    if !there {
        super::leave_out("tmux is not installed");
    }
    there
}
