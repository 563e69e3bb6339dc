//! What is drawn on the terminal, and the keys and signals that come from it.

pub(super) mod frame;
pub(super) mod keys;
pub(super) mod progress;
pub(super) mod screen;
pub(super) mod signals;

use std::env;
use std::ffi::OsStr;

/// Whether the terminal knows control sequences, by TERM; term(7). Without TERM assume that it
/// does not.
pub(super) fn can_draw() -> bool {
    knows_sequences(env::var_os("TERM").as_deref())
}

fn knows_sequences(term: Option<&OsStr>) -> bool {
    term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dumb_terminal_is_not_drawn_on() {
        let drawn_on = |term: Option<&str>| knows_sequences(term.map(OsStr::new));
        assert!(drawn_on(Some("xterm-256color")) && drawn_on(Some("linux")));
        assert!(!drawn_on(None) && !drawn_on(Some("")) && !drawn_on(Some("dumb")));
    }
}
