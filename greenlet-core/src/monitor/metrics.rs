//! Numbers of one hub.

use std::fmt;
use std::time::Duration;

use crate::hub::{HubHandle, Vitals};

/// What a hub has done so far, and what it has at the moment; read by [`HubHandle::metrics`].
///
/// Counts go up only, and wrap around at 2^64. The hub is not stopped for it, so the fields may be of slightly different
/// moments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Switches to a greenlet, the main greenlet included.
    pub switches: u64,
    /// Greenlets that were started.
    pub spawned: u64,
    /// Of those, the ones that have ended, in whatever way.
    pub ended: u64,
    /// Greenlets that ended with a failure.
    pub failed: u64,
    /// Greenlets that ended with [`GreenletExit`](crate::GreenletExit): killed, most of them.
    pub exited: u64,
    /// Greenlets that were started and have not ended; the main greenlet is not counted.
    pub live: u64,
    /// Turns of the loop: looks at timers, at other threads' messages, and at descriptors if there are any.
    pub turns: u64,
    /// Calls of the kernel's poller.
    pub polls: u64,
    /// Those in which it slept, since nothing was ready.
    pub sleeps: u64,
    /// How long it slept in all.
    pub slept: Duration,
    /// Callbacks of links, timers and others that the loop called.
    pub callbacks: u64,
    /// Wake-ups, starts and calls that came from other threads.
    pub arrivals: u64,
    /// Timers that are set, as of the last turn.
    pub timers: u64,
    /// Stacks in use, as of the last turn.
    pub stacks: u64,
    /// Stacks kept for other greenlets, as of the last turn.
    pub idle_stacks: u64,
    /// Address space of all stacks, as of the last turn; what is resident is far less.
    pub stack_bytes: u64,
}

impl Metrics {
    fn read(vitals: &Vitals) -> Metrics {
        // In this order more are seen to be spawned than to have ended.
        let ended = vitals.ended.get();
        let spawned = vitals.spawned.get();
        Metrics {
            switches: vitals.switches.get().wrapping_add(vitals.main_waits.get()),
            spawned,
            ended,
            failed: vitals.failed.get(),
            exited: vitals.exited.get(),
            live: spawned.saturating_sub(ended),
            turns: vitals.turns.get(),
            polls: vitals.polls.get(),
            sleeps: vitals.sleeps.get(),
            slept: Duration::from_nanos(vitals.slept_nanos.get()),
            callbacks: vitals.callbacks.get(),
            arrivals: vitals.arrivals.get(),
            timers: vitals.timers.get(),
            stacks: vitals.stacks.get(),
            idle_stacks: vitals.idle_stacks.get(),
            stack_bytes: vitals.mapped_bytes.get(),
        }
    }

    /// Each number with its name, in the order of the fields; `slept` in nanoseconds. For exporters.
    pub fn named(&self) -> [(&'static str, u64); 16] {
        [
            ("switches", self.switches),
            ("spawned", self.spawned),
            ("ended", self.ended),
            ("failed", self.failed),
            ("exited", self.exited),
            ("live", self.live),
            ("turns", self.turns),
            ("polls", self.polls),
            ("sleeps", self.sleeps),
            ("slept_nanoseconds", self.slept.as_nanos() as u64),
            ("callbacks", self.callbacks),
            ("arrivals", self.arrivals),
            ("timers", self.timers),
            ("stacks", self.stacks),
            ("idle_stacks", self.idle_stacks),
            ("stack_bytes", self.stack_bytes),
        ]
    }
}

/// All numbers on one line.
impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, value)) in self.named().into_iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{name} {value}")?;
        }
        Ok(())
    }
}

impl HubHandle {
    /// The hub's counters, from any thread, without stopping the hub: it may even be blocked. When the hub has ended, as
    /// they were then.
    ///
    /// ```
    /// use greenlet_core::{Hub, spawn, yield_now};
    ///
    /// let before = Hub::current().metrics();
    /// spawn(yield_now).join();
    /// let after = Hub::current().metrics();
    /// assert_eq!(after.spawned - before.spawned, 1);
    /// assert_eq!(after.switches - before.switches, 3); // the greenlet twice, then main
    /// ```
    pub fn metrics(&self) -> Metrics {
        Metrics::read(&self.shared().vitals)
    }
}
