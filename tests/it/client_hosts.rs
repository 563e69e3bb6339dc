//! Where hosts come from, and what a usage error looks like.

use std::path::Path;

use crate::common::fake::{Fake, LINE, Ran, client, closed_port, ruptime};
use crate::common::temp::TempDir;

#[track_caller]
fn assert_usage(ran: &Ran, part: &str) {
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(
        ran.out.is_empty() && ran.err.starts_with("ruptime: "),
        "{ran:?}"
    );
    assert!(
        ran.err.contains(part) && ran.err.lines().count() == 1,
        "{part}: {ran:?}"
    );
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

#[test]
fn hosts_come_from_files_and_standard_input() {
    let up = Fake::up("0.0.0.0");
    let folder = TempDir::new();
    let word = |n: usize| format!("127.0.0.{n}:{}", up.port());
    let file = folder.file("hosts", format!("# some\n{} # one\r\n\n", word(2)));
    let mut command = client(&["-f", text(&file), "-f", "-", "-o", "text", &word(1)]);
    let ran = crate::common::fake::run(&mut command, word(3).as_bytes());
    let expected: String = (1..=3).map(|n| format!("{}: {LINE}", word(n))).collect();
    ran.assert_up(&expected);
}

#[test]
fn the_users_file_is_the_default() {
    let up = Fake::up("127.0.0.1");
    let folder = TempDir::new();
    for (variable, below) in [("XDG_CONFIG_HOME", "ruptime"), ("HOME", ".config/ruptime")] {
        std::fs::create_dir_all(folder.join(below)).unwrap();
        folder.file(&format!("{below}/hosts"), up.host());
        let mut command = client(&[] as &[&str]);
        crate::common::fake::run(command.env(variable, folder.join("")), b"").assert_up(LINE);
    }
}

#[test]
fn an_address_that_programs_read_differently_is_refused() {
    // Each is 127.0.0.1 or 127.0.0.9 to inet_aton(3), and somebody listens there.
    let up = Fake::up("0.0.0.0");
    for address in ["127.0.0.011", "127.1", "0x7f.1", "2130706433", "127.0.0.1."] {
        let ran = ruptime(&[format!("{address}:{}", up.port())]);
        assert_usage(&ran, "an IPv4 address is four numbers");
        assert!(ran.err.contains(address), "{ran:?}");
    }
    assert_eq!(up.asked(), 0);
}

#[test]
fn a_bad_line_is_told_and_the_others_are_asked() {
    let up = Fake::up("127.0.0.1");
    let folder = TempDir::new();
    let file = folder.file("hosts", format!("web1:0\n{}\n\u{1b}[31m\n", up.host()));
    let ran = ruptime(&["-o", "text", "-f", text(&file)]);
    assert_eq!((ran.status, ran.text().as_str()), (1, LINE), "{ran:?}");
    let told: Vec<_> = ran.err.lines().collect();
    assert_eq!(told.len(), 2, "{ran:?}");
    assert_eq!(
        told[0],
        format!(
            "ruptime: {}:1: web1:0: port 0: ports are 1 to 65535",
            text(&file)
        )
    );
    assert!(
        told[1].starts_with(&format!("ruptime: {}:3: ", text(&file))),
        "{ran:?}"
    );
    assert!(!ran.err.contains('\u{1b}'), "{ran:?}");

    // Nothing but bad lines is still no usage error, and what is printed can be parsed.
    let file = folder.file("bad", "a b\n");
    for (format, out) in [("text", ""), ("table", ""), ("json", "[]\n"), ("jsonl", "")] {
        let ran = ruptime(&["-o", format, "-f", text(&file)]);
        assert_eq!((ran.status, ran.err.lines().count()), (1, 1), "{ran:?}");
        assert_eq!(ran.text(), out, "{format}");
    }
    let ran = ruptime(&["-o", "openmetrics", "-f", text(&file)]);
    assert!(
        ran.status == 1 && ran.text().ends_with("\n# EOF\n"),
        "{ran:?}"
    );
}

#[test]
fn a_file_without_hosts_is_no_error_beside_hosts() {
    let up = Fake::up("127.0.0.1");
    let folder = TempDir::new();
    let comments = folder.file("comments", "# nobody\n\n");
    ruptime(&["-o", "text", "-f", text(&comments), &up.host()]).assert_up(LINE);
    let mut twice = client(&["-o", "text", "-f", text(&comments), "-f", "-", "-f", "-"]);
    crate::common::fake::run(&mut twice, up.host().as_bytes()).assert_up(LINE);
}

#[test]
fn files_that_are_none_are_usage_errors() {
    let folder = TempDir::new();
    let empty = folder.file("empty", "");
    let comments = folder.file("comments", "# nobody\n\n");
    assert_usage(&ruptime(&["-f", text(&empty)]), "empty: names no host");
    assert_usage(
        &ruptime(&["-f", text(&comments)]),
        "comments: names no host",
    );
    assert_usage(&ruptime(&["-f", "-"]), "standard input: names no host");
    assert_usage(&ruptime(&["-f", text(&folder.join(""))]), "is a directory");
    assert_usage(
        &ruptime(&["-f", text(&folder.join("none"))]),
        "no such file or directory",
    );
    assert_usage(
        &ruptime(&["-f", text(&empty.join("below"))]),
        "not a directory",
    );
    assert_usage(
        &ruptime(&["-f", "/dev/zero"]),
        "/dev/zero: more than 64 MiB",
    );
}

#[test]
fn no_host_at_all_is_a_usage_error() {
    if Path::new("/etc/ruptime/hosts").exists() {
        return crate::common::leave_out("this machine has an /etc/ruptime/hosts");
    }
    let folder = TempDir::new();
    let mut command = client(&[] as &[&str]);
    let ran = crate::common::fake::run(command.env("XDG_CONFIG_HOME", folder.join("")), b"");
    assert_usage(&ran, "ruptime/hosts or /etc/ruptime/hosts");
}

#[test]
fn bad_arguments_are_usage_errors_of_one_line() {
    let table: [(&[&str], &str); 24] = [
        (&["web1:0"], "web1:0: port 0: ports are 1 to 65535"),
        (&["web1:99999"], "web1:99999: port 99999"),
        (&["-p", "0", "web1"], "port 0"),
        (&["-p", "99999", "web1"], "port 99999"),
        (&["-4", "-6", "web1"], "cannot be used with"),
        (&["-l", "-u", "web1"], "cannot be used with"),
        (&["--discover", "web1"], "cannot be used with"),
        (&["--discover", "-f", "x"], "cannot be used with"),
        (&["--timeout", "0", "web1"], "--timeout"),
        (&["--timeout", "soon", "web1"], "--timeout"),
        (&["--output", "xml", "web1"], "xml"),
        (&["--jobs", "none", "web1"], "--jobs"),
        (&["--unheard-of"], "--unheard-of"),
        (&[""], "ruptime: '': the host's name is empty"),
        (&["-w", "5", "web1"], "did you mean --watch=5?"),
        (&["--watch", "0.5", "web1"], "did you mean --watch=0.5?"),
        (
            &["--timeout", "-1", "web1"],
            "'-1' for '--timeout <SECONDS>'",
        ),
        (&["-j", "-1", "web1"], "'-1' for '--jobs <N>'"),
        (&["-p", "-1", "web1"], "'-1' for '--port <PORT>'"),
        (
            &["-j", "99999999999999999999", "web1"],
            "too large a number",
        ),
        (
            &["-p", "no-such", "127.0.0.1"],
            "--port: /etc/services has no service no-such; give the port's number",
        ),
        (&["--udp", "-p", "no-such", "web1"], "no-such/udp"),
        (&["http://web1/"], "a URL is no HOST"),
        (&["fe80::1"], "fe80::1%INTERFACE"),
    ];
    for (arguments, part) in table {
        assert_usage(&ruptime(arguments), part);
    }
}

#[test]
fn attack_a_usage_error_shows_its_argument_escaped_and_whole() {
    let ran = ruptime(&["--timeout", "1\n\n2\u{202e}\u{1b}[31m3"]);
    assert_usage(
        &ran,
        "'1\\n\\n2\\u{202e}\\x1b[31m3' for '--timeout <SECONDS>': not a time",
    );
    let ran = ruptime(&["--no\n\nsuch\u{202e}"]);
    assert_usage(&ran, "'--no\\n\\nsuch\\u{202e}'");
}

#[test]
fn an_argument_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::ffi::OsStr::from_bytes;
    let arguments = [b"-f".as_slice(), b"x\xfe", b"web1", b"web\xff"].map(bytes);
    assert_usage(&ruptime(&arguments), r"web\xff: not UTF-8");
}

