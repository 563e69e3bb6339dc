//! The names of the addresses that answer, in one search after the other.
//!
//! Comes in: an address. Goes out: the looked-up name, or None. A name that cannot be looked up now
//! is the one of an earlier search: otherwise a machine would change its name in each round of
//! `--watch` in which the name server is slow.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::ANSWERS_MAX;
use crate::client::query::address::Family;
use crate::client::query::resolve::Resolver;

/// Looks names up, and remembers them.
pub(crate) struct Names {
    resolver: Resolver<SocketAddr>,
    known: RefCell<HashMap<SocketAddr, Arc<str>>>,
}

impl Names {
    /// Looks up at most `at_once` names at a time; each must lead to an address of this family.
    pub(crate) fn new(at_once: usize, family: Family) -> Names {
        Names {
            resolver: Resolver::new(at_once, family),
            known: RefCell::default(),
        }
    }

    /// The name of `address`, now or, if that cannot be said within `limit`, before.
    pub(super) async fn look_up(&self, address: SocketAddr, limit: Duration) -> Option<Arc<str>> {
        // A failure may pass: the resolver says None of what has no name.
        if let Ok(name) = self.resolver.ask(&address, limit).await {
            self.learn(address, name);
        }
        self.known(&address)
    }

    /// What is known of it without asking.
    pub(super) fn known(&self, address: &SocketAddr) -> Option<Arc<str>> {
        self.known.borrow().get(address).cloned()
    }

    fn learn(&self, address: SocketAddr, name: Option<Arc<str>>) {
        let mut known = self.known.borrow_mut();
        match name {
            // A forger who answers from ever new addresses gets no more room than in one search.
            Some(name) if known.len() < ANSWERS_MAX || known.contains_key(&address) => {
                known.insert(address, name);
            }
            _ => {
                known.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_until_another_is_learnt() {
        let names = Names::new(1, Family::Any);
        let address: SocketAddr = "192.0.2.7:1".parse().unwrap();
        assert_eq!(names.known(&address), None);
        for name in ["web1", "web2"] {
            names.learn(address, Some(name.into()));
            assert_eq!(names.known(&address).as_deref(), Some(name));
        }
        names.learn(address, None);
        assert_eq!(names.known(&address), None);
    }

    #[test]
    fn attack_ever_new_names_are_not_all_kept() {
        let names = Names::new(1, Family::Any);
        let address = |n: u32| SocketAddr::from((std::net::Ipv4Addr::from_bits(n), 1));
        for n in 0..2 * u32::try_from(ANSWERS_MAX).unwrap() {
            names.learn(address(n), Some("x".into()));
        }
        assert_eq!(names.known.borrow().len(), ANSWERS_MAX);
        names.learn(address(0), Some("y".into()));
        assert_eq!(names.known(&address(0)).as_deref(), Some("y"));
    }
}
