//! The fleet in Prometheus: the real node_exporter reads what `ruptime` wrote, the real Prometheus
//! stores it, and a host that goes down is 0 there. (`ruptime-metrics.service`, which writes it, is
//! tested on a booted systemd in tests/system/test_metrics.py.)

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use crate::common::fake::{Fake, LINE, closed_port, ruptime};
use crate::common::temp::TempDir;
use crate::common::{BOUND, LOOK, is_installed, wait_for};
use serde_json::Value;

/// The rules and the dashboard that are installed as examples.
const RULES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/packaging/prometheus/ruptime.rules.yml"
);
const DASHBOARD: &str = include_str!("../../packaging/prometheus/ruptime.dashboard.json");

fn promtool_check(metrics: &[u8]) -> (Option<i32>, String) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    promtool
        .stdin
        .take()
        .expect("piped")
        .write_all(metrics)
        .expect("promtool reads");
    let said = promtool.wait_with_output().expect("promtool ends");
    let text = [said.stdout, said.stderr].concat();
    (
        said.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn promtool_has_nothing_to_say() {
    if !is_installed("promtool", "prometheus") {
        return;
    }
    let folder = TempDir::new();
    let (up, odd) = (
        Fake::up("127.0.0.1"),
        Fake::stream("127.0.0.1", |peer, _| {
            let _ = peer.write_all(b"\x1b[2Jhello\n");
        }),
    );
    let (_held, closed) = closed_port("127.0.0.1");
    // A host may be any path, so its label holds whatever a path may.
    let hostile = format!("unix:{}", folder.join("a\"} 1 \\ \u{202e}ü").display());
    let hosts = [up.host(), odd.host(), closed.to_string(), hostile];
    let ran = ruptime(&[&["-o".to_owned(), "openmetrics".to_owned()], &hosts[..]].concat());
    assert_eq!((ran.status, ran.err.as_str()), (1, ""), "{ran:?}");
    assert_eq!(
        ran.text()
            .lines()
            .filter(|l| l.starts_with("ruptime_up{"))
            .count(),
        4,
        "{ran:?}"
    );
    assert_eq!(
        promtool_check(&ran.out),
        (Some(0), String::new()),
        "{}",
        ran.text()
    );
    // That it would say something.
    assert_ne!(
        promtool_check(&[&ran.out[..], b"ruptime_up{host=\"x} 1\n"].concat()).0,
        Some(0)
    );
}

#[test]
fn the_rules_tell_what_they_are_for() {
    if !is_installed("promtool", "prometheus") {
        return;
    }
    for words in [
        ["check", "rules", RULES].as_slice(),
        &["test", "rules", &RULES.replace(".yml", ".test.yml")],
    ] {
        let ran = Command::new("promtool")
            .args(words)
            .output()
            .expect("promtool runs");
        let said = [ran.stdout, ran.stderr].concat();
        assert!(
            ran.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&said)
        );
    }
}

