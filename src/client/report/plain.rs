//! A line's bytes → plain text: colours gone, one kind of blank, the ASCII form of full-width
//! punctuation. Digits are left as they are: which of them count is the grammar's to say.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use crate::escape;

const ESCAPE: char = '\x1b';
const BELL: char = '\x07';

/// The text of a line. Bytes that are not UTF-8 become U+FFFD, which no rule takes for a digit.
pub(super) fn text(line: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(line);
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ESCAPE && skip_colour(&mut chars) {
            continue;
        }
        plain.push(plain_form(c));
    }
    Cow::Owned(plain)
}

/// Skips what follows an escape character if it changes colours, a mode or the title, so that a
/// reader sees the text without it. What moves the cursor or erases stays, and is no uptime line.
fn skip_colour(chars: &mut Peekable<Chars<'_>>) -> bool {
    let mut ahead = chars.clone();
    let is_harmless = match ahead.next() {
        // ECMA-48 section 5.4: CSI, parameters, intermediates, a final byte.
        Some('[') => {
            let is_private = ahead.peek() == Some(&'?');
            let end = ahead.find(|c| !matches!(c, ' '..='?'));
            match end {
                Some('m') => true,
                Some('h' | 'l') => is_private,
                _ => false,
            }
        }
        // A title: up to BEL or ESC \.
        Some(']') => match ahead.find(|c| matches!(*c, BELL | ESCAPE)) {
            Some(BELL) => true,
            Some(_) => ahead.next() == Some('\\'),
            None => false,
        },
        // A character set.
        Some('(') => ahead.next().is_some(),
        _ => false,
    };
    if is_harmless {
        *chars = ahead;
    }
    is_harmless
}

fn plain_form(c: char) -> char {
    match c {
        ESCAPE => c,
        // Unicode's full-width forms stand in the order of ASCII.
        '\u{ff01}'..='\u{ff5e}' if !c.is_alphanumeric() => {
            u8::try_from(u32::from(c) - 0xff01 + 0x21).map_or(c, char::from)
        }
        '\u{3001}' | '\u{60c}' => ',',
        '\u{3002}' => '.',
        _ if c.is_whitespace() || escape::is_hostile(c) => ' ',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_borrowed() {
        let line = b" 21:04:41 up 12 min,  0 user,  load average: 0.26, 0.22, 0.10";
        assert!(matches!(text(line), Cow::Borrowed(_)));
    }

    #[test]
    fn colours_modes_and_titles_are_gone() {
        for line in [
            "\x1b[1;32mup\x1b[0m 5 \x1b[38;5;9mmin\x1b[m",
            "\x1b[?2004lup 5 min\x1b[?2004h",
            "\x1b]0;root@web1: ~\x07up 5 min",
            "\x1b]0;root@web1: ~\x1b\\up 5 min",
            "up 5 min\x1b(B\x1b[m",
        ] {
            assert_eq!(text(line.as_bytes()), "up 5 min", "{line:?}");
        }
    }

    #[test]
    fn attack_what_moves_the_cursor_stays_to_be_refused() {
        for line in [
            "\x1b[2Jup 5 min",
            "\x1b[Hup 5 min",
            "up 5\x1b[4D9 min",
            "up 5\x1b",
            "up 5\x1b]0;x",
        ] {
            assert!(text(line.as_bytes()).contains(ESCAPE), "{line:?}");
        }
    }

    #[test]
    fn blanks_and_full_width_punctuation_are_plain() {
        assert_eq!(
            text("\u{feff}3\u{a0}days\t4\u{202f}h\0".as_bytes()),
            " 3 days 4 h "
        );
        assert_eq!(text("3，4：5（a）；、。".as_bytes()), "3,4:5(a);,.");
        assert_eq!(text("５ｄ".as_bytes()), "５ｄ");
        assert_eq!(text(b"m\xe9dia"), "m\u{fffd}dia");
    }
}
