//! The one wait: registered descriptors and a deadline come in, what is ready comes out.
//!
//! A descriptor must leave epoll before it is closed: a command between vfork and exec holds a
//! copy, and as long as there is one, epoll reports events of a descriptor that the daemon has
//! closed. So the two belong to one value, a [`Watched`], whose drop does both in this order.

use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Events taken in one turn of the loop.
const EVENTS: usize = 256;
/// Waits that a signal has interrupted in a row; a stop and a continue (signal(7)) make one.
const INTERRUPTED: u32 = 16;

/// What a registered descriptor is to the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// The signal descriptor.
    Signals,
    /// The pipe that a shared run's output comes through.
    Output,
    /// A listener, by its index.
    Listener(u32),
    /// A datagram socket, by its index.
    Datagrams(u32),
}

/// The kind is above the index.
const KIND: u32 = 32;

impl From<Token> for u64 {
    fn from(token: Token) -> u64 {
        let (kind, index) = match token {
            Token::Signals => (0, 0),
            Token::Output => (1, 0),
            Token::Listener(index) => (2, index),
            Token::Datagrams(index) => (3, index),
        };
        kind << KIND | u64::from(index)
    }
}

impl From<u64> for Token {
    fn from(data: u64) -> Token {
        let index = data as u32;
        match data >> KIND {
            0 => Token::Signals,
            1 => Token::Output,
            2 => Token::Listener(index),
            _ => Token::Datagrams(index),
        }
    }
}

/// A descriptor that is ready, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) token: Token,
    pub(crate) events: EpollFlags,
}

/// A part that has something to do at a certain time. The loop waits until the earliest deadline,
/// and ticks every part in each turn.
pub(crate) trait Timed {
    /// When [`Self::tick`] has something to do; None: not without an event.
    fn deadline(&self) -> Option<Instant>;

    /// Does what is due.
    fn tick(&mut self, now: Instant);
}

impl<T: Timed> Timed for Vec<T> {
    fn deadline(&self) -> Option<Instant> {
        self.iter().filter_map(T::deadline).min()
    }

    fn tick(&mut self, now: Instant) {
        self.iter_mut().for_each(|part| part.tick(now));
    }
}

/// Whether clients can come out of a socket.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SourceState<'fd> {
    /// They can: one may be waiting now.
    Open(BorrowedFd<'fd>),
    /// Not now: a pause after a failure is on.
    Paused,
    /// Never again.
    Lost,
}

/// Where descriptors are registered: an epoll instance (epoll(7)).
#[derive(Clone)]
pub(crate) struct Registry(Rc<Epoll>);

impl Registry {
    /// Joins a descriptor with its registration, which [`Watched::arm`] makes.
    pub(crate) fn watch<F: AsFd>(&self, fd: F, token: Token, interest: EpollFlags) -> Watched<F> {
        Watched {
            registry: self.clone(),
            token,
            interest,
            is_armed: false,
            fd,
        }
    }
}

/// The wait for all that is registered.
pub(crate) struct Poll {
    registry: Registry,
    events: [EpollEvent; EVENTS],
    interrupted: u32,
}

