//! `nagios`: a monitoring plugin's answer, by the Monitoring Plugins Development Guidelines.
//!
//! ```text
//! RUPTIME WARNING - web1: load5>=16 (up 3+04:05, 2 users, load 17.10, 16.50, 9.00) | uptime=273900s;;;0 …
//! ```
//!
//! One line with the state and performance data; behind it a line for each host that is not OK. The
//! state is also the exit status. Nagios, Icinga, Naemon and Checkmk read this.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::conditions::Condition;
use super::{Counts, Row, Settings, clock};
use crate::client::answer::{Answer, Outcome};
use crate::client::report::Report;
use crate::escape;

/// How much is printed before hosts are only counted, bytes: monitoring systems keep 4 to 8 KiB.
const MOST: usize = 3_500;

/// How many hosts the first line names.
const NAMED: usize = 5;

/// What a monitoring system makes of the answer, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Ok,
    /// The call is wrong, or could not be made.
    Unknown,
    Warning,
    Critical,
}

impl State {
    /// The exit status that stands for it.
    pub(crate) fn status(self) -> u8 {
        match self {
            State::Ok => 0,
            State::Warning => 1,
            State::Critical => 2,
            State::Unknown => 3,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            State::Ok => "OK",
            State::Warning => "WARNING",
            State::Critical => "CRITICAL",
            State::Unknown => "UNKNOWN",
        }
    }
}

/// When a host that is up is not OK, and what is wrong with the call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Check {
    pub(crate) warning: Vec<Condition>,
    pub(crate) critical: Vec<Condition>,
    /// Bad lines of hosts files.
    pub(crate) complaints: Vec<String>,
}

/// Says why there is no answer.
///
/// # Errors
/// Writing failed.
pub(crate) fn unknown(out: &mut impl Write, reason: &str) -> io::Result<()> {
    writeln!(
        out,
        "RUPTIME {} - {}",
        State::Unknown.as_str(),
        shown(reason)
    )
}

/// Says what has become of all hosts; lines are printed only for those of `is_shown`.
///
/// # Errors
/// Writing failed.
pub(crate) fn write(
    out: &mut impl Write,
    check: &Check,
    settings: &Settings,
    rows: &[Row<'_>],
    is_shown: impl Fn(&Answer) -> bool,
) -> io::Result<State> {
    let mut findings: Vec<_> = rows.iter().map(|row| check.finding(row.answer)).collect();
    let complaints = check.complaints.iter();
    findings.extend(complaints.map(|line| Finding::unknown(line)));
    let state = findings.iter().map(|finding| finding.state).max();
    // A search that has found nobody.
    let state = state.unwrap_or(State::Critical);
    let single = match (&findings[..], settings.many) {
        ([finding], false) => Some(finding),
        _ => None,
    };
    let counts: Counts = rows.iter().map(|row| row.answer).collect();
    let told = match single {
        Some(finding) => finding.line(),
        None => told_of_many(&findings, &counts),
    };
    let data = match (single, rows) {
        (Some(_), [row]) => data_of_one(check, row.answer),
        _ => data_of_many(&counts),
    };
    let bar = if data.is_empty() { "" } else { " | " };
    writeln!(out, "RUPTIME {} - {told}{bar}{data}", state.as_str())?;
    let lines = findings.iter();
    let lines = lines.filter(|each| each.answer.is_none_or(&is_shown));
    out.write_all(details(lines).as_bytes())?;
    Ok(state)
}

/// What is said of one host, or of the call.
struct Finding<'a> {
    state: State,
    /// None: it is about the call.
    answer: Option<&'a Answer>,
    text: String,
}

impl Check {
    fn finding<'a>(&self, answer: &'a Answer) -> Finding<'a> {
        let holds = |conditions: &[Condition]| {
            let first = conditions.iter().find(|each| each.holds(answer, false));
            first.map(|condition| condition.word().to_owned())
        };
        let (state, text) = match &answer.outcome {
            Outcome::Down { reason } | Outcome::Error { reason, .. } => {
                let status = answer.outcome.status().as_str();
                (State::Critical, format!("{status}, {reason}"))
            }
            Outcome::Up { report, .. } => {
                let values = values(report);
                match (holds(&self.critical), holds(&self.warning)) {
                    (Some(word), _) => (State::Critical, format!("{word} ({values})")),
                    (None, Some(word)) => (State::Warning, format!("{word} ({values})")),
                    (None, None) => (State::Ok, values),
                }
            }
        };
        Finding {
            state,
            answer: Some(answer),
            text,
        }
    }
}

