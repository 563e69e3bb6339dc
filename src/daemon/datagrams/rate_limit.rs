//! How often, and with how much, a source of datagrams is answered: sources, bytes and a time come
//! in, verdicts go out.
//!
//! A datagram's source address can be forged, and an answer is longer than its question, so an
//! open datagram service amplifies what is sent with a victim's address. The number of answers to
//! one source in a second is therefore bounded, and so are their bytes (a COMMAND may say much
//! more than uptime does), in memory that does not grow: a table of fixed size, where a
//! source's place follows from a keyed hash (SipHash with a key of this process) that nobody
//! outside can compute. Sources that share a place share its limit, so a flood from many forged
//! sources can cost an honest one its answer, and never gets a victim more than its limit.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Places in the table: 320 KiB, of which the kernel gives only the pages that are used.
const PLACES: usize = 1 << 14;
/// The length of a window.
const WINDOW: Duration = Duration::from_secs(1);
/// Refusals are reported at most once in this time.
const REPORT: Duration = Duration::from_secs(10);
/// Bytes of payload for each answer that a source may get; an uptime line has some 70.
const BYTES: u64 = 512;

/// What was sent in this window, and in the one before it. What slides over both is a second long,
/// so that the end of one window and the start of the next do not make two limits in a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    now: u32,
    before: u32,
}

impl Sum {
    /// What counts of both windows, times the window's length, `elapsed` milliseconds into this.
    fn weight(self, elapsed: u32) -> u64 {
        let window = WINDOW.as_millis() as u64;
        u64::from(self.before) * (window - u64::from(elapsed)) + u64::from(self.now) * window
    }

    /// True where less than `limit` counts for the second that ends now.
    fn is_below(self, limit: u64, elapsed: u32) -> bool {
        self.weight(elapsed) < limit.saturating_mul(WINDOW.as_millis() as u64)
    }

    fn add(&mut self, more: u64) {
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        self.now = self.now.saturating_add(more);
    }
}

/// The answers to the sources that share a place.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// Milliseconds from the limiter's start to this window's.
    since: u32,
    answers: Sum,
    bytes: Sum,
}

impl Place {
    /// Moves on to the window that `millis` is in, and gives the time since it began.
    fn advance(&mut self, millis: u32) -> u32 {
        let window = WINDOW.as_millis() as u32;
        // Wraps after 49 days: then a window is that much shorter or longer, once.
        let elapsed = millis.wrapping_sub(self.since);
        if elapsed < window {
            return elapsed;
        }
        let was_in_use = self.answers.now > 0 || self.bytes.now > 0;
        if elapsed < 2 * window && was_in_use {
            let next = |sum: Sum| Sum {
                now: 0,
                before: sum.now,
            };
            *self = Place {
                since: self.since.wrapping_add(window),
                answers: next(self.answers),
                bytes: next(self.bytes),
            };
            return elapsed - window;
        }
        *self = Place {
            since: millis,
            ..Place::default()
        };
        0
    }
}

/// Counts the answers to each source.
pub(crate) struct RateLimiter {
    limit: u32,
    places: Vec<Place>,
    hasher: RandomState,
    start: Instant,
    refused: u64,
    last_refused: Option<IpAddr>,
    next_report: Instant,
}

/// What was refused since the last report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusals {
    pub(crate) count: u64,
    /// The last of them, as its network.
    pub(crate) example: IpAddr,
}

impl RateLimiter {
    /// `limit` answers and `limit` × 512 bytes a second for each source; 0 is no limit.
    pub(crate) fn new(limit: u32, now: Instant) -> Self {
        let places = if limit == 0 {
            Vec::new()
        } else {
            vec![Place::default(); PLACES]
        };
        RateLimiter {
            limit,
            places,
            hasher: RandomState::new(),
            start: now,
            refused: 0,
            last_refused: None,
            next_report: now,
        }
    }