#[test]
fn help_has_examples_and_version_is_the_crates() {
    let ran = ruptime(&["--help"]);
    assert!(ran.status == 0 && ran.err.is_empty(), "{ran:?}");
    assert!(ran.text().contains("Examples:"), "{ran:?}");
    let ran = ruptime(&["--version"]);
    ran.assert_up(&format!("ruptime {}\n", env!("CARGO_PKG_VERSION")));
}

/// The hosts that a call asks, in its order: nobody listens on their port.
fn asked(arguments: &[&str], input: &str) -> Vec<String> {
    let mut command = client(arguments);
    let ran = crate::common::fake::run(command.args(["-o", "json"]), input.as_bytes());
    assert!(ran.err.is_empty() && ran.status == 1, "{ran:?}");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&ran.text()).expect("rows");
    let host = |row: &serde_json::Value| row["host"].as_str().expect("a host").to_owned();
    rows.iter().map(host).collect()
}

#[test]
fn ranges_and_lists_are_hosts_by_their_own_names() {
    let (_held, closed) = closed_port("127.0.0.1");
    let port = closed.port();
    let each = |hosts: &[&str]| -> Vec<String> {
        hosts.iter().map(|host| format!("{host}:{port}")).collect()
    };
    let port = port.to_string();
    assert_eq!(
        asked(
            &["-p", &port, "127.0.0.[9-11,2],127.0.1.1", "127.0.0.9"],
            ""
        ),
        [
            "127.0.0.9",
            "127.0.0.10",
            "127.0.0.11",
            "127.0.0.2",
            "127.0.1.1"
        ]
    );
    let file = format!("127.0.[0-1].[1-3/2]:{port}\n# more\n127.0.0.8:{port}\n");
    assert_eq!(
        asked(&["-f", "-", &format!("[::1]:{port}")], &file),
        [
            vec![format!("[::1]:{port}")],
            each(&[
                "127.0.0.1",
                "127.0.0.3",
                "127.0.1.1",
                "127.0.1.3",
                "127.0.0.8"
            ])
        ]
        .concat()
    );
}

