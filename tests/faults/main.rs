//! What fails under the daemon: every system call that it makes, one after the other, with the
//! errnos that the manual pages name, for a moment and for as long as the fault lasts; limits;
//! a service manager and a journal that do not listen.
//!
//! Whatever fails, the daemon says so once and not once a turn, takes no processor time while the
//! fault lasts, serves again when it is over, and stops when it is told to.

mod cgroup;
#[path = "../common/mod.rs"]
mod common;
mod fault;
mod limits;
mod listeners;
mod service;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use common::BOUND;
use fault::{Fault, Times, launch_with};
use service::{Got, Mode, Service};
use table::{AT_START, AtStart, Meanwhile, Rows, TABLE};

/// Rows at once: they wait more than they work.
const WORKERS: usize = 4;
/// How long a lasting fault is watched.
const WINDOW: Duration = Duration::from_millis(500);
/// How often a call may be tried within it: 64 in a row that may be single clients' troubles, then
/// after growing pauses.
const TRIES: usize = 100;
/// The daemon tells of the same trouble again after so long.
const AGAIN: Duration = Duration::from_secs(10);
/// Calls that fail in a passing fault.
const PASSING: u32 = 3;

/// One call and one errno of the table.
struct Row<'a> {
    rows: &'a Rows,
    errno: &'a str,
}

impl Row<'_> {
    fn name(&self) -> String {
        let Rows {
            mode,
            call,
            options,
            ..
        } = self.rows;
        format!("{mode:?} {} {call} {}", options.join(" "), self.errno)
    }

    /// How often a client may have to ask while a fault passes.
    fn most_tries(&self) -> usize {
        match self.rows.meanwhile {
            Meanwhile::Served | Meanwhile::Waits => 1,
            // One more for each time that the call fails, be it in one request or in several.
            _ => PASSING as usize + 1,
        }
    }

    /// How long a client waits in a fault before it asks again. Nobody tells it that its datagram
    /// or the reply to it is lost; where none is lost, one question is enough however long it takes.
    fn patience(&self) -> Duration {
        if self.rows.mode == Mode::Datagram && self.most_tries() > 1 {
            Duration::from_secs(1)
        } else {
            BOUND
        }
    }

    fn run(&self) {
        let begin = Instant::now();
        let service = Service::start(self.rows.mode, self.rows.options);
        service.ask_until_answered(BOUND);
        let before = service.records().len();
        self.pass(&service);
        if self.rows.meanwhile != Meanwhile::Never {
            self.last(&service);
        }
        self.told_once(&service.records()[before..], begin.elapsed());
        stops(service);
    }

    /// A fault that passes by itself.
    fn pass(&self, service: &Service) {
        let pid = service.daemon.pid();
        let fault = Fault::begin(pid, self.rows.call, self.errno, Times::First(PASSING));
        let tries = service.ask_until_answered(self.patience());
        assert!(
            tries <= self.most_tries(),
            "asked {tries} times in a passing fault"
        );
        service.ask_until_answered(self.patience());
        // A connection is looked after for a moment after its answer.
        common::wait_until("the call", || fault.injected() > 0);
        fault.end();
    }

    /// A fault that lasts until it is ended.
    fn last(&self, service: &Service) {
        let pid = service.daemon.pid();
        let fault = Fault::begin(pid, self.rows.call, self.errno, Times::Always);
        let mut asker = service.ask();
        if let Meanwhile::Served | Meanwhile::Refused = self.rows.meanwhile {
            let got = asker.wait(BOUND);
            let wanted = if self.rows.meanwhile == Meanwhile::Served {
                Got::Answer
            } else {
                Got::Refusal
            };
            assert_eq!(got, wanted);
        }
        let (used, tried) = (service.daemon.cpu_time(), fault.injected());
        let begin = Instant::now();
        std::thread::sleep(WINDOW);
        let got = asker.look();
        let used = service.daemon.cpu_time() - used;
        let tried = fault.injected() - tried;
        // Two ticks of the clock that it is measured with.
        let elapsed = begin.elapsed();
        let most = elapsed / 5 + Duration::from_millis(20);
        assert!(used <= most, "{used:?} of {elapsed:?} spent");
        let most = TRIES * elapsed.as_millis() as usize / WINDOW.as_millis() as usize;
        assert!(tried <= most, "tried {tried} times in {elapsed:?}");
        match self.rows.meanwhile {
            Meanwhile::Waits => assert_eq!(got, Got::Pending),
            Meanwhile::Lost => assert!(matches!(got, Got::Nothing | Got::Pending), "{got:?}"),
            _ => {}
        }
        fault.end();
        if self.rows.meanwhile == Meanwhile::Waits {
            assert_eq!(asker.wait(BOUND), Got::Answer, "after the fault");
        }
        let tries = service.ask_until_answered(BOUND);
        assert_eq!(tries, 1, "asked {tries} times after the fault");
    }

    /// Once, or once more for each time that the daemon's pause between two records of the same
    /// trouble was over.
    fn told_once(&self, records: &[String], elapsed: Duration) {
        let about: Vec<&String> = records
            .iter()
            .filter(|record| !self.rows.says.is_empty() && record.contains(self.rows.says))
            .collect();
        assert!(
            self.rows.says.is_empty() || !about.is_empty(),
            "it said nothing of it; all it said: {records:?}"
        );
        let most = 1 + elapsed.as_secs() / AGAIN.as_secs();
        assert!(
            about.len() as u64 <= most,
            "told {} times: {about:?}",
            about.len()
        );
        assert!(
            records.len() as u64 <= 3 + most,
            "too many words: {records:?}"
        );
    }
}

