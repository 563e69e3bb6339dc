//! What the tests of the real programs share: processes that are always stopped, sockets of every
//! kind, launchers, and waits that end.
//!
//! Nothing here sleeps for a fixed time and hopes: whatever a test waits for is looked at again
//! and again until it is there, or until [`BOUND`] is over and the test fails.

// Each test program uses its own part of this.
#![allow(dead_code)]

pub(crate) mod daemon;
pub(crate) mod datagrams;
pub(crate) mod dns;
pub(crate) mod fake;
pub(crate) mod forge;
pub(crate) mod laden;
pub(crate) mod launchers;
pub(crate) mod manager;
pub(crate) mod net;
pub(crate) mod netns;
pub(crate) mod pipe;
pub(crate) mod process;
pub(crate) mod runs;
pub(crate) mod signals;
pub(crate) mod ssh;
pub(crate) mod strace;
pub(crate) mod temp;
pub(crate) mod terminal;

use std::io;
use std::net::UdpSocket;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The longest that any wait may take. Only a hang reaches it: nothing is measured with it.
pub(crate) const BOUND: Duration = Duration::from_secs(30);
/// Between two looks at a condition that nothing else tells of.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// Gives what `look` finds, as soon as it finds something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + BOUND;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {BOUND:?} in vain: {what}");
        sleep(LOOK);
    }
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// A call on a socket with a time limit, made again where something has interrupted it: then it is
/// not restarted by itself (signal(7)), not even after a stop and a continue of the machine.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Looks at something that must hold all the time, for `time`.
pub(crate) fn always(time: Duration, mut check: impl FnMut()) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        check();
        sleep(LOOK);
    }
}

/// True where `program` is installed. Otherwise tells in one line what is left out, and fails
/// where nothing may be (`CI=true`).
pub(crate) fn is_installed(program: &str, package: &str) -> bool {
    let found = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"]
        .iter()
        .any(|dir| std::path::Path::new(dir).join(program).is_file());
    if !found {
        leave_out(&format!("{program} is not installed (package {package})"));
    }
    found
}

/// True where this machine has ::1. Otherwise tells so once, and fails where nothing may be left
/// out.
pub(crate) fn has_ipv6() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let there = UdpSocket::bind("[::1]:0").is_ok();
        if !there {
            leave_out("everything over IPv6: there is no ::1 here");
        }
        there
    })
}

/// Tells what is left out, and why.
pub(crate) fn leave_out(why: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "nothing may be left out with CI=true: {why}"
    );
    tell(&format!("left out: {why}"));
}

/// Writes a line past the capture of the test harness, so that it is seen in a run that succeeds.
pub(crate) fn tell(line: &str) {
    let line = format!("{line}\n");
    // Nobody may be reading, and that is fine.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}
