//! The `Range` header (RFC 9110, section 14).

use std::ops::Range;

/// What of a representation a client wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    All,
    /// Not empty.
    Part(Range<u64>),
    /// What it asks for is not there.
    Nothing,
}

/// Reads the header. What is not understood does not count, and several ranges are answered by everything, as a server may.
pub(super) fn wanted(header: &[u8], length: u64) -> Wanted {
    let Some(set) = std::str::from_utf8(header).ok().and_then(|text| text.trim().strip_prefix("bytes="))
    else {
        return Wanted::All;
    };
    let Some((first, last)) = set.trim().split_once('-').filter(|_| !set.contains(',')) else {
        return Wanted::All;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that is too large is beyond every end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last), first.is_empty(), last.is_empty()) {
        (Some(first), Some(last), ..) if last < first => Wanted::All,
        (Some(first), ..) if first >= length && (number(last).is_some() || last.is_empty()) => {
            Wanted::Nothing
        }
        (Some(first), Some(last), ..) => Wanted::Part(first..last.saturating_add(1).min(length)),
        (Some(first), None, _, true) => Wanted::Part(first..length),
        (None, Some(0), true, _) => Wanted::Nothing,
        (None, Some(suffix), true, _) if length > 0 => Wanted::Part(length.saturating_sub(suffix)..length),
        (None, Some(_), true, _) => Wanted::Nothing,
        _ => Wanted::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        let part = |range| Wanted::Part(range);
        for (header, expected) in [
            ("bytes=0-0", part(0..1)),
            ("bytes=2-5", part(2..6)),
            ("bytes=5-", part(5..10)),
            ("bytes=5-99999999999999999999999", part(5..10)),
            ("bytes=-3", part(7..10)),
            ("bytes=-99", part(0..10)),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=10-12", Wanted::Nothing),
            ("bytes=5-2", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("bytes=", Wanted::All),
            ("lines=1-2", Wanted::All),
            ("", Wanted::All),
        ] {
            assert_eq!(wanted(header.as_bytes(), 10), expected, "{header}");
        }
        assert_eq!(wanted(b"bytes=0-", 0), Wanted::Nothing);
        assert_eq!(wanted(b"bytes=-1", 0), Wanted::Nothing);
    }
}
