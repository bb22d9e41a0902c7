//! The hosts of URLs.

use std::net::{IpAddr, SocketAddr};

use greenlet_core::with_timeout;
use ureq::Error;
use ureq::config::{Config, IpFamily};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::dns::{self, ErrorKind, LookupError};

/// Looks names up for ureq: a resolver of this crate in ureq's terms. Suspends the greenlet that makes the call.
///
/// ```
/// use greenlet_net::client::{Connector, Names, ureq::Agent};
/// use greenlet_net::dns;
///
/// let resolver = dns::Resolver::builder().engine(dns::EngineKind::Thread).build()?;
/// let config = Agent::config_builder().proxy(None).build();
/// let agent = Agent::with_parts(config, Connector::new(), Names::by(resolver));
/// # Ok::<(), dns::SetupError>(())
/// ```
#[derive(Debug, Default)]
pub struct Names {
    resolver: Option<dns::Resolver>,
}

/// ureq's type has room for so many.
const MOST: usize = 16;

impl Names {
    /// By the [resolver of the process](dns::resolver()).
    pub fn new() -> Names {
        Names::default()
    }

    /// By this resolver.
    pub fn by(resolver: dns::Resolver) -> Names {
        Names { resolver: Some(resolver) }
    }

    fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        match &self.resolver {
            Some(resolver) => resolver.lookup(host),
            None => dns::lookup(host),
        }
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let authority = uri.authority().ok_or_else(|| Error::BadUri(format!("{uri}: it has no host")))?;
        let port = authority.port_u16().or(match uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        });
        let port = port.ok_or_else(|| Error::BadUri(format!("{uri}: expected http or https")))?;
        let host = bare(authority.host());
        let found = match timeout.not_zero() {
            None => self.lookup(host),
            Some(limit) => {
                with_timeout(*limit, || self.lookup(host)).map_err(|_| Error::Timeout(timeout.reason))?
            }
        };
        let found = found.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NoData => Error::HostNotFound,
            _ => Error::Io(error.into()),
        })?;
        let wanted = |address: &IpAddr| match config.ip_family() {
            IpFamily::Ipv4Only => address.is_ipv4(),
            IpFamily::Ipv6Only => address.is_ipv6(),
            IpFamily::Any => true,
        };
        let mut addresses = self.empty();
        for address in found.into_iter().filter(wanted).take(MOST) {
            addresses.push(SocketAddr::new(address, port));
        }
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

/// Without the brackets around an IPv6 address.
pub(super) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}
