//! When each host last answered, and when it had booted: what BSD's ruptime knew from rwhod.
//!
//! Comes in: answers. Goes out: what was known of a host before. The file is read once, at the
//! start; at the end it is read again under a lock, brought up to date and replaced whole, so that
//! calls side by side lose nothing. Whatever is wrong with it costs one line, never an answer.

mod file;

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use self::file::Store;
use super::answer::{Answer, Status, unix_seconds};
use crate::cli::complain;

/// Hosts that were not seen for so long are forgotten, seconds: 400 days.
const FORGET: i64 = 400 * 86_400;
/// The most hosts that one file keeps.
pub(crate) const MOST: usize = 65_536;
/// How often a watch that goes on is written to the file.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// uptime(1) tells whole minutes, and the clock of this machine may be set by a little.
const RESOLUTION: i64 = 60;

/// What is known of one host. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// When it last answered.
    pub(crate) last: i64,
    /// When it had booted, to a minute; None where no answer has said so.
    pub(crate) boot: Option<i64>,
}

impl Seen {
    /// Whether a host that says now (`at`) that it is up for `uptime` seconds has booted since
    /// then: it has booted later than it had, or has been up for less than the time since it
    /// last answered.
    pub(crate) fn has_rebooted(&self, at: i64, uptime: i64) -> bool {
        let boot = at.saturating_sub(uptime);
        let later = |than: i64| boot > than.saturating_add(RESOLUTION);
        later(self.last) || self.boot.is_some_and(later)
    }
}

/// What was known of a host before it was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    last: Option<i64>,
    /// It has booted since.
    pub rebooted: bool,
}

impl Past {
    /// Of a host that was seen at that time.
    #[cfg(test)]
    pub(crate) fn seen(at: u64, rebooted: bool) -> Past {
        let last = i64::try_from(at).ok();
        Past { last, rebooted }
    }

    /// When the host last answered, seconds since 1970: now, if it did.
    pub fn last_seen(&self, answer: &Answer) -> Option<i64> {
        match answer.outcome.status() {
            Status::Up | Status::Error => unix_seconds(answer.at),
            Status::Down => self.last,
        }
    }

    /// For how long a host that does not answer has not; None where nobody knows.
    pub fn silence(&self, answer: &Answer) -> Option<Duration> {
        let now = unix_seconds(answer.at)?;
        let last = self
            .last
            .filter(|_| answer.outcome.status() == Status::Down)?;
        Some(Duration::from_secs(
            now.saturating_sub(last).try_into().unwrap_or(0),
        ))
    }
}

/// The memory of one call: what is read, noted and written in its course.
#[derive(Debug)]
pub(crate) struct Recorder {
    store: Store,
    memory: Memory,
    /// What is wrong is said on standard error.
    is_loud: bool,
    saved: Option<Instant>,
}

impl Recorder {
    /// Reads the memory for a call that asks this many hosts; None where there is no place for one,
    /// or there are too many hosts.
    pub(crate) fn open(hosts: usize, is_loud: bool) -> Option<Recorder> {
        let folder = folder()?;
        if hosts > MOST {
            if is_loud {
                complain(
                    "ruptime",
                    format_args!("more than {MOST} hosts: none is remembered"),
                );
            }
            return None;
        }
        let mut store = Store::new(folder);
        let (memory, complaint) = store.load();
        let recorder = Recorder {
            store,
            memory,
            is_loud,
            saved: None,
        };
        recorder.complain(complaint);
        Some(recorder)
    }

    /// Notes an answer, and gives what was known of its host before.
    pub(crate) fn note(&mut self, answer: &Answer) -> Past {
        let Some(at) = unix_seconds(answer.at) else {
            return Past::default();
        };
        let report = answer.outcome.report();
        let uptime = report.and_then(|report| i64::try_from(report.uptime.as_secs()).ok());
        let before = self.memory.seen(&answer.host);
        let rebooted = uptime
            .zip(before)
            .is_some_and(|(uptime, seen)| seen.has_rebooted(at, uptime));
        if answer.outcome.status() != Status::Down {
            self.memory.note(&answer.host, at, uptime);
        }
        Past {
            last: before.map(|seen| seen.last),
            rebooted,
        }
    }

    /// Adds what was noted to the file, where that was long ago: `--watch` may ask every second.
    pub(crate) fn save_now_and_then(&mut self) {
        if self.saved.is_none_or(|at| at.elapsed() > SAVE_EVERY) {
            self.saved = Some(Instant::now());
            self.save();
        }
    }

    /// Adds what was noted to the file.
    pub(crate) fn save(&mut self) {
        if let Some(now) = unix_seconds(SystemTime::now()) {
            let complaint = self.store.save(&self.memory, now).err();
            self.complain(complaint);
        }
    }

    fn complain(&self, complaint: Option<String>) {
        if let Some(line) = complaint.filter(|_| self.is_loud) {
            complain("ruptime", format_args!("memory: {line}"));
        }
    }
}

/// Notes an answer, where anything is remembered, and gives what was known of its host before.
pub(crate) fn note(recorder: &mut Option<Recorder>, answer: &Answer) -> Past {
    recorder
        .as_mut()
        .map_or_else(Past::default, |recorder| recorder.note(answer))
}

