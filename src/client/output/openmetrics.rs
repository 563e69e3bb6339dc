//! `openmetrics`: one scrape's worth of the OpenMetrics 1.0 text format, family by family.
//!
//! What goes out is also valid in the older Prometheus text format (0.0.4), where `# UNIT` and
//! `# EOF` are comments, so that node_exporter's textfile collector reads it as it is. For that
//! there are only gauges and no timestamps.

use std::io::{self, Write};

use super::Row;
use crate::client::answer::Answer;
use crate::client::report::Report;
use crate::escape;

fn report(answer: &Answer) -> Option<&Report> {
    answer.outcome.report()
}

struct Family {
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    value: fn(&Answer) -> Option<f64>,
}

const FAMILIES: &[Family] = &[
    Family {
        name: "ruptime_up",
        unit: "",
        help: "Whether the host answered with an uptime line.",
        value: |answer| Some(if report(answer).is_some() { 1.0 } else { 0.0 }),
    },
    Family {
        name: "ruptime_uptime_seconds",
        unit: "seconds",
        help: "Time since the host booted, to the minute.",
        value: |answer| report(answer).map(|r| r.uptime.as_secs_f64()),
    },
    Family {
        name: "ruptime_users",
        unit: "",
        help: "Users logged in.",
        value: |answer| report(answer)?.users.map(f64::from),
    },
    Family {
        name: "ruptime_load1",
        unit: "",
        help: "Load average over 1 minute.",
        value: |answer| report(answer)?.load.map(|[one, _, _]| one),
    },
    Family {
        name: "ruptime_load5",
        unit: "",
        help: "Load average over 5 minutes.",
        value: |answer| report(answer)?.load.map(|[_, five, _]| five),
    },
    Family {
        name: "ruptime_load15",
        unit: "",
        help: "Load average over 15 minutes.",
        value: |answer| report(answer)?.load.map(|[_, _, fifteen]| fifteen),
    },
    Family {
        name: "ruptime_probe_duration_seconds",
        unit: "seconds",
        help: "Time from connecting to the last byte of the answer, name look-up not counted.",
        value: |answer| answer.rtt.map(|rtt| rtt.as_secs_f64()),
    },
];

/// All samples of a family stand together, as the format demands.
pub(super) fn write(out: &mut impl Write, rows: &[Row<'_>]) -> io::Result<()> {
    let label = |row: &Row<'_>| label(&row.answer.host);
    let hosts: Vec<String> = rows.iter().map(label).collect();
    for Family {
        name,
        unit,
        help,
        value,
    } in FAMILIES
    {
        writeln!(out, "# TYPE {name} gauge")?;
        if !unit.is_empty() {
            writeln!(out, "# UNIT {name} {unit}")?;
        }
        writeln!(out, "# HELP {name} {help}")?;
        for (row, host) in rows.iter().zip(&hosts) {
            if let Some(value) = value(row.answer) {
                writeln!(out, "{name}{{host=\"{host}\"}} {value}")?;
            }
        }
    }
    out.write_all(b"# EOF\n")
}

/// A label's value: backslash, quote and line feed are the format's to escape, the rest is made
/// safe to look at first. A backslash of the name's own is doubled before that, so that no two
/// hosts have one label: samples that look alike spoil the whole scrape.
fn label(host: &str) -> String {
    escape::line(host.replace('\\', r"\\").as_bytes())
        .replace('\\', r"\\")
        .replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::samples::{down, error, up};

    fn written(answers: &[Answer]) -> String {
        let mut out = Vec::new();
        let rows: Vec<_> = answers.iter().map(Row::from).collect();
        write(&mut out, &rows).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn one_scrape_of_three_hosts() {
        let answers = [
            up("web1", 273_900, Some(2), Some([0.1, 0.2, 0.3])),
            up("unix:/run/ruptime.sock", 60, None, None),
            down("db1:99", "connection refused"),
        ];
        assert_eq!(
            written(&answers),
            "\
# TYPE ruptime_up gauge
# HELP ruptime_up Whether the host answered with an uptime line.
ruptime_up{host=\"web1\"} 1
ruptime_up{host=\"unix:/run/ruptime.sock\"} 1
ruptime_up{host=\"db1:99\"} 0
# TYPE ruptime_uptime_seconds gauge
# UNIT ruptime_uptime_seconds seconds
# HELP ruptime_uptime_seconds Time since the host booted, to the minute.
ruptime_uptime_seconds{host=\"web1\"} 273900
ruptime_uptime_seconds{host=\"unix:/run/ruptime.sock\"} 60
# TYPE ruptime_users gauge
# HELP ruptime_users Users logged in.
ruptime_users{host=\"web1\"} 2
# TYPE ruptime_load1 gauge
# HELP ruptime_load1 Load average over 1 minute.
ruptime_load1{host=\"web1\"} 0.1
# TYPE ruptime_load5 gauge
# HELP ruptime_load5 Load average over 5 minutes.
ruptime_load5{host=\"web1\"} 0.2
# TYPE ruptime_load15 gauge
# HELP ruptime_load15 Load average over 15 minutes.
ruptime_load15{host=\"web1\"} 0.3
# TYPE ruptime_probe_duration_seconds gauge
# UNIT ruptime_probe_duration_seconds seconds
# HELP ruptime_probe_duration_seconds Time from connecting to the last byte of the answer, name look-up not counted.
ruptime_probe_duration_seconds{host=\"web1\"} 0.0019
ruptime_probe_duration_seconds{host=\"unix:/run/ruptime.sock\"} 0.0019
# EOF
"
        );
    }

    #[test]
    fn an_error_is_not_up_but_took_its_time() {
        let text = written(&[error("a", "hello")]);
        assert!(text.contains("ruptime_up{host=\"a\"} 0\n"));
        assert!(text.contains("ruptime_probe_duration_seconds{host=\"a\"} 0.002\n"));
        assert!(!text.contains("ruptime_uptime_seconds{"));
    }

    #[test]
    fn attack_a_name_that_ends_the_label_or_forges_a_sample() {
        let text = written(&[down("a\"} 1\nruptime_up{host=\"b\\", "no")]);
        assert!(
            text.contains(r#"ruptime_up{host="a\"} 1\\nruptime_up{host=\"b\\\\"} 0"#),
            "{text}"
        );
        assert_eq!(
            text.lines().filter(|l| l.starts_with("ruptime_up")).count(),
            1
        );
    }

    #[test]
    fn attack_a_name_that_spells_anothers_escape() {
        let labels = ["\u{1b}", r"\x1b", r"\\x1b", "\n", r"\n", "\"", "\\\""].map(label);
        let all: std::collections::HashSet<_> = labels.iter().collect();
        assert_eq!(all.len(), labels.len(), "{labels:?}");
    }

    #[test]
    fn attack_escape_sequences_in_a_name() {
        let text = written(&[down("\u{1b}[2J\u{202e}", "no")]);
        assert!(text.contains(r#"{host="\\x1b[2J\\u{202e}"} 0"#), "{text}");
    }
}
