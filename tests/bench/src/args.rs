//! In: the words of a command line. Out: named values, or one sentence that says what is wrong.
//!
//! Two programs with a dozen options between them, so a small reader of `--name value` is all they need.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

/// The words of one command line, taken apart.
#[derive(Debug, Default)]
pub struct Args {
    values: HashMap<String, String>,
    /// Words that are not options, in order; everything after `--` is among them.
    pub words: Vec<String>,
}

impl Args {
    /// Reads `--name value`, `--name=value` and, for the names in `flags`, `--name` alone.
    ///
    /// # Errors
    /// A sentence, when an option is unknown, given twice, or lacks its value.
    pub fn read(
        words: impl IntoIterator<Item = String>,
        valued: &[&str],
        flags: &[&str],
    ) -> Result<Self, String> {
        let mut args = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if word == "--" {
                args.words.extend(words.by_ref());
                break;
            }
            let Some(option) = word.strip_prefix("--") else {
                args.words.push(word);
                continue;
            };
            let (name, inline) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let value = match inline {
                None if flags.contains(&name) => String::new(),
                Some(_) if flags.contains(&name) => {
                    return Err(format!("--{name} takes no value"));
                }
                _ if !valued.contains(&name) => return Err(format!("no option --{name}")),
                Some(value) => value,
                None => words
                    .next()
                    .ok_or_else(|| format!("--{name} needs a value"))?,
            };
            if args.values.insert(name.to_owned(), value).is_some() {
                return Err(format!("--{name} is given twice"));
            }
        }
        Ok(args)
    }

    /// The text of an option, if it was given.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether the option was given at all.
    #[must_use]
    pub fn given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value of an option, parsed, if it was given.
    ///
    /// # Errors
    /// A sentence that names the option, when its value does not parse.
    pub fn value<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| format!("--{name} {text}: not a value that this option takes"))
        };
        self.text(name).map(parse).transpose()
    }

    /// The value of an option in seconds, fractions allowed, if it was given.
    ///
    /// # Errors
    /// A sentence that names the option, when its value is not a number of seconds from 0 up.
    pub fn seconds(&self, name: &str) -> Result<Option<Duration>, String> {
        self.value::<f64>(name)?
            .map(|seconds| {
                Duration::try_from_secs_f64(seconds)
                    .map_err(|_| format!("--{name} {seconds}: not a number of seconds"))
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, String> {
        Args::read(
            line.split_whitespace().map(str::to_owned),
            &["clients", "for"],
            &["once"],
        )
    }

    #[test]
    fn options_and_words_may_be_mixed() {
        let args = read("tcp --clients 16 --for=0.5 --once 127.0.0.1:1").unwrap();
        assert_eq!(args.words, ["tcp", "127.0.0.1:1"]);
        assert_eq!(args.value::<usize>("clients").unwrap(), Some(16));
        assert_eq!(
            args.seconds("for").unwrap(),
            Some(Duration::from_millis(500))
        );
        assert!(args.given("once"));
    }

    #[test]
    fn what_follows_two_dashes_is_not_an_option() {
        assert_eq!(
            read("spawn -- --clients").unwrap().words,
            ["spawn", "--clients"]
        );
    }

    #[test]
    fn every_mistake_is_named() {
        assert_eq!(read("--what 1").unwrap_err(), "no option --what");
        assert_eq!(read("--clients").unwrap_err(), "--clients needs a value");
        assert_eq!(read("--once=1").unwrap_err(), "--once takes no value");
        assert!(read("--for 1 --for 2").unwrap_err().contains("twice"));
        let args = read("--clients many --for -1").unwrap();
        assert!(args.value::<usize>("clients").unwrap_err().contains("many"));
        assert!(args.seconds("for").unwrap_err().contains("-1"));
    }
}
