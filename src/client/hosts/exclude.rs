//! What `-x` leaves out. Pure.

use std::collections::HashSet;

use super::groups::{self, Members};
use super::inventory::Inventory;
use super::ranges::Expansion;
use super::target::{Endpoint, Host, Target};

/// Hosts that are not asked.
#[derive(Debug, Default)]
pub(super) struct Exclusions {
    /// As they were written, with a scheme or a port.
    words: HashSet<String>,
    /// Names and addresses, however they are asked: what was written without either.
    hosts: HashSet<String>,
    groups: Members,
    expansion: Expansion,
    /// The hosts of the groups, by their places in the inventory.
    places: HashSet<u32>,
}

impl Exclusions {
    /// Leaves out what a word of `-x` means: HOSTs in any form, ranges, groups.
    ///
    /// # Errors
    /// What is wrong with it, without the word.
    pub(super) fn add(&mut self, word: &str) -> Result<(), String> {
        let mut expansion = std::mem::take(&mut self.expansion);
        let added = expansion.expand(word, |word| {
            match word.strip_prefix('@') {
                Some(name) => self.groups.add_group(groups::checked(name)?, None),
                None => self.add_host(Target::parse(word)?),
            }
            Ok(())
        });
        self.expansion = expansion;
        added
    }

    /// A host by its scheme and port where it has one, else by all.
    fn add_host(&mut self, target: Target) {
        match &target.endpoint {
            Endpoint::Net {
                udp: false,
                host,
                port: None,
            } => self.hosts.insert(name_of(host)),
            _ => self.words.insert(target.word),
        };
    }

    /// Whether there is an `@GROUP` among them.
    pub(super) fn name_groups(&self) -> bool {
        self.groups.name_groups()
    }

    /// Looks the groups up; the error is a usage error.
    pub(super) fn look_up(&mut self, inventory: &Inventory) -> Result<(), String> {
        self.places = inventory
            .hosts(&self.groups)?
            .into_iter()
            .flatten()
            .collect();
        Ok(())
    }

    /// Whether nothing is left out.
    pub(super) fn are_none(&self) -> bool {
        self.words.is_empty() && self.hosts.is_empty() && self.places.is_empty()
    }

    /// Whether this host, at this place in the inventory, is left out.
    pub(super) fn contain(&self, place: u32, target: &Target) -> bool {
        let by_name = || match &target.endpoint {
            Endpoint::Net { host, .. } | Endpoint::Ssh { host, .. } => {
                self.hosts.contains(&name_of(host))
            }
            Endpoint::Unix(_) => false,
        };
        self.places.contains(&place)
            || self.words.contains(&target.word)
            || !self.hosts.is_empty() && by_name()
    }
}

/// A name in one form: DNS knows no case, RFC 4343.
fn name_of(host: &Host) -> String {
    match host {
        Host::Name(name) => name.to_lowercase(),
        Host::Address(address) => address.to_string(),
        Host::Scoped(address, zone) => format!("{address}%{zone}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_host_is_left_out_in_every_form_and_others_in_their_own() {
        let mut exclusions = Exclusions::default();
        let target = |word| Target::parse(word).expect(word);
        for word in ["web1,udp:web2", "web3:8[0,2]", "::1", "unix:/run/a"] {
            exclusions.add(word).expect(word);
        }
        for word in [
            "web1",
            "WEB1:80",
            "udp:web1",
            "udp:web2",
            "web3:80",
            "[::1]:80",
            "unix:/run/a",
        ] {
            assert!(exclusions.contain(0, &target(word)), "{word}");
        }
        for word in [
            "web2",
            "udp:web3:80",
            "web3",
            "web3:81",
            "web11",
            "::2",
            "unix:/run/b",
        ] {
            assert!(!exclusions.contain(0, &target(word)), "{word}");
        }
    }
}
