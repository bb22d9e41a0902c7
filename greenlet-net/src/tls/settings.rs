//! What can be set for a stream, whichever side it is.

use std::time::Duration;

/// What it means when a connection ends without the peer having ended the TLS session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Truncation {
    /// Reading fails with [`TlsError::Truncated`](super::TlsError::Truncated): somebody on the way may have cut it off.
    #[default]
    IsAnError,
    /// Reading returns 0, as gevent's `suppress_ragged_eofs` has it: for peers that never say goodbye, under protocols that know where their
    /// messages end.
    IsTheEnd,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) read_buffer: usize,
    pub(super) write_buffer: usize,
    pub(super) handshake_limit: usize,
    pub(super) handshake_timeout: Option<Duration>,
    pub(super) truncation: Truncation,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            read_buffer: 32 * 1024,
            write_buffer: 64 * 1024,
            handshake_limit: 128 * 1024,
            handshake_timeout: Some(Duration::from_secs(10)),
            truncation: Truncation::IsAnError,
        }
    }
}

/// The setters that connectors and acceptors have in common.
macro_rules! setters {
    () => {
        /// How long the handshake may take as a whole; 10 seconds if not set. `None` is for ever.
        pub fn handshake_timeout(mut self, timeout: Option<Duration>) -> Self {
            self.settings.handshake_timeout = timeout;
            self
        }

        /// How much ciphertext a stream asks its transport for at once, in bytes; 32 KiB if not set, and 20 KiB at least, for the longest
        /// record has to fit. The memory is held while there is something in it.
        pub fn read_buffer(mut self, bytes: usize) -> Self {
            self.settings.read_buffer = bytes.max(20 * 1024);
            self
        }

        /// How much plaintext a write takes at once, in bytes; 64 KiB if not set, and 1 byte at least. What is not sent yet is held as ciphertext, which is
        /// slightly longer.
        pub fn write_buffer(mut self, bytes: usize) -> Self {
            self.settings.write_buffer = bytes.max(1);
            self
        }

        /// How much a peer may send in one flight of the handshake, in bytes: mostly certificates. 128 KiB if not set.
        pub fn handshake_limit(mut self, bytes: usize) -> Self {
            self.settings.handshake_limit = bytes;
            self
        }

        /// Whether a connection that ends without `close_notify` is an error; it is if not set.
        pub fn truncation(mut self, truncation: Truncation) -> Self {
            self.settings.truncation = truncation;
            self
        }

        /// The versions of TLS; 1.2 and 1.3 if not set.
        pub fn versions(mut self, versions: Versions) -> Self {
            self.versions = versions;
            self
        }

        /// The implementation of the algorithms: the process's default if it has one (`CryptoProvider::install_default`), else that of the
        /// crate's features, if not set.
        pub fn crypto_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
            self.provider = Some(provider);
            self
        }
    };
}

pub(super) use setters;
