//! The addresses of one host, raced as in RFC 8305 (happy eyeballs).
//!
//! Comes in: the addresses in the order in which to try them, and what an attempt is: a connect
//! for streams, a whole exchange for datagrams. Goes out: what the first attempt that succeeds
//! gives. The next attempt starts when one has failed, or 250 ms after the last one started; those
//! that are under way go on.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::failure::Failure;
use super::trace::Trace;
use super::{Prober, Spare};

/// RFC 8305 section 5, "Connection Attempt Delay".
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The addresses that are left to try, and what became of the others.
pub(super) struct Candidates {
    /// The next one is the last.
    left: Vec<SocketAddr>,
    /// The most telling failure so far.
    failure: Option<(Failure, SocketAddr)>,
}

impl Candidates {
    pub(super) fn new(addresses: &[SocketAddr]) -> Candidates {
        Candidates {
            left: addresses.iter().rev().copied().collect(),
            failure: None,
        }
    }

    /// Strikes an address off. Of all failures the one that says most about the host is reported,
    /// the later among equals.
    pub(super) fn failed(&mut self, address: SocketAddr, failure: Failure) {
        match &self.failure {
            Some((known, _)) if known.weight() > failure.weight() => {}
            _ => self.failure = Some((failure, address)),
        }
    }

    /// No address is left: the failure to report. Its address becomes the one shown.
    fn most_telling(&mut self, trace: &Trace) -> Failure {
        match self.failure.take() {
            Some((failure, address)) => {
                trace.settle(address);
                failure
            }
            None => Failure::LookUp("the name has no address".to_owned()),
        }
    }
}

/// An attempt under way.
struct Attempt<'a, F> {
    address: SocketAddr,
    work: Pin<Box<F>>,
    /// The descriptor beyond the one that the host was counted with.
    spare: Option<Spare<'a>>,
}

/// The first success of an `attempt`, and its address. Candidates that have failed are struck off;
/// those whose attempt was cut short by the success are left.
pub(super) async fn race<T, F>(
    prober: &Prober,
    candidates: &mut Candidates,
    trace: &Trace,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<(SocketAddr, T), Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut in_flight: Vec<Attempt<'_, F>> = Vec::new();
    let mut next_start = Instant::now();
    loop {
        if in_flight.is_empty() || Instant::now() >= next_start {
            if let Some(address) = candidates.left.pop() {
                let spare = make_room(prober, &mut in_flight);
                in_flight.push(Attempt {
                    address,
                    work: Box::pin(attempt(address)),
                    spare,
                });
                next_start = Instant::now() + ATTEMPT_DELAY;
            } else if in_flight.is_empty() {
                return Err(candidates.most_telling(trace));
            }
        }
        let settled = first_settled(&mut in_flight);
        let settled = if candidates.left.is_empty() {
            Some(settled.await)
        } else {
            timeout_at(next_start, settled).await.ok()
        };
        let Some((index, result)) = settled else {
            continue;
        };
        let address = in_flight.remove(index).address;
        match result {
            Ok(value) => {
                trace.settle(address);
                let cut_short = in_flight.iter().rev().map(|attempt| attempt.address);
                candidates.left.extend(cut_short);
                return Ok((address, value));
            }
            Err(failure) => {
                candidates.failed(address, failure);
                next_start = Instant::now();
            }
        }
    }
}

/// A descriptor for one more attempt: counted beside the host's own, or, where the limit leaves
/// none, that of the oldest attempt, which has had its delay.
fn make_room<'a, F>(prober: &'a Prober, in_flight: &mut Vec<Attempt<'a, F>>) -> Option<Spare<'a>> {
    if in_flight.is_empty() {
        return None;
    }
    prober.spare().or_else(|| in_flight.remove(0).spare)
}

