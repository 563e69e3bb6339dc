//! The board → the lines of a screen. Pure.

use std::ops::Range;
use std::time::SystemTime;

use unicode_width::UnicodeWidthStr as _;

use super::Plan;
use super::board::{Board, Host};
use crate::client::output::clock::Local;
use crate::client::output::table::{self, Layout, State};
use crate::client::output::{Format, Row, push_text};
use crate::client::terminal::frame::{Line, Size, clip};
use crate::client::terminal::keys::Key;
use crate::escape;

/// Which part of a list that is longer than the screen is seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Scroll {
    top: usize,
    lines: usize,
    room: usize,
}

impl Scroll {
    /// Moves, by what was on the screen last.
    pub(super) fn go(&mut self, key: Key) {
        // One line stays, so that the eye finds its place.
        let page = self.room.saturating_sub(1).max(1);
        self.top = match key {
            Key::Up => self.top.saturating_sub(1),
            Key::Down => self.top + 1,
            Key::PageUp => self.top.saturating_sub(page),
            Key::PageDown => self.top + page,
            Key::Home => 0,
            Key::End => usize::MAX,
            Key::Clear | Key::Leave | Key::Redraw => self.top,
        };
        self.fit(self.lines, self.room);
    }

    /// The part of so many lines that is seen where there is room for so many.
    fn fit(&mut self, lines: usize, room: usize) -> Range<usize> {
        self.top = self.top.min(lines.saturating_sub(room));
        (self.lines, self.room) = (lines, room);
        self.top..lines.min(self.top + room)
    }
}

/// What is to be shown.
pub(super) struct Picture<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) board: &'a Board,
    pub(super) clock: &'a Local,
    pub(super) now: SystemTime,
    /// Why no host could be asked, or that the list is incomplete.
    pub(super) failure: Option<&'a str>,
    /// Whether the host of that place was asked again and has not answered.
    pub(super) is_pending: &'a dyn Fn(usize) -> bool,
}

