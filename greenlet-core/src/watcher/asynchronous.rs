//! Calls that other threads ask for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Core, debug};
use crate::hub::{Hub, HubGone, HubRef};

/// Calls back when it is told to, from any thread: gevent's `loop.async_`. Dropping it stops it.
///
/// Many [`send`](AsyncSender::send)s before the callback is called are one call. After each of them the callback is called at
/// least once.
///
/// ```
/// use greenlet_core::watcher::Async;
/// use greenlet_core::Event;
/// use std::rc::Rc;
///
/// let told = Rc::new(Event::new());
/// let watcher = Async::new({
///     let told = told.clone();
///     move || told.set()
/// });
/// let sender = watcher.sender();
/// std::thread::spawn(move || sender.send());
/// told.wait();
/// ```
#[must_use = "dropping a watcher stops it"]
pub struct Async {
    state: Rc<State>,
}

struct State {
    core: Core,
    shared: Arc<Shared>,
}

struct Shared {
    id: u64,
    hub: HubRef,
    /// A call is on its way.
    pending: AtomicBool,
    /// Counts stops: what was sent before one is void.
    stops: AtomicU64,
}

/// Lets an [`Async`] call back. Cheap to clone.
#[derive(Clone)]
pub struct AsyncSender(Arc<Shared>);

/// The active ones of a hub, by id.
#[derive(Default)]
pub(crate) struct Asyncs(RefCell<HashMap<u64, Rc<State>>>);

impl Asyncs {
    /// The hub ends. What is left is dropped by the caller: it has the user's callbacks.
    pub(crate) fn clear(&self) -> impl Sized + use<> {
        self.0.take()
    }
}

impl Async {
    /// Calls `f` for what is sent, from now on.
    #[track_caller]
    pub fn new(f: impl FnMut() + 'static) -> Async {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let hub = Hub::current_hub();
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared {
            id,
            hub: hub.shared.clone(),
            pending: AtomicBool::new(false),
            stops: AtomicU64::new(0),
        });
        let core = Core::new("async", Location::caller(), f);
        let watcher = Async { state: Rc::new(State { core, shared }) };
        watcher.start();
        watcher
    }

    /// What lets it call, for other threads.
    pub fn sender(&self) -> AsyncSender {
        AsyncSender(self.state.shared.clone())
    }

    /// Begins again after [`stop`](Async::stop). Does nothing if it is active.
    pub fn start(&self) {
        if !self.active() {
            let hub = Hub::current_hub();
            hub.asyncs.0.borrow_mut().insert(self.state.shared.id, self.state.clone());
            self.state.core.activate(hub);
        }
    }

    /// Stops it. What was sent and not called is forgotten.
    pub fn stop(&self) {
        let hub = Hub::try_current();
        self.state.core.deactivate(hub);
        self.state.shared.stops.fetch_add(1, Ordering::AcqRel);
        self.state.shared.pending.store(false, Ordering::Release);
        if let Some(hub) = hub {
            hub.asyncs.0.borrow_mut().remove(&self.state.shared.id);
        }
    }

    /// Whether it may call.
    pub fn active(&self) -> bool {
        self.state.core.active.get()
    }

    /// Whether a call is on its way.
    pub fn pending(&self) -> bool {
        self.state.shared.pending.load(Ordering::Acquire)
    }

    /// Keeps nothing alive: see the [module](crate::watcher#rules-for-callbacks).
    pub fn uncounted(self) -> Async {
        self.state.core.stop_counting(Hub::current_hub());
        self
    }
}

impl Drop for Async {
    fn drop(&mut self) {
        self.stop();
    }
}

debug!(Async, "Async");

impl AsyncSender {
    /// Lets the watcher's hub call it soon. Never blocks. Nothing happens if the watcher is stopped.
    ///
    /// # Errors
    /// [`HubGone`] if the watcher's thread has ended.
    pub fn send(&self) -> Result<(), HubGone> {
        if self.0.pending.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let shared = self.0.clone();
        let stops = shared.stops.load(Ordering::Acquire);
        let arrive = move |hub: &Hub| {
            if shared.stops.load(Ordering::Acquire) != stops {
                return;
            }
            // Before the call: what is sent from now on is another one.
            shared.pending.swap(false, Ordering::AcqRel);
            let state = hub.asyncs.0.borrow().get(&shared.id).cloned();
            if let Some(state) = state {
                state.core.call(hub);
            }
        };
        match Hub::try_current() {
            Some(hub) if self.0.hub.is_current() => {
                hub.call_soon(Box::new(arrive));
                Ok(())
            }
            _ => self.0.hub.push_call(Box::new(arrive)).map_err(|_| {
                self.0.pending.store(false, Ordering::Release);
                HubGone
            }),
        }
    }
}

impl fmt::Debug for AsyncSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncSender").field("hub", &self.0.hub.id).finish_non_exhaustive()
    }
}
