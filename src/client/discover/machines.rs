//! Addresses that answered → machines. Pure.
//!
//! Two addresses are one machine if they have one looked-up name, and their answers agree: both
//! booted at the same time, or both failed alike. Without the second condition a name that several
//! machines share would hide all but one of them, and so would somebody who answers for another's
//! name by mDNS. Where the answers do not agree nobody has the name, and each address is listed; so
//! is an address without a looked-up name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::client::answer::{Answer, Machine};

/// How far the boot times of two answers of one machine lie apart at most: both are rounded down to
/// the minute, and ruptimed may give an answer that is somewhat older.
const APART_MAX: Duration = Duration::from_secs(120);

/// What came from one address.
pub(super) struct Found {
    /// Its host is the address.
    pub(super) answer: Answer,
    /// The looked-up name.
    pub(super) name: Option<Arc<str>>,
}

/// The machines, in the order in which they answered first; each answer is the first of its machine.
pub(super) fn join(found: Vec<Found>) -> Vec<Answer> {
    let contested = contested(&found);
    let mut machines: Vec<Answer> = Vec::new();
    let mut named: HashMap<Arc<str>, usize> = HashMap::new();
    for Found { mut answer, name } in found {
        let address = answer.host.clone();
        if let Some(name) = name.filter(|name| !contested.contains(name)) {
            if let Some(place) = named.get(&name) {
                let machine = machines[*place].machine.get_or_insert_default();
                machine.addresses.push(address);
                continue;
            }
            answer.host = (*name).to_owned();
            named.insert(name, machines.len());
        }
        answer.machine = Some(Box::new(Machine {
            addresses: vec![address],
        }));
        machines.push(answer);
    }
    machines
}

/// The names whose answers do not agree.
fn contested(found: &[Found]) -> HashSet<Arc<str>> {
    let mut first: HashMap<&Arc<str>, &Answer> = HashMap::new();
    let named = found
        .iter()
        .filter_map(|found| found.name.as_ref().zip(Some(&found.answer)));
    let disagree = named.filter(|(name, answer)| {
        let first = first.entry(name).or_insert(answer);
        !are_of_one(first, answer)
    });
    disagree.map(|(name, _)| Arc::clone(name)).collect()
}

/// Whether two answers can be one machine's.
fn are_of_one(one: &Answer, other: &Answer) -> bool {
    match (one.outcome.report(), other.outcome.report()) {
        (Some(first), Some(second)) => {
            // Nobody believes an uptime that begins before all time.
            let boot = |answer: &Answer, uptime| answer.at.checked_sub(uptime);
            match (boot(one, first.uptime), boot(other, second.uptime)) {
                (Some(a), Some(b)) => {
                    let apart = a.duration_since(b).unwrap_or_else(|error| error.duration());
                    apart <= APART_MAX
                }
                _ => false,
            }
        }
        (None, None) => one.outcome == other.outcome,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{error, up};

    fn found(answer: Answer, name: &str) -> Found {
        Found {
            answer,
            name: (!name.is_empty()).then(|| name.into()),
        }
    }

    /// `NAME=ADDRESS,ADDRESS` of each machine.
    fn joined(found: Vec<Found>) -> Vec<String> {
        join(found)
            .iter()
            .map(|answer| {
                let machine = answer.machine.as_ref().expect("a machine");
                format!("{}={}", answer.host, machine.addresses.join(","))
            })
            .collect()
    }

    fn an_hour(address: &str) -> Answer {
        up(address, 3600, Some(1), None)
    }

    #[test]
    fn one_name_is_one_machine_with_its_addresses() {
        let mut later = an_hour("fe80::1%eth0");
        later.at += Duration::from_secs(50);
        let all = vec![
            found(an_hour("192.0.2.1"), "web1"),
            found(an_hour("192.0.2.2"), ""),
            found(up("192.0.2.3", 7200, None, None), "db1"),
            found(later, "web1"),
            found(up("198.51.100.1", 3660, None, None), "web1"),
            found(an_hour("192.0.2.4"), ""),
        ];
        let machines = [
            "web1=192.0.2.1,fe80::1%eth0,198.51.100.1",
            "192.0.2.2=192.0.2.2",
            "db1=192.0.2.3",
            "192.0.2.4=192.0.2.4",
        ];
        assert_eq!(joined(all), machines);
        assert!(joined(Vec::new()).is_empty());
    }

    #[test]
    fn the_first_answer_is_the_machines() {
        let all = vec![
            found(an_hour("192.0.2.1"), "web1"),
            found(up("192.0.2.2", 3660, None, None), "web1"),
        ];
        let machines = join(all);
        assert_eq!(machines[0].outcome, an_hour("192.0.2.1").outcome);
    }

    #[test]
    fn attack_nobody_hides_behind_anothers_name_or_takes_it() {
        for other in [
            up("192.0.2.1", 864_000, None, None),
            up("192.0.2.1", 3_780, None, None),
            error("192.0.2.1", "error: no"),
        ] {
            let all = vec![
                found(an_hour("192.0.2.66"), "web1"),
                found(other, "web1"),
                found(an_hour("192.0.2.67"), "web1"),
                found(an_hour("192.0.2.2"), "web2"),
            ];
            let machines = [
                "192.0.2.66=192.0.2.66",
                "192.0.2.1=192.0.2.1",
                "192.0.2.67=192.0.2.67",
                "web2=192.0.2.2",
            ];
            assert_eq!(joined(all), machines);
        }
    }

    #[test]
    fn failures_are_of_one_machine_if_they_are_alike() {
        let said = |address, text| found(error(address, text), "web1");
        let alike = vec![
            said("192.0.2.1", "error: no"),
            said("192.0.2.2", "error: no"),
        ];
        assert_eq!(joined(alike), ["web1=192.0.2.1,192.0.2.2"]);
        let other = vec![
            said("192.0.2.1", "error: no"),
            said("192.0.2.2", "error: yes"),
        ];
        assert_eq!(joined(other).len(), 2);
    }

    #[test]
    fn attack_an_uptime_that_no_clock_can_count() {
        let old = |address, age| found(up(address, age, None, None), "web1");
        let all = vec![old("192.0.2.1", u64::MAX), old("192.0.2.2", u64::MAX)];
        assert_eq!(joined(all).len(), 2);
    }
}
