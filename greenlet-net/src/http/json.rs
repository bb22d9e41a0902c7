//! Requests and responses in JSON.

use http::{HeaderValue, StatusCode};
use serde_core::Serialize;
use serde_core::de::DeserializeOwned;

use super::request::media_type;
use super::respond::typed;
use super::{Error, IntoResponse, Request, Response};

/// Something as JSON, as a response; a `500`, which is reported, where it cannot be put so. For requests there is
/// [`RequestExt::json`](super::RequestExt::json).
///
/// ```
/// use greenlet_net::http::{IntoResponse, Json, StatusCode};
///
/// #[derive(serde::Serialize)]
/// struct User {
///     name: String,
/// }
///
/// let mut response = (StatusCode::CREATED, Json(User { name: "Ada".into() })).into_response();
/// assert_eq!(response.headers()["content-type"], "application/json");
/// assert_eq!(response.body_mut().read_to_bytes(100)?, r#"{"name":"Ada"}"#);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Json<T>(pub T);

const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => typed(JSON, bytes.into()),
            Err(error) => Error::from(error).into_response(),
        }
    }
}

pub(super) fn read<T: DeserializeOwned>(request: &mut Request, limit: u64) -> Result<T, Error> {
    if !is_json(media_type(request)) {
        return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected JSON"));
    }
    let body = request.body_mut().read_to_bytes(limit)?;
    serde_json::from_slice(&body).map_err(|error| Error::new(StatusCode::BAD_REQUEST, error.to_string()))
}

fn is_json(media_type: &str) -> bool {
    let media_type = media_type.to_ascii_lowercase();
    media_type == "application/json"
        || media_type.split_once('/').is_some_and(|(_, subtype)| subtype.ends_with("+json"))
}
