//! Sockets of its own: who may connect to a UNIX socket file, and that nothing is left of it.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::{getgid, getuid};

use crate::common::daemon::Ruptimed;
use crate::common::net::Address;
use crate::common::process::Process;
use crate::common::temp::TempDir;
use crate::common::wait_for;

const HI: [&str; 2] = ["/bin/echo", "hi"];

/// A group that this process may give a file to, and is not in, where it may.
fn other_group() -> u32 {
    if getuid().is_root() {
        10_513
    } else {
        getgid().as_raw()
    }
}

/// A daemon on a socket file, started with a umask that forbids nothing.
fn on_file(path: &Path, options: &[&str]) -> Process {
    let listen = ["--listen".to_owned(), format!("unix:{}", path.display())];
    Ruptimed::new(options.iter().map(|o| (*o).to_owned()).chain(listen))
        .command(&HI)
        .change(|launch| launch.prologue("umask 0"))
        .start()
}

/// The socket file's mode and group, as soon as it is there.
fn rights(path: &Path) -> Option<(u32, u32)> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    assert!(meta.file_type().is_socket());
    Some((meta.permissions().mode() & 0o7777, meta.gid()))
}

/// From the moment when it is there, its group and others have no right that they do not keep.
#[test]
fn a_socket_file_has_the_mode_and_the_group_that_were_asked_for() {
    let group = other_group();
    let own = getgid().as_raw();
    let number = group.to_string();
    for (options, mode, gid) in [
        (&[][..], 0o777, own),
        (&["--socket-mode", "0600"], 0o600, own),
        (&["--socket-group", &number], 0o777, group),
        (
            &["--socket-mode=660", "--socket-group", &number],
            0o660,
            group,
        ),
        (&["--socket-mode", "0"], 0, own),
    ] {
        let dir = TempDir::new();
        let path = dir.join("s");
        let mut process = on_file(&path, options);
        while !process.stderr().contains("listening on") {
            assert!(!process.has_ended());
            let Some((now, owner)) = rights(&path) else {
                continue;
            };
            assert_eq!(now & !mode, 0, "{options:?}: {now:o}");
            let is_given = owner == gid || now & 0o070 == 0;
            assert!(is_given, "{options:?}: {now:o} of group {owner}");
        }
        assert_eq!(rights(&path), Some((mode, gid)), "{options:?}");
        if mode != 0 || getuid().is_root() {
            assert_eq!(Address::Unix(path.clone()).connect().reply(), "hi\n");
        }
        process.signal(Signal::SIGTERM);
        assert_eq!(process.exit_status(), 0);
        assert_eq!(rights(&path), None, "the socket was left behind");
    }
}

/// A socket that is not what was asked for is none, and nothing is left of it.
#[test]
fn a_group_that_cannot_be_given_is_told() {
    const NOBODY: u32 = 65_534;
    let dir = TempDir::new();
    let path = dir.join("s");
    let mut launch = Ruptimed::new([
        format!("--listen=unix:{}", path.display()),
        "--socket-group=1".to_owned(),
    ]);
    if getuid().is_root() {
        std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).expect("a folder");
        let nobody = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        launch = launch.change(|launch| launch.through(&nobody));
    }
    let mut process = launch.start();
    assert_eq!(process.exit_status(), 1, "{}", process.stderr());
    let told = process.stderr();
    assert!(
        told.lines().count() == 1 && told.contains("group 1: Operation not permitted"),
        "{told}"
    );
    assert_eq!(rights(&path), None, "the socket was left behind");
}

/// Nor when a signal comes as soon as it is there.
#[test]
fn a_signal_at_the_start_leaves_no_socket_behind() {
    let dir = TempDir::new();
    let path = dir.join("s");
    let mut process = on_file(&path, &[]);
    wait_for("the socket", || rights(&path));
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit_status(), 0);
    assert_eq!(rights(&path), None, "the socket was left behind");
}
