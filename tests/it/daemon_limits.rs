//! Who is answered, how many at once, and for how long: `--allow`, `--max-children`,
//! `--max-per-source`, the descriptor limit, `--idle-timeout`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::common::daemon::{Ruptimed, on_tcp};
use crate::common::datagrams::{Asker, At};
use crate::common::net::{Address, Client, tcp_pair};
use crate::common::process::Process;
use crate::common::temp::TempDir;
use crate::common::{BOUND, always, has_ipv6, wait_until};
use nix::sys::signal::Signal;

/// Two machines, as far as a daemon on loopback can tell.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

const HI: [&str; 2] = ["/bin/echo", "hi"];

/// A daemon on a listener of both families; gives its address for IPv4 and for IPv6. On a machine
/// without IPv6 both are of IPv4.
fn on_both_families(options: &[&str], command: &[&str]) -> (Process, Address, Address) {
    let mut daemon = Ruptimed::new(options).command(command);
    let (any, localhost): (IpAddr, IpAddr) = if has_ipv6() {
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into())
    } else {
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into())
    };
    let (listener, address) = Address::Tcp(SocketAddr::from((any, 0))).listen();
    daemon = daemon.inherit(listener);
    let port = address.port();
    (
        daemon.start(),
        Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Address::Tcp(SocketAddr::from((localhost, port))),
    )
}

#[test]
fn only_allowed_networks_are_answered() {
    let (listener, v4) = Address::any_tcp().listen();
    let mut daemon = Ruptimed::new(["--allow", "127.0.0.2/32", "--log-level", "info"])
        .command(&HI)
        .inherit(listener);
    let (listener, v6) = Address::any_tcp6().listen();
    daemon = daemon.inherit(listener);
    let dir = TempDir::new();
    let (listener, unix) = Address::Unix(dir.join("s")).listen();
    let mut process = daemon.inherit(listener).start();
    assert_eq!(v4.connect_from(THERE).reply(), "hi\n");
    // Closed at once, unanswered, and told.
    assert_eq!(v4.connect_from(HERE).reply(), "");
    process.wait_for_stderr("closed 127.0.0.1:");
    assert_eq!(v6.connect().reply(), "");
    if has_ipv6() {
        process.wait_for_stderr("closed [::1]:");
    }
    assert_eq!(unix.connect().reply(), "hi\n");
    assert_eq!(v4.connect_from(THERE).reply(), "hi\n");
}

/// On a listener of both families an IPv4 client comes with a mapped address.
#[test]
fn a_mapped_address_is_compared_as_what_it_is() {
    let (_process, v4, v6) = on_both_families(&["--allow", "127.0.0.2"], &HI);
    assert_eq!(v4.connect_from(THERE).reply(), "hi\n");
    assert_eq!(v4.connect_from(HERE).reply(), "");
    assert_eq!(v6.connect().reply(), "");
    let options = ["--allow", "::1", "--allow", "::ffff:127.0.0.0/126"];
    let (_process, v4, v6) = on_both_families(&options, &HI);
    assert_eq!(v4.connect_from(HERE).reply(), "hi\n");
    assert_eq!(v6.connect().reply(), "hi\n");
    let far = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
    assert_eq!(v4.connect_from(far).reply(), "");
}

/// The same for a connection that an inetd passed.
#[test]
fn a_passed_connection_is_asked_too() {
    for (network, reply) in [("127.0.0.1", "hi\n"), ("192.0.2.0/24", "")] {
        let (far, client) = crate::common::net::tcp_pair();
        let mut process = Ruptimed::new(["--inetd", "--allow", network])
            .command(&HI)
            .on_stdio(far)
            .start();
        assert_eq!(client.reply(), reply);
        drop(client);
        assert_eq!(process.exit_status(), 0);
    }
}

/// Commands that run until they are let go, and count themselves in a folder.
struct Gate {
    dir: TempDir,
}

impl Gate {
    fn new() -> Self {
        Gate {
            dir: TempDir::new(),
        }
    }

    fn command(&self) -> [String; 4] {
        let script = ": >$0/run.$$
            until [ -e $0/open ] || [ ! -d $0 ]; do sleep 0.05; done
            rm $0/run.$$
            echo hi";
        let path = self.dir.path().display().to_string();
        ["/bin/sh".into(), "-c".into(), script.into(), path]
    }

