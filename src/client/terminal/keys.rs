//! The keys that mean something to `--watch`.
//!
//! Comes in: what is typed on standard input, or on /dev/tty where hosts come from standard input.
//! Goes out: keys, each as soon as it is typed. crossterm knows the sequences; it reads only when
//! there is something, and on another thread: when a terminal is gone it reads its end for ever,
//! and the hang-up must end the process all the same.

use std::fs::File;
use std::future::pending;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinHandle, spawn_blocking};

/// crossterm does not look at all with a time of zero. What is there is there at once.
const AT_ONCE: Duration = Duration::from_millis(1);
/// At most so many events are taken at a time.
const TURN: usize = 64;

/// A key, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// One line up.
    Up,
    /// One line down.
    Down,
    /// One screen up.
    PageUp,
    /// One screen down.
    PageDown,
    /// To the first line.
    Home,
    /// To the last line.
    End,
    /// `c`: the marks go.
    Clear,
    /// `q`, and Ctrl-C where the terminal does not make a signal of it.
    Leave,
    /// Ctrl-L: draw all of the screen anew.
    Redraw,
}

impl Key {
    /// What a key is for; None for those that nobody needs.
    fn of(event: KeyEvent) -> Option<Key> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        let is_control = event.modifiers.contains(KeyModifiers::CONTROL);
        Some(match event.code {
            KeyCode::Up => Key::Up,
            KeyCode::Down => Key::Down,
            KeyCode::PageUp => Key::PageUp,
            KeyCode::PageDown => Key::PageDown,
            KeyCode::Home => Key::Home,
            KeyCode::End => Key::End,
            KeyCode::Char('c') if is_control => Key::Leave,
            KeyCode::Char('l') if is_control => Key::Redraw,
            KeyCode::Char('c') => Key::Clear,
            KeyCode::Char('q') => Key::Leave,
            _ => return None,
        })
    }
}

/// Where keys come from.
#[derive(Debug)]
pub(crate) struct Keyboard {
    fd: AsyncFd<OwnedFd>,
    /// A read that is under way.
    taking: Option<JoinHandle<io::Result<Taken>>>,
}

/// What a read has found.
#[derive(Debug, Default)]
struct Taken {
    keys: Vec<Key>,
    /// There may be more.
    is_cut: bool,
}

impl Keyboard {
    /// None where there is no terminal to read from, as under nohup(1) with hosts from a pipe.
    pub(crate) fn open() -> Option<Keyboard> {
        let stdin = io::stdin();
        // The same choice as crossterm's.
        let fd = if stdin.is_terminal() {
            stdin.as_fd().try_clone_to_owned().ok()?
        } else {
            let tty = File::options().read(true).write(true).open("/dev/tty");
            tty.ok()?.into()
        };
        // Newer versions of tokio have another name for it, which the oldest one here does not know.
        #[allow(deprecated)]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE).ok()?;
        Some(Keyboard { fd, taking: None })
    }

    /// Waits until something is typed, and adds the keys. A terminal that is gone types no more: its
    /// hang-up comes as a signal, too. May be given up at any time: no key is lost.
    pub(crate) async fn read(&mut self, keys: &mut Vec<Key>) {
        if self.taking.is_none() {
            let Ok(mut ready) = self.fd.readable().await else {
                return pending().await;
            };
            if is_gone(self.fd.get_ref()) {
                return pending().await;
            }
            // Before the read: what is typed in the course of it makes it ready again.
            ready.clear_ready();
        }
        let taking = self.taking.get_or_insert_with(|| spawn_blocking(take));
        let taken = match taking.await {
            Ok(Ok(taken)) => taken,
            Ok(Err(_)) | Err(_) => return pending().await,
        };
        self.taking = taken.is_cut.then(|| spawn_blocking(take));
        keys.extend(taken.keys);
    }
}

/// Whether nothing will ever be typed again.
fn is_gone(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    polled.is_err() || fds[0].revents().is_some_and(|flags| flags.intersects(gone))
}

/// What has been typed, as much of it as is taken at a time.
fn take() -> io::Result<Taken> {
    let mut taken = Taken::default();
    for _ in 0..TURN {
        if !event::poll(AT_ONCE)? {
            return Ok(taken);
        }
        taken
            .keys
            .extend(event::read()?.as_key_event().and_then(Key::of));
    }
    taken.is_cut = true;
    Ok(taken)
}

impl AsFd for Keyboard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_it_is_for() {
        let key = |code, modifiers| Key::of(KeyEvent::new(code, modifiers));
        let plain = |c| key(KeyCode::Char(c), KeyModifiers::NONE);
        let control = |c| key(KeyCode::Char(c), KeyModifiers::CONTROL);
        assert_eq!(plain('q'), Some(Key::Leave));
        assert_eq!(plain('c'), Some(Key::Clear));
        assert_eq!(control('c'), Some(Key::Leave));
        assert_eq!(control('l'), Some(Key::Redraw));
        assert_eq!((plain('x'), control('x')), (None, None));
        assert_eq!(key(KeyCode::PageUp, KeyModifiers::NONE), Some(Key::PageUp));
        let released =
            KeyEvent::new_with_kind(KeyCode::Up, KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(Key::of(released), None);
    }
}
