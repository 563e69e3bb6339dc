//! Every known line is read as it says; what is none is refused; nothing panics.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const YEAR: u64 = 365 * DAY;
const CENTURY: u64 = 100 * YEAR;

/// A line from a system, a bug report or a hostile mind, and what it says, worked out by hand.
#[derive(serde::Deserialize)]
struct Case {
    name: String,
    /// A whole reply where it has several lines.
    line: String,
    /// None: no uptime line.
    seconds: Option<u64>,
    users: Option<u32>,
    load: Option<[f64; 3]>,
}

impl Case {
    fn report(&self) -> Option<Report> {
        Some(Report {
            uptime: Duration::from_secs(self.seconds?),
            users: self.users,
            load: self.load,
        })
    }
}

fn cases() -> Vec<Case> {
    let lines = include_str!("../../../tests/data/uptime-lines.jsonl").lines();
    let case = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    lines.map(case).collect()
}

#[test]
fn every_case_is_read_as_it_says() {
    let cases = cases();
    assert!(cases.len() > 250, "{}", cases.len());
    for case in &cases {
        let read = parse(case.line.as_bytes()).ok();
        assert_eq!(read, case.report(), "{}: {:?}", case.name, case.line);
    }
}

#[test]
fn every_case_is_read_behind_other_lines_and_before_them() {
    for case in cases().iter().filter(|case| case.seconds.is_some()) {
        for reply in [
            format!("{}\n", case.line),
            format!("{}\r\n", case.line),
            format!("\n\n{}\nUSER     TTY      FROM\n", case.line),
            format!("{}\nup 1 min\nerror: later\n", case.line),
            format!("Welcome!\nIt has been up since Monday.\nup\n{}", case.line),
            format!("{}\n{}", "x".repeat(3000), case.line),
            format!("{}{}{}\n", " ".repeat(2000), case.line, " ".repeat(2000)),
        ] {
            let read = parse(reply.as_bytes()).ok();
            assert_eq!(read, case.report(), "{}: {reply:?}", case.name);
        }
    }
}

#[test]
fn a_reply_in_pieces_is_read_as_in_one() {
    for case in cases() {
        let whole = parse(case.line.as_bytes());
        for cut in 0..=case.line.len() {
            let (first, rest) = case.line.as_bytes().split_at(cut);
            let (second, third) = rest.split_at(rest.len() / 2);
            let mut reader = Reader::default();
            for piece in [first, b"", second, third] {
                reader.feed(piece);
            }
            assert_eq!(reader.finish(), whole, "{} cut at {cut}", case.name);
        }
    }
}

/// No single slip that leaves the numbers alone makes a line tell another uptime or another number
/// of users: it is read as before, or not.
#[test]
fn attack_one_character_wrong_never_gives_other_values() {
    let wrong = " .,:-hj\u{661}";
    let is_one = |case: &&Case| {
        let lines = case.line.lines();
        let read = lines.filter(|line| parse(line.as_bytes()).is_ok()).count();
        read == 1 && case.seconds.is_some() && case.line.len() < MAX_LINE
    };
    for case in cases().iter().filter(is_one) {
        let check = |line: String| {
            if let Ok(report) = parse(line.as_bytes()) {
                assert_eq!(
                    Some(report.uptime.as_secs()),
                    case.seconds,
                    "{}: {line:?}",
                    case.name
                );
                assert!(
                    report.users.is_none() || report.users == case.users,
                    "{}: {line:?}",
                    case.name
                );
            }
        };
        for (at, old) in case.line.char_indices() {
            let (before, behind) = case.line.split_at(at);
            let without = &behind[old.len_utf8()..];
            wrong
                .chars()
                // `2.4 secs` is one that `24 secs` is not.
                .filter(|c| *c != '.' || !old.is_numeric())
                .for_each(|c| check(format!("{before}{c}{behind}")));
            if !old.is_numeric() && old != '\n' {
                // `420:00` is one that `4:20:00` is not.
                if !(before.ends_with(char::is_numeric) && without.starts_with(char::is_numeric)) {
                    check(format!("{before}{without}"));
                }
                wrong
                    .chars()
                    .for_each(|c| check(format!("{before}{c}{without}")));
            }
        }
    }
}

