//! Groups of hosts, by headings in hosts files, and groups of groups. Pure.
//!
//! A group knows its hosts by their places in the inventory, so that groups cost next to nothing
//! beside the hosts themselves, and other groups by name: they may stand further below.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

/// The longest name of a group, in bytes.
const NAME_MAX: usize = 64;

/// Hosts and groups in the order written.
#[derive(Debug, Default)]
pub(super) struct Members(Vec<Member>);

#[derive(Debug)]
enum Member {
    /// Their places in the inventory.
    Hosts(Range<u32>),
    Group(Reference),
}

/// `@NAME`, and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reference {
    name: String,
    /// `FILE:LINE`; empty on the command line.
    place: String,
}

impl Members {
    /// Adds the host at a place in the inventory.
    pub(super) fn add_host(&mut self, place: u32) {
        self.add_hosts(place..place + 1);
    }

    pub(super) fn add_hosts(&mut self, places: Range<u32>) {
        match self.0.last_mut() {
            Some(Member::Hosts(last)) if last.end == places.start => last.end = places.end,
            _ => self.0.push(Member::Hosts(places)),
        }
    }

    /// Adds `@NAME`.
    pub(super) fn add_group(&mut self, name: &str, origin: Option<(&str, usize)>) {
        let name = name.to_owned();
        let place = origin.map_or(String::new(), |(file, line)| format!("{file}:{line}"));
        self.0.push(Member::Group(Reference { name, place }));
    }

    /// Whether there is an `@NAME` among them.
    pub(super) fn name_groups(&self) -> bool {
        let is_group = |member: &Member| matches!(member, Member::Group(_));
        self.0.iter().any(is_group)
    }

    pub(super) fn append(&mut self, others: Members) {
        for member in others.0 {
            match member {
                Member::Hosts(places) => self.add_hosts(places),
                Member::Group(_) => self.0.push(member),
            }
        }
    }
}

/// An `@NAME` that means no hosts. Shown, it is one line and safe to print: names are plain.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    name: String,
    /// `FILE:LINE`; empty on the command line.
    pub(super) place: String,
    pub(super) why: Why,
}

/// Why an `@NAME` means no hosts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Why {
    Missing,
    Empty,
    /// The group holds itself; the way from it to itself, where it is short enough to read.
    Loop(Vec<String>),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}: ", self.name)?;
        match &self.why {
            Why::Missing => write!(f, "no group of this name"),
            Why::Empty => write!(f, "the group is empty"),
            Why::Loop(way) if way.is_empty() => write!(f, "the group holds itself"),
            Why::Loop(way) => write!(f, "the group holds itself: {}", way.join(", ")),
        }
    }
}

/// All groups, by name.
#[derive(Debug)]
pub(super) struct Groups {
    /// In the order of their headings. The first has no name: what stands before any heading.
    groups: Vec<Group>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug, Default)]
struct Group {
    name: String,
    members: Members,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            groups: vec![Group::default()],
            by_name: HashMap::new(),
        }
    }
}

impl Groups {
    /// The group of what stands before any heading.
    pub(super) const NONE: usize = 0;

    /// The group of this name, made if it is not there yet; the second value tells whether it was.
    pub(super) fn begin(&mut self, name: &str) -> (usize, bool) {
        if let Some(group) = self.by_name.get(name) {
            return (*group, true);
        }
        let (name, members) = (name.to_owned(), Members::default());
        self.by_name.insert(name.clone(), self.groups.len());
        self.groups.push(Group { name, members });
        (self.groups.len() - 1, false)
    }

    pub(super) fn members_mut(&mut self, group: usize) -> &mut Members {
        &mut self.groups[group].members
    }

