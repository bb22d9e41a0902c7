//! Files that were compressed beforehand, and who understands them (RFC 9110, section 12.5.3).

use http::{HeaderMap, HeaderValue, header};

/// How a file was compressed beforehand: `app.js` as `app.js.br`, `app.js.zst` or `app.js.gz`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Coding {
    /// Brotli: `.br`.
    Brotli,
    /// Zstandard: `.zst`.
    Zstd,
    /// gzip: `.gz`.
    Gzip,
}

impl Coding {
    /// All of them, the one that compresses best first.
    pub const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

    /// As `Content-Encoding` says it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Coding::Brotli => ".br",
            Coding::Zstd => ".zst",
            Coding::Gzip => ".gz",
        }
    }

    /// A name that a client uses.
    fn is_called(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.name()) || self == Coding::Gzip && name.eq_ignore_ascii_case("x-gzip")
    }
}

/// Those of the codings that the client takes, its favourites first, then in the order in which they are offered. Who says nothing takes none, since what
/// it would do with it is not known.
pub(super) fn accepted(headers: &HeaderMap, offered: &[Coding]) -> Vec<Coding> {
    let lists: Vec<&str> =
        headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).collect();
    let wishes: Vec<(&str, u32)> = lists.iter().flat_map(|list| list.split(',')).map(wish).collect();
    let weight = |coding: Coding| {
        let said = wishes.iter().find(|(name, _)| coding.is_called(name));
        said.or_else(|| wishes.iter().find(|(name, _)| *name == "*")).map_or(0, |(_, weight)| *weight)
    };
    let mut accepted: Vec<(Coding, u32)> = offered.iter().map(|coding| (*coding, weight(*coding))).collect();
    accepted.retain(|(_, weight)| *weight > 0);
    accepted.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    accepted.into_iter().map(|(coding, _)| coding).collect()
}

/// A coding, and its weight in thousandths: 0 where it is no weight.
fn wish(text: &str) -> (&str, u32) {
    let (name, parameter) = text.split_once(';').unwrap_or((text, "q=1"));
    let weight =
        parameter.trim().strip_prefix(['q', 'Q']).and_then(|rest| rest.trim_start().strip_prefix('='));
    (name.trim(), weight.and_then(|weight| thousandths(weight.trim())).unwrap_or(0))
}

fn thousandths(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let fits = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let decimals = format!("{decimals:0<3}").parse().ok().filter(|_| fits)?;
    match (whole, decimals) {
        ("0", decimals) => Some(decimals),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// The value of `Vary`.
pub(super) const VARY: HeaderValue = HeaderValue::from_static("accept-encoding");

#[cfg(test)]
mod tests {
    use super::Coding::{Brotli, Gzip, Zstd};
    use super::*;

    #[test]
    fn clients_get_what_they_take_and_like_most() {
        for (header, expected) in [
            ("gzip, deflate, br, zstd", &[Brotli, Zstd, Gzip][..]),
            ("gzip", &[Gzip]),
            ("GZIP", &[Gzip]),
            ("x-gzip", &[Gzip]),
            ("gzip;q=1.0, br;q=0.5", &[Gzip, Brotli]),
            ("gzip ; q = 0.001", &[Gzip]),
            ("*", &[Brotli, Zstd, Gzip]),
            ("br;q=0, *;q=0.3", &[Zstd, Gzip]),
            ("gzip;q=0", &[]),
            ("gzip;q=0.000", &[]),
            ("gzip;q=2", &[]),
            ("gzip;q=1.001", &[]),
            ("gzip;q=0.0001", &[]),
            ("gzip;q=-1", &[]),
            ("gzip;q=", &[]),
            ("gzip;level=9", &[]),
            ("identity", &[]),
            ("", &[]),
            (",,;,", &[]),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(header));
            assert_eq!(accepted(&headers, &Coding::ALL), expected, "{header}");
        }
        assert_eq!(accepted(&HeaderMap::new(), &Coding::ALL), []);
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static("br"));
        headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(accepted(&headers, &[Gzip, Brotli]), [Gzip, Brotli]);
    }
}
