//! `--handoff capture`: what a command's words, its silence and its end come to.

use crate::common::daemon::on_tcp;
use crate::common::net::Address;
use crate::common::process::{Orphan, Process};
use crate::common::temp::TempDir;

const CAPTURE: [&str; 2] = ["--handoff", "capture"];

fn serve(options: &[&str], script: &str, argument: &str) -> (Process, Address) {
    let options: Vec<&str> = CAPTURE.iter().chain(options).copied().collect();
    on_tcp(&options, &["/bin/sh", "-c", script, argument])
}

/// An error is nobody's answer but theirs who asked for it.
#[test]
fn an_error_serves_nobody_else() {
    let dir = TempDir::new();
    let path = dir.path().display().to_string();
    let script = "[ -e $0/well ] && echo hi";
    let (_process, address) = serve(&["--max-age", "3600"], script, &path);
    assert_eq!(address.connect().reply(), "error: /bin/sh: exit status 1\n");
    std::fs::write(dir.join("well"), "").expect("a file");
    assert_eq!(address.connect().reply(), "hi\n");
}

#[test]
fn what_a_command_says_is_what_everybody_gets() {
    for (script, reply) in [
        ("echo hi", "hi\n"),
        ("printf hi", "hi"),
        ("echo out; echo err >&2", "out\nerr\n"),
        ("echo all the same; exit 3", "all the same\n"),
        ("exit 3", "error: /bin/sh: exit status 3\n"),
        (":", "error: /bin/sh: said nothing\n"),
        ("exec >&- 2>&-; exit 4", "error: /bin/sh: exit status 4\n"),
    ] {
        let (_process, address) = serve(&[], script, "");
        for _ in 0..2 {
            assert_eq!(address.connect().reply(), reply, "{script}");
        }
    }
}

/// The run is over when its command is, whoever holds the pipe.
#[test]
fn a_grandchild_that_holds_the_pipe_is_not_waited_for() {
    let (_process, address) = serve(&[], "sleep 600 & echo $!", "");
    for _ in 0..2 {
        let orphan = Orphan::new(&address.connect().reply());
        assert!(orphan.is_alive(), "the answer came only after its end");
    }
}
