//! A timer of a hub, which any thread may stop.
//!
//! A core timer belongs to its thread. So each thread keeps those that were set there in a list of its own, and others stop them by their
//! number, through the hub. What is called is `Send`: it may be dropped wherever it is.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use greenlet_core::watcher::Timer;
use greenlet_core::{Hub, HubHandle};

use crate::run::{Home, Local};

thread_local! {
    static ALARMS: RefCell<HashMap<u64, Timer>> = RefCell::default();
}

/// A timer that was set. Dropping this does not stop it.
#[derive(Debug)]
pub(crate) struct Alarm {
    hub: HubHandle,
    number: u64,
}

/// How often it rings.
#[derive(Clone, Copy)]
pub(crate) enum Rings {
    Once,
    Every(Duration),
}

impl Alarm {
    /// Calls `ring` in the loop of this thread's hub, if that is one of the system that the actor is in, and of the actor's home otherwise.
    pub(crate) fn set(
        home: &Home,
        after: Duration,
        rings: Rings,
        ring: impl FnMut() + Send + 'static,
    ) -> Alarm {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if Local::current().is_some_and(|local| local.is_in(home)) {
            Alarm::arm(number, after, rings, ring);
            return Alarm { hub: Hub::current(), number };
        }
        let hub = home.hub().clone();
        // A hub that is gone has ended its actors.
        let _ = hub.call(move || Alarm::arm(number, after, rings, ring));
        Alarm { hub, number }
    }

    fn arm(number: u64, after: Duration, rings: Rings, mut ring: impl FnMut() + Send + 'static) {
        let timer = match rings {
            Rings::Once => Timer::once(after, move || {
                ring();
                forget(number);
            }),
            Rings::Every(period) => Timer::every(after, period, ring),
        };
        ALARMS.with(|alarms| alarms.borrow_mut().insert(number, timer));
    }

    /// It does not ring any more, unless it is doing so at this moment on its thread.
    pub(crate) fn stop(&self) {
        let number = self.number;
        if self.hub.is_current() {
            forget(number);
        } else {
            let _ = self.hub.call(move || forget(number));
        }
    }
}

fn forget(number: u64) {
    // Dropped when the list is free again: what it calls goes with it. The list is gone when the thread ends.
    let timer = ALARMS.try_with(|alarms| alarms.borrow_mut().remove(&number)).ok().flatten();
    drop(timer);
}
