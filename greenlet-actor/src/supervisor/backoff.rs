//! Restarts that wait, each longer than the one before.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use greenlet_core::watcher::Timer;
use greenlet_core::{Instant, sim};

/// How long the restarts of a child wait: exponentially longer, up to a limit, with jitter. OTP has no such thing; the idea is that of Akka's
/// `BackoffSupervisor`.
///
/// The first restart after a failure waits for `first`, each further one twice as long as the one before, and none longer than `max`. A
/// child that has run for [`reset_after`](Backoff::reset_after) is taken to be well: its next failure is the first one again.
///
/// ```
/// use greenlet_actor::{worker, Actor, Backoff, ChildSpec, Context, Exit};
/// use std::time::Duration;
///
/// # struct Connection;
/// # impl Actor for Connection {
/// #     type Message = ();
/// #     fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
/// # }
/// fn connection() -> ChildSpec {
///     let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30)).jitter(0.5);
///     worker("connection", || Connection).backoff(backoff)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    jitter: f64,
    reset_after: Duration,
}

impl Backoff {
    /// From `first` to `max`, without jitter.
    ///
    /// # Panics
    /// If `first` is more than `max`.
    #[track_caller]
    pub fn new(first: Duration, max: Duration) -> Backoff {
        assert!(first <= max, "the first delay is to be at most {max:?}, and not {first:?}");
        Backoff { first, max, jitter: 0.0, reset_after: max }
    }

    /// Shortens each delay at random by up to this part of it, so that children that failed together do not come back together. 0: by nothing;
    /// 1: to anything down to no delay.
    ///
    /// # Panics
    /// If it is not from 0 to 1.
    #[track_caller]
    pub fn jitter(mut self, part: f64) -> Backoff {
        assert!((0.0..=1.0).contains(&part), "jitter is a part from 0 to 1, and not {part}");
        self.jitter = part;
        self
    }

    /// How long a child must have run for its failures to be forgotten. Default: the longest delay.
    pub fn reset_after(mut self, after: Duration) -> Backoff {
        self.reset_after = after;
        self
    }

    /// The delay after so many failures before, shortened by `random` (from 0 to 1) of what the jitter allows.
    fn delay(&self, failures: u32, random: f64) -> Duration {
        let whole = 2u32.checked_pow(failures).and_then(|factor| self.first.checked_mul(factor));
        whole.unwrap_or(self.max).min(self.max).mul_f64(1.0 - self.jitter * random)
    }
}

/// From 0 to 1. In a simulation it follows from the seed.
fn random() -> f64 {
    let bits = if sim::is_simulated() {
        sim::random(1 << 53)
    } else {
        RandomState::new().build_hasher().finish() >> 11
    };
    bits as f64 / (1u64 << 53) as f64
}

/// How a child with a [`Backoff`] has fared.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    failures: u32,
    started: Option<Instant>,
    delay: Option<Delay>,
}

impl Recovery {
    pub(super) fn has_started(&mut self) {
        self.started = Some(Instant::now());
        self.delay = None;
    }

    /// It will not be restarted: what was planned is off.
    pub(super) fn cancel(&mut self) {
        self.delay = None;
    }

    /// It has failed: `again` is called after a while, unless that is cancelled. Returns after how long.
    pub(super) fn has_failed(&mut self, backoff: &Backoff, again: impl FnOnce() + 'static) -> Duration {
        if self.started.take().is_some_and(|started| started.elapsed() >= backoff.reset_after) {
            self.failures = 0;
        }
        let delay = backoff.delay(self.failures, random());
        self.failures = self.failures.saturating_add(1);
        self.delay = Some(Delay::new(delay, again));
        delay
    }
}

thread_local! {
    /// Timers belong to their thread. What refers to them must be able to come to its thread when it is made elsewhere.
    static TIMERS: RefCell<HashMap<u64, Timer>> = RefCell::default();
}

/// A timer of the thread on which this is used. Dropping it stops it.
#[derive(Debug)]
struct Delay(u64);

impl Delay {
    fn new(after: Duration, f: impl FnOnce() + 'static) -> Delay {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let timer = Timer::once(after, f);
        TIMERS.with_borrow_mut(|timers| timers.insert(number, timer));
        Delay(number)
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        // When the thread ends, its timers are gone before.
        let timer = TIMERS.try_with(|timers| timers.borrow_mut().remove(&self.0));
        drop(timer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn delays_double_up_to_the_longest() {
        let backoff = Backoff::new(10 * MS, 100 * MS);
        let delays: Vec<_> = (0..6).map(|failures| backoff.delay(failures, 0.7)).collect();
        assert_eq!(delays, [10 * MS, 20 * MS, 40 * MS, 80 * MS, 100 * MS, 100 * MS]);
        assert_eq!(backoff.delay(u32::MAX, 0.0), 100 * MS);
    }

    #[test]
    fn jitter_shortens_by_at_most_its_part() {
        let backoff = Backoff::new(100 * MS, 100 * MS).jitter(0.25);
        assert_eq!(backoff.delay(0, 0.0), 100 * MS);
        assert_eq!(backoff.delay(0, 1.0), 75 * MS);
        let all: Vec<_> = (0..100).map(|_| random()).collect();
        assert!(all.iter().all(|part| (0.0..1.0).contains(part)));
        assert!(all.iter().any(|part| *part < 0.5) && all.iter().any(|part| *part >= 0.5), "{all:?}");
    }

    #[test]
    #[should_panic(expected = "jitter is a part from 0 to 1, and not 2")]
    fn too_much_jitter_is_refused() {
        let _ = Backoff::new(MS, MS).jitter(2.0);
    }
}
