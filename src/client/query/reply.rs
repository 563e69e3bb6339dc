//! What has come of a reply so far, bounded. Pure.

use crate::client::report::Reader;

/// A longer reply than this is refused; the daemon cuts its own there.
pub(crate) const REPLY_MAX: usize = 64 * 1024;

/// The bytes of a reply: the first `keep` of them, how many there were, and what all of them say.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// The first bytes.
    pub(crate) kept: Vec<u8>,
    /// Reads all of it, so that the verdict does not hang on how much is kept.
    pub(crate) reader: Reader,
    /// How many bytes came in all.
    pub(crate) total: usize,
    /// It is longer than [`REPLY_MAX`], or did not fit into the buffer: no whole reply.
    pub(crate) too_long: bool,
}

impl Reply {
    /// Adds what one receive brought; `length` is what there was to receive, more than `bytes`
    /// when a datagram was cut.
    pub(crate) fn add(&mut self, bytes: &[u8], length: usize, keep: usize) {
        let room = keep.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
        if !self.too_long {
            self.reader.feed(bytes);
        }
        self.total = self.total.saturating_add(length);
        self.too_long |= length > bytes.len() || self.total > REPLY_MAX;
    }

    /// What is kept, without the first half of a character whose second is not.
    pub(crate) fn into_kept(mut self) -> Vec<u8> {
        if self.total > self.kept.len() {
            let end = self
                .kept
                .utf8_chunks()
                .last()
                .map_or(&[][..], |c| c.invalid());
            // None: more bytes could have made it a character.
            if std::str::from_utf8(end).is_err_and(|error| error.error_len().is_none()) {
                self.kept.truncate(self.kept.len() - end.len());
            }
        }
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_it_may_and_counts_the_rest() {
        let mut reply = Reply::default();
        reply.add(b"abc", 3, 5);
        reply.add(b"defg", 4, 5);
        reply.add(b"h", 1, 5);
        assert_eq!(
            (reply.kept.as_slice(), reply.total),
            (b"abcde".as_slice(), 8)
        );
        assert!(!reply.too_long);
    }

    #[test]
    fn no_half_character_is_kept() {
        let kept = |bytes: &[u8]| {
            let mut reply = Reply::default();
            reply.add(bytes, bytes.len(), 4);
            reply.into_kept()
        };
        assert_eq!(kept("aüöü".as_bytes()), "aü".as_bytes());
        assert_eq!(kept("aaü\n".as_bytes()), "aaü".as_bytes());
        assert_eq!(kept("aaaü".as_bytes()), b"aaa");
        assert_eq!(kept("a\u{1f427}".as_bytes()), b"a");
        // Its own fault, or all that came.
        assert_eq!(kept(b"aaa\xffa"), b"aaa\xff");
        assert_eq!(kept(b"aaa\xc3"), b"aaa\xc3");
    }

    #[test]
    fn the_uptime_line_is_found_whatever_is_kept() {
        let mut reply = Reply::default();
        reply.add(b"Welcome\n \r\n", 11, 3);
        reply.add(b"\n up 3 day", 10, 3);
        reply.add(b"s, 1 user", 9, 3);
        assert_eq!(reply.kept, b"Wel");
        let report = reply.reader.finish().expect("an uptime line");
        assert_eq!((report.uptime.as_secs(), report.users), (259_200, Some(1)));
    }

    #[test]
    fn the_bound_is_inclusive() {
        let mut reply = Reply::default();
        reply.add(&vec![b'x'; REPLY_MAX], REPLY_MAX, 10);
        assert!(!reply.too_long);
        reply.add(b"x", 1, 10);
        assert!(reply.too_long);
    }

    #[test]
    fn a_cut_datagram_is_too_long() {
        let mut reply = Reply::default();
        reply.add(b"abc", 4, 10);
        assert!(reply.too_long);
    }
}
