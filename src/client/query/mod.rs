//! One host, asked once: a target → an [`Answer`].
//!
//! Everything that hosts share on the one thread is in [`Prober`]: the options that matter, the
//! receive buffer, the count of spare descriptors, the resolver. Each kind of service has its
//! module; the time of a host runs from the first connect or send to the last byte, whatever the
//! kind, and the look-up of its name has a time of its own.

pub(crate) mod address;
mod datagram;
pub(crate) mod failure;
mod getaddrinfo;
mod getnameinfo;
mod idn;
mod neighbours;
mod pace;
mod race;
pub(crate) mod reply;
pub(crate) mod resolve;
pub(crate) mod services;
pub(crate) mod socket;
mod ssh;
mod stream;
mod trace;
mod unix;

use std::cell::{Cell, OnceCell, RefCell};
use std::mem;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockType};
use tokio::time::sleep;

use self::address::Family;
use self::failure::Failure;
use self::neighbours::Neighbours;
use self::reply::Reply;
use self::resolve::{LOOK_UP_TIMEOUT, Resolver};
use self::services::Services;
use self::ssh::{Login, Ssh};
use self::trace::Trace;
use crate::client::answer::{Answer, Outcome};
use crate::client::hosts::target::{Endpoint, Host, Port, Target};
use crate::client::report::NotUptime;
use crate::escape;

/// How long to wait for a descriptor when there is none: until another host's is closed.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(10);

/// What the command line says about asking.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// For one host, from the first connect or send to the last byte.
    pub(crate) timeout: Duration,
    /// The families that may be used.
    pub(crate) family: Family,
    /// Datagrams for every host named without a scheme.
    pub(crate) udp: bool,
    /// ssh for them.
    pub(crate) ssh: bool,
    /// The port of a host that was written without one.
    pub(crate) port: Option<Port>,
    /// How many bytes of a reply are kept.
    pub(crate) keep: usize,
}

/// What may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Hosts asked at once, each with one socket.
    pub(crate) jobs: usize,
    /// Names looked up at once.
    pub(crate) look_ups: usize,
    /// Sockets for the second and further addresses of hosts.
    pub(crate) spare: usize,
}

/// What all hosts share.
pub(crate) struct Prober {
    pub(crate) settings: Settings,
    resolver: Resolver<Arc<str>>,
    neighbours: Neighbours,
    pub(crate) buffer: RefCell<Box<[u8]>>,
    spare: Cell<usize>,
    /// One host is asked at a time: no other's socket will be closed.
    alone: bool,
    ssh: Ssh,
    services: Services,
    stream_port: OnceCell<u16>,
    datagram_port: OnceCell<u16>,
}

/// A descriptor beyond the first of a host; given back when dropped.
pub(crate) struct Spare<'a>(&'a Cell<usize>);

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

impl Prober {
    /// Shares the descriptors of `budget` between this many `hosts`.
    pub(crate) fn new(settings: Settings, budget: &Budget, hosts: usize) -> Prober {
        Prober {
            resolver: Resolver::new(budget.look_ups, settings.family),
            neighbours: Neighbours::new(hosts),
            settings,
            // One byte more than a reply may have, so that one receive detects a longer one.
            buffer: RefCell::new(vec![0; reply::REPLY_MAX + 1].into_boxed_slice()),
            spare: Cell::new(budget.spare),
            alone: budget.jobs == 1,
            ssh: Ssh::from_environment(),
            services: Services::default(),
            stream_port: OnceCell::new(),
            datagram_port: OnceCell::new(),
        }
    }

