//! One line → what it says, if it is an uptime line.
//!
//! ```text
//! line:  [clock] up span [,] [users] [,] [load]
//! clock: a time of day, with or without a date and a zone around it
//! span:  parts of falling size: N decades, years, weeks, days, hours, minutes, seconds, H:MM[:SS]
//! users: N users | no users | ? users
//! load:  load average[s]: L, L, L | no load … | another language's words: L, L, L
//! ```
//!
//! Blanks between the parts are optional. OpenBSD leaves the "up" out in the first minute, some
//! languages always do, and German puts it behind the span.

use std::time::Duration;

use super::tokens::{Cursor, Token, tokens};
use super::{Report, load, words};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// No Unix machine has been up for a century, so it is a broken clock or a lie.
const MAX_UPTIME: u64 = 100 * 365 * 24 * HOUR;
/// The longest date, time and zone, in tokens.
const MAX_HEAD: usize = 24;
/// The longest name of the load in another language, in tokens.
const MAX_LABEL: usize = 8;
/// The longest that stands for an unknown number of users (`N/A users`), in tokens.
const MAX_PLACEHOLDER: usize = 4;

/// What a line says; None if it is no uptime line.
pub(super) fn report(line: &str) -> Option<Report> {
    let tokens = tokens(line);
    let mut text = Cursor::new(&tokens);
    let head = Head::read(&mut text)?;
    let span = Span::read(&mut text, head.up)?;
    // Behind whole minutes another language's word is no further part of the span.
    let users = Users::read(&mut text, head.clock && span.smallest <= MINUTE)?;
    if !is_of_uptime(&head, &span, users) {
        return None;
    }
    let load = if users == Users::NotSaid {
        load_behind_span(text, &span, head.clock)?
    } else {
        load_behind_users(text)?
    };
    Some(Report {
        uptime: Duration::from_secs(span.seconds),
        users: users.count(),
        load,
    })
}

/// Whether all of it together is what an uptime line has, and nothing else.
fn is_of_uptime(head: &Head, span: &Span, users: Users) -> bool {
    match head.up {
        Up::Plain => true,
        // `docker ps` says `Up 3 days`.
        Up::Capital => head.clock || span.parts > 1,
        Up::Foreign => head.clock,
        Up::Missing => match users {
            Users::Said(_) => span.smallest == 1 && span.seconds < MINUTE,
            Users::Foreign(_) => true,
            Users::NotSaid => span.up_behind,
        },
    }
}

/// How a line says "up".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Up {
    Plain,
    Capital,
    Foreign,
    /// Not before the span.
    Missing,
}

/// What stands before the span.
struct Head {
    /// There is a time of day; its value is not of interest, its zone is mostly not known.
    clock: bool,
    up: Up,
}

impl Head {
    fn read(text: &mut Cursor<'_, '_>) -> Option<Self> {
        text.attempt(Self::with_up)
            .or_else(|| Self::without_up(text))
    }

    fn with_up(text: &mut Cursor<'_, '_>) -> Option<Self> {
        let mut clock = false;
        let mut is_signed = false;
        for before in 0..MAX_HEAD {
            if let Some(up) = up(text) {
                // Without a clock it is no date: `MAIL up 3 days` is of another machine.
                return (clock || before == 0).then_some(Self { clock, up });
            }
            if time(text) {
                // `+01:00` behind the clock is a zone; two clocks are something else.
                if clock && !is_signed {
                    return None;
                }
                clock = true;
                continue;
            }
            let token = text.next()?;
            is_signed = matches!(token, Token::Mark('+' | '-'));
            let fits = match token {
                Token::Number(_) => true,
                Token::Word(word) => words::is_of_a_date(word),
                Token::Mark(mark) => ",.-/+()".contains(mark),
            };
            if !fits {
                return None;
            }
        }
        None
    }

    fn without_up(text: &mut Cursor<'_, '_>) -> Option<Self> {
        let clock = time(text);
        let _ = text.phrase("am") || text.phrase("pm");
        clock.then_some(Self {
            clock,
            up: Up::Missing,
        })
    }
}

/// The word "up", in any language.
fn up(text: &mut Cursor<'_, '_>) -> Option<Up> {
    let Some(Token::Word(word)) = text.peek() else {
        return None;
    };
    if text.phrase("up") {
        return Some(if word == "up" { Up::Plain } else { Up::Capital });
    }
    words::foreign_up(text).then_some(Up::Foreign)
}

