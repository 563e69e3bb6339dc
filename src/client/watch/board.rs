//! Everything that is watched, host by host. Pure.
//!
//! Comes in: the answers, one by one, or all of a round. Goes out: hosts in the order in which they
//! are shown. It keeps one answer of each host and one mark of each kind, however long it goes on.

use std::collections::{HashMap, HashSet};

use super::changes::{Change, History};
use super::marks::Marks;
use crate::client::answer::{Answer, Status};
use crate::client::memory::Past;
use crate::client::output::conditions::{Condition, all_hold};
use crate::client::output::sort::{Facts, compare};
use crate::client::output::{Counts, Settings, is_success};

/// One host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    /// The last one; None: it was not answered yet.
    pub(super) last: Option<Last>,
    pub(super) marks: Marks,
    history: History,
}

/// What is known of a host that has answered, or has not in time.
#[derive(Debug)]
pub(super) struct Last {
    pub(super) answer: Answer,
    /// What was known before.
    pub(super) past: Past,
    pub(super) change: Change,
}

impl Host {
    fn new(name: &str) -> Host {
        Host {
            name: name.to_owned(),
            last: None,
            marks: Marks::default(),
            history: History::default(),
        }
    }

    fn facts(&self) -> Facts<'_> {
        let last = self.last.as_ref();
        Facts {
            host: &self.name,
            report: last.and_then(|last| last.answer.outcome.report()),
        }
    }

    /// `--where`: one that has not answered yet fulfils no condition.
    fn fulfils(&self, conditions: &[Condition]) -> bool {
        let Some(last) = &self.last else {
            return conditions.is_empty();
        };
        let rebooted = last.change.is_reboot() || self.marks.has_rebooted();
        all_hold(conditions, &last.answer, rebooted)
    }
}

/// All hosts.
#[derive(Debug)]
pub(super) struct Board {
    hosts: Vec<Host>,
    /// Where each host is that came with a round.
    places: HashMap<String, usize>,
    most: usize,
}

