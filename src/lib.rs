//! ruptime: remote uptime, in the spirit of "a socket is a file descriptor".
//!
//! systemd holds the listening sockets; `ruptimed` inherits them, hands each connection to
//! `uptime` as its standard output and error, and exits when idle. `ruptime` asks one
//! machine or thousands. The two share nothing but the [`PORT`] and the [`SERVICE`] name: the
//! protocol is "connect, read to the end".
//!
//! # Map
//!
//! Data flows one way through each program, and a folder holds one stage of it. A folder's own
//! comment says what comes in and what goes out; no file uses one of a later stage.
//!
//! Both programs use `cli` (times, one-line usage errors), [`escape`] (text that is safe on a terminal) and
//! `rights` (descriptors that a UNIX peer passes, which are unwanted, and whose close may sleep).
//!
//! # The client
//!
//! ```text
//!   arguments      hosts files
//!       │ options       │
//!       └──────▶ hosts ◀┘
//!                  │ targets
//!               session ──────────▶ fleet: many probes ────┐
//!                  ▲     │                                 ├──▶ query: one probe ──▶ report
//!                  │     └────────▶ discover: a search ────┘        │ bytes       what an
//!                  │                                                │             uptime line says
//!                  └───────────── answers, through one channel ◀────┘
//!                  │
//!                  ├─ one round ─────▶ output ──▶ standard output
//!                  │                     ▲
//!                  └─ again and again ─▶ watch ──▶ terminal
//! ```
//!
//! | where | what |
//! |---|---|
//! | `client/options`, `client/mod` | the command line, and the way from it to an exit status |
//! | `client/hosts` | words, ranges, files and groups → the targets, each once |
//! | `client/session` | what outlives a round: the runtime, the prober; one loop takes the answers |
//! | `client/page` | what one round prints, in little memory |
//! | `client/slots` | the answers of a round in the order given, and those that are late |
//! | `client/words` | many words, each once: the hosts of a call, the reasons of a table |
//! | `client/fleet` | workers, tries (`--wait`), descriptors |
//! | `client/discover` | the networks of this machine → the machines there, by name |
//! | `client/query` | one probe: look-up, race, stream, datagram, UNIX socket, ssh |
//! | `client/report` | the bytes of a reply → uptime, users and loads |
//! | `client/answer` | what became of a host: the value that the other rooms pass on |
//! | `client/memory` | what was seen of each host by earlier calls |
//! | `client/output` | answers → text, a table, JSON, metrics |
//! | `client/watch` | a screen on which each host has its own schedule, or round after round; what changed |
//! | `client/terminal` | the screen, keys, the progress line, signals |
//!
//! # The daemon
//!
//! ```text
//!   LISTEN_FDS, standard input, --listen
//!                  │ descriptors
//!               sockets ─────────────────────┐
//!                  │ listeners               │ datagram sockets
//!               intake                   datagrams ◀──────┐
//!                  │ connections that        │ requests   │
//!                  │ were admitted           │            │
//!                  ▼                         ▼            │ replies
//!        ┌──────────────────── answer ──────────────┐     │
//!        │ exec: a command     │ capture: one run   ├─────┘
//!        │ for each connection │ for all who wait   │
//!        └─────────┬────────────────────────────────┘
//!                  │ connections with their reply
//!                  ▼
//!               linger ──▶ closed
//! ```
//!
//! | where | what |
//! |---|---|
//! | `daemon/options`, `daemon/mod` | the command line, and the way from it to an exit status |
//! | `daemon/sockets` | finds or binds the sockets, and classifies each by what it is |
//! | `daemon/server` | the loop: passes values from one part to the next |
//! | `daemon/poll` | the one wait: epoll, registered descriptors, deadlines |
//! | `daemon/intake` | accepts, in turn; admits by `--allow`, `--max-per-source` and descriptors |
//! | `daemon/answer` | commands: started, counted, reaped; exec, capture, the linger |
//! | `daemon/datagrams` | requests and replies by datagram, within `--rate-limit` |
//! | `daemon/signals`, `daemon/stop` | what a signal asks for, and how long a stop takes |
//! | `daemon/manager` | readiness, status and the watchdog (sd_notify(3)) |
//! | `daemon/logging` | records, and the faults that are reported once |
//! | `daemon/sys` | the system calls that neither std nor nix offers |
//!
//! One turn of the loop: tick every part that has its time; obey signals; start a run that is due;
//! hand on what has been answered; leave, if there is a reason to; poll what there is room for;
//! wait; take what is ready.
//!
//! The states of the daemon:
//!
//! ```text
//!   starting ──READY=1──▶ serving ──SIGTERM──▶ stopping ──all answered──▶ exit 0
//!      │                   │    │                 │ second signal: 2 s at most
//!      │ refused           │    │ idle, or        └──child timeout + 8 s──▶ exit 0
//!      ▼                   │    │ the connection
//!   exit 1 or 2            │    ▼ was served
//!                          │   exit 0
//!                          ▼ no socket is left
//!                         exit 1
//! ```
//!
//! The states of a connection, and of the shared run:
//!
//! ```text
//!   in the backlog ──accept──▶ admitted ──its command ends, or──▶ lingering ──client closes──▶ closed
//!                                 │       the shared run does        │ 1 s, 4 MiB, or evicted
//!                                 └─turned away──▶ closed            └──────────────────────▶ closed
//!
//!   idle ──a request──▶ gathering ──about as many as last time, or 1 ms──▶ running
//!     ▲                    ▲                                                  │ its output ends, or
//!     └──nobody waits──────┴──somebody waits────────────◀─────────────────────┘ its command does
//! ```

mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod escape;
#[cfg(test)]
mod regressions;
mod rights;

/// The service's name in services(5), looked up by the client.
pub const SERVICE: &str = "ruptime";

/// The port, stream and datagram, where services(5) does not know [`SERVICE`]. A configurable
/// default, not an IANA registration (10501-10539 are unassigned).
pub const PORT: u16 = 10513;