/// It is still what it was before: it leaves when it is told to, cleanly.
fn stops(mut service: Service) {
    service.daemon.signal(Signal::SIGTERM);
    assert_eq!(service.daemon.exit_status(), 0);
}

/// Runs all of them, some at once; tells of each, and fails if one has.
fn run_all<T: Sync>(rows: &[T], name: impl Fn(&T) -> String + Sync, run: impl Fn(&T) + Sync) {
    let failed = Mutex::new(Vec::new());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(row) =
                    rows.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    let begin = Instant::now();
                    let result = catch_unwind(AssertUnwindSafe(|| run(row)));
                    let verdict = if result.is_ok() { "ok" } else { "FAILED" };
                    println!("{verdict:>6} {:>6.2?} {}", begin.elapsed(), name(row));
                    if result.is_err() {
                        failed.lock().expect("no row panics here").push(name(row));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no row panics here");
    assert!(
        failed.is_empty(),
        "{} of {} rows failed: {failed:#?}",
        failed.len(),
        rows.len()
    );
}

#[test]
fn a_call_that_fails_while_it_serves() {
    if !crate::common::strace::is_possible() {
        return;
    }
    // For the one who looks at a single row: FAULT="accept4 EMFILE".
    let wanted = std::env::var("FAULT").unwrap_or_default();
    let rows: Vec<Row<'_>> = TABLE
        .iter()
        .flat_map(|rows| rows.errnos.iter().map(move |errno| Row { rows, errno }))
        .filter(|row| row.name().contains(&wanted))
        .collect();
    assert!(!rows.is_empty(), "no row has '{wanted}' in its name");
    run_all(&rows, Row::name, Row::run);
}

#[test]
fn a_call_that_fails_at_the_start() {
    if !crate::common::strace::is_possible() {
        return;
    }
    run_all(
        AT_START,
        |row| format!("{} {} {}", row.call, row.errno, row.listen),
        |row: &AtStart| {
            let mut daemon = launch_with(row.call, row.errno, row.path)
                .args([common::daemon::RUPTIMED, "--listen", row.listen])
                .start();
            assert_eq!(daemon.exit_status(), 1);
            let records = daemon.stderr();
            let fatal: Vec<&str> = records
                .lines()
                .filter(|line| !line.contains("listening on "))
                .collect();
            let [line] = fatal.as_slice() else {
                panic!("not one line: {records}");
            };
            assert!(line.contains(row.says), "{line}");
        },
    );
}