    /// The time for one host.
    pub(crate) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// Asks one host once. `limit` cuts the time of a part that is about to begin, the look-up or
    /// the exchange, to what the caller has left. The second value is whether a later try may
    /// succeed.
    pub(crate) async fn ask(
        &self,
        target: &Target,
        limit: impl Fn(Duration) -> Duration,
    ) -> (Answer, bool) {
        let trace = Trace::default();
        // The rarer and larger ones apart, so that thousands of hosts do not each hold their room.
        let result = match &target.endpoint {
            Endpoint::Unix(path) => {
                let work = Box::pin(unix::ask(self, path, &trace));
                trace.within(limit(self.timeout()), work).await
            }
            Endpoint::Ssh { user, host, port } => {
                let user = user.as_deref();
                Box::pin(self.ask_ssh(user, host, port.as_ref(), limit, &trace)).await
            }
            Endpoint::Net { udp, host, port } if self.settings.ssh && !udp => {
                Box::pin(self.ask_ssh(None, host, port.as_ref(), limit, &trace)).await
            }
            Endpoint::Net { udp, host, port } => {
                let udp = *udp || self.settings.udp;
                self.ask_net(udp, host, port.as_ref(), limit, &trace).await
            }
        };
        self.answer(target, &trace, result)
    }

    async fn ask_net(
        &self,
        udp: bool,
        host: &Host,
        port: Option<&Port>,
        limit: impl Fn(Duration) -> Duration,
        trace: &Trace,
    ) -> Result<Reply, Failure> {
        let port = self.port(port, udp)?;
        let one;
        let many;
        let addresses = match host {
            Host::Address(ip) => {
                one = [self.settings.family.check(SocketAddr::new(*ip, port))?];
                &one[..]
            }
            Host::Scoped(ip, zone) => {
                let scope = address::zone(zone)?;
                let address = SocketAddr::V6(SocketAddrV6::new(*ip, port, 0, scope));
                one = [self.settings.family.check(address)?];
                &one[..]
            }
            Host::Name(name) => {
                let time = limit(LOOK_UP_TIMEOUT);
                many = self.resolver.look_up(name, port, time).await?;
                &many[..]
            }
        };
        let turn = self.neighbours.turn(addresses).await;
        let time = limit(self.timeout());
        let result = if udp {
            let work = pin!(datagram::ask(self, addresses, trace));
            trace.within(time, work).await
        } else {
            let work = pin!(stream::ask(self, addresses, trace));
            trace.within(time, work).await
        };
        turn.end(result.as_ref().is_err_and(Failure::is_silence));
        result
    }

    async fn ask_ssh(
        &self,
        user: Option<&str>,
        host: &Host,
        port: Option<&Port>,
        limit: impl Fn(Duration) -> Duration,
        trace: &Trace,
    ) -> Result<Reply, Failure> {
        // Without --ssh, the command line's port is that of the other hosts.
        let port = match port.or(self.settings.port.as_ref().filter(|_| self.settings.ssh)) {
            None => None,
            given => Some(self.port(given, false)?),
        };
        let login = Login {
            user,
            host,
            port,
            family: self.settings.family,
        };
        // Waiting for a turn is not the host's time.
        let _turn = self.ssh.turn().await;
        let time = limit(self.timeout());
        let work = ssh::ask(self, &login, time, trace);
        trace.within(time, work).await
    }

    /// The port to ask: the host's own, the command line's, services(5)', ours.
    pub(crate) fn port(&self, own: Option<&Port>, udp: bool) -> Result<u16, Failure> {
        match own.or(self.settings.port.as_ref()) {
            Some(Port::Number(number)) => Ok(*number),
            Some(Port::Service(name)) => self.services.port_of(name, udp).ok_or_else(|| {
                let protocol = if udp { "udp" } else { "tcp" };
                Failure::Unusable(format!("/etc/services has no {name}/{protocol}"))
            }),
            None => {
                let known = if udp {
                    &self.datagram_port
                } else {
                    &self.stream_port
                };
                let look = || self.services.port_of(crate::SERVICE, udp);
                Ok(*known.get_or_init(|| look().unwrap_or(crate::PORT)))
            }
        }
    }