    /// The places of all hosts that the members mean, in their order, some twice.
    ///
    /// # Errors
    /// What is wrong with a group that the members name, or with the way to it.
    pub(super) fn hosts(&self, members: &Members) -> Result<Vec<Range<u32>>, Problem> {
        let mut walk = Walk::new(self);
        walk.through(None, members);
        let fatal =
            |problem: &Problem| matches!(problem.why, Why::Loop(_)) || problem.place.is_empty();
        match walk.problems.into_iter().find(fatal) {
            Some(problem) => Err(problem),
            None => Ok(walk.hosts),
        }
    }

    /// What is wrong with the groups that lines of files name.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut walk = Walk::new(self);
        for (number, group) in self.groups.iter().enumerate() {
            if walk.states[number] == State::New {
                walk.through(Some(number), &group.members);
            }
        }
        walk.problems
    }
}

/// A group's name, if it can be one: nothing that a HOST may have and a word may not.
///
/// # Errors
/// What is wrong with it, without the name.
pub(super) fn checked(name: &str) -> Result<&str, String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    match (1..=NAME_MAX).contains(&name.len()) && name.chars().all(plain) {
        true => Ok(name),
        false => Err(format!(
            "a group's name is letters, digits, - _ and ., {NAME_MAX} bytes at most"
        )),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

/// Goes through groups of groups, each once. Its own stack: a file may nest them a million deep.
struct Walk<'g> {
    groups: &'g Groups,
    states: Vec<State>,
    stack: Vec<(Option<usize>, std::slice::Iter<'g, Member>)>,
    hosts: Vec<Range<u32>>,
    problems: Vec<Problem>,
}

impl<'g> Walk<'g> {
    fn new(groups: &'g Groups) -> Self {
        Self {
            groups,
            states: vec![State::New; groups.groups.len()],
            stack: Vec::new(),
            hosts: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn through(&mut self, group: Option<usize>, members: &'g Members) {
        self.open(group, members);
        while let Some((group, members)) = self.stack.last_mut() {
            match members.next() {
                Some(Member::Hosts(places)) => self.hosts.push(places.clone()),
                Some(Member::Group(reference)) => self.follow(reference),
                None => {
                    if let Some(group) = *group {
                        self.states[group] = State::Done;
                    }
                    self.stack.pop();
                }
            }
        }
    }

    fn open(&mut self, group: Option<usize>, members: &'g Members) {
        if let Some(group) = group {
            self.states[group] = State::Open;
        }
        self.stack.push((group, members.0.iter()));
    }

    fn follow(&mut self, reference: &'g Reference) {
        let Some(&number) = self.groups.by_name.get(&reference.name) else {
            return self.problem(reference, Why::Missing);
        };
        let group = &self.groups.groups[number];
        if group.members.0.is_empty() {
            self.problem(reference, Why::Empty);
        }
        match self.states[number] {
            State::New => self.open(Some(number), &group.members),
            State::Open => self.problem(reference, Why::Loop(self.way_to(number))),
            State::Done => {}
        }
    }

    /// From an open group to what is open now and back.
    fn way_to(&self, number: usize) -> Vec<String> {
        /// A group in itself needs no way; a longer one than this nobody reads.
        const READABLE: std::ops::RangeInclusive<usize> = 2..=8;
        let way = self
            .stack
            .iter()
            .skip_while(|(group, _)| *group != Some(number));
        let way: Vec<usize> = way.filter_map(|(group, _)| *group).collect();
        if !READABLE.contains(&way.len()) {
            return Vec::new();
        }
        let groups = way.iter().chain([&number]);
        groups
            .map(|group| self.groups.groups[*group].name.clone())
            .collect()
    }

    fn problem(&mut self, reference: &Reference, why: Why) {
        self.problems.push(Problem {
            name: reference.name.clone(),
            place: reference.place.clone(),
            why,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups by their names and members: numbers are hosts, names are groups.
    fn groups(written: &[(&str, &[&str])]) -> Groups {
        let mut groups = Groups::default();
        for (line, (name, members)) in written.iter().enumerate() {
            let group = match *name {
                "" => Groups::NONE,
                name => groups.begin(name).0,
            };
            for member in *members {
                let into = groups.members_mut(group);
                match member.parse() {
                    Ok(place) => into.add_host(place),
                    Err(_) => into.add_group(member, Some(("F", line))),
                }
            }
        }
        groups
    }

    fn asked(groups: &Groups, name: &str) -> Result<Vec<u32>, String> {
        let mut members = Members::default();
        members.add_group(name, None);
        let hosts = groups
            .hosts(&members)
            .map_err(|problem| problem.to_string())?;
        Ok(hosts.into_iter().flatten().collect())
    }

    #[test]
    fn groups_of_groups_are_hosts_in_the_order_written() {
        let groups = groups(&[
            ("", &["0"]),
            ("all", &["web", "9", "db"]),
            ("web", &["1", "2", "3", "7"]),
            ("db", &["4", "web"]),
        ]);
        assert_eq!(asked(&groups, "web").unwrap(), [1, 2, 3, 7]);
        assert_eq!(asked(&groups, "all").unwrap(), [1, 2, 3, 7, 9, 4]);
        assert_eq!(groups.problems(), []);
    }

    #[test]
    fn a_group_that_means_nothing_is_told_by_its_name() {
        let groups = groups(&[
            ("a", &["b"]),
            ("b", &["1", "c"]),
            ("c", &["a", "nobody"]),
            ("self", &["self"]),
            ("empty", &[]),
            ("good", &["5", "empty"]),
        ]);
        let told = |name| asked(&groups, name).unwrap_err();
        assert_eq!(told("nobody"), "@nobody: no group of this name");
        assert_eq!(told("empty"), "@empty: the group is empty");
        assert_eq!(told("self"), "@self: the group holds itself");
        assert_eq!(told("a"), "@a: the group holds itself: a, b, c, a");
        assert_eq!(told("c"), "@c: the group holds itself: c, a, b, c");
        // A bad line of a file is told, and the others count.
        assert_eq!(asked(&groups, "good").unwrap(), [5]);
        let problems: Vec<_> = groups
            .problems()
            .into_iter()
            .map(|p| (p.place.clone(), p.to_string()))
            .collect();
        let problem = |place: &str, text: &str| (place.to_owned(), text.to_owned());
        assert_eq!(
            problems,
            [
                problem("F:2", "@a: the group holds itself: a, b, c, a"),
                problem("F:2", "@nobody: no group of this name"),
                problem("F:3", "@self: the group holds itself"),
                problem("F:5", "@empty: the group is empty"),
            ]
        );
    }

    #[test]
    fn attack_deep_and_wide_groups_take_linear_time() {
        let mut groups = Groups::default();
        let depth = 100_000;
        for level in 0..depth {
            let (group, _) = groups.begin(&format!("g{level}"));
            let members = groups.members_mut(group);
            // Twice: to expand both would double the hosts at each level.
            members.add_group(&format!("g{}", level + 1), Some(("F", 1)));
            members.add_group(&format!("g{}", level + 1), Some(("F", 1)));
        }
        let (last, _) = groups.begin(&format!("g{depth}"));
        groups.members_mut(last).add_host(7);
        assert_eq!(asked(&groups, "g0").unwrap(), [7]);
        groups.members_mut(last).add_group("g0", Some(("F", 1)));
        assert_eq!(
            asked(&groups, "g0").unwrap_err(),
            "@g0: the group holds itself"
        );
    }

    #[test]
    fn names_are_plain() {
        for name in ["web", "rack-1_a.b", "2024", "bücher"] {
            assert_eq!(checked(name), Ok(name), "{name}");
        }
        for name in [
            "",
            "a b",
            "a,b",
            "@a",
            "[a",
            "a:b",
            "a/b",
            "\u{202e}",
            &"x".repeat(65),
        ] {
            assert!(checked(name).is_err(), "{name:?}");
        }
    }
}
