//! `-o nagios`: the statuses and lines of a monitoring plugin, and a real Icinga that runs it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::common::fake::{Fake, Ran, client, closed_port, run, run_into, ruptime};
use crate::common::temp::TempDir;
use crate::common::{LOOK, is_installed, wait_for, wait_until};

/// The command definition that is installed as an example.
const DEFINITION: &str = include_str!("../../packaging/nagios/ruptime.conf");

/// How long Icinga has to stop before it is made to.
const STOP: Duration = Duration::from_secs(5);

fn plugin(arguments: &[&str]) -> Ran {
    ruptime(&[&["-o", "nagios"], arguments].concat())
}

#[test]
fn each_state_has_its_status() {
    let (up, (_held, down)) = (Fake::up("127.0.0.1"), closed_port("127.0.0.1"));
    let (up, down) = (up.host(), down.to_string());
    for (arguments, status, begin) in [
        (&[&up[..]][..], 0, format!("RUPTIME OK - {up}: up ")),
        (
            &["--warning", "uptime>0", &up],
            1,
            format!("RUPTIME WARNING - {up}: uptime>0 (up "),
        ),
        (
            &["--critical", "uptime>0", "--warning", "up", &up],
            2,
            format!("RUPTIME CRITICAL - {up}: "),
        ),
        (
            &[&down],
            2,
            format!("RUPTIME CRITICAL - {down}: down, connection refused\n"),
        ),
        (
            &[&up, &down],
            2,
            format!("RUPTIME CRITICAL - 1 of 2 hosts not OK: {down} | up=1;;;0;2 "),
        ),
        (
            &["--warning", "load9>1", &up],
            3,
            "RUPTIME UNKNOWN - invalid value 'load9>1' for".to_owned(),
        ),
        (
            &["-4", "-6", &up],
            3,
            "RUPTIME UNKNOWN - the argument '-4' cannot be used with".to_owned(),
        ),
        (
            &["--critical", "rebooted", &up],
            3,
            "RUPTIME UNKNOWN - 'rebooted' needs what was seen".to_owned(),
        ),
        (&["web[3-1]"], 3, "RUPTIME UNKNOWN - web[3-1]: ".to_owned()),
        (
            &["-p", "nosuchservice", &up],
            3,
            "RUPTIME UNKNOWN - --port: ".to_owned(),
        ),
    ] {
        let ran = plugin(arguments);
        let text = ran.text();
        assert_eq!(
            (ran.status, ran.err.as_str()),
            (status, ""),
            "{arguments:?}: {text}"
        );
        assert!(text.starts_with(&begin), "{arguments:?}: {text}");
    }
}

#[test]
fn a_bad_line_of_a_hosts_file_is_unknown_and_part_of_the_answer() {
    let up = Fake::up("127.0.0.1");
    let text = format!("{}\na b\n", up.host());
    let ran = run(&mut client(&["-o", "nagios", "-f", "-"]), text.as_bytes());
    assert_eq!((ran.status, ran.err.as_str()), (3, ""), "{}", ran.text());
    let told = "\nUNKNOWN standard input:2: a b: one host a line";
    assert!(ran.text().contains(told), "{}", ran.text());
    let ran = run(&mut client(&["-o", "nagios", "-f", "-"]), b"a b\n");
    assert_eq!(ran.status, 3);
    assert!(
        ran.text()
            .starts_with("RUPTIME UNKNOWN - standard input:1: "),
        "{}",
        ran.text()
    );
}

#[test]
fn an_answer_that_cannot_be_written_is_unknown() {
    let up = Fake::up("127.0.0.1");
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let ran = run_into(&mut client(&["-o", "nagios", &up.host()]), full);
    assert_eq!(ran.status, 3, "{}", ran.err);
}

/// A service as Icinga knows it: its state, its output and its performance data.
type Known = (String, String, String);

/// Icinga 2 with files of the test's own, stopped with its children when the test is over.
struct Icinga {
    folder: TempDir,
    daemon: Child,
}

