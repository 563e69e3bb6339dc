//! Sockets of our own, for running without a service manager: `--listen` addresses come in,
//! bound and classified sockets go out.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, connect, listen,
    setsockopt, socket, sockopt,
};

use crate::daemon::sockets::{Kind, Socket, classify};

/// What `--listen` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenAddr {
    /// `HOST:PORT` or `PORT`, TCP or UDP. No host: every address of the machine.
    Inet {
        datagram: bool,
        host: Option<String>,
        port: u16,
    },
    /// `unix:PATH`, a stream socket.
    Unix(PathBuf),
    /// `unix:@NAME`, a stream socket in the abstract name space (unix(7)).
    Abstract(String),
}

impl FromStr for ListenAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match (path, path.strip_prefix('@')) {
                ("", _) => Err("unix: needs a path, such as unix:/run/ruptime.sock".to_owned()),
                (_, Some("")) => Err("unix:@ needs a name, such as unix:@ruptime".to_owned()),
                (_, Some(name)) => Ok(ListenAddr::Abstract(name.to_owned())),
                (path, None) => Ok(ListenAddr::Unix(path.into())),
            };
        }
        let (datagram, rest) = match text.strip_prefix("udp:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (host, port) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((host, port)) => (Some(host_name(host)?), port),
        };
        let port = Some(port)
            .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| format!("'{}' is no port from 0 to 65535", port.escape_debug()))?;
        Ok(ListenAddr::Inet {
            datagram,
            host,
            port,
        })
    }
}

fn host_name(host: &str) -> Result<String, String> {
    if let Some(rest) = host.strip_prefix('[') {
        let v6 = rest.strip_suffix(']').ok_or("'[' without its ']'")?;
        let address = v6.split_once('%').map_or(v6, |(address, _zone)| address);
        return match address.parse::<Ipv6Addr>() {
            Ok(_) => Ok(v6.to_owned()),
            Err(_) => Err(format!(
                "'{}' in brackets is no IPv6 address",
                v6.escape_debug()
            )),
        };
    }
    if host.is_empty() {
        Err("no host before the ':'; write the port alone for every address".to_owned())
    } else if host.contains(':') {
        Err("an IPv6 address needs brackets: [::1]:10513".to_owned())
    } else if host.contains(['[', ']']) {
        Err(format!("'{}' is no host", host.escape_debug()))
    } else {
        Ok(host.to_owned())
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddr::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddr::Abstract(name) => write!(f, "unix:@{name}"),
            ListenAddr::Inet {
                datagram,
                host,
                port,
            } => {
                let scheme = if *datagram { "udp:" } else { "" };
                match host {
                    Some(host) if host.contains(':') => write!(f, "{scheme}[{host}]:{port}"),
                    Some(host) => write!(f, "{scheme}{host}:{port}"),
                    None => write!(f, "{scheme}{port}"),
                }
            }
        }
    }
}

/// A UNIX socket that this process has made in the file system. Dropping it removes the socket,
/// unless somebody has put another in its place meanwhile.
#[derive(Debug)]
pub(crate) struct BoundPath {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| meta.dev() == self.device && meta.ino() == self.inode);
        if ours {
            // Left behind, it is found stale and replaced at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
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

/// What `--listen` has come to.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) sockets: Vec<Socket>,
    /// The UNIX sockets among them, to be removed in the end.
    pub(crate) paths: Vec<BoundPath>,
}

/// Binds every address, and listens.
///
/// # Errors
/// One sentence that names the first address that could not be had.
pub(crate) fn bind_all(addresses: &[ListenAddr]) -> Result<Bound, String> {
    let mut sockets = Vec::new();
    let mut paths = Vec::new();
    for address in addresses {
        let failed = |reason: String| format!("--listen {address}: {reason}");
        match address {
            ListenAddr::Unix(path) => {
                let (socket, bound) = bind_unix(path).map_err(failed)?;
                sockets.push(socket);
                paths.push(bound);
            }
            ListenAddr::Abstract(name) => sockets.push(bind_abstract(name).map_err(failed)?),
            ListenAddr::Inet {
                datagram,
                host,
                port,
            } => {
                sockets.extend(bind_inet(*datagram, host.as_deref(), *port).map_err(failed)?);
            }
        }
    }
    Ok(Bound { sockets, paths })
}

fn bind_inet(datagram: bool, host: Option<&str>, port: u16) -> Result<Vec<Socket>, String> {
    let Some(host) = host else {
        return bind_everywhere(datagram, port).map(|socket| vec![socket]);
    };
    let mut addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("unknown host '{}': {error}", host.escape_debug()))?
        .collect();
    addresses.dedup();
    if addresses.is_empty() {
        return Err("the host has no address".to_owned());
    }
    addresses
        .into_iter()
        .map(|address| bind_one(datagram, address, true))
        .collect()
}

/// One socket for both families; IPv4 alone on a machine without IPv6.
fn bind_everywhere(datagram: bool, port: u16) -> Result<Socket, String> {
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let has_v6 = socket(
        AddressFamily::Inet6,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    );
    match has_v6 {
        Err(Errno::EAFNOSUPPORT) => bind_one(
            datagram,
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            false,
        ),
        _ => bind_one(datagram, v6, false),
    }
}

