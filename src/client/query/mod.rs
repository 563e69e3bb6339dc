//! One host, asked once: a target → an [`Answer`].
//!
//! Everything that hosts share on the one thread is in [`Prober`]: the options that matter, the
//! receive buffer, the count of spare descriptors, the resolver. Each kind of service has its
//! module; the time of a host runs from its look-up to its last byte, whatever the kind.

mod datagram;
pub(crate) mod failure;
mod race;
pub(crate) mod reply;
pub(crate) mod resolve;
mod services;
pub(crate) mod socket;
mod stream;
mod trace;
mod unix;

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockType};
use tokio::time::sleep;

use self::failure::Failure;
use self::reply::Reply;
use self::resolve::{Family, Resolver};
use self::trace::Trace;
use crate::client::answer::{Answer, Outcome};
use crate::client::fleet::descriptors::Budget;
use crate::client::hosts::target::{Endpoint, Host, Port, Target};
use crate::client::report;
use crate::escape;

/// How much of a reply is kept where more than one host is asked, bytes; but all of it where it is
/// printed as it came. Text is printed in the order given, so a slow host holds all that the later
/// ones have said: up to 64 KiB each is the price of not cutting.
pub(crate) const KEEP_OF_MANY: usize = 1024;
/// How much is kept of a single host's reply: all that a reply may have.
pub(crate) const KEEP_OF_ONE: usize = reply::REPLY_MAX;

/// How long to wait for a descriptor when there is none: until another host's is closed.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(10);

/// What the command line says about asking.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// For one host, from the first look-up to the last byte.
    pub(crate) timeout: Duration,
    /// The families that may be used.
    pub(crate) family: Family,
    /// Datagrams for every host named without a scheme.
    pub(crate) udp: bool,
    /// The port of a host that was written without one.
    pub(crate) port: Option<Port>,
    /// How many bytes of a reply are kept.
    pub(crate) keep: usize,
}

/// What all hosts share.
pub(crate) struct Prober {
    pub(crate) settings: Settings,
    resolver: Resolver,
    pub(crate) buffer: RefCell<Box<[u8]>>,
    spare: Cell<usize>,
    /// One host is asked at a time: no other's socket will be closed.
    alone: bool,
    stream_port: OnceCell<Option<u16>>,
    datagram_port: OnceCell<Option<u16>>,
}

/// A descriptor beyond the first of a host; given back when dropped.
pub(crate) struct Spare<'a>(&'a Cell<usize>);

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

impl Prober {
    /// Shares the descriptors of `budget` between the hosts.
    pub(crate) fn new(settings: Settings, budget: &Budget) -> Prober {
        Prober {
            settings,
            resolver: Resolver::new(budget.look_ups),
            // One byte more than a reply may have, so that one receive can tell.
            buffer: RefCell::new(vec![0; reply::REPLY_MAX + 1].into_boxed_slice()),
            spare: Cell::new(budget.spare),
            alone: budget.jobs == 1,
            stream_port: OnceCell::new(),
            datagram_port: OnceCell::new(),
        }
    }

    /// The time for one host.
    pub(crate) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// Asks one host once, within `limit` from the first look-up to the last byte. The second
    /// value tells whether a later try may go better.
    pub(crate) async fn ask(&self, target: &Target, limit: Duration) -> (Answer, bool) {
        let trace = Trace::new(limit);
        let result = match &target.endpoint {
            Endpoint::Unix(path) => {
                let deadline = trace.deadline();
                let work = unix::ask(self, path, &trace);
                trace.within(deadline, work).await
            }
            Endpoint::Net { udp, host, port } => {
                self.ask_net(*udp || self.settings.udp, host, port.as_ref(), &trace)
                    .await
            }
        };
        let again = result.as_ref().is_err_and(Failure::may_pass);
        (self.answer(target, &trace, result), again)
    }