impl Finding<'_> {
    fn unknown(line: &str) -> Finding<'static> {
        Finding {
            state: State::Unknown,
            answer: None,
            text: line.to_owned(),
        }
    }

    fn line(&self) -> String {
        match self.answer {
            Some(answer) => shown(&format!("{}: {}", answer.host, self.text)),
            None => shown(&self.text),
        }
    }
}

/// `up 3+04:05, 2 users, load 0.10, 0.20, 0.30`
fn values(report: &Report) -> String {
    let mut text = format!("up {}", clock::span(report.uptime));
    if let Some(users) = report.users {
        let word = if users == 1 { "user" } else { "users" };
        let _ = write!(text, ", {users} {word}");
    }
    if let Some([one, five, fifteen]) = report.load {
        let _ = write!(text, ", load {one:.2}, {five:.2}, {fifteen:.2}");
    }
    text
}

/// `103 hosts: 103 up`, or which of them are not OK.
fn told_of_many(findings: &[Finding<'_>], counts: &Counts) -> String {
    let bad = |finding: &&Finding<'_>| finding.answer.is_some() && finding.state != State::Ok;
    let number = findings.iter().filter(bad).count();
    if counts.hosts() == 0 {
        return "nobody answered".to_owned();
    }
    if number == 0 {
        return counts.summary();
    }
    let names = findings.iter().filter(bad).filter_map(|each| each.answer);
    let names: Vec<_> = names
        .take(NAMED)
        .map(|answer| shown(&answer.host))
        .collect();
    let more = match number.saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (hosts, names) = (counts.hosts(), names.join(", "));
    format!("{number} of {hosts} hosts not OK: {names}{more}")
}

/// A line for each that is not OK, the worst first, as many as a monitoring system keeps.
fn details<'a>(findings: impl Iterator<Item = &'a Finding<'a>>) -> String {
    let mut bad: Vec<_> = findings
        .filter(|finding| finding.state != State::Ok)
        .collect();
    bad.sort_by_key(|finding| std::cmp::Reverse(finding.state));
    let mut text = String::new();
    for (number, finding) in bad.iter().enumerate() {
        let line = format!("{} {}\n", finding.state.as_str(), finding.line());
        if text.len() + line.len() > MOST {
            let _ = writeln!(text, "and {} more", bad.len() - number);
            break;
        }
        text.push_str(&line);
    }
    text
}

/// `'label'=value[unit];[warn];[crit];[min];[max]`, for what the host has told.
fn data_of_one(check: &Check, answer: &Answer) -> String {
    let mut data = Vec::new();
    for (name, unit, value) in super::conditions::values(answer) {
        let range = |conditions: &[Condition]| {
            let mut ranges = conditions.iter().filter_map(|each| each.alert_range(name));
            // Two of one field make no range.
            ranges
                .next()
                .filter(|_| ranges.next().is_none())
                .unwrap_or_default()
        };
        let (warning, critical) = (range(&check.warning), range(&check.critical));
        data.push(format!("{name}={value}{unit};{warning};{critical};0"));
    }
    data.join(" ")
}

fn data_of_many(counts: &Counts) -> String {
    let hosts = counts.hosts();
    let each = |(status, count): (&str, usize)| format!("{status}={count};;;0;{hosts}");
    counts.each().map(each).collect::<Vec<_>>().join(" ")
}

