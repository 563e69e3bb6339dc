//! UNIX sockets of our own: a path or an abstract name comes in, a listener goes out, and with it
//! the file that is to be removed in the end.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, umask};
use nix::unistd::{Gid, fchownat};

/// Who may connect (`--socket-mode`, `--socket-group`): a connection needs the right to write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) mode: Option<Mode>,
    pub(crate) group: Option<Gid>,
}

/// A UNIX socket that this process has made in the file system. Dropping it removes the socket,
/// unless somebody has put another in its place meanwhile.
#[derive(Debug)]
pub(crate) struct BoundPath {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl BoundPath {
    fn new(path: &Path) -> io::Result<Self> {
        let meta = std::fs::symlink_metadata(path)?;
        Ok(BoundPath {
            path: path.to_owned(),
            device: meta.dev(),
            inode: meta.ino(),
        })
    }

    /// True where this is the file at `path`, however the path is written.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        std::fs::symlink_metadata(path)
            .is_ok_and(|meta| meta.dev() == self.device && meta.ino() == self.inode)
    }
}

/// As `--listen` takes it.
impl fmt::Display for BoundPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.path.display())
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        if self.is_at(&self.path) {
            // Left behind, it is found stale and replaced at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Binds a path, and listens.
///
/// # Errors
/// Why not, in words that follow the path.
pub(super) fn listen_at(path: &Path, access: Access) -> Result<(OwnedFd, BoundPath), String> {
    let address = UnixAddr::new(path).map_err(words)?;
    remove_stale(path)?;
    let fd = stream().map_err(words)?;
    let bound = if access == Access::default() {
        bind(fd.as_raw_fd(), &address).map_err(words)?;
        BoundPath::new(path).map_err(|error| error.to_string())?
    } else {
        bind_with(&fd, &address, path, access)?
    };
    listen(&fd, Backlog::MAXCONN).map_err(words)?;
    Ok((fd, bound))
}

/// Binds a path that only `access` opens, with no moment in which it is open to others: it is made
/// without any rights, then given to its group, and then opened. No thread but this one runs yet,
/// so the umask is this call's own. A link that somebody puts there meanwhile is not followed.
fn bind_with(
    fd: &OwnedFd,
    address: &UnixAddr,
    path: &Path,
    access: Access,
) -> Result<BoundPath, String> {
    let all = Mode::S_IRWXU | Mode::S_IRWXG | Mode::S_IRWXO;
    let usual = umask(all);
    let result = bind(fd.as_raw_fd(), address);
    umask(usual);
    result.map_err(words)?;
    let bound = BoundPath::new(path).map_err(|error| error.to_string())?;
    if let Some(group) = access.group {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(AT_FDCWD, path, None, Some(group), flags)
            .map_err(|errno| format!("cannot give it to the group {group}: {}", errno.desc()))?;
    }
    // What bind(2) gives it without us.
    let mode = access.mode.unwrap_or(all.difference(usual));
    fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink).map_err(|errno| {
        let reason = match errno {
            // The C library does it by way of /proc, where the kernel has no fchmodat2(2).
            Errno::EOPNOTSUPP => "it needs /proc",
            errno => errno.desc(),
        };
        format!("cannot set its mode to {mode:04o}: {reason}")
    })?;
    Ok(bound)
}

/// Binds an abstract name (unix(7)), and listens.
///
/// # Errors
/// Why not, in words that follow the name.
pub(super) fn listen_as(name: &str) -> Result<OwnedFd, String> {
    let open = || -> nix::Result<OwnedFd> {
        let address = UnixAddr::new_abstract(name.as_bytes())?;
        let fd = stream()?;
        bind(fd.as_raw_fd(), &address)?;
        listen(&fd, Backlog::MAXCONN)?;
        Ok(fd)
    };
    open().map_err(words)
}

fn stream() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

fn words(errno: Errno) -> String {
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
        Err(Errno::EACCES) => Err(
            "it exists, and its mode hides whether anybody listens there; remove it if nobody does"
                .to_owned(),
        ),
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
