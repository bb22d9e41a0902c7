//! What a request can be asked beyond what the `http` crate knows.

use std::borrow::Cow;
use std::str::FromStr;

use http::{StatusCode, header};

use super::router::Params;
use super::{Error, Request, percent};
use crate::Address;

/// What a [`Request`] can be asked besides its method, URI, headers and body.
///
/// ```
/// use greenlet_net::http::{Body, Request, RequestExt};
///
/// let request = http::Request::get("/search?q=two+words&page=2").header("cookie", "id=7; theme=dark");
/// let request: Request = request.body(Body::empty())?;
/// assert_eq!(request.query_value("q").as_deref(), Some("two words"));
/// assert_eq!(request.cookie("theme"), Some("dark"));
/// # Ok::<(), http::Error>(())
/// ```
pub trait RequestExt {
    /// The address of the client: of the other end of the connection, which may be a proxy's. `None` where there is no connection, as in
    /// tests, and when the client was gone before it could be asked.
    fn peer(&self) -> Option<&Address>;

    /// Whether it came through TLS.
    fn is_secure(&self) -> bool;

    /// The pairs of the query, decoded, in order.
    fn query_pairs(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)>;

    /// The first value of this name in the query, decoded.
    fn query_value(&self, name: &str) -> Option<String>;

    /// The part of the path that a [`Router`](super::Router) found in place of `{name}`, decoded.
    ///
    /// # Errors
    /// A `400` if it is no `T`.
    ///
    /// # Panics
    /// If the pattern of the route has no such name.
    fn param<T: FromStr>(&self, name: &str) -> Result<T, Error>;

    /// The value of a cookie as the client sent it.
    fn cookie(&self, name: &str) -> Option<&str>;

    /// Reads a form (`application/x-www-form-urlencoded`) of up to `limit` bytes: its pairs, decoded, in order.
    ///
    /// Suspends as a read of the body.
    ///
    /// # Errors
    /// A `415` for another type, a `413` for more bytes, and those of the read.
    fn form(&mut self, limit: u64) -> Result<Vec<(String, String)>, Error>;

    /// Reads JSON (`application/json`, or another type that ends with `+json`) of up to `limit` bytes.
    ///
    /// Suspends as a read of the body.
    ///
    /// ```
    /// use greenlet_net::http::{Error, Json, Request, RequestExt};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Sum {
    ///     terms: Vec<i64>,
    /// }
    ///
    /// fn add(mut request: Request) -> Result<Json<i64>, Error> {
    ///     let sum: Sum = request.json(10_000)?;
    ///     Ok(Json(sum.terms.iter().sum()))
    /// }
    ///
    /// let request = http::Request::post("/").header("content-type", "application/json");
    /// assert_eq!(add(request.body(r#"{"terms": [1, 2]}"#.into())?).unwrap().0, 3);
    /// # Ok::<(), http::Error>(())
    /// ```
    ///
    /// # Errors
    /// A `415` for another type, a `413` for more bytes, a `400` with serde's complaint for what is no JSON or no `T`, and those of the read.
    #[cfg(feature = "json")]
    fn json<T: serde_core::de::DeserializeOwned>(&mut self, limit: u64) -> Result<T, Error>;
}

impl RequestExt for Request {
    fn peer(&self) -> Option<&Address> {
        self.body().connection.as_ref()?.peer.as_ref()
    }

    fn is_secure(&self) -> bool {
        self.body().connection.as_ref().is_some_and(|connection| connection.secure)
    }

    fn query_pairs(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        percent::pairs(self.uri().query().unwrap_or("")).collect()
    }

    fn query_value(&self, name: &str) -> Option<String> {
        let mut pairs = percent::pairs(self.uri().query().unwrap_or(""));
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    fn param<T: FromStr>(&self, name: &str) -> Result<T, Error> {
        let params = self.extensions().get::<Params>();
        let value = params
            .and_then(|params| params.get(name))
            .unwrap_or_else(|| panic!("the route has no {{{name}}}"));
        value.parse().map_err(|_| Error::new(StatusCode::BAD_REQUEST, format!("'{value}' is no {name}")))
    }

    fn cookie(&self, name: &str) -> Option<&str> {
        let headers = self.headers().get_all(header::COOKIE);
        let mut cookies =
            headers.iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(';'));
        cookies.find_map(|cookie| {
            let (key, value) = cookie.split_once('=')?;
            (key.trim() == name).then(|| value.trim().trim_matches('"'))
        })
    }

    fn form(&mut self, limit: u64) -> Result<Vec<(String, String)>, Error> {
        if !media_type(self).eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected a form"));
        }
        let body = self.body_mut().read_to_bytes(limit)?;
        let text = String::from_utf8_lossy(&body);
        Ok(percent::pairs(&text).map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    #[cfg(feature = "json")]
    fn json<T: serde_core::de::DeserializeOwned>(&mut self, limit: u64) -> Result<T, Error> {
        super::json::read(self, limit)
    }
}

/// Without parameters.
pub(super) fn media_type(request: &Request) -> &str {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.unwrap_or("").split(';').next().unwrap_or("").trim()
}