/// A program with an HTTP port, stopped when the test is over.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    /// Starts a program that logs the address of its port, which is of the kernel's choosing.
    fn start(program: &str, arguments: &[String], log: PathBuf) -> Service {
        let file = File::create(&log).expect("a log");
        let child = Command::new(program)
            .args(arguments)
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("an installed program starts");
        let mut service = Service {
            child,
            address: String::new(),
        };
        service.address = wait_for(&format!("{program}'s port"), || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let ended = service.child.try_wait().expect("a child");
            assert!(ended.is_none(), "{program} ended: {text}");
            let (_, address) = text.split_once("msg=\"Listening on\" address=")?;
            address
                .split_once('\n')
                .map(|(address, _)| address.trim().to_owned())
        });
        service
    }

    /// The body of an answer, or None for any failure: it may not be ready yet.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(BOUND)).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n",
            self.address
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    }

    /// The current samples of an expression: the host (if it has one) and the value, sorted.
    fn query(&self, expression: &str) -> Vec<(String, String)> {
        let encoded: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect();
        let body = self
            .get(&format!("/api/v1/query?query={encoded}"))
            .unwrap_or_default();
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        let samples = answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut found: Vec<_> = samples
            .iter()
            .map(|s| (text(&s["metric"]["host"]), text(&s["value"][1])))
            .collect();
        found.sort();
        found
    }

    fn wait_for(&self, metric: &str, wanted: &[(&str, &str)]) {
        let mut wanted: Vec<_> = wanted
            .iter()
            .map(|(h, v)| ((*h).to_owned(), (*v).to_owned()))
            .collect();
        wanted.sort();
        let end = Instant::now() + BOUND;
        loop {
            let found = self.query(metric);
            if found == wanted {
                return;
            }
            assert!(
                Instant::now() < end,
                "{metric} is {found:?} and not {wanted:?}"
            );
            sleep(LOOK);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A round as ruptime-metrics.service does it: written beside, then put in place.
fn one_round(folder: &TempDir, hosts: &str) {
    let ran = ruptime(&["--output", "openmetrics", "--hosts-file", hosts]);
    assert!(ran.text().ends_with("# EOF\n"), "{ran:?}");
    let new = folder.file("textfile/.ruptime.new", &ran.out);
    std::fs::rename(new, folder.join("textfile/ruptime.prom")).expect("rename");
}

#[test]
fn three_hosts_in_prometheus_and_one_that_goes_down_is_0() {
    let missing = |(program, package)| !is_installed(program, package);
    let needed = [
        ("prometheus-node-exporter", "prometheus-node-exporter"),
        ("prometheus", "prometheus"),
    ];
    if needed.into_iter().any(missing) {
        return;
    }
    let folder = TempDir::new();
    std::fs::create_dir(folder.join("textfile")).expect("a folder");
    let textfile = folder.join("textfile").display().to_string();
    let exporter = Service::start(
        "prometheus-node-exporter",
        &[
            "--collector.disable-defaults".into(),
            "--collector.textfile".into(),
            format!("--collector.textfile.directory={textfile}"),
        ],
        folder.join("exporter.log"),
    );
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{RULES}']\nscrape_configs: [{{job_name: node, static_configs: [{{targets: ['{}']}}]}}]\n",
        exporter.address
    );
    let config = folder.file("prometheus.yml", config).display().to_string();
    let data = folder.join("data").display().to_string();
    let prometheus = Service::start(
        "prometheus",
        &[
            format!("--config.file={config}"),
            format!("--storage.tsdb.path={data}"),
        ],
        folder.join("prometheus.log"),
    );

    // No other test's addresses, so that nobody takes the port of the one that goes down.
    let machines = ["127.64.3.1", "127.64.3.2", "127.64.3.3"].map(Fake::up);
    let [a, b, c] = [0, 1, 2].map(|i: usize| machines[i].host());
    let hosts = folder
        .file("hosts", format!("{a}\n{b}\n{c}\n"))
        .display()
        .to_string();
    one_round(&folder, &hosts);
    prometheus.wait_for("ruptime_up", &[(&a, "1"), (&b, "1"), (&c, "1")]);
    assert!(LINE.contains(" 3 days,  4:05,  2 users,  load average: 0.10, 0.20, 0.30"));
    let all = |value: &'static str| {
        [
            (a.as_str(), value),
            (b.as_str(), value),
            (c.as_str(), value),
        ]
    };
    prometheus.wait_for("ruptime_uptime_seconds", &all("273900"));
    prometheus.wait_for("ruptime_users", &all("2"));
    prometheus.wait_for("ruptime_load1", &all("0.1"));
    prometheus.wait_for("ruptime_load5", &all("0.2"));
    prometheus.wait_for("ruptime_load15", &all("0.3"));
    assert_eq!(prometheus.query("ruptime_probe_duration_seconds").len(), 3);
    prometheus.wait_for("node_textfile_scrape_error", &[("", "0")]);
    prometheus.wait_for("instance:ruptime_up:avg", &[("", "1")]);
    for expression in dashboard() {
        wait_for(&format!("samples of {expression}"), || {
            (!prometheus.query(&expression).is_empty()).then_some(())
        });
    }

    let [_a, _b, down] = machines;
    drop(down);
    one_round(&folder, &hosts);
    prometheus.wait_for("ruptime_up", &[(&a, "1"), (&b, "1"), (&c, "0")]);
    prometheus.wait_for("ruptime_load1", &[(&a, "0.1"), (&b, "0.1")]);
    prometheus.wait_for("node_textfile_scrape_error", &[("", "0")]);
    let pending = "ALERTS{alertname=\"RuptimeHostDown\",alertstate=\"pending\"}";
    prometheus.wait_for(pending, &[(&c, "1")]);
}

/// Every query of the dashboard, with its variables at "All" as Grafana fills them in.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let expressions = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str());
    let all = |expression: &str| expression.replace("$instance", ".*").replace("$host", ".*");
    let expressions: Vec<_> = expressions.map(all).collect();
    assert!(expressions.len() >= panels.len(), "a panel without a query");
    assert!(
        !expressions
            .iter()
            .any(|expression| expression.contains('$'))
    );
    expressions
}
