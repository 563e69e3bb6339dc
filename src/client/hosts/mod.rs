//! Where the hosts come from: the command line, hosts files, standard input, the default files.
//!
//! Comes in: the options. Goes out: the targets in the order given, each word once, and what was
//! wrong with single lines of a file. A bad word on the command line or a file that cannot be
//! read is a usage error; a bad line is only told, since the other hosts can still be asked.

pub mod target;

use std::collections::HashSet;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use self::target::Target;
use crate::client::options::Options;
use crate::client::query::failure::io_words;
use crate::escape;

/// The longest line of a hosts file, bytes.
const LINE_MAX: usize = 4096;
/// The most that is read of a hosts file, bytes: a million hosts, but not /dev/zero.
const FILE_MAX: u64 = 64 * 1024 * 1024;
/// How many bad lines of one file are told one by one; then only their number is.
const TOLD_MAX: usize = 20;
/// The file for everybody; the last of the default files.
const SYSTEM_FILE: &str = "/etc/ruptime/hosts";

/// The hosts to ask.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// In the order given, no word twice.
    pub(crate) targets: Vec<Target>,
    /// Bad lines, each told in one line with its file and number.
    pub(crate) complaints: Vec<String>,
    seen: HashSet<String>,
    /// The last file in which there was nothing; no error where another names a host.
    empty: Option<String>,
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

/// Collects what `options` name; the error is one line, a usage error.
pub(crate) fn gather(options: &Options) -> Result<Hosts, String> {
    let mut hosts = Hosts::default();
    for word in &options.hosts {
        let shown = match word.as_str() {
            "" => "''".into(),
            word => escape::line(word.as_bytes()),
        };
        let told = |reason| format!("{shown}: {reason}");
        hosts.add(Target::parse(word).map_err(told)?);
    }
    for path in &options.hosts_files {
        if path == Path::new("-") {
            hosts.read("standard input", io::stdin().lock())?;
        } else {
            hosts.read_file(path, true)?;
        }
    }
    if options.hosts.is_empty() && options.hosts_files.is_empty() {
        hosts.read_default(&default_files())?;
    }
    match hosts.nothing_to_ask() {
        Some(line) => Err(line),
        None => Ok(hosts),
    }
}

impl Hosts {
    fn add(&mut self, target: Target) {
        if self.seen.insert(target.word.clone()) {
            self.targets.push(target);
        }
    }

    /// What to say where no file named a host and no bad line was told.
    pub(crate) fn nothing_to_ask(&self) -> Option<String> {
        let silent = self.targets.is_empty() && self.complaints.is_empty();
        let name = self.empty.as_ref().filter(|_| silent)?;
        Some(format!("{name}: names no host"))
    }

    fn read_default(&mut self, files: &[PathBuf]) -> Result<(), String> {
        for file in files {
            if self.read_file(file, false)? {
                return Ok(());
            }
        }
        let names: Vec<_> = files.iter().map(|file| shown(file)).collect();
        Err(format!(
            "no HOST, no --hosts-file, and no {} (see ruptime --help)",
            names.join(" or ")
        ))
    }

    /// Whether the file was there; one that `must` be there and is not is an error.
    fn read_file(&mut self, path: &Path, must: bool) -> Result<bool, String> {
        let name = shown(path);
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

    /// Reads hosts, one a line.
    pub(crate) fn read(&mut self, name: &str, input: impl BufRead) -> Result<(), String> {
        let mut lines = Lines {
            // One byte more than a file may have tells that it has more.
            input: input.take(FILE_MAX + 1),
            number: 0,
        };
        let (mut hosts, mut bad) = (0_usize, 0_usize);
        while let Some(line) = lines
            .next()
            .map_err(|error| format!("{name}: {}", io_words(&error)))?
        {
            match line.and_then(|line| host_on(&line)) {
                Ok(None) => {}
                Ok(Some(target)) => {
                    hosts += 1;
                    self.add(target);
                }
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
        if lines.input.limit() == 0 {
            return Err(format!("{name}: more than {} MiB", FILE_MAX / 1024 / 1024));
        }
        if hosts == 0 && bad == 0 {
            self.empty = Some(name.to_owned());
        }
        Ok(())
    }
}

/// The lines of a file, each bounded.
struct Lines<R> {
    input: io::Take<R>,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    /// The next line without its end; the inner error is what is wrong with this one line.
    fn next(&mut self) -> io::Result<Option<Result<String, String>>> {
        let mut line = Vec::new();
        let read = (&mut self.input)
            .take(LINE_MAX as u64 + 1)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read > LINE_MAX && !line.ends_with(b"\n") {
            self.skip_line()?;
            return Ok(Some(Err(format!("a line longer than {LINE_MAX} bytes"))));
        }
        let line = String::from_utf8(line).map_err(|_| "not UTF-8".to_owned());
        Ok(Some(line))
    }

    /// Reads to the end of a line without keeping it.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.input.consume(used);
            if end.is_some() {
                return Ok(());
            }
        }
    }
}

/// The host on a line, if there is one. A comment begins with a `#` that starts the line or
/// follows a blank, so that a path may have one.
fn host_on(line: &str) -> Result<Option<Target>, String> {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    let comment = line.match_indices('#').find(|(at, _)| {
        line[..*at]
            .chars()
            .next_back()
            .is_none_or(char::is_whitespace)
    });
    let word = comment.map_or(line, |(at, _)| &line[..at]).trim();
    if word.is_empty() {
        return Ok(None);
    }
    let excerpt = || escape::excerpt(word.as_bytes(), 60);
    if !word.starts_with("unix:") && word.contains(char::is_whitespace) {
        return Err(format!("{}: one host a line", excerpt()));
    }
    let target = Target::parse(word).map_err(|reason| format!("{}: {reason}", excerpt()))?;
    Ok(Some(target))
}

fn shown(path: &Path) -> String {
    escape::line(path.as_os_str().as_encoded_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: impl AsRef<[u8]>) -> (Vec<String>, Vec<String>) {
        let mut hosts = Hosts::default();
        match hosts.read("F", text.as_ref()) {
            Ok(()) => hosts.complaints.extend(hosts.nothing_to_ask()),
            Err(line) => hosts.complaints.push(line),
        }
        (
            hosts
                .targets
                .into_iter()
                .map(|target| target.word)
                .collect(),
            hosts.complaints,
        )
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
        let mut hosts = Hosts::default();
        let error = hosts.read("F", BufReader::new(io::repeat(0))).unwrap_err();
        assert_eq!(error, "F: more than 64 MiB");
    }

    #[test]
    fn a_file_of_exactly_the_bound_is_read() {
        for (more, fits) in [(0, true), (1, false)] {
            let mut hosts = Hosts::default();
            // One long line, which is skipped fast.
            let text = BufReader::new(io::repeat(b'#').take(FILE_MAX - 6 + more));
            let read = hosts.read("F", text.chain(&b"\nweb1\n"[..]));
            assert_eq!(read.is_ok(), fits, "{more}");
        }
    }

    #[test]
    fn a_file_of_comments_beside_one_with_hosts_is_no_error() {
        let mut hosts = Hosts::default();
        for text in ["web1\n", "# nobody\n"] {
            hosts.read("F", text.as_bytes()).unwrap();
        }
        assert_eq!((hosts.targets.len(), hosts.nothing_to_ask()), (1, None));
    }

    #[test]
    fn a_line_of_the_longest_length_is_whole() {
        let fits = format!("web1{}\nweb2\n", " ".repeat(LINE_MAX - 5));
        assert_eq!(read(fits).0, ["web1", "web2"]);
    }

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
