//! Who one is: a certificate with its chain, and the key that goes with it.

use std::fmt;
use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::pem::{self, PemError};

/// A certificate, those that confirm it, and its private key.
pub struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Whether they belong together is looked at where the identity is used.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Identity {
        Identity { chain, key }
    }

    /// From PEM text. The certificate comes first, then its chain; the two arguments may be the same text.
    ///
    /// # Errors
    /// [`PemError`].
    pub fn from_pem(certificates: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Identity, PemError> {
        Ok(Identity::new(pem::certificates_from_pem(certificates)?, pem::private_key_from_pem(key)?))
    }

    /// From PEM files, which may be the same one. Blocks the thread for as long as the files take.
    ///
    /// # Errors
    /// [`PemError`], which names the file.
    pub fn from_files(certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Identity, PemError> {
        Ok(Identity::new(pem::certificates_from_file(certificates)?, pem::private_key_from_file(key)?))
    }
}

impl Clone for Identity {
    fn clone(&self) -> Identity {
        Identity { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// Not the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}
