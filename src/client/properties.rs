//! What must hold whatever the bytes are: anybody's bytes come in, and a panic names what was
//! broken. Built for tests and fuzzing only.
//!
//! One body, two launchers: the property tests below run each check on a few hundred inputs with
//! every `cargo test`, and the targets in `tests/fuzz` on millions that look for new paths.

use super::hosts::inventory::Inventory;
use super::hosts::target::{Endpoint, Host, Port, Target};
use super::report::{self, NotUptime};
use crate::escape;

/// Nothing that a terminal obeys, on one line, and no longer than this many characters.
fn is_safe_line(text: &str, longest: usize) -> bool {
    !text.chars().any(escape::is_hostile) && text.chars().count() <= longest
}

/// A reply is an uptime line with sane values, or a reason that is safe to print.
pub fn reply(bytes: &[u8]) {
    match report::parse(bytes) {
        Ok(report) => {
            let century = 100 * 365 * 86_400;
            assert!(report.uptime.as_secs() <= century, "{report:?}");
            let sane = |load: &f64| load.is_finite() && *load >= 0.0;
            assert!(
                report.load.is_none_or(|load| load.iter().all(sane)),
                "{report:?}"
            );
            // Whatever follows and whatever stands before it, the first uptime line decides.
            let followed = [bytes, b"\nerror: later\nup 1 min"].concat();
            assert_eq!(report::parse(&followed).as_ref(), Ok(&report));
            let behind = [b"Welcome!\n", bytes].concat();
            assert_eq!(report::parse(&behind).as_ref(), Ok(&report));
        }
        Err(reason) => {
            assert!(is_safe_line(&reason.to_string(), 250), "{reason:?}");
            assert_eq!(
                reason == NotUptime::Empty,
                bytes.trim_ascii().is_empty(),
                "{reason:?}"
            );
        }
    }
    in_pieces(bytes);
}

/// However a reply comes in, it is the same.
fn in_pieces(bytes: &[u8]) {
    let mut reader = report::Reader::default();
    let length = 1 + bytes.first().map_or(0, |byte| usize::from(*byte));
    bytes.chunks(length).for_each(|piece| reader.feed(piece));
    assert_eq!(
        reader.finish(),
        report::parse(bytes),
        "in pieces of {length}"
    );
}

/// Bytes that choose: each picks a number or a spelling.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        u32::from(self.0.next().copied().unwrap_or(0)) * 4 % bound
    }

    fn one_of<T: Copy>(&mut self, among: &[T]) -> T {
        let bound = u32::try_from(among.len()).expect("a short list");
        among[usize::try_from(self.below(bound)).expect("an index")]
    }
}

/// A line that is written as some system writes it is read back to the same values.
pub fn spelled_line(bytes: &[u8]) {
    let mut choices = Choices(bytes.iter());
    let clock = choices.one_of(&[
        " 21:04:41 ",
        "9:41AM  ",
        " 3:05 PM ",
        "15.12.09 ",
        "??:???? ",
        "2026-03-05T10:11:12+01:00 ",
        "Thu Mar  5 10:11:12 CET 2026, ",
        "下午3:05 ",
    ]);
    let (span, seconds) = spelled_span(&mut choices);
    let count = choices.below(1020);
    let (users, count) = choices.one_of(&[
        ("N users", Some(count)),
        ("N user(s)", Some(count)),
        ("Nuser", Some(count)),
        ("no users", Some(0)),
        ("? users", None),
    ]);
    let users = users.replace('N', &count.unwrap_or(0).to_string());
    let (loads, load) = spelled_loads(&mut choices);
    let line = format!("{clock}up {span}, {users}, {loads}\r\n");
    let report =
        report::parse(line.as_bytes()).unwrap_or_else(|reason| panic!("{line:?}: {reason}"));
    assert_eq!(report.uptime.as_secs(), u64::from(seconds), "{line:?}");
    assert_eq!(report.users, count, "{line:?}");
    assert_eq!(report.load, Some(load), "{line:?}");
}