#[test]
fn groups_are_asked_by_name_and_hosts_are_left_out() {
    let (_held, closed) = closed_port("127.0.0.1");
    let port = closed.port().to_string();
    let folder = TempDir::new();
    let file = "127.0.0.1\n[web]\n127.0.1.[1-3]\n[db]\n127.0.2.1\n127.0.1.2\n[all]\n@web\n@db\n127.0.3.1\n";
    let file = folder.file("hosts", file);
    let of_file = |more: &[&str]| {
        let arguments = [&["-p", &port, "-f", text(&file)], more].concat();
        asked(&arguments, "")
    };
    let web = ["127.0.1.1", "127.0.1.2", "127.0.1.3"];
    assert_eq!(of_file(&["@web"]), web);
    assert_eq!(
        of_file(&["127.0.9.9,@db", "@web"]),
        [
            "127.0.9.9",
            "127.0.2.1",
            "127.0.1.2",
            "127.0.1.1",
            "127.0.1.3"
        ]
    );
    assert_eq!(of_file(&["@all"]).len(), 5);
    // Without @GROUP all hosts of the file are asked, each once.
    assert_eq!(of_file(&[]).len(), 6);
    assert_eq!(
        of_file(&["-x", "@web", "--exclude", "127.0.[2-3].1"]),
        ["127.0.0.1"]
    );
    assert_eq!(
        of_file(&["@web", "-x", "127.0.1.2"]),
        ["127.0.1.1", "127.0.1.3"]
    );
    // The default file says what a group is, and no more.
    std::fs::create_dir_all(folder.join("ruptime")).expect("a folder");
    std::fs::copy(&file, folder.join("ruptime/hosts")).expect("a copy");
    let of_default = |arguments: &[&str]| {
        let mut command = client(&["-p", &port, "-o", "json"]);
        command
            .args(arguments)
            .env("XDG_CONFIG_HOME", folder.join(""));
        crate::common::fake::run(&mut command, b"")
            .text()
            .matches("\"host\"")
            .count()
    };
    assert_eq!(of_default(&["@web"]), 3);
    assert_eq!(of_default(&["127.0.1.[1-9]", "-x", "@web"]), 6);
}

#[test]
fn bad_ranges_and_groups_are_usage_errors_that_quote_the_word() {
    let folder = TempDir::new();
    let file = folder.file("hosts", "[a]\n@b\n[b]\n@a\n[empty]\n[web]\nweb1\n");
    let of_file = |word: &str| ruptime(&["-f", text(&file), word]);
    for (word, part) in [
        ("n[5-1]", "n[5-1]: 5-1: a falling range"),
        ("n[]", "n[]: an empty range"),
        ("n[1-", "n[1-: a [ without its ]"),
        ("n[a-c]", "n[a-c]: a-c: a range is of numbers"),
        (
            "n[1-9999999999]",
            "n[1-9999999999]: more than 1,048,576 hosts",
        ),
        (
            "r[1-1024]n[1-1025]",
            "r[1-1024]n[1-1025]: more than 1,048,576 hosts",
        ),
        ("web1,", "web1,: the host's name is empty"),
        ("@", "@: a group's name is"),
    ] {
        assert_usage(&ruptime(&[word]), part);
        assert_usage(&ruptime(&["-x", word, "web1"]), part);
    }
    let name = text(&file);
    for (word, part) in [
        (
            "@nobody",
            format!("@nobody: no group of this name in {name}"),
        ),
        ("@empty", "@empty: the group is empty".to_owned()),
        ("@a", "@a: the group holds itself: a, b, a".to_owned()),
    ] {
        assert_usage(&of_file(word), &part);
    }
    assert_usage(&of_file("-xweb1"), "--exclude leaves no host");
    // In a file they are bad lines.
    let file = folder.file("bad", "n[5-1]\n[a]\n@a\n@nobody\n");
    let ran = ruptime(&["-o", "json", "-f", text(&file)]);
    assert_eq!((ran.status, ran.text().as_str()), (1, "[]\n"), "{ran:?}");
    let told: Vec<_> = ran
        .err
        .lines()
        .map(|line| line.split_once("bad:").expect("the file").1)
        .collect();
    assert_eq!(
        told,
        [
            "1: n[5-1]: 5-1: a falling range",
            "3: @a: the group holds itself",
            "4: @nobody: no group of this name",
        ]
    );
}
