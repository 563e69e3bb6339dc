//! What has come of a reply so far, bounded. Pure.

/// A longer reply than this is refused; the daemon cuts its own there.
pub(super) const REPLY_MAX: usize = 64 * 1024;

/// The bytes of a reply: the first `keep` of them, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The first bytes.
    pub(super) kept: Vec<u8>,
    /// How many bytes came in all.
    pub(super) total: usize,
    /// It is longer than [`REPLY_MAX`], or did not fit into the buffer: no whole reply.
    pub(super) too_long: bool,
}

impl Reply {
    /// Adds what one receive brought; `length` is what there was to receive, more than `bytes`
    /// when a datagram was cut.
    pub(super) fn add(&mut self, bytes: &[u8], length: usize, keep: usize) {
        let room = keep.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
        self.total = self.total.saturating_add(length);
        self.too_long |= length > bytes.len() || self.total > REPLY_MAX;
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
