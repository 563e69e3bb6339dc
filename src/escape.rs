//! Bytes from the network → text that may be shown. Pure.
//!
//! Whoever answers on a port chooses the bytes, and a terminal obeys some of them: it moves the
//! cursor, sets its title, answers back on standard input. So nothing from outside is shown before
//! it went through here. What is shown as itself cannot move, hide or reorder anything; all the
//! rest becomes visible as `\x1b` (a byte) or `\u{202e}` (a character).

use std::borrow::Cow;
use std::fmt::Write as _;

/// Marks stacked on one character that are shown; a real script needs no more, and a tower of a
/// thousand paints over the neighbouring lines.
const MAX_MARKS: usize = 4;

/// One line for a terminal, a table or a message: no line break or tab survives.
pub fn line(bytes: &[u8]) -> Cow<'_, str> {
    escape(bytes, |_| false)
}

/// Text that this machine's own user wrote: only what a terminal obeys or what hides is escaped.
pub fn word(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) {
            push_escaped(&mut out, c);
        } else {
            out.push(c);
        }
    }
    out
}

/// The same as [`line()`], cut to `max` characters and an ellipsis (`...`) that says so.
pub fn excerpt(bytes: &[u8], max: usize) -> String {
    // Four bytes are the longest character, so nothing that is shown is cut off here.
    let (head, cut) = match bytes.get(..max.saturating_mul(4)) {
        Some(head) if head.len() < bytes.len() => (head, true),
        _ => (bytes, false),
    };
    let shown = line(head);
    match shown.char_indices().nth(max) {
        Some((end, _)) => format!("{}...", &shown[..end]),
        None if cut => format!("{shown}..."),
        None => shown.into_owned(),
    }
}

/// Whole lines for a terminal: line feeds (with a carriage return before them or not) and tabs
/// stay, everything else is as in [`line()`].
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.windows(2).any(|pair| pair == b"\r\n") {
        let lines: Vec<_> = bytes
            .split(|&b| b == b'\n')
            .map(|l| l.strip_suffix(b"\r").unwrap_or(l))
            .collect();
        return Cow::Owned(escape(&lines.join(&b'\n'), is_layout).into_owned());
    }
    escape(bytes, is_layout)
}

fn is_layout(c: char) -> bool {
    matches!(c, '\n' | '\t')
}

/// Borrows when there is nothing to escape, the usual case.
fn escape(bytes: &[u8], keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if bytes
        .iter()
        .all(|&b| matches!(b, b' '..=b'~') || keep(char::from(b)))
    {
        // Only ASCII gets here, so this borrows and never replaces.
        return String::from_utf8_lossy(bytes);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    let mut marks = MAX_MARKS; // none may stand before the first character
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mark = is_mark(c);
            marks = if mark { marks + 1 } else { 0 };
            if keep(c) || !(is_hostile(c) || mark && marks > MAX_MARKS) {
                out.push(c);
            } else {
                push_escaped(&mut out, c);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
            marks = MAX_MARKS;
        }
    }
    Cow::Owned(out)
}

/// Whether a character stands on the one before it.
#[cfg(feature = "client")]
fn is_mark(c: char) -> bool {
    use unicode_width::UnicodeWidthChar as _;
    c.width() == Some(0)
}

/// The daemon alone shows what its own administrator wrote, and does without the tables.
#[cfg(not(feature = "client"))]
fn is_mark(_: char) -> bool {
    false
}

fn push_escaped(out: &mut String, c: char) {
    let _ = match c {
        '\n' => write!(out, "\\n"),
        '\r' => write!(out, "\\r"),
        '\t' => write!(out, "\\t"),
        '\0'..='\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
        _ => write!(out, "\\u{{{:x}}}", u32::from(c)),
    };
}

