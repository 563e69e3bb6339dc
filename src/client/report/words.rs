//! The vocabulary of uptime lines: English, and what GNU coreutils 9 prints in other languages.

use super::tokens::{Cursor, Token};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
/// As `uptime --pretty` of procps counts it.
const YEAR: u64 = 365 * DAY;

/// Units of time and their seconds, without a plural's ending.
const UNITS: &[(&str, u64)] = &[
    ("day", DAY),
    ("min", MINUTE),
    ("hr", HOUR),
    ("hour", HOUR),
    ("minute", MINUTE),
    ("sec", 1),
    ("second", 1),
    ("week", WEEK),
    ("year", YEAR),
    ("decade", 10 * YEAR),
];

/// What stands before the span, besides "up".
#[rustfmt::skip]
const UP: &[&str] = &[
    "actif", "activo há", "arriba", "attivo", "açık", "běží", "chạy", "działa", "en marxa",
    "fut", "in bedrijf", "käynnissä", "ligado por", "nyala", "oppe", "oppetid", "piztuta",
    "pokonci", "püsti", "radi", "rulas", "uppe", "в работе", "до", "已启动", "已啟動", "稼働時間", "가동시간",
];

/// German has it behind the span.
const UP_BEHIND: &str = "an";

/// Days, the only unit that coreutils has a word for; sorted.
#[rustfmt::skip]
const DAYS: &[&str] = &[
    "dag", "dagar", "dage", "dagen", "dager", "dan", "dana", "den", "dia", "dias", "dies",
    "dni", "dny", "dnů", "dzień", "día", "días", "egun", "giorni", "giorno", "gün", "hari",
    "jour", "jours", "nap", "ngày", "päev", "päeva", "tag", "tage", "tago", "tagoj", "vrk",
    "дана", "ден", "день", "дней", "дни", "дня", "дні", "днів", "天", "日", "일",
];

/// Users, behind their number.
#[rustfmt::skip]
const USERS: &[&str] = &[
    "användare", "benutzer", "bruger", "brugere", "bruker", "brukere", "de utilizatori",
    "erabiltzaile", "felhasználó", "gebruiker", "gebruikers", "kasutaja", "kasutajat",
    "korisnik", "korisnika", "kullanıcı", "käyttäjä", "käyttäjää", "naudotojai", "naudotojas",
    "naudotojų", "người dùng", "pengguna", "používatelia", "používateľ", "používateľov",
    "uporabnik", "uporabnika", "uporabniki", "uporabnikov", "usuari", "usuario", "usuarios",
    "usuaris", "usuário", "usuários", "utente", "utenti", "utilisateur", "utilisateurs",
    "utilizador", "utilizadores", "utilizator", "utilizatori", "uzanto", "uzantoj",
    "użytkownicy", "użytkownik", "użytkowników", "uživatel", "uživatelé", "uživatelů",
    "úsáideoir", "карыстальнік", "карыстальніка", "карыстальнікаў", "корисник", "корисника",
    "користувач", "користувачі", "користувачів", "пайдаланушы", "пользователей", "пользователь",
    "пользователя", "потребител", "потребители", "ユーザ", "个用户", "名使用者",
];

/// Between the parts of a span.
const AND: &[&str] = &["and", "og"];

/// Users, before their number.
const USERS_BEFORE: &[&str] = &["erabiltzaile", "사용자"];

/// What counts people behind their number, in languages that put the users before it.
const COUNTER: &str = "명";

/// English beside a clock.
#[rustfmt::skip]
const DATE: &[&str] = &[
    "am", "pm", "mon", "tue", "wed", "thu", "fri", "sat", "sun", "jan", "feb", "mar", "apr",
    "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "monday", "tuesday", "wednesday",
    "thursday", "friday", "saturday", "sunday", "january", "february", "march", "april", "june",
    "july", "august", "september", "october", "november", "december",
];

/// The longest word beside a clock in other scripts, in characters.
const DATE_WORD_MAX: usize = 8;

/// A unit of time in seconds: `day`, `days`, `day(s)`, …
pub(super) fn unit(word: &str) -> Option<u64> {
    let stem = word
        .strip_suffix("(s)")
        .or_else(|| word.strip_suffix(['s', 'S']))
        .unwrap_or(word);
    UNITS
        .iter()
        .find(|(unit, _)| stem.eq_ignore_ascii_case(unit))
        .map(|(_, seconds)| *seconds)
}

/// Another language's unit of time in seconds.
pub(super) fn foreign_unit(word: &str) -> Option<u64> {
    let is_day = DAYS.binary_search(&word.to_lowercase().as_str()).is_ok();
    is_day.then_some(DAY)
}

/// Whether one of these phrases comes next; goes behind it.
fn one_of(text: &mut Cursor<'_, '_>, phrases: &[&str]) -> bool {
    let Some(Token::Word(word)) = text.peek() else {
        return false;
    };
    let begins = |phrase: &&&str| {
        let start = phrase.as_bytes().get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    phrases
        .iter()
        .filter(begins)
        .any(|phrase| text.phrase(phrase))
}

/// Another language's "up" before the span; goes behind it.
pub(super) fn foreign_up(text: &mut Cursor<'_, '_>) -> bool {
    let found = one_of(text, UP);
    if found {
        // Turkish has a colon there.
        text.mark(':');
    }
    found
}

/// German's "up" behind the span; goes behind it.
pub(super) fn up_behind(text: &mut Cursor<'_, '_>) -> bool {
    text.phrase(UP_BEHIND)
}

/// What joins two parts of a span; goes behind it.
pub(super) fn and(text: &mut Cursor<'_, '_>) -> bool {
    one_of(text, AND)
}

/// `user`, `users`, `user(s)`; goes behind it.
pub(super) fn users(text: &mut Cursor<'_, '_>) -> bool {
    one_of(text, &["users", "user", "user(s)"])
}

/// `no users`; goes behind it.
pub(super) fn no_users(text: &mut Cursor<'_, '_>) -> bool {
    one_of(text, &["no users", "no user"])
}

/// Users in another language, behind their number; goes behind it.
pub(super) fn foreign_users(text: &mut Cursor<'_, '_>) -> bool {
    one_of(text, USERS)
}

/// Users and their number, in the languages that have them in this order.
pub(super) fn users_before_number<'a>(text: &mut Cursor<'_, 'a>) -> Option<&'a str> {
    text.attempt(|ahead| {
        let count = one_of(ahead, USERS_BEFORE).then(|| ahead.number())??;
        let _ = ahead.phrase(COUNTER);
        Some(count)
    })
}

/// Whether a word may stand beside a clock: morning or afternoon, a weekday, a month, a zone.
pub(super) fn is_of_a_date(word: &str) -> bool {
    if !word.is_ascii() {
        return word.chars().count() <= DATE_WORD_MAX;
    }
    let is_zone = word.len() <= 5 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_name = DATE.iter().any(|name| word.eq_ignore_ascii_case(name));
    // One letter: `a.m.`, the T and the Z of ISO 8601.
    word.len() == 1 || is_zone || is_name
}
