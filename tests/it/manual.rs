//! The manual pages say what the programs do: both command lines as clap knows them, and
//! packaging/man as an administrator reads it, option by option, default by default, both ways.
//! So does the journal's catalog, and the packages have the programs' version.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use clap::{Arg, ArgAction};

const RUPTIME: &str = include_str!("../../packaging/man/ruptime.1");
const RUPTIMED: &str = include_str!("../../packaging/man/ruptimed.8");
const CATALOG: &str = include_str!("../../packaging/systemd/ruptime.catalog");

/// What stands before a default, in a page and (in brackets) in the text of --help.
const DEFAULT: &str = "The default is ";

/// An option as one side tells it.
#[derive(Debug, PartialEq, Eq)]
struct Described {
    value: Option<String>,
    /// The words that it takes, where only some are taken.
    words: BTreeSet<String>,
}

/// A page's options: names (`-c --max-children`) → description, and the text of their paragraphs.
fn options_of_page(page: &str) -> BTreeMap<String, (Described, String)> {
    let mut options = BTreeMap::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(item) = line.strip_prefix(".It Fl ") else {
            continue;
        };
        let (names, value) = item_of_page(item);
        let (mut text, mut words) = (String::new(), BTreeSet::new());
        let mut depth = 0;
        while let Some(line) = lines.next_if(|line| depth > 0 || !ends_item(line)) {
            depth += i32::from(line.starts_with(".Bl")) - i32::from(line.starts_with(".El"));
            text.push_str(&plain(line));
            text.push(' ');
            words.extend(after_macro(line, "Cm"));
        }
        let known = options.insert(names.clone(), (Described { value, words }, text));
        assert!(known.is_none(), "{names} stands in the page twice");
    }
    options
}

fn ends_item(line: &str) -> bool {
    line.starts_with(".It") || line.starts_with(".El")
}

/// `c , -max-children Ar N` → `-c --max-children`, `N`.
fn item_of_page(item: &str) -> (String, Option<String>) {
    let names: Vec<String> = item
        .split(' ')
        .take_while(|word| !is_macro(word))
        .filter(|word| *word != ",")
        .map(|word| format!("-{word}"))
        .collect();
    (names.join(" "), after_macro(item, "Ar").next())
}

fn is_macro(word: &str) -> bool {
    matches!(
        word.strip_prefix('.').unwrap_or(word),
        "Ar" | "Cm" | "Dq" | "Ev" | "Fl" | "It" | "Li" | "Ns" | "Op" | "Pa" | "Ql" | "Sx" | "Xr"
    )
}

/// The words that stand right after a macro.
fn after_macro<'a>(line: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let words: Vec<&str> = line.trim_start_matches('.').split(' ').collect();
    let found: Vec<String> = words
        .windows(2)
        .filter(|pair| pair[0] == name)
        .map(|pair| pair[1].to_owned())
        .collect();
    found.into_iter()
}

/// A line without its markup, as far as defaults need it.
fn plain(line: &str) -> String {
    let words = line.split(' ').filter(|word| !is_macro(word));
    words.collect::<Vec<_>>().join(" ")
}

/// The same of clap's definition.
fn options_of(command: clap::Command) -> BTreeMap<String, (Described, Arg)> {
    let mut command = command;
    command.build();
    let options = command.get_arguments().filter(|arg| !arg.is_positional());
    options
        .map(|arg| {
            let short = arg.get_short().map(|c| format!("-{c}"));
            let long = arg.get_long().map(|name| format!("--{name}"));
            let names: Vec<_> = short.into_iter().chain(long).collect();
            (names.join(" "), (described(arg), arg.clone()))
        })
        .collect()
}

fn described(arg: &Arg) -> Described {
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let values = arg.get_value_names().unwrap_or_default();
    Described {
        value: values
            .first()
            .filter(|_| takes_value)
            .map(|v| v.to_string()),
        words: arg
            .get_possible_values()
            .iter()
            .filter(|_| takes_value)
            .map(|value| value.get_name().to_owned())
            .collect(),
    }
}

/// clap's default, or what the text of --help calls so.
fn default_of(arg: &Arg) -> Option<String> {
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    if let Some(value) = arg.get_default_values().first().filter(|_| takes_value) {
        return Some(value.to_string_lossy().into_owned());
    }
    let help = arg.get_help()?.to_string();
    let (_, default) = help.split_once("[default: ")?;
    Some(default.split_once(']')?.0.to_owned())
}

