//! Whose word one takes.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::TlsConfigError;
use super::pem;

/// Certificates of authorities that are trusted.
///
/// ```
/// use greenlet_net::tls::Roots;
///
/// # let made = rcgen::generate_simple_self_signed(["ca.test".to_owned()])?;
/// # let our_ca = made.cert.pem();
/// let roots = Roots::from_pem(our_ca)?;
/// assert_eq!(roots.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Roots {
    pub(super) store: Arc<RootCertStore>,
}

impl Roots {
    /// Nobody.
    pub fn none() -> Roots {
        Roots { store: Arc::new(RootCertStore::empty()) }
    }

    /// Those that the system trusts, or those that the environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name instead.
    ///
    /// They are read once for the process, which blocks the thread for some milliseconds.
    ///
    /// # Errors
    /// [`TlsConfigError::NoSystemRoots`] where there is none.
    pub fn system() -> Result<Roots, TlsConfigError> {
        static SYSTEM: OnceLock<Roots> = OnceLock::new();
        if let Some(roots) = SYSTEM.get() {
            return Ok(roots.clone());
        }
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        // Systems have one or the other that is malformed.
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            let why = if errors.is_empty() { "there is no certificate".into() } else { errors.join("; ") };
            return Err(TlsConfigError::NoSystemRoots(why));
        }
        Ok(SYSTEM.get_or_init(|| Roots { store: Arc::new(store) }).clone())
    }

    /// The certificates in PEM text.
    ///
    /// # Errors
    /// [`TlsConfigError::Pem`], and [`TlsConfigError::Root`] for what is no certificate.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Roots, TlsConfigError> {
        Roots::none().and_pem(pem)
    }

    /// The certificates in a PEM file. Blocks the thread for as long as the file takes.
    ///
    /// # Errors
    /// As [`from_pem`](Roots::from_pem).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Roots, TlsConfigError> {
        Roots::none().and_file(path)
    }

    /// These, and the certificates in PEM text.
    ///
    /// # Errors
    /// As [`from_pem`](Roots::from_pem).
    pub fn and_pem(self, pem: impl AsRef<[u8]>) -> Result<Roots, TlsConfigError> {
        self.and(pem::certificates_from_pem(pem)?)
    }

    /// These, and the certificates in a PEM file.
    ///
    /// # Errors
    /// As [`from_pem`](Roots::from_pem).
    pub fn and_file(self, path: impl AsRef<Path>) -> Result<Roots, TlsConfigError> {
        self.and(pem::certificates_from_file(path)?)
    }

    /// These and others.
    ///
    /// # Errors
    /// [`TlsConfigError::Root`] for what is no certificate.
    pub fn and(
        mut self,
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Roots, TlsConfigError> {
        let store = Arc::make_mut(&mut self.store);
        for certificate in certificates {
            store.add(certificate).map_err(TlsConfigError::Root)?;
        }
        Ok(self)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }
}
