//! What must hold whatever comes: words from a command line, datagrams from anywhere. A panic
//! names what was broken. Built for tests and fuzzing only.
//!
//! One body, two launchers: the property tests below run each check on a few hundred inputs with
//! every `cargo test`, and the targets in `tests/fuzz` on millions that look for new paths.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::daemon::datagrams::rate_limit::RateLimiter;
use crate::daemon::sockets::address::ListenAddr;

/// An address of `--listen` is written as it is read, and what is wrong with one fits on a line.
pub fn listen_address(text: &str) {
    match text.parse::<ListenAddr>() {
        Ok(address) => {
            let written = address.to_string();
            assert_eq!(written.parse().as_ref(), Ok(&address), "{written:?}");
        }
        Err(reason) => assert!(!reason.contains(char::is_control), "{reason:?}"),
    }
}

/// One datagram: who it says it is from, and how long after the one before.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Where it claims to come from.
    pub source: IpAddr,
    /// Since the one before.
    pub after: Duration,
}

/// Reads requests out of bytes: a kind, a source's last bytes, a delay.
pub fn requests(bytes: &[u8]) -> Vec<Asked> {
    bytes
        .chunks_exact(6)
        .map(|chunk| {
            let [kind, a, b, c, fine, coarse] = [0, 1, 2, 3, 4, 5].map(|at| chunk[at]);
            let v4 = Ipv4Addr::new(192, a, b, c);
            let source = match kind % 3 {
                0 => v4.into(),
                1 => v4.to_ipv6_mapped().into(),
                _ => Ipv6Addr::new(0x2001, 0xdb8, a.into(), (u16::from(b) << 8) | 7, 0, 0, 0, 1)
                    .into(),
            };
            // Mostly within a window, now and then past it, and at times past 49 days, where a
            // count of milliseconds in 32 bits begins anew.
            let after = match coarse {
                0..=199 => Duration::from_millis(fine.into()),
                200..=249 => Duration::from_millis(u64::from(fine) * 16),
                _ => Duration::from_secs(u64::from(fine) * 50_000),
            };
            Asked { source, after }
        })
        .collect()
}

/// The network that a source belongs to, told apart from the limiter's own arithmetic.
fn network(source: IpAddr) -> Vec<u8> {
    match source.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[..3].to_vec(),
        IpAddr::V6(v6) => v6.octets()[..7].to_vec(),
    }
}

/// However they come, no network gets more than twice its limit within any second, in answers and
/// in bytes (those of the window before are taken to have been spread evenly, which they need not
/// have been), the first in a quiet table is always answered, and every refusal is told in a sum.
pub fn rate_limit(limit: u32, requests: &[Asked]) {
    let start = Instant::now();
    let mut now = start;
    let mut limiter = RateLimiter::new(limit, start);
    let mut admitted: HashMap<Vec<u8>, Vec<(Instant, usize)>> = HashMap::new();
    let (mut refused, mut told) = (0, 0);
    for (index, asked) in requests.iter().enumerate() {
        now += asked.after;
        let is_admitted = limiter.admits(asked.source, now);
        assert!(is_admitted || index > 0, "nobody had asked before");
        if is_admitted {
            // Lengths about those that are just within the limit, or just beyond it.
            let wanted = 40 * (index % 30);
            let is_sent = limiter.admits_bytes(asked.source, wanted, now);
            refused += u64::from(!is_sent);
            let bytes = if is_sent { wanted } else { 0 };
            let answers = admitted.entry(network(asked.source)).or_default();
            answers.push((now, bytes));
        } else {
            refused += 1;
        }
        if let Some(refusals) = limiter.report(Some(now)) {
            told += refusals.count;
        }
    }
    while let Some(at) = limiter.deadline() {
        let refusals = limiter.report(Some(at.max(now))).expect("it is due");
        told += refusals.count;
    }
    assert_eq!(told, refused);
    assert!(limit > 0 || refused == 0, "without a limit");
    for answers in admitted.values().filter(|_| limit > 0) {
        for (first, (begin, _)) in answers.iter().enumerate() {
            let second: Vec<usize> = answers[first..]
                .iter()
                .take_while(|(at, _)| *at < *begin + Duration::from_secs(1))
                .map(|(_, bytes)| *bytes)
                .collect();
            let twice = 2 * limit as usize;
            assert!(second.len() <= twice, "too many in a second");
            assert!(
                second.iter().sum::<usize>() <= twice * 512,
                "too much in a second"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "udp:",
            "unix:",
            "/run/s",
            "[",
            "]",
            ":",
            "::1",
            "%lo",
            "127.0.0.1",
            "localhost",
            "80",
            "0",
            "65536",
            "-1",
            "+1",
            " ",
            "\n",
            "\x1b",
            "\0",
            "é",
            "*",
        ]);
        let any = any::<char>().prop_map(String::from);
        prop::collection::vec(
            prop_oneof![4 => piece.prop_map(String::from), 1 => any],
            0..8,
        )
        .prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn what_was_found_is_mended() {
        for text in crate::regressions::inputs("listen_address") {
            listen_address(&String::from_utf8(text).expect("a &str target"));
        }
        for input in crate::regressions::inputs("rate_limit") {
            rate_limit((input[0] % 16).into(), &requests(&input[1..]));
        }
    }

    proptest! {
        #[test]
        fn listen_addresses(text in words()) {
            listen_address(&text);
        }

        #[test]
        fn rate_limits(limit in 0_u32..20, bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
            rate_limit(limit, &requests(&bytes));
        }

        /// The same few networks over and over, where windows fill up and end.
        #[test]
        fn rate_limits_of_few_sources(
            limit in 1_u32..6, kinds in prop::collection::vec((0_u8..3, 0_u8..2, any::<u8>()), 0..400),
        ) {
            let bytes: Vec<u8> = kinds.iter().flat_map(|(kind, a, fine)| [*kind, *a, 0, 1, *fine, 0]).collect();
            rate_limit(limit, &requests(&bytes));
        }
    }
}
