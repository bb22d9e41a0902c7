//! The client's side.

use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{Resumption, UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateRevocationListDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::TlsError;
use super::config::{TlsConfigError, Versions, alpn_protocols, default_provider};
use super::identity::Identity;
use super::roots::Roots;
use super::session::Connection;
use super::settings::{Settings, Truncation, setters};
use super::stream::TlsStream;
use super::trusting::Trusting;
use crate::{Stream, TcpStream};

/// Makes TLS sessions on connections to servers. Cheap to clone; the clones share the sessions that can be taken up again.
///
/// ```no_run
/// use greenlet_net::TcpStream;
/// use greenlet_net::tls::TlsConnector;
/// use std::io::{Read, Write};
///
/// let connector = TlsConnector::new()?;
/// let mut stream = connector.connect("example.org", TcpStream::connect("example.org:443")?)?;
/// stream.write_all(b"GET / HTTP/1.0\r\nHost: example.org\r\n\r\n")?;
/// let mut page = Vec::new();
/// stream.read_to_end(&mut page)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    settings: Settings,
}

impl TlsConnector {
    /// Trusts whom the system trusts.
    ///
    /// # Errors
    /// [`TlsConfigError::NoSystemRoots`].
    pub fn new() -> Result<TlsConnector, TlsConfigError> {
        TlsConnector::builder().build()
    }

    /// With settings of one's own.
    pub fn builder() -> TlsConnectorBuilder {
        TlsConnectorBuilder {
            trust: Trust::System,
            identity: None,
            revoked: Vec::new(),
            alpn: Ok(Vec::new()),
            versions: Versions::default(),
            resumption: None,
            sni: Sni::Send,
            provider: None,
            settings: Settings::default(),
        }
    }

    /// Makes a session on a connection. `name` is the DNS name or the IP address of the server, which its certificate has to confirm.
    ///
    /// Suspends the greenlet until the handshake is done. A kill or timeout unwinds it from here and drops the connection. Timeouts that were set on the
    /// transport do not count any more.
    ///
    /// # Errors
    /// [`TlsError`]; the connection is closed.
    pub fn connect<S: Stream>(&self, name: &str, transport: S) -> Result<TlsStream<S>, TlsError> {
        self.start(name, transport)?.shake_hands()
    }

    /// [`connect`](TlsConnector::connect) with a handshake timeout of this call's own, where that is the shorter one.
    ///
    /// # Errors
    /// As `connect`.
    pub fn connect_within<S: Stream>(
        &self,
        name: &str,
        transport: S,
        timeout: Option<Duration>,
    ) -> Result<TlsStream<S>, TlsError> {
        let mut settings = self.settings;
        settings.handshake_timeout = [timeout, settings.handshake_timeout].into_iter().flatten().min();
        TlsConnector { config: self.config.clone(), settings }.connect(name, transport)
    }

    /// [`connect`](TlsConnector::connect) for async tasks on a thread with a hub. It knows no handshake timeout: dropping the future ends the attempt.
    ///
    /// # Errors
    /// As `connect`.
    pub async fn connect_async<S: Stream>(&self, name: &str, transport: S) -> Result<TlsStream<S>, TlsError> {
        let stream = self.start(name, transport)?;
        poll_fn(|context| stream.poll_shake_hands(context)).await?;
        Ok(stream)
    }

    /// Connects to a host and a port, and makes a session there.
    ///
    /// Suspends as [`TcpStream::connect`] and [`connect`](TlsConnector::connect).
    ///
    /// # Errors
    /// [`TlsError`]; [`TlsError::Io`] where it cannot be connected to.
    pub fn connect_to(&self, host: &str, port: u16) -> Result<TlsStream, TlsError> {
        let name = server_name(host)?;
        let transport = match &name {
            ServerName::IpAddress(address) => TcpStream::connect((IpAddr::from(*address), port))?,
            _ => TcpStream::connect((host, port))?,
        };
        self.connect(host, transport)
    }

    fn start<S: Stream>(&self, name: &str, transport: S) -> Result<TlsStream<S>, TlsError> {
        let session = UnbufferedClientConnection::new(self.config.clone(), server_name(name)?);
        let session = session.map_err(|error| TlsError::from_rustls(error, name))?;
        Ok(TlsStream::new(transport, Connection::Client(session), self.settings, name))
    }
}

/// Without the brackets that IPv6 addresses have in URLs.
fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match ServerName::try_from(bare.to_owned()) {
        Ok(found) => Ok(found),
        Err(_) => Err(TlsError::ServerName(name.to_owned())),
    }
}

