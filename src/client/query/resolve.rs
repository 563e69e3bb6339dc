//! Names → addresses, through the system's resolver.
//!
//! Comes in: a host's name. Goes out: its addresses in the order in which RFC 8305 would try
//! them, or words for why there are none. getaddrinfo(3) blocks and cannot be stopped, so it runs
//! on threads of its own: a bounded number, started only when a name must be looked up, and never
//! waited for, so that a stuck look-up holds up nobody, not even the end of the program.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::net::if_::{if_indextoname, if_nametoindex};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::failure::Failure;

/// Which address families may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Both.
    Any,
    /// `-4`
    V4,
    /// `-6`
    V6,
}

impl Family {
    pub(crate) fn allows(self, address: &SocketAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }

    /// A numeric address, if it may be used.
    pub(crate) fn check(self, address: SocketAddr) -> Result<SocketAddr, Failure> {
        if self.allows(&address) {
            return Ok(address);
        }
        let reason = match self {
            Family::V6 => "an IPv4 address, and -6 allows only IPv6",
            _ => "an IPv6 address, and -4 allows only IPv4",
        };
        Err(Failure::Unusable(reason.to_owned()))
    }
}

/// A zone's number (RFC 4007 section 11): an interface's name first, as getaddrinfo does.
pub(crate) fn zone(text: &str) -> Result<u32, Failure> {
    if let Ok(index) = if_nametoindex(text) {
        return Ok(index);
    }
    match text.parse() {
        Ok(index) if index > 0 => Ok(index),
        _ => Err(Failure::Unusable(format!("no network interface {text}"))),
    }
}

/// A zone's name, or its number where the interface is gone.
pub(crate) fn zone_name(index: u32) -> String {
    match if_indextoname(index) {
        // nix 0.31 gives an empty name and no error where there is no such interface.
        Ok(name) if !name.is_empty() => name.to_string_lossy().into_owned(),
        _ => index.to_string(),
    }
}

/// The threads that look names up.
pub(crate) struct Resolver {
    /// One permit for each look-up that somebody waits for.
    turns: Semaphore,
    at_once: usize,
    pool: Arc<Pool>,
}

/// The right to one look-up.
pub(crate) struct Turn<'a> {
    pool: &'a Arc<Pool>,
    _permit: Option<SemaphorePermit<'a>>,
}

struct Pool {
    queue: Mutex<Queue>,
    filled: Condvar,
    /// Twice the look-ups that somebody waits for: as many may be stuck, given up by all.
    threads_max: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
    threads: usize,
}

struct Job {
    name: String,
    port: u16,
    reply: oneshot::Sender<io::Result<Vec<SocketAddr>>>,
}

impl Resolver {
    /// Looks up at most `at_once` names at a time. No thread is started yet.
    pub(crate) fn new(at_once: usize) -> Resolver {
        Resolver {
            turns: Semaphore::new(at_once),
            at_once,
            pool: Arc::new(Pool {
                queue: Mutex::default(),
                filled: Condvar::new(),
                threads_max: at_once * 2,
            }),
        }
    }

    /// Whether a look-up is under way, which gives descriptors back when it ends.
    pub(crate) fn is_busy(&self) -> bool {
        self.turns.available_permits() < self.at_once
    }

    /// Waits until another look-up may start.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        // An error would mean a closed semaphore; nobody closes it.
        Turn {
            pool: &self.pool,
            _permit: self.turns.acquire().await.ok(),
        }
    }
}

impl Turn<'_> {
    /// The addresses of `name`. Dropping the future gives the look-up up.
    pub(crate) async fn look_up(
        self,
        name: &str,
        port: u16,
        family: Family,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let (reply, answered) = oneshot::channel();
        self.pool
            .submit(Job {
                name: name.to_owned(),
                port,
                reply,
            })
            .map_err(|_| Failure::LookUp("no thread to look the name up with".to_owned()))?;
        let found = match answered.await {
            Ok(result) => result.map_err(|error| Failure::LookUp(words(&error)))?,
            // Its thread is gone without an answer: nothing in it ends that way but a panic.
            Err(_) => return Err(Failure::LookUp("the look-up broke off".to_owned())),
        };
        let (allowed, others): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|address| family.allows(address));
        match (allowed.is_empty(), others.first()) {
            (false, _) => Ok(interleave(allowed)),
            (true, Some(SocketAddr::V4(_))) => no_address("the name has no IPv6 address"),
            (true, Some(SocketAddr::V6(_))) => no_address("the name has no IPv4 address"),
            (true, None) => no_address("the name has no address"),
        }
    }
}

