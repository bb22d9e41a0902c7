//! A read or write timeout, shared by the clones of a connection.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// In nanoseconds; [`NEVER`] is none.
#[derive(Debug)]
pub(crate) struct SharedTimeout(AtomicU64);

const NEVER: u64 = u64::MAX;

impl SharedTimeout {
    pub(crate) const fn none() -> SharedTimeout {
        SharedTimeout(AtomicU64::new(NEVER))
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            NEVER => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    pub(crate) fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        let nanos = match timeout {
            None => NEVER,
            Some(timeout) => {
                refuse_zero(timeout)?;
                // 2^64 nanoseconds are 584 years.
                u64::try_from(timeout.as_nanos()).unwrap_or(NEVER - 1).min(NEVER - 1)
            }
        };
        self.0.store(nanos, Ordering::Relaxed);
        Ok(())
    }
}

/// Of two limits the one that comes first.
#[inline]
pub(crate) fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// As std: zero is more likely a mistake than a wish.
pub(crate) fn refuse_zero(timeout: Duration) -> io::Result<()> {
    if timeout.is_zero() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a timeout of zero: expected None or more than zero",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_comes_back() {
        let timeout = SharedTimeout::none();
        assert_eq!(timeout.get(), None);
        timeout.set(Some(Duration::from_nanos(1))).unwrap();
        assert_eq!(timeout.get(), Some(Duration::from_nanos(1)));
        timeout.set(None).unwrap();
        assert_eq!(timeout.get(), None);
    }

    #[test]
    fn the_longest_one_is_not_mistaken_for_none() {
        let timeout = SharedTimeout::none();
        timeout.set(Some(Duration::MAX)).unwrap();
        assert!(timeout.get().is_some());
    }

    #[test]
    fn zero_is_refused_and_changes_nothing() {
        let timeout = SharedTimeout::none();
        timeout.set(Some(Duration::from_secs(1))).unwrap();
        assert_eq!(timeout.set(Some(Duration::ZERO)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(timeout.get(), Some(Duration::from_secs(1)));
    }
}
