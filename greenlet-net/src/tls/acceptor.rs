//! The server's side.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::{
    NoServerSessionStorage, ServerSessionMemoryCache, UnbufferedServerConnection, WebPkiClientVerifier,
};

use super::TlsError;
use super::certificates::Certificates;
use super::config::{TlsConfigError, Versions, alpn_protocols, default_provider};
use super::hello::Overhearing;
use super::identity::Identity;
use super::roots::Roots;
use super::session::Connection;
use super::settings::{Settings, Truncation, setters};
use super::stream::TlsStream;
use crate::Stream;

/// Makes TLS sessions on connections from clients. Cheap to clone; the clones share certificates and sessions.
///
/// Early data (0-RTT) is not accepted: it can be replayed.
///
/// ```no_run
/// use greenlet_core::spawn;
/// use greenlet_net::TcpListener;
/// use greenlet_net::tls::{Identity, TlsAcceptor};
/// use std::io::copy;
///
/// let identity = Identity::from_files("fullchain.pem", "key.pem")?;
/// let acceptor = TlsAcceptor::builder().identity(identity).build()?;
/// for stream in TcpListener::bind("127.0.0.1:8443")?.incoming() {
///     let (stream, acceptor) = (stream?, acceptor.clone());
///     // the handshake is done there, so that a slow client holds up nobody
///     spawn(move || match acceptor.accept(stream) {
///         Ok(stream) => drop(copy(&mut &stream, &mut &stream)),
///         Err(error) => eprintln!("{error}"),
///     });
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TlsAcceptor {
    config: Arc<ServerConfig>,
    settings: Settings,
}

impl TlsAcceptor {
    /// Needs an [identity](TlsAcceptorBuilder::identity) at least.
    pub fn builder() -> TlsAcceptorBuilder {
        TlsAcceptorBuilder {
            certificates: Certificates::new(),
            identity: None,
            clients: Clients::Anonymous,
            revoked: Vec::new(),
            alpn: Ok(Vec::new()),
            versions: Versions::default(),
            resumption: ServerResumption::default(),
            provider: None,
            settings: Settings::default(),
        }
    }

    /// Makes a session on a connection.
    ///
    /// Suspends the greenlet until the handshake is done. A kill or timeout unwinds it from here and drops the connection. Timeouts that were set on the
    /// transport do not count any more.
    ///
    /// # Errors
    /// [`TlsError`]; the connection is closed.
    pub fn accept<S: Stream>(&self, transport: S) -> Result<TlsStream<S>, TlsError> {
        self.start(transport)?.shake_hands()
    }

    /// [`accept`](TlsAcceptor::accept) for async tasks on a thread with a hub. It knows no handshake timeout: dropping the future ends the attempt.
    ///
    /// # Errors
    /// As `accept`.
    pub async fn accept_async<S: Stream>(&self, transport: S) -> Result<TlsStream<S>, TlsError> {
        let stream = self.start(transport)?;
        poll_fn(|context| stream.poll_shake_hands(context)).await?;
        Ok(stream)
    }

    fn start<S: Stream>(&self, transport: S) -> Result<TlsStream<S>, TlsError> {
        let session = UnbufferedServerConnection::new(self.config.clone());
        let session = session.map_err(TlsError::Protocol)?;
        Ok(TlsStream::new(transport, Connection::Server(session), self.settings, "the client"))
    }

    fn with(mut config: ServerConfig, settings: Settings) -> TlsAcceptor {
        config.max_early_data_size = 0;
        config.cert_resolver = Arc::new(Overhearing(config.cert_resolver));
        TlsAcceptor { config: Arc::new(config), settings }
    }
}

/// With the default settings of streams, and without early data.
impl From<Arc<ServerConfig>> for TlsAcceptor {
    fn from(config: Arc<ServerConfig>) -> TlsAcceptor {
        TlsAcceptor::from(Arc::unwrap_or_clone(config))
    }
}

