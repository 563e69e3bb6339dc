//! The text behind `load average:` → three loads, if it has exactly one reading.
//!
//! Locales write the same three numbers in ways that contradict each other: `0.10, 0.20, 0.30`,
//! `0,10, 0,20, 0,30`, `1,234.56, …`, `1.234,56, …`. So the text is read in each way, and counts
//! only where all the ways that succeed agree.

/// The loads, or None where there are not exactly three or they could be others.
pub(super) fn three(text: &str) -> Option<[f64; 3]> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | ',' | ';' | ' '));
    let (text, behind) = text.split_at(end.unwrap_or(text.len()));
    // `1, 5, 15 min` and `10%, 20%, 30%` are no loads; a remark may follow: `[IO: …]`, `(suse)`.
    if behind.starts_with(|c: char| c.is_alphanumeric() || !c.is_ascii() || ":%/-+'".contains(c)) {
        return None;
    }
    // A comma within a chunk is where the ways part; without one they all read the same.
    let ways = match chunks(text).any(|chunk| chunk.contains([',', ';'])) {
        true => &WAYS[..],
        false => &WAYS[..1],
    };
    let mut readings = ways.iter().filter_map(|way| way(text));
    let first = readings.next()?;
    let agreed = readings.all(|other| other == first);
    (agreed && first.count == 3).then_some(first.values)
}

/// One to three numbers.
#[derive(Default, PartialEq)]
struct Loads {
    values: [f64; 3],
    count: usize,
}

/// A way to write one to three numbers; None where the text is not written so.
type Way = fn(&str) -> Option<Loads>;

const WAYS: [Way; 5] = [
    // 0.10, 0.20, 0.30 or 0.10,0.20,0.30
    |text| {
        loads(
            chunks(text).flat_map(|chunk| chunk.split([',', ';'])),
            |n| decimal(n, '.'),
        )
    },
    // 0,10, 0,20, 0,30
    |text| loads(chunks(text), |n| decimal(n, ',')),
    // 0,10,0,20,0,30
    |text| {
        loads(chunks(text).flat_map(pairs), |n| {
            decimal(n, ',').filter(|_| is_pair(n))
        })
    },
    // 1,234.56, 0.20, 0.30
    |text| loads(chunks(text), |n| grouped(n, ',', '.')),
    // 1.234,56, 0,20, 0,30; with a decimal comma, or it would be another reading of 1.234
    |text| {
        loads(chunks(text), |n| {
            grouped(n, '.', ',').filter(|_| n.contains(','))
        })
    },
];

/// The pieces between blanks, without the separators behind them.
fn chunks(text: &str) -> impl Iterator<Item = &str> {
    text.split_ascii_whitespace()
        .map(|chunk| chunk.trim_end_matches(['.', ',', ';']))
        .filter(|chunk| !chunk.is_empty())
}

fn loads<'a>(
    numbers: impl Iterator<Item = &'a str>,
    read: impl Fn(&str) -> Option<f64>,
) -> Option<Loads> {
    let mut loads = Loads::default();
    for number in numbers {
        *loads.values.get_mut(loads.count)? = read(number)?;
        loads.count += 1;
    }
    (loads.count > 0).then_some(loads)
}

/// The pieces between every second comma.
fn pairs(chunk: &str) -> impl Iterator<Item = &str> {
    let mut left = Some(chunk);
    std::iter::from_fn(move || {
        let text = left?;
        let second = text.match_indices(',').nth(1).map(|(at, _)| at);
        left = second.map(|at| &text[at + 1..]);
        Some(&text[..second.unwrap_or(text.len())])
    })
}

/// Whether a number has two digits behind a comma, as uptime writes loads.
fn is_pair(number: &str) -> bool {
    number.rfind(',').is_some_and(|at| number.len() - at == 3)
}

/// `0.10`, with this decimal point.
fn decimal(number: &str, point: char) -> Option<f64> {
    let (whole, fraction) = number.split_once(point).unwrap_or((number, "0"));
    // Nine digits: a billion runnable tasks.
    let plain = whole.len() <= 9 && is_digits(whole) && is_digits(fraction);
    plain.then(|| match point {
        '.' => number.parse().ok(),
        _ => number.replace(point, ".").parse().ok(),
    })?
}

