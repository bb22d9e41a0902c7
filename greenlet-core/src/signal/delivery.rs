//! From the kernel's handler to a hub: a signal is one more thing that arrives in the hub's inbox.
//!
//! Each watch has a [`Slot`] that is allocated beforehand. The handler pushes its link into the inbox, which takes no lock
//! and allocates nothing; one that is on its way already is not pushed again. So signals of one kind that come before the
//! hub has looked are one, as the kernel itself has it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::SignalError;
use super::kernel::Registration;
use crate::hub::{Hub, HubRef, Link, LinkKind};
use crate::report;

/// What the kernel's handler knows of one watch.
#[repr(C)]
pub(crate) struct Slot {
    /// First: the inbox hands out pointers to it.
    link: Link,
    /// Whether `link` is in an inbox; then the inbox has a count of this.
    on_its_way: AtomicBool,
    watch: u64,
    hub: HubRef,
}

impl Slot {
    /// The link to be pushed, with a count of the slot; `None` if it is on its way. Called by the kernel's handler.
    pub(crate) fn put_on_its_way(this: &Arc<Slot>) -> Option<NonNull<Link>> {
        if this.on_its_way.swap(true, Ordering::AcqRel) {
            return None;
        }
        NonNull::new(Arc::into_raw(this.clone()).cast_mut().cast())
    }

    /// The slot of a link that came out of the inbox, or did not get in.
    ///
    /// # Safety
    /// The link comes from `put_on_its_way`, and is given back once.
    pub(crate) unsafe fn arrived(link: NonNull<Link>) -> Arc<Slot> {
        // SAFETY: the link is the first field of a slot, and the pointer to it was made from an `Arc` that was leaked for this.
        let slot = unsafe { Arc::from_raw(link.cast::<Slot>().as_ptr().cast_const()) };
        // A delivery after this is a new one, a delivery before it is this one.
        slot.on_its_way.swap(false, Ordering::AcqRel);
        slot
    }

    /// The kernel's handler.
    pub(super) fn deliver(this: &Arc<Slot>) {
        this.hub.push_signal(this);
    }
}

/// What a hub does about signals.
#[derive(Default)]
pub(crate) struct Watches {
    by_id: RefCell<BTreeMap<u64, Kept>>,
    next: Cell<u64>,
}

/// Runs in the loop.
type Action = Rc<dyn Fn(&Hub)>;

struct Kept {
    /// Dropped first: nothing arrives any more.
    _registration: Registration,
    action: Action,
}

impl Watches {
    /// At the end of the hub.
    pub(crate) fn clear(&self) {
        let all = self.by_id.take();
        report::contain(|| drop(all));
    }

    fn action(&self, id: u64) -> Option<Action> {
        self.by_id.borrow().get(&id).map(|kept| kept.action.clone())
    }
}

impl Hub {
    /// Queues what is to be done.
    pub(crate) fn signal_arrived(&self, slot: &Slot) {
        let id = slot.watch;
        self.call_soon(Box::new(move |hub| {
            // It may have been cancelled meanwhile.
            if let Some(action) = hub.signals.action(id) {
                action(hub);
            }
        }));
    }
}

/// A signal that this thread's hub watches. Dropping it changes nothing: see [`cancel`](Watch::cancel).
pub(super) struct Watch {
    pub(super) signal: c_int,
    id: u64,
    /// It is for the hub's thread only.
    _home: PhantomData<Rc<()>>,
}

impl Watch {
    /// Lets this thread's hub, made if there is none yet, call `action` in its loop when the signal has come.
    #[track_caller]
    pub(super) fn start(signal: c_int, action: impl Fn(&Hub) + 'static) -> Result<Watch, SignalError> {
        Watch::filtered(signal, |_| true, action)
    }

    /// As `start`. `wanted` is asked in the kernel's handler whether to go on; it must be async-signal-safe.
    #[track_caller]
    pub(super) fn filtered(
        signal: c_int,
        wanted: impl Fn(c_int) -> bool + Send + Sync + 'static,
        action: impl Fn(&Hub) + 'static,
    ) -> Result<Watch, SignalError> {
        let hub = Hub::current_hub();
        let id = hub.signals.next.get();
        hub.signals.next.set(id + 1);
        let slot = Arc::new(Slot {
            link: Link::new(LinkKind::Signal),
            on_its_way: AtomicBool::new(false),
            watch: id,
            hub: hub.shared.clone(),
        });
        // SAFETY: `deliver` touches atomics and writes to a descriptor; it owns a count of the slot, so none is the last there.
        // `wanted` is one of ours, and keeps to its rule.
        let registration = unsafe {
            Registration::new(signal, move || {
                if wanted(signal) {
                    Slot::deliver(&slot);
                }
            })?
        };
        let kept = Kept { action: Rc::new(action), _registration: registration };
        hub.signals.by_id.borrow_mut().insert(id, kept);
        Ok(Watch { signal, id, _home: PhantomData })
    }

    /// From now on nothing is called, even if the signal has come already. If the hub has ended, nothing is left to do.
    pub(super) fn cancel(&self) {
        if let Some(hub) = Hub::try_current() {
            let kept = hub.signals.by_id.borrow_mut().remove(&self.id);
            // It owns data of the user's.
            drop(kept);
        }
    }

    pub(super) fn is_active(&self) -> bool {
        Hub::try_current().is_some_and(|hub| hub.signals.by_id.borrow().contains_key(&self.id))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("signal", &self.signal).finish_non_exhaustive()
    }
}