impl Poll {
    /// # Errors
    /// Those of epoll_create1(2).
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Poll {
            registry: Registry(Rc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?)),
            events: [EpollEvent::empty(); EVENTS],
            interrupted: 0,
        })
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Waits until a descriptor is ready or the deadline has come, and puts what is ready into
    /// `ready`.
    ///
    /// # Errors
    /// Those of epoll_wait(2) but EINTR; none is expected.
    pub(crate) fn wait(
        &mut self,
        ready: &mut Vec<Ready>,
        deadline: Option<Instant>,
        now: Instant,
    ) -> nix::Result<()> {
        ready.clear();
        match self
            .registry
            .0
            .wait(&mut self.events, timeout(deadline, now))
        {
            Ok(count) => {
                self.interrupted = 0;
                ready.extend(self.events[..count].iter().map(|event| Ready {
                    token: event.data().into(),
                    events: event.events(),
                }));
                Ok(())
            }
            Err(Errno::EINTR) => {
                // If epoll_wait keeps failing with EINTR, sleep 10 ms instead of spinning: this is
                // the one wait that epoll cannot do.
                self.interrupted += 1;
                if self.interrupted > INTERRUPTED {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }
}

/// In milliseconds, rounded up: a turn before the deadline would find nothing to do.
fn timeout(deadline: Option<Instant>, now: Instant) -> EpollTimeout {
    let Some(deadline) = deadline else {
        return EpollTimeout::NONE;
    };
    let wait = deadline.saturating_duration_since(now);
    let millis = wait.as_nanos().div_ceil(1_000_000);
    EpollTimeout::try_from(millis.min(i32::MAX as u128) as i32).unwrap_or(EpollTimeout::MAX)
}

/// A descriptor and its registration with epoll. Dropped, it is deregistered, then closed.
pub(crate) struct Watched<F: AsFd> {
    registry: Registry,
    token: Token,
    interest: EpollFlags,
    is_armed: bool,
    fd: F,
}

impl<F: AsFd> Watched<F> {
    /// Registers the descriptor where it is `wanted`, else deregisters it.
    ///
    /// # Errors
    /// ENOMEM and ENOSPC (max_user_watches), which may pass; then nothing has changed.
    pub(crate) fn arm(&mut self, wanted: bool) -> nix::Result<()> {
        if wanted == self.is_armed {
            return Ok(());
        }
        if wanted {
            let event = EpollEvent::new(self.interest, self.token.into());
            self.registry.0.add(&self.fd, event)?;
        } else {
            self.registry.0.delete(&self.fd)?;
        }
        self.is_armed = wanted;
        Ok(())
    }
}

impl<F: AsFd> Deref for Watched<F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.fd
    }
}

impl<F: AsFd> Drop for Watched<F> {
    fn drop(&mut self) {
        // It cannot fail for a descriptor that is registered.
        let _ = self.arm(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn ready(poll: &mut Poll) -> Vec<Ready> {
        let mut ready = Vec::new();
        let now = Instant::now();
        poll.wait(&mut ready, Some(now), now).expect("a wait");
        ready
    }

    #[test]
    fn tokens_survive_the_kernel() {
        for token in [
            Token::Signals,
            Token::Output,
            Token::Listener(0),
            Token::Listener(u32::MAX),
            Token::Datagrams(7),
        ] {
            assert_eq!(Token::from(u64::from(token)), token);
        }
    }

    #[test]
    fn a_descriptor_is_watched_while_it_is_armed() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        theirs.write_all(b"x").expect("written");
        let mut poll = Poll::new().expect("an epoll");
        let mut watched = poll
            .registry()
            .watch(ours, Token::Output, EpollFlags::EPOLLIN);
        assert!(ready(&mut poll).is_empty());
        watched.arm(true).expect("armed");
        watched.arm(true).expect("armed already");
        assert_eq!(
            ready(&mut poll),
            [Ready {
                token: Token::Output,
                events: EpollFlags::EPOLLIN
            }]
        );
        watched.arm(false).expect("disarmed");
        assert!(ready(&mut poll).is_empty());
    }

    #[test]
    fn a_copy_of_a_dropped_descriptor_is_not_told_of() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        theirs.write_all(b"x").expect("written");
        let _copy = ours.try_clone().expect("a copy");
        let mut poll = Poll::new().expect("an epoll");
        let mut watched = poll
            .registry()
            .watch(ours, Token::Output, EpollFlags::EPOLLIN);
        watched.arm(true).expect("armed");
        drop(watched);
        assert!(ready(&mut poll).is_empty());
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        let now = Instant::now();
        for (deadline, millis) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_millis(20), 20),
            (Duration::from_secs(366 * 86_400), i32::MAX),
        ] {
            let expected = EpollTimeout::try_from(millis).expect("a time-out");
            assert_eq!(timeout(Some(now + deadline), now), expected);
        }
        assert_eq!(timeout(None, now), EpollTimeout::NONE);
    }
}