/// A reply that ends too early tells less, never more: without the minutes where it has only the
/// days, and what is there whole.
#[test]
fn attack_a_line_cut_anywhere_never_gives_a_longer_uptime() {
    for case in cases() {
        let Some(seconds) = case.seconds else {
            continue;
        };
        for (cut, _) in case.line.char_indices() {
            if let Ok(report) = parse(&case.line.as_bytes()[..cut]) {
                let read = report.uptime.as_secs();
                assert!(read <= seconds, "{}: {:?}", case.name, &case.line[..cut]);
                assert!(
                    read + DAY > seconds || seconds > WEEK,
                    "{}: {:?}",
                    case.name,
                    &case.line[..cut]
                );
                assert!(
                    report.users.is_none() || report.users == case.users,
                    "{}: {cut}",
                    case.name
                );
            }
        }
    }
}

const fn dhm(days: u64, hours: u64, minutes: u64) -> u64 {
    days * DAY + hours * HOUR + minutes * MINUTE
}

type Row = (
    &'static str,
    &'static str,
    u64,
    Option<u32>,
    Option<[f64; 3]>,
);

/// Where it is from, the line, then seconds, users, load.
#[rustfmt::skip]
const SPELLINGS: &[Row] = &[
    // procps-ng, library/uptime.c: `%2d:%02d`, `%d min`, two blanks before the load; `? users`.
    ("procps 4", " 21:04:41 up 12 min,  0 user,  load average: 0.26, 0.22, 0.10", dhm(0, 0, 12), Some(0), Some([0.26, 0.22, 0.10])),
    ("procps 4", " 09:00:00 up 3 days,  4:05,  2 users,  load average: 0.10, 0.20, 0.30", dhm(3, 4, 5), Some(2), Some([0.1, 0.2, 0.3])),
    ("procps 4", " 09:00:00 up 1 day, 3 min,  1 user,  load average: 12.00, 8.50, 101.00", dhm(1, 0, 3), Some(1), Some([12.0, 8.5, 101.0])),
    ("procps 4, on the hour", " 09:00:00 up 24:00, ? users,  load average: 0.00, 0.00, 0.00", dhm(0, 24, 0), None, Some([0.0; 3])),
    ("procps 4, on the minute", " 09:00:00 up 60 min,  1 user,  load average: 0.00, 0.00, 0.00", dhm(0, 1, 0), Some(1), Some([0.0; 3])),
    ("procps 4 --pretty", "up 1 decade, 2 years, 3 weeks, 4 days, 5 hours, 6 minutes", 12 * YEAR + 3 * WEEK + dhm(4, 5, 6), None, None),
    ("procps 4 --pretty", "up 1 minute", 60, None, None),
    ("procps 4 --pretty", "up 0 minute", 0, None, None),
    ("procps 4, German decimals", " 09:00:00 up  4:05,  2 users,  load average: 0,10, 0,20, 0,30", dhm(0, 4, 5), Some(2), Some([0.1, 0.2, 0.3])),
    // procps-ng 3.3, proc/whattime.c
    ("procps 3", " 18:17:07 up 68 days,  3:57,  6 users,  load average: 0.16, 0.07, 0.06", dhm(68, 3, 57), Some(6), Some([0.16, 0.07, 0.06])),
    ("procps 3", " 18:17:07 up 0 min,  1 user,  load average: 0.16, 0.07, 0.06", 0, Some(1), Some([0.16, 0.07, 0.06])),
    ("procps 2, am and pm", "  3:05pm  up 68 days,  3:57,  6 users,  load average: 0.16, 0.07, 0.06", dhm(68, 3, 57), Some(6), Some([0.16, 0.07, 0.06])),
    // busybox, procps/uptime.c: without FEATURE_UPTIME_UTMP_SUPPORT it counts no users.
    ("busybox", " 21:04:41 up 12 min,  load average: 0.25, 0.21, 0.09", dhm(0, 0, 12), None, Some([0.25, 0.21, 0.09])),
    ("busybox", " 21:04:41 up 1 day,  0:12,  load average: 0.25, 0.21, 0.09", dhm(1, 0, 12), None, Some([0.25, 0.21, 0.09])),
    ("busybox, with utmp", " 21:04:41 up 12 min,  0 users,  load average: 0.25, 0.21, 0.09", dhm(0, 0, 12), Some(0), Some([0.25, 0.21, 0.09])),
    // toybox, toys/other/uptime.c; early versions counted no users and had no commas in the load.
    ("toybox", " 21:04:41 up 2 days,  4:05,  1 user,  load average: 0.25, 0.21, 0.09", dhm(2, 4, 5), Some(1), Some([0.25, 0.21, 0.09])),
    ("toybox, early", " 21:04:41 up 5 min,  load average: 0.25 0.21 0.09", dhm(0, 0, 5), None, Some([0.25, 0.21, 0.09])),
    ("toybox -p", "up 0 weeks, 1 day, 2 hours, 3 minutes", dhm(1, 2, 3), None, None),
    // GNU coreutils, src/uptime.c: always H:MM; fewer loads where getloadavg(3) has fewer.
    ("GNU coreutils", " 14:07:09  up   3:35,  3 users,  load average: 1.39, 1.15, 1.04", dhm(0, 3, 35), Some(3), Some([1.39, 1.15, 1.04])),
    ("GNU coreutils, old", " 14:07  up 1 day  3:35,  1 user,  load average: 1.39, 1.15, 1.04", dhm(1, 3, 35), Some(1), Some([1.39, 1.15, 1.04])),
    ("GNU coreutils, no clock", " ??:????  up  0:35,  3 users,  load average: 1.39, 1.15", dhm(0, 0, 35), Some(3), None),
    ("GNU coreutils, no load", " 14:07:09  up  0:35,  3 users", dhm(0, 0, 35), Some(3), None),
    // uutils coreutils, src/uu/uptime: prints no users where there are none.
    ("uutils", " 14:07:09 up   3:35, load average: 1.39, 1.15, 1.04", dhm(0, 3, 35), None, Some([1.39, 1.15, 1.04])),
    ("uutils", " 14:07:09 up 2 days, 23:35,  2 users,  load average: 1.39, 1.15, 1.04", dhm(2, 23, 35), Some(2), Some([1.39, 1.15, 1.04])),
    ("uutils, no comma", " 14:07:09 up 2 days 23:35,  1 user,  load average: 1.39, 1.15, 1.04", dhm(2, 23, 35), Some(1), Some([1.39, 1.15, 1.04])),
    // FreeBSD, usr.bin/w/w.c: hours alone when no minutes are left, seconds at first; commas in the
    // load only where the locale's decimal point is none.
    ("FreeBSD", "11:07AM  up 295 days, 21:06, 3 users, load averages: 2.65, 6.31, 7.33", dhm(295, 21, 6), Some(3), Some([2.65, 6.31, 7.33])),
    ("FreeBSD", " 3:05PM  up 16 days, 7 hrs, 1 user, load averages: 5.31, 4.67, 4.10", dhm(16, 7, 0), Some(1), Some([5.31, 4.67, 4.10])),
    ("FreeBSD", " 3:05PM  up 1 hr, 0 users, load averages: 5.31, 4.67, 4.10", dhm(0, 1, 0), Some(0), Some([5.31, 4.67, 4.10])),
    ("FreeBSD", "12:05AM  up 2 mins, 1 user, load averages: 5.31, 4.67, 4.10", dhm(0, 0, 2), Some(1), Some([5.31, 4.67, 4.10])),
    ("FreeBSD", "12:05AM  up 34 secs, 1 user, load averages: 5.31, 4.67, 4.10", 34, Some(1), Some([5.31, 4.67, 4.10])),
    ("FreeBSD", "12:05AM  up 1 day, 1 sec, 1 user, load averages: 5.31, 4.67, 4.10", DAY + 1, Some(1), Some([5.31, 4.67, 4.10])),
    ("FreeBSD, no load", "12:05AM  up 1 day, 1 min, 1 user, no load average information available", dhm(1, 0, 1), Some(1), None),
    ("FreeBSD, 24 hours, decimal commas", "15:05  up 2 days,  3:04, 2 users, load averages: 3,15 2,60 2,41", dhm(2, 3, 4), Some(2), Some([3.15, 2.6, 2.41])),
    ("FreeBSD, Japanese afternoon", " 3:05午後  up 2 days,  3:04, 2 users, load averages: 3.15, 2.60, 2.41", dhm(2, 3, 4), Some(2), Some([3.15, 2.6, 2.41])),
    // OpenBSD, usr.bin/w/w.c: no "up" in the first minute.
    ("OpenBSD", " 9:41AM  up 5 days,  1:02, 1 user, load averages: 0.08, 0.07, 0.05", dhm(5, 1, 2), Some(1), Some([0.08, 0.07, 0.05])),
    ("OpenBSD", " 9:41AM  up 5 days, 0 mins, 1 user, load averages: 0.08, 0.07, 0.05", dhm(5, 0, 0), Some(1), Some([0.08, 0.07, 0.05])),
    ("OpenBSD, first minute", " 9:41AM  34 secs, 1 user, load averages: 0.08, 0.07, 0.05", 34, Some(1), Some([0.08, 0.07, 0.05])),
    // NetBSD, usr.bin/w/w.c: days alone at midnight.
    ("NetBSD", " 3:01AM  up 69 days,  7:53, 0 users, load averages: 0.08, 0.07, 0.05", dhm(69, 7, 53), Some(0), Some([0.08, 0.07, 0.05])),
    ("NetBSD", " 3:01AM  up 1 day, 2 users, load averages: 0.08, 0.07, 0.05", DAY, Some(2), Some([0.08, 0.07, 0.05])),
    // macOS, shell_cmds w.c (FreeBSD's, without commas in the load).
    ("macOS", " 8:32  up 4 days, 15:41, 2 users, load averages: 4.23 4.64 3.97", dhm(4, 15, 41), Some(2), Some([4.23, 4.64, 3.97])),
    ("macOS", " 0:59  up 16 days, 7 hrs, 1 user, load averages: 5.31 4.67 4.10", dhm(16, 7, 0), Some(1), Some([5.31, 4.67, 4.10])),
    ("macOS, German", " 5:36  up 2 days,  3:04, 2 users, load averages: 3,15 2,60 2,41", dhm(2, 3, 4), Some(2), Some([3.15, 2.6, 2.41])),
    // Solaris and illumos, usr/src/cmd/w/w.c
    ("Solaris", " 10:17am  up 5 day(s), 23:22,  3 users,  load average: 0.06, 0.07, 0.05", dhm(5, 23, 22), Some(3), Some([0.06, 0.07, 0.05])),
    ("illumos", "10:17:09    up 1 hr(s),  1 user,  load average: 0.06, 0.07, 0.05", dhm(0, 1, 0), Some(1), Some([0.06, 0.07, 0.05])),
    ("illumos", "10:17:09    up 1 day(s), 0 min(s),  1 user,  load average: 0.06, 0.07, 0.05", DAY, Some(1), Some([0.06, 0.07, 0.05])),
    // VMware ESXi: seconds behind the hours and minutes, and no users.
    ("ESXi", " 11:31:52 up 7 days, 03:12:32, load average: 0.01, 0.02, 0.03", dhm(7, 3, 12) + 32, None, Some([0.01, 0.02, 0.03])),
    ("ESXi", " 11:31:52 up 00:12:32, load average: 0.01, 0.02, 0.03", dhm(0, 0, 12) + 32, None, Some([0.01, 0.02, 0.03])),
    // uptime(1) of IBM AIX, and of RISC/os from its manual page
    ("AIX", "  10:36AM   up 118 days,  20:48,  9 users,  load average: 2.01, 1.98, 1.90", dhm(118, 20, 48), Some(9), Some([2.01, 1.98, 1.90])),
    ("AIX", "  10:36AM   up 5 mins,  9 users,  load average: 2.01, 1.98, 1.90", dhm(0, 0, 5), Some(9), Some([2.01, 1.98, 1.90])),
    ("RISC/os", "10:33am  up 16:50,  17 users,  load average: 1.03, 0.50, 0.00", dhm(0, 16, 50), Some(17), Some([1.03, 0.5, 0.0])),
    // Synology DSM adds what its kernel knows.
    ("Synology", " 12:00:00 up 3 days,  4:05,  0 users,  load average: 1.15, 1.22, 1.26 [IO: 0.10, 0.08, 0.06 CPU: 1.01, 1.12, 1.16]", dhm(3, 4, 5), Some(0), Some([1.15, 1.22, 1.26])),
    // Made by hand: a clock set apart, other ends of line.
    ("hand-made", "3:05 PM up 5 minutes, no users, load average: 0, 0, 0\r", dhm(0, 0, 5), Some(0), Some([0.0; 3])),
    ("hand-made", "UP 1 Day 2 Hours 3 Minutes 4 Seconds", dhm(1, 2, 3) + 4, None, None),
];