fn page_agrees(page: &str, command: clap::Command) {
    let name = command.get_name().to_owned();
    let (told, real) = (options_of_page(page), options_of(command));
    assert_eq!(
        told.keys().collect::<Vec<_>>(),
        real.keys().collect::<Vec<_>>(),
        "{name}: the page's options, the program's options"
    );
    for (option, (real, arg)) in &real {
        let (told, text) = &told[option];
        assert_eq!(told.value, real.value, "{name} {option}: the value's name");
        if !real.words.is_empty() {
            assert_eq!(told.words, real.words, "{name} {option}: what it takes");
        }
        let told = text.split_once(DEFAULT).map(|(_, rest)| rest);
        match (told, default_of(arg)) {
            (None, None) => {}
            (Some(told), Some(real)) => {
                let rest = told.strip_prefix(&real).unwrap_or_else(|| {
                    panic!("{name} {option}: the default is {real}, the page says {told}")
                });
                let whole = rest.starts_with([',', ';', ':']) || rest.starts_with(". ");
                assert!(whole, "{name} {option}: the default is {real}, not {told}");
            }
            (told, real) => panic!("{name} {option}: the page's default {told:?}, not {real:?}"),
        }
    }
}

#[test]
fn the_daemons_page_has_its_options() {
    page_agrees(RUPTIMED, ruptime::daemon::command());
}

#[test]
fn the_clients_page_has_its_options() {
    page_agrees(RUPTIME, ruptime::client::options::command());
}

/// The text of every source file in a folder, wherever in it.
fn sources(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let texts = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path)
        } else {
            std::fs::read_to_string(path).expect("a source file")
        }
    });
    texts.collect()
}

/// MESSAGE_IDs are 128-bit numbers in hexadecimal (systemd.journal-fields(7)).
fn message_ids(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit()))
        .collect()
}

/// As systemd reads them: an entry's header is one only after an empty line.
fn catalog_ids() -> BTreeSet<&'static str> {
    let lines: Vec<_> = CATALOG.lines().collect();
    let headers = lines.windows(2).filter(|pair| pair[0].is_empty());
    headers
        .filter_map(|pair| pair[1].strip_prefix("-- "))
        .collect()
}

#[test]
fn every_message_id_is_explained() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/daemon"));
    let known = message_ids(&sources);
    assert!(known.len() >= 5, "{known:?}");
    assert_eq!(catalog_ids(), known, "the catalog");
    assert_eq!(message_ids(RUPTIMED), known, "the manual page");
}

#[test]
fn the_packages_have_the_programs_version() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = include_str!("../../packaging/debian/changelog");
    let spec = include_str!("../../packaging/rpm/ruptime-rs.spec");
    assert!(
        changelog.starts_with(&format!("ruptime-rs ({version}-")),
        "packaging/debian/changelog is not for {version}"
    );
    let line = spec.lines().find(|line| line.starts_with("Version:"));
    assert_eq!(
        line.map(|line| line["Version:".len()..].trim()),
        Some(version),
        "packaging/rpm/ruptime-rs.spec"
    );
    // What the README installs is this version, whatever else was built in the same place.
    let readme = include_str!("../../README.md");
    let (_, revision) = changelog.split_once('(').expect("a version");
    let (revision, _) = revision.split_once(')').expect("a version");
    let release = spec.lines().find_map(|line| line.strip_prefix("Release:"));
    let release = release.and_then(|line| line.trim().strip_suffix("%{?dist}"));
    let release = release.expect("a release of a distribution");
    for file in [
        format!("/ruptime*-rs_{revision}_*.deb\n"),
        format!("/ruptime*-rs-{version}-{release}.*$(uname -m).rpm\n"),
    ] {
        assert!(readme.contains(&file), "README.md: not {file}");
    }
}

/// Without mandoc there is nothing to ask; CI installs it.
#[test]
fn mandoc_finds_nothing() {
    let pages = ["ruptime.1", "ruptimed.8", "ruptime.socket.8"]
        .map(|page| format!("{}/packaging/man/{page}", env!("CARGO_MANIFEST_DIR")));
    let output = match Command::new("mandoc").arg("-Tlint").args(&pages).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert_ne!(
                std::env::var("CI").as_deref(),
                Ok("true"),
                "mandoc is not here"
            );
            eprintln!("left out: mandoc is not here");
            return;
        }
        Err(error) => panic!("mandoc: {error}"),
    };
    // Which other pages are installed is no matter of ours.
    let told = String::from_utf8_lossy(&output.stdout);
    let told: Vec<_> = told
        .lines()
        .filter(|line| !line.contains("referenced manual not found"))
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}