/// What is known of all hosts, and what this call has learned.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    known: HashMap<String, Seen>,
    learned: HashMap<String, Seen>,
}

impl Memory {
    /// What is known of `host`.
    pub(crate) fn seen(&self, host: &str) -> Option<Seen> {
        let learned = self.learned.get(host);
        learned.or_else(|| self.known.get(host)).copied()
    }

    /// Notes that `host` answered at `at`; `uptime` in seconds, where it said so.
    pub(crate) fn note(&mut self, host: &str, at: i64, uptime: Option<i64>) {
        let boot = uptime.map(|uptime| at.saturating_sub(uptime));
        let boot = boot.or(self.seen(host).and_then(|seen| seen.boot));
        self.learned
            .insert(host.to_owned(), Seen { last: at, boot });
    }

    /// Puts what this call has learned into what the file says by now, and forgets whom nobody
    /// has seen for long. Another call's answer that is younger stays, unless it is from the
    /// future: then a clock was wrong.
    fn merge_into(&self, file: &mut HashMap<String, Seen>, now: i64) {
        for (host, ours) in &self.learned {
            let younger = |theirs: &Seen| theirs.last > ours.last && theirs.last <= now;
            if !file.get(host).is_some_and(younger) {
                file.insert(host.clone(), *ours);
            }
        }
        file.retain(|_, seen| seen.last > now.saturating_sub(FORGET));
    }
}

/// The file's folder: `$XDG_STATE_HOME/ruptime`, else `~/.local/state/ruptime` (XDG Base Directory
/// Specification). None without either: then there is no place to remember anything.
pub(crate) fn folder() -> Option<PathBuf> {
    // A home that is not there, as system users have it, must not come about by this.
    let home = env::var_os("HOME").filter(|home| Path::new(home).is_dir());
    folder_from(env::var_os("XDG_STATE_HOME"), home)
}

/// A variable that is unset, empty or not absolute does not count.
fn folder_from(state: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|p| p.is_absolute());
    let state = absolute(state).or_else(|| absolute(home).map(|home| home.join(".local/state")));
    state.map(|state| state.join("ruptime"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_795_371_389;

    #[test]
    fn a_later_boot_is_a_reboot() {
        let seen = Seen {
            last: NOW - 60,
            boot: Some(NOW - DAY),
        };
        assert!(!seen.has_rebooted(NOW, DAY));
        assert!(!seen.has_rebooted(NOW, DAY - 60), "a minute is rounding");
        assert!(seen.has_rebooted(NOW, DAY - 61));
        assert!(!seen.has_rebooted(NOW, DAY + 3600), "a clock that was set");
    }

    #[test]
    fn an_uptime_shorter_than_the_silence_is_a_reboot() {
        let seen = Seen {
            last: NOW - 3600,
            boot: None,
        };
        assert!(seen.has_rebooted(NOW, 3000));
        assert!(!seen.has_rebooted(NOW, 3600));
        assert!(!seen.has_rebooted(NOW, 3541), "a minute is rounding");
    }

    #[test]
    fn the_younger_answer_stays() {
        let mut memory = Memory::default();
        memory.note("a", NOW, Some(DAY));
        memory.note("b", NOW, None);
        memory.note("c", NOW, Some(60));
        let old = |last| Seen {
            last,
            boot: Some(5),
        };
        let mut file = HashMap::from([
            ("a".to_owned(), old(NOW - 5)),
            ("b".to_owned(), old(NOW + 2)),
            ("c".to_owned(), old(NOW + 9 * DAY)),
            ("d".to_owned(), old(NOW - 399 * DAY)),
            ("e".to_owned(), old(NOW - 401 * DAY)),
        ]);
        memory.merge_into(&mut file, NOW + 3);
        assert_eq!(file.len(), 4);
        assert_eq!(file["a"].boot, Some(NOW - DAY));
        assert_eq!(file["b"], old(NOW + 2), "another call was later");
        assert_eq!(file["c"].last, NOW, "from the future");
        assert_eq!(file["d"], old(NOW - 399 * DAY));
    }

    #[test]
    fn an_answer_without_an_uptime_keeps_the_boot() {
        let mut memory = Memory::default();
        memory.known.insert(
            "a".to_owned(),
            Seen {
                last: 1,
                boot: Some(0),
            },
        );
        memory.note("a", NOW, None);
        let expected = Seen {
            last: NOW,
            boot: Some(0),
        };
        assert_eq!(memory.learned["a"], expected);
        assert_eq!(memory.seen("a"), Some(expected));
    }

    #[test]
    fn the_folder_is_where_the_specification_has_it() {
        let folder = |state: &str, home: &str| folder_from(Some(state.into()), Some(home.into()));
        assert_eq!(folder("/s", "/h"), Some("/s/ruptime".into()));
        assert_eq!(folder("", "/h"), Some("/h/.local/state/ruptime".into()));
        assert_eq!(folder("s", "/h"), Some("/h/.local/state/ruptime".into()));
        assert_eq!(folder("", ""), None);
        assert_eq!(folder_from(None, None), None);
    }
}
