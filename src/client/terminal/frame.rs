//! What is to be shown → lines that fit on the screen. Pure.

use unicode_width::UnicodeWidthChar as _;

/// A line of the screen. It may hold colours (`ESC [ … m`), and no other sequence; a dim one holds
/// none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// What it says is not of this round.
    pub(crate) dim: bool,
}

impl From<String> for Line {
    fn from(text: String) -> Line {
        Line { text, dim: false }
    }
}

/// Rows and columns of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// From this many rows on the header stands apart.
const ROOMY: usize = 8;
/// From this many rows on there is a footer.
const FOOTED: usize = 4;

impl Size {
    /// How many lines of the list fit between header and footer.
    pub(crate) fn room(self) -> usize {
        self.rows.saturating_sub(self.above() + self.below())
    }

    /// The header, and a blank line where there is room for it.
    pub(crate) fn above(self) -> usize {
        1 + usize::from(self.rows >= ROOMY)
    }

    /// The footer.
    pub(crate) fn below(self) -> usize {
        usize::from(self.rows >= FOOTED)
    }
}

/// Cuts a line to `columns`. Colours take no columns and are kept, so that they are switched off
/// again. A tab goes to the next multiple of eight, as on the screen.
pub(crate) fn clip(line: &str, columns: usize) -> String {
    let mut out = String::with_capacity(line.len());
    let mut used = 0;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\x1b' {
            out.push(c);
            // `[`, digits and semicolons, `m`
            for c in rest.by_ref() {
                out.push(c);
                if c == 'm' {
                    break;
                }
            }
            continue;
        }
        let width = if c == '\t' {
            8 - used % 8
        } else {
            c.width().unwrap_or(0)
        };
        if used + width > columns {
            used = columns; // nothing narrower goes into the gap
            continue;
        }
        used += width;
        match c {
            '\t' => out.extend(std::iter::repeat_n(' ', width)),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_list_and_footer_share_the_screen() {
        for rows in 0..100 {
            let size = Size { rows, columns: 80 };
            let sum = size.above() + size.room() + size.below();
            assert!(sum == rows || rows < 2, "{rows}");
            assert_eq!(size.room() > 0, rows > 1, "{rows}");
        }
    }

    #[test]
    fn lines_are_cut_at_the_last_column_and_colours_are_switched_off() {
        assert_eq!(clip("abcdef", 4), "abcd");
        assert_eq!(clip("abcd", 4), "abcd");
        assert_eq!(clip("a\x1b[31mbcdef\x1b[0m", 3), "a\x1b[31mbc\x1b[0m");
        assert_eq!(clip("東京都", 5), "東京");
        assert_eq!(clip("東a", 1), "");
        assert_eq!(clip("e\u{301}f", 1), "e\u{301}");
        assert_eq!(clip("a\tb", 80), "a       b");
        assert_eq!(clip("abc", 0), "");
    }
}
