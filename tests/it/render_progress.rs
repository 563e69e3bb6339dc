//! The progress line: for slow calls on a terminal, gone when they are over, never in a pipe.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::fake::{Fake, LINE, ruptime};
use crate::common::terminal::Terminal;

const RUPTIME: &str = env!("CARGO_BIN_EXE_ruptime");

/// Answers when the test lets it.
fn slow(go: &Arc<AtomicBool>) -> Fake {
    let go = Arc::clone(go);
    Fake::stream("127.0.0.1", move |peer, stop| {
        while !go.load(Ordering::Relaxed) && !stop.is_set() {
            stop.pause(Duration::from_millis(5));
        }
        // A client that has left is no matter.
        let _ = peer.write_all(LINE.as_bytes());
    })
}

/// Runs the client in a terminal, its standard output where `output` says.
fn in_terminal(hosts: &[&Fake], output: &str) -> Terminal {
    let hosts: Vec<_> = hosts.iter().map(|fake| fake.host()).collect();
    let hosts = hosts.join(" ");
    Terminal::run(
        &format!("{RUPTIME} --timeout 600 {hosts} {output}; echo over; exec sleep 1000"),
        100,
        10,
    )
}

#[test]
fn a_slow_call_shows_how_far_it_is_and_leaves_nothing() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let go = Arc::new(AtomicBool::new(false));
    let (fast, slow) = (Fake::up("127.0.0.1"), slow(&go));
    let terminal = in_terminal(&[&fast, &slow], "");
    let screen = terminal.wait_for_text("1 of 2 hosts [===============>");
    assert_eq!(screen.len(), 1, "{screen:?}");
    // The time goes on although no host answers.
    let first = screen[0].clone();
    terminal.wait_for("another second", |screen| {
        screen.len() == 1 && screen[0] != first
    });
    go.store(true, Ordering::Relaxed);
    let screen = terminal.wait_for_text("over");
    assert_eq!(screen.len(), 3, "{screen:?}");
    assert!(
        screen[0].starts_with(&fast.host()) && screen[1].starts_with(&slow.host()),
        "{screen:?}"
    );
}

#[test]
fn standard_output_may_go_elsewhere() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let go = Arc::new(AtomicBool::new(false));
    let slow = slow(&go);
    let terminal = in_terminal(&[&slow], "-o json | cat");
    terminal.wait_for_text("0 of 1 hosts");
    go.store(true, Ordering::Relaxed);
    let screen = terminal.wait_for_text("over");
    assert!(
        screen[0] == "[" && screen[1].starts_with("{\"host\""),
        "{screen:?}"
    );
}

#[test]
fn it_is_never_in_a_pipe() {
    // Longer than the second after which a terminal would have it.
    let slow = Fake::stream("127.0.0.1", |peer, stop| {
        stop.pause(Duration::from_millis(1600));
        let _ = peer.write_all(LINE.as_bytes());
    });
    let ran = ruptime(&[slow.host()]);
    assert!(ran.took > Duration::from_secs(1), "{ran:?}");
    ran.assert_up(LINE);
}