/// A span and its seconds.
fn spelled_span(choices: &mut Choices<'_>) -> (String, u32) {
    let (days, hours, minutes) = (choices.below(1020), choices.below(24), choices.below(60));
    let (time, seconds) = choices.one_of(&[
        ("H:MM", 0),
        ("H:MM:59", 59),
        ("H hrs, M mins", 0),
        ("Hhour(s) Mminutes 59secs", 59),
    ]);
    let time = time
        .replace("MM", &format!("{minutes:02}"))
        .replace('M', &minutes.to_string())
        .replace('H', &hours.to_string());
    let day = choices.one_of(&["days", "day", " day(s)", " Days"]);
    let comma = choices.one_of(&[", ", " ", ",", ",   "]);
    let seconds = days * 86_400 + hours * 3600 + minutes * 60 + seconds;
    (format!("{days}{day}{comma}{time}"), seconds)
}

/// Loads with their label, and their values.
fn spelled_loads(choices: &mut Choices<'_>) -> (String, [f64; 3]) {
    let label = choices.one_of(&[
        "load average:",
        "load averages: ",
        "Load average : ",
        "load ",
        "carga promedio: ",
        "平均负载：",
    ]);
    let (point, separator) =
        choices.one_of(&[(".", ", "), (".", " "), (".", ","), (",", ", "), (",", " ")]);
    let hundredths = [
        choices.below(1020),
        choices.below(1020) * 1000,
        choices.below(3),
    ];
    let loads = hundredths.map(|load| format!("{}{point}{:02}", load / 100, load % 100));
    let values = hundredths.map(|load| f64::from(load) / 100.0);
    (format!("{label}{}", loads.join(separator)), values)
}

/// A HOST means what it means also when it is written in its plainest form.
pub fn host(word: &str) {
    let target = match Target::parse(word) {
        Ok(target) => target,
        Err(reason) => {
            assert!(is_safe_line(&reason, 120), "{reason}");
            return;
        }
    };
    assert_eq!(target.word, word);
    let plain = plainest(&target.endpoint);
    let again = Target::parse(&plain).unwrap_or_else(|reason| panic!("{plain:?}: {reason}"));
    assert_eq!(again.endpoint, target.endpoint, "{word:?} and {plain:?}");
    if let Endpoint::Ssh { user, host, .. } = &target.endpoint {
        let word = plainest(&target.endpoint);
        let shell = |c: char| c.is_whitespace() || "'\"`$;&|<>(){}*?!#~\\".contains(c);
        assert!(!word.contains(shell), "{word:?}");
        let option = |text: &str| text.starts_with('-');
        assert!(!user.as_deref().is_some_and(option), "{word:?}");
        assert!(
            !matches!(host, Host::Name(name) if option(name)),
            "{word:?}"
        );
    }
    if let Endpoint::Net {
        host: Host::Name(name),
        ..
    } = &target.endpoint
    {
        assert!(
            !name.is_empty() && !name.contains(|c: char| c.is_control() || c.is_whitespace()),
            "{name:?}"
        );
    }
}

fn plainest(endpoint: &Endpoint) -> String {
    let (scheme, host, port) = match endpoint {
        Endpoint::Unix(path) => return format!("unix:{}", path.display()),
        Endpoint::Ssh { user, host, port } => {
            let user = user.as_ref().map(|user| format!("{user}@"));
            (format!("ssh:{}", user.unwrap_or_default()), host, port)
        }
        Endpoint::Net { udp, host, port } => {
            let scheme = if *udp { "udp:" } else { "" };
            (scheme.to_owned(), host, port)
        }
    };
    let host = match host {
        Host::Name(name) => name.clone(),
        Host::Address(ip) if ip.is_ipv6() => format!("[{ip}]"),
        Host::Address(ip) => ip.to_string(),
        Host::Scoped(ip, zone) if zone.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("[{ip}%{zone}]")
        }
        Host::Scoped(ip, zone) => format!("[{ip}%25{zone}]"),
    };
    let port = match port {
        None => String::new(),
        Some(Port::Number(number)) => {
            assert_ne!(*number, 0);
            format!(":{number}")
        }
        Some(Port::Service(name)) => format!(":{name}"),
    };
    format!("{scheme}{host}{port}")
}

/// A list is parted and its ranges are written out without a panic, as many as it says.
pub fn host_list(list: &str) {
    super::hosts::ranges::check(list);
}

