//! In: the bytes of a reply. Out: whether they are the answer that was wanted. Pure.

/// What a reply has to be.
#[derive(Debug, Clone)]
pub enum Expected {
    /// A whole line of procps' uptime(1).
    Uptime,
    /// Exactly these bytes.
    Text(Vec<u8>),
}

impl Expected {
    /// Whether `reply` is the wanted answer: for an uptime line, one whole line that has the time since boot and
    /// three load averages, so that half a line, an `error:` line or two answers in one are told apart from it.
    #[must_use]
    pub fn accepts(&self, reply: &[u8]) -> bool {
        match self {
            Self::Text(text) => reply == text,
            Self::Uptime => is_uptime(reply),
        }
    }
}

fn is_uptime(reply: &[u8]) -> bool {
    let Some((b'\n', line)) = reply.split_last() else {
        return false;
    };
    if line.contains(&b'\n') {
        return false;
    }
    let Ok(line) = std::str::from_utf8(line) else {
        return false;
    };
    let Some((head, loads)) = line.split_once("load average: ") else {
        return false;
    };
    let is_load = |load: &str| load.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    head.contains(" up ")
        && loads.split(", ").count() == 3
        && loads
            .split(", ")
            .all(|load| !load.is_empty() && is_load(load))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b" 12:34:56 up 10 days,  3:04,  2 users,  load average: 0.10, 0.20, 0.30\n";

    #[test]
    fn a_whole_line_is_accepted() {
        assert!(Expected::Uptime.accepts(LINE));
    }

    #[test]
    fn half_a_line_two_lines_and_errors_are_not() {
        for end in 0..LINE.len() {
            assert!(!Expected::Uptime.accepts(&LINE[..end]), "first {end} bytes");
        }
        assert!(!Expected::Uptime.accepts(&[LINE, LINE].concat()));
        assert!(!Expected::Uptime.accepts(b"error: /usr/bin/uptime: No such file or directory\n"));
        assert!(!Expected::Uptime.accepts(b" up load average: 1,00, 2,00, 3,00\n"));
    }

    #[test]
    fn a_text_is_compared_byte_for_byte() {
        let expected = Expected::Text(b"7\n".to_vec());
        assert!(expected.accepts(b"7\n"));
        assert!(!expected.accepts(b"7"));
    }
}
