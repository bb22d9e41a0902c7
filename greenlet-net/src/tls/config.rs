//! What both builders need.

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::VerifierBuilderError;
use rustls::{Error, SupportedProtocolVersion};

use super::pem::PemError;

/// A connector or acceptor cannot be made from what was set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// A file, or text, has not what it should.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A certificate that was to be trusted is malformed.
    #[error("the certificate of an authority cannot be used: {0}")]
    Root(Error),
    /// The system has no certificates of authorities.
    #[error("the system has no trusted certificates: {0}")]
    NoSystemRoots(String),
    /// No authority is trusted, so nothing could ever be verified.
    #[error("no authority is trusted: expected at least one root certificate")]
    NoRoots,
    /// A server has to have a certificate.
    #[error("no identity: a TLS server needs a certificate and its private key")]
    NoIdentity,
    /// The certificate and the key are malformed, or do not belong together.
    #[error("the certificate and its private key cannot be used: {0}")]
    Identity(Error),
    /// The name of a server is none.
    #[error("`{0}` is not a DNS name, nor `*.` and one")]
    Name(String),
    /// The name of a protocol has 1 to 255 bytes.
    #[error("`{0}` is no ALPN protocol: expected 1 to 255 bytes")]
    Alpn(String),
    /// The certificates or the lists of revoked ones cannot be used.
    #[error("cannot verify with these certificates: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// What rustls says to the rest.
    #[error(transparent)]
    Rustls(#[from] Error),
}

/// With the kind `InvalidInput`, or that of the file's error.
impl From<TlsConfigError> for io::Error {
    fn from(error: TlsConfigError) -> io::Error {
        let kind = match &error {
            TlsConfigError::Pem(PemError::Read { error, .. }) => error.kind(),
            _ => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, error)
    }
}

static TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// The versions of the protocol that are spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Versions {
    /// TLS 1.3 with those who can, else TLS 1.2.
    #[default]
    Tls12And13,
    /// Nothing older than TLS 1.3.
    Tls13,
    /// Nothing newer than TLS 1.2.
    Tls12,
}

impl Versions {
    pub(super) fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Versions::Tls12And13 => rustls::ALL_VERSIONS,
            Versions::Tls13 => TLS13,
            Versions::Tls12 => TLS12,
        }
    }
}

/// The one that the process has chosen, else ours.
pub(super) fn default_provider() -> Arc<CryptoProvider> {
    if let Some(chosen) = CryptoProvider::get_default() {
        return chosen.clone();
    }
    #[cfg(feature = "aws-lc-rs")]
    let ours = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    let ours = rustls::crypto::ring::default_provider();
    Arc::new(ours)
}

pub(super) fn alpn_protocols<P: AsRef<[u8]>>(
    protocols: impl IntoIterator<Item = P>,
) -> Result<Vec<Vec<u8>>, TlsConfigError> {
    let protocols = protocols.into_iter().map(|protocol| match protocol.as_ref() {
        name if (1..=255).contains(&name.len()) => Ok(name.to_vec()),
        name => Err(TlsConfigError::Alpn(String::from_utf8_lossy(name).into_owned())),
    });
    protocols.collect()
}
