//! The time of a hub, in nanoseconds since the process first asked.
//!
//! Everything that waits asks this module and nothing else. On the thread of a [simulated](crate::sim) hub the time is
//! that hub's, which stands still until the hub moves it on.

use std::ops::{Add, AddAssign, Sub};
use std::sync::OnceLock;
use std::time::Duration;

use super::Hub;

/// A point in time: nanoseconds since an arbitrary start, which is the same for all threads of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Nanos(pub(crate) u64);

fn start() -> std::time::Instant {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    *START.get_or_init(std::time::Instant::now)
}

impl Nanos {
    /// The time of this thread.
    #[inline]
    pub(crate) fn now() -> Nanos {
        match Hub::try_current().and_then(Hub::virtual_time) {
            None => Nanos::real(),
            Some(now) => now,
        }
    }

    fn real() -> Nanos {
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

/// A point in time of the calling thread's clock: std's `Instant`, except that in a [simulation](crate::sim) it is virtual.
///
/// Code that measures time with it, and not with [`std::time::Instant`], can be tested in virtual time. Points in time of
/// one simulation mean nothing outside of it.
///
/// ```
/// use greenlet_core::{Instant, sim, sleep};
/// use std::time::Duration;
///
/// let took = sim::run(1, || {
///     let start = Instant::now();
///     sleep(Duration::from_secs(3600));
///     start.elapsed()
/// });
/// assert_eq!(took, Duration::from_secs(3600));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instant(u64);

impl Instant {
    /// The present moment. Never suspends.
    pub fn now() -> Instant {
        Instant(Nanos::now().0)
    }

    /// How much time has passed since then.
    pub fn elapsed(&self) -> Duration {
        Instant::now().duration_since(*self)
    }

    /// The time from `earlier` to this point; zero if `earlier` is later.
    pub fn duration_since(&self, earlier: Instant) -> Duration {
        Nanos(self.0).since(Nanos(earlier.0))
    }

    /// So much later; `None` beyond the end of the clock, which is some 584 years after its start.
    pub fn checked_add(&self, duration: Duration) -> Option<Instant> {
        Nanos(self.0).checked_add(duration).map(|at| Instant(at.0))
    }

    /// So much earlier; `None` before the start of the clock.
    pub fn checked_sub(&self, duration: Duration) -> Option<Instant> {
        let duration = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_sub(duration).map(Instant)
    }
}

/// # Panics
/// Beyond the end of the clock: see [`checked_add`](Instant::checked_add).
impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        self.checked_add(duration).expect("a point in time within 584 years")
    }
}

/// # Panics
/// As `+`.
impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

/// The time between two points, zero if the second is later.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
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