impl Board {
    /// Of hosts that are known from the start.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Board {
        Board {
            hosts: names.map(Host::new).collect(),
            ..Board::of_rounds(usize::MAX)
        }
    }

    /// Of those that come with rounds, the first `most` of them: a forger who answers a search from
    /// ever new addresses gets no more, and drives no machine out that was there before.
    pub(super) fn of_rounds(most: usize) -> Board {
        Board {
            hosts: Vec::new(),
            places: HashMap::new(),
            most,
        }
    }

    pub(super) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Takes the answer of one host, with what was known of it before.
    pub(super) fn put(&mut self, place: usize, answer: Answer, past: Past) {
        let host = &mut self.hosts[place];
        // Earlier calls may know of a reboot that this one has not seen.
        let change = match host.history.note(&answer) {
            Change::None if past.rebooted => Change::Rebooted,
            other => other,
        };
        host.marks.note(change, answer.at);
        host.last = Some(Last {
            answer,
            past,
            change,
        });
    }

    /// Takes a round in; hosts that are not in it are down: a search finds its hosts anew each time.
    /// False where there was no room for all of them.
    pub(super) fn put_round(
        &mut self,
        answers: Vec<Answer>,
        mut past: impl FnMut(&Answer) -> Past,
    ) -> bool {
        let machines = answers.iter().filter_map(|answer| answer.machine.as_ref());
        let addresses = machines.flat_map(|machine| machine.addresses.iter().cloned());
        let mut under_name: HashSet<String> = addresses.collect();
        answers.iter().for_each(|answer| {
            under_name.remove(&answer.host);
        });
        self.forget(&under_name);
        let absent = self.absent(&answers);
        let mut has_room = true;
        for answer in answers.into_iter().chain(absent) {
            match self.place(&answer.host) {
                Some(place) => {
                    let past = past(&answer);
                    self.put(place, answer, past);
                }
                None => has_room = false,
            }
        }
        has_room
    }

    /// Those that came with an earlier round and not with this one.
    fn absent(&self, answers: &[Answer]) -> Vec<Answer> {
        let here: HashSet<&str> = answers.iter().map(|answer| answer.host.as_str()).collect();
        let names = self.hosts.iter().map(|host| host.name.as_str());
        let gone = names.filter(|name| !here.contains(name));
        gone.map(|name| Answer::down(name, "no answer")).collect()
    }

    /// Drops rows: an address whose name was not known yet has a row under its name now.
    fn forget(&mut self, names: &HashSet<String>) {
        if self.hosts.iter().any(|host| names.contains(&host.name)) {
            self.hosts.retain(|host| !names.contains(&host.name));
            let places = self.hosts.iter().enumerate();
            self.places = places.map(|(at, host)| (host.name.clone(), at)).collect();
        }
    }

    /// Of a host that came with a round; None where there are too many already.
    fn place(&mut self, name: &str) -> Option<usize> {
        if let Some(place) = self.places.get(name) {
            return Some(*place);
        }
        let place = self.hosts.len();
        (place < self.most).then(|| {
            self.hosts.push(Host::new(name));
            self.places.insert(name.to_owned(), place);
            place
        })
    }

    /// All marks go.
    pub(super) fn clear(&mut self) {
        for host in &mut self.hosts {
            host.marks = Marks::default();
        }
    }

    /// Whether there are hosts, and each one's last answer was one.
    pub(super) fn is_good(&self, settings: &Settings) -> bool {
        let good = |last: &Last| is_success(settings.format, &last.answer.outcome);
        let all = self
            .hosts
            .iter()
            .all(|host| host.last.as_ref().is_some_and(good));
        all && !self.hosts.is_empty()
    }

    /// How many are up, down and neither, and how many have not answered yet.
    pub(super) fn counts(&self) -> (Counts, usize) {
        let last = self.hosts.iter().filter_map(|host| host.last.as_ref());
        let counts: Counts = last.map(|last| &last.answer).collect();
        (counts, self.hosts.len() - counts.hosts())
    }

    /// The places of the hosts that are shown, in the order in which they are.
    pub(super) fn order(&self, settings: &Settings, conditions: &[Condition]) -> Vec<usize> {
        let shown = |place: &usize| self.hosts[*place].fulfils(conditions);
        let mut order: Vec<usize> = (0..self.hosts.len()).filter(shown).collect();
        match settings.sort {
            Some(key) => order.sort_by(|a, b| {
                let facts = |place: &usize| self.hosts[*place].facts();
                compare(facts(a), facts(b), key, settings.reverse)
            }),
            None if settings.reverse => order.reverse(),
            None => {}
        }
        order
    }

    /// What grows with the hosts, and must not with time.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.hosts.len(), self.places.len()]
    }
}

impl Last {
    pub(super) fn status(&self) -> Status {
        self.answer.outcome.status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::Machine;
    use crate::client::answer::samples::{down, up};
    use std::time::{Duration, SystemTime};

    const HOSTS: usize = 20;

    fn name(number: usize) -> String {
        format!("web{number}")
    }

    /// A day of questions, one a minute: a third of the hosts come and go, another one reboots.
    #[test]
    fn left_open_for_a_day_it_does_not_grow() {
        let names: Vec<_> = (0..HOSTS).map(name).collect();
        let mut watched = Board::of(names.iter().map(String::as_str));
        let mut searched = Board::of_rounds(HOSTS + 5);
        let mut sizes = Vec::new();
        for minute in 0..24 * 60_u64 {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(60 * minute);
            let answers = (0..HOSTS).map(|number| {
                let answer = match number % 3 {
                    0 if minute / 5 % 2 == 1 => down(&name(number), "connection refused"),
                    1 => up(&name(number), 60 * (minute % 7), Some(1), None),
                    _ => up(&name(number), 60 * minute, Some(1), None),
                };
                Answer { at, ..answer }
            });
            let answers: Vec<_> = answers.collect();
            for (place, answer) in answers.iter().enumerate() {
                watched.put(place, answer.clone(), Past::default());
            }
            // Machines of one round only, as a forger has them.
            let forged = (0..3).map(|n| up(&format!("forged{minute}-{n}"), 60, None, None));
            let found = answers
                .into_iter()
                .filter(|answer| answer.outcome.report().is_some());
            searched.put_round(found.chain(forged).collect(), |_| Past::default());
            sizes.push([watched.sizes(), searched.sizes()]);
        }
        assert_eq!(sizes.last(), sizes.get(30), "it grows");
        assert_eq!(watched.sizes()[0], HOSTS);
        assert!(
            searched.sizes().iter().all(|size| *size <= HOSTS + 5),
            "{sizes:?}"
        );
    }

    #[test]
    fn hosts_are_counted_and_sorted_before_and_after_they_answer() {
        let settings = Settings::new(crate::client::output::Format::Table, true);
        let mut board = Board::of(["a", "b", "c"].into_iter());
        assert_eq!(board.order(&settings, &[]), [0, 1, 2]);
        assert!(!board.is_good(&settings));
        board.put(1, up("b", 60, None, None), Past::default());
        let (counts, waiting) = board.counts();
        assert_eq!((counts.to_string(), waiting), ("1 up".to_owned(), 2));
        board.put(0, down("a", "no"), Past::default());
        let is_up = [Condition::parse("up").unwrap()];
        assert_eq!(board.order(&settings, &is_up), [1]);
        let by_name = Settings {
            sort: Some(crate::client::output::sort::Key::Name),
            ..settings
        };
        assert_eq!(board.order(&by_name, &[]), [1, 0, 2]);
        board.put(0, up("a", 60, None, None), Past::default());
        board.put(2, up("c", 60, None, None), Past::default());
        assert!(board.is_good(&settings));
    }

    /// Takes a round in, and gives each host with what is new about it.
    fn round<'a>(board: &'a mut Board, answers: &[Answer]) -> Vec<(&'a str, Change)> {
        board.put_round(answers.to_vec(), |_| Past::default());
        let hosts = board.hosts.iter();
        hosts
            .filter_map(|host| Some((host.name.as_str(), host.last.as_ref()?.change)))
            .collect()
    }

