//! Which certificate a server shows to whom.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::DnsName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::config::{TlsConfigError, default_provider};
use super::identity::Identity;

/// The certificates of a server: one for each name that clients ask for, and one for everybody else.
///
/// A handle: clones are the same set. It can be changed while the server runs, from any thread, for example when a certificate was renewed; who connects
/// from then on sees the new one, and connections that are there are not affected.
///
/// ```no_run
/// use greenlet_net::tls::{Certificates, Identity, TlsAcceptor};
///
/// let load = || Identity::from_files("/etc/app/fullchain.pem", "/etc/app/key.pem");
/// let certificates = Certificates::new();
/// certificates.set_default(load()?)?;
/// certificates.set("*.example.org", Identity::from_files("/etc/app/wild.pem", "/etc/app/wild-key.pem")?)?;
/// let acceptor = TlsAcceptor::builder().certificates(certificates.clone()).build()?;
/// // later, on SIGHUP
/// certificates.set_default(load()?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    table: Arc<RwLock<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    otherwise: Option<Arc<CertifiedKey>>,
    /// By name in lower case; wildcards begin with `*.`.
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    /// None. Until there is one, handshakes fail.
    pub fn new() -> Certificates {
        Certificates::default()
    }

    /// For who asks for no name, or for one that has none of its own.
    ///
    /// # Errors
    /// [`TlsConfigError::Identity`] if certificate and key do not go together; then nothing changes.
    pub fn set_default(&self, identity: Identity) -> Result<(), TlsConfigError> {
        let key = certified(identity)?;
        self.change(|table| table.otherwise = Some(key));
        Ok(())
    }

    /// For who asks for this name. `*.example.org` stands for all names with one more part than `example.org`; a name itself goes before that.
    ///
    /// # Errors
    /// [`TlsConfigError::Identity`] if certificate and key do not go together, [`TlsConfigError::Name`]; then nothing changes.
    pub fn set(&self, name: &str, identity: Identity) -> Result<(), TlsConfigError> {
        let dns = name.strip_prefix("*.").unwrap_or(name);
        if DnsName::try_from(dns).is_err() {
            return Err(TlsConfigError::Name(name.to_owned()));
        }
        let key = certified(identity)?;
        self.change(|table| drop(table.by_name.insert(name.to_ascii_lowercase(), key)));
        Ok(())
    }

    /// Who asks for this name gets the default from now on. Returns whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        let mut removed = false;
        self.change(|table| removed = table.by_name.remove(&name.to_ascii_lowercase()).is_some());
        removed
    }

    pub(super) fn is_empty(&self) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.otherwise.is_none() && table.by_name.is_empty()
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner));
    }
}

fn certified(identity: Identity) -> Result<Arc<CertifiedKey>, TlsConfigError> {
    let key = CertifiedKey::from_der(identity.chain, identity.key, &default_provider());
    key.map(Arc::new).map_err(TlsConfigError::Identity)
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let named = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = || name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            table.by_name.get(&name).or_else(|| table.by_name.get(&wildcard()?))
        });
        named.or(table.otherwise.as_ref()).cloned()
    }
}
