//! Cookies in responses (RFC 6265).

use cookie::Cookie;
use http::{HeaderValue, header};

use super::Response;

/// What can be done to a [`Response`] besides what the `http` crate knows. Cookies of requests: [`RequestExt::cookie`](super::RequestExt::cookie).
///
/// ```
/// use greenlet_net::http::cookie::{Cookie, SameSite, time::Duration};
/// use greenlet_net::http::{IntoResponse, Response, ResponseExt};
///
/// let session = Cookie::build(("session", "31d4d96e407aad42"))
///     .path("/")
///     .http_only(true)
///     .secure(true)
///     .same_site(SameSite::Lax)
///     .max_age(Duration::hours(8));
/// let mut response: Response = "welcome".into_response();
/// response.set_cookie(session)?;
/// assert_eq!(
///     response.headers()["set-cookie"],
///     "session=31d4d96e407aad42; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=28800"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ResponseExt {
    /// Has the client keep a cookie: adds a `Set-Cookie`.
    ///
    /// # Errors
    /// [`InvalidCookie`], and nothing is added: a cookie must not say more than it was made to.
    fn set_cookie<'c>(&mut self, cookie: impl Into<Cookie<'c>>) -> Result<(), InvalidCookie>;

    /// Has the client forget a cookie that has this name, path and domain.
    ///
    /// ```
    /// use greenlet_net::http::cookie::Cookie;
    /// use greenlet_net::http::{IntoResponse, ResponseExt};
    ///
    /// let mut response = "goodbye".into_response();
    /// response.remove_cookie(Cookie::build("session").path("/"))?;
    /// assert!(response.headers()["set-cookie"].to_str()?.starts_with("session=; Path=/; Max-Age=0; Expires="));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`set_cookie`](ResponseExt::set_cookie).
    fn remove_cookie<'c>(&mut self, cookie: impl Into<Cookie<'c>>) -> Result<(), InvalidCookie> {
        let mut cookie = cookie.into();
        cookie.make_removal();
        self.set_cookie(cookie)
    }
}

/// A cookie that cannot be sent as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the {part} of the cookie {name:?} must not contain what it does (RFC 6265, section 4.1.1)")]
#[non_exhaustive]
pub struct InvalidCookie {
    /// The name of the cookie.
    pub name: String,
    /// `"name"`, `"value"`, `"path"` or `"domain"`.
    pub part: &'static str,
}

impl ResponseExt for Response {
    fn set_cookie<'c>(&mut self, cookie: impl Into<Cookie<'c>>) -> Result<(), InvalidCookie> {
        let cookie = cookie.into();
        let wrong = |part| InvalidCookie { name: cookie.name().to_owned(), part };
        if cookie.name().is_empty() || !cookie.name().bytes().all(is_token) {
            return Err(wrong("name"));
        }
        if !cookie.value().bytes().all(is_cookie_octet) {
            return Err(wrong("value"));
        }
        for (part, text) in [("path", cookie.path()), ("domain", cookie.domain())] {
            if !text.unwrap_or("").bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';') {
                return Err(wrong(part));
            }
        }
        let value = HeaderValue::from_str(&cookie.to_string()).map_err(|_| wrong("value"))?;
        self.headers_mut().append(header::SET_COOKIE, value);
        Ok(())
    }
}

/// What names are made of.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What values are made of: no spaces, quotes, commas, semicolons and backslashes.
fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::IntoResponse;

    #[test]
    fn a_cookie_says_no_more_than_it_was_made_to() {
        for (cookie, part) in [
            (Cookie::new("", "x"), "name"),
            (Cookie::new("a b", "x"), "name"),
            (Cookie::new("a=b", "x"), "name"),
            (Cookie::new("a\r\nb", "x"), "name"),
            (Cookie::new("a", "x; Domain=example.org"), "value"),
            (Cookie::new("a", "x\r\nSet-Cookie: b=c"), "value"),
            (Cookie::new("a", "x y"), "value"),
            (Cookie::new("a", "x,y"), "value"),
            (Cookie::new("a", "\"x\""), "value"),
            (Cookie::new("a", "ä"), "value"),
            (Cookie::build(("a", "x")).path("/; Secure").build(), "path"),
            (Cookie::build(("a", "x")).domain("a\n").build(), "domain"),
        ] {
            let mut response = "".into_response();
            let error = response.set_cookie(cookie).unwrap_err();
            assert_eq!(error.part, part);
            assert!(!response.headers().contains_key(header::SET_COOKIE));
        }
    }

    #[test]
    fn several_cookies_are_several_headers() {
        let mut response = "".into_response();
        response.set_cookie(("a", "1")).unwrap();
        response.set_cookie(("b", "")).unwrap();
        response.set_cookie(("c", "a=b%3D/:?@[]{}")).unwrap();
        let all: Vec<_> = response.headers().get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(all, ["a=1", "b=", "c=a=b%3D/:?@[]{}"]);
    }
}