impl Picture<'_> {
    /// At most `size.rows` lines of at most `size.columns` columns.
    pub(super) fn lines(&self, scroll: &mut Scroll, size: Size) -> Vec<Line> {
        let settings = &self.plan.settings;
        let order = self.board.order(settings, self.plan.conditions);
        let (seen, list) = match settings.format {
            Format::Text => {
                let all = self.texts(&order);
                let seen = scroll.fit(all.len(), size.room());
                (seen.clone(), all[seen].to_vec())
            }
            _ => {
                let seen = scroll.fit(order.len(), size.room());
                (seen.clone(), self.rows(&order, seen, size.columns))
            }
        };
        let mut lines = vec![Line::from(self.header(size.columns))];
        lines.resize(size.above(), Line::default());
        lines.extend(list);
        if size.below() > 0 {
            lines.resize(size.rows.saturating_sub(size.below()), Line::default());
            lines.push(self.footer(seen, scroll.lines, size.columns).into());
        }
        lines.truncate(size.rows);
        for line in &mut lines {
            line.text = clip(&line.text, size.columns);
        }
        lines
    }

    /// `14:02:07  every 2 s  4 hosts: 2 up, 1 down, 1 no answer yet`, less of it on a narrow screen.
    fn header(&self, columns: usize) -> String {
        let (counts, waiting) = self.board.counts();
        let hosts = counts.hosts() + waiting;
        let mut each = counts.to_string();
        if waiting > 0 {
            let comma = if each.is_empty() { "" } else { ", " };
            each += &format!("{comma}{waiting} no answer yet");
        }
        let total = match hosts {
            0 => "no host yet".to_owned(),
            1 => format!("1 host: {each}"),
            _ => format!("{hosts} hosts: {each}"),
        };
        let time = self.clock.hms(self.now);
        let every = self.plan.interval.as_secs_f64();
        let forms = [
            format!("{time}  every {every} s  {total}"),
            format!("{time}  {total}"),
            total,
        ];
        longest(forms, each, columns)
    }

    fn footer(&self, seen: Range<usize>, lines: usize, columns: usize) -> String {
        if let Some(line) = self.failure {
            return format!("ruptime: {line}");
        }
        let short = "c clears marks, q leaves";
        if seen.len() == lines {
            return longest([short.to_owned()], "q leaves".to_owned(), columns);
        }
        let part = match seen.len() {
            1 => format!("line {} of {lines}", seen.end),
            _ => format!("lines {}-{} of {lines}", seen.start + 1, seen.end),
        };
        let forms = [
            format!("{part}  arrows scroll, {short}"),
            format!("{part}  {short}"),
        ];
        longest(forms, part, columns)
    }

    /// The words behind a host's row.
    fn mark(&self, host: &Host) -> String {
        let last = host.last.as_ref();
        last.map_or_else(String::new, |last| {
            host.marks.words(last.status(), self.clock, self.now)
        })
    }

    /// The part of the table that is seen; its columns are those of all rows.
    fn rows(&self, order: &[usize], seen: Range<usize>, columns: usize) -> Vec<Line> {
        let hosts = self.board.hosts();
        let marks: Vec<String> = order.iter().map(|at| self.mark(&hosts[*at])).collect();
        let rows = order.iter().zip(&marks);
        let rows: Vec<Option<Row<'_>>> = rows.map(|(at, mark)| row(&hosts[*at], mark)).collect();
        let line = |place: usize| match &rows[place] {
            Some(row) => table::Line::from(row),
            None => table::Line {
                host: &hosts[order[place]].name,
                mark: "",
                state: State::Waiting,
                addresses: &[],
            },
        };
        let layout = Layout::new(&self.plan.settings, (0..order.len()).map(line));
        seen.map(|place| {
            let dim = rows[place].is_none() || (self.is_pending)(order[place]);
            let text = layout.line(&line(place), columns, dim);
            Line { text, dim }
        })
        .collect()
    }

    /// Every host's reply. Failures stand among them: standard error would write across the screen.
    fn texts(&self, order: &[usize]) -> Vec<Line> {
        let (mut lines, mut bytes, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for &place in order {
            let host = &self.board.hosts()[place];
            let mark = self.mark(host);
            let row = row(host, &mark);
            let dim = row.is_none() || (self.is_pending)(place);
            match &row {
                Some(row) => push_text(&mut bytes, &mut told, &self.plan.settings, row),
                None => {
                    let name = escape::line(host.name.as_bytes());
                    bytes.extend(format!("{name}: no answer yet").bytes());
                }
            }
            bytes.append(&mut told);
            let text = String::from_utf8_lossy(&bytes);
            lines.extend(text.lines().map(|text| Line {
                text: text.to_owned(),
                dim,
            }));
            bytes.clear();
        }
        lines
    }
}

/// None: the host has not answered yet.
fn row<'a>(host: &'a Host, mark: &'a str) -> Option<Row<'a>> {
    let last = host.last.as_ref()?;
    Some(Row {
        answer: &last.answer,
        mark: mark.into(),
        past: last.past,
    })
}

