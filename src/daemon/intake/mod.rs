//! How a client gets in: connections are taken out of the backlogs in turn, and their peers are
//! admitted or turned away.

pub(crate) mod admission;
pub(crate) mod listener;
pub(crate) mod peer;
pub(crate) mod stream;

use std::time::Instant;

use self::listener::Listener;
use self::stream::Stream;
use super::poll::{Registry, SourceState, Timed, Token};
use super::sockets::Socket;

/// The listeners, and whose turn it is.
#[derive(Default)]
pub(crate) struct Intake {
    listeners: Vec<Listener>,
    /// The listeners that are ready in this turn of the loop, in the order in which they are asked.
    ready: Vec<usize>,
    /// Which of them is asked next.
    turn: usize,
    /// Connections that certainly wait.
    pending: usize,
    /// The listener behind the one that was served last.
    next: usize,
}

impl Intake {
    pub(crate) fn add(&mut self, socket: Socket, registry: &Registry) {
        let token = Token::Listener(self.listeners.len() as u32);
        self.listeners.push(Listener::new(socket, registry, token));
    }

    /// Whether connections can come out of each of them.
    pub(crate) fn states(&self) -> impl Iterator<Item = SourceState<'_>> {
        self.listeners.iter().map(Listener::state)
    }

    /// There is no listener.
    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// Polls the listeners where there is room for a connection, and for one of a UNIX socket.
    pub(crate) fn arm(&mut self, room: bool, unix_room: bool, now: Instant) {
        for listener in &mut self.listeners {
            listener.arm(room && (unix_room || !listener.is_unix()), now);
        }
    }

    /// Refuses further connections.
    pub(crate) fn refuse(&mut self, now: Instant) {
        for listener in &mut self.listeners {
            listener.refuse(now);
        }
    }

    /// Begins a turn with the listeners that are ready. The first one asked is the one behind the
    /// one that was served last: when room is short, a crowd at one listener must not keep the
    /// clients of the others waiting.
    pub(crate) fn begin_turn(&mut self, ready: impl Iterator<Item = usize>) {
        self.ready.clear();
        self.ready.extend(ready);
        let (all, first) = (self.listeners.len(), self.next);
        self.ready
            .sort_unstable_by_key(|index| (index + all - first) % all);
        for index in &self.ready {
            self.listeners[*index].unblock();
        }
        self.turn = 0;
        // Each ready listener has at least one pending connection; only accept can tell of more.
        self.pending = self.ready.len();
    }

    /// True where a connection certainly waits.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending > 0
    }

    /// Takes a connection from the ready listeners, one from each in turn; none from UNIX sockets
    /// where there is no room for those.
    pub(crate) fn accept(&mut self, unix_room: bool, now: Instant) -> Option<Stream> {
        while !self.ready.is_empty() {
            self.turn %= self.ready.len();
            self.pending = self.pending.saturating_sub(1);
            let index = self.ready[self.turn];
            let listener = &mut self.listeners[index];
            let has_room = unix_room || !listener.is_unix();
            if let Some(connection) = has_room.then(|| listener.accept(now)).flatten() {
                self.next = index + 1;
                self.turn += 1;
                return Some(connection);
            }
            self.ready.remove(self.turn);
        }
        None
    }
}

impl Timed for Intake {
    fn deadline(&self) -> Option<Instant> {
        self.listeners.deadline()
    }

    fn tick(&mut self, now: Instant) {
        self.listeners.tick(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::poll::Poll;
    use crate::daemon::sockets::classify;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    /// The ports that the next connections were made to.
    fn ports(intake: &mut Intake, count: usize) -> Vec<u16> {
        let now = Instant::now();
        let connections = (0..count).map_while(|_| intake.accept(true, now));
        connections
            .map(|stream| {
                TcpStream::from(stream.as_fd().try_clone_to_owned().expect("a copy"))
                    .local_addr()
                    .expect("an address")
                    .port()
            })
            .collect()
    }

    #[test]
    fn listeners_take_turns_and_a_turn_goes_on_where_the_last_one_ended() {
        let poll = Poll::new().expect("an epoll");
        let sockets = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [a, b] = [0, 1].map(|at: usize| sockets[at].local_addr().expect("an address"));
        let mut intake = Intake::default();
        for socket in sockets {
            let socket = classify(socket.into(), "it").expect("served");
            intake.add(socket, poll.registry());
        }
        let _clients =
            [a, a, a, b, b].map(|address| TcpStream::connect(address).expect("connected"));
        intake.begin_turn([0, 1].into_iter());
        assert!(intake.is_pending());
        assert_eq!(ports(&mut intake, 3), [a.port(), b.port(), a.port()]);
        assert!(!intake.is_pending(), "more may wait, and nobody knows");
        intake.begin_turn([0, 1].into_iter());
        assert_eq!(ports(&mut intake, 9), [b.port(), a.port()]);
    }
}
