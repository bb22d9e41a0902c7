//! Callbacks of the hub's loop, for authors of integrations: gevent's `hub.loop`.
//!
//! Programs use greenlets. A watcher is for code that has to react without one, such as the binding of a library with
//! callbacks of its own.
//!
//! | | calls back |
//! |---|---|
//! | [`run_callback`] | once, soon |
//! | [`HubHandle::call`](crate::HubHandle::call) | once, soon, asked from any thread |
//! | [`Timer`] | after a while, and again |
//! | [`Io`] | while a descriptor is ready |
//! | [`Async`] | when told to, from any thread |
//! | [`Child`], [`wait_child`] | when a child process has ended |
//!
//! # Rules for callbacks
//! - They run in the loop, on its own stack, one after the other, in the order of what caused them, between greenlets. They must not
//!   wait for anything: every call that would block panics there instead. Spawning, setting events and putting without waiting are
//!   fine.
//! - A panic, or an error that is raised in one, goes to the hub's [error handler](crate::Hub::set_error_handler). The watcher goes
//!   on, and so do the callbacks behind it.
//! - A watcher belongs to the thread that made it. Dropping it stops it, also from inside its own callback: then what was about
//!   to be called is not called any more.
//! - An active watcher *counts*: [`Hub::join`](crate::Hub::join) waits for it, and no [`LoopExit`](crate::LoopExit) is raised.
//!   `uncounted` makes one that does not, gevent's `ref=False`.

mod asynchronous;
mod callback;
mod child;
mod io;
mod timer;

use std::cell::{Cell, RefCell};
use std::panic::Location;

pub(crate) use asynchronous::Asyncs;
pub use asynchronous::{Async, AsyncSender};
pub use callback::{CallbackHandle, run_callback};
pub use child::{Child, collect_child, wait_child};
pub use io::Io;
pub(crate) use io::WatchedFds;
pub use timer::Timer;

use crate::hub::{ErrorContext, Hub};

/// What all watchers have.
struct Core {
    kind: &'static str,
    made_at: &'static Location<'static>,
    /// Taken out while it is called.
    callback: RefCell<Option<Box<dyn FnMut()>>>,
    active: Cell<bool>,
    counts: Cell<bool>,
    /// Of which start what comes in is: what an earlier one left in the queue is void.
    start: Cell<u64>,
}

impl Core {
    fn new(
        kind: &'static str,
        made_at: &'static Location<'static>,
        callback: impl FnMut() + 'static,
    ) -> Core {
        Core {
            kind,
            made_at,
            callback: RefCell::new(Some(Box::new(callback))),
            active: Cell::new(false),
            counts: Cell::new(true),
            start: Cell::new(0),
        }
    }

    /// Begins anew. Returns what tells the events of this start.
    fn activate(&self, hub: &Hub) -> u64 {
        if !self.active.replace(true) && self.counts.get() {
            hub.count();
        }
        self.start.set(self.start.get() + 1);
        self.start.get()
    }

    /// From now on nothing is called. The hub is gone for a watcher in a thread-local that outlives it.
    fn deactivate(&self, hub: Option<&Hub>) {
        self.start.set(self.start.get() + 1);
        if self.active.replace(false)
            && self.counts.get()
            && let Some(hub) = hub
        {
            hub.discount();
        }
    }

    /// True if it counted until now.
    fn stop_counting(&self, hub: &Hub) -> bool {
        let counted = self.counts.replace(false);
        if counted && self.active.get() {
            hub.discount();
        }
        counted
    }

    /// Whether an event of that start still means something.
    fn is_current(&self, start: u64) -> bool {
        self.active.get() && self.start.get() == start
    }

    fn call(&self, hub: &Hub) {
        let Some(mut callback) = self.callback.take() else { return };
        let context = || ErrorContext::Watcher { kind: self.kind, made_at: self.made_at };
        hub.contain(context, &mut callback);
        *self.callback.borrow_mut() = Some(callback);
    }
}

/// `Debug` of a watcher.
macro_rules! debug {
    ($watcher:ty, $name:literal) => {
        impl std::fmt::Debug for $watcher {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let core = &self.state.core;
                f.debug_struct($name)
                    .field("active", &core.active.get())
                    .field("made_at", &format_args!("{}", core.made_at))
                    .finish_non_exhaustive()
            }
        }
    };
}
use debug;
