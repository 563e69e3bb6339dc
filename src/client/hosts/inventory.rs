//! Every host that words and files name, once, in the order of their first mention, and the groups
//! that files make of them.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::bad;
use super::file::{FILE_MAX, Line, Lines, shown};
use super::groups::{self, Groups, Members, Problem, Why};
use super::ranges::{self, Expansion, HOSTS_MAX};
use super::target::Target;
use crate::cli::io_words;
use crate::client::words::{WordSet, Words};
use crate::escape;

/// How many bad lines of one file are told one by one; then only their number is.
const TOLD_MAX: usize = 20;

/// Where a word of a file stands: the file's name and the line's number.
pub(super) type Origin<'a> = (&'a str, usize);

/// Hosts, groups of them, and what was wrong with lines.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// Each of them is a HOST.
    words: WordSet,
    groups: Groups,
    expansion: Expansion,
    complaints: Vec<String>,
    /// The names of the files that were read.
    files: Vec<String>,
    /// The last file in which there was nothing; no error where another names a host.
    empty: Option<String>,
}

impl Inventory {
    /// How many hosts there are.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.words.len()).expect("HOSTS_MAX at most")
    }

    /// The hosts' words, and the complaints about lines.
    pub(crate) fn finish(self) -> (Words, Vec<String>) {
        (self.words.into_words(), self.complaints)
    }

    /// Adds what a word of the command line or of a file means: HOSTs in any form, ranges, groups.
    ///
    /// # Errors
    /// What is wrong with it, without the word; then nothing is added.
    pub(super) fn add(
        &mut self,
        word: &str,
        origin: Option<Origin<'_>>,
    ) -> Result<Members, String> {
        let before = self.words.len();
        let mut members = Members::default();
        let mut expansion = std::mem::take(&mut self.expansion);
        let added = expansion.expand(word, |word| {
            match word.strip_prefix('@') {
                Some(name) => members.add_group(groups::checked(name)?, origin),
                None => members.add_host(self.add_host(word)?),
            }
            Ok(())
        });
        self.expansion = expansion;
        if let Err(reason) = added {
            self.words.truncate(before);
            return Err(reason);
        }
        Ok(members)
    }

    fn add_host(&mut self, word: &str) -> Result<u32, String> {
        if let Some(place) = self.words.place(word) {
            return Ok(place);
        }
        Target::parse(word)?;
        if self.words.len() == HOSTS_MAX {
            return bad(ranges::TOO_MANY);
        }
        self.words
            .add(word)
            .ok_or_else(|| "more than 4 GiB of hosts".to_owned())
    }

    /// The places of the hosts that members mean; the error is a usage error.
    pub(super) fn hosts(&self, members: &Members) -> Result<Vec<Range<u32>>, String> {
        self.groups
            .hosts(members)
            .map_err(|problem| match problem.why {
                Why::Missing if self.files.is_empty() => {
                    format!("{problem}: there is no hosts file")
                }
                Why::Missing => format!("{problem} in {}", self.files.join(" or ")),
                Why::Empty | Why::Loop(_) => problem.to_string(),
            })
    }

    /// What to say where no file named a host and no bad line was told.
    pub(crate) fn nothing_to_ask(&self) -> Option<String> {
        let silent = self.words.len() == 0 && self.complaints.is_empty();
        let name = self.empty.as_ref().filter(|_| silent)?;
        Some(format!("{name}: names no host"))
    }

    /// Reads these files, or else the first of the default files that is there, which `must` be
    /// there where it is to list the hosts.
    pub(super) fn read_files(
        &mut self,
        files: &[PathBuf],
        default: &[PathBuf],
        must: bool,
    ) -> Result<(), String> {
        for path in files {
            if path == Path::new("-") {
                self.read("standard input", io::stdin().lock())?;
            } else {
                self.read_file(path, true)?;
            }
        }
        if files.is_empty() && !self.read_default(default)? && must {
            let names: Vec<_> = default.iter().map(|file| name_of(file)).collect();
            return Err(format!(
                "no HOST, no --hosts-file, and no {} (see ruptime --help)",
                names.join(" or ")
            ));
        }
        let problems = self.groups.problems();
        self.complain_of(&problems);
        Ok(())
    }

    fn read_default(&mut self, files: &[PathBuf]) -> Result<bool, String> {
        for file in files {
            if self.read_file(file, false)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the file was there; one that `must` be there and is not is an error.
    fn read_file(&mut self, path: &Path, must: bool) -> Result<bool, String> {
        let name = name_of(path);
        let file = match File::open(path) {
            Ok(file) => file,
            // ENOTDIR: somebody's ~/.config is a file. No reason to refuse to look further.
            Err(error)
                if !must
                    && matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(format!("{name}: {}", io_words(&error))),
        };
        self.read(&name, BufReader::new(file))?;
        Ok(true)
    }

    /// Reads hosts, one a line, and their groups.
    pub(crate) fn read(&mut self, name: &str, input: impl BufRead) -> Result<(), String> {
        let mut lines = Lines::new(input);
        let mut group = Groups::NONE;
        let (mut hosts, mut bad) = (0_usize, 0_usize);
        while let Some(line) = lines
            .next()
            .map_err(|error| format!("{name}: {}", io_words(&error)))?
        {
            match line.and_then(|line| self.line(&line, (name, lines.number), &mut group)) {
                Ok(has_host) => hosts += usize::from(has_host),
                Err(reason) => {
                    bad += 1;
                    if bad <= TOLD_MAX {
                        self.complaints
                            .push(format!("{name}:{}: {reason}", lines.number));
                    }
                }
            }
        }
        if bad > TOLD_MAX {
            self.complaints
                .push(format!("{name}: {} more bad lines", bad - TOLD_MAX));
        }
        if lines.is_too_long() {
            return Err(format!("{name}: more than {} MiB", FILE_MAX / 1024 / 1024));
        }
        if hosts == 0 && bad == 0 {
            self.empty = Some(name.to_owned());
        }
        self.files.push(name.to_owned());
        Ok(())
    }

    /// Takes a line; whether it has a host. `group` is the one whose heading was last.
    fn line(&mut self, line: &str, origin: Origin<'_>, group: &mut usize) -> Result<bool, String> {
        match Line::read(line)? {
            Line::Nothing => Ok(false),
            Line::Heading(name) => {
                let heading = || shown(&format!("[{name}]"));
                let name =
                    groups::checked(name).map_err(|reason| format!("{}: {reason}", heading()))?;
                let (number, is_twice) = self.groups.begin(name);
                *group = number;
                match is_twice {
                    true => Err(format!("{}: a second group of this name", heading())),
                    false => Ok(false),
                }
            }
            Line::Host(word) => {
                let members = self.add(word, Some(origin));
                let members = members.map_err(|reason| format!("{}: {reason}", shown(word)))?;
                self.groups.members_mut(*group).append(members);
                Ok(true)
            }
        }
    }

    fn complain_of(&mut self, problems: &[Problem]) {
        for problem in problems.iter().take(TOLD_MAX) {
            self.complaints
                .push(format!("{}: {problem}", problem.place));
        }
        if problems.len() > TOLD_MAX {
            let more = problems.len() - TOLD_MAX;
            self.complaints
                .push(format!("{more} more groups that mean nothing"));
        }
    }
}

fn name_of(path: &Path) -> String {
    escape::line(path.as_os_str().as_encoded_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::file::LINE_MAX;
    use super::*;
    use std::io::Read as _;

    fn read(text: impl AsRef<[u8]>) -> (Vec<String>, Vec<String>) {
        let mut inventory = Inventory::default();
        match inventory.read("F", text.as_ref()) {
            Ok(()) => inventory.complaints.extend(inventory.nothing_to_ask()),
            Err(line) => inventory.complaints.push(line),
        }
        let (words, complaints) = inventory.finish();
        let words = (0..words.len()).map(|place| words.get(place).to_owned());
        (words.collect(), complaints)
    }

    #[test]
    fn hosts_are_one_a_line_with_comments() {
        let text = "\u{feff}# all\nweb1\n\n  web2:80  # second\r\n\tunix:/run/a b#c # x\nweb1\nudp:[::1]:9";
        let (hosts, complaints) = read(text);
        assert_eq!(hosts, ["web1", "web2:80", "unix:/run/a b#c", "udp:[::1]:9"]);
        assert!(complaints.is_empty(), "{complaints:?}");
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_the_others_are_asked() {
        let mut text = b"web1\nweb2 web3\n#\nweb4:0\n\xff\xfe\n".to_vec();
        text.extend(vec![b'x'; 3 * LINE_MAX]);
        text.extend(b"\nweb\x1b[31m\nweb5\n");
        let (hosts, complaints) = read(text);
        assert_eq!(hosts, ["web1", "web5"]);
        let starts = [
            "F:2: web2 web3: one host",
            "F:4: web4:0: port 0",
            "F:5: not UTF-8",
            "F:6: a line longer",
            "F:7: ",
        ];
        assert_eq!(complaints.len(), starts.len(), "{complaints:?}");
        for (complaint, start) in complaints.iter().zip(starts) {
            assert!(complaint.starts_with(start), "{complaint}");
            assert!(!complaint.contains(char::is_control), "{complaint:?}");
        }
    }

    #[test]
    fn a_file_of_nothing_but_garbage_does_not_flood() {
        let (hosts, complaints) = read("!\n".repeat(1000));
        assert!(hosts.is_empty());
        assert_eq!(complaints.len(), TOLD_MAX + 1);
        assert_eq!(complaints[TOLD_MAX], "F: 980 more bad lines");
    }

    #[test]
    fn nothing_to_ask_and_no_end_are_errors() {
        for text in ["", "\n\n", "# only a comment\n"] {
            assert_eq!(read(text).1, ["F: names no host"], "{text:?}");
        }
        let mut hosts = Inventory::default();
        let error = hosts.read("F", BufReader::new(io::repeat(0))).unwrap_err();
        assert_eq!(error, "F: more than 64 MiB");
    }

    #[test]
    fn a_file_of_exactly_the_bound_is_read() {
        for (more, fits) in [(0, true), (1, false)] {
            let mut hosts = Inventory::default();
            // One long line, which is skipped fast.
            let text = BufReader::new(io::repeat(b'#').take(FILE_MAX - 6 + more));
            let read = hosts.read("F", text.chain(&b"\nweb1\n"[..]));
            assert_eq!(read.is_ok(), fits, "{more}");
        }
    }

    #[test]
    fn a_file_of_comments_beside_one_with_hosts_is_no_error() {
        let mut hosts = Inventory::default();
        for text in ["web1\n", "# nobody\n"] {
            hosts.read("F", text.as_bytes()).unwrap();
        }
        assert_eq!((hosts.len(), hosts.nothing_to_ask()), (1, None));
    }

    #[test]
    fn a_line_of_the_longest_length_is_whole() {
        let fits = format!("web1{}\nweb2\n", " ".repeat(LINE_MAX - 5));
        assert_eq!(read(fits).0, ["web1", "web2"]);
    }

    /// The words of the hosts that `@NAME` means, or why it means none.
    fn group(inventory: &Inventory, name: &str) -> Result<Vec<String>, String> {
        let mut members = Members::default();
        members.add_group(name, None);
        let places = inventory.hosts(&members)?.into_iter().flatten();
        let word = |place| inventory.words.get(place as usize).to_owned();
        Ok(places.map(word).collect())
    }

    #[test]
    fn headings_make_groups_and_hosts_are_named_once() {
        let text = "old\n[web]\nweb[1-3]\nudp:db1:9 # too\n[::1]\n\n[db] # two of them\ndb[1-2]\nweb2\n[all]\n@db,@web\nold\n";
        let mut inventory = Inventory::default();
        inventory.read("F", text.as_bytes()).unwrap();
        assert_eq!(inventory.groups.problems(), []);
        assert_eq!(
            group(&inventory, "web").unwrap(),
            ["web1", "web2", "web3", "udp:db1:9", "[::1]"]
        );
        assert_eq!(group(&inventory, "db").unwrap(), ["db1", "db2", "web2"]);
        let all = group(&inventory, "all").unwrap();
        assert_eq!(all[..3], ["db1", "db2", "web2"]);
        assert!(all.ends_with(&["old".to_owned()]), "{all:?}");
        let (words, complaints) = inventory.finish();
        assert_eq!((words.len(), complaints.len()), (8, 0));
    }

    #[test]
    fn bad_ranges_and_groups_are_told_by_their_lines() {
        let long = format!("n[{}]", ["1"; 1500].join(","));
        let text = format!(
            "n[5-1]\nweb[1-3],db[]\n[web]\nweb1\n[we b]\n[web]\nweb2\n@no pe\n@no:pe\nn[1-9999999999]\nweb:6553[4-6]\n{long}\n[a/b]\n"
        );
        let (hosts, complaints) = read(&text);
        assert_eq!(hosts, ["web1", "web2", "n1"]);
        let starts = [
            "F:1: n[5-1]: 5-1: a falling range",
            "F:2: web[1-3],db[]: an empty range",
            "F:5: [we b]: one host a line",
            "F:6: [web]: a second group of this name",
            "F:8: @no pe: one host a line",
            "F:9: @no:pe: a group's name is",
            "F:10: n[1-9999999999]: more than 1,048,576 hosts",
            "F:11: web:6553[4-6]: port 65536",
            "F:13: [a/b]: a group's name is",
        ];
        assert_eq!(complaints.len(), starts.len(), "{complaints:?}");
        for (complaint, start) in complaints.iter().zip(starts) {
            assert!(complaint.starts_with(start), "{complaint}");
        }
    }

    #[test]
    fn a_call_asks_no_more_than_a_million_hosts() {
        let mut inventory = Inventory::default();
        let many = format!("web[1-{}]", HOSTS_MAX - 2);
        inventory.add(&many, None).unwrap();
        let told = inventory.add("n[1-3]", None).unwrap_err();
        assert_eq!(told, "more than 1,048,576 hosts");
        // Nothing of it was added, and there is room for as many as may be.
        assert_eq!(inventory.words.len(), HOSTS_MAX - 2);
        inventory.add("n[1-2]", None).unwrap();
        assert_eq!(inventory.add("n3", None).unwrap_err(), told);
        inventory.add("n2", None).unwrap();
    }
}
