//! A round that is over → bytes to append. Pure.

use std::io;
use std::time::SystemTime;

use super::changes::Change;
use crate::client::answer::Answer;
use crate::client::memory::Past;
use crate::client::output::clock::Local;
use crate::client::output::conditions::{Condition, all_hold};
use crate::client::output::{self, Counts, Format, Row, Settings};

/// Everything that is shown of a round.
pub(super) struct View<'a> {
    pub(super) settings: &'a Settings,
    /// Of every host that is shown.
    pub(super) conditions: &'a [Condition],
    pub(super) clock: &'a Local,
    pub(super) now: SystemTime,
    /// In the order in which they are shown.
    pub(super) answers: &'a [Answer],
    /// One for each answer.
    pub(super) changes: &'a [Change],
    /// The same.
    pub(super) pasts: &'a [Past],
    /// Why no host could be asked, or that the list is incomplete.
    pub(super) failure: Option<&'a str>,
}

impl View<'_> {
    /// What the format prints, for standard output and standard error; a table with the
    /// time above and a blank line below.
    pub(super) fn append(&self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        if let Some(line) = self.failure {
            err.extend(format!("ruptime: {line}\n").bytes());
        }
        let table = self.settings.format == Format::Table;
        if table {
            let time = self.clock.date_hms(self.now);
            let counts = self.answers.iter().collect::<Counts>();
            out.extend(format!("{time}  {counts}\n").bytes());
        }
        let rows: Vec<_> = self.rows().collect();
        output::write(&mut out, &mut err, self.settings, &rows)?;
        if table {
            out.push(b'\n');
        }
        Ok((out, err))
    }

    /// The hosts that are shown.
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let answers = self.answers.iter().zip(self.changes).zip(self.pasts);
        answers.filter_map(|((answer, change), past)| {
            let rebooted = past.rebooted || change.is_reboot();
            let row = Row::new(answer, *past);
            let row = match change.mark(self.clock, self.now) {
                mark if mark.is_empty() => row,
                mark => Row { mark, ..row },
            };
            all_hold(self.conditions, answer, rebooted).then_some(row)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{down, error, up};
    use std::time::Duration;

    /// Shows a round of four hosts.
    fn viewed<T>(format: Format, show: impl Fn(View<'_>) -> T) -> T {
        let answers = [
            up("web1", 60, Some(2), None),
            up("web2", 120, Some(2), None),
            down("db1", "refused"),
            error("odd", "hello"),
        ];
        let since = Change::Since(SystemTime::UNIX_EPOCH);
        show(View {
            settings: &Settings::new(format, true),
            conditions: &[],
            clock: &Local::utc(),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(86_399),
            answers: &answers,
            changes: &[Change::None, Change::Rebooted, since, Change::None],
            pasts: &[Past::default(); 4],
            failure: None,
        })
    }

    fn appended(format: Format) -> (String, String) {
        let (out, err) = viewed(format, |view| view.append()).expect("written");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(out), text(err))
    }

    #[test]
    fn only_what_fulfils_the_conditions_is_shown_and_all_is_counted() {
        let shown = |word: &str| {
            let conditions = [Condition::parse(word).expect(word)];
            let filtered = |view: View<'_>| {
                let view = View {
                    conditions: &conditions,
                    ..view
                };
                view.append().expect("written").0
            };
            let out = String::from_utf8(viewed(Format::Table, filtered)).expect("text");
            assert!(out.contains("  2 up, 1 down, 1 error\n"), "{out}");
            let names = out
                .lines()
                .skip(1)
                .filter_map(|line| line.split(' ').next());
            names.collect::<Vec<_>>().join(" ").trim_end().to_owned()
        };
        assert_eq!(shown("rebooted"), "web2");
        assert_eq!(shown("uptime<2m"), "web1");
        assert_eq!(shown("!up"), "db1 odd");
    }

    #[test]
    fn that_nobody_could_be_asked_is_told() {
        let failed = |view: View<'_>| {
            let view = View {
                answers: &[],
                changes: &[],
                failure: Some("no network"),
                ..view
            };
            view.append()
        };
        let (out, err) = viewed(Format::Json, failed).expect("written");
        assert_eq!(out, b"[]\n");
        assert_eq!(err, b"ruptime: no network\n");
    }

    #[test]
    fn elsewhere_a_table_has_the_time_above_and_a_blank_line_below() {
        let (out, err) = appended(Format::Table);
        assert!(
            out.starts_with("1970-01-01 23:59:59  2 up, 1 down, 1 error\nweb1  up"),
            "{out}"
        );
        assert!(out.ends_with("odd   error  hello\n\n"), "{out}");
        assert_eq!(err, "");
    }

    #[test]
    fn elsewhere_text_keeps_its_two_streams() {
        let (out, err) = appended(Format::Text);
        assert_eq!(
            out,
            "web1:  18:16:29 up of web1\nweb2:  18:16:29 up of web2\nodd: hello\n"
        );
        assert_eq!(
            err,
            "ruptime: web2: rebooted\nruptime: db1: refused\nruptime: db1: down since 00:00:00\n"
        );
    }

    #[test]
    fn the_other_formats_are_what_they_are_without_watch() {
        let (json, _) = appended(Format::Json);
        assert_eq!(
            serde_json::from_str::<Vec<serde_json::Value>>(&json)
                .expect("an array")
                .len(),
            4
        );
        assert_eq!(appended(Format::Jsonl).0.lines().count(), 4);
        assert!(appended(Format::Openmetrics).0.ends_with("# EOF\n"));
    }
}
