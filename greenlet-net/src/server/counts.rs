//! What a server counts.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a server has done so far: see [`Handle::counts`](super::Handle::counts).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counts {
    /// Connections (or datagrams) that were given to the handler.
    pub accepted: u64,
    /// Handlers at work.
    pub active: u64,
    /// Connections that were closed at once, since their address has too many already.
    pub refused: u64,
    /// Handlers that panicked or returned an error.
    pub failed: u64,
    /// How often `accept` failed, for want of descriptors for example.
    pub accept_errors: u64,
}

/// `1024 accepted, 3 active, 0 refused, 1 failed, 0 accept errors`.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { accepted, active, refused, failed, accept_errors } = self;
        write!(
            f,
            "{accepted} accepted, {active} active, {refused} refused, {failed} failed, {accept_errors} accept errors"
        )
    }
}

/// The counters behind [`Counts`].
#[derive(Default, Debug)]
pub(super) struct Counters {
    accepted: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    accept_errors: AtomicU64,
}

impl Counters {
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn ended(&self) {
        // Whoever sees the end of a handler sees the beginning too.
        self.ended.fetch_add(1, Ordering::Release);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn accept_error(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read_ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn read(&self) -> Counts {
        let ended = self.read_ended();
        let accepted = self.accepted.load(Ordering::Relaxed);
        Counts {
            accepted,
            active: accepted.saturating_sub(ended),
            refused: self.refused.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            accept_errors: self.accept_errors.load(Ordering::Relaxed),
        }
    }
}
