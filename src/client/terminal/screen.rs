//! The terminal while it is watched: the alternate screen, no cursor, no echo; and all of that
//! taken back when it is left, however that comes about.
//!
//! Control sequences: ECMA-48, and xterm's private modes 7 (wrap), 25 (cursor), 1049 (alternate
//! screen), which every terminal in use knows.

use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd as _;

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use terminal_size::{Height, Width};

use super::frame::{Frame, Size};

const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The screen, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Screen {
    /// What standard input's terminal was set to, to be set again.
    before: Option<Termios>,
}

impl Screen {
    /// Switches to the alternate screen.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub(crate) fn enter() -> io::Result<Self> {
        let mut screen = Self { before: None };
        screen.resume()?;
        Ok(screen)
    }

    /// Takes the terminal (again, after [`Screen::suspend`]).
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        self.before = no_echo();
        put(ENTER)
    }

    /// Gives the terminal back as it was.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        if let Some(before) = self.before.take() {
            // Discard what was typed: it was not meant for the shell. The terminal may be gone (a
            // hang-up); there is nothing left to set then.
            let _ = termios::tcsetattr(io::stdin().as_fd(), SetArg::TCSAFLUSH, &before);
        }
        put(LEAVE)
    }

    /// Draws over what is there, in one write, so that nothing flickers.
    pub(crate) fn draw(&self, frame: &Frame) -> io::Result<()> {
        let lines = frame.fit(size());
        let mut bytes = b"\x1b[H".to_vec();
        for (i, line) in lines.iter().enumerate() {
            bytes.extend_from_slice(if i == 0 { b"" } else { b"\r\n" });
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\x1b[K");
        }
        bytes.extend_from_slice(b"\x1b[J");
        put(&bytes)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is no place left to report a failure.
        let _ = self.suspend();
    }
}

fn put(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Asked anew for every frame: a resize needs no bookkeeping then.
fn size() -> Size {
    let (Width(columns), Height(rows)) =
        terminal_size::terminal_size_of(io::stdout()).unwrap_or((Width(80), Height(24)));
    Size {
        rows: rows.into(),
        columns: columns.into(),
    }
}

/// No echo into the table; Ctrl-C and Ctrl-Z stay signals. Gives the settings before. Where
/// standard input is no terminal (hosts come from it) there is no echo to switch off.
fn no_echo() -> Option<Termios> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return None;
    }
    let before = termios::tcgetattr(stdin.as_fd()).ok()?;
    let mut quiet = before.clone();
    quiet.local_flags.remove(LocalFlags::ECHO);
    termios::tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &quiet).ok()?;
    Some(before)
}
