//! The table, line by line.

use super::*;
use crate::client::answer::samples::{AT, down, error, up};
use crate::client::answer::{Answer, Machine};
use crate::client::memory::Past;

const PLAIN_STYLE: Style = Style {
    color: false,
    marks: Marks::None,
};
const BUSY: Option<[f64; 3]> = Some([0.3, 0.2, 0.1]);
const CALM: Option<[f64; 3]> = Some([0.1, 0.1, 0.1]);

fn table(rows: &[Row<'_>], style: Style) -> String {
    let mut out = Vec::new();
    write_styled(&mut out, style, rows.iter().map(Line::from)).expect("written");
    String::from_utf8(out).expect("text")
}

fn plain(answers: &[Answer]) -> String {
    table(
        &answers.iter().map(Row::from).collect::<Vec<_>>(),
        PLAIN_STYLE,
    )
}

fn marked<'a>(answer: &'a Answer, mark: &'a str) -> Row<'a> {
    Row {
        answer,
        mark: mark.into(),
        ..Row::from(answer)
    }
}

#[test]
fn a_silent_hosts_line_says_for_how_long() {
    let answers = [
        up("web1", 273_900, Some(2), Some([0.1, 0.2, 0.3])),
        down("db1", "connection refused"),
        down("db2", "no answer within 5 s"),
        error("odd", "hello"),
    ];
    let past = |days: u64| Past::seen(AT - days * 86_400 - 4_200, false);
    let rows = [
        Row::new(&answers[0], Past::seen(AT - 60, true)),
        Row::new(&answers[1], past(2)),
        Row::new(&answers[2], past(100)),
        Row::new(&answers[3], past(3)),
    ];
    assert_eq!(
        table(&rows, PLAIN_STYLE),
        "\
web1  up       3+04:05,  2 users,  load 0.10, 0.20, 0.30  rebooted
db1   down     2+01:10, connection refused
db2   down   100+01:10, no answer within 5 s
odd   error  hello
"
    );
}

#[test]
fn a_line_is_spelled_as_in_bsd() {
    assert_eq!(
        plain(&[up("name", 273_900, Some(2), Some([0.1, 0.2, 0.3]))]),
        "name  up  3+04:05,  2 users,  load 0.10, 0.20, 0.30\n"
    );
    assert_eq!(
        plain(&[down("name", "connection refused")]),
        "name  down  connection refused\n"
    );
    assert_eq!(
        plain(&[error("name", "empty reply")]),
        "name  error  empty reply\n"
    );
    assert_eq!(plain(&[]), "");
}

#[test]
fn columns_are_aligned() {
    assert_eq!(
        plain(&[
            up("web1", 273_900, Some(2), CALM),
            up(
                "longer-name",
                100 * 86_400,
                Some(1),
                Some([10.0, 9.0, 123.456])
            ),
            down("db1", "no answer within 5 s"),
            up("x", 65, Some(12), None),
            up("busybox", 3_600, None, CALM),
            up("pretty", 3_600, None, None),
            error("odd", "empty reply"),
        ]),
        "\
web1         up       3+04:05,   2 users,  load  0.10, 0.10,   0.10
longer-name  up     100+00:00,   1 user,   load 10.00, 9.00, 123.46
db1          down   no answer within 5 s
x            up          0:01,  12 users
busybox      up          1:00,             load  0.10, 0.10,   0.10
pretty       up          1:00
odd          error  empty reply
"
    );
}

#[test]
fn without_users_anywhere_there_is_no_column_for_them() {
    assert_eq!(
        plain(&[up("a", 60, None, CALM)]),
        "a  up  0:01,  load 0.10, 0.10, 0.10\n"
    );
}

#[test]
fn wide_characters_take_two_columns() {
    let text = plain(&[
        up("東京", 60, None, None),
        up("Zürich", 60, None, None),
        up("e\u{301}", 60, None, None),
    ]);
    assert_eq!(
        text,
        "東京    up  0:01\nZürich  up  0:01\ne\u{301}       up  0:01\n"
    );
}

#[test]
fn a_very_long_name_is_whole_and_moves_only_its_own_line() {
    let long = "x".repeat(253);
    let text = plain(&[
        up("a", 60, None, None),
        up(&long, 60, None, None),
        up("bb", 60, None, None),
    ]);
    assert_eq!(
        text,
        format!("a   up  0:01\n{long}  up  0:01\nbb  up  0:01\n")
    );
    let fits = "y".repeat(MAX_NAME);
    let text = plain(&[up("a", 60, None, None), up(&fits, 60, None, None)]);
    assert_eq!(
        text,
        format!(
            "a{}  up  0:01\n{fits}  up  0:01\n",
            " ".repeat(MAX_NAME - 1)
        )
    );
}

#[test]
fn attack_a_name_or_reason_forges_no_row() {
    let text = plain(&[down("a\n\u{1b}[1Ab", "x\ny\u{202e}")]);
    assert_eq!(text, "a\\n\\x1b[1Ab  down  x\\ny\\u{202e}\n");
}

#[test]
fn the_mark_shows_where_the_load_goes() {
    #[rustfmt::skip]
    let rows = [
        ([0.30, 0.20, 0.10], Trend::Rising),
        ([0.10, 0.20, 0.30], Trend::Falling),
        ([1.00, 1.00, 0.90], Trend::Steady),   // a tenth, but not a fifth
        ([0.19, 0.10, 0.10], Trend::Steady),   // a fifth, but not a tenth
        ([0.20, 0.10, 0.10], Trend::Rising),
        ([12.0, 11.0, 10.0], Trend::Rising),
        ([10.5, 10.2, 10.0], Trend::Steady),
        ([2.00, 5.00, 1.00], Trend::Steady),   // up and down again
        ([2.00, 0.50, 1.00], Trend::Steady),
        ([0.00, 0.00, 0.00], Trend::Steady),
        ([0.00, 0.00, 0.10], Trend::Falling),
    ];
    for (load, trend) in rows {
        assert_eq!(Trend::of(load), trend, "{load:?}");
    }
    let ends = |marks, load| {
        let answer = up("a", 60, None, Some(load));
        let color = false;
        let text = table(&[Row::from(&answer)], Style { color, marks });
        text.trim_end().to_owned()
    };
    let (rising, falling) = ([3.0, 2.0, 1.0], [1.0, 2.0, 3.0]);
    assert!(ends(Marks::Arrows, rising).ends_with("1.00 ↗"));
    assert!(ends(Marks::Arrows, falling).ends_with("3.00 ↘"));
    assert!(ends(Marks::Arrows, [1.0, 1.0, 1.0]).ends_with("1.00"));
    assert!(ends(Marks::Ascii, rising).ends_with("1.00 ^"));
    assert!(ends(Marks::Ascii, falling).ends_with("3.00 v"));
    assert!(ends(Marks::None, falling).ends_with("3.00"));
}

#[test]
fn colour_is_for_down_and_for_load_and_only_when_told() {
    let answers = [
        up("calm", 60, None, CALM),
        up("idle", 60, None, BUSY),
        up("busy", 60, None, Some([3.0, 2.0, 1.0])),
        down("db1", "refused"),
    ];
    let rows: Vec<_> = answers.iter().map(Row::from).collect();
    assert!(!table(&rows, PLAIN_STYLE).contains('\x1b'));
    let colored = table(
        &rows,
        Style {
            color: true,
            marks: Marks::Ascii,
        },
    );
    let lines: Vec<_> = colored.lines().collect();
    assert!(
        !lines[0].contains('\x1b') && !lines[1].contains('\x1b'),
        "{colored}"
    );
    assert!(
        lines[2].ends_with("\x1b[33mload 3.00, 2.00, 1.00 ^\x1b[0m"),
        "{colored}"
    );
    assert_eq!(lines[3], "db1   \x1b[31mdown  refused\x1b[0m");
}

#[test]
fn marks_of_watch_stand_where_the_change_is() {
    let (web, db, odd) = (
        up("web1", 60, Some(1), CALM),
        down("db1", "refused"),
        error("odd", "empty reply"),
    );
    let rows = [
        marked(&web, "rebooted"),
        marked(&db, "since 15:12:00"),
        marked(&odd, "since 15:12:01"),
    ];
    assert_eq!(
        table(&rows, PLAIN_STYLE),
        "\
web1  up  0:01,  1 user,  load 0.10, 0.10, 0.10  rebooted
db1   down since 15:12:00  refused
odd   error since 15:12:01  empty reply
"
    );
}

#[test]
fn a_load_is_as_wide_as_it_is_written() {
    for value in [
        0.0,
        0.994,
        9.99,
        9.994,
        9.996,
        10.0,
        99.994,
        99.996,
        100.0,
        999.99,
        12_345.678,
        999_999_999.99,
    ] {
        assert_eq!(load_width(value), format!("{value:.2}").len(), "{value}");
    }
}

#[test]
fn the_addresses_of_a_machine_end_its_line_unless_they_are_its_name() {
    let found = |answer: Answer, addresses: &[&str]| {
        let addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
        Answer {
            machine: Some(Box::new(Machine { addresses })),
            ..answer
        }
    };
    let answers = [
        found(
            up("web1", 60, Some(1), CALM),
            &["192.0.2.7", "fe80::7%eth0"],
        ),
        found(up("192.0.2.8", 60, Some(1), CALM), &["192.0.2.8"]),
        found(error("odd", "hello"), &["192.0.2.9"]),
    ];
    let lines = [
        "web1       up     0:01,  1 user,  load 0.10, 0.10, 0.10  192.0.2.7 fe80::7%eth0\n",
        "192.0.2.8  up     0:01,  1 user,  load 0.10, 0.10, 0.10\n",
        "odd        error  hello  192.0.2.9\n",
    ];
    assert_eq!(plain(&answers), lines.concat());
}