    /// The most bytes that one answer may have; None without a limit.
    pub(crate) fn longest(&self) -> Option<u64> {
        (self.limit > 0).then(|| u64::from(self.limit) * BYTES)
    }

    /// Counts a request; true where it is to be answered.
    pub(crate) fn admits(&mut self, source: IpAddr, now: Instant) -> bool {
        let Some(longest) = self.longest() else {
            return true;
        };
        let limit = u64::from(self.limit);
        let (place, elapsed) = self.place(source, now);
        if place.answers.is_below(limit, elapsed) && place.bytes.is_below(longest, elapsed) {
            place.answers.add(1);
            return true;
        }
        self.refuse(source, now);
        false
    }

    /// Counts an answer's bytes, before it is sent; false where they are too many for this second.
    pub(crate) fn admits_bytes(&mut self, source: IpAddr, bytes: usize, now: Instant) -> bool {
        let Some(longest) = self.longest() else {
            return true;
        };
        let bytes = bytes as u64;
        let (place, elapsed) = self.place(source, now);
        // As many as the limit are still within it.
        if bytes <= longest && place.bytes.is_below(longest - bytes + 1, elapsed) {
            place.bytes.add(bytes);
            return true;
        }
        self.refuse(source, now);
        false
    }

    /// The place of a source, and the time since its window began, in milliseconds.
    fn place(&mut self, source: IpAddr, now: Instant) -> (&mut Place, u32) {
        let index = self.hasher.hash_one(network(source)) as usize % PLACES;
        let place = &mut self.places[index];
        let millis = now.saturating_duration_since(self.start).as_millis() as u32;
        let elapsed = place.advance(millis);
        (place, elapsed)
    }

    fn refuse(&mut self, source: IpAddr, now: Instant) {
        self.refused += 1;
        if self.last_refused.replace(network(source)).is_none() {
            // Not at once, so that the first sum says more than "one".
            self.next_report = self.next_report.max(now + WINDOW);
        }
    }

    /// When [`Self::report`] has something to tell.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.last_refused.map(|_| self.next_report)
    }

    /// What was refused since the last report, where it is time for one: a flood is one record
    /// in ten seconds, not one a packet. None for the time: now, since it is the last report.
    pub(crate) fn report(&mut self, now: Option<Instant>) -> Option<Refusals> {
        if now.is_some_and(|now| self.next_report > now) {
            return None;
        }
        let example = self.last_refused.take()?;
        self.next_report = now.unwrap_or(self.next_report) + REPORT;
        Some(Refusals {
            count: std::mem::take(&mut self.refused),
            example,
        })
    }
}

