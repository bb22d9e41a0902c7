//! Calls after a while.

use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::{Core, debug};
use crate::hub::{Hub, Nanos, TimerKey};

/// Calls back after a while, and perhaps again and again: gevent's `loop.timer`. Dropping it stops it.
///
/// Active from the beginning. A timer that is late, since a greenlet kept the thread, calls once for all that was missed.
///
/// ```
/// use greenlet_core::watcher::Timer;
/// use greenlet_core::Event;
/// use std::{rc::Rc, time::Duration};
///
/// let over = Rc::new(Event::new());
/// let timer = Timer::once(Duration::from_millis(2), {
///     let over = over.clone();
///     move || over.set()
/// });
/// over.wait();
/// assert!(!timer.active());
/// ```
#[must_use = "dropping a watcher stops it"]
pub struct Timer {
    state: Rc<State>,
}

struct State {
    core: Core,
    repeat: Option<Duration>,
    after: Duration,
    key: Cell<Option<TimerKey>>,
}

impl Timer {
    /// Calls `f` once, after `after`; [`Duration::MAX`] is never.
    #[track_caller]
    pub fn once(after: Duration, f: impl FnOnce() + 'static) -> Timer {
        let mut f = Some(f);
        let call = move || f.take().into_iter().for_each(|f| f());
        Timer::start_new(Core::new("timer", Location::caller(), call), after, None)
    }

    /// Calls `f` after `after`, and then every `repeat`.
    ///
    /// # Panics
    /// When `repeat` is zero.
    #[track_caller]
    pub fn every(after: Duration, repeat: Duration, f: impl FnMut() + 'static) -> Timer {
        assert!(!repeat.is_zero(), "a timer that repeats needs time in between");
        Timer::start_new(Core::new("timer", Location::caller(), f), after, Some(repeat))
    }

    fn start_new(core: Core, after: Duration, repeat: Option<Duration>) -> Timer {
        let state = Rc::new(State { core, repeat, after, key: Cell::new(None) });
        let hub = Hub::current_hub();
        state.arm(hub, Nanos::now().checked_add(after));
        Timer { state }
    }

    /// Begins anew: the next call is a `repeat` from now (of a timer that does not repeat: an `after`, if it has not been
    /// called yet). Whether it was active does not matter.
    pub fn again(&self) {
        let hub = Hub::current_hub();
        self.state.disarm(hub);
        self.state.arm(hub, Nanos::now().checked_add(self.state.repeat.unwrap_or(self.state.after)));
    }

    /// Stops it, also when its time is over and the call only waits for its turn. [`again`](Timer::again) goes on.
    pub fn stop(&self) {
        let hub = Hub::try_current();
        if let Some(hub) = hub {
            self.state.disarm(hub);
        }
        self.state.core.deactivate(hub);
    }

    /// Whether a call is to come.
    pub fn active(&self) -> bool {
        self.state.core.active.get()
    }

    /// Keeps nothing alive: see the [module](crate::watcher#rules-for-callbacks).
    pub fn uncounted(self) -> Timer {
        let hub = Hub::current_hub();
        if self.state.core.stop_counting(hub) && self.state.key.get().is_some() {
            hub.change_uncounted_timers(1);
        }
        self
    }
}

impl State {
    fn arm(self: &Rc<State>, hub: &Hub, deadline: Option<Nanos>) {
        let start = self.core.activate(hub);
        let Some(deadline) = deadline else { return };
        let me = self.clone();
        self.key.set(Some(hub.call_at(deadline, Box::new(move |hub| me.fire(hub, start, deadline)))));
        if !self.core.counts.get() {
            hub.change_uncounted_timers(1);
        }
    }

    /// Takes the timer out of the heap, or notes that it has left it.
    fn disarm(&self, hub: &Hub) {
        if let Some(key) = self.key.take() {
            if !self.core.counts.get() {
                hub.change_uncounted_timers(-1);
            }
            hub.cancel_timer(key);
        }
    }

    fn fire(self: &Rc<State>, hub: &Hub, start: u64, deadline: Nanos) {
        if !self.core.is_current(start) {
            return; // stopped while this was queued
        }
        self.disarm(hub);
        match self.repeat {
            // Before the call, which may stop it.
            Some(repeat) => self.arm(hub, deadline.checked_add(repeat).map(|next| next.max(Nanos::now()))),
            None => self.core.deactivate(Some(hub)),
        }
        self.core.call(hub);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.stop();
    }
}

debug!(Timer, "Timer");