/// With the default settings of streams.
impl From<Arc<ClientConfig>> for TlsConnector {
    fn from(config: Arc<ClientConfig>) -> TlsConnector {
        TlsConnector { config, settings: Settings::default() }
    }
}

/// With the default settings of streams.
impl From<ClientConfig> for TlsConnector {
    fn from(config: ClientConfig) -> TlsConnector {
        TlsConnector::from(Arc::new(config))
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Whether the server is told which of its names is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sni {
    /// It is, if it is a name and not an address.
    #[default]
    Send,
    /// It is not.
    Omit,
}

enum Trust {
    System,
    These(Roots),
    Everybody,
}

/// Settings of a [`TlsConnector`].
///
/// ```
/// use greenlet_net::tls::{Roots, TlsConnector, Versions};
/// use std::time::Duration;
///
/// # let made = rcgen::generate_simple_self_signed(["ca.test".to_owned()])?;
/// # let our_ca = made.cert.pem();
/// let connector = TlsConnector::builder()
///     .roots(Roots::from_pem(our_ca)?)
///     .alpn(["http/1.1"])
///     .versions(Versions::Tls13)
///     .handshake_timeout(Some(Duration::from_secs(5)))
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TlsConnectorBuilder {
    trust: Trust,
    identity: Option<Identity>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    alpn: Result<Vec<Vec<u8>>, TlsConfigError>,
    versions: Versions,
    resumption: Option<Resumption>,
    sni: Sni,
    provider: Option<Arc<CryptoProvider>>,
    settings: Settings,
}

impl TlsConnectorBuilder {
    setters!();

    /// Trusts these authorities, and not those of the system.
    pub fn roots(mut self, roots: Roots) -> Self {
        self.trust = Trust::These(roots);
        self
    }

    /// Accepts every certificate, valid or not, whoever shows it: what is sent can then be read and changed on the way. For looking at certificates, and
    /// for tests.
    pub fn dangerous_trust_everybody(mut self) -> Self {
        self.trust = Trust::Everybody;
        self
    }

    /// Refuses certificates that these lists revoke. Certificates that no list speaks of are accepted.
    pub fn revocation_lists(
        mut self,
        lists: impl IntoIterator<Item = CertificateRevocationListDer<'static>>,
    ) -> Self {
        self.revoked.extend(lists);
        self
    }

    /// The client's own certificate, for servers that ask for one.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The protocols that may be spoken inside, the preferred one first: `["h2", "http/1.1"]`. A server that speaks none of them refuses.
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = alpn_protocols(protocols);
        self
    }

    /// Which earlier sessions are kept to be taken up again, which saves half of a handshake: those of 256 servers if not set.
    pub fn resumption(mut self, resumption: Resumption) -> Self {
        self.resumption = Some(resumption);
        self
    }

    /// Whether the server is told which of its names is meant; it is if not set.
    pub fn sni(mut self, sni: Sni) -> Self {
        self.sni = sni;
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// [`TlsConfigError`], also where no authority is trusted.
    pub fn build(self) -> Result<TlsConnector, TlsConfigError> {
        let provider = self.provider.unwrap_or_else(default_provider);
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions.supported())?;
        let verified = |roots: Roots| -> Result<Arc<WebPkiServerVerifier>, TlsConfigError> {
            if roots.is_empty() {
                return Err(TlsConfigError::NoRoots);
            }
            let store: Arc<RootCertStore> = roots.store;
            let verifier = WebPkiServerVerifier::builder_with_provider(store, provider.clone());
            let verifier = verifier.with_crls(self.revoked).allow_unknown_revocation_status();
            Ok(verifier.build()?)
        };
        let builder = match self.trust {
            Trust::System => builder.with_webpki_verifier(verified(Roots::system()?)?),
            Trust::These(roots) => builder.with_webpki_verifier(verified(roots)?),
            Trust::Everybody => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Trusting::new(provider.clone()))),
        };
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { chain, key }) => {
                builder.with_client_auth_cert(chain, key).map_err(TlsConfigError::Identity)?
            }
        };
        config.alpn_protocols = self.alpn?;
        config.enable_sni = self.sni == Sni::Send;
        if let Some(resumption) = self.resumption {
            config.resumption = resumption;
        }
        Ok(TlsConnector { config: Arc::new(config), settings: self.settings })
    }
}

impl fmt::Debug for TlsConnectorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnectorBuilder")
            .field("versions", &self.versions)
            .field("alpn", &self.alpn)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
