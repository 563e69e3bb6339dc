//! `ruptimed` itself, started in the ways that need no other program.

use std::os::fd::OwnedFd;

use super::manager::Manager;
use super::net::Address;
use super::process::{Launch, Process};
use super::wait_for;

/// The daemon under test.
pub(crate) const RUPTIMED: &str = env!("CARGO_BIN_EXE_ruptimed");

/// The first descriptor that a service manager passes (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// A daemon about to be started.
pub(crate) struct Ruptimed {
    launch: Launch,
    options: Vec<String>,
    command: Vec<String>,
    passed: i32,
}

impl Ruptimed {
    /// With these options.
    pub(crate) fn new<S: AsRef<str>>(options: impl IntoIterator<Item = S>) -> Self {
        Ruptimed {
            launch: Launch::new(RUPTIMED),
            options: options.into_iter().map(|o| o.as_ref().to_owned()).collect(),
            command: Vec::new(),
            passed: 0,
        }
    }

    /// Answers with this command instead of uptime(1).
    pub(crate) fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Answers with what a shell script writes; `$0` in it is `argument`.
    pub(crate) fn script(self, script: &str, argument: &str) -> Self {
        self.command(&["/bin/sh", "-c", script, argument])
    }

    /// Passes a socket as a service manager does: the next number from 3 up.
    pub(crate) fn inherit(mut self, socket: impl Into<OwnedFd>) -> Self {
        let number = FIRST + self.passed;
        self.passed += 1;
        self.change(|launch| launch.fd(number, socket))
    }

    /// Puts a socket on standard input, output and error, as an inetd does.
    pub(crate) fn on_stdio(self, socket: impl Into<OwnedFd>) -> Self {
        let socket = socket.into();
        let copy = || socket.try_clone().expect("a copy");
        self.change(|launch| launch.fd(0, copy()).fd(1, copy()).fd(2, copy()))
    }

    /// Starts it under a service manager that listens to it.
    pub(crate) fn managed_by(self, manager: &Manager) -> Self {
        self.env("NOTIFY_SOCKET", &manager.path())
    }

    pub(crate) fn env(self, name: &str, value: &str) -> Self {
        self.change(|launch| launch.env(name, value))
    }

    /// Anything else about the process.
    pub(crate) fn change(mut self, change: impl FnOnce(Launch) -> Launch) -> Self {
        self.launch = change(self.launch);
        self
    }

    pub(crate) fn start(self) -> Process {
        let mut launch = self.launch;
        if self.passed > 0 {
            let count = self.passed.to_string();
            launch = launch
                .env("LISTEN_FDS", &count)
                .prologue("LISTEN_PID=$$ && export LISTEN_PID");
        }
        launch = launch.args(self.options);
        if !self.command.is_empty() {
            launch = launch.args(["--"]).args(self.command);
        }
        launch.start()
    }

    /// Starts it with `--listen`, and tells where each socket is to be found.
    pub(crate) fn standalone(mut self, listen: &[&str]) -> (Process, Vec<Address>) {
        for address in listen {
            self.options
                .extend(["--listen".to_owned(), (*address).to_owned()]);
        }
        let mut process = self.start();
        let addresses = wait_for("the addresses on standard error", || {
            assert!(!process.has_ended(), "the daemon has ended");
            let stderr = process.stderr();
            let found: Vec<Address> = stderr
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
                .filter_map(|line| line.trim_end().split_once("listening on "))
                .map(|(_, address)| Address::parse(address))
                .collect();
            (found.len() >= listen.len()).then_some(found)
        });
        (process, addresses)
    }
}

/// Starts a daemon on one inherited TCP listener, with these options and this command.
pub(crate) fn on_tcp(options: &[&str], command: &[&str]) -> (Process, Address) {
    let (listener, address) = Address::any_tcp().listen();
    let process = Ruptimed::new(options)
        .command(command)
        .inherit(listener)
        .start();
    (process, address)
}
