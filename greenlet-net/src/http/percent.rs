//! Percent-encoding of URIs and forms.

use std::borrow::Cow;

/// What a plus sign stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plus {
    Itself,
    /// As in forms and queries.
    Space,
}

/// Decodes `%41`. What is not well-formed stays as it is.
pub(super) fn decode(text: &str, plus: Plus) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') && (plus == Plus::Itself || !bytes.contains(&b'+')) {
        return Cow::Borrowed(bytes);
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(digit(*high) << 4 | digit(*low));
                rest = &after[2..];
            }
            (b'+', _) if plus == Plus::Space => decoded.push(b' '),
            _ => decoded.push(*first),
        }
    }
    Cow::Owned(decoded)
}

fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => (hex | 0x20) - b'a' + 10,
    }
}

/// As text; what is not UTF-8 becomes replacement characters.
pub(super) fn decode_text(text: &str, plus: Plus) -> Cow<'_, str> {
    match decode(text, plus) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Cow::Owned(text),
            Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        },
    }
}

/// The pairs of a query or a form, decoded.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode_text(name, Plus::Space), decode_text(value, Plus::Space))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_formed_is_decoded_and_the_rest_stays() {
        for (text, expected) in [
            ("plain", "plain"),
            ("%41%2f%2F", "A//"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("a+b", "a+b"),
            ("%C3%A4", "ä"),
            ("%ff", "\u{fffd}"),
            ("", ""),
        ] {
            assert_eq!(decode_text(text, Plus::Itself), expected, "{text}");
        }
        assert_eq!(decode_text("a+b%2B", Plus::Space), "a b+");
    }

    #[test]
    fn pairs_of_all_shapes() {
        let all: Vec<_> = pairs("a=1&&b&=c&d=e=f&%61=%26").collect();
        let all: Vec<_> = all.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(all, [("a", "1"), ("b", ""), ("", "c"), ("d", "e=f"), ("a", "&")]);
    }
}