/// `21:04:41`, `9:41`, `15.12.09`, `??:????`; goes behind it.
fn time(text: &mut Cursor<'_, '_>) -> bool {
    let is_short = |part: &str| part.chars().count() <= 2;
    let digits = text.attempt(|ahead| {
        let hours = ahead.number()?;
        let dot = ahead.attempt(|t| Some([t.glued_number('.')?, t.glued_number('.')?]));
        let [minutes, seconds] = match dot {
            Some(parts) => parts,
            None => [
                ahead.glued_number(':')?,
                ahead.glued_number(':').unwrap_or(""),
            ],
        };
        [hours, minutes, seconds]
            .into_iter()
            .all(is_short)
            .then_some(())
    });
    let unknown = |ahead: &mut Cursor<'_, '_>| {
        let start = ahead.rest();
        while ahead.mark('?') || ahead.mark(':') {}
        start.starts_with("??:??").then_some(())
    };
    digits.or_else(|| text.attempt(unknown)).is_some()
}

/// How long the machine has been up.
#[derive(Debug, Default)]
struct Span {
    seconds: u64,
    /// The unit of the last part, in seconds.
    smallest: u64,
    parts: usize,
    up_behind: bool,
    /// A comma follows.
    comma: bool,
}

impl Span {
    /// Units come in falling order, each once, so `up 5 min, 3 days` is none.
    fn read(text: &mut Cursor<'_, '_>, up: Up) -> Option<Self> {
        let mut span = Self {
            smallest: u64::MAX,
            ..Self::default()
        };
        while let Some(part) = text.attempt(|ahead| {
            if span.parts > 0 {
                let _ = comma(ahead) || words::and(ahead);
            }
            Part::read(ahead, up)
        }) {
            if part.largest >= span.smallest {
                return None;
            }
            span.seconds = span.seconds.checked_add(part.seconds)?;
            span.smallest = part.smallest;
            span.parts += 1;
        }
        span.up_behind = words::up_behind(text);
        span.comma = comma(text);
        (span.parts > 0 && span.seconds <= MAX_UPTIME).then_some(span)
    }
}

/// One part of a span.
struct Part {
    seconds: u64,
    /// Its largest and its smallest unit, in seconds: `4:05` has hours and minutes.
    largest: u64,
    smallest: u64,
}

impl Part {
    fn read(text: &mut Cursor<'_, '_>, up: Up) -> Option<Self> {
        let number = whole(text.number()?)?;
        if let Some(minutes) = text.glued_number(':') {
            return Self::of_hours(number, minutes, text);
        }
        let fraction = text.glued_number('.');
        let unit = |ahead: &mut Cursor<'_, '_>| {
            let word = ahead.word()?;
            // Only in a line of that language: `jours` is one letter away from `hours`.
            let foreign = matches!(up, Up::Foreign | Up::Missing);
            words::unit(word).or_else(|| words::foreign_unit(word).filter(|_| foreign))
        };
        if let Some(unit) = text.attempt(unit) {
            // A fraction of a second is below what is told; one of anything else is not written.
            return (fraction.is_none() || unit == 1).then_some(Self {
                seconds: number.checked_mul(unit)?,
                largest: unit,
                smallest: unit,
            });
        }
        // Swedish and Italian write 4.05.
        Self::of_hours(number, fraction.filter(|_| up == Up::Foreign)?, text)
    }

    /// `H:MM`, `H:MM:SS` or `H:MM:SS.FFF`, of which the hours and the minutes are there.
    fn of_hours(hours: u64, minutes: &str, text: &mut Cursor<'_, '_>) -> Option<Self> {
        let seconds = text.glued_number(':');
        if seconds.is_some() {
            // Below what is told.
            let _ = text.glued_number('.');
        }
        Some(Self {
            seconds: hours * HOUR
                + sixtieth(minutes)? * MINUTE
                + seconds.map_or(Some(0), sixtieth)?,
            largest: HOUR,
            smallest: if seconds.is_some() { 1 } else { MINUTE },
        })
    }
}

/// How many users a line tells; no number where it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Users {
    NotSaid,
    Said(Option<u32>),
    /// In the words of another language.
    Foreign(Option<u32>),
}

impl Users {
    fn count(self) -> Option<u32> {
        match self {
            Self::NotSaid => None,
            Self::Said(count) | Self::Foreign(count) => count,
        }
    }

    /// None where a number stands that is none of users: a part of the span that cannot be read,
    /// or a counter below zero or beyond all users, with which the line's other values fall.
    fn read(text: &mut Cursor<'_, '_>, may_be_foreign: bool) -> Option<Self> {
        if let Some(digits) = words::users_before_number(text) {
            return Some(Self::Foreign(count(digits)?));
        }
        if words::no_users(text) {
            return Some(Self::Said(Some(0)));
        }
        let Some(digits) = grouped_number(text) else {
            let unknown = text.attempt(|ahead| placeholder(ahead, may_be_foreign));
            return Some(unknown.map_or(Self::NotSaid, |()| Self::Said(None)));
        };
        if words::users(text) {
            return Some(Self::Said(count(digits)?));
        }
        if words::foreign_users(text) {
            return Some(Self::Foreign(count(digits)?));
        }
        // A word that is not known.
        let word = text.word().filter(|word| words::unit(word).is_none());
        let is_alone = text.is_at_end() || text.peek() == Some(Token::Mark(','));
        (word.is_some() && is_alone && may_be_foreign).then_some(Self::Said(None))
    }
}

