//! The name that a client asks for, which rustls tells nobody but the one who chooses the certificate.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

thread_local! {
    static HEARD: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// Chooses as another one does, and notes the name.
#[derive(Debug)]
pub(super) struct Overhearing(pub(super) Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Overhearing {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        HEARD.set(hello.server_name().map(Into::into));
        self.0.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }
}

/// Runs something that goes on with a handshake, without a wait, and returns the name that it came upon too.
pub(super) fn overhear<R>(run: impl FnOnce() -> R) -> (R, Option<Box<str>>) {
    let done = run();
    (done, HEARD.take())
}