/// Characters that a terminal obeys, or that hide or reorder others: the controls (C0, DEL, C1),
/// Unicode's Bidi_Control, Default_Ignorable_Code_Point, line and paragraph separators,
/// interlinear annotations, and noncharacters (Unicode Standard Annex 9 and 44).
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || u32::from(c) & 0xfffe == 0xfffe
        || matches!(c, '\u{fdd0}'..='\u{fdef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_borrowed_as_it_is() {
        let bytes = br" 21:04:41 up 12 min,  0 user,  load average: 0.26, 0.22, 0.10 \x1b";
        assert!(matches!(line(bytes), Cow::Borrowed(_)));
        assert_eq!(line(bytes).as_bytes(), bytes);
        assert!(matches!(text(b"a\tb\nc\n"), Cow::Borrowed("a\tb\nc\n")));
    }

    #[test]
    fn other_scripts_are_left_alone() {
        for word in [
            "Zürich",
            "e\u{301}te\u{301}",
            "東京",
            "กรุงเทพฯ",
            "日本語 サーバ",
            "🐧",
        ] {
            assert_eq!(line(word.as_bytes()), word);
        }
    }

    #[test]
    fn attack_clear_screen_and_set_title() {
        assert_eq!(line(b"\x1b[2J\x1b]0;owned\x07"), r"\x1b[2J\x1b]0;owned\x07");
    }

    #[test]
    fn attack_overwrite_the_line_with_carriage_return_and_backspace() {
        assert_eq!(line(b"down\rup  \x08"), r"down\rup  \x08");
        assert_eq!(text(b"down\rup"), r"down\rup");
    }

    #[test]
    fn attack_forge_a_row_with_a_line_break() {
        assert_eq!(line(b"x\nweb2  up\tok"), r"x\nweb2  up\tok");
        assert_eq!(line("x\u{2028}y\u{85}z".as_bytes()), r"x\u{2028}y\u{85}z");
    }

    #[test]
    fn attack_c1_control_sequence_introducer() {
        assert_eq!(line("\u{9b}31m".as_bytes()), r"\u{9b}31m");
        assert_eq!(line(b"\x9b31m"), r"\x9b31m");
    }

    #[test]
    fn attack_bidi_override_reorders_the_row() {
        assert_eq!(
            line("a\u{202e}nwod\u{202c}".as_bytes()),
            r"a\u{202e}nwod\u{202c}"
        );
        assert_eq!(line("\u{2067}x\u{2069}".as_bytes()), r"\u{2067}x\u{2069}");
    }

    #[test]
    fn attack_invisible_characters_make_two_names_look_alike() {
        assert_eq!(
            line("we\u{200b}b1\u{feff}\u{ad}".as_bytes()),
            r"we\u{200b}b1\u{feff}\u{ad}"
        );
        assert_eq!(line("\u{e0041}".as_bytes()), r"\u{e0041}");
        assert_eq!(line("\u{3164}".as_bytes()), r"\u{3164}");
    }

    #[test]
    fn attack_invalid_and_overlong_utf8() {
        assert_eq!(line(b"a\xff\xc0\xafb\xe2\x82"), r"a\xff\xc0\xafb\xe2\x82");
    }

    #[test]
    fn attack_tower_of_combining_marks() {
        let tower = format!("e{}", "\u{301}".repeat(1000));
        let shown = line(tower.as_bytes());
        assert_eq!(shown.matches('\u{301}').count(), MAX_MARKS);
        // A mark with nothing to stand on would join the text before ours.
        assert_eq!(line("\u{301}x".as_bytes()), r"\u{301}x");
    }

    #[test]
    fn attack_nul_bytes() {
        assert_eq!(line(b"a\0b"), r"a\x00b");
    }

    #[test]
    fn lines_keep_their_breaks_and_tabs_in_text() {
        assert_eq!(text(b"a\r\nb\tc\r\n"), "a\nb\tc\n");
        assert_eq!(text(b"a\x1b\n"), "a\\x1b\n");
    }

    #[test]
    fn an_excerpt_is_bounded_and_says_so() {
        assert_eq!(excerpt(b"short", 5), "short");
        assert_eq!(excerpt(b"longer", 5), "longe...");
        assert_eq!(excerpt(&[b'x'; 65536], 3), "xxx...");
        assert_eq!(excerpt("東京都庁".as_bytes(), 2), "東京...");
    }
}
