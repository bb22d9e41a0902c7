//! Handlers of TLS sessions.

use super::acceptor::BoxError;
use super::connection::{Accepted, Outcome};
use crate::Stream;
use crate::tls::{TlsAcceptor, TlsStream};

/// Makes a handler of connections out of a handler of TLS sessions: gevent's `StreamServer(..., ssl_context=...)`.
///
/// The handshake is done in the greenlet of the connection, for the acceptor's
/// [handshake timeout](crate::tls::TlsAcceptorBuilder::handshake_timeout) at most: a slow client holds up nobody, but counts for the limits of the server. A
/// handshake that fails is reported as an `Err` of the handler, which is not called. Timeouts of the server are those of the session, and the session is
/// ended when the handler returns, whoever has a clone.
///
/// ```
/// use greenlet_net::server::{StreamServer, tls};
/// use greenlet_net::tls::{Identity, Roots, TlsAcceptor, TlsConnector, TlsStream};
/// use std::io::{Write, read_to_string};
/// use std::time::Duration;
///
/// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let (certificate_pem, key_pem) = (made.cert.pem(), made.signing_key.serialize_pem());
/// let identity = Identity::from_pem(&certificate_pem, &key_pem)?;
/// let acceptor = TlsAcceptor::builder().identity(identity).handshake_timeout(Some(Duration::from_secs(5))).build()?;
/// let server = StreamServer::new("localhost:0", tls(acceptor, |mut stream: TlsStream, peer| {
///     writeln!(stream, "hello in private, {peer}")
/// }));
/// server.start()?;
///
/// let connector = TlsConnector::builder().roots(Roots::from_pem(&certificate_pem)?).build()?;
/// let stream = connector.connect_to("localhost", server.local_addr()?.port())?;
/// assert!(read_to_string(stream)?.starts_with("hello in private, "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn tls<S, R>(
    acceptor: TlsAcceptor,
    handler: impl Fn(TlsStream<S>, S::Peer) -> R,
) -> impl Fn(S, S::Peer) -> Result<(), BoxError>
where
    S: Accepted + Stream,
    R: Outcome,
{
    move |stream, peer| {
        let (read_timeout, write_timeout) = stream.timeouts()?;
        let session = acceptor.accept(stream)?;
        session.set_read_timeout(read_timeout)?;
        session.set_write_timeout(write_timeout)?;
        let ours = session.try_clone()?;
        let outcome = handler(session, peer).into_result();
        ours.close();
        outcome
    }
}