/// What counts as one source: an IPv4 /24 or an IPv6 /56, what one site commonly has (RFC 6177).
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 72 << 72).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_source_is_answered_so_often_a_second() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(10, start);
        let mut asked = |millis: u64, times: usize| {
            let now = start + Duration::from_millis(millis);
            (0..times)
                .filter(|_| limiter.admits(ip("192.0.2.1"), now))
                .count()
        };
        assert_eq!(asked(0, 4), 4);
        assert_eq!(asked(500, 100), 6);
        assert_eq!(asked(999, 100), 0);
        assert_eq!(asked(1000, 100), 0, "ten in the second that ends now");
        assert_eq!(asked(1500, 100), 5);
        assert_eq!(asked(86_400_000, 100), 10);
    }

    #[test]
    fn no_second_has_many_more_than_its_share() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(10, start);
        let admitted: Vec<u64> = (0..5000)
            .filter(|millis| {
                limiter.admits(ip("192.0.2.1"), start + Duration::from_millis(*millis))
            })
            .collect();
        let busiest = admitted.iter().map(|from| {
            admitted
                .iter()
                .filter(|at| (*from..from + 1000).contains(at))
                .count()
        });
        assert!(busiest.max() <= Some(11), "{admitted:?}");
        assert!(
            admitted.len() >= 45,
            "and who asks steadily gets its share: {admitted:?}"
        );
    }

    /// Ten answers a second, and 5,120 bytes.
    #[test]
    fn bytes_are_bounded_too() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut limiter = RateLimiter::new(10, start);
        let who = ip("192.0.2.1");
        assert_eq!(limiter.longest(), Some(5120));
        assert!(!limiter.admits_bytes(who, 5121, at(0)), "never");
        assert!(limiter.admits_bytes(who, 5000, at(0)));
        assert!(limiter.admits(who, at(0)), "there is room for 120 bytes");
        assert!(!limiter.admits_bytes(who, 121, at(0)));
        assert!(limiter.admits_bytes(who, 120, at(0)));
        assert!(!limiter.admits(who, at(0)), "no answer is made for nothing");
        assert!(limiter.admits(ip("192.0.3.1"), at(0)));
        assert!(!limiter.admits_bytes(who, 2560, at(1400)));
        assert!(limiter.admits_bytes(who, 2560, at(1500)));
        let report = limiter.report(None).expect("refusals");
        assert_eq!(report.count, 4);
    }

    #[test]
    fn an_uptime_line_never_meets_the_limit_of_bytes() {
        let line =
            " 18:16:29 up 1234 days, 14:05, 1000 users,  load average: 1000.10, 1000.20, 1000.30\n";
        let now = Instant::now();
        let mut limiter = RateLimiter::new(1, now);
        assert!(limiter.admits_bytes(ip("192.0.2.1"), line.len(), now));
    }

    #[test]
    fn a_network_is_one_source() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(1, now);
        for (source, admitted) in [
            ("192.0.2.1", true),
            ("192.0.2.254", false),
            ("::ffff:192.0.2.7", false),
            ("2001:db8:0:ff00::1", true),
            ("2001:db8:0:ffff::2", false),
        ] {
            assert_eq!(limiter.admits(ip(source), now), admitted, "{source}");
        }
        assert_eq!(network(ip("2001:db8:1:2345::9")), ip("2001:db8:1:2300::"));
    }

    #[test]
    fn forged_sources_neither_take_memory_nor_raise_anybodys_limit() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(10, now);
        let victim = ip("198.51.100.1");
        let mut to_victim = 0;
        for forged in 0..1_000_000u32 {
            limiter.admits(Ipv4Addr::from(forged << 8).into(), now);
            to_victim += u32::from(limiter.admits(victim, now));
        }
        assert!(to_victim <= 10, "{to_victim} answers in a second");
        assert_eq!(limiter.places.len(), PLACES);
    }

    #[test]
    fn without_a_limit_everyone_is_answered() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(0, now);
        assert!((0..1000).all(|_| limiter.admits(ip("192.0.2.1"), now)));
        assert!((0..1000).all(|_| limiter.admits_bytes(ip("192.0.2.1"), 65_507, now)));
        assert!(limiter.places.is_empty());
    }

    #[test]
    fn refusals_are_told_in_sums() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(1, now);
        assert_eq!(limiter.report(Some(now)), None);
        for _ in 0..5 {
            limiter.admits(ip("192.0.2.9"), now);
        }
        assert_eq!(
            limiter.report(Some(now)),
            None,
            "the first sum waits a moment"
        );
        let first = limiter.deadline().expect("something to tell");
        assert_eq!(
            limiter.report(Some(first)),
            Some(Refusals {
                count: 4,
                example: ip("192.0.2.0")
            })
        );
        limiter.admits(ip("192.0.2.9"), now);
        assert_eq!(limiter.report(Some(first)), None);
        assert!(
            limiter
                .deadline()
                .is_some_and(|second| second >= first + REPORT)
        );
        assert_eq!(
            limiter.report(None).map(|refusals| refusals.count),
            Some(1),
            "the last sum"
        );
        assert_eq!(limiter.deadline(), None);
    }
}
