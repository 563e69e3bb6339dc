//! Which hosts are asked: the command line, hosts files, their groups, and what is left out.
//!
//! Comes in: words and files. Goes out: the targets in the order given, each word once, and what was
//! wrong with single lines of a file. A bad word on the command line or a file that cannot be
//! read is a usage error; a bad line is only told, since the other hosts can still be asked.
//!
//! - `file`: bytes → lines; `ranges`: a word → the words that it stands for; `target`: a word →
//!   where to ask;
//! - `inventory`: every host that words and files name, once, in the order of their first mention;
//! - `groups`: which of them `@NAME` means; `exclude`: which of them `-x` means;
//! - `targets`: those that are asked, each read when its turn comes.

mod exclude;
mod file;
mod groups;
pub(crate) mod inventory;
pub(crate) mod ranges;
pub mod target;
pub(crate) mod targets;

use std::env;
use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;

use self::exclude::Exclusions;
use self::groups::Members;
use self::inventory::Inventory;
use self::target::Target;
use self::targets::Targets;
use super::words::Words;
use crate::escape;

/// The file for everybody; the last of the default files.
const SYSTEM_FILE: &str = "/etc/ruptime/hosts";

/// The hosts to ask.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// In the order given, no word twice.
    pub(crate) targets: Targets,
    /// Bad lines, each told in one line with its file and number.
    pub(crate) complaints: Vec<String>,
}

/// The files that are read when no host is named, in this order; the first that exists counts.
pub fn default_files() -> Vec<PathBuf> {
    default_files_from(env::var_os("XDG_CONFIG_HOME"), env::var_os("HOME"))
}

/// XDG Base Directory Specification: unset, empty or not absolute, `$HOME/.config` stands in.
fn default_files_from(config: Option<OsString>, home: Option<OsString>) -> Vec<PathBuf> {
    let absolute =
        |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute(config).or_else(|| absolute(home).map(|home| home.join(".config")));
    let own = config.map(|config| config.join("ruptime/hosts"));
    own.into_iter()
        .chain([PathBuf::from(SYSTEM_FILE)])
        .collect()
}

/// Collects what words and files name, less what is `excluded`, which are words, too. Without words
/// and files the default files count. The error is one line, a usage error.
pub(crate) fn gather(
    words: &[String],
    files: &[PathBuf],
    excluded: &[String],
) -> Result<Hosts, String> {
    let mut inventory = Inventory::default();
    let mut asked = Members::default();
    for word in words {
        asked.append(
            inventory
                .add(word, None)
                .map_err(|reason| told(word, &reason))?,
        );
    }
    let mut exclusions = Exclusions::default();
    for word in excluded {
        exclusions.add(word).map_err(|reason| told(word, &reason))?;
    }
    let of_words = inventory.len();
    let lists = !files.is_empty() || words.is_empty();
    if lists || asked.name_groups() || exclusions.name_groups() {
        inventory.read_files(files, &default_files(), lists)?;
    }
    // With an @GROUP the files only say what it means.
    if lists && !asked.name_groups() {
        asked.add_hosts(of_words..inventory.len());
    }
    let places = inventory.hosts(&asked)?;
    exclusions.look_up(&inventory)?;
    if let Some(line) = inventory.nothing_to_ask() {
        return Err(line);
    }
    let (all, complaints) = inventory.finish();
    let targets = pick(all, &places, &exclusions);
    if targets.is_empty() && !exclusions.are_none() {
        return Err("--exclude leaves no host".to_owned());
    }
    Ok(Hosts {
        targets,
        complaints,
    })
}

/// What is wrong with a word: one line without the word itself, safe to print.
fn bad<T>(reason: impl Into<String>) -> Result<T, String> {
    Err(reason.into())
}

/// What is wrong with a word of the command line.
fn told(word: &str, reason: &str) -> String {
    match word {
        "" => format!("'': {reason}"),
        word => format!("{}: {reason}", escape::line(word.as_bytes())),
    }
}

/// The targets at these places, each once, without those that are left out.
fn pick(all: Words, places: &[Range<u32>], exclusions: &Exclusions) -> Targets {
    let is_all = matches!(places, [range] if range.start == 0 && range.len() == all.len());
    if is_all && exclusions.are_none() {
        return Targets::all(all);
    }
    let mut is_taken = vec![false; all.len()];
    let is_left_out = |place: u32, word: &str| {
        !exclusions.are_none()
            && Target::parse(word).is_ok_and(|target| exclusions.contain(place, &target))
    };
    let picked = places.iter().flat_map(Range::clone).filter(|&place| {
        let at = place as usize;
        let is_again = std::mem::replace(&mut is_taken[at], true);
        !is_again && !is_left_out(place, all.get(at))
    });
    let picked = picked.collect();
    Targets::picked(all, picked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_files_follow_xdg() {
        let files = |config: Option<&str>, home: Option<&str>| {
            default_files_from(config.map(Into::into), home.map(Into::into))
        };
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        let (own, system) = ("/c/ruptime/hosts", "/etc/ruptime/hosts");
        assert_eq!(files(Some("/c"), Some("/h")), paths(&[own, system]));
        let fallback = paths(&["/h/.config/ruptime/hosts", system]);
        assert_eq!(files(None, Some("/h")), fallback);
        assert_eq!(files(Some(""), Some("/h")), fallback);
        assert_eq!(files(Some("relative"), Some("/h")), fallback);
        assert_eq!(files(None, None), paths(&[system]));
    }
}
