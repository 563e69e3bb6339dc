//! What the machine allows: the least that a server of each kind can do, and the textbook's servers beside it.
//!
//! Servers print the target that they serve and go on until they are killed; `spawn` and `weigh` print one JSON line.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ruptime_bench::args::Args;
use ruptime_bench::floors::{self, Place};
use ruptime_bench::names;
use ruptime_bench::spawn::Spawn;
use ruptime_bench::weigh;
use serde_json::json;

const USAGE: &str = "\
usage: floor SERVER [--listen ADDR:PORT] [--only-loopback] [--rcvbuf BYTES]
       floor names --listen ADDR:PORT [--delay SECONDS]
       floor spawn [--for SECONDS] [--workers N] [--pipe] [-- COMMAND [ARG]...]
       floor weigh -- COMMAND [ARG]...
SERVER is one of
  accept             accept, send a constant, close
  exec               on every core, one client after the other: a command that has the connection as its output
  datagram           recvfrom, sendto a constant
  datagram-pktinfo   the same, from the address that was asked
  textbook-exec      one client after the other: a command that has the connection as its output
  textbook-popen     one client after the other: popen(3), line by line
  textbook-datagram  one datagram after the other: popen(3), the first line
and prints the target it serves; ADDR:PORT is 127.0.0.1:0 unless given. `names` is a name server that answers every
question with 127.0.0.1, --delay SECONDS (0) after it came. `spawn` runs the command again and again
on every core and prints how often; COMMAND is /usr/bin/uptime unless given, its environment is this program's own,
its output goes to /dev/null, or with --pipe is read. `weigh` runs the command once and prints, after its output,
what it has used.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("floor: {reason}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let mut args = Args::read(
        std::env::args().skip(1),
        &["listen", "rcvbuf", "delay", "for", "workers"],
        &["only-loopback", "pipe", "help"],
    )?;
    if args.given("help") {
        println!("{USAGE}");
        return Ok(());
    }
    if args.words.is_empty() {
        return Err(format!("what to measure is missing\n{USAGE}"));
    }
    let kind = args.words.remove(0);
    let serve: fn(&Place) -> io::Result<Infallible> = match kind.as_str() {
        "accept" => floors::accept,
        "exec" => floors::exec,
        "datagram" => floors::datagram,
        "datagram-pktinfo" => floors::datagram_pktinfo,
        "textbook-exec" => floors::textbook_exec,
        "textbook-popen" => floors::textbook_popen,
        "textbook-datagram" => floors::textbook_datagram,
        "names" => return names(&args),
        "spawn" => return spawn(&args),
        "weigh" => return weigh(&args),
        other => return Err(format!("{other}: not a floor\n{USAGE}")),
    };
    let address = address(&args)?;
    let place = Place {
        address,
        only_loopback: args.given("only-loopback"),
        rcvbuf: args.value("rcvbuf")?,
    };
    match serve(&place) {
        Err(e) => Err(format!("{address}: {e}")),
    }
}

fn address(args: &Args) -> Result<SocketAddr, String> {
    let text = args.text("listen").unwrap_or("127.0.0.1:0");
    text.parse()
        .map_err(|_| format!("--listen {text}: not an address with a port"))
}

fn names(args: &Args) -> Result<(), String> {
    let address = address(args)?;
    match names::serve(address, args.seconds("delay")?.unwrap_or_default()) {
        Err(e) => Err(format!("{address}: {e}")),
    }
}

fn spawn(args: &Args) -> Result<(), String> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let spawn = Spawn {
        command: match args.words.as_slice() {
            [] => vec!["/usr/bin/uptime".to_owned()],
            words => words.to_vec(),
        },
        workers: args.value("workers")?.unwrap_or(cores),
        duration: args.seconds("for")?.unwrap_or(Duration::from_secs(3)),
        pipe: args.given("pipe"),
    };
    let (runs, seconds) = spawn
        .run()
        .map_err(|e| format!("{}: {e}", spawn.command[0]))?;
    let line = json!({
        "command": spawn.command,
        "workers": spawn.workers,
        "pipe": spawn.pipe,
        "runs": runs,
        "seconds": seconds,
        "rate": runs as f64 / seconds,
    });
    println!("{line}");
    Ok(())
}

fn weigh(args: &Args) -> Result<(), String> {
    let name = args.words.first().ok_or("weigh: COMMAND is missing")?;
    let weight = weigh::weigh(&args.words).map_err(|e| format!("{name}: {e}"))?;
    let line = json!({
        "status": weight.status.code(),
        "seconds": weight.seconds,
        "cpu_s": weight.cpu_seconds,
        "peak_kib": weight.peak_kib,
    });
    println!("{line}");
    Ok(())
}
