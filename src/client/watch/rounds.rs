//! A round that is over → a frame for the screen, or bytes to append. Pure.

use std::io::{self, Write};
use std::slice;
use std::time::{Duration, SystemTime};

use super::changes::Change;
use crate::client::answer::{Answer, Outcome};
use crate::client::output::clock::Local;
use crate::client::output::{Format, Renderer, Settings, table, text};
use crate::client::terminal::frame::{Frame, Line};
use crate::escape;

/// Everything that is shown of it.
pub(super) struct Round<'a> {
    pub(super) settings: Settings,
    pub(super) clock: &'a Local,
    pub(super) now: SystemTime,
    /// In the order in which they are shown.
    pub(super) answers: Vec<Answer>,
    /// One for each answer.
    pub(super) changes: Vec<Change>,
    /// Why nobody could be asked.
    pub(super) failure: Option<String>,
}

impl Round<'_> {
    /// For the screen: a header, and the lines of the format.
    pub(super) fn frame(self, interval: Duration) -> io::Result<Frame> {
        let header = format!(
            "{}  every {} s  {}",
            self.clock.hms(self.now),
            interval.as_secs_f64(),
            self.counts()
        );
        let urgent = self.urgent_rows();
        let failure = self.failure.as_ref().map(|line| Line {
            text: format!("ruptime: {line}"),
            urgent: true,
        });
        let mut bytes = Vec::new();
        match self.settings.format {
            // Failures stand among the replies: standard error would write across the picture.
            Format::Text => self.text(&mut bytes, None)?,
            _ => self.print(&mut bytes)?,
        }
        let line = |(row, text): (usize, &str)| Line {
            text: text.to_owned(),
            urgent: urgent.get(row).copied().unwrap_or(false),
        };
        let lines = String::from_utf8_lossy(&bytes)
            .lines()
            .enumerate()
            .map(line)
            .chain(failure)
            .collect();
        Ok(Frame { header, lines })
    }

    /// Elsewhere: what the format prints; a table with the time above and a blank line below.
    pub(super) fn append(self, out: &mut impl Write, err: &mut impl Write) -> io::Result<()> {
        let mut bytes = Vec::new();
        if let Some(line) = &self.failure {
            // A standard error that cannot be written to leaves nobody to tell.
            let _ = writeln!(err, "ruptime: {line}");
        }
        match self.settings.format {
            Format::Text => {
                let mut failures = Vec::new();
                self.text(&mut bytes, Some(&mut failures))?;
                let _ = err.write_all(&failures);
            }
            Format::Table => {
                writeln!(
                    bytes,
                    "{}  {}",
                    self.clock.date_hms(self.now),
                    self.counts()
                )?;
                self.print(&mut bytes)?;
                bytes.push(b'\n');
            }
            _ => self.print(&mut bytes)?,
        }
        out.write_all(&bytes)?;
        out.flush()
    }

    fn print(self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.settings.format == Format::Table {
            let rows = self
                .answers
                .iter()
                .zip(&self.changes)
                .map(|(answer, change)| table::Row {
                    answer,
                    mark: change.mark(self.clock).into(),
                });
            return table::write(
                out,
                &rows.collect::<Vec<_>>(),
                table::Style::from(&self.settings),
            );
        }
        let mut renderer = Renderer::new(self.settings, out, io::sink());
        for (slot, answer) in self.answers.into_iter().enumerate() {
            renderer.answer(slot, answer)?;
        }
        renderer.finish()
    }

    /// Replies, failures and changes; all in `out` where there is no `err`.
    fn text(&self, out: &mut Vec<u8>, mut err: Option<&mut Vec<u8>>) -> io::Result<()> {
        for (answer, change) in self.answers.iter().zip(&self.changes) {
            let mut told = Vec::new();
            text::write(out, &mut told, &self.settings, slice::from_ref(answer))?;
            if *change != Change::None {
                let host = escape::line(answer.host.as_bytes());
                let state = match &answer.outcome {
                    Outcome::Up { .. } => "",
                    Outcome::Error { .. } => "error ",
                    Outcome::Down { .. } => "down ",
                };
                writeln!(told, "ruptime: {host}: {state}{}", change.mark(self.clock))?;
            }
            match &mut err {
                Some(err) => err.append(&mut told),
                None => out.append(&mut told),
            }
        }
        Ok(())
    }

    /// Which lines of a table are of hosts that are not up, or changed.
    fn urgent_rows(&self) -> Vec<bool> {
        if self.settings.format != Format::Table {
            return Vec::new();
        }
        let urgent = |(answer, change): (&Answer, &Change)| {
            !matches!(answer.outcome, Outcome::Up { .. }) || *change != Change::None
        };
        self.answers.iter().zip(&self.changes).map(urgent).collect()
    }

    /// `3 up, 1 down`, without what there is none of.
    fn counts(&self) -> String {
        let (mut up, mut error, mut down) = (0, 0, 0);
        for answer in &self.answers {
            match answer.outcome {
                Outcome::Up { .. } => up += 1,
                Outcome::Error { .. } => error += 1,
                Outcome::Down { .. } => down += 1,
            }
        }
        let counted = [(up, "up"), (down, "down"), (error, "error")];
        let told = counted
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"));
        told.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{down, error, up};

    fn round(clock: &Local, format: Format) -> Round<'_> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(86_399);
        let answers = vec![
            up("web1", 60, Some(2), None),
            up("web2", 120, Some(2), None),
            down("db1", "refused"),
            error("odd", "hello"),
        ];
        let since = Change::Since(SystemTime::UNIX_EPOCH);
        let changes = vec![Change::None, Change::Rebooted, since, Change::None];
        let settings = Settings {
            terminal: true,
            ..Settings::new(format, true)
        };
        Round {
            settings,
            clock,
            now,
            answers,
            changes,
            failure: None,
        }
    }

    fn appended(format: Format) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        round(&Local::utc(), format)
            .append(&mut out, &mut err)
            .expect("written");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(out), text(err))
    }

    #[test]
    fn a_frame_of_a_table_knows_what_is_urgent() {
        let frame = round(&Local::utc(), Format::Table)
            .frame(Duration::from_millis(2500))
            .expect("a frame");
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
    fn that_nobody_could_be_asked_is_told_on_the_screen_and_elsewhere() {
        let clock = Local::utc();
        let failed = || Round {
            answers: vec![],
            changes: vec![],
            failure: Some("no network".to_owned()),
            ..round(&clock, Format::Json)
        };
        let frame = failed().frame(Duration::from_secs(2)).expect("a frame");
        assert_eq!(
            frame.lines.last().map(|line| line.text.as_str()),
            Some("ruptime: no network")
        );
        let (mut out, mut err) = (Vec::new(), Vec::new());
        failed().append(&mut out, &mut err).expect("written");
        assert_eq!(
            (&*out, &*err),
            (&b"[]\n"[..], &b"ruptime: no network\n"[..])
        );
    }

    #[test]
    fn on_the_screen_failures_of_text_stand_among_the_replies() {
        let frame = round(&Local::utc(), Format::Text)
            .frame(Duration::from_secs(2))
            .expect("a frame");
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
        assert_eq!(appended(Format::JsonLines).0.lines().count(), 4);
        assert!(appended(Format::OpenMetrics).0.ends_with("# EOF\n"));
    }
}