    async fn ask_net(
        &self,
        udp: bool,
        host: &Host,
        port: Option<&Port>,
        trace: &Trace,
    ) -> Result<Reply, Failure> {
        let port = self.port(port, udp)?;
        let one;
        let many;
        let (addresses, deadline) = match host {
            Host::Address(ip) => {
                one = [self.settings.family.check(SocketAddr::new(*ip, port))?];
                (&one[..], trace.deadline())
            }
            Host::Scoped(ip, zone) => {
                let scope = resolve::zone(zone)?;
                let address = SocketAddr::V6(SocketAddrV6::new(*ip, port, 0, scope));
                one = [self.settings.family.check(address)?];
                (&one[..], trace.deadline())
            }
            Host::Name(name) => {
                // Waiting for a turn at the resolver is not the host's time.
                let turn = self.resolver.turn().await;
                let deadline = trace.deadline();
                let look_up = turn.look_up(name, port, self.settings.family);
                many = trace.within(deadline, look_up).await?;
                (many.as_slice(), deadline)
            }
        };
        trace.looked_up();
        if udp {
            let work = datagram::ask(self, addresses, trace);
            trace.within(deadline, work).await
        } else {
            let work = stream::ask(self, addresses, trace);
            trace.within(deadline, work).await
        }
    }

    /// The port to ask: the host's own, the command line's, services(5)', ours.
    pub(crate) fn port(&self, own: Option<&Port>, udp: bool) -> Result<u16, Failure> {
        match own.or(self.settings.port.as_ref()) {
            Some(Port::Number(number)) => Ok(*number),
            Some(Port::Service(name)) => services::port_of(name, udp).ok_or_else(|| {
                let protocol = if udp { "udp" } else { "tcp" };
                Failure::Unusable(format!("/etc/services has no {name}/{protocol}"))
            }),
            None => {
                let known = if udp {
                    &self.datagram_port
                } else {
                    &self.stream_port
                };
                let port = known.get_or_init(|| services::port_of(crate::SERVICE, udp));
                Ok(port.unwrap_or(crate::PORT))
            }
        }
    }

    /// A descriptor beyond the host's own, if the limit leaves one.
    fn spare(&self) -> Option<Spare<'_>> {
        let left = self.spare.get().checked_sub(1)?;
        self.spare.set(left);
        Some(Spare(&self.spare))
    }

    /// A new socket. Where the process or the machine has no descriptor left (look-ups open some
    /// that nobody counts), it waits until there is one: the host's deadline bounds that, and what
    /// was missing is told then. Where this host is alone, nothing will be given back.
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

    fn answer(&self, target: &Target, trace: &Trace, result: Result<Reply, Failure>) -> Answer {
        let rtt = trace.rtt();
        let address = match &target.endpoint {
            Endpoint::Unix(path) => Some(escape::line(path.as_os_str().as_bytes()).into_owned()),
            Endpoint::Net { .. } => trace.address.get().as_ref().map(show),
        };
        let (outcome, rtt) = match result {
            Ok(reply) => (judge(reply), rtt),
            Err(failure) => (
                Outcome::Down {
                    reason: failure.reason(),
                },
                None,
            ),
        };
        Answer {
            host: target.word.clone(),
            address,
            outcome,
            rtt,
            at: SystemTime::now(),
        }
    }
}

/// A reply → whether it is an answer.
pub(crate) fn judge(reply: Reply) -> Outcome {
    let whole = !reply.too_long;
    // Not from what is kept: the verdict does not hang on how many hosts are asked.
    let report = report::parse(&reply.line);
    let raw = reply.into_kept();
    if !whole {
        let reason = format!("the answer is longer than {} KiB", reply::REPLY_MAX / 1024);
        return Outcome::Error { reason, raw, whole };
    }
    match report {
        Ok(report) => Outcome::Up { report, raw },
        Err(reason) => Outcome::Error {
            reason: reason.to_string(),
            raw,
            whole,
        },
    }
}

/// An address as people write it: a zone by its interface's name.
pub(crate) fn show(address: &SocketAddr) -> String {
    if let SocketAddr::V6(v6) = address {
        if v6.scope_id() != 0 {
            return format!(
                "[{}%{}]:{}",
                v6.ip(),
                resolve::zone_name(v6.scope_id()),
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
