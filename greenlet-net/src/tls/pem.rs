//! Certificates and keys from PEM files, with errors that say which file and what was expected in it.

use std::fs;
use std::io;
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// A PEM file could not be read, or does not have what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// The file cannot be read.
    #[error("cannot read {file}: {error}")]
    Read {
        /// Its path.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// It is not PEM.
    #[error("{file} is no PEM file: {error}")]
    Malformed {
        /// Its path, or "the given text".
        file: String,
        /// What is wrong.
        error: String,
    },
    /// It has no section of the kind that was looked for.
    #[error("expected {expected} in {file}, found {found}")]
    Missing {
        /// Its path, or "the given text".
        file: String,
        /// What was looked for.
        expected: &'static str,
        /// The sections that are there.
        found: String,
    },
    /// The private key is protected by a password.
    #[error("the private key in {file} is encrypted: decrypt it first, for example with `openssl pkey`")]
    Encrypted {
        /// Its path, or "the given text".
        file: String,
    },
}

/// Some PEM, and what to call it.
struct Text {
    file: String,
    bytes: Vec<u8>,
}

impl Text {
    fn given(bytes: &[u8]) -> Text {
        Text { file: "the given text".into(), bytes: bytes.to_vec() }
    }

    fn read(path: &Path) -> Result<Text, PemError> {
        let file = path.display().to_string();
        match fs::read(path) {
            Ok(bytes) => Ok(Text { file, bytes }),
            Err(error) => Err(PemError::Read { file, error }),
        }
    }

    fn all<T: PemObject>(self, expected: &'static str) -> Result<Vec<T>, PemError> {
        let all: Vec<T> = T::pem_slice_iter(&self.bytes)
            .collect::<Result<_, pem::Error>>()
            .map_err(|error| self.malformed(&error))?;
        if all.is_empty() { Err(self.missing(expected)) } else { Ok(all) }
    }

    fn private_key(self) -> Result<PrivateKeyDer<'static>, PemError> {
        match PrivateKeyDer::from_pem_slice(&self.bytes) {
            Ok(key) => Ok(key),
            Err(pem::Error::NoItemsFound)
                if self.sections().iter().any(|name| name.starts_with("ENCRYPTED")) =>
            {
                Err(PemError::Encrypted { file: self.file })
            }
            Err(pem::Error::NoItemsFound) => Err(self.missing("a private key")),
            Err(error) => Err(self.malformed(&error)),
        }
    }

    fn malformed(&self, error: &pem::Error) -> PemError {
        PemError::Malformed { file: self.file.clone(), error: error.to_string() }
    }

    fn missing(&self, expected: &'static str) -> PemError {
        let sections = self.sections();
        let found = match &sections[..] {
            [] if self.bytes.is_empty() => "nothing".into(),
            [] => "no `-----BEGIN` line".into(),
            sections => sections.join(", "),
        };
        PemError::Missing { file: self.file.clone(), expected, found }
    }

    /// The names of the sections.
    fn sections(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let name =
            |line: &str| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----").map(str::to_owned);
        text.lines().filter_map(name).collect()
    }
}

/// The certificates in PEM text, in order.
///
/// # Errors
/// [`PemError`], also where there is none.
pub fn certificates_from_pem(pem: impl AsRef<[u8]>) -> Result<Vec<CertificateDer<'static>>, PemError> {
    Text::given(pem.as_ref()).all("a certificate")
}

/// The certificates in a PEM file, in order. Blocks the thread for as long as the file takes.
///
/// # Errors
/// [`PemError`], also where there is none.
pub fn certificates_from_file(path: impl AsRef<Path>) -> Result<Vec<CertificateDer<'static>>, PemError> {
    Text::read(path.as_ref())?.all("a certificate")
}

/// The first private key in PEM text: PKCS#8, PKCS#1 (RSA) or SEC1 (EC).
///
/// # Errors
/// [`PemError`], also where there is none.
pub fn private_key_from_pem(pem: impl AsRef<[u8]>) -> Result<PrivateKeyDer<'static>, PemError> {
    Text::given(pem.as_ref()).private_key()
}

/// The first private key in a PEM file, as [`private_key_from_pem`]. Blocks the thread for as long as the file takes.
///
/// ```
/// use greenlet_net::tls::private_key_from_file;
///
/// let error = private_key_from_file("/dev/null").unwrap_err();
/// assert_eq!(error.to_string(), "expected a private key in /dev/null, found nothing");
/// ```
///
/// # Errors
/// [`PemError`], also where there is none.
pub fn private_key_from_file(path: impl AsRef<Path>) -> Result<PrivateKeyDer<'static>, PemError> {
    Text::read(path.as_ref())?.private_key()
}

/// The lists of revoked certificates in a PEM file. Blocks the thread for as long as the file takes.
///
/// # Errors
/// [`PemError`], also where there is none.
pub fn revocation_lists_from_file(
    path: impl AsRef<Path>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    Text::read(path.as_ref())?.all("a list of revoked certificates (X509 CRL)")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENCRYPTED: &str =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn message<T: std::fmt::Debug>(result: Result<T, PemError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn errors_say_what_was_expected_and_what_was_found() {
        let wrong = message(private_key_from_pem(CERTIFICATE));
        assert_eq!(wrong, "expected a private key in the given text, found CERTIFICATE");
        let wrong = message(certificates_from_pem("hello"));
        assert_eq!(wrong, "expected a certificate in the given text, found no `-----BEGIN` line");
        let wrong = message(certificates_from_pem("-----BEGIN CERTIFICATE-----\nAAAA\n"));
        assert!(wrong.starts_with("the given text is no PEM file: missing section end"), "{wrong}");
        let wrong = message(certificates_from_file("/does/not/exist.pem"));
        assert!(wrong.starts_with("cannot read /does/not/exist.pem: "), "{wrong}");
    }

    #[test]
    fn an_encrypted_key_is_called_so() {
        assert!(matches!(private_key_from_pem(ENCRYPTED), Err(PemError::Encrypted { .. })));
    }

    #[test]
    fn all_certificates_are_found_in_order() {
        let two = CERTIFICATE.to_owned() + ENCRYPTED + &CERTIFICATE.replace("AAAA", "BBBB");
        let found = certificates_from_pem(two).unwrap();
        assert_eq!(found.len(), 2);
        assert_ne!(found[0], found[1]);
    }
}
