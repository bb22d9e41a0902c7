//! A server that may be asked.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use greenlet_core::Instant;

/// How long a server that did not answer is asked after the others.
const PENALTY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    failed: Mutex<Option<Instant>>,
}

impl Server {
    pub(super) fn new(address: SocketAddr) -> Server {
        Server { address, failed: Mutex::new(None) }
    }

    pub(super) fn failed(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn answered(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn has_failed_lately(&self, now: Instant) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| now.duration_since(at) < PENALTY)
    }
}
