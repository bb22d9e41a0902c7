//! What goes wrong in a TLS session.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Why a TLS session was not made, or ended.
///
/// Reading and writing return it inside an [`io::Error`], from which `error.get_ref()` and `downcast_ref` get it. `?` turns it into an
/// [`io::Error`] too; the kinds are those of the variants below.
///
/// ```
/// use greenlet_net::tls::TlsError;
///
/// let error: std::io::Error = TlsError::Truncated.into();
/// assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
/// assert!(matches!(error.get_ref().unwrap().downcast_ref(), Some(TlsError::Truncated)));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer's certificate is not accepted. (`InvalidData`)
    #[error("the certificate of {peer} is not valid: {reason}")]
    Certificate {
        /// Whom we wanted to talk to, or "the client".
        peer: String,
        /// What is wrong with it.
        reason: CertificateError,
    },
    /// The peer has ended the session, and says why. (`ConnectionAborted`)
    #[error("the peer ended the TLS session: it sent the alert {0:?}")]
    Alert(AlertDescription),
    /// The peer does not speak TLS: perhaps it is a server of plain HTTP, or a client that takes us for one. (`InvalidData`)
    #[error("the peer does not speak TLS: {0}")]
    NotTls(Error),
    /// The peer and we have no way to talk, or one of us has broken the rules. (`InvalidData`)
    #[error("the TLS session failed: {0}")]
    Protocol(Error),
    /// The handshake was not complete in time. (`TimedOut`)
    #[error("the TLS handshake timed out after {0:?}")]
    HandshakeTimeout(Duration),
    /// The peer closed the connection before the handshake was complete. (`UnexpectedEof`)
    #[error("the peer closed the connection during the TLS handshake")]
    HandshakeEof,
    /// The connection ended without the peer saying so in TLS: somebody may have cut off what it sent. (`UnexpectedEof`)
    #[error("the connection ended without close_notify: what was received may be incomplete")]
    Truncated,
    /// A message of the handshake is longer than the limit. (`InvalidData`)
    #[error("a TLS handshake message is longer than {0} bytes")]
    HandshakeTooLong(usize),
    /// The name is neither a DNS name nor an IP address. (`InvalidInput`)
    #[error("`{0}` is neither a DNS name nor an IP address")]
    ServerName(String),
    /// The connection underneath failed. (its kind)
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl TlsError {
    /// `peer` is whom we talk to.
    pub(super) fn from_rustls(error: Error, peer: &str) -> TlsError {
        match error {
            Error::InvalidCertificate(reason) => TlsError::Certificate { peer: peer.to_owned(), reason },
            Error::AlertReceived(alert) => TlsError::Alert(alert),
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => TlsError::NotTls(error),
            error => TlsError::Protocol(error),
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            TlsError::Certificate { .. }
            | TlsError::NotTls(_)
            | TlsError::Protocol(_)
            | TlsError::HandshakeTooLong(_) => io::ErrorKind::InvalidData,
            TlsError::Alert(_) => io::ErrorKind::ConnectionAborted,
            TlsError::HandshakeTimeout(_) => io::ErrorKind::TimedOut,
            TlsError::HandshakeEof | TlsError::Truncated => io::ErrorKind::UnexpectedEof,
            TlsError::ServerName(_) => io::ErrorKind::InvalidInput,
            TlsError::Io(error) => error.kind(),
        }
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> io::Error {
        match error {
            TlsError::Io(error) => error,
            error => io::Error::new(error.kind(), error),
        }
    }
}