    #[test]
    fn hosts_do_not_mix_whatever_their_order() {
        let mut board = Board::of_rounds(99);
        let (a, b) = (
            |minutes: u64| up("a", 60 * minutes, None, None),
            up("b", 60, None, None),
        );
        let first = [("a", Change::None), ("b", Change::None)];
        assert_eq!(round(&mut board, &[a(500), b.clone()]), first);
        let second = [("a", Change::Rebooted), ("b", Change::None)];
        assert_eq!(round(&mut board, &[b, a(0)]), second);
    }

    #[test]
    fn a_machine_that_is_found_no_more_is_down_until_it_is_found_again() {
        let mut board = Board::of_rounds(99);
        let (a, b) = (up("a", 60, None, None), up("b", 60, None, None));
        round(&mut board, &[a.clone(), b.clone()]);
        let told = round(&mut board, std::slice::from_ref(&b));
        assert!(
            matches!(told[..], [("a", Change::Since(_)), ("b", Change::None)]),
            "{told:?}"
        );
        let gone = &board.hosts[0].last.as_ref().unwrap().answer;
        assert_eq!(gone.outcome.reason(), Some("no answer"));
        let back = Change::BackUp { rebooted: false };
        assert_eq!(round(&mut board, &[a, b])[0], ("a", back));
    }

    #[test]
    fn a_machine_whose_name_is_known_now_has_no_row_under_its_address_any_more() {
        let mut board = Board::of_rounds(99);
        round(&mut board, &[up("192.0.2.7", 60, None, None)]);
        let mut named = up("web1", 60, None, None);
        let addresses = ["fe80::7%eth0", "192.0.2.7"].map(str::to_owned).to_vec();
        named.machine = Some(Box::new(Machine { addresses }));
        assert_eq!(round(&mut board, &[named]), [("web1", Change::None)]);
        // Nor once the machine is gone.
        let told = round(&mut board, &[]);
        assert!(matches!(told[..], [("web1", Change::Since(_))]), "{told:?}");
    }

    #[test]
    fn attack_ever_new_hosts_drive_out_none_that_was_there_before() {
        let mut board = Board::of_rounds(2);
        let forged = |n: usize| up(&format!("forged{n}"), 60, None, None);
        let (a, b) = (
            |minutes: u64| up("a", 60 * minutes, None, None),
            up("b", 60, None, None),
        );
        let mut put = |answers| board.put_round(answers, |_| Past::default());
        assert!(put(vec![a(5), b]));
        assert!(!put((0..99).map(forged).collect()), "there was no room");
        assert_eq!(board.sizes(), [2, 2]);
        let back = Change::BackUp { rebooted: true };
        assert_eq!(round(&mut board, &[a(0)])[0], ("a", back));
    }
}