fn no_address<T>(reason: &str) -> Result<T, Failure> {
    Err(Failure::LookUp(reason.to_owned()))
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock, and the queue would be whole if it did.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a job to an idle thread, or to a new one while there may be more.
    fn submit(self: &Arc<Pool>, job: Job) -> Result<(), Errno> {
        let mut queue = self.lock();
        queue.jobs.push_back(job);
        if queue.jobs.len() > queue.idle && queue.threads < self.threads_max {
            let pool = Arc::clone(self);
            let spawned = thread::Builder::new()
                .name("look-up".to_owned())
                .spawn(move || pool.work());
            match spawned {
                Ok(_) => queue.threads += 1,
                // pthread_create(3), EAGAIN: the threads that run will have to do.
                Err(_) if queue.threads > 0 => {}
                Err(_) => {
                    queue.jobs.pop_back();
                    return Err(Errno::EAGAIN);
                }
            }
        }
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    /// A thread's life: it ends with the program.
    fn work(&self) {
        loop {
            let job = self.next();
            // Given up while it waited for a thread.
            if job.reply.is_closed() {
                continue;
            }
            let found = (job.name.as_str(), job.port)
                .to_socket_addrs()
                .map(Iterator::collect);
            // Given up while it was looked up: nobody wants to know any more.
            let _ = job.reply.send(found);
        }
    }

    fn next(&self) -> Job {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return job;
            }
            queue.idle += 1;
            queue = self
                .filled
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

/// std hands on the C library's text for an error of getaddrinfo(3), not its code. The texts are
/// those of glibc and musl, untranslated because nobody calls setlocale(3).
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(&text);
    match text {
        "Name or service not known" | "Name does not resolve" => "unknown name".to_owned(),
        "No address associated with hostname" | "Name has no usable address" => {
            "the name has no address".to_owned()
        }
        "Temporary failure in name resolution" | "Try again" => {
            "temporary failure of the name look-up".to_owned()
        }
        "Non-recoverable failure in name resolution" | "Unrecoverable error" => {
            "the name server failed".to_owned()
        }
        other => format!("the name look-up failed: {}", other.to_lowercase()),
    }
}

/// RFC 8305 section 4: the families alternate, beginning with the resolver's first choice; within
/// a family the resolver's order (RFC 6724) stays. An address given twice is tried once.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut unique: Vec<SocketAddr> = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    let first_is_v4 = unique.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = unique
        .into_iter()
        .partition(|address| address.is_ipv4() == first_is_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    loop {
        match (first.next(), second.next()) {
            (None, None) => return mixed,
            (one, other) => mixed.extend(one.into_iter().chain(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts
            .iter()
            .map(|text| SocketAddr::new(text.parse().unwrap(), 1))
            .collect()
    }

    #[test]
    fn families_alternate_and_the_resolvers_order_stays() {
        let table: [(&[&str], &[&str]); 5] = [
            (&[], &[]),
            (
                &["::1", "::2", "127.0.0.1", "127.0.0.2"],
                &["::1", "127.0.0.1", "::2", "127.0.0.2"],
            ),
            (
                &["127.0.0.1", "::1", "::2", "::3"],
                &["127.0.0.1", "::1", "::2", "::3"],
            ),
            (&["127.0.0.1", "127.0.0.2"], &["127.0.0.1", "127.0.0.2"]),
            (
                &["::1", "127.0.0.1", "::1", "127.0.0.1"],
                &["::1", "127.0.0.1"],
            ),
        ];
        for (given, expected) in table {
            assert_eq!(
                interleave(addresses(given)),
                addresses(expected),
                "{given:?}"
            );
        }
    }

    #[test]
    fn a_zone_is_a_name_or_a_number() {
        let lo = zone("lo").unwrap();
        assert_eq!(zone_name(lo), "lo");
        assert_eq!(zone("77777").unwrap(), 77777);
        assert_eq!(zone_name(77777), "77777");
        assert!(zone("0").is_err());
        assert!(zone("nosuch0").unwrap_err().reason().contains("nosuch0"));
    }

    #[test]
    fn a_family_is_checked() {
        let v4 = addresses(&["127.0.0.1"])[0];
        let v6 = addresses(&["::1"])[0];
        assert!(Family::Any.check(v4).is_ok() && Family::Any.check(v6).is_ok());
        assert!(Family::V4.check(v4).is_ok() && Family::V6.check(v6).is_ok());
        assert!(Family::V6.check(v4).unwrap_err().reason().contains("-6"));
        assert!(Family::V4.check(v6).unwrap_err().reason().contains("-4"));
    }

    fn look_up(
        resolver: &Resolver,
        name: &str,
        family: Family,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async { resolver.turn().await.look_up(name, 7, family).await })
    }

    #[test]
    fn names_are_looked_up_on_threads_that_are_used_again() {
        let resolver = Resolver::new(2);
        for _ in 0..20 {
            let found = look_up(&resolver, "localhost", Family::V4).unwrap();
            assert!(
                found
                    .iter()
                    .all(|address| address.ip().is_loopback() && address.port() == 7)
            );
        }
        assert!(resolver.pool.lock().threads <= 4);
    }

    #[test]
    fn a_name_that_cannot_be_is_told_in_words() {
        // Longer than a label of a name may be: no name server is asked.
        let name = format!("{}.invalid", "x".repeat(70));
        let failure = look_up(&Resolver::new(1), &name, Family::Any).unwrap_err();
        let reason = failure.reason();
        assert!(failure.may_pass(), "{reason}");
        assert!(!reason.contains("lookup address information"), "{reason}");
    }
}