fn bind_one(datagram: bool, address: SocketAddr, v6only: bool) -> Result<Socket, String> {
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
    let open = || -> nix::Result<OwnedFd> {
        let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        if address.is_ipv6() {
            setsockopt(&fd, sockopt::Ipv6V6Only, &v6only)?;
        }
        if !datagram {
            // Connections of an earlier run may linger in TIME_WAIT (socket(7)). Never for
            // datagrams, where it would let two daemons share the port and lose requests.
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
        if datagram {
            make_room_for_datagrams(&fd);
        } else {
            listen(&fd, Backlog::MAXCONN)?;
        }
        Ok(fd)
    };
    let fd = open().map_err(|errno| match errno {
        Errno::EADDRINUSE => format!("{address} is in use by another process"),
        Errno::EACCES => {
            format!("{address} needs a privilege that this process lacks (a port below 1024)")
        }
        errno => format!("{address}: {}", errno.desc()),
    })?;
    classify(fd, "the new socket")
}

fn bind_unix(path: &Path) -> Result<(Socket, BoundPath), String> {
    let address = UnixAddr::new(path).map_err(unix_words)?;
    remove_stale(path)?;
    let fd = listen_unix(&address).map_err(unix_words)?;
    let meta = std::fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    let bound = BoundPath {
        path: path.to_owned(),
        device: meta.dev(),
        inode: meta.ino(),
    };
    Ok((classify(fd, "the new socket")?, bound))
}

fn bind_abstract(name: &str) -> Result<Socket, String> {
    let fd = UnixAddr::new_abstract(name.as_bytes())
        .and_then(|address| listen_unix(&address))
        .map_err(unix_words)?;
    classify(fd, "the new socket")
}

fn listen_unix(address: &UnixAddr) -> nix::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    bind(fd.as_raw_fd(), address)?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(fd)
}

fn unix_words(errno: Errno) -> String {
    match errno {
        Errno::ENAMETOOLONG => {
            "the path is longer than a UNIX socket's may be (107 bytes)".to_owned()
        }
        Errno::EADDRINUSE => "it is in use by another process".to_owned(),
        errno => errno.desc().to_owned(),
    }
}

/// Removes a socket that a dead process has left behind: nobody accepts there. Anything else at
/// that path is somebody's, and stays.
fn remove_stale(path: &Path) -> Result<(), String> {
    let meta = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
        Ok(meta) => meta,
    };
    if !meta.file_type().is_socket() {
        return Err("it exists and is not a socket; it is left as it is".to_owned());
    }
    match try_connect(path) {
        Err(Errno::ECONNREFUSED) => std::fs::remove_file(path)
            .map_err(|error| format!("cannot remove the stale socket: {error}")),
        // EAGAIN: its backlog is full. EPROTOTYPE: it is of another type. Somebody is there.
        _ => Err("it is in use by another process".to_owned()),
    }
}

/// Connects without waiting for room in the backlog.
fn try_connect(path: &Path) -> nix::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(probe.as_raw_fd(), &UnixAddr::new(path)?)
}

/// The address a socket is bound to, as `--listen` takes it, for the record that says where to ask.
pub(crate) fn local_address(socket: &Socket) -> String {
    let address = match nix::sys::socket::getsockname::<SockaddrStorage>(socket.fd.as_raw_fd()) {
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

    fn parsed(text: &str) -> Result<ListenAddr, String> {
        text.parse()
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        for text in [
            "10513",
            "0",
            "127.0.0.1:10513",
            "[::1]:10513",
            "[fe80::1%lo]:7",
            "localhost:80",
            "udp:10513",
            "udp:127.0.0.1:1",
            "udp:[::]:1",
            "unix:/run/ruptime.sock",
            "unix:@ruptime",
        ] {
            assert_eq!(parsed(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":",
            ":80",
            "80:",
            "::1:80",
            "[::1",
            "[::1]",
            "65536",
            "-1",
            "localhost",
            "[]:0",
            "[localhost]:80",
            "[a:b]:1",
            "[x[y]:1",
            "x]:1",
            "+80",
            "h:+80",
            "unix:",
            "unix:@",
            "udp:",
            "tcp:h:x",
        ] {
            assert!(parsed(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_used_port_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address");
        let error =
            bind_all(&[parsed(&address.to_string()).expect("an address")]).expect_err("in use");
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
        let bound =
            bind_all(&[ListenAddr::Unix(path.clone())]).expect("a stale socket is replaced");
        assert_eq!(bound.sockets[0].kind, Kind::Listener);
        let error = bind_all(&[ListenAddr::Unix(path.clone())]).expect_err("in use");
        assert!(error.contains("in use"), "{error}");
        drop(bound);
        assert!(!path.exists(), "the socket was left behind");
        std::fs::write(&path, "precious").expect("a file");
        let error = bind_all(&[ListenAddr::Unix(path.clone())]).expect_err("a file");
        assert!(error.contains("not a socket"), "{error}");
        assert_eq!(
            std::fs::read_to_string(&path).expect("the file"),
            "precious"
        );
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
