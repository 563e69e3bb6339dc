//! A service manager as far as sd_notify(3) goes: it listens, and remembers when it heard what.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::temp::TempDir;
use super::{BOUND, uninterrupted, wait_for};

/// A notification socket of a test's own.
pub(crate) struct Manager {
    dir: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new();
        let socket = UnixDatagram::bind(dir.join("notify")).expect("a notification socket");
        Manager { dir, socket }
    }

    /// What NOTIFY_SOCKET is to hold.
    pub(crate) fn path(&self) -> String {
        self.dir.text("notify")
    }

    /// The next message, as its assignments, waited for.
    pub(crate) fn next(&self) -> Vec<String> {
        self.receive(Some(BOUND))
            .expect("a message within the bound")
    }

    /// The messages that have come and were not asked for yet.
    pub(crate) fn pending(&self) -> Vec<Vec<String>> {
        self.socket.set_nonblocking(true).expect("non-blocking");
        let messages = std::iter::from_fn(|| self.receive(None)).collect();
        self.socket.set_nonblocking(false).expect("blocking");
        messages
    }

    /// Reads on until a message has an assignment that `wanted` takes; gives it.
    pub(crate) fn wait_for(&self, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
        wait_for(what, || {
            self.receive(Some(BOUND))?
                .into_iter()
                .find(|assignment| wanted(assignment))
        })
    }

    fn receive(&self, within: Option<Duration>) -> Option<Vec<String>> {
        self.socket.set_read_timeout(within).expect("a time limit");
        let mut message = [0; 4096];
        match uninterrupted(|| self.socket.recv(&mut message)) {
            Ok(length) => {
                let text = String::from_utf8(message[..length].to_vec()).expect("text");
                Some(text.lines().map(str::to_owned).collect())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("the notification socket: {error}"),
        }
    }
}