/// A hosts file gives hosts that HOST would take, each once, and complaints that can be printed
/// and cannot flood.
pub fn hosts_file(bytes: &[u8]) {
    let mut inventory = Inventory::default();
    let result = inventory.read("F", bytes);
    let nothing = result.is_err() || inventory.nothing_to_ask().is_some();
    let (hosts, complaints) = inventory.finish();
    assert!(complaints.len() <= 21, "{} complaints", complaints.len());
    for complaint in complaints.iter().chain(result.as_ref().err()) {
        assert!(complaint.starts_with("F:"), "{complaint:?}");
        assert!(is_safe_line(complaint, 250), "{complaint:?}");
    }
    let mut words: Vec<&str> = (0..hosts.len()).map(|place| hosts.get(place)).collect();
    for word in &words {
        host(word);
    }
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), hosts.len(), "a word twice");
    // Nothing is skipped in silence: what is there is asked or complained about.
    let is_blank = bytes.trim_ascii().is_empty();
    assert!(!is_blank || nothing, "nothing to ask is no error");
}

/// What is shown cannot move, hide or reorder anything, and hides nothing itself.
pub fn escaping(bytes: &[u8]) {
    let line = escape::line(bytes);
    assert!(is_safe_line(&line, usize::MAX), "{line:?}");
    assert_eq!(escape::line(line.as_bytes()), line, "shown twice");
    let harmless = bytes.iter().all(|b| matches!(b, b' '..=b'~'));
    assert!(!harmless || line.as_bytes() == bytes, "{line:?}");

    let text = escape::text(bytes);
    let controls = |c: char| escape::is_hostile(c) && !matches!(c, '\n' | '\t');
    assert!(!text.chars().any(controls), "{text:?}");
    let breaks = |bytes: &[u8]| bytes.iter().filter(|b| **b == b'\n').count();
    assert_eq!(breaks(text.as_bytes()), breaks(bytes), "{text:?}");

    for longest in [0, 1, 60] {
        let excerpt = escape::excerpt(bytes, longest);
        assert!(is_safe_line(&excerpt, longest + 3), "{excerpt:?}");
        let shown = excerpt.strip_suffix("...").unwrap_or(&excerpt);
        assert!(
            line.starts_with(shown) || line == excerpt,
            "{excerpt:?} is not the beginning of {line:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces that the grammars of HOST and of hosts files are made of, and some that they are not.
    fn words() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "udp:",
            "unix:",
            "[1-3]",
            "[08-11/2,7]",
            "[web]",
            ",",
            "@web",
            "[",
            "]",
            ":",
            "::1",
            "fe80::1",
            "%eth0",
            "192.0.2.1",
            "web1",
            "80",
            "0",
            "65536",
            "#",
            " ",
            "\t",
            "\n",
            "\r\n",
            "/",
            "%",
            ".",
            "-",
            "\u{feff}",
            "\u{202e}",
            "\0",
            "\x1b[2J",
            "é",
            "xn--",
            "localhost",
            "..",
            "@",
            "999999999999999999999",
        ]);
        let any = any::<char>().prop_map(String::from);
        prop::collection::vec(
            prop_oneof![4 => piece.prop_map(String::from), 1 => any],
            0..12,
        )
        .prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn what_was_found_is_mended() {
        let found = crate::regressions::inputs;
        found("reply").iter().for_each(|bytes| reply(bytes));
        found("spelled_line")
            .iter()
            .for_each(|bytes| spelled_line(bytes));
        found("hosts_file")
            .iter()
            .for_each(|bytes| hosts_file(bytes));
        found("escaping").iter().for_each(|bytes| escaping(bytes));
        for word in found("host") {
            host(&String::from_utf8(word).expect("a &str target"));
        }
        for list in found("host_list") {
            host_list(&String::from_utf8(list).expect("a &str target"));
        }
    }

    proptest! {
        #[test]
        fn replies(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            reply(&bytes);
        }

        #[test]
        fn spelled_lines(bytes in prop::collection::vec(any::<u8>(), 16)) {
            spelled_line(&bytes);
        }

        #[test]
        fn hosts(word in words()) {
            host(&word);
            host_list(&word);
        }

        #[test]
        fn hosts_files(text in words(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            hosts_file(text.as_bytes());
            hosts_file(&bytes);
        }

        #[test]
        fn whatever_is_shown(bytes in prop::collection::vec(any::<u8>(), 0..300), text in words()) {
            escaping(&bytes);
            escaping(text.as_bytes());
        }
    }
}