    /// A daemon with such commands on one listener.
    fn serve(&self, options: &[&str]) -> (Process, Address) {
        on_tcp(options, &self.command().each_ref().map(String::as_str))
    }

    /// How many have started and not been let go.
    fn running(&self) -> usize {
        self.dir.entries("run.")
    }

    fn open(&self) {
        std::fs::write(self.dir.join("open"), "").expect("a file");
    }
}

fn all_are_answered(clients: &[Client]) {
    for client in clients {
        assert_eq!(client.reply(), "hi\n");
    }
}

/// Beyond the limit the kernel's backlog holds the clients, at no cost, and none is lost.
#[test]
fn more_than_max_children_wait_in_the_backlog() {
    let gate = Gate::new();
    let (process, address) = gate.serve(&["--max-children", "2", "--child-timeout", "3600"]);
    let clients: Vec<Client> = (0..7).map(|_| address.connect()).collect();
    wait_until("two commands run", || gate.running() == 2);
    let before = process.cpu_time();
    always(Duration::from_millis(300), || {
        assert_eq!(process.children().len(), 2);
        let used = process.cpu_time() - before;
        assert!(used <= Duration::from_millis(50), "{used:?} for waiting");
    });
    gate.open();
    all_are_answered(&clients);
}

/// A client that hangs takes one place, and the others use the rest.
#[test]
fn what_is_left_of_max_children_serves_the_others() {
    let dir = TempDir::new();
    let path = dir.path().display().to_string();
    let script = "mkdir $0/taken 2>/dev/null && exec sleep 600; echo hi";
    let (_process, address) = on_tcp(
        &["--max-children", "2", "--child-timeout", "3600"],
        &["/bin/sh", "-c", script, &path],
    );
    let _stuck = address.connect();
    wait_until("the first one hangs", || dir.join("taken").exists());
    let clients: Vec<Client> = (0..20).map(|_| address.connect()).collect();
    all_are_answered(&clients);
}

#[test]
fn a_source_has_so_many_connections_at_once() {
    let gate = Gate::new();
    let options = ["--max-per-source", "2", "--log-level", "info"];
    let (mut process, address) = gate.serve(&options);
    let first: Vec<Client> = (0..2).map(|_| address.connect_from(HERE)).collect();
    wait_until("both run", || gate.running() == 2);
    // One too many is told so at once; another machine is not concerned.
    let told = "error: too many connections at once from your address\n";
    assert_eq!(address.connect_from(HERE).reply(), told);
    process.wait_for_stderr("more than 2 connections at once");
    let other = address.connect_from(THERE);
    wait_until("the other machine's runs", || gate.running() == 3);
    gate.open();
    all_are_answered(&first);
    all_are_answered(&[other]);
    // And the place is free again as soon as the answer has ended.
    assert_eq!(address.connect_from(HERE).reply(), "hi\n");
}

/// With a place for one, a client that asks again as soon as it has its answer is never refused:
/// the place is given back before the end of the answer can be seen.
#[test]
fn one_after_the_other_is_never_too_many() {
    for handoff in ["exec", "capture"] {
        let options = ["--max-per-source", "1", "--handoff", handoff];
        let (_process, v4, v6) = on_both_families(&options, &HI);
        for address in [v4, v6] {
            for _ in 0..100 {
                assert_eq!(address.connect().reply(), "hi\n");
            }
        }
    }
}

/// The whole daemon works within 16 descriptors, and clients that keep their connections open do
/// not keep others out: the one that has been lingering longest makes room. If each were kept
/// for its second, this would take a minute each.
#[test]
fn sixteen_descriptors_are_enough() {
    for handoff in ["exec", "capture"] {
        let (listener, address) = Address::any_tcp().listen();
        let process = Ruptimed::new(["--handoff", handoff])
            .command(&HI)
            .change(|launch| launch.prologue("ulimit -n 16"))
            .inherit(listener)
            .start();
        let start = Instant::now();
        let clients: Vec<Client> = (0..300).map(|_| address.connect()).collect();
        all_are_answered(&clients);
        assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
        assert_eq!(process.stderr(), "", "with {handoff}");
    }
}

