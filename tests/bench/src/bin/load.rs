//! The load generator: N clients at once, one JSON line.

use std::process::ExitCode;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use ruptime_bench::answer::Expected;
use ruptime_bench::args::Args;
use ruptime_bench::conversation::Target;
use ruptime_bench::engine::{self, Plan};
use serde_json::json;

const USAGE: &str = "\
usage: load [OPTIONS] tcp:HOST:PORT | udp:HOST:PORT | unix:PATH
Asks a server in a closed loop and prints one JSON line.
  --clients N    clients at once (1)
  --for SECONDS  length of the measured window (3)
  --warmup SECONDS  time before it (0)
  --count N      requests at most
  --burst        every client asks once, all at the same moment
  --timeout SECONDS  time for one request (10)
  --expect TEXT  the answer, newline included, wanted instead of an uptime line
  --cpu N        stay on this CPU
Exit status: 0 every request got its answer, 1 some did not, 2 a usage error.";

/// Descriptors that are not clients: standard streams, epoll, and some to spare.
const RESERVED: u64 = 16;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("load: {reason}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let args = Args::read(
        std::env::args().skip(1),
        &[
            "clients", "for", "warmup", "count", "timeout", "expect", "cpu",
        ],
        &["burst", "help"],
    )?;
    if args.given("help") {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let plan = plan(&args)?;
    allow_descriptors(plan.clients as u64 + RESERVED)?;
    let cpu = args.value::<usize>("cpu")?;
    if let Some(cpu) = cpu {
        pin(cpu)?;
    }
    let tally = engine::run(&plan).map_err(|e| format!("{}: {}", plan.target, e.desc()))?;
    let whole = tally.failed() == 0 && tally.answered > 0;
    let mut line = tally.to_json();
    line["target"] = json!(plan.target.to_string());
    line["clients"] = json!(plan.clients);
    line["cpu"] = json!(cpu);
    // Near 1.0 CPU a second of run means that this program, not the server, was the limit.
    line["own_cpu_s"] = json!(own_cpu_seconds()?);
    println!("{line}");
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn plan(args: &Args) -> Result<Plan, String> {
    let [target] = args.words.as_slice() else {
        return Err(format!("one target is needed\n{USAGE}"));
    };
    let clients = args.value("clients")?.unwrap_or(1);
    if clients == 0 {
        return Err("--clients 0: at least one client is needed".into());
    }
    let (count, duration) = if args.given("burst") {
        if args.given("count") || args.given("for") || args.given("warmup") {
            return Err("--burst is one request a client: no --count, --for or --warmup".into());
        }
        // Long enough for every client to be started; the requests themselves are bounded by the time-out.
        (Some(clients as u64), Some(Duration::from_secs(3600)))
    } else {
        (args.value("count")?, args.seconds("for")?)
    };
    Ok(Plan {
        target: target.parse::<Target>()?,
        expected: match args.text("expect") {
            Some(text) => Expected::Text(text.as_bytes().to_vec()),
            None => Expected::Uptime,
        },
        clients,
        warmup: args.seconds("warmup")?.unwrap_or_default(),
        duration: duration.unwrap_or(Duration::from_secs(3)),
        count,
        timeout: args.seconds("timeout")?.unwrap_or(Duration::from_secs(10)),
    })
}

fn allow_descriptors(wanted: u64) -> Result<(), String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| e.desc().to_owned())?;
    if wanted > hard {
        return Err(format!(
            "{wanted} descriptors are needed and the hard limit is {hard}: use fewer --clients, or raise it (ulimit -Hn)"
        ));
    }
    if wanted > soft {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).map_err(|e| e.desc().to_owned())?;
    }
    Ok(())
}

fn pin(cpu: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|e| format!("--cpu {cpu}: {}", e.desc()))
}

fn own_cpu_seconds() -> Result<f64, String> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(|e| e.desc().to_owned())?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(micros as f64 / 1e6)
}
