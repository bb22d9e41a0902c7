//! Access to a hub from other threads.

use std::fmt;
use std::panic::Location;

use super::{Hub, HubRef, HubShared, PollerKind};
use crate::greenlet::Greenlet;
use crate::stack::StackStats;

/// A reference to a hub that any thread may hold: spawns greenlets there.
///
/// Cheap to clone. It does not keep the hub alive.
#[derive(Clone)]
pub struct HubHandle {
    shared: HubRef,
}

/// The hub that a [`HubHandle`] refers to has ended with its thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the hub has ended with its thread")]
pub struct HubGone;

impl Hub {
    /// A handle to this thread's hub, which is made if there is none yet.
    #[track_caller]
    pub fn current() -> HubHandle {
        HubHandle { shared: Hub::current_hub().shared.clone() }
    }

    /// The stacks of this thread's hub: in use, kept for reuse, mapped. All zero if the thread has no hub.
    pub fn stack_stats() -> StackStats {
        let Some(hub) = Hub::try_current() else { return StackStats::default() };
        let idle = hub.idle_workers.borrow().len();
        let mut stats = hub.stacks.borrow().stats();
        // To the pool they are in use; nobody runs on them.
        stats.allocated -= idle;
        stats.idle_warm += idle;
        stats
    }
}

impl HubHandle {
    pub(crate) fn new(shared: HubRef) -> HubHandle {
        HubHandle { shared }
    }

    pub(crate) fn shared(&self) -> &HubShared {
        &self.shared
    }

    /// A number that no other hub of this process has or had.
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// The name given to the hub's thread by [`Hub::thread`]; empty for hubs that were made by first use.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// What it asks the kernel with: gevent's `hub.backend`.
    pub fn poller(&self) -> PollerKind {
        self.shared.poller.kind()
    }

    /// Whether this is the hub of the calling thread.
    pub fn is_current(&self) -> bool {
        self.shared.is_current()
    }

    /// Spawns a greenlet on that hub, from any thread. It starts when the hub comes to it, after what is queued there.
    ///
    /// The closure crosses threads before it starts, hence `Send`; from then on the greenlet stays on that hub. What it
    /// returns may be asked for from here, hence the bounds on `T`.
    ///
    /// # Errors
    /// [`HubGone`] if the hub's thread has ended; the closure is dropped. If the thread ends later but before the
    /// greenlet started, the greenlet ends as if killed.
    ///
    /// ```
    /// use greenlet_core::Hub;
    ///
    /// let worker = Hub::thread("worker").start()?;
    /// let sum = worker.handle().spawn(|| (1..=10).sum::<u32>())?;
    /// assert_eq!(sum.get()?, 55);
    /// worker.shutdown();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Result<Greenlet<T>, HubGone>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + Sync + 'static,
    {
        let greenlet = Greenlet::new_on(self.shared.clone(), Location::caller(), f);
        if greenlet.start_or_refuse() {
            Ok(greenlet)
        } else {
            // Home is gone; the closure is `Send`, so it may be dropped here.
            greenlet.abandon();
            Err(HubGone)
        }
    }
}

impl HubHandle {
    /// Calls `f` in that hub's loop, from any thread: gevent's `run_callback_threadsafe`. A hub that sleeps is woken.
    ///
    /// It must not block: what blocks panics there. What fails goes to the hub's [error handler](Hub::set_error_handler).
    /// Cheaper than [`spawn`](HubHandle::spawn), and without a result.
    ///
    /// # Errors
    /// [`HubGone`] if the hub's thread has ended; `f` is dropped. If it ends later but before the call, `f` is called
    /// or dropped there.
    ///
    /// ```
    /// use greenlet_core::{Event, Hub};
    /// use std::sync::Arc;
    ///
    /// let (hub, called) = (Hub::current(), Arc::new(Event::new()));
    /// std::thread::spawn({
    ///     let called = called.clone();
    ///     move || hub.call(move || called.set())
    /// });
    /// called.wait();
    /// ```
    pub fn call(&self, f: impl FnOnce() + Send + 'static) -> Result<(), HubGone> {
        self.shared.push_call(Box::new(move |_| f())).map_err(|_| HubGone)
    }
}

impl fmt::Debug for HubHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubHandle").field("id", &self.id()).field("name", &self.name()).finish()
    }
}
