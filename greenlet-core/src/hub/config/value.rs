//! How values of settings are written.

pub(super) fn positive(text: &str) -> Option<usize> {
    count::parse(text).filter(|&count| count > 0)
}

pub(super) mod count {
    pub(in super::super) fn parse(text: &str) -> Option<usize> {
        // `parse` would take a sign.
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
    }
}

/// What can be absent: `none`.
fn or_none<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text.eq_ignore_ascii_case("none") { Some(None) } else { parse(text).map(Some) }
}

pub(super) mod count_or_none {
    pub(in super::super) fn parse(text: &str) -> Option<Option<usize>> {
        super::or_none(text, super::count::parse)
    }

    pub(in super::super) fn show(count: Option<usize>) -> String {
        count.map_or("none".to_owned(), |count| count.to_string())
    }
}

/// Bytes, with a suffix for powers of 1024.
pub(super) mod size {
    const SUFFIXES: [(&str, u32); 3] = [("g", 30), ("m", 20), ("k", 10)];

    pub(in super::super) fn parse(text: &str) -> Option<usize> {
        let text = text.to_ascii_lowercase();
        let suffixed = SUFFIXES.iter().find_map(|(suffix, shift)| Some((text.strip_suffix(suffix)?, *shift)));
        let (number, shift) = suffixed.unwrap_or((&text, 0));
        super::count::parse(number)?.checked_mul(1 << shift)
    }

    pub(in super::super) fn show(bytes: usize) -> String {
        match SUFFIXES.iter().find(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1 << shift)) {
            Some((suffix, shift)) => format!("{}{suffix}", bytes >> shift),
            None => bytes.to_string(),
        }
    }
}

/// A time with its unit; seconds without one.
pub(super) mod duration {
    use std::time::Duration;

    const UNITS: [(&str, f64); 5] = [("us", 1e-6), ("ms", 1e-3), ("min", 60.0), ("h", 3600.0), ("s", 1.0)];

    pub(in super::super) fn parse(text: &str) -> Option<Duration> {
        let text = text.to_ascii_lowercase();
        let with_unit = UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
        let (number, unit) = with_unit.unwrap_or((&text, 1.0));
        // To the nanosecond, so that what is shown is what was set. Not a number, below zero and absurd are refused.
        Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * unit).ok()
    }

    pub(in super::super) fn show(time: Duration) -> String {
        match time.as_micros() {
            micros if micros.is_multiple_of(1_000_000) => format!("{}s", time.as_secs()),
            micros if micros.is_multiple_of(1_000) => format!("{}ms", micros / 1_000),
            micros => format!("{micros}us"),
        }
    }
}

pub(super) mod duration_or_none {
    use std::time::Duration;

    pub(in super::super) fn parse(text: &str) -> Option<Option<Duration>> {
        super::or_none(text, super::duration::parse)
    }

    pub(in super::super) fn parse_above_zero(text: &str) -> Option<Option<Duration>> {
        parse(text).filter(|time| !time.is_some_and(|time| time.is_zero()))
    }

    pub(in super::super) fn show(time: Option<Duration>) -> String {
        time.map_or("none".to_owned(), super::duration::show)
    }
}

/// The words of a choice, the way they are shown.
pub(super) type Choices<T> = &'static [(&'static str, T)];

pub(super) mod choice {
    use super::Choices;

    pub(in super::super) fn parse<T: Copy>(choices: Choices<T>, text: &str) -> Option<T> {
        choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
    }

    pub(in super::super) fn show<T: PartialEq>(choices: Choices<T>, value: T) -> String {
        choices.iter().find(|(_, choice)| *choice == value).map_or("", |(word, _)| word).to_owned()
    }
}

/// Yes or no, as gevent takes it.
pub(super) mod switch {
    pub(in super::super) fn parse(text: &str) -> Option<bool> {
        match text.to_ascii_lowercase().as_str() {
            "on" | "yes" | "true" | "1" => Some(true),
            "off" | "no" | "false" | "0" => Some(false),
            _ => None,
        }
    }

    pub(in super::super) fn show(on: bool) -> String {
        if on { "on" } else { "off" }.to_owned()
    }
}
