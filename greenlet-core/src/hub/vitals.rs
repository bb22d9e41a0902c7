//! What other threads may know of a hub without asking it: counters that its own thread alone writes.
//!
//! They are atomic so that anybody may read them, and written by a plain load and store: no read-modify-write, no
//! fence. A reader sees each of them at some recent moment, not all of them at the same one.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};

use super::Nanos;

/// A number that one thread changes and all may read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline(always)]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline(always)]
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// In cache lines of their own, so that the inbox of the hub, which others write, does not slow down its switches.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Vitals {
    /// To a greenlet, main left out.
    pub(crate) switches: Counter,
    pub(crate) spawned: Counter,
    pub(crate) ended: Counter,
    pub(crate) turns: Counter,
    /// Waits of main that are over.
    pub(crate) main_waits: Counter,
    pub(crate) callbacks: Counter,
    pub(crate) arrivals: Counter,
    pub(crate) failed: Counter,
    pub(crate) exited: Counter,
    pub(crate) polls: Counter,
    pub(crate) sleeps: Counter,
    pub(crate) slept_nanos: Counter,
    /// These are of the last turn.
    pub(crate) timers: Counter,
    pub(crate) stacks: Counter,
    pub(crate) idle_stacks: Counter,
    pub(crate) mapped_bytes: Counter,
    /// Ends of sections in which blocking is ignored.
    pub(crate) ignored: Counter,
    /// The progress at which a section began that may block, or all ones.
    pub(crate) may_block_at: AtomicU64,
    /// Main waits: what runs is a greenlet or the loop.
    pub(crate) in_loop: AtomicBool,
    /// The thread runs no greenlets any more.
    pub(crate) over: AtomicBool,
    /// The kernel's number of the hub's thread.
    pub(crate) thread: AtomicI32,
    /// Nanoseconds that it may go without a switch before it is reported; 0: as the process says.
    pub(crate) max_blocking: AtomicU64,
}

impl Vitals {
    pub(crate) fn new() -> Vitals {
        let vitals = Vitals { may_block_at: AtomicU64::new(u64::MAX), ..Vitals::default() };
        vitals.belongs_to_this_thread();
        vitals
    }

    /// Notes who is to be looked at. Called again in a forked child, where the thread has another number.
    pub(crate) fn belongs_to_this_thread(&self) {
        #[cfg(target_os = "linux")]
        // SAFETY: it has no preconditions.
        self.thread.store(unsafe { libc::gettid() }, Relaxed);
    }

    /// Changes whenever the hub has got round to something: while it does not, something blocks the hub.
    pub(crate) fn progress(&self) -> u64 {
        [&self.switches, &self.ended, &self.turns, &self.main_waits, &self.callbacks, &self.ignored]
            .into_iter()
            .fold(0, |sum: u64, counter| sum.wrapping_add(counter.get()))
    }

    /// Whether anybody waits for the hub to go on: greenlets, timers, or main.
    pub(crate) fn anybody_waits(&self) -> bool {
        self.in_loop.load(Relaxed) || self.spawned.get() != self.ended.get() || self.timers.get() > 0
    }

    pub(super) fn slept(&self, from: Nanos, to: Nanos) {
        self.sleeps.add(1);
        self.slept_nanos.add(to.since(from).as_nanos() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_progress_shows() {
        let vitals = Vitals::new();
        let mut seen = vec![vitals.progress()];
        for counter in [&vitals.switches, &vitals.ended, &vitals.turns, &vitals.main_waits, &vitals.callbacks]
        {
            counter.add(1);
            assert!(!seen.contains(&vitals.progress()));
            seen.push(vitals.progress());
        }
    }

    #[test]
    fn nobody_waits_for_a_hub_without_greenlets_and_timers() {
        let vitals = Vitals::new();
        assert!(!vitals.anybody_waits());
        vitals.spawned.add(1);
        assert!(vitals.anybody_waits());
        vitals.ended.add(1);
        assert!(!vitals.anybody_waits());
    }
}
