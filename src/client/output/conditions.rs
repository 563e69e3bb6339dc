//! Conditions on a host, for `--where`, `--warning` and `--critical`. Pure.
//!
//! Comes in: a word such as `uptime>365d` or `!up`. Goes out: whether it holds of an answer. A field
//! that the host did not tell fulfils no comparison, so that its negation holds.

use std::cmp::Ordering;

use crate::client::answer::{Answer, Status};

/// A condition that a user wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// As it was written.
    word: String,
    negated: bool,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Is(Status),
    Rebooted,
    Compare(Field, Operator, f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Uptime,
    Users,
    Load(usize),
    Rtt,
}

const FIELDS: [(&str, Field); 6] = [
    ("uptime", Field::Uptime),
    ("users", Field::Users),
    ("load1", Field::Load(0)),
    ("load5", Field::Load(1)),
    ("load15", Field::Load(2)),
    ("rtt", Field::Rtt),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
}

/// Those of two characters first: `<` is the beginning of one.
const OPERATORS: [(&str, Operator); 5] = [
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("=", Operator::Equal),
];

/// Seconds in each unit of a time.
const UNITS: [(&str, f64); 5] = [
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
    ("d", 86_400.0),
    ("w", 604_800.0),
];

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// One line that says what would be right.
    pub fn parse(word: &str) -> Result<Condition, String> {
        let (negated, rest) = match word.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, word),
        };
        let test = match rest {
            "up" => Test::Is(Status::Up),
            "down" => Test::Is(Status::Down),
            "error" => Test::Is(Status::Error),
            "rebooted" => Test::Rebooted,
            _ => comparison(rest)?,
        };
        Ok(Condition {
            word: word.to_owned(),
            negated,
            test,
        })
    }

    /// As it was written.
    pub(super) fn word(&self) -> &str {
        &self.word
    }

    /// Whether it holds of an answer; `rebooted`: whether the host has booted since it was last seen.
    pub fn holds(&self, answer: &Answer, rebooted: bool) -> bool {
        let fulfilled = match self.test {
            Test::Is(status) => answer.outcome.status() == status,
            Test::Rebooted => rebooted,
            Test::Compare(field, operator, value) => field
                .of(answer)
                .and_then(|told| told.partial_cmp(&value))
                .is_some_and(|order| operator.accepts(order)),
        };
        fulfilled != self.negated
    }

    /// Whether it asks what was seen of the host before this call.
    pub fn needs_memory(&self) -> bool {
        self.test == Test::Rebooted
    }

    /// The range of a plugin's performance data (Monitoring Plugins Development Guidelines,
    /// "Threshold and Ranges") in which this condition holds of a field; None for other conditions.
    pub(super) fn alert_range(&self, field: &str) -> Option<String> {
        let Test::Compare(of, operator, value) = self.test else {
            return None;
        };
        if self.negated || !FIELDS.contains(&(field, of)) {
            return None;
        }
        // No value is below 0.
        Some(match operator {
            Operator::Less => format!("{value}:"),
            Operator::LessOrEqual => format!("@0:{value}"),
            Operator::Greater => format!("{value}"),
            Operator::GreaterOrEqual => format!("@{value}:"),
            Operator::Equal => format!("@{value}:{value}"),
        })
    }
}

/// What an answer says: the names of the fields, their units and values.
pub(super) fn values(answer: &Answer) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
    FIELDS.iter().filter_map(|(name, field)| {
        let unit = match field {
            Field::Uptime | Field::Rtt => "s",
            Field::Users | Field::Load(_) => "",
        };
        Some((*name, unit, field.of(answer)?))
    })
}

/// Whether all conditions hold; so they do where there are none.
pub(crate) fn all_hold(conditions: &[Condition], answer: &Answer, rebooted: bool) -> bool {
    conditions
        .iter()
        .all(|condition| condition.holds(answer, rebooted))
}

fn comparison(text: &str) -> Result<Test, String> {
    let operator = |at: usize| {
        let found = |(sign, _): &&(&str, Operator)| text[at..].starts_with(sign);
        OPERATORS.iter().find(found)
    };
    let Some((at, (sign, operator))) = text
        .char_indices()
        .find_map(|(at, _)| Some((at, operator(at)?)))
    else {
        return Err(
            "use up, down, error, rebooted or a comparison, as load5>=16 or uptime<1d".to_owned(),
        );
    };
    let (name, value) = (&text[..at], &text[at + sign.len()..]);
    let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) else {
        return Err(format!(
            "'{name}' is not a field: use uptime, users, load1, load5, load15 or rtt"
        ));
    };
    let number = match field {
        Field::Uptime | Field::Rtt => time(value)
            .ok_or_else(|| format!("'{value}' is not a time: a number, then s, m, h, d or w"))?,
        Field::Users | Field::Load(_) => {
            number(value).ok_or_else(|| format!("'{value}' is not a number"))?
        }
    };
    Ok(Test::Compare(*field, *operator, number))
}

/// A plain decimal number, not negative: `f64` itself would take `inf`, `nan`, `1e9` and `+1`.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

fn time(text: &str) -> Option<f64> {
    let with_unit = |(unit, seconds): &(&str, f64)| {
        let value = number(text.strip_suffix(unit)?)?;
        Some(value * seconds)
    };
    number(text).or_else(|| UNITS.iter().find_map(with_unit))
}

