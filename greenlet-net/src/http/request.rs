//! What a request can be asked beyond what the `http` crate knows.

use super::Request;
use crate::Address;

/// What a [`Request`] can be asked besides its method, URI, headers and body.
pub trait RequestExt {
    /// The address of the client: of the other end of the connection, which may be a proxy's. `None` where there is no connection, as in
    /// tests, and when the client was gone before it could be asked.
    fn peer(&self) -> Option<&Address>;

    /// Whether it came through TLS.
    fn is_secure(&self) -> bool;
}

impl RequestExt for Request {
    fn peer(&self) -> Option<&Address> {
        self.body().connection.as_ref()?.peer.as_ref()
    }

    fn is_secure(&self) -> bool {
        self.body().connection.as_ref().is_some_and(|connection| connection.secure)
    }
}
