//! A round's lines → what fits on the screen. Pure.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar as _;

/// What a round has to show.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// The first line.
    pub(crate) header: String,
    /// The lines below, a blank one between.
    pub(crate) lines: Vec<Line>,
}

/// A line that may hold colours (`ESC [ … m`), and no other sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// The host is not up, or has changed: shown first when not all lines fit.
    pub(crate) urgent: bool,
}

/// Rows and columns of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Frame {
    /// At most `size.rows` lines of at most `size.columns` columns. Where there are more, the last
    /// line counts what is left out.
    pub(crate) fn fit(&self, size: Size) -> Vec<String> {
        let mut shown: Vec<Cow<'_, str>> = vec![self.header.as_str().into(), "".into()];
        let room = size.rows.saturating_sub(shown.len());
        let mut lines: Vec<usize> = (0..self.lines.len()).collect();
        if lines.len() > room {
            // A stable sort: the urgent ones, then the others, each in their order.
            lines.sort_by_key(|&i| !self.lines[i].urgent);
            lines.truncate(room.saturating_sub(1));
            lines.sort_unstable();
        }
        let left_out = self.lines.len() - lines.len();
        shown.extend(lines.iter().map(|&i| Cow::from(&self.lines[i].text)));
        if left_out > 0 {
            shown.push(format!("({left_out} more)").into());
        }
        shown.truncate(size.rows);
        shown.iter().map(|line| clip(line, size.columns)).collect()
    }
}

/// Cuts a line to `columns`. Colours take no columns and are kept, so that they are switched off
/// again. A tab goes to the next multiple of eight, as on the screen.
fn clip(line: &str, columns: usize) -> String {
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

    fn frame(lines: &[&str]) -> Frame {
        let line = |text: &&str| Line {
            text: (*text).to_owned(),
            urgent: text.ends_with('!'),
        };
        Frame {
            header: "head".to_owned(),
            lines: lines.iter().map(line).collect(),
        }
    }

    fn fit(lines: &[&str], rows: usize) -> Vec<String> {
        frame(lines).fit(Size { rows, columns: 80 })
    }

    #[test]
    fn what_fits_is_shown_whole() {
        assert_eq!(fit(&["a", "b!", "c"], 5), ["head", "", "a", "b!", "c"]);
        assert_eq!(fit(&[], 24), ["head", ""]);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_urgent_lines_come_first_in_their_order() {
        assert_eq!(
            fit(&["a", "b", "c", "d!", "e"], 5),
            ["head", "", "a", "d!", "(3 more)"]
        );
        assert_eq!(
            fit(&["a!", "b", "c!", "d!"], 5),
            ["head", "", "a!", "c!", "(2 more)"]
        );
    }

    #[test]
    fn a_tiny_screen_shows_what_it_can() {
        assert_eq!(fit(&["a", "b"], 3), ["head", "", "(2 more)"]);
        assert_eq!(fit(&["a", "b"], 2), ["head", ""]);
        assert_eq!(fit(&["a", "b"], 1), ["head"]);
        assert_eq!(fit(&["a", "b"], 0), [""; 0]);
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
