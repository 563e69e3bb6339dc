//! Sockets of our own, for running without a service manager: `--listen` addresses come in,
//! bound and classified sockets go out.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockname,
    listen as listen_on, setsockopt, socket, sockopt,
};

use crate::daemon::logging as log;
use crate::daemon::sockets::address::{ListenAddr, needs_zone, no_zone};
use crate::daemon::sockets::unix::{self, Access};
use crate::daemon::sockets::{Kind, Socket, Sockets, classify};

/// A `--listen` whose host has been looked up.
#[derive(Debug)]
pub(crate) struct Resolved<'a> {
    listen: &'a ListenAddr,
    /// Of a UNIX socket none.
    addresses: Vec<SocketAddr>,
}

/// Looks up every host. Apart from [`bind_all`], since this may take as long as the resolver does,
/// and nothing is there yet that a signal would leave behind.
///
/// # Errors
/// One sentence that names the first host that is not known.
pub(crate) fn resolve(listen: &[ListenAddr]) -> Result<Vec<Resolved<'_>>, String> {
    let resolved = listen.iter().map(|listen| {
        let addresses = addresses(listen).map_err(|reason| failed(listen, &reason))?;
        Ok(Resolved { listen, addresses })
    });
    resolved.collect()
}

fn failed(listen: &ListenAddr, reason: &str) -> String {
    format!("--listen {listen}: {reason}")
}

fn addresses(listen: &ListenAddr) -> Result<Vec<SocketAddr>, String> {
    let ListenAddr::Inet { host, port, .. } = listen else {
        return Ok(Vec::new());
    };
    let Some(host) = host else {
        return Ok(vec![everywhere(*port)]);
    };
    let all = (host.as_str(), *port).to_socket_addrs();
    let mut found = Vec::new();
    for address in all.map_err(|error| unknown(host, &error))? {
        // /etc/hosts may have one twice.
        if !found.contains(&address) {
            found.push(address);
        }
    }
    if found.is_empty() {
        return Err("the host has no address".to_owned());
    }
    Ok(found)
}

fn unknown(host: &str, error: &io::Error) -> String {
    match host.split_once('%') {
        Some((_, zone)) => format!("no interface has the name '{}'", zone.escape_debug()),
        None => format!("unknown host '{}': {error}", host.escape_debug()),
    }
}

