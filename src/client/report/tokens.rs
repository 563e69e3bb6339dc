//! Plain text → numbers, words and marks, and a cursor that goes through them.

/// A piece of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Digits, of any script.
    Number(&'a str),
    /// Letters, with the `(s)` of `day(s)`.
    Word(&'a str),
    /// Anything else, one character.
    Mark(char),
}

/// A token and where it stands.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    token: Token<'a>,
    /// No blank is before it.
    is_glued: bool,
    /// The line from it on.
    rest: &'a str,
}

/// All tokens of a line.
pub(super) fn tokens(line: &str) -> Vec<Placed<'_>> {
    let mut tokens = Vec::with_capacity(40);
    let mut text = line;
    loop {
        let rest = text.trim_start_matches(' ');
        let Some(first) = rest.chars().next() else {
            return tokens;
        };
        let kind = Kind::of(first);
        let length = match kind {
            Kind::Mark => first.len_utf8(),
            Kind::Digit | Kind::Letter => length_of(kind, rest),
        };
        let (piece, behind) = rest.split_at(length);
        tokens.push(Placed {
            token: match kind {
                Kind::Digit => Token::Number(piece),
                Kind::Letter => Token::Word(piece),
                Kind::Mark => Token::Mark(first),
            },
            is_glued: rest.len() == text.len(),
            rest,
        });
        text = behind;
    }
}

/// How many bytes of one kind a text begins with, the `(s)` behind letters included.
fn length_of(kind: Kind, text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_other = |byte: &u8| !byte.is_ascii() || Kind::of(char::from(*byte)) != kind;
    let mut length = bytes.iter().position(is_other).unwrap_or(bytes.len());
    // The usual line has no other script.
    if bytes.get(length).is_some_and(|byte| !byte.is_ascii()) {
        length = text.find(|c| Kind::of(c) != kind).unwrap_or(text.len());
    }
    let behind = &bytes[length..];
    match kind {
        Kind::Letter if behind.starts_with(b"(s)") || behind.starts_with(b"(S)") => length + 3,
        _ => length,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Digit,
    Letter,
    Mark,
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            '0'..='9' => Self::Digit,
            'a'..='z' | 'A'..='Z' => Self::Letter,
            '\0'..='\x7f' => Self::Mark,
            _ if c.is_numeric() => Self::Digit,
            // Also what joins letters, and what was no UTF-8.
            _ => Self::Letter,
        }
    }
}

/// A place among the tokens of a line. A copy looks ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'t, 'a>(&'t [Placed<'a>]);

impl<'t, 'a> Cursor<'t, 'a> {
    pub(super) fn new(tokens: &'t [Placed<'a>]) -> Self {
        Self(tokens)
    }

    /// What is left of the line.
    pub(super) fn rest(&self) -> &'a str {
        self.0.first().map_or("", |first| first.rest)
    }

    /// Whether nothing but blanks is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// The next token, left where it is.
    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.0.first().map(|first| first.token)
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first.token)
    }

    /// Goes forward only if `read` finds what it looks for.
    pub(super) fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut ahead = *self;
        let found = read(&mut ahead)?;
        *self = ahead;
        Some(found)
    }

    /// The next token if it is a number.
    pub(super) fn number(&mut self) -> Option<&'a str> {
        let Some(Token::Number(digits)) = self.peek() else {
            return None;
        };
        self.next();
        Some(digits)
    }

    /// The next token if it is a word.
    pub(super) fn word(&mut self) -> Option<&'a str> {
        let Some(Token::Word(word)) = self.peek() else {
            return None;
        };
        self.next();
        Some(word)
    }

    /// Whether the next token is this mark; goes behind it.
    pub(super) fn mark(&mut self, mark: char) -> bool {
        let is_next = self.peek() == Some(Token::Mark(mark));
        if is_next {
            self.next();
        }
        is_next
    }

    /// A mark and a number behind it, without a blank before either: the `:05` of `4:05`.
    pub(super) fn glued_number(&mut self, mark: char) -> Option<&'a str> {
        let (pair, rest) = self.0.split_at_checked(2)?;
        match (pair[0].token, pair[1].token) {
            (Token::Mark(found), Token::Number(digits))
                if found == mark && pair[0].is_glued && pair[1].is_glued =>
            {
                self.0 = rest;
                Some(digits)
            }
            _ => None,
        }
    }

    /// Whether these words come next, whatever their ASCII case; goes behind them.
    pub(super) fn phrase(&mut self, phrase: &str) -> bool {
        let mut ahead = *self;
        let is_next = phrase.as_bytes().split(|byte| *byte == b' ').all(|wanted| {
            let word = ahead.word();
            word.is_some_and(|word| word.as_bytes().eq_ignore_ascii_case(wanted))
        });
        if is_next {
            *self = ahead;
        }
        is_next
    }
}

#[cfg(test)]
mod tests {
    use super::Token::{Mark, Number, Word};
    use super::*;

    fn read(line: &str) -> Vec<Token<'_>> {
        tokens(line).iter().map(|placed| placed.token).collect()
    }

    #[test]
    fn a_line_falls_into_numbers_words_and_marks() {
        assert_eq!(
            read(" 2:30pm up 14days,3 user(s)"),
            [
                Number("2"),
                Mark(':'),
                Number("30"),
                Word("pm"),
                Word("up"),
                Number("14"),
                Word("days"),
                Mark(','),
                Number("3"),
                Word("user(s)"),
            ]
        );
        assert_eq!(
            read("3天 ٥ n'a(S)"),
            [
                Number("3"),
                Word("天"),
                Number("٥"),
                Word("n"),
                Mark('\''),
                Word("a(S)")
            ]
        );
        assert_eq!(read("  "), []);
    }

    #[test]
    fn what_is_glued_has_no_blank_before_it() {
        let line = tokens("4:05 :06");
        let mut cursor = Cursor::new(&line);
        assert_eq!(cursor.number(), Some("4"));
        assert_eq!(cursor.glued_number(':'), Some("05"));
        assert_eq!(cursor.glued_number(':'), None);
        assert_eq!(cursor.rest(), ":06");
    }

    #[test]
    fn a_phrase_is_taken_whole_or_not_at_all() {
        let line = tokens("In Bedrijf 3 dagen");
        let mut cursor = Cursor::new(&line);
        assert!(!cursor.phrase("in actie"));
        assert!(cursor.phrase("in bedrijf"));
        assert_eq!(cursor.number(), Some("3"));
    }
}