/// The first of these that fits, or the `last` resort.
fn longest(forms: impl IntoIterator<Item = String>, last: String, columns: usize) -> String {
    let mut forms = forms.into_iter();
    forms.find(|form| form.width() <= columns).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{AT, down, error, up};
    use crate::client::memory::Past;
    use crate::client::output::Settings;
    use proptest::prelude::*;
    use std::time::Duration;

    fn drawn(board: &Board, format: Format, scroll: &mut Scroll, size: Size) -> Vec<Line> {
        let settings = Settings {
            color: true,
            utf8: true,
            ..Settings::new(format, true)
        };
        let picture = Picture {
            plan: &Plan {
                settings,
                conditions: &[],
                interval: Duration::from_secs(2),
                search: false,
            },
            board,
            clock: &Local::utc(),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(AT),
            failure: None,
            is_pending: &|place| place == 1,
        };
        picture.lines(scroll, size)
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    fn board(names: &[&str]) -> Board {
        Board::of(names.iter().copied())
    }

    const WIDE: Size = Size {
        rows: 9,
        columns: 80,
    };

    #[test]
    fn all_hosts_are_there_from_the_start_and_old_values_are_dimmed() {
        let mut board = board(&["web1", "web2", "db1"]);
        let mut scroll = Scroll::default();
        let lines = drawn(&board, Format::Table, &mut scroll, WIDE);
        assert_eq!(
            texts(&lines)[..5],
            [
                "18:16:29  every 2 s  3 hosts: 3 no answer yet",
                "",
                "web1  no answer yet",
                "web2  no answer yet",
                "db1   no answer yet",
            ]
        );
        assert_eq!(lines.last().unwrap().text, "c clears marks, q leaves");
        board.put(0, up("web1", 60, None, None), Past::default());
        board.put(1, up("web2", 120, None, None), Past::default());
        let lines = drawn(&board, Format::Table, &mut scroll, WIDE);
        let rows: Vec<_> = lines[2..5]
            .iter()
            .map(|line| (line.text.as_str(), line.dim))
            .collect();
        let expected = [
            ("web1  up  0:01", false),
            ("web2  up  0:02", true),
            ("db1   no answer yet", true),
        ];
        assert_eq!(rows, expected);
        assert_eq!(
            lines[0].text,
            "18:16:29  every 2 s  3 hosts: 2 up, 1 no answer yet"
        );
    }

    #[test]
    fn a_long_list_is_scrolled_to_both_ends_and_not_beyond() {
        let names: Vec<_> = (1..=30).map(|n| format!("web{n}")).collect();
        let board = Board::of(names.iter().map(String::as_str));
        let (mut scroll, size) = (
            Scroll::default(),
            Size {
                rows: 13,
                columns: 80,
            },
        );
        let mut first = |key: Option<Key>| {
            if let Some(key) = key {
                scroll.go(key);
            }
            let lines = drawn(&board, Format::Table, &mut scroll, size);
            let name = lines[2].text.split(' ').next().unwrap().to_owned();
            (name, lines[12].text.split("  ").next().unwrap().to_owned())
        };
        let at = |name: &str, part: &str| (name.to_owned(), format!("lines {part} of 30"));
        assert_eq!(first(None), at("web1", "1-10"));
        assert_eq!(first(Some(Key::Up)), at("web1", "1-10"));
        assert_eq!(first(Some(Key::Down)), at("web2", "2-11"));
        assert_eq!(first(Some(Key::PageDown)), at("web11", "11-20"));
        assert_eq!(first(Some(Key::PageUp)), at("web2", "2-11"));
        assert_eq!(first(Some(Key::End)), at("web21", "21-30"));
        assert_eq!(first(Some(Key::PageDown)), at("web21", "21-30"));
        assert_eq!(first(Some(Key::Home)), at("web1", "1-10"));
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_screen_and_none_is_more(
            rows in 0..60_usize,
            columns in 20..300_usize,
            host in "[a-z\u{4e00}\u{1f600}\t\u{1b}]{1,60}",
            reason in "[a-z\u{4e00}\u{1b}]{0,90}",
            text: bool,
        ) {
            let mut board = board(&["a", &host, "c", "d"]);
            board.put(0, up("a", 60, Some(1), Some([2.0, 1.0, 0.5])), Past::default());
            board.put(1, error(&host, &reason), Past::default());
            board.put(2, down("c", "connection refused"), Past::default());
            let format = if text { Format::Text } else { Format::Table };
            let lines = drawn(&board, format, &mut Scroll::default(), Size { rows, columns });
            prop_assert!(lines.len() <= rows);
            for line in lines {
                // Colours are the only sequences, and take no columns.
                let mut plain = line.text.clone();
                while let Some(begin) = plain.find("\u{1b}[") {
                    let end = plain[begin..].find('m').expect("a colour") + begin;
                    plain.replace_range(begin..=end, "");
                }
                prop_assert!(!plain.contains(char::is_control), "{plain:?}");
                prop_assert!(plain.width() <= columns, "{plain:?}");
            }
        }
    }
}
