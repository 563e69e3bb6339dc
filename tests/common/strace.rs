//! Whether strace(1) can be used here.

use super::process::Launch;
use super::{is_installed, leave_out, wait_until};

/// True where strace can do its work here; else why not has been told.
pub(crate) fn is_possible() -> bool {
    if !is_installed("strace", "strace") {
        return false;
    }
    let mut sleeper = Launch::new("sleep").args(["60"]).start();
    let mut tracer = Launch::new("strace")
        .args(["--trace=none", "-p", &sleeper.pid().to_string()])
        .start();
    let mut attached = false;
    wait_until("strace's word", || {
        attached = tracer.stderr().contains("attached");
        attached || tracer.has_ended() || sleeper.has_ended()
    });
    if !attached {
        let why = tracer.stderr();
        leave_out(&format!(
            "strace may not trace a process here ({})",
            why.trim()
        ));
    }
    attached
}