impl Field {
    /// What the answer says; None where it does not. Times are in seconds.
    fn of(self, answer: &Answer) -> Option<f64> {
        let report = answer.outcome.report();
        match self {
            Field::Uptime => report.map(|report| report.uptime.as_secs_f64()),
            Field::Users => report?.users.map(f64::from),
            Field::Load(which) => report?.load.map(|load| load[which]),
            Field::Rtt => answer.rtt.map(|rtt| rtt.as_secs_f64()),
        }
    }
}

impl Operator {
    fn accepts(self, order: Ordering) -> bool {
        match self {
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Equal => order.is_eq(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client::answer::samples::{down, error, up};

    fn web1() -> Answer {
        up("web1", 273_900, Some(2), Some([0.1, 0.2, 0.3]))
    }

    fn holds(word: &str, answer: &Answer) -> bool {
        Condition::parse(word).expect(word).holds(answer, false)
    }

    #[test]
    fn conditions_hold_of_what_was_told() {
        for (word, expected) in [
            ("up", true),
            ("!up", false),
            ("down", false),
            ("error", false),
            ("rebooted", false),
            ("!rebooted", true),
            ("uptime>3d", true),
            ("uptime>=273900", true),
            ("uptime=273900s", true),
            ("uptime<3.2d", true),
            ("uptime<1w", true),
            ("uptime>76h", true),
            ("uptime>4565m", false),
            ("users=2", true),
            ("users<2", false),
            ("users<=2", true),
            ("load1=0.10", true),
            ("load5>=.2", true),
            ("load5>0.2", false),
            ("load15<1", true),
            ("rtt<0.01", true),
            ("!rtt<0.01", false),
        ] {
            assert_eq!(holds(word, &web1()), expected, "{word}");
        }
        assert!(holds("down", &down("db1", "refused")) && !holds("up", &down("db1", "refused")));
        assert!(holds("error", &error("odd", "hello")) && holds("!down", &error("odd", "hello")));
        let rebooted = Condition::parse("rebooted").unwrap();
        assert!(rebooted.needs_memory() && rebooted.holds(&web1(), true));
    }

    #[test]
    fn all_conditions_must_hold() {
        let parse = |words: &[&str]| -> Vec<_> {
            words
                .iter()
                .map(|word| Condition::parse(word).unwrap())
                .collect()
        };
        assert!(all_hold(&[], &web1(), false));
        assert!(all_hold(&parse(&["up", "users>1"]), &web1(), false));
        assert!(!all_hold(&parse(&["up", "users>2"]), &web1(), false));
    }

    #[test]
    fn a_field_that_was_not_told_fulfils_no_comparison() {
        let silent = up("web2", 60, None, None);
        for sign in ["<", "<=", ">", ">=", "="] {
            for (answer, field) in [
                (&silent, "users"),
                (&silent, "load15"),
                (&down("db1", "refused"), "uptime"),
                (&down("db1", "refused"), "rtt"),
                (&error("odd", "hello"), "load1"),
            ] {
                assert!(!holds(&format!("{field}{sign}0"), answer), "{field}{sign}");
                assert!(holds(&format!("!{field}{sign}0"), answer), "{field}{sign}");
            }
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_what_would_be_right() {
        for (word, part) in [
            ("", "use up, down"),
            ("!", "use up, down"),
            ("Up", "use up, down"),
            ("uptime", "use up, down"),
            ("load9>1", "'load9' is not a field"),
            (">1", "'' is not a field"),
            ("!!load1>1", "'!load1' is not a field"),
            ("uptime>5x", "'5x' is not a time"),
            ("uptime>", "'' is not a time"),
            ("uptime>d", "'d' is not a time"),
            ("uptime>-1", "'-1' is not a time"),
            ("uptime > 1", "'uptime ' is not a field"),
            ("users>1d", "'1d' is not a number"),
            ("load1>inf", "'inf' is not a number"),
            ("load1>nan", "'nan' is not a number"),
            ("load1>1e9", "'1e9' is not a number"),
            ("load1==1", "'=1' is not a number"),
            ("load1>.", "'.' is not a number"),
            ("load1=>1", "'>1' is not a number"),
        ] {
            let told = Condition::parse(word).expect_err(word);
            assert!(told.contains(part), "{word}: {told}");
        }
    }

    proptest! {
        #[test]
        fn no_word_panics(word in "\\PC*") {
            let _ = Condition::parse(&word);
        }

        #[test]
        fn a_comparison_is_the_arithmetic_one(
            sign in prop::sample::select(vec!["<", "<=", ">", ">=", "="]),
            value in 0u32..500,
            users in 0u32..500,
        ) {
            let answer = up("web1", 60, Some(users), None);
            let holds = |word: String| holds(&word, &answer);
            let expected = match sign {
                "<" => users < value,
                "<=" => users <= value,
                ">" => users > value,
                ">=" => users >= value,
                _ => users == value,
            };
            prop_assert_eq!(holds(format!("users{sign}{value}")), expected);
            prop_assert_eq!(holds(format!("!users{sign}{value}")), !expected);
        }

        #[test]
        fn units_are_multiples(value in 0u32..5_000, at in 0usize..5) {
            let (unit, seconds) = UNITS[at];
            prop_assert_eq!(time(&format!("{value}{unit}")), Some(f64::from(value) * seconds));
        }
    }
}