/// On one line, and without the sign that begins performance data.
fn shown(text: &str) -> String {
    escape::line(text.as_bytes()).replace('|', "\\x7c")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client::answer::samples::{down, error, up};
    use crate::client::output::Format;

    fn check(warning: &[&str], critical: &[&str]) -> Check {
        let read = |words: &[&str]| {
            let condition = |word: &&str| Condition::parse(word).expect(word);
            words.iter().map(condition).collect()
        };
        Check {
            warning: read(warning),
            critical: read(critical),
            complaints: Vec::new(),
        }
    }

    fn told(check: &Check, answers: &[Answer]) -> (State, String) {
        let rows: Vec<_> = answers.iter().map(Row::from).collect();
        let settings = Settings::new(Format::Nagios, answers.len() > 1);
        let mut out = Vec::new();
        let state = write(&mut out, check, &settings, &rows, |_| true).expect("written");
        (state, String::from_utf8(out).expect("text"))
    }

    fn web1() -> Answer {
        up("web1", 273_900, Some(2), Some([17.1, 16.5, 9.0]))
    }

    #[test]
    fn one_host_is_one_line_with_all_that_it_says() {
        let values = "up 3+04:05, 2 users, load 17.10, 16.50, 9.00";
        let data = |range: &str| {
            format!(
                "uptime=273900s;;;0 users=2;;;0 load1=17.1;;;0 load5=16.5;{range};0 load15=9;;;0 rtt=0.0019s;;;0"
            )
        };
        let (state, text) = told(&check(&[], &[]), &[web1()]);
        assert_eq!(
            text,
            format!("RUPTIME OK - web1: {values} | {}\n", data(";"))
        );
        assert_eq!(state.status(), 0);
        let (state, text) = told(&check(&["load5>=16"], &["load5>20"]), &[web1()]);
        let expected = format!(
            "RUPTIME WARNING - web1: load5>=16 ({values}) | {}\nWARNING web1: load5>=16 ({values})\n",
            data("@16:;20")
        );
        assert_eq!((state.status(), text), (1, expected));
        let (state, _) = told(&check(&["load5>=16"], &["uptime<1d", "users=2"]), &[web1()]);
        assert_eq!(state.status(), 2);
        let (state, text) = told(&check(&[], &[]), &[down("db1", "connection refused")]);
        assert_eq!(
            text,
            "RUPTIME CRITICAL - db1: down, connection refused\nCRITICAL db1: down, connection refused\n"
        );
        assert_eq!(state.status(), 2);
    }

    #[test]
    fn of_many_hosts_those_that_are_not_ok_have_a_line_the_worst_first() {
        let calm = |host| up(host, 60, Some(1), None);
        let hosts = [
            web1(),
            calm("web2"),
            down("db1", "refused"),
            error("odd", "hello"),
        ];
        let (state, text) = told(&check(&["load1>16"], &[]), &hosts);
        assert_eq!(state, State::Critical);
        assert_eq!(
            text,
            "\
RUPTIME CRITICAL - 3 of 4 hosts not OK: web1, db1, odd | up=2;;;0;4 down=1;;;0;4 error=1;;;0;4
CRITICAL db1: down, refused
CRITICAL odd: error, hello
WARNING web1: load1>16 (up 3+04:05, 2 users, load 17.10, 16.50, 9.00)
"
        );
        let (state, text) = told(&check(&[], &["users>5"]), &[calm("a"), calm("b")]);
        assert_eq!(state, State::Ok);
        assert_eq!(
            text,
            "RUPTIME OK - 2 hosts: 2 up | up=2;;;0;2 down=0;;;0;2 error=0;;;0;2\n"
        );
    }

    #[test]
    fn a_bad_line_is_unknown_unless_a_host_is_worse() {
        let mut check = check(&[], &[]);
        check
            .complaints
            .push("hosts:3: a b: one host a line".to_owned());
        let (state, text) = told(&check, &[web1(), web1()]);
        assert_eq!(state.status(), 3);
        assert!(
            text.ends_with("\nUNKNOWN hosts:3: a b: one host a line\n"),
            "{text}"
        );
        assert_eq!(told(&check, &[web1(), down("b", "no")]).0, State::Critical);
    }

    #[test]
    fn thousands_that_are_down_are_counted() {
        let hosts: Vec<_> = (0..2000)
            .map(|n| down(&format!("db{n}"), "refused"))
            .collect();
        let (_, text) = told(&check(&[], &[]), &hosts);
        assert!(text.len() < 4096, "{}", text.len());
        let listed = text
            .lines()
            .filter(|line| line.starts_with("CRITICAL "))
            .count();
        let last = format!("and {} more", 2000 - listed);
        assert_eq!(text.lines().last(), Some(&last[..]));
        assert!(text.starts_with(
            "RUPTIME CRITICAL - 2000 of 2000 hosts not OK: db0, db1, db2, db3, db4 and 1995 more |"
        ));
    }

    proptest! {
        #[test]
        fn attack_a_host_or_reply_cannot_make_performance_data_or_lines(
            host in "[a|'=;\n\u{1b} ]{1,9}",
            reason in "[a|'=;\n\u{1b} ]{0,9}",
            many: bool,
        ) {
            let mut hosts = vec![down(&host, &reason)];
            if many {
                hosts.push(error(&host, &reason));
            }
            let (_, text) = told(&check(&[], &[]), &hosts);
            let (first, rest) = text.split_once('\n').expect("a line");
            prop_assert_eq!(first.matches('|').count(), usize::from(many));
            prop_assert_eq!(rest.lines().count(), hosts.len());
            prop_assert!(!rest.contains('|'));
            prop_assert_eq!(text.find('\u{1b}'), None);
        }
    }
}