/// Serves what comes, leaves when nobody has come for a while; whoever comes after that is kept
/// in the backlog and served by the next.
#[test]
fn it_leaves_when_nobody_asks_and_the_next_client_is_not_lost() {
    for handoff in ["exec", "capture"] {
        let (listener, address) = Address::any_tcp().listen();
        let start = || {
            Ruptimed::new(["--idle-timeout", "0.5", "--handoff", handoff])
                .command(&HI)
                .inherit(listener.try_clone().expect("a copy"))
                .start()
        };
        for _ in 0..2 {
            let clients: Vec<Client> = (0..5).map(|_| address.connect()).collect();
            let mut process = start();
            all_are_answered(&clients);
            drop(clients);
            assert_eq!(process.exit_status(), 0);
            assert_eq!(process.stderr(), "");
        }
    }
}

/// Nobody asks any more, but somebody still waits for an answer.
#[test]
fn it_does_not_leave_while_a_command_runs() {
    for handoff in ["exec", "capture"] {
        let gate = Gate::new();
        let (listener, address) = Address::any_tcp().listen();
        let client = address.connect();
        let start = || {
            Ruptimed::new(["--idle-timeout", "0.1", "--handoff", handoff])
                .command(&gate.command().each_ref().map(String::as_str))
                .inherit(listener.try_clone().expect("a copy"))
                .start()
        };
        let mut process = start();
        wait_until("it runs", || {
            // A machine that stops for longer than the time-out may make it leave before its
            // first look; the client is the next one's then.
            if process.has_ended() {
                process = start();
            }
            gate.running() == 1
        });
        always(Duration::from_millis(500), || {
            assert!(!process.has_ended(), "it left a client alone");
        });
        gate.open();
        all_are_answered(&[client]);
        assert_eq!(process.exit_status(), 0);
    }
}

/// Connections instead of listeners: those beyond the limit wait for their turn, and when all
/// are served there is nothing left to do.
#[test]
fn connections_that_are_handed_over_keep_to_the_limit() {
    for stopped in [false, true] {
        let dir = TempDir::new();
        let script = "mkdir $0/one || echo two; sleep 0.1; rmdir $0/one; echo hi";
        let mut daemon = Ruptimed::new(["--max-children", "1"])
            .script(script, &dir.path().display().to_string());
        let mut clients = Vec::new();
        for _ in 0..4 {
            let (connection, client) = tcp_pair();
            daemon = daemon.inherit(connection);
            clients.push(client);
        }
        let mut process = daemon.start();
        if stopped {
            wait_until("it serves", || !process.children().is_empty());
            process.signal(Signal::SIGTERM);
        }
        for client in clients {
            assert_eq!(client.reply(), "hi\n");
        }
        assert_eq!(process.exit_status(), 0);
    }
}

/// However short the time, whoever is there already is served first.
#[test]
fn an_idle_exit_leaves_nobody_waiting() {
    for handoff in ["exec", "capture"] {
        let (listener, address) = Address::any_tcp().listen();
        let client = address.connect();
        let mut process = Ruptimed::new(["--idle-timeout", "0.000001", "--handoff", handoff])
            .command(&HI)
            .inherit(listener)
            .start();
        assert_eq!(client.reply(), "hi\n");
        drop(client);
        assert_eq!(process.exit_status(), 0);
    }
    let (socket, at) = At::udp("127.0.0.1:0").bind();
    let client = Asker::of(&at);
    client.send(&[0]);
    let mut process = Ruptimed::new(["--idle-timeout", "0.000001"])
        .command(&HI)
        .inherit(socket)
        .start();
    assert_eq!(client.receive(), "hi\n");
    assert_eq!(process.exit_status(), 0);
}

/// A daemon that was stopped, or a machine that slept, for longer than the --idle-timeout looks at
/// its sockets before it leaves.
#[test]
fn a_client_that_came_while_the_daemon_was_stopped_is_served() {
    const IDLE: Duration = Duration::from_secs(2);
    let (listener, address) = Address::any_tcp().listen();
    let mut process = Ruptimed::new(["--idle-timeout", "2", "--log-level", "info"])
        .command(&HI)
        .inherit(listener)
        .start();
    process.wait_for_stderr("serving");
    process.signal(Signal::SIGSTOP);
    let client = address.connect();
    let stopped = Instant::now();
    wait_until("more than its time", || stopped.elapsed() > IDLE);
    process.signal(Signal::SIGCONT);
    assert_eq!(client.reply(), "hi\n");
}
