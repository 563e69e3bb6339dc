//! What the machine allows: the least that a server of each kind can do.
//!
//! `accept` and `datagram` print the address they serve and go on until they are killed; `spawn` prints one JSON
//! line when its time is over.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{Backlog, listen, setsockopt, sockopt};
use ruptime_bench::args::Args;
use serde_json::json;

const USAGE: &str = "\
usage: floor accept [--listen ADDR]       accept, send a constant, close
       floor datagram [--listen ADDR] [--rcvbuf BYTES]
                                          recvfrom, sendto a constant
       floor spawn [--for SECONDS] [--workers N] [--pipe] [-- COMMAND [ARG]...]
                                          run the command, wait, run it again, on every core
ADDR is 127.0.0.1:0 unless given; the address is printed. COMMAND is /usr/bin/uptime unless given; its
environment is this program's own, its output goes to /dev/null, or with --pipe is read.";

/// Shaped as procps prints it, and as long.
const LINE: &[u8] = b" 12:34:56 up 10 days,  3:04,  2 users,  load average: 0.10, 0.20, 0.30\n";

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
        &["listen", "rcvbuf", "for", "workers"],
        &["pipe", "help"],
    )?;
    if args.given("help") {
        println!("{USAGE}");
        return Ok(());
    }
    if args.words.is_empty() {
        return Err(format!("what to measure is missing\n{USAGE}"));
    }
    let kind = args.words.remove(0);
    let address = args.text("listen").unwrap_or("127.0.0.1:0").to_owned();
    let failed = |e: io::Error| format!("{address}: {e}");
    match kind.as_str() {
        "accept" => match accept(&address) {
            Err(e) => Err(failed(e)),
        },
        "datagram" => match datagram(&address, args.value("rcvbuf")?) {
            Err(e) => Err(failed(e)),
        },
        "spawn" => spawn(&args),
        other => Err(format!("{other}: not a floor\n{USAGE}")),
    }
}

/// Blocking calls in one thread: with a request always waiting, an event loop would only add calls.
fn accept(address: &str) -> io::Result<Infallible> {
    let listener = TcpListener::bind(address)?;
    // std's backlog of 128 would drop connections of a burst; the kernel caps this at net.core.somaxconn.
    listen(&listener, Backlog::new(4096)?)?;
    announce(&format!("tcp:{}", listener.local_addr()?))?;
    loop {
        // accept(2): errors of one connection come up here and are not the listener's.
        if let Ok((mut connection, _)) = listener.accept() {
            let _ = connection.write(LINE);
        }
    }
}

/// The kernel's usual receive buffer holds some 200 datagrams of a byte: with more clients at once some are
/// dropped, whatever the server does. `rcvbuf` asks for another size, in bytes, capped at net.core.rmem_max.
fn datagram(address: &str, rcvbuf: Option<usize>) -> io::Result<Infallible> {
    let socket = UdpSocket::bind(address)?;
    if let Some(bytes) = rcvbuf {
        setsockopt(&socket, sockopt::RcvBuf, &bytes)?;
    }
    announce(&format!("udp:{}", socket.local_addr()?))?;
    let mut byte = [0];
    loop {
        // A client that went away makes the next call fail with ECONNREFUSED; the one after is right again.
        if let Ok((_, from)) = socket.recv_from(&mut byte) {
            let _ = socket.send_to(LINE, from);
        }
    }
}

fn announce(address: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{address}")?;
    out.flush()
}

fn spawn(args: &Args) -> Result<(), String> {
    let duration = args.seconds("for")?.unwrap_or(Duration::from_secs(3));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = args.value("workers")?.unwrap_or(cores);
    let pipe = args.given("pipe");
    let uptime = vec!["/usr/bin/uptime".to_owned()];
    let words = if args.words.is_empty() {
        &uptime
    } else {
        &args.words
    };
    let begin = Instant::now();
    let end = begin + duration;
    let runs: io::Result<Vec<u64>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| scope.spawn(|| run_until(end, words, pipe)))
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
            })
            .collect()
    });
    let runs: u64 = runs.map_err(|e| format!("{}: {e}", words[0]))?.iter().sum();
    let seconds = begin.elapsed().as_secs_f64();
    let rate = runs as f64 / seconds;
    println!(
        "{}",
        json!({"command": words, "workers": workers, "pipe": pipe, "runs": runs, "seconds": seconds, "rate": rate})
    );
    Ok(())
}

/// Runs the command one after the other until `end`; how often.
fn run_until(end: Instant, words: &[String], pipe: bool) -> io::Result<u64> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command.stdout(if pipe { Stdio::piped() } else { Stdio::null() });
    let mut output = Vec::with_capacity(256);
    let mut runs = 0;
    while Instant::now() < end {
        let mut child = command.spawn()?;
        if let Some(mut stdout) = child.stdout.take() {
            output.clear();
            stdout.read_to_end(&mut output)?;
        }
        let status = child.wait()?;
        if !status.success() {
            return Err(io::Error::other(status.to_string()));
        }
        runs += 1;
    }
    Ok(runs)
}