/// What stands for a number of users that is not known: `?`, and in a whole line any word.
fn placeholder(text: &mut Cursor<'_, '_>, may_be_any: bool) -> Option<()> {
    for tokens in 0..=MAX_PLACEHOLDER {
        if tokens > 0 && words::users(text) {
            return Some(());
        }
        match text.next()? {
            Token::Mark('?') => {}
            Token::Word(_) | Token::Mark('-' | '/' | '.') if may_be_any => {}
            _ => return None,
        }
    }
    None
}

/// Digits, in groups of three or not: `1024`, `1,024`.
fn grouped_number<'a>(text: &mut Cursor<'_, 'a>) -> Option<&'a str> {
    let start = text.rest();
    text.number()?;
    for mark in [',', '.'] {
        let group = |ahead: &mut Cursor<'_, 'a>| {
            ahead.glued_number(mark).filter(|digits| digits.len() == 3)
        };
        while text.attempt(group).is_some() {}
    }
    Some(start[..start.len() - text.rest().len()].trim_end())
}

/// What the load is, behind users; None where something else follows.
fn load_behind_users(mut text: Cursor<'_, '_>) -> Option<Option<[f64; 3]>> {
    let comma = comma(&mut text);
    if text.is_at_end() || no_load(&mut text) {
        return Some(None);
    }
    let is_labelled = load_label(&mut text)
        || comma && (text.attempt(later_load_label).is_some() || foreign_label(&mut text));
    if is_labelled {
        return Some(load::three(text.rest()));
    }
    comma.then_some(None)
}

/// What the load is where no users are told; None where something else follows.
fn load_behind_span(
    mut text: Cursor<'_, '_>,
    span: &Span,
    clock: bool,
) -> Option<Option<[f64; 3]>> {
    if text.is_at_end() {
        // A comma says that the span went on, or might have.
        return (!span.comma || span.smallest <= MINUTE).then_some(None);
    }
    if no_load(&mut text) {
        return Some(None);
    }
    let label = load_label(&mut text);
    if !(label || span.comma && foreign_label(&mut text)) {
        return None;
    }
    let load = load::three(text.rest());
    // Without a clock, users and loads, hardly anything speaks for an uptime line.
    (clock || label || load.is_some()).then_some(load)
}

/// `no load average information available`
fn no_load(text: &mut Cursor<'_, '_>) -> bool {
    text.phrase("no load")
}

/// `load average:`, `load averages:`, `load:`, `load`
fn load_label(text: &mut Cursor<'_, '_>) -> bool {
    let label = |ahead: &mut Cursor<'_, '_>| {
        if !ahead.phrase("load") {
            return None;
        }
        while ahead.word().is_some() {}
        let colon = ahead.mark(':');
        (colon || matches!(ahead.peek(), Some(Token::Number(_)))).then_some(())
    };
    text.attempt(label).is_some()
}

/// The load's label behind something that is not known: `1 user, 80 processes, load average:`.
fn later_load_label(text: &mut Cursor<'_, '_>) -> Option<()> {
    while !load_label(text) {
        text.next()?;
    }
    Some(())
}

/// Words and a colon: `carga promedio:`.
fn foreign_label(text: &mut Cursor<'_, '_>) -> bool {
    let label = |ahead: &mut Cursor<'_, '_>| {
        ahead.word()?;
        for _ in 0..MAX_LABEL {
            match ahead.next()? {
                Token::Mark(':') => return Some(()),
                Token::Word(_) | Token::Mark('.' | '-' | '\'') => {}
                _ => return None,
            }
        }
        None
    };
    text.attempt(label).is_some()
}

/// What stands between two parts; goes behind it.
fn comma(text: &mut Cursor<'_, '_>) -> bool {
    text.mark(',') || text.mark(';')
}

/// Digits only, at most nine, so that nothing overflows.
fn whole(digits: &str) -> Option<u64> {
    let fits = digits.len() <= 9 && digits.is_ascii();
    fits.then(|| digits.parse().ok())?
}

/// Two digits below 60.
fn sixtieth(digits: &str) -> Option<u64> {
    whole(digits).filter(|&number| number < 60 && digits.len() == 2)
}

/// A number of users, in groups of three or not. The inner None: digits of another script. The
/// outer: more than there can be.
fn count(digits: &str) -> Option<Option<u32>> {
    if !digits.is_ascii() {
        return Some(None);
    }
    let number = match digits.contains([',', '.']) {
        true => whole(&digits.replace([',', '.'], ""))?,
        false => whole(digits)?,
    };
    u32::try_from(number).ok().map(Some)
}
