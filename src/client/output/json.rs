//! `json` and `jsonl`: a row of values for each host, null for what is not known.
//!
//! serde_json escapes what RFC 8259 demands, which is not enough for a terminal: DEL, the C1
//! controls and Unicode's format characters pass. They leave as `\u…` too; a reader of the JSON
//! gets the same text either way.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::ser::Formatter;

use super::{Row, clock};
use crate::client::answer::unix_seconds;
use crate::client::report::Report;
use crate::escape;

/// The fields and their order are a contract with the user.
#[derive(Serialize)]
struct Fields<'a> {
    host: &'a str,
    address: Option<&'a str>,
    status: &'static str,
    rtt_ms: Option<f64>,
    uptime_seconds: Option<u64>,
    boot_time: Option<String>,
    users: Option<u32>,
    load: Option<[f64; 3]>,
    raw: Option<String>,
    error: Option<&'a str>,
    last_seen: Option<String>,
    rebooted: Option<bool>,
    /// Of a machine that a search has found only: the other rows are as they have always been.
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<&'a [String]>,
}

impl<'a> Fields<'a> {
    fn new(row: &Row<'a>) -> Self {
        let answer = row.answer;
        let outcome = &answer.outcome;
        let report = outcome.report();
        // JSON is Unicode; bytes that are not become U+FFFD.
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self {
            host: &answer.host,
            address: answer.address.as_deref(),
            status: outcome.status().as_str(),
            rtt_ms: answer.rtt.map(milliseconds),
            uptime_seconds: report.map(|r| r.uptime.as_secs()),
            boot_time: report.and_then(|r| boot_time(answer.at, r)),
            users: report.and_then(|r| r.users),
            load: report.and_then(|r| r.load),
            raw: outcome.raw().map(text),
            error: outcome.reason(),
            last_seen: row.past.last_seen(answer).and_then(clock::rfc3339),
            rebooted: report.map(|_| row.past.rebooted),
            addresses: answer.machine.as_ref().map(|found| &found.addresses[..]),
        }
    }
}

/// To the microsecond: more would be noise.
fn milliseconds(rtt: Duration) -> f64 {
    (rtt.as_secs_f64() * 1e6).round() / 1e3
}

/// Rounded to the minute, the resolution of an uptime line.
fn boot_time(at: SystemTime, report: &Report) -> Option<String> {
    let half = Duration::from_secs(30);
    let seconds = unix_seconds(at.checked_sub(report.uptime)?.checked_add(half)?)?;
    clock::rfc3339(seconds - seconds.rem_euclid(60))
}

/// One object and a line feed.
pub(crate) fn line(out: &mut impl Write, row: &Row<'_>) -> io::Result<()> {
    object(out, row)?;
    out.write_all(b"\n")
}