#[test]
fn every_known_spelling_is_read() {
    for &(source, line, seconds, users, load) in SPELLINGS {
        let expected = Report {
            uptime: Duration::from_secs(seconds),
            users,
            load,
        };
        for reply in [
            line.to_owned(),
            format!("{line}\n"),
            format!("{line}\r\n"),
            format!("\n\n{line}\nUSER TTY\n"),
        ] {
            assert_eq!(
                parse(reply.as_bytes()),
                Ok(expected.clone()),
                "{source}: {reply:?}"
            );
        }
    }
}

#[test]
fn what_is_no_uptime_line_is_refused_and_shown() {
    for line in [
        "SSH-2.0-OpenSSH_9.2p1 Debian-2",
        "HTTP/1.1 400 Bad Request",
        "hello",
        "up",
        "up and running, 3 users, load average: 1, 2, 3",
        "up 5",
        "up 13 d",
        "up 3 days, 4:5",
        "up 3 days, 4:65",
        "up 5 min, 3 days",
        "up 1 day, 2 days",
        "up 4:05, 6 min",
        "up 4:05, 3 hrs",
        "up -5 min",
        "up -1 days, -2:-3",
        "up +5 min",
        "up 5.5 days",
        "up 1000000000 min",
        "up 999999999 days",
        "up ???? days ??:??,  2 users,  load average: 0.10, 0.20, 0.30",
        "up 5 min, and other lies",
        "up 5 min, many users",
        "up 5 min, -1 users",
        "up 5 min, 99999999999 users",
        "up 5 min, load",
        "up 5 min, carga promedio: N/A",
        " 9:41AM  1 user, load averages: 0.08, 0.07, 0.05",
        "9:41AM  34 secs",
        "34 secs, 1 user, load averages: 0.08, 0.07, 0.05",
        "9:41AM  34 days, 1 user, load averages: 0.08, 0.07, 0.05",
        " 21:04:41  an   0:12,  2 Benutzer,  Durchschnittslast: 0,10, 0,20, 0,30",
        " 21:04:41  3 Tage  0:12,  2 users,  load average: 0,10, 0,20, 0,30",
        "uppe 3 dagar 4.05, 2 användare, medellast: 0,10, 0,20, 0,30",
        "10:00:00 up 3 jours, 2 users",
        "10:00:00 10:00:00 up 5 min",
        "10:00:00 10:00:00, 1 user, load averages: 0.08, 0.07, 0.05",
        "up 03:12:60",
        "up 03:60:12",
        "up 03:12:5",
        "up 03:12:32:01",
        "up 03:12:32 5 secs",
        "web1 up 3+04:05, 2 users, load 0.10, 0.20, 0.30",
    ] {
        let refused = parse(line.as_bytes()).expect_err(line);
        let shown = format!(
            "not an uptime line: {}",
            escape::excerpt(line.trim().as_bytes(), EXCERPT)
        );
        assert_eq!(refused.to_string(), shown);
    }
}

