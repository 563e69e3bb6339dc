//! Whether standard error is the journal, and a record for it: values come in, one datagram of the
//! native protocol comes out (systemd's "Native Journal Protocol", <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! libsystemd can send one too, but on a socket that waits: with a journal that hangs, its send
//! buffer fills with unread records (some 200 of them, unix(7)), and then the daemon
//! would wait with it. So the record leaves through an [`Outlet`](super::outlet::Outlet).

use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd};

use libsystemd::logging::Priority;
use nix::sys::stat::fstat;

use super::Field;

/// Whether standard error is the stream that `$JOURNAL_STREAM` names (systemd.exec(5)). Not
/// libsystemd's `connected_to_journal`: in 0.5 it is also true where only standard output is one.
pub(super) fn is_stderr() -> bool {
    std::env::var("JOURNAL_STREAM").is_ok_and(|named| is_named(&named, std::io::stderr().as_fd()))
}

/// `named` is a device and an inode, `8:1234`.
fn is_named(named: &str, fd: BorrowedFd<'_>) -> bool {
    let (Some((device, inode)), Ok(stat)) = (named.split_once(':'), fstat(fd)) else {
        return false;
    };
    device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino)
}

/// The datagram: a field a line, or its name, the length of its value in 64 bits (little-endian)
/// and the value, where that has a line feed in it.
pub(super) fn record(priority: Priority, message: &str, fields: &[Field<'_>]) -> Vec<u8> {
    let mut data = Vec::with_capacity(512);
    let mut value = String::new();
    let priority = u8::from(priority);
    let own: [Field<'_>; 3] = [
        ("PRIORITY", &priority),
        ("SYSLOG_IDENTIFIER", &"ruptimed"),
        ("MESSAGE", &message),
    ];
    for (name, shown) in own.iter().chain(fields) {
        value.clear();
        // Writing to a String cannot fail.
        let _ = write!(value, "{shown}");
        data.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            data.push(b'\n');
            data.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            data.push(b'=');
        }
        data.extend_from_slice(value.as_bytes());
        data.push(b'\n');
    }
    data
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_journals_stream_is_known_by_device_and_inode() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let stat = fstat(&ours).expect("a socket");
        let named = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_named(&named, ours.as_fd()));
        assert!(!is_named(&named, theirs.as_fd()));
        for broken in ["", ":", "8", "8:", "x:y"] {
            assert!(!is_named(broken, ours.as_fd()), "{broken}");
        }
    }

    #[test]
    fn a_field_is_a_line() {
        assert_eq!(
            record(
                Priority::Warning,
                "it fails",
                &[("ERRNO", &24), ("RUPTIME_PEER", &"192.0.2.1:9")]
            ),
            b"PRIORITY=4\nSYSLOG_IDENTIFIER=ruptimed\nMESSAGE=it fails\nERRNO=24\nRUPTIME_PEER=192.0.2.1:9\n"
        );
    }

    #[test]
    fn a_value_with_line_feeds_cannot_forge_a_field() {
        let data = record(Priority::Info, "a\nPRIORITY=0", &[]);
        let forged = b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n";
        assert!(data.ends_with(forged), "{}", data.escape_ascii());
    }
}
