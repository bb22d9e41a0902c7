//! The `Range` header (RFC 9110, section 14).

use std::ops::Range;

/// What of a representation a client wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    All,
    /// One at least, none empty, none with anything of another, as they were asked for.
    Parts(Vec<Range<u64>>),
    /// What it asks for is not there.
    Nothing,
}

/// Reads the header. What is not understood does not count, and neither do more ranges than `most`, nor such that overlap: a server may answer by
/// everything, and should where that is less (RFC 9110, sections 14.2 and 17.15).
pub(super) fn wanted(header: &[u8], length: u64, most: usize) -> Wanted {
    let Some(set) = std::str::from_utf8(header).ok().and_then(|text| text.trim().strip_prefix("bytes="))
    else {
        return Wanted::All;
    };
    let specs = set.split(',').map(str::trim).filter(|spec| !spec.is_empty());
    let mut parts = Vec::new();
    for (n, spec) in specs.clone().enumerate() {
        match one(spec, length) {
            _ if n >= most => return Wanted::All,
            None => return Wanted::All,
            Some(part) => parts.extend(part),
        }
    }
    if specs.count() == 0 {
        return Wanted::All;
    }
    let mut sorted: Vec<&Range<u64>> = parts.iter().collect();
    sorted.sort_by_key(|part| part.start);
    if sorted.windows(2).any(|two| two[0].end > two[1].start) {
        return Wanted::All;
    }
    if parts.is_empty() { Wanted::Nothing } else { Wanted::Parts(parts) }
}

/// `None`: it is no range. `Some(None)`: it is beyond what is there.
#[allow(clippy::option_option, reason = "two levels with a meaning each")]
fn one(spec: &str, length: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = spec.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that is too large is beyond every end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last), first.is_empty(), last.is_empty()) {
        (Some(first), Some(last), ..) if last < first => None,
        (Some(first), ..) if first >= length && (number(last).is_some() || last.is_empty()) => Some(None),
        (Some(first), Some(last), ..) => Some(Some(first..last.saturating_add(1).min(length))),
        (Some(first), None, _, true) => Some(Some(first..length)),
        (None, Some(0), true, _) => Some(None),
        (None, Some(suffix), true, _) if length > 0 => Some(Some(length.saturating_sub(suffix)..length)),
        (None, Some(_), true, _) => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        let part = |range| Wanted::Parts(vec![range]);
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
            ("bytes=-", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("bytes=", Wanted::All),
            ("lines=1-2", Wanted::All),
            ("", Wanted::All),
            ("bytes=0-1,3-4", Wanted::Parts(vec![0..2, 3..5])),
            ("bytes= 3-4 ,, 0-1 ,", Wanted::Parts(vec![3..5, 0..2])),
            ("bytes=0-1,-2,4-4", Wanted::Parts(vec![0..2, 8..10, 4..5])),
            ("bytes=0-1,20-30", part(0..2)),
            ("bytes=10-,-0", Wanted::Nothing),
            ("bytes=0-1,1-2", Wanted::All),
            ("bytes=0-,0-", Wanted::All),
            ("bytes=0-1,x", Wanted::All),
            ("bytes=0-0,1-1,2-2,3-3", Wanted::Parts(vec![0..1, 1..2, 2..3, 3..4])),
            ("bytes=0-0,1-1,2-2,3-3,4-4", Wanted::All),
            ("bytes=,,,", Wanted::All),
        ] {
            assert_eq!(wanted(header.as_bytes(), 10, 4), expected, "{header}");
        }
        assert_eq!(wanted(b"bytes=0-", 0, 4), Wanted::Nothing);
        assert_eq!(wanted(b"bytes=-1", 0, 4), Wanted::Nothing);
        assert_eq!(wanted(b"bytes=0-0", 10, 0), Wanted::All);
    }
}
