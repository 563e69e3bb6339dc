//! A round that is over → bytes to append. Pure.

use std::io;
use std::time::SystemTime;

use super::Plan;
use super::board::{Board, Host};
use crate::client::answer::Status;
use crate::client::output::clock::Local;
use crate::client::output::{self, Format, Row};

/// Everything that is shown of a round.
pub(super) struct View<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) board: &'a Board,
    pub(super) clock: &'a Local,
    pub(super) now: SystemTime,
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
        let settings = &self.plan.settings;
        let table = settings.format == Format::Table;
        if table {
            let time = self.clock.date_hms(self.now);
            let (counts, _) = self.board.counts();
            out.extend(format!("{time}  {counts}\n").bytes());
        }
        let shown = self.board.order(settings, self.plan.conditions).into_iter();
        let rows: Vec<_> = shown
            .filter_map(|at| self.row(&self.board.hosts()[at]))
            .collect();
        output::write(&mut out, &mut err, settings, &rows)?;
        if table {
            out.push(b'\n');
        }
        Ok((out, err))
    }

    /// What is printed of a host: JSON lines have left as they came, but for the machines that a
    /// search finds no more.
    fn row<'b>(&self, host: &'b Host) -> Option<Row<'b>> {
        let last = host.last.as_ref()?;
        let is_gone = self.plan.search && last.status() == Status::Down;
        let has_left = self.plan.settings.format == Format::Jsonl && !is_gone;
        (!has_left).then(|| Row {
            answer: &last.answer,
            mark: last.change.mark(self.clock, self.now),
            past: last.past,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{AT, down, error, up};
    use crate::client::memory::Past;
    use crate::client::output::Settings;
    use crate::client::output::conditions::Condition;
    use std::time::Duration;

    fn plan(format: Format, conditions: &[Condition]) -> Plan<'_> {
        Plan {
            settings: Settings::new(format, true),
            conditions,
            interval: Duration::from_secs(2),
            search: false,
        }
    }

    fn appended(plan: &Plan<'_>, board: &Board, failure: Option<&str>) -> (String, String) {
        let view = View {
            plan,
            board,
            clock: &Local::utc(),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(AT),
            failure,
        };
        let (out, err) = view.append().expect("written");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(out), text(err))
    }

    /// The second round of four hosts: one of them has rebooted, one is down now.
    fn board() -> Board {
        let mut board = Board::of_rounds(9);
        let web = |minutes: u64| up("web2", 60 * minutes, Some(2), None);
        let (web1, odd) = (up("web1", 60, Some(2), None), error("odd", "hello"));
        let first = [
            web1.clone(),
            web(90),
            up("db1", 60, None, None),
            odd.clone(),
        ];
        board.put_round(first.to_vec(), |_| Past::default());
        let second = [web1, web(2), down("db1", "refused"), odd];
        board.put_round(second.to_vec(), |_| Past::default());
        board
    }

    #[test]
    fn only_what_fulfils_the_conditions_is_shown_and_all_is_counted() {
        let shown = |word: &str| {
            let conditions = [Condition::parse(word).expect(word)];
            let (out, _) = appended(&plan(Format::Table, &conditions), &board(), None);
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
        let failure = Some("no network");
        let (out, err) = appended(&plan(Format::Json, &[]), &Board::of_rounds(9), failure);
        assert_eq!(out, "[]\n");
        assert_eq!(err, "ruptime: no network\n");
    }

    #[test]
    fn elsewhere_a_table_has_the_time_above_and_a_blank_line_below() {
        let (out, err) = appended(&plan(Format::Table, &[]), &board(), None);
        assert!(
            out.starts_with("2026-11-22 18:16:29  2 up, 1 down, 1 error\nweb1  up"),
            "{out}"
        );
        assert!(out.ends_with("odd   error  hello\n\n"), "{out}");
        assert_eq!(err, "");
    }

    #[test]
    fn elsewhere_text_keeps_its_two_streams() {
        let (out, err) = appended(&plan(Format::Text, &[]), &board(), None);
        assert_eq!(
            out,
            "web1:  18:16:29 up of web1\nweb2:  18:16:29 up of web2\nodd: hello\n"
        );
        assert_eq!(
            err,
            "ruptime: web2: rebooted\nruptime: db1: refused\nruptime: db1: down since 18:16:29\n"
        );
    }

    #[test]
    fn the_other_formats_are_what_they_are_without_watch() {
        let appended = |format| appended(&plan(format, &[]), &board(), None).0;
        let json = serde_json::from_str::<Vec<serde_json::Value>>(&appended(Format::Json));
        assert_eq!(json.expect("an array").len(), 4);
        assert!(appended(Format::Openmetrics).ends_with("# EOF\n"));
    }

    #[test]
    fn json_lines_have_left_but_for_machines_that_are_found_no_more() {
        let named = plan(Format::Jsonl, &[]);
        assert_eq!(appended(&named, &board(), None).0, "");
        let search = Plan {
            search: true,
            ..named
        };
        let (lines, _) = appended(&search, &board(), None);
        assert!(lines.starts_with("{\"host\":\"db1\""), "{lines}");
        assert_eq!(lines.lines().count(), 1);
    }
}
