//! A call in the loop, soon.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use crate::hub::Hub;

type Slot = Rc<Cell<Option<Box<dyn FnOnce()>>>>;

/// A call that is to come: see [`run_callback`]. Dropping the handle does not stop it.
#[derive(Clone)]
pub struct CallbackHandle(Slot);

/// Calls `f` in the loop of this thread's hub, after everything that is ready now: gevent's `loop.run_callback`.
///
/// `f` must not block: see the [rules](crate::watcher#rules-for-callbacks). From another thread, use
/// [`HubHandle::call`](crate::HubHandle::call).
///
/// ```
/// use greenlet_core::watcher::run_callback;
/// use greenlet_core::yield_now;
/// use std::{cell::Cell, rc::Rc};
///
/// let called = Rc::new(Cell::new(false));
/// let setter = called.clone();
/// let handle = run_callback(move || setter.set(true));
/// assert!(handle.pending());
/// yield_now();
/// assert!(called.get() && !handle.pending());
/// ```
pub fn run_callback(f: impl FnOnce() + 'static) -> CallbackHandle {
    let slot: Slot = Rc::new(Cell::new(Some(Box::new(f))));
    let queued = slot.clone();
    Hub::current_hub().call_soon(Box::new(move |_| {
        if let Some(f) = queued.take() {
            f();
        }
    }));
    CallbackHandle(slot)
}

impl CallbackHandle {
    /// Takes it back. True if that was in time: it has not been called, and never is.
    pub fn stop(&self) -> bool {
        self.0.take().is_some()
    }

    /// Whether it is still to come. False already while it runs.
    pub fn pending(&self) -> bool {
        let callback = self.0.take();
        let pending = callback.is_some();
        self.0.set(callback);
        pending
    }
}

impl fmt::Debug for CallbackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackHandle").field("pending", &self.pending()).finish()
    }
}