async fn first_settled<T, F>(in_flight: &mut [Attempt<'_, F>]) -> (usize, Result<T, Failure>)
where
    F: Future<Output = Result<T, Failure>>,
{
    poll_fn(|cx| {
        for (index, attempt) in in_flight.iter_mut().enumerate() {
            if let Poll::Ready(result) = attempt.work.as_mut().poll(cx) {
                return Poll::Ready((index, result));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use nix::errno::Errno;
    use tokio::time::sleep;

    use super::*;
    use crate::client::query::address::Family;
    use crate::client::query::{Budget, Settings};

    /// What an address does: after how many milliseconds it answers or fails.
    type Behaviour = (u64, Result<u16, Errno>);

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn prober(spare: usize) -> Prober {
        let settings = Settings {
            timeout: Duration::from_secs(5),
            family: Family::Any,
            udp: false,
            ssh: false,
            port: None,
            keep: 0,
        };
        let budget = Budget {
            jobs: 1,
            look_ups: 1,
            spare,
        };
        Prober::new(settings, &budget, 1)
    }

    /// Races addresses 1, 2, … of these behaviours: the result, the starts in milliseconds by
    /// port, and what is left.
    async fn raced(
        spare: usize,
        behaviours: &[Behaviour],
    ) -> (Result<u16, Failure>, Vec<(u16, u128)>, Vec<u16>) {
        let (prober, trace) = (prober(spare), Trace::default());
        let ports = 1..=u16::try_from(behaviours.len()).unwrap();
        let addresses: Vec<_> = ports.map(address).collect();
        let mut candidates = Candidates::new(&addresses);
        let (begun, starts) = (Instant::now(), RefCell::new(Vec::new()));
        let attempt = |address: SocketAddr| {
            let at = begun.elapsed().as_millis();
            starts.borrow_mut().push((address.port(), at));
            let (after, result) = behaviours[usize::from(address.port()) - 1];
            async move {
                sleep(Duration::from_millis(after)).await;
                result.map_err(Failure::Os)
            }
        };
        let result = race(&prober, &mut candidates, &trace, attempt).await;
        let left = candidates.left.iter().rev().map(SocketAddr::port).collect();
        if let Ok((winner, _)) = &result {
            assert_eq!(trace.address.get(), Some(*winner));
        }
        (result.map(|(_, value)| value), starts.into_inner(), left)
    }

    const REFUSED: Result<u16, Errno> = Err(Errno::ECONNREFUSED);

    #[tokio::test(start_paused = true)]
    async fn the_next_starts_after_a_failure_or_a_quarter_of_a_second() {
        let behaviours = [(10, REFUSED), (9_000, Ok(2)), (100, Ok(3)), (0, Ok(4))];
        let (result, starts, left) = raced(9, &behaviours).await;
        assert_eq!(result, Ok(3));
        assert_eq!(starts, [(1, 0), (2, 10), (3, 260)]);
        // The attempt that was cut short first, then the one that was not tried.
        assert_eq!(left, [2, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_attempt_may_still_win() {
        let (result, starts, left) = raced(9, &[(400, Ok(1)), (9_000, Ok(2))]).await;
        assert_eq!((result, starts.len(), left), (Ok(1), 2, vec![2]));
    }

    #[tokio::test(start_paused = true)]
    async fn of_all_failures_the_one_that_says_most_is_told() {
        let unreachable = Err(Errno::ENETUNREACH);
        let (result, _, left) = raced(9, &[(0, unreachable), (5, REFUSED), (0, unreachable)]).await;
        assert_eq!(result, Err(Failure::Os(Errno::ECONNREFUSED)));
        assert!(left.is_empty());
        let nothing = raced(9, &[]).await.0.unwrap_err();
        assert_eq!(nothing.reason(), "the name has no address");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_spare_descriptor_the_oldest_attempt_gives_its_own_up() {
        let (result, starts, _) = raced(0, &[(400, Ok(1)), (400, Ok(2))]).await;
        assert_eq!((result, starts), (Ok(2), vec![(1, 0), (2, 250)]));
    }
}