/// One array, an object a line.
pub(super) fn array(out: &mut impl Write, rows: &[Row<'_>]) -> io::Result<()> {
    out.write_all(b"[")?;
    for (i, row) in rows.iter().enumerate() {
        out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        object(out, row)?;
    }
    out.write_all(if rows.is_empty() { b"]\n" } else { b"\n]\n" })
}

fn object(out: &mut impl Write, row: &Row<'_>) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, Safe);
    Fields::new(row).serialize(&mut serializer)?;
    Ok(())
}

/// Compact, and safe to look at.
struct Safe;

impl Formatter for Safe {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| escape::is_hostile(c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{AT, down, error, up};
    use crate::client::answer::{Answer, Machine, Outcome};

    fn written(answer: &Answer) -> String {
        let mut out = Vec::new();
        line(&mut out, &Row::from(answer)).expect("written");
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn a_host_that_is_up() {
        let answer = up("web1:10513", 273_900, Some(2), Some([0.1, 0.2, 0.3]));
        assert_eq!(
            written(&answer),
            r#"{"host":"web1:10513","address":"192.0.2.7:10513","status":"up","rtt_ms":1.9,"#
                .to_owned()
                + r#""uptime_seconds":273900,"boot_time":"2026-11-19T14:11:00Z","users":2,"#
                + r#""load":[0.1,0.2,0.3],"raw":" 18:16:29 up of web1:10513\n","error":null,"#
                + r#""last_seen":"2026-11-22T18:16:29Z","rebooted":false}"#
                + "\n"
        );
    }

    #[test]
    fn null_is_what_the_reply_did_not_say() {
        let mut answer = up("a", 60, None, None);
        answer.address = None;
        let row: serde_json::Value = serde_json::from_str(&written(&answer)).expect("JSON");
        for field in ["address", "users", "load", "error"] {
            assert!(row[field].is_null(), "{field}");
        }
        let row: serde_json::Value =
            serde_json::from_str(&written(&down("a", "refused"))).expect("JSON");
        assert_eq!(
            (&row["status"], &row["error"]),
            (&"down".into(), &"refused".into())
        );
        for field in [
            "rtt_ms",
            "uptime_seconds",
            "boot_time",
            "users",
            "load",
            "raw",
            "last_seen",
            "rebooted",
        ] {
            assert!(row[field].is_null(), "{field}");
        }
        let row: serde_json::Value =
            serde_json::from_str(&written(&error("a", "hello"))).expect("JSON");
        assert_eq!(
            (&row["status"], &row["raw"]),
            (&"error".into(), &"hello".into())
        );
        assert!(row["uptime_seconds"].is_null() && row["boot_time"].is_null());
    }

    #[test]
    fn the_fields_are_the_contracts_in_its_order() {
        let text = written(&down("a", "refused"));
        let fields: Vec<_> = text
            .split('"')
            .filter(|f| text.contains(&format!("\"{f}\":")))
            .collect();
        assert_eq!(
            fields,
            [
                "host",
                "address",
                "status",
                "rtt_ms",
                "uptime_seconds",
                "boot_time",
                "users",
                "load",
                "raw",
                "error",
                "last_seen",
                "rebooted"
            ]
        );
    }

    #[test]
    fn a_machine_that_was_found_has_its_addresses_behind_the_other_fields() {
        let mut answer = down("web1", "refused");
        let plain = written(&answer);
        let addresses = ["192.0.2.7", "fe80::7%eth0"].map(str::to_owned).to_vec();
        answer.machine = Some(Box::new(Machine { addresses }));
        let more = plain.replace("}\n", r#","addresses":["192.0.2.7","fe80::7%eth0"]}"#) + "\n";
        assert_eq!(written(&answer), more);
    }

    #[test]
    fn boot_time_is_rounded_to_the_minute() {
        let boot = |uptime: u64| {
            let row: serde_json::Value =
                serde_json::from_str(&written(&up("a", uptime, None, None))).expect("JSON");
            row["boot_time"].as_str().map(str::to_owned)
        };
        assert_eq!(AT % 60, 29);
        assert_eq!(boot(0).as_deref(), Some("2026-11-22T18:16:00Z"));
        assert_eq!(boot(58).as_deref(), Some("2026-11-22T18:16:00Z"));
        assert_eq!(boot(60).as_deref(), Some("2026-11-22T18:15:00Z"));
        assert_eq!(
            boot(86_400 * 36_500).as_deref(),
            Some("1926-12-17T18:16:00Z")
        );
    }

    #[test]
    fn attack_text_that_ends_the_string_or_the_line() {
        let mut answer = up("a\"\\", 60, None, None);
        if let Outcome::Up { raw, .. } = &mut answer.outcome {
            *raw = b"\"}\n{\"status\":\"up\"\x1b[2J\x7f\0\xff".to_vec();
        }
        let text = written(&answer);
        assert_eq!(text.matches('\n').count(), 1);
        let row: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(row["host"], "a\"\\");
        assert_eq!(
            row["raw"],
            "\"}\n{\"status\":\"up\"\u{1b}[2J\u{7f}\0\u{fffd}"
        );
    }

    #[test]
    fn attack_characters_that_json_lets_through_but_a_terminal_obeys() {
        let mut answer = up("a", 60, None, None);
        let hostile = "\u{7f}\u{9b}31m\u{202e}\u{200b}\u{2028}\u{feff}\u{e0041}ü";
        if let Outcome::Up { raw, .. } = &mut answer.outcome {
            *raw = hostile.as_bytes().to_vec();
        }
        let text = written(&answer);
        assert!(!text.trim_end().chars().any(escape::is_hostile), "{text}");
        let row: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(row["raw"], hostile);
    }

    #[test]
    fn an_array_of_none_one_and_two() {
        let array_of = |answers: &[Answer]| {
            let mut out = Vec::new();
            let rows: Vec<_> = answers.iter().map(Row::from).collect();
            array(&mut out, &rows).expect("written");
            serde_json::from_slice::<Vec<serde_json::Value>>(&out)
                .expect("an array")
                .len()
        };
        assert_eq!(array_of(&[]), 0);
        assert_eq!(array_of(&[down("a", "no")]), 1);
        assert_eq!(array_of(&[down("a", "no"), up("b", 1, None, None)]), 2);
    }
}
