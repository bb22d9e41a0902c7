//! The time of a hub, in nanoseconds since the process first asked.
//!
//! Everything that waits asks this module and nothing else, so that a hub with another clock can be built on the
//! same loop.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A point in time: nanoseconds since an arbitrary start, which is the same for all threads of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Nanos(pub(crate) u64);

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

impl Nanos {
    pub(crate) fn now() -> Nanos {
        // 2^64 nanoseconds are 584 years.
        Nanos(start().elapsed().as_nanos() as u64)
    }

    /// The time until `self`, seen from `now`; zero when it has passed.
    pub(crate) fn since(self, now: Nanos) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now.0))
    }

    /// `None` when the sum lies beyond the end of time: such a deadline never comes.
    pub(crate) fn checked_add(self, after: Duration) -> Option<Nanos> {
        let after = u64::try_from(after.as_nanos()).ok()?;
        self.0.checked_add(after).map(Nanos)
    }
}

/// When a wait must end. A relative timeout is turned into a point in time by the first wait that blocks, so that
/// calls that need not wait never read the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deadline {
    Never,
    After(Duration),
    At(Nanos),
}

impl Deadline {
    pub(crate) fn from_timeout(timeout: Option<Duration>) -> Deadline {
        timeout.map_or(Deadline::Never, Deadline::After)
    }

    /// The point in time, fixed from now on.
    pub(crate) fn fix(&mut self) -> Option<Nanos> {
        if let Deadline::After(timeout) = *self {
            *self = Nanos::now().checked_add(timeout).map_or(Deadline::Never, Deadline::At);
        }
        match *self {
            Deadline::At(at) => Some(at),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absurd_timeout_never_comes() {
        let mut deadline = Deadline::from_timeout(Some(Duration::MAX));
        assert_eq!(deadline.fix(), None);
    }

    #[test]
    fn a_deadline_is_fixed_once() {
        let mut deadline = Deadline::After(Duration::from_secs(5));
        let first = deadline.fix();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(deadline.fix(), first);
    }
}
