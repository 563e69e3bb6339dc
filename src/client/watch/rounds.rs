//! A round that is over → a frame for the screen, or bytes to append. Pure.

use std::io;
use std::time::{Duration, SystemTime};

use super::changes::Change;
use crate::client::answer::{Answer, Status};
use crate::client::memory::Past;
use crate::client::output::clock::Local;
use crate::client::output::conditions::{Condition, all_hold};
use crate::client::output::{self, Counts, Format, Row, Settings, push_text};
use crate::client::terminal::frame::{Frame, Line};

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
    /// For the screen: a header, and the lines of the format.
    pub(super) fn frame(&self, interval: Duration) -> io::Result<Frame> {
        let header = format!(
            "{}  every {} s  {}",
            self.clock.hms(self.now),
            interval.as_secs_f64(),
            self.answers.iter().collect::<Counts>()
        );
        let (mut bytes, mut told) = (Vec::new(), Vec::new());
        let (rows, urgent): (Vec<_>, Vec<_>) = self.rows().unzip();
        if self.settings.format == Format::Text {
            // Failures stand among the replies: standard error would write across the picture.
            for row in &rows {
                push_text(&mut bytes, &mut told, self.settings, row);
                bytes.append(&mut told);
            }
        } else {
            output::write(&mut bytes, &mut told, self.settings, &rows)?;
        }
        let is_table = self.settings.format == Format::Table;
        let line = |(row, text): (usize, &str)| Line {
            text: text.to_owned(),
            urgent: is_table && urgent.get(row).is_some_and(|urgent| *urgent),
        };
        let text = String::from_utf8_lossy(&bytes);
        let failure = self.failure.map(|line| Line {
            text: format!("ruptime: {line}"),
            urgent: true,
        });
        let lines = text.lines().enumerate().map(line).chain(failure);
        Ok(Frame {
            header,
            lines: lines.collect(),
        })
    }

    /// Elsewhere: what the format prints, for standard output and standard error; a table with the
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
        let rows: Vec<_> = self.rows().map(|(row, _)| row).collect();
        output::write(&mut out, &mut err, self.settings, &rows)?;
        if table {
            out.push(b'\n');
        }
        Ok((out, err))
    }

    /// The hosts that are shown, each with whether it is not up or has changed.
    fn rows(&self) -> impl Iterator<Item = (Row<'_>, bool)> {
        let answers = self.answers.iter().zip(self.changes).zip(self.pasts);
        answers.filter_map(|((answer, change), past)| {
            let rebooted = past.rebooted || change.is_reboot();
            let urgent = answer.outcome.status() != Status::Up || *change != Change::None;
            let row = Row::new(answer, *past);
            let row = match change.mark(self.clock, self.now) {
                mark if mark.is_empty() => row,
                mark => Row { mark, ..row },
            };
            all_hold(self.conditions, answer, rebooted).then_some((row, urgent))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{down, error, up};

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

    fn framed(format: Format, interval: u64) -> Frame {
        let interval = Duration::from_millis(interval);
        viewed(format, |view| view.frame(interval)).expect("a frame")
    }

    #[test]
    fn a_frame_of_a_table_knows_what_is_urgent() {
        let frame = framed(Format::Table, 2500);
        assert_eq!(frame.header, "23:59:59  every 2.5 s  2 up, 1 down, 1 error");
        let lines: Vec<_> = frame
            .lines
            .iter()
            .map(|l| (l.text.as_str(), l.urgent))
            .collect();
        assert_eq!(
            lines,
            [
                ("web1  up     0:01,  2 users", false),
                ("web2  up     0:02,  2 users  rebooted", true),
                ("db1   down since 00:00:00  refused", true),
                ("odd   error  hello", true),
            ]
        );
    }

    #[test]
    fn only_what_fulfils_the_conditions_is_shown_and_all_is_counted() {
        let frame = |word: &str| {
            let conditions = [Condition::parse(word).expect(word)];
            let filtered = |view: View<'_>| {
                let view = View {
                    conditions: &conditions,
                    ..view
                };
                view.frame(Duration::from_secs(2)).expect("a frame")
            };
            viewed(Format::Table, filtered)
        };
        let shown = |word: &str| {
            let lines = frame(word).lines.into_iter();
            let of = |line: Line| (line.text.split(' ').next().map(str::to_owned), line.urgent);
            lines.map(of).collect::<Vec<_>>()
        };
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(shown("rebooted"), [(name("web2"), true)]);
        assert_eq!(shown("uptime<2m"), [(name("web1"), false)]);
        assert_eq!(shown("!up"), [(name("db1"), true), (name("odd"), true)]);
        assert!(frame("down").header.ends_with("  2 up, 1 down, 1 error"));
    }

    #[test]
    fn that_nobody_could_be_asked_is_told_on_the_screen_and_elsewhere() {
        let failed = |view: View<'_>| {
            let view = View {
                answers: &[],
                changes: &[],
                failure: Some("no network"),
                ..view
            };
            (view.frame(Duration::from_secs(2)), view.append())
        };
        let (frame, appended) = viewed(Format::Json, failed);
        let last = frame.expect("a frame").lines.pop();
        assert_eq!(last.expect("a line").text, "ruptime: no network");
        let (out, err) = appended.expect("written");
        assert_eq!(out, b"[]\n");
        assert_eq!(err, b"ruptime: no network\n");
    }

    #[test]
    fn on_the_screen_failures_of_text_stand_among_the_replies() {
        let frame = framed(Format::Text, 2000);
        let lines: Vec<_> = frame.lines.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(
            lines,
            [
                "web1:  18:16:29 up of web1",
                "web2:  18:16:29 up of web2",
                "ruptime: web2: rebooted",
                "ruptime: db1: refused",
                "ruptime: db1: down since 00:00:00",
                "odd: hello",
            ]
        );
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
