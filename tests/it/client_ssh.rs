//! `ssh:` and `--ssh`, against OpenSSH's own server on loopback.

use std::path::Path;
use std::time::Duration;

use crate::common::fake::{Fake, LINE, closed_port, ruptime};
use crate::common::ssh::Sshd;
use crate::common::temp::TempDir;
use crate::common::terminal::Terminal;
use crate::common::{wait_for, wait_until};

const RUPTIME: &str = env!("CARGO_BIN_EXE_ruptime");

/// What procps prints for this machine; its clock and loads are not compared.
fn is_uptime(line: &str) -> bool {
    line.contains(" up ") && line.contains("load average: ")
}

#[test]
fn a_machine_is_asked_in_every_form() {
    let Some(sshd) = Sshd::new() else { return };
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    for host in [
        "ssh:127.0.0.1".to_owned(),
        "ssh:localhost".to_owned(),
        format!("ssh:localhost:{}", sshd.port),
        format!("ssh:{user}@127.0.0.1:{}", sshd.port),
    ] {
        let ran = sshd.ruptime(&["-4", &host]);
        assert!(
            ran.status == 0 && ran.err.is_empty() && is_uptime(&ran.text()),
            "{ran:?}"
        );
    }
    let ran = sshd.ruptime(&["-o", "json", "--ssh", "127.0.0.1", "127.0.0.2"]);
    let text = ran.text();
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(text.matches(r#""status":"up""#).count(), 2, "{text}");
    assert_eq!(text.matches(r#""address":null"#).count(), 2, "{text}");
    assert!(!text.contains(r#""rtt_ms":null"#), "{text}");
    // Its port is that of the hosts that are asked by ssh only where all are.
    let port = sshd.port.to_string();
    sshd.configure("Port 1");
    let ran = sshd.ruptime(&["--ssh", "-p", &port, "127.0.0.1"]);
    assert!(ran.status == 0 && is_uptime(&ran.text()), "{ran:?}");
    let ran = sshd.ruptime(&["-p", &port, "ssh:127.0.0.1"]);
    assert!(
        ran.status == 1 && ran.err.contains("port 1: Connection refused"),
        "{ran:?}"
    );
}

#[test]
fn beside_hosts_of_other_kinds() {
    let Some(sshd) = Sshd::new() else { return };
    let up = Fake::up("127.0.0.1");
    let ran = sshd.ruptime(&[
        "-o",
        "text",
        "--ssh",
        "ssh:127.0.0.[1-3]",
        &format!("udp:{}", up.host()),
    ]);
    assert_eq!(
        ran.text().lines().filter(|line| is_uptime(line)).count(),
        3,
        "{ran:?}"
    );
    let ran = sshd.ruptime(&["-o", "text", &up.host(), "ssh:127.0.0.1"]);
    assert!(ran.status == 0 && ran.text().contains(LINE), "{ran:?}");
}

#[test]
fn the_reason_is_what_ssh_said_last() {
    let Some(sshd) = Sshd::new() else { return };
    let down = |config: &str, host: &str, reason: &str| {
        sshd.configure(config);
        let ran = sshd.ruptime(&[host]);
        let last = ran.err.trim_end();
        assert!(ran.status == 1 && ran.out.is_empty(), "{ran:?}");
        assert!(last.starts_with(&format!("ruptime: {host}: ")), "{ran:?}");
        assert!(last.ends_with(reason), "{reason}: {ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    };
    let (_closed, closed) = closed_port("127.0.0.1");
    let port = closed.port();
    down("", &format!("ssh:127.0.0.1:{port}"), "Connection refused");
    down("", "ssh:no-such-host.invalid", "not known");
    let dir = sshd.files.path().display();
    let other =
        format!("Host 127.0.0.2\nIdentityFile {dir}/other\nIdentitiesOnly yes\nIdentityAgent none");
    // The first IdentityFile does not hide the second: all are tried.
    std::fs::write(sshd.files.join("authorized"), "").expect("no key");
    down(&other, "ssh:127.0.0.2", "Permission denied (publickey).");
    down(
        &format!("Host 127.0.0.3\nUserKnownHostsFile {dir}/none"),
        "ssh:127.0.0.3",
        "Host key verification failed.",
    );
    let ran = sshd.ruptime_with("/no/such/program", &["--wait", "50", "ssh:web1"]);
    ran.assert_down("ruptime: ssh:web1: cannot run /no/such/program: no such file or directory");
    assert!(ran.took < Duration::from_secs(25), "{ran:?}");
    let said = sshd.script(
        "says",
        "echo first >&2; printf 'second\\r\\n\\n' >&2; exit 255",
    );
    sshd.ruptime_with(&said, &["ssh:web1"])
        .assert_down("ruptime: ssh:web1: second");
    let silent = sshd.script("silent", "exit 3");
    sshd.ruptime_with(&silent, &["ssh:web1"])
        .assert_down("ruptime: ssh:web1: ssh: exit status 3");
    let nothing = sshd.script("nothing", "exit 0");
    sshd.ruptime_with(&nothing, &["ssh:web1"])
        .assert_down("ruptime: ssh:web1: closed without an answer");
    let killed = sshd.script("killed", "kill -9 $$");
    sshd.ruptime_with(&killed, &["ssh:web1"])
        .assert_down("ruptime: ssh:web1: ssh: ended by SIGKILL");
}

#[test]
fn a_greeting_a_jump_and_a_master_that_goes_on() {
    let Some(sshd) = Sshd::new() else { return };
    let dir = sshd.files.path().display();
    let config = format!(
        "Host behind\nHostName 127.0.0.3\nProxyCommand ssh -F {dir}/ssh_config -W %h:%p 127.0.0.2\n\
         Host shared\nHostName 127.0.0.4\nControlMaster auto\nControlPath {dir}/master\nControlPersist yes\n\
         Host forced\nHostName 127.0.0.5\nRequestTTY force\nRemoteCommand /bin/false\n\
         LocalForward 1 127.0.0.1:1\nExitOnForwardFailure yes\nPermitLocalCommand yes\nLocalCommand echo local\n\
         Host *"
    );
    sshd.configure(&config);
    let key = std::fs::read_to_string(sshd.files.join("user.pub")).expect("a key");
    let options = "command=\"echo Welcome; echo 'WARNING: all is logged'; sh -c \\\"$SSH_ORIGINAL_COMMAND\\\"\"";
    std::fs::write(sshd.files.join("authorized"), format!("{options} {key}")).expect("a key");
    for host in ["behind", "shared", "shared", "forced"] {
        let ran = sshd.ruptime(&["-o", "json", &format!("ssh:{host}")]);
        assert!(
            ran.status == 0 && ran.text().contains(r#""status":"up""#),
            "{host}: {ran:?}"
        );
        assert!(ran.text().contains("Welcome"), "{ran:?}");
        assert!(!ran.text().contains("local"), "{ran:?}");
    }
    // The master is the user's: it goes on, and ends when the user says so.
    let config = sshd.files.join("ssh_config");
    let end = std::process::Command::new("ssh")
        .arg("-F")
        .arg(config)
        .args(["-O", "exit", "shared"])
        .output()
        .expect("ssh");
    assert!(end.status.success(), "{end:?}");
}

#[test]
fn a_time_out_leaves_no_process_behind() {
    let Some(sshd) = Sshd::new() else { return };
    let pids = sshd.files.join("pids");
    let text = format!(
        "trap '' TERM HUP INT\nsleep 1000 & echo $$ $! >>{}\necho ' up 1 day' | head -c 3\nwait",
        pids.display()
    );
    let hangs = sshd.script("hangs", &text);
    let hosts = ["-o", "jsonl", "ssh:web[1-5]"];
    for more in [
        &["--timeout", "2"][..],
        &["--timeout", "50", "--deadline", "2"],
    ] {
        let _ = std::fs::remove_file(&pids);
        let ran = sshd.ruptime_with(&hangs, &[&hosts, more].concat());
        assert!(
            ran.status == 1 && ran.took < Duration::from_secs(25),
            "{ran:?}"
        );
        assert_eq!(ran.text().matches(" 2 s\"").count(), 5, "{}", ran.text());
        assert_eq!(gone(&pids), 10);
    }
    // A client that is killed leaves none that ends when it is told to.
    let text = format!("sleep 1000 & echo $! >>{}; exec sleep 1000", pids.display());
    let waits = sshd.script("waits", &text.replace("sleep 1000 & echo $!", "echo $$"));
    let _ = std::fs::remove_file(&pids);
    let mut client = crate::common::fake::client(&["ssh:web1"]);
    let mut client = client.env("RUPTIME_SSH", &waits).spawn().expect("ruptime");
    wait_until("ssh runs", || {
        std::fs::read_to_string(&pids).is_ok_and(|text| text.ends_with('\n'))
    });
    client.kill().expect("SIGKILL");
    client.wait().expect("its end");
    assert_eq!(gone(&pids), 1);
}

/// How many processes a file names, all of which are gone, or will be soon.
fn gone(pids: &Path) -> usize {
    let pids = std::fs::read_to_string(pids).expect("pids");
    let pids: Vec<_> = pids.split_whitespace().collect();
    for pid in &pids {
        wait_for("the end of a process", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
    }
    pids.len()
}

#[test]
fn at_most_64_run_at_once_and_fewer_with_jobs() {
    let Some(sshd) = Sshd::new() else { return };
    let dir = sshd.files.join("running");
    std::fs::create_dir(&dir).expect("a folder");
    let dir = dir.display();
    let text = format!(
        "mkdir {dir}/$$; ls {dir} | wc -l >>{}; sleep 0.5; rmdir {dir}/$$; echo ' up 1 day'",
        sshd.files.join("counts").display()
    );
    let counts = sshd.script("counts.sh", &text);
    for (jobs, most) in [(None, 64), (Some("3"), 3)] {
        let _ = std::fs::remove_file(sshd.files.join("counts"));
        let jobs = jobs.map(|jobs| vec!["-j", jobs]).unwrap_or_default();
        let hosts = if most == 64 {
            "ssh:web[1-100]"
        } else {
            "ssh:web[1-9]"
        };
        let ran = sshd.ruptime_with(
            &counts,
            &[&["-o", "jsonl", "--timeout", "50", hosts][..], &jobs].concat(),
        );
        assert_eq!(ran.status, 0, "{ran:?}");
        let counts = std::fs::read_to_string(sshd.files.join("counts")).expect("counts");
        let highest = counts
            .lines()
            .filter_map(|line| line.trim().parse::<usize>().ok())
            .max();
        assert!(
            highest.is_some_and(|highest| (2..=most).contains(&highest)),
            "{highest:?}"
        );
    }
}

#[test]
fn no_word_becomes_an_option_or_a_command() {
    for word in [
        "ssh:-oProxyCommand=id",
        "ssh:a@-oProxyCommand=id",
        "ssh:-l@web1",
        "ssh:$(id)@web1",
        "ssh:a;id@web1",
        "ssh:web1;id",
        "ssh:fe80::1%;id",
    ] {
        let ran = ruptime(&[word]);
        assert!(ran.status == 2 && ran.out.is_empty(), "{ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    }
}

/// It cannot ask for a password, nor does it have a session, and so a share of the processors, of its
/// own.
#[test]
fn it_has_no_terminal_but_the_callers_session() {
    if !crate::common::terminal::is_there() {
        return;
    }
    let files = TempDir::new();
    let script = files.file(
        "ssh",
        format!(
            "of() {{ cut -d' ' -f$2 /proc/$1/stat; }}\n\
             (: </dev/tty) 2>/dev/null && echo 'error: it has a terminal'\n\
             [ \"$(of $$ 5)\" = $$ ] || echo 'error: its group is not its own'\n\
             [ \"$(of $$ 6)\" = \"$(of $PPID 6)\" ] || echo 'error: its session is its own'\n\
             printf '{LINE}'\n"
        ),
    );
    let script = format!(
        "(: </dev/tty) && RUPTIME_SSH='sh {}' {RUPTIME} ssh:web1 ssh:web2; echo \"status $?\"\nexec sleep 1000\n",
        script.display()
    );
    let terminal = Terminal::run(&script, 100, 10);
    let screen = terminal.wait_for_text("status ");
    assert!(screen.iter().any(|line| line == "status 0"), "{screen:#?}");
}