#[test]
fn an_empty_reply_is_told_apart() {
    for reply in [&b""[..], b"\n", b" \r\n\t\n"] {
        assert_eq!(parse(reply), Err(NotUptime::Empty));
    }
    assert_eq!(NotUptime::Empty.to_string(), "empty reply");
}

#[test]
fn the_servers_error_is_told_as_it_says_it() {
    let reply = b"error: /usr/bin/uptime: No such file or directory\n";
    let refused = parse(reply).expect_err("an error");
    assert!(matches!(refused, NotUptime::Server(_)));
    assert_eq!(
        refused.to_string(),
        "error: /usr/bin/uptime: No such file or directory"
    );
    assert!(is_server_error(reply));
    assert!(!is_server_error(b"errors: none\n"));
}

#[test]
fn attack_a_reason_carries_no_escape_sequence_and_is_bounded() {
    let reason = parse(b"\x1b[2Jup 5 min")
        .expect_err("no uptime line")
        .to_string();
    assert_eq!(reason, r"not an uptime line: \x1b[2Jup 5 min");
    let reason = parse(b"error: \x1b]0;x\x07")
        .expect_err("an error")
        .to_string();
    assert_eq!(reason, r"error: \x1b]0;x\x07");
    for flood in [
        vec![b'x'; 65536],
        [&b"error: "[..], &[0xff; 65000]].concat(),
        vec![b' '; 65536],
    ] {
        assert!(parse(&flood).expect_err("a flood").to_string().len() <= 4 * ERROR_EXCERPT + 40);
    }
    let long = format!("up 5 min, {} 1 user", ",".repeat(MAX_LINE));
    assert!(matches!(parse(long.as_bytes()), Err(NotUptime::Foreign(_))));
}