    /// A descriptor beyond the host's own, if the limit leaves one.
    fn spare(&self) -> Option<Spare<'_>> {
        let left = self.spare.get().checked_sub(1)?;
        self.spare.set(left);
        Some(Spare(&self.spare))
    }

    /// A new socket. If the process or the machine has no descriptor left (look-ups open some that
    /// are not counted), this waits until another probe closes one; the host's time bounds the
    /// wait, and the failure then names the shortage. If this is the only probe, it fails at once.
    async fn open(
        &self,
        family: AddressFamily,
        kind: SockType,
        trace: &Trace,
    ) -> Result<OwnedFd, Failure> {
        loop {
            let alone = self.alone && !self.resolver.is_busy();
            match socket::open(family, kind) {
                Err(Errno::EMFILE) if alone => return Err(Failure::Os(Errno::EMFILE)),
                Err(errno @ (Errno::EMFILE | Errno::ENFILE)) => {
                    trace.short.set(Some(errno));
                    sleep(DESCRIPTOR_PAUSE).await;
                }
                result => {
                    trace.short.set(None);
                    return result.map_err(Failure::Os);
                }
            }
        }
    }

    fn answer(
        &self,
        target: &Target,
        trace: &Trace,
        result: Result<Reply, Failure>,
    ) -> (Answer, bool) {
        let rtt = result.is_ok().then(|| trace.rtt()).flatten();
        let address = match &target.endpoint {
            Endpoint::Unix(path) => Some(escape::line(path.as_os_str().as_bytes()).into_owned()),
            Endpoint::Ssh { .. } => None,
            Endpoint::Net { .. } => trace.address.get().as_ref().map(show),
        };
        let (outcome, again) = match result {
            Ok(reply) => judge(reply),
            Err(failure) => {
                let reason = failure.reason();
                (Outcome::Down { reason }, failure.may_pass())
            }
        };
        let answer = Answer {
            host: target.word.clone(),
            address,
            outcome,
            rtt,
            at: SystemTime::now(),
            machine: None,
        };
        (answer, again)
    }
}

/// A reply → whether it is an answer, and whether a later one may be better.
pub(crate) fn judge(mut reply: Reply) -> (Outcome, bool) {
    let (too_long, nothing) = (reply.too_long, reply.total == 0);
    // Not from what is kept: the verdict does not hang on how many hosts are asked.
    let report = mem::take(&mut reply.reader).finish();
    let raw = reply.into_kept();
    let (reason, is_reply, again) = match report {
        _ if too_long => {
            let most = reply::REPLY_MAX / 1024;
            let reason = format!("the answer is longer than {most} KiB");
            (reason, false, false)
        }
        Ok(report) => return (Outcome::Up { report, raw }, false),
        // The machine is there, its service is not ready yet.
        Err(error @ NotUptime::Server(_)) => (error.to_string(), false, true),
        Err(error) => (error.to_string(), !nothing, false),
    };
    let outcome = Outcome::Error {
        reason,
        raw,
        is_reply,
    };
    (outcome, again)
}

/// An address as people write it: a zone by its interface's name.
pub(crate) fn show(address: &SocketAddr) -> String {
    if let SocketAddr::V6(v6) = address {
        if v6.scope_id() != 0 {
            return format!(
                "[{}%{}]:{}",
                v6.ip(),
                address::zone_name(v6.scope_id()),
                v6.port()
            );
        }
    }
    address.to_string()
}

fn family_of(address: &SocketAddr) -> AddressFamily {
    match address.ip() {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(bytes: &[u8]) -> (Outcome, bool) {
        let mut reply = Reply::default();
        reply.add(bytes, bytes.len(), reply::REPLY_MAX);
        judge(reply)
    }

    #[test]
    fn a_reply_is_what_is_whole_and_not_the_servers_error() {
        for (bytes, is_reply) in [
            (&b" 21:04:41 up 12 min,  0 user\n"[..], true),
            (b"hello\n", true),
            (b"\n\n", true),
            (b"", false),
            (b"error: no such command\n", false),
            // Behind blank lines, too.
            (b"\n \nerror: no\n", false),
            (&[b'x'; reply::REPLY_MAX + 1], false),
        ] {
            let (outcome, _) = judged(bytes);
            let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
            assert_eq!(outcome.reply().is_some(), is_reply, "{start}");
        }
    }

    #[test]
    fn only_the_servers_error_may_pass() {
        assert!(judged(b"error: no such command\n").1);
        assert!(!judged(b"hello\n").1 && !judged(b"").1);
        assert!(!judged(b" 21:04:41 up 12 min,  0 user\n").1);
    }
}
