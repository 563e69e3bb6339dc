//! Datagram sockets: requests that are admitted come out, and answers leave from the address that
//! was asked. What must not be answered is dropped here: a server's datagram, a network that is
//! not allowed, a source that asks too often or for too much.

pub(crate) mod helpers;
pub(crate) mod outbox;
pub(crate) mod rate_limit;
pub(crate) mod service;
pub(crate) mod socket;

use std::sync::Arc;
use std::time::Instant;

use nix::sys::epoll::EpollFlags;

use self::rate_limit::RateLimiter;
use self::service::{Service, Taken};
use self::socket::{Request, is_a_servers};
use super::intake::admission::Allow;
use super::intake::peer::Peer;
use super::logging as log;
use super::options::Options;
use super::poll::{Registry, SourceState, Timed, Token};
use super::sockets::Socket;
use super::sys::failed;

/// The datagram sockets, and who is answered through them.
pub(crate) struct Datagrams {
    services: Vec<Service>,
    /// The UDP ports among them.
    ports: Vec<u16>,
    allow: Allow,
    rate_limiter: RateLimiter,
}

impl Datagrams {
    pub(crate) fn new(options: &Options, now: Instant) -> Self {
        Datagrams {
            services: Vec::new(),
            ports: Vec::new(),
            allow: Allow::new(&options.allow),
            rate_limiter: RateLimiter::new(options.rate_limit, now),
        }
    }

    /// # Errors
    /// The socket's name, and the reason why it cannot be served; none is expected.
    pub(crate) fn add(&mut self, socket: Socket, registry: &Registry) -> Result<(), String> {
        let name = socket.name.clone();
        let token = Token::Datagrams(self.services.len() as u32);
        let service = Service::new(socket, registry, token).map_err(failed(&name))?;
        self.ports.extend(service.port());
        self.services.push(service);
        Ok(())
    }

    /// Whether requests can come out of each of them.
    pub(crate) fn states(&self) -> impl Iterator<Item = SourceState<'_>> {
        self.services.iter().map(Service::state)
    }

    /// There is nobody but single clients, who have asked.
    pub(crate) fn are_served(&self) -> bool {
        self.services.iter().all(Service::is_served)
    }

    /// Every reply has left.
    pub(crate) fn is_flushed(&self) -> bool {
        self.services.iter().all(Service::is_flushed)
    }

    /// Closes the sockets: further requests are refused at once (ECONNREFUSED).
    pub(crate) fn close(&mut self) {
        self.services.clear();
    }

    /// Polls the sockets where there is room for a request.
    pub(crate) fn arm(&mut self, room: bool, now: Instant) {
        for service in &mut self.services {
            service.arm(room, now);
        }
    }

    /// Epoll has reported a socket.
    pub(crate) fn ready(&mut self, index: usize, events: EpollFlags) {
        self.services[index].ready(events);
    }

    /// Takes one datagram out of a socket's queue, and drops it if it must not be answered.
    pub(crate) fn receive(&mut self, index: usize, now: Instant) -> Taken {
        match self.services[index].receive(now) {
            Taken::Request(request) if !self.admits(&request, now) => Taken::Dropped,
            taken => taken,
        }
    }

    fn admits(&mut self, request: &Request, now: Instant) -> bool {
        let peer = request.peer();
        if let Peer::Inet(from) = peer {
            if is_a_servers(from.port(), &self.ports) {
                log::from_a_server(&peer);
                return false;
            }
        }
        if !self.allow.admits(&peer) {
            log::denied(&peer);
            return false;
        }
        peer.ip()
            .is_none_or(|source| self.rate_limiter.admits(source, now))
    }

    /// Sends an answer through the socket that the request came to, within the rate limit.
    pub(crate) fn reply(
        &mut self,
        index: usize,
        request: Request,
        answer: Arc<[u8]>,
        now: Instant,
    ) {
        if let Some(answer) = self.within_rate_limit(&request, answer, now) {
            self.services[index].reply(request, answer, now);
        }
    }

    /// Counts an answer's bytes (`--rate-limit`). One that is longer than a second's whole share can
    /// never be sent, and becomes an error line; one that is too much now is dropped, and its client
    /// asks again.
    fn within_rate_limit(
        &mut self,
        request: &Request,
        answer: Arc<[u8]>,
        now: Instant,
    ) -> Option<Arc<[u8]>> {
        let Some(source) = request.peer().ip() else {
            return Some(answer);
        };
        let (length, longest) = (answer.len(), self.rate_limiter.longest());
        let answer = match longest.filter(|longest| length as u64 > *longest) {
            Some(longest) => format!(
                "error: the answer's {length} bytes are more than the {longest} of --rate-limit\n"
            )
            .into_bytes()
            .into(),
            None => answer,
        };
        self.rate_limiter
            .admits_bytes(source, answer.len(), now)
            .then_some(answer)
    }

    /// Reports the datagrams beyond the rate limit, if it is time to; None: it is the last time.
    pub(crate) fn report_refusals(&mut self, now: Option<Instant>) {
        if let Some(refusals) = self.rate_limiter.report(now) {
            log::rate_limited(refusals.count, &refusals.example);
        }
    }
}

impl Timed for Datagrams {
    fn deadline(&self) -> Option<Instant> {
        let both = [self.services.deadline(), self.rate_limiter.deadline()];
        both.into_iter().flatten().min()
    }

    fn tick(&mut self, now: Instant) {
        self.services.tick(now);
        self.report_refusals(Some(now));
    }
}