#[test]
fn attack_digits_of_other_scripts_are_no_numbers() {
    assert!(parse("up ٥ min, 1 user".as_bytes()).is_err());
    assert!(parse("up ５ days".as_bytes()).is_err());
}

/// A line as procps and as FreeBSD write it, from the same values.
fn spelled(days: u64, hours: u64, minutes: u64, users: u32, load: [u32; 3]) -> [String; 2] {
    let [a, b, c] = load.map(|l| format!("{}.{:02}", l / 100, l % 100));
    let plural = |n: u64, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let day = if days > 0 {
        format!("{}, ", plural(days, "day"))
    } else {
        String::new()
    };
    let procps_time = if hours > 0 {
        format!("{hours:2}:{minutes:02}")
    } else {
        format!("{minutes} min")
    };
    let bsd_time = match (hours, minutes) {
        (0, 0) if days > 0 => "0 secs".to_owned(),
        (0, m) => plural(m, "min"),
        (h, 0) => plural(h, "hr"),
        (h, m) => format!("{h:2}:{m:02}"),
    };
    let user = plural(users.into(), "user");
    [
        format!(" 21:04:41 up {day}{procps_time},  {user},  load average: {a}, {b}, {c}\n"),
        format!(" 9:04PM  up {day}{bsd_time}, {user}, load averages: {a} {b} {c}\n"),
    ]
}