impl Icinga {
    fn start(services: &str) -> Icinga {
        let folder = TempDir::new();
        let dir = folder.path().display().to_string();
        let ours = env!("CARGO_BIN_EXE_ruptime");
        let definition = DEFINITION.replace("/usr/bin/ruptime", ours);
        let features = format!(
            "object CheckerComponent \"checker\" {{}}\nobject IcingaApplication \"app\" {{}}\n\
             object StatusDataWriter \"status\" {{\nstatus_path = \"{dir}/status\"\n\
             objects_path = \"{dir}/cache\"\nupdate_interval = 0.2\n}}\n"
        );
        let config = folder.file("icinga2.conf", features + &definition + services);
        let log = File::create(folder.join("log")).expect("a log");
        let mut icinga = Command::new("icinga2");
        icinga
            .args(["daemon", "--no-stack-rlimit", "-c"])
            .arg(config);
        for name in ["LogDir", "DataDir", "CacheDir", "SpoolDir", "InitRunDir"] {
            icinga.args(["-D", &format!("{name}={dir}")]);
        }
        // Whoever runs the test.
        for (name, what) in [("RunAsUser", "-un"), ("RunAsGroup", "-gn")] {
            let id = Command::new("id").arg(what).output().expect("id(1)").stdout;
            let id = String::from_utf8(id).expect("a name");
            icinga.args(["-D", &format!("{name}={}", id.trim())]);
        }
        let daemon = icinga
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("an installed program starts");
        Icinga { folder, daemon }
    }

    /// What it knows of a service; None before the first check.
    fn service(&mut self, name: &str) -> Option<Known> {
        let ended = self.daemon.try_wait().expect("a child");
        let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        assert!(ended.is_none(), "Icinga ended: {}", log());
        let text = fs::read_to_string(self.folder.join("status")).ok()?;
        let title = format!("service_description={name}\n");
        let block = text
            .split("servicestatus {")
            .find(|block| block.contains(&title))?;
        let value = |key: &str| {
            let lines = block.lines().map(str::trim);
            let mut values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            values.next().unwrap_or_default().to_owned()
        };
        let known = (
            value("current_state"),
            value("plugin_output"),
            value("performance_data"),
        );
        (value("has_been_checked") == "1").then_some(known)
    }

    #[track_caller]
    fn wait_for(&mut self, name: &str, state: &str) -> Known {
        let what = format!("{name} in state {state}");
        wait_for(&what, || {
            self.service(name).filter(|known| known.0 == state)
        })
    }
}

impl Drop for Icinga {
    fn drop(&mut self) {
        let group = i32::try_from(self.daemon.id()).expect("a process number");
        let group = Pid::from_raw(group);
        // The checks, and the helper that runs them, are its children.
        let _ = killpg(group, Signal::SIGTERM);
        let end = Instant::now() + STOP;
        while self.daemon.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < end {
            sleep(LOOK);
        }
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.daemon.wait();
    }
}

#[test]
fn icinga_knows_each_state_by_it() {
    if !is_installed("icinga2", "icinga2-bin") {
        return;
    }
    let up = Fake::up("127.0.0.1");
    let (_held, down) = closed_port("127.0.0.1");
    let service = |name: &str, vars: &str| {
        format!(
            "object Service \"{name}\" {{\nhost_name = \"web1\"\ncheck_command = \"ruptime\"\n\
             check_interval = 1\nretry_interval = 1\nmax_check_attempts = 1\n{vars}\n}}\n"
        )
    };
    let services = [
        "object CheckCommand \"none\" { command = [ \"true\" ] }\n".to_owned(),
        format!(
            "object Host \"web1\" {{\ncheck_command = \"none\"\nenable_active_checks = false\n\
             address = \"{}\"\n}}\n",
            up.host()
        ),
        service("fine", ""),
        service(
            "warned",
            "vars.ruptime_warning = [ \"users>1000\", \"uptime>0\" ]",
        ),
        service("refused", &format!("vars.ruptime_host = \"{down}\"")),
        service("wrong", "vars.ruptime_critical = \"load9>1\""),
    ];
    let mut icinga = Icinga::start(&services.concat());
    let host = up.host();
    let (_, output, data) = icinga.wait_for("fine", "0");
    assert!(
        output.starts_with(&format!("RUPTIME OK - {host}: up ")),
        "{output}"
    );
    assert!(
        data.starts_with("uptime=") && data.contains(" rtt="),
        "{data}"
    );
    let (_, output, data) = icinga.wait_for("warned", "1");
    assert!(
        output.starts_with(&format!("RUPTIME WARNING - {host}: uptime>0 (up ")),
        "{output}"
    );
    assert!(data.contains("s;0;;0 users="), "{data}");
    let (_, output, _) = icinga.wait_for("refused", "2");
    assert_eq!(
        output,
        format!("RUPTIME CRITICAL - {down}: down, connection refused")
    );
    let (_, output, _) = icinga.wait_for("wrong", "3");
    assert!(
        output.starts_with("RUPTIME UNKNOWN - invalid value 'load9>1'"),
        "{output}"
    );
    drop(up);
    // It goes down while it is watched.
    wait_until("the host is down", || {
        icinga.service("fine").is_some_and(|known| known.0 == "2")
    });
}