/// With the default settings of streams, and without early data.
impl From<ServerConfig> for TlsAcceptor {
    fn from(config: ServerConfig) -> TlsAcceptor {
        TlsAcceptor::with(config, Settings::default())
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// How clients take up an earlier session, which saves half of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum ServerResumption {
    /// The client keeps the session, in a ticket that is encrypted with a key of this process, which changes every six hours. The server keeps nothing.
    #[default]
    Tickets,
    /// The server keeps so many of the last sessions, some hundred bytes each.
    Cache(usize),
    /// They cannot.
    Disabled,
}

enum Clients {
    Anonymous,
    MayShow(Roots),
    MustShow(Roots),
}

/// Settings of a [`TlsAcceptor`].
pub struct TlsAcceptorBuilder {
    certificates: Certificates,
    identity: Option<Identity>,
    clients: Clients,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    alpn: Result<Vec<Vec<u8>>, TlsConfigError>,
    versions: Versions,
    resumption: ServerResumption,
    provider: Option<Arc<CryptoProvider>>,
    settings: Settings,
}

impl TlsAcceptorBuilder {
    setters!();

    /// The certificate for all names that have none of their own: the default of the [certificates](TlsAcceptorBuilder::certificates).
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Takes certificates from this set, which may change while the server runs.
    pub fn certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = certificates;
        self
    }

    /// Refuses clients that show no certificate of these authorities.
    pub fn require_client_certificate(mut self, roots: Roots) -> Self {
        self.clients = Clients::MustShow(roots);
        self
    }

    /// Asks clients for a certificate of these authorities. They may show none, but not a wrong one: see
    /// [`peer_certificates`](TlsStream::peer_certificates).
    pub fn ask_for_client_certificate(mut self, roots: Roots) -> Self {
        self.clients = Clients::MayShow(roots);
        self
    }

    /// Refuses certificates of clients that these lists revoke. Certificates that no list speaks of are accepted.
    pub fn revocation_lists(
        mut self,
        lists: impl IntoIterator<Item = CertificateRevocationListDer<'static>>,
    ) -> Self {
        self.revoked.extend(lists);
        self
    }

    /// The protocols that may be spoken inside, the preferred one first: `["h2", "http/1.1"]`. A client that asks for others only is refused;
    /// one that does not ask is not.
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = alpn_protocols(protocols);
        self
    }

    /// How clients take up an earlier session; by tickets if not set.
    pub fn resumption(mut self, resumption: ServerResumption) -> Self {
        self.resumption = resumption;
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// [`TlsConfigError`], also where there is no identity.
    pub fn build(self) -> Result<TlsAcceptor, TlsConfigError> {
        if let Some(identity) = self.identity {
            self.certificates.set_default(identity)?;
        }
        if self.certificates.is_empty() {
            return Err(TlsConfigError::NoIdentity);
        }
        let provider = self.provider.unwrap_or_else(default_provider);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions.supported())?;
        let verifier = |roots: Roots| {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.store, provider.clone());
            verifier.with_crls(self.revoked).allow_unknown_revocation_status()
        };
        let builder = match self.clients {
            Clients::Anonymous => builder.with_no_client_auth(),
            Clients::MayShow(roots) => {
                builder.with_client_cert_verifier(verifier(roots).allow_unauthenticated().build()?)
            }
            Clients::MustShow(roots) => builder.with_client_cert_verifier(verifier(roots).build()?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(self.certificates));
        config.alpn_protocols = self.alpn?;
        match self.resumption {
            ServerResumption::Tickets => config.ticketer = ticketer()?,
            ServerResumption::Cache(sessions) => {
                config.session_storage = ServerSessionMemoryCache::new(sessions);
            }
            ServerResumption::Disabled => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
        }
        Ok(TlsAcceptor::with(config, self.settings))
    }
}

fn ticketer() -> Result<Arc<dyn rustls::server::ProducesTickets>, rustls::Error> {
    #[cfg(feature = "aws-lc-rs")]
    return rustls::crypto::aws_lc_rs::Ticketer::new();
    #[cfg(not(feature = "aws-lc-rs"))]
    rustls::crypto::ring::Ticketer::new()
}

impl fmt::Debug for TlsAcceptorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptorBuilder")
            .field("versions", &self.versions)
            .field("alpn", &self.alpn)
            .field("resumption", &self.resumption)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