proptest! {
    #[test]
    fn no_bytes_panic(reply in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse(&reply);
    }

    #[test]
    fn no_text_made_of_the_grammars_own_words_panics(
        words in proptest::collection::vec(
            prop_oneof![
                Just("up"), Just("day"), Just("days,"), Just("day(s),"), Just("hrs,"), Just("min"),
                Just("secs"), Just("4:05,"), Just("99999:59"), Just(":"), Just(","), Just("users,"),
                Just("load"), Just("average:"), Just("averages:"), Just("0,10,"), Just("1.5"), Just("?"),
                Just("999999999"), Just("decades,"), Just("no"), Just("9:41AM"), Just("\u{661}"), Just("-1"),
                Just("Up"), Just("an"), Just("uppe"), Just("dagar"), Just("Benutzer,"), Just("medellast:"),
                Just("N/A"), Just("2026-03-05"), Just("CET"), Just("+01:00"), Just("."), Just("user(s)"),
            ],
            0..14,
        )
    ) {
        if let Ok(report) = parse(words.join(" ").as_bytes()) {
            prop_assert!(report.uptime.as_secs() <= CENTURY);
            prop_assert!(report.load.is_none_or(|l| l.iter().all(|v| v.is_finite() && *v >= 0.0)));
        }
    }

    #[test]
    fn a_reason_is_always_one_safe_line(reply in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(why) = parse(&reply) {
            prop_assert!(!why.to_string().chars().any(escape::is_hostile));
        }
    }

    #[test]
    fn written_lines_are_read_back(
        days in 0_u64..36_000, hours in 0_u64..24, minutes in 0_u64..60, users in 0_u32..10_000,
        load in proptest::array::uniform3(0_u32..1_000_000),
    ) {
        let expected = Report {
            uptime: Duration::from_secs(dhm(days, hours, minutes)),
            users: Some(users),
            load: Some(load.map(|l| f64::from(l) / 100.0)),
        };
        for line in spelled(days, hours, minutes, users, load) {
            prop_assert_eq!(parse(line.as_bytes()), Ok(expected.clone()), "{}", line);
        }
    }
}