/// One socket for both families; IPv4 alone on a machine without IPv6.
fn everywhere(port: u16) -> SocketAddr {
    let flags = SockFlag::SOCK_CLOEXEC;
    match socket(AddressFamily::Inet6, SockType::Datagram, flags, None) {
        Err(Errno::EAFNOSUPPORT) => (Ipv4Addr::UNSPECIFIED, port).into(),
        _ => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
}

/// Binds every address, and listens. Of a host with several, such as localhost on a machine where
/// IPv6 is off, those are left out that cannot be had, and a warning tells of each.
///
/// # Errors
/// One sentence that names the first `--listen` of which nothing could be had.
pub(crate) fn bind_all(resolved: &[Resolved<'_>], access: Access) -> Result<Sockets, String> {
    let mut binding = Binding::default();
    for Resolved { listen, addresses } in resolved {
        match listen {
            ListenAddr::Unix(path) => binding.bind_path(path, access),
            ListenAddr::Abstract(name) => binding.bind_name(listen, name),
            ListenAddr::Inet { datagram, .. } => binding.bind_inet(listen, *datagram, addresses),
        }
        .map_err(|reason| failed(listen, &reason))?;
    }
    Ok(binding.bound)
}

/// What is bound so far, and which `--listen` each is of: a later one may collide with it.
#[derive(Default)]
struct Binding<'a> {
    bound: Sockets,
    ports: Vec<(&'a ListenAddr, SocketAddr)>,
    names: Vec<&'a ListenAddr>,
}

fn taken(owner: &dyn fmt::Display) -> String {
    format!("--listen {owner} has it already")
}

impl<'a> Binding<'a> {
    fn bind_path(&mut self, path: &Path, access: Access) -> Result<(), String> {
        let mut files = self.bound.bound_paths.iter();
        if let Some(owner) = files.find(|file| file.is_at(path)) {
            return Err(taken(owner));
        }
        let (fd, file) = unix::listen_at(path, access)?;
        self.bound.bound_paths.push(file);
        self.add(fd)
    }

    fn bind_name(&mut self, listen: &'a ListenAddr, name: &str) -> Result<(), String> {
        if self.names.contains(&listen) {
            return Err(taken(&listen));
        }
        self.names.push(listen);
        self.add(unix::listen_as(name)?)
    }

    fn bind_inet(
        &mut self,
        listen: &'a ListenAddr,
        datagram: bool,
        addresses: &[SocketAddr],
    ) -> Result<(), String> {
        let mut reasons = Vec::new();
        for address in addresses {
            match open(listen, datagram, *address) {
                Ok(fd) => {
                    self.ports.push((listen, *address));
                    self.add(fd)?;
                }
                Err(errno) => reasons.push(self.words(errno, datagram, *address)),
            }
        }
        if reasons.len() == addresses.len() {
            return Err(reasons.join("; "));
        }
        for reason in reasons {
            log::not_listening(listen, &reason);
        }
        Ok(())
    }

    fn add(&mut self, fd: OwnedFd) -> Result<(), String> {
        self.bound.sockets.push(classify(fd, "the new socket")?);
        Ok(())
    }

    /// Why an address cannot be had.
    fn words(&self, errno: Errno, datagram: bool, address: SocketAddr) -> String {
        match (errno, address) {
            (Errno::EADDRINUSE, _) => match self.owner(datagram, address) {
                Some(owner) => format!("{address}: {}", taken(&owner)),
                None => format!("{address} is in use by another process"),
            },
            (Errno::EADDRNOTAVAIL, _) => format!("{address} is not an address of this machine"),
            (Errno::EACCES, _) => {
                format!("{address} needs a privilege that this process lacks (a port below 1024)")
            }
            (Errno::EAFNOSUPPORT, SocketAddr::V6(_)) => {
                format!("{address}: this machine has no IPv6")
            }
            (Errno::EINVAL, SocketAddr::V6(v6)) if needs_zone(*v6.ip()) => no_zone(*v6.ip()),
            (Errno::ENODEV, SocketAddr::V6(v6)) => {
                format!("{address}: no interface has the number {}", v6.scope_id())
            }
            (errno, _) => format!("{address}: {}", errno.desc()),
        }
    }

    /// The earlier `--listen` that has this address.
    fn owner(&self, datagram: bool, address: SocketAddr) -> Option<&'a ListenAddr> {
        let collides = |listen: &ListenAddr, other: SocketAddr| {
            matches!(listen, ListenAddr::Inet { datagram: other, .. } if *other == datagram)
                && other.port() == address.port()
                && (other.ip() == address.ip()
                    || other.ip().is_unspecified()
                    || address.ip().is_unspecified())
        };
        let mut ports = self.ports.iter();
        ports
            .find(|(listen, other)| collides(listen, *other))
            .map(|(listen, _)| *listen)
    }
}

fn open(listen: &ListenAddr, datagram: bool, address: SocketAddr) -> nix::Result<OwnedFd> {
    let (family, kind) = (
        if address.is_ipv6() {
            AddressFamily::Inet6
        } else {
            AddressFamily::Inet
        },
        if datagram {
            SockType::Datagram
        } else {
            SockType::Stream
        },
    );
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if address.is_ipv6() {
        // Without a host, one socket for both families.
        let is_v6_only = !matches!(listen, ListenAddr::Inet { host: None, .. });
        setsockopt(&fd, sockopt::Ipv6V6Only, &is_v6_only)?;
    }
    if !datagram {
        // Connections of an earlier run may linger in TIME_WAIT (socket(7)). Never for datagrams,
        // where it would let two daemons share the port and lose requests.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    if datagram {
        make_room_for_datagrams(&fd);
    } else {
        listen_on(&fd, Backlog::MAXCONN)?;
    }
    Ok(fd)
}

/// The defaults hold some 200 datagrams, fewer than may come in one moment, or than may wait for
/// a neighbour that does not answer. Without the privilege (CAP_NET_ADMIN) they become what
/// net.core.rmem_max and wmem_max allow (socket(7)); less is no failure.
fn make_room_for_datagrams(socket: &OwnedFd) {
    let bytes = 4 << 20;
    if setsockopt(socket, sockopt::RcvBufForce, &bytes).is_err() {
        let _ = setsockopt(socket, sockopt::RcvBuf, &bytes);
    }
    if setsockopt(socket, sockopt::SndBufForce, &bytes).is_err() {
        let _ = setsockopt(socket, sockopt::SndBuf, &bytes);
    }
}

/// The address a socket is bound to, as `--listen` takes it, for the record that says where to ask.
pub(crate) fn local_address(socket: &Socket) -> String {
    let address = match getsockname::<SockaddrStorage>(socket.fd.as_raw_fd()) {
        Ok(address) => crate::daemon::sockets::address_text(&address),
        Err(_) => return socket.to_string(),
    };
    match (socket.family, socket.kind) {
        (AddressFamily::Unix, _) => format!("unix:{address}"),
        (_, Kind::Datagram) => format!("udp:{address}"),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(listen: &[&str]) -> Result<Sockets, String> {
        let listen: Vec<ListenAddr> = listen
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect();
        bind_all(&resolve(&listen)?, Access::default())
    }

    #[test]
    fn a_used_port_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address");
        let error = bound(&[&address.to_string()]).expect_err("in use");
        assert!(
            error.contains(&address.to_string()) && error.contains("in use"),
            "{error}"
        );
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_anything_else_is_left() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("ruptime-listen-XXXXXX"))
            .expect("a folder");
        let path = dir.join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        let listen = format!("unix:{}", path.display());
        let first = bound(&[&listen]).expect("a stale socket is replaced");
        assert_eq!(first.sockets[0].kind, Kind::Listener);
        let error = bound(&[&listen]).expect_err("in use");
        assert!(error.contains("in use"), "{error}");
        drop(first);
        assert!(!path.exists(), "the socket was left behind");
        std::fs::write(&path, "precious").expect("a file");
        let error = bound(&[&listen]).expect_err("a file");
        assert!(error.contains("not a socket"), "{error}");
        assert_eq!(
            std::fs::read_to_string(&path).expect("the file"),
            "precious"
        );
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    /// Two sockets of one's own that collide are no other process's.
    #[test]
    fn a_collision_of_ones_own_is_told_as_such() {
        // An address of this process's own: each of 127.0.0.0/8 has all ports to itself.
        let [.., a, b, c] = std::process::id().to_be_bytes();
        let v4 = format!("{}:10513", Ipv4Addr::new(127, 128 | a, b, c));
        let name = format!("unix:@ruptime-twice-{}", std::process::id());
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("ruptime-listen-XXXXXX"))
            .expect("a folder");
        let dir_name = dir.display();
        let paths = [format!("unix:{dir_name}/s"), format!("unix:{dir_name}/./s")];
        for [first, second] in [
            [v4.clone(), v4.clone()],
            [format!("udp:{v4}"), format!("udp:{v4}")],
            paths,
            [name.clone(), name],
        ] {
            let error = bound(&[&first, &second]).expect_err("a collision");
            let told = format!("--listen {first} has it already");
            assert!(error.contains(&told), "{first} {second}: {error}");
        }
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn an_address_collides_with_every_address_of_its_port() {
        let (all, one): (ListenAddr, ListenAddr) =
            ("1".parse().expect("a port"), "[::1]:2".parse().expect("v6"));
        let binding = Binding {
            ports: vec![
                (&all, ([0; 8], 1).into()),
                (&one, ([0, 0, 0, 0, 0, 0, 0, 1], 2).into()),
            ],
            ..Binding::default()
        };
        for (datagram, address, owner) in [
            (false, "127.0.0.1:1", Some(&all)),
            (true, "127.0.0.1:1", None),
            (false, "127.0.0.1:2", None),
            (false, "[::]:2", Some(&one)),
        ] {
            let address: SocketAddr = address.parse().expect("an address");
            assert_eq!(binding.owner(datagram, address), owner, "{address}");
        }
    }

    /// What localhost is on a machine where IPv6 is off, or one of its addresses in use.
    #[test]
    fn what_can_be_had_of_a_host_is_served() {
        let listen: ListenAddr = "localhost:0".parse().expect("an address");
        let (here, elsewhere) = (
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            // RFC 5737: no machine has it.
            SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 0)),
        );
        let bind = |addresses: &[SocketAddr]| {
            let resolved = Resolved {
                listen: &listen,
                addresses: addresses.to_vec(),
            };
            bind_all(&[resolved], Access::default())
        };
        assert_eq!(bind(&[elsewhere, here]).expect("one").sockets.len(), 1);
        let error = bind(&[elsewhere]).expect_err("none");
        assert_eq!(
            error,
            "--listen localhost:0: 192.0.2.1:0 is not an address of this machine"
        );
    }

    #[test]
    fn a_zone_that_is_no_interface_is_told() {
        let error = bound(&["[fe80::1%nowhere]:0"]).expect_err("no interface");
        assert!(error.contains("'nowhere'"), "{error}");
    }
}
