//! The terminal while it is watched: the alternate screen, no cursor, no echo; and all of that
//! taken back when it is left, however that comes about.
//!
//! Comes in: frames. Goes out: what has changed of them, in crossterm's sequences, written by
//! threads: a terminal whose reader hangs (Ctrl-S, a stuck connection) blocks a write for as long
//! as it likes, and must delay neither a question nor the end.

use std::fs::File;
use std::future::pending;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::queue;
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{
    self, FlushArg, LocalFlags, SetArg, SpecialCharacterIndices as Special, Termios,
};
use terminal_size::{Height, Width};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::frame::{Line, Size};
use super::keys::{Key, Keyboard};

/// A terminal that takes nothing for so long hangs.
const PATIENCE: Duration = Duration::from_millis(500);

/// The screen, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Screen {
    out: Arc<File>,
    /// None: nothing can be typed.
    keyboard: Option<Keyboard>,
    /// What the keyboard's terminal was set to, to be set again.
    before: Option<Termios>,
    /// What is on the screen.
    shown: Vec<Line>,
    size: Option<Size>,
    /// A write that is under way.
    writing: Option<JoinHandle<io::Result<()>>>,
    /// The terminal has our settings.
    is_taken: bool,
    /// The alternate screen was switched to.
    is_entered: bool,
}

impl Screen {
    /// Takes the terminal; the first frame switches to the alternate screen. The signals have to be
    /// ours by now.
    ///
    /// # Errors
    /// This machine is short of descriptors.
    pub(crate) fn enter() -> io::Result<Self> {
        let mut screen = Self {
            out: Arc::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            keyboard: Keyboard::open(),
            before: None,
            shown: Vec::new(),
            size: None,
            writing: None,
            is_taken: false,
            is_entered: false,
        };
        screen.resume();
        Ok(screen)
    }

    /// Takes the terminal (again, after [`Screen::suspend`]). Writes nothing: a write from before
    /// may still hang.
    pub(crate) fn resume(&mut self) {
        self.before = self.keyboard.as_ref().and_then(make_quiet);
        self.is_taken = true;
        self.is_entered = false;
        self.forget();
    }

    /// Gives the terminal back as it was. One that hangs gets only its settings.
    pub(crate) async fn suspend(&mut self) {
        // What failed or hangs is not needed any more.
        if self.writing.is_some() {
            let _ = timeout(PATIENCE, written(&mut self.writing)).await;
        }
        if self.writing.is_none() && self.is_entered {
            self.write(leaving());
            let _ = timeout(PATIENCE, written(&mut self.writing)).await;
        }
        self.give_back();
    }

    fn give_back(&mut self) {
        self.is_taken = false;
        if let (Some(keyboard), Some(before)) = (&self.keyboard, self.before.take()) {
            // Discard what was typed: it was not meant for the shell. The terminal may be gone (a
            // hang-up); there is nothing left to set then.
            let _ = termios::tcflush(keyboard, FlushArg::TCIFLUSH);
            let _ = termios::tcsetattr(keyboard, SetArg::TCSANOW, &before);
        }
    }

    /// Waits for keys, or for the end of the write that is under way. May be given up.
    pub(crate) async fn next(&mut self, keys: &mut Vec<Key>) -> io::Result<()> {
        let keyboard = self.keyboard.as_mut();
        let typed = async {
            match keyboard {
                Some(keyboard) => keyboard.read(keys).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = typed => Ok(()),
            done = written(&mut self.writing) => done,
        }
    }

    /// Whether a write is under way: no frame can be drawn then.
    pub(crate) fn is_busy(&self) -> bool {
        self.writing.is_some()
    }

    /// The next frame is drawn whole.
    pub(crate) fn forget(&mut self) {
        self.size = None;
    }

    /// Draws what has changed, in one write, so that nothing flickers. The lines are not wider
    /// than the screen, nor more than its rows.
    pub(crate) fn draw(&mut self, lines: Vec<Line>, size: Size) -> io::Result<()> {
        let mut bytes = Vec::new();
        if !self.is_entered {
            queue!(bytes, EnterAlternateScreen, Hide, DisableLineWrap)?;
            self.is_entered = true;
        }
        if self.size != Some(size) {
            queue!(bytes, Clear(ClearType::All))?;
            self.shown.clear();
            self.size = Some(size);
        }
        let blank = Line::default();
        for row in 0..lines.len().max(self.shown.len()) {
            let line = lines.get(row).unwrap_or(&blank);
            if line != self.shown.get(row).unwrap_or(&blank) {
                push(&mut bytes, row, line)?;
            }
        }
        self.shown = lines;
        if !bytes.is_empty() {
            self.write(bytes);
        }
        Ok(())
    }

    /// On a thread of its own. None is under way.
    fn write(&mut self, bytes: Vec<u8>) {
        let out = Arc::clone(&self.out);
        self.writing = Some(spawn_blocking(move || (&*out).write_all(&bytes)));
    }
}

/// Waits for a write; for ever where there is none. May be given up.
async fn written(writing: &mut Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    let Some(handle) = writing else {
        return pending().await;
    };
    let done = handle.await.map_err(io::Error::other);
    *writing = None;
    done?
}

impl Drop for Screen {
    /// After an error. There is no place left to report another one.
    fn drop(&mut self) {
        if !self.is_taken {
            return;
        }
        let mut fd = [PollFd::new(self.out.as_fd(), PollFlags::POLLOUT)];
        let takes = poll(&mut fd, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        if takes && self.writing.is_none() && self.is_entered {
            let _ = (&*self.out).write_all(&leaving());
        }
        self.give_back();
    }
}

fn leaving() -> Vec<u8> {
    let mut bytes = Vec::new();
    // Memory takes everything.
    let _ = queue!(bytes, EnableLineWrap, Show, LeaveAlternateScreen);
    bytes
}

fn push(bytes: &mut Vec<u8>, row: usize, line: &Line) -> io::Result<()> {
    let row = row.try_into().unwrap_or(u16::MAX);
    // First, since behind a full line it would take the last character away.
    queue!(bytes, MoveTo(0, row), Clear(ClearType::UntilNewLine))?;
    if line.dim {
        queue!(bytes, SetAttribute(Attribute::Dim))?;
    }
    queue!(bytes, Print(&line.text))?;
    if line.dim {
        queue!(bytes, SetAttribute(Attribute::Reset))?;
    }
    Ok(())
}

/// Asked anew for every frame: a resize needs no bookkeeping then.
pub(crate) fn size() -> Size {
    let (Width(columns), Height(rows)) =
        terminal_size::terminal_size_of(io::stdout()).unwrap_or((Width(80), Height(24)));
    Size {
        rows: rows.into(),
        columns: columns.into(),
    }
}

/// Keys come one by one and without echo; Ctrl-C and Ctrl-Z stay signals, which end and stop all
/// of a pipeline. Gives the settings before.
fn make_quiet(keyboard: &Keyboard) -> Option<Termios> {
    let before = termios::tcgetattr(keyboard).ok()?;
    let mut quiet = before.clone();
    quiet
        .local_flags
        .remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::IEXTEN);
    // A read never waits: crossterm reads on after half a sequence.
    quiet.control_chars[Special::VMIN as usize] = 0;
    quiet.control_chars[Special::VTIME as usize] = 0;
    termios::tcsetattr(keyboard, SetArg::TCSANOW, &quiet).ok()?;
    Some(before)
}
