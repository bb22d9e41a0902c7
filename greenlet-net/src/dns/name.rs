//! Names as users write them.

use std::borrow::Cow;

use super::ErrorKind;
use super::error::Cause;

/// The longest name, as text and without the dot at its end.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// The ASCII form of a name that may be looked up.
///
/// Only what could never be a name is refused: underscores and other letters that hosts must not have are in use all the same.
pub(super) fn ascii(host: &str) -> Result<Cow<'_, str>, Cause> {
    let name = if host.is_ascii() { Cow::Borrowed(host) } else { Cow::Owned(international(host)?) };
    let bare = name.strip_suffix('.').unwrap_or(&name);
    let invalid = |why: &str| Err(Cause::with(ErrorKind::InvalidName, why));
    if bare.len() > LONGEST_NAME {
        return invalid("longer than 253 bytes");
    }
    if let Some(bad) = bare.bytes().find(|byte| byte.is_ascii_control() || *byte == b' ') {
        return invalid(&format!("the character {:?} cannot be in a name", char::from(bad)));
    }
    for label in bare.split('.') {
        if label.len() > LONGEST_LABEL {
            return invalid("a part is longer than 63 bytes");
        }
        if label.is_empty() {
            return invalid(if bare.is_empty() { "empty" } else { "a part is empty" });
        }
    }
    Ok(name)
}

#[cfg(feature = "idna")]
fn international(host: &str) -> Result<String, Cause> {
    idna::domain_to_ascii(host)
        .map_err(|_| Cause::with(ErrorKind::InvalidName, "no international domain name either"))
}

#[cfg(not(feature = "idna"))]
fn international(_: &str) -> Result<String, Cause> {
    Err(Cause::with(
        ErrorKind::InvalidName,
        "names that are not ASCII need the feature `idna` of greenlet-net",
    ))
}

/// Whether this may be an address in digits, in any of the forms that C knows: `127.1`, `0x7f000001`, `fe80::1%eth0`.
pub(super) fn looks_numeric(host: &str) -> bool {
    host.contains(':') || host.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(host: &str) -> ErrorKind {
        ascii(host).unwrap_err().kind
    }

    #[test]
    fn names_that_can_be_are_left_alone() {
        for name in ["a", "www.example.org", "www.example.org.", "_http._tcp.example", "x-1.Example"] {
            assert_eq!(ascii(name).unwrap(), name);
        }
        let longest = [&"a".repeat(63)[..]; 4].join(".");
        assert_eq!(ascii(&longest[..253]).unwrap(), longest[..253]);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let too_long = "a.".repeat(127) + "b";
        for name in ["", ".", "a..b", ".a", "a b", "a\0b", "a\nb", &"a".repeat(64), &too_long] {
            assert_eq!(kind(name), ErrorKind::InvalidName, "{name:?}");
        }
    }

    #[test]
    #[cfg(feature = "idna")]
    fn international_names_get_their_ascii_form() {
        assert_eq!(ascii("bücher.example").unwrap(), "xn--bcher-kva.example");
        assert_eq!(ascii("παράδειγμα。δοκιμή").unwrap(), "xn--hxajbheg2az3al.xn--jxalpdlp");
        assert_eq!(kind("\u{200d}.example"), ErrorKind::InvalidName);
    }

    #[test]
    #[cfg(not(feature = "idna"))]
    fn without_the_feature_international_names_are_refused() {
        assert!(ascii("bücher.example").unwrap_err().to_string().contains("feature `idna`"));
    }
}
