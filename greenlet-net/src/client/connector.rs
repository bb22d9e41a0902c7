//! Connections for ureq.

use std::io;
#[cfg(feature = "tls")]
use std::sync::OnceLock;

use greenlet_core::Instant;
use ureq::Error;
use ureq::unversioned::transport::{
    ConnectionDetails, Connector as UreqConnector, Either, LazyBuffers, Transport,
};

#[cfg(feature = "tls")]
use super::names::bare;
use super::transport::{Connection, Socket};
#[cfg(feature = "tls")]
use crate::tls::{TlsConnector, TlsError};
use crate::{ConnectOptions, TcpStream};

/// Connects for ureq: sockets and TLS sessions of this crate in ureq's terms. For [`ureq::Agent::with_parts`].
///
/// ```
/// # #[cfg(feature = "tls")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use greenlet_net::client::{Connector, Names, ureq::Agent};
/// use greenlet_net::tls::{Roots, TlsConnector};
///
/// # let made = rcgen::generate_simple_self_signed(["ca.test".to_owned()])?;
/// # let our_ca = made.cert.pem();
/// let tls = TlsConnector::builder().roots(Roots::from_pem(our_ca)?).build()?;
/// let config = Agent::config_builder().proxy(None).build();
/// let agent = Agent::with_parts(config, Connector::new().tls(tls), Names::new());
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "tls"))]
/// # fn main() {}
/// ```
#[derive(Debug, Default)]
pub struct Connector {
    #[cfg(feature = "tls")]
    tls: OnceLock<TlsConnector>,
}

impl Connector {
    /// Trusts whom the system trusts.
    pub fn new() -> Connector {
        Connector::default()
    }

    /// Makes TLS sessions with this connector. It should offer no protocol but `http/1.1`, or none.
    #[cfg(feature = "tls")]
    pub fn tls(self, connector: TlsConnector) -> Connector {
        Connector { tls: OnceLock::from(connector) }
    }

    fn open(&self, details: &ConnectionDetails<'_>) -> Result<Connection, Error> {
        if details.config.proxy().is_some() {
            return Err(refusal("a proxy is set, which this connector does not support"));
        }
        let deadline = details.timeout.not_zero().and_then(|limit| Instant::now().checked_add(*limit));
        let left = || match deadline.map(|deadline| deadline.duration_since(Instant::now())) {
            Some(left) if left.is_zero() => Err(Error::Timeout(details.timeout.reason)),
            left => Ok(left),
        };
        let mut options = ConnectOptions::new();
        if let Some(left) = left()? {
            options = options.timeout(left);
        }
        let stream = match options.connect(&details.addrs[..]) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::TimedOut && deadline.is_some() => {
                return Err(Error::Timeout(details.timeout.reason));
            }
            Err(error) => return Err(Error::Io(error)),
        };
        if details.config.no_delay() {
            stream.set_nodelay(true)?;
        }
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        let shutdown = |connection: Connection| {
            (details.register_shutdown)(connection.shutdown_handle())?;
            Ok(connection)
        };
        if !details.needs_tls() {
            return shutdown(Connection::new(Socket::Plain(stream), buffers));
        }
        #[cfg(feature = "tls")]
        {
            let stream = self.encrypt(details, stream, left()?)?;
            shutdown(Connection::new(Socket::Tls(stream), buffers))
        }
        #[cfg(not(feature = "tls"))]
        Err(Error::TlsRequired)
    }

    #[cfg(feature = "tls")]
    fn encrypt(
        &self,
        details: &ConnectionDetails<'_>,
        stream: TcpStream,
        left: Option<std::time::Duration>,
    ) -> Result<crate::tls::TlsStream, Error> {
        let host = bare(details.uri.host().unwrap_or_default());
        let connector = match self.tls.get() {
            Some(connector) => connector,
            None => {
                let connector = TlsConnector::new().map_err(|error| Error::Other(error.into()))?;
                self.tls.get_or_init(|| connector)
            }
        };
        connector.connect_within(host, stream, left).map_err(|error| match error {
            TlsError::HandshakeTimeout(limit) if Some(limit) == left => {
                Error::Timeout(details.timeout.reason)
            }
            error => Error::Io(error.into()),
        })
    }
}

fn refusal(why: &str) -> Error {
    Error::Io(io::Error::new(io::ErrorKind::Unsupported, why))
}

impl<In: Transport> UreqConnector<In> for Connector {
    type Out = Either<In, Connection>;

    /// A connection that a connector before this one has made is left as it is, unless it would have to be encrypted.
    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        match chained {
            None => self.open(details).map(|connection| Some(Either::B(connection))),
            Some(made) if !details.needs_tls() || made.is_tls() => Ok(Some(Either::A(made))),
            Some(_) => Err(refusal("cannot encrypt a connection that another connector has made")),
        }
    }
}
