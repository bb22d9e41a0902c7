//! What handlers take and return.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::io;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::body::{Body, BodyTooLarge};
use super::incoming::BodyStalled;

/// What a handler gets: a request of the [`http`](https://docs.rs/http) crate. See [`RequestExt`](super::RequestExt) for what it can be asked beyond that.
pub type Request = http::Request<Body>;

/// What a handler returns in the end: a response of the [`http`](https://docs.rs/http) crate.
pub type Response = http::Response<Body>;

/// Answers requests: a function, or a [`Router`](super::Router).
///
/// Each call has a greenlet of its own, and may block cooperatively on anything. What panics in it is reported once, as of every greenlet, and
/// the client gets a `500`.
pub trait Handler: 'static {
    /// Answers one request.
    fn handle(&self, request: Request) -> Response;
}

impl<F, R> Handler for F
where
    F: Fn(Request) -> R + 'static,
    R: IntoResponse,
{
    #[inline]
    fn handle(&self, request: Request) -> Response {
        self(request).into_response()
    }
}

/// What can be a response: texts (`text/plain`), bytes, statuses, statuses with something, results of these.
///
/// ```
/// use greenlet_net::http::{IntoResponse, StatusCode};
///
/// let response = (StatusCode::NOT_FOUND, "no such page").into_response();
/// assert_eq!(response.status(), 404);
/// assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
/// ```
pub trait IntoResponse {
    /// Makes the response.
    fn into_response(self) -> Response;
}

impl<B: Into<Body>> IntoResponse for http::Response<B> {
    #[inline]
    fn into_response(self) -> Response {
        self.map(Into::into)
    }
}

/// Constants, since a `from_static` that is called looks at every byte.
pub(super) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
pub(super) const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

#[inline]
pub(super) fn typed(content_type: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

macro_rules! into_response {
    ($($body:ty => $content_type:expr),* $(,)?) => {
        $(impl IntoResponse for $body {
            fn into_response(self) -> Response {
                typed($content_type, self.into())
            }
        })*
    };
}

into_response! {
    &'static str => TEXT,
    String => TEXT,
    Cow<'static, str> => TEXT,
    &'static [u8] => BYTES,
    Vec<u8> => BYTES,
    Bytes => BYTES,
}

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::new(Body::empty())
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self;
        response
    }
}

impl<R: IntoResponse> IntoResponse for (StatusCode, R) {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        *response.status_mut() = self.0;
        response
    }
}

impl IntoResponse for Infallible {
    fn into_response(self) -> Response {
        match self {}
    }
}

impl<R: IntoResponse, E: IntoResponse> IntoResponse for Result<R, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(response) => response.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

/// HTML, as a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Html<T>(pub T);

impl<T: Into<Body>> IntoResponse for Html<T> {
    fn into_response(self) -> Response {
        typed(HTML, self.0.into())
    }
}

/// Sends the client elsewhere, as a response.
///
/// ```
/// use greenlet_net::http::{IntoResponse, Redirect};
///
/// let response = Redirect::see_other("/thanks").into_response();
/// assert_eq!(response.status(), 303);
/// assert_eq!(response.headers()["location"], "/thanks");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    status: StatusCode,
    location: String,
}

impl Redirect {
    /// `303`: get this, after a form was taken.
    pub fn see_other(location: impl Into<String>) -> Redirect {
        Redirect { status: StatusCode::SEE_OTHER, location: location.into() }
    }

    /// `307`: ask there this time, with the same method and body.
    pub fn temporary(location: impl Into<String>) -> Redirect {
        Redirect { status: StatusCode::TEMPORARY_REDIRECT, location: location.into() }
    }

    /// `308`: ask there from now on.
    pub fn permanent(location: impl Into<String>) -> Redirect {
        Redirect { status: StatusCode::PERMANENT_REDIRECT, location: location.into() }
    }
}

/// A `500` where the location is no value of a header, for example because it has a line break.
impl IntoResponse for Redirect {
    fn into_response(self) -> Response {
        match HeaderValue::from_str(&self.location) {
            Ok(location) => {
                let mut response = self.status.into_response();
                response.headers_mut().insert(header::LOCATION, location);
                response
            }
            Err(error) => Error::from(error).into_response(),
        }
    }
}

/// What went wrong in a handler that uses `?`: any error becomes one.
///
/// As a response it is a `500`, and the error is reported, not sent; one that [has a status](Error::new) is sent with its text. An error of
/// a [body that is too large](BodyTooLarge) is a `413`, one of a body that the client does not send (in time, or properly) a `400` or `408`.
///
/// ```
/// use greenlet_net::http::{Error, Request, StatusCode};
///
/// fn add(request: Request) -> Result<String, Error> {
///     let query = request.uri().query().ok_or_else(|| Error::new(StatusCode::BAD_REQUEST, "what shall I add?"))?;
///     let sum: u32 = query.split('+').map(str::parse::<u32>).sum::<Result<_, _>>()?; // a 500
///     Ok(sum.to_string())
/// }
/// ```
pub struct Error {
    status: StatusCode,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that the client is told of, with this text.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Error {
        Error { status, message: message.into(), source: None }
    }

    /// An error with the status that its cause asks for.
    pub(super) fn caused_by(source: Box<dyn StdError + Send + Sync>) -> Error {
        let status = match source.downcast_ref::<io::Error>() {
            Some(error) if error.get_ref().is_some_and(|inner| inner.is::<BodyTooLarge>()) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Some(error) if error.get_ref().is_some_and(|inner| inner.is::<hyper::Error>()) => {
                StatusCode::BAD_REQUEST
            }
            Some(error) if error.get_ref().is_some_and(|inner| inner.is::<BodyStalled>()) => {
                StatusCode::REQUEST_TIMEOUT
            }
            _ if source.is::<BodyTooLarge>() => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let message = status.canonical_reason().unwrap_or("error").into();
        Error { status, message, source: Some(source) }
    }

    /// The status that the client gets.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What caused it, if it was made of another error.
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.source.as_deref()
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Error {
        Error::caused_by(Box::new(error))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::error!(target: "greenlet_net::http", "a handler failed: {self}");
        }
        (self.status, format!("{}\n", self.message)).into_response()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => source.fmt(f),
            None => f.write_str(&self.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("status", &self.status)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish()
    }
}
