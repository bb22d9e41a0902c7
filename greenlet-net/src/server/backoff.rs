//! What an error of `accept` means, and how long to pause after one.

use std::io;
use std::time::Duration;

/// What is to be done after an error of `accept`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It was about one connection, which is gone: go on with the next one.
    Skip,
    /// The system is short of something: the same connection is there later.
    Pause,
    /// The listener itself is no good.
    Fatal,
}

/// gevent's three are fatal. Those to skip are what Linux passes on from the network of a connection that waits, or of a datagram that was sent.
pub(super) fn verdict(error: &io::Error) -> Verdict {
    match error.raw_os_error() {
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK) => Verdict::Fatal,
        Some(
            libc::ECONNABORTED
            | libc::ECONNREFUSED
            | libc::ECONNRESET
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ETIMEDOUT
            | libc::EPERM,
        ) => Verdict::Skip,
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, and what nobody thought of.
        _ => Verdict::Pause,
    }
}

/// Pauses that grow by the factor two, until something succeeds.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    /// The next pause, while the last attempt has failed.
    next: Option<Duration>,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first: first.min(longest), longest, next: None }
    }

    /// How long to pause after a failure, and whether it is the first one since something succeeded.
    pub(super) fn failed(&mut self) -> (Duration, bool) {
        let pause = self.next.unwrap_or(self.first);
        let first = self.next.is_none();
        self.next = Some(pause.saturating_mul(2).min(self.longest));
        (pause, first)
    }

    /// Something succeeded. True if it failed before.
    pub(super) fn succeeded(&mut self) -> bool {
        self.next.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(10 * MS, 50 * MS);
        let pauses: Vec<_> = (0..4).map(|_| backoff.failed()).collect();
        assert_eq!(pauses, [(10 * MS, true), (20 * MS, false), (40 * MS, false), (50 * MS, false)]);
        assert!(backoff.succeeded());
        assert!(!backoff.succeeded());
        assert_eq!(backoff.failed(), (10 * MS, true));
    }

    #[test]
    fn the_first_pause_is_no_longer_than_the_longest() {
        assert_eq!(Backoff::new(10 * MS, MS).failed(), (MS, true));
    }

    #[test]
    fn errors_are_of_the_connection_of_the_system_or_of_the_listener() {
        let of = |number| verdict(&io::Error::from_raw_os_error(number));
        assert_eq!(of(libc::ECONNABORTED), Verdict::Skip);
        for number in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert_eq!(of(number), Verdict::Pause);
        }
        for number in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK] {
            assert_eq!(of(number), Verdict::Fatal);
        }
        assert_eq!(verdict(&io::Error::other("strange")), Verdict::Pause);
    }
}
