//! A record to the journal: values come in, one datagram of the native protocol goes out
//! (systemd's "Native Journal Protocol", <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! libsystemd can do this too, but on a socket of its own that waits: with a journal that hangs,
//! its send buffer fills with records that nobody reads (some 200 of them, unix(7)), and then the
//! daemon would wait with it. This socket does not wait.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

use libsystemd::logging::{Priority, SD_JOURNAL_SOCK_PATH};

use super::Field;

/// What came of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Done,
    /// The journal takes no more for now.
    Full,
    /// There is no journal: it is being restarted, or the sandbox hides its socket.
    Nobody,
}

/// The way to the journal, opened with the first record: before that, the numbers of descriptors
/// belong to what the service manager has passed.
#[derive(Default)]
pub(super) struct Journal(OnceLock<UnixDatagram>);

impl Journal {
    pub(super) fn send(&self, priority: Priority, message: &str, fields: &[Field<'_>]) -> Sent {
        let record = record(priority, message, fields);
        let sent = self
            .socket()
            .and_then(|socket| socket.send_to(&record, SD_JOURNAL_SOCK_PATH));
        match sent {
            Ok(_) => Sent::Done,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Sent::Full,
            // ENOENT, ECONNREFUSED, EACCES; EMFILE, ENOBUFS, ENOMEM: a line may go all the same.
            Err(_) => Sent::Nobody,
        }
    }

    fn socket(&self) -> io::Result<&UnixDatagram> {
        if let Some(socket) = self.0.get() {
            return Ok(socket);
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(self.0.get_or_init(|| socket))
    }
}

/// The datagram: a field a line, or its name, the length of its value in 64 bits (little-endian)
/// and the value, where that has a line feed in it.
fn record(priority: Priority, message: &str, fields: &[Field<'_>]) -> Vec<u8> {
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
    use super::*;

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