/// `1,234.56`, with this mark between thousands; smaller numbers have none.
fn grouped(number: &str, mark: char, point: char) -> Option<f64> {
    let (whole, _) = number.split_once(point).unwrap_or((number, ""));
    if let Some((first, groups)) = whole.split_once(mark) {
        let starts_well = (1..=3).contains(&first.len()) && !first.starts_with('0');
        if !starts_well || !groups.split(mark).all(|group| group.len() == 3) {
            return None;
        }
        return decimal(&number.replace(mark, ""), point);
    }
    decimal(number, point)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_three_loads_is_read() {
        for text in [
            " 0.10, 0.20, 0.30",
            " 0.10 0.20 0.30",
            "0.10,0.20,0.30",
            " 0.10,0.20, 0.30",
            " 0.10 , 0.20 , 0.30 ",
            " 0.10; 0.20; 0.30",
            " 0.1, 0.2, 0.3",
            " 0.10, 0.20, 0.30.",
            " 0.10, 0.20, 0.30, ",
            " 0,10, 0,20, 0,30",
            " 0,10 0,20 0,30",
            " 0,10; 0,20; 0,30",
            " 0,1, 0,2, 0,3",
            "0,10,0,20,0,30",
            " 0.10, 0.20, 0.30 [IO: 0.40, 0.50, 0.60 CPU: 0.70]",
            " 0.10, 0.20, 0.30 # root",
            " 0.10, 0.20, 0.30 (suse)",
        ] {
            assert_eq!(three(text), Some([0.1, 0.2, 0.3]), "{text:?}");
        }
    }

    #[test]
    fn large_exact_and_whole_loads_are_read() {
        for (text, loads) in [
            ("0, 0, 0", [0.0; 3]),
            ("1,2,3", [1.0, 2.0, 3.0]),
            ("99999.99, 0.00, 0.00", [99999.99, 0.0, 0.0]),
            (
                "5.42041015625, 5.36767578125, 5.0",
                [5.420_410_156_25, 5.367_675_781_25, 5.0],
            ),
            ("1.234, 2.345, 3.456", [1.234, 2.345, 3.456]),
            ("0,123, 0,456, 0,789", [0.123, 0.456, 0.789]),
            ("1,234.56, 0.20, 0.30", [1234.56, 0.2, 0.3]),
            ("1,234,567.80 2,000.00 3.00", [1_234_567.8, 2000.0, 3.0]),
            ("1.234,56, 0,20, 0,30", [1234.56, 0.2, 0.3]),
        ] {
            assert_eq!(three(text), Some(loads), "{text:?}");
        }
    }

    #[test]
    fn what_could_be_other_loads_is_not_told() {
        for text in [
            "",
            " ",
            ",",
            ".",
            "0.10",
            "0.10, 0.20",
            "0.10, 0.20, 0.30, 0.40",
            "0,10, 0,20",
            "0,10,0,20",
            "0,10, 0.20, 0.30",
            // Thousands, or thousandths?
            "1,234, 2,345, 3,456",
            // 1, 234.56 and 0.20, or 1234.56 and 0.20?
            "1,234.56, 0.20",
            // 1, 5 and 2, or 1.5 and 2?
            "1,5, 2",
            "01,234.56, 0.20, 0.30",
            "1,23.45, 0.20, 0.30",
            "N/A, N/A, N/A",
            "nan, inf, 0.3",
            "0.10, nan, 0.30",
            "-0.10, 0.20, 0.30",
            "0.10, 0.20, -0.30",
            "0:58, 0.27, 0.11",
            "0.10, 0.20, 0.30e5",
            "10%, 20%, 30%",
            "1, 5, 15 min: 0.10 0.20 0.30",
            "0.10 0.20 0.30 2/800 7706",
            "1.2.3, 4, 5",
            "1234567890, 1, 2",
            "٠.١٠, ٠.٢٠, ٠.٣٠",
            "low, medium, high",
        ] {
            assert_eq!(three(text), None, "{text:?}");
        }
    }
}
