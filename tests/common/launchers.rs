//! The programs that start a daemon for a connection, or for a listener, each with a daemon that
//! answers with uptime(1).

use nix::unistd::{User, getuid};

use super::daemon::RUPTIMED;
use super::net::Address;
use super::process::{Launch, Process};
use super::temp::TempDir;

/// A launcher that runs, and where it listens.
pub(crate) struct Launched {
    pub(crate) process: Process,
    pub(crate) addresses: Vec<Address>,
    /// Ports that are held for the launcher, and the folder of its sockets and files.
    _held: (Vec<std::os::fd::OwnedFd>, TempDir),
}

/// Where a launcher is to listen: TCP over both families, and a folder for sockets and files.
struct Places {
    dir: TempDir,
    held: Vec<std::os::fd::OwnedFd>,
    addresses: Vec<Address>,
}

impl Places {
    fn new() -> Self {
        Places {
            dir: TempDir::new(),
            held: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// A TCP address for the launcher to bind.
    fn tcp(&mut self, any: &Address) -> String {
        let (held, address) = any.reserve();
        let Address::Tcp(tcp) = address else {
            unreachable!("a TCP address was asked for");
        };
        self.held.push(held);
        self.addresses.push(address);
        tcp.to_string()
    }

    fn tcp4_port(&mut self) -> String {
        self.tcp(&Address::any_tcp());
        self.addresses.last().map_or(0, Address::port).to_string()
    }

    /// A path for the launcher to bind.
    fn path(&mut self, address: impl FnOnce(std::path::PathBuf) -> Address) -> String {
        let name = format!("s{}", self.addresses.len());
        self.addresses.push(address(self.dir.join(&name)));
        self.dir.text(&name)
    }

    fn run(self, launch: Launch) -> Launched {
        Launched {
            process: launch.start(),
            addresses: self.addresses,
            _held: (self.held, self.dir),
        }
    }
}

/// systemd-socket-activate(1). With `--accept` among the options it starts a daemon for each
/// connection, else one daemon for all listeners. Seqpacket sockets need a run of their own.
pub(crate) fn socket_activate(options: &[&str], daemon: &[&str]) -> Launched {
    let mut places = Places::new();
    let mut listen = vec![
        places.tcp(&Address::any_tcp()),
        places.tcp(&Address::any_tcp6()),
        places.path(Address::Unix),
    ];
    // An abstract name is the machine's, so the folder's makes it this test's own.
    let name = format!("{}/a", places.dir.path().display());
    listen.push(format!("@{name}"));
    places.addresses.push(Address::Abstract(name));
    let launch = activate(options, &listen, daemon);
    places.run(launch)
}

pub(crate) fn socket_activate_seqpacket(options: &[&str], daemon: &[&str]) -> Launched {
    let mut places = Places::new();
    let listen = [places.path(Address::Seqpacket)];
    let options: Vec<&str> = options.iter().copied().chain(["--seqpacket"]).collect();
    let launch = activate(&options, &listen, daemon);
    places.run(launch)
}

fn activate(options: &[&str], listen: &[String], daemon: &[&str]) -> Launch {
    Launch::new("systemd-socket-activate")
        .args(options)
        .args(listen.iter().map(|address| format!("--listen={address}")))
        .args([RUPTIMED])
        .args(daemon)
}

/// socat(1) over TCP. `nofork` among the options gives the daemon the connection itself, else it
/// gets one end of a socket pair, and socat carries the bytes.
pub(crate) fn socat(exec_options: &str) -> Launched {
    let mut places = Places::new();
    let port = places.tcp4_port();
    let launch = Launch::new("socat").args([
        format!("TCP4-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"),
        format!("EXEC:{RUPTIMED} --inetd{exec_options}"),
    ]);
    places.run(launch)
}

/// socat(1) over a UNIX socket.
pub(crate) fn socat_unix() -> Launched {
    let mut places = Places::new();
    let path = places.path(Address::Unix);
    let launch = Launch::new("socat").args([
        format!("UNIX-LISTEN:{path},fork"),
        format!("EXEC:{RUPTIMED} --inetd,nofork"),
    ]);
    places.run(launch)
}

/// tcpserver(1): the connection is on descriptors 0 and 1.
pub(crate) fn tcpserver() -> Launched {
    let mut places = Places::new();
    let port = places.tcp4_port();
    let launch = Launch::new("tcpserver")
        .args(["-H", "-R", "-l0", "127.0.0.1", &port])
        .args([RUPTIMED, "--inetd"]);
    places.run(launch)
}

/// xinetd(8). `nowait` passes each connection on descriptors 0 to 2; `wait` passes the listener
/// once, and takes it back when the daemon has left.
pub(crate) fn xinetd(wait: bool, daemon: &[&str]) -> Launched {
    let mut places = Places::new();
    let port = places.tcp4_port();
    let user = User::from_uid(getuid())
        .ok()
        .flatten()
        .map_or("root".to_owned(), |user| user.name);
    let config = format!(
        "defaults\n{{\n log_type = FILE {log}\n cps = 1000 1\n instances = 100\n}}\n\
         service ruptime\n{{\n type = UNLISTED\n socket_type = stream\n protocol = tcp\n \
         bind = 127.0.0.1\n port = {port}\n wait = {wait}\n user = {user}\n \
         server = {RUPTIMED}\n server_args = {daemon}\n}}\n",
        log = places.dir.text("log"),
        wait = if wait { "yes" } else { "no" },
        daemon = daemon.join(" "),
    );
    let file = places.dir.join("conf");
    std::fs::write(&file, config).expect("a configuration file");
    let launch = Launch::new("xinetd")
        .args(["-dontfork", "-f"])
        .args([file.display().to_string()])
        .args(["-pidfile".to_owned(), places.dir.text("pid")]);
    places.run(launch)
}
