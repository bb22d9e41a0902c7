//! TLS 1.2 and 1.3 on the connections of this crate, by [rustls](https://docs.rs/rustls). Needs the feature `tls`; the feature `aws-lc-rs`
//! has the algorithms from `aws-lc-rs` instead of `ring`.
//!
//! A [`TlsConnector`] makes sessions with servers, a [`TlsAcceptor`] with clients; both are made once, by builders or
//! from configurations of rustls, and shared. What they make is a [`TlsStream`], which is used as a [`TcpStream`](crate::TcpStream).
//!
//! | | |
//! |---|---|
//! | [`TlsStream`], [`ReadHalf`], [`WriteHalf`], [`Truncation`] | a session, its directions, its end |
//! | [`TlsConnector`], [`TlsConnectorBuilder`], [`Roots`], [`Sni`] | clients, and whom they trust |
//! | [`TlsAcceptor`], [`TlsAcceptorBuilder`], [`Certificates`], [`ServerResumption`] | servers, and which certificate they show |
//! | [`Identity`], [`certificates_from_file`], [`private_key_from_file`] | certificates and keys from PEM files |
//! | [`get_server_certificates`] | what a server shows, whether it is valid or not |
//! | [`TlsError`], [`TlsConfigError`], [`PemError`] | what goes wrong |
//!
//! Memory: a session that nobody waits on, and one whose reader waits, has no buffers: those are taken when there are bytes to put into them, and
//! given back when they are empty.

mod acceptor;
mod buffer;
mod certificates;
mod config;
mod connector;
mod error;
mod flow;
mod hello;
mod identity;
mod pem;
mod roots;
mod session;
mod settings;
mod split;
mod stream;
mod trusting;

pub use acceptor::{ServerResumption, TlsAcceptor, TlsAcceptorBuilder};
pub use certificates::Certificates;
pub use config::{TlsConfigError, Versions};
pub use connector::{Sni, TlsConnector, TlsConnectorBuilder};
pub use error::TlsError;
pub use identity::Identity;
pub use pem::{
    PemError, certificates_from_file, certificates_from_pem, private_key_from_file, private_key_from_pem,
    revocation_lists_from_file,
};
pub use roots::Roots;
/// The library that does the work, for its types that are part of this interface.
pub use rustls;
pub use settings::Truncation;
pub use split::{ReadHalf, ReuniteError, WriteHalf};
pub use stream::TlsStream;

use rustls::pki_types::CertificateDer;

/// The certificates that a server shows, its own first, whether they are valid or not.
///
/// Suspends as [`TlsConnector::connect_to`].
///
/// # Errors
/// [`TlsError`].
///
/// ```no_run
/// let shown = greenlet_net::tls::get_server_certificates("example.org", 443)?;
/// println!("{} certificates, the first of {} bytes", shown.len(), shown[0].len());
/// # Ok::<(), greenlet_net::tls::TlsError>(())
/// ```
pub fn get_server_certificates(host: &str, port: u16) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let connector = TlsConnector::builder().dangerous_trust_everybody().build();
    let connector = connector.map_err(|error| TlsError::Io(error.into()))?;
    let stream = connector.connect_to(host, port)?;
    Ok(stream.peer_certificates().unwrap_or_default())
}
