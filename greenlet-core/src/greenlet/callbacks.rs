//! Spawn callbacks: who is told of every greenlet that is started.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr::NonNull;
use std::rc::Rc;

use super::GreenletRef;
use super::raw::Header;
use crate::hub::Hub;
use crate::report;

/// The callbacks of a hub.
#[derive(Default)]
pub(crate) struct SpawnCallbacks {
    /// Whether there are any to be called now: all that a spawn without callbacks reads.
    any: Cell<bool>,
    calling: Cell<bool>,
    next: Cell<u64>,
    list: RefCell<Vec<(u64, SpawnCallback)>>,
}

type SpawnCallback = Rc<dyn Fn(&GreenletRef)>;

/// Names a spawn callback, for [`remove_spawn_callback`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpawnCallbackId {
    hub: u64,
    id: u64,
}

impl fmt::Debug for SpawnCallbackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpawnCallbackId({})", self.id)
    }
}

/// Calls `callback` with every greenlet of this thread's hub that is started from now on, from inside
/// [`spawn`](crate::spawn), [`GreenletRef::start`] and [`GreenletRef::start_later`], before it runs. One that is sent or started
/// from another thread is seen when it arrives.
///
/// It runs as a callback of the loop does: it must not block, and there is no current greenlet. It may kill the new greenlet,
/// which then never runs. If it panics, that is reported, and the spawn goes on. Greenlets that a spawn callback spawns, and
/// those in which [links](GreenletRef::link) run, are not announced.
///
/// ```
/// use greenlet_core::{add_spawn_callback, remove_spawn_callback, spawn};
/// use std::{cell::Cell, rc::Rc};
///
/// let spawned = Rc::new(Cell::new(0));
/// let id = add_spawn_callback({
///     let spawned = spawned.clone();
///     move |_| spawned.set(spawned.get() + 1)
/// });
/// spawn(|| ());
/// remove_spawn_callback(id);
/// spawn(|| ());
/// assert_eq!(spawned.get(), 1);
/// ```
#[track_caller]
pub fn add_spawn_callback(callback: impl Fn(&GreenletRef) + 'static) -> SpawnCallbackId {
    let hub = Hub::current_hub();
    let callbacks = &hub.spawn_callbacks;
    let id = callbacks.next.get();
    callbacks.next.set(id + 1);
    callbacks.list.borrow_mut().push((id, Rc::new(callback)));
    callbacks.update();
    SpawnCallbackId { hub: hub.shared.id, id }
}

/// Removes a spawn callback, also from inside one. True if it was there; on another thread than the one that it was added on, it
/// never is.
pub fn remove_spawn_callback(callback: SpawnCallbackId) -> bool {
    let Some(hub) = Hub::try_current().filter(|hub| hub.shared.id == callback.hub) else { return false };
    let callbacks = &hub.spawn_callbacks;
    let mut list = callbacks.list.borrow_mut();
    let found = list.iter().position(|(id, _)| *id == callback.id);
    let removed = found.map(|at| list.remove(at));
    drop(list);
    callbacks.update();
    removed.is_some()
}

impl SpawnCallbacks {
    /// Whether there are any to be called now.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.any.get()
    }

    fn update(&self) {
        self.any.set(!self.calling.get() && !self.list.borrow().is_empty());
    }

    /// The hub ends.
    pub(crate) fn clear(&self) {
        let list = self.list.take();
        self.update();
        report::contain(|| drop(list));
    }
}

impl Hub {
    /// Tells the spawn callbacks of a greenlet that was started just now, and that somebody keeps.
    #[inline]
    pub(crate) fn announce(&self, header: NonNull<Header>) {
        if self.spawn_callbacks.any.get() {
            self.call_spawn_callbacks(header);
        }
    }

    #[cold]
    #[inline(never)]
    fn call_spawn_callbacks(&self, header: NonNull<Header>) {
        let callbacks = &self.spawn_callbacks;
        // SAFETY: the caller knows that it is alive.
        let greenlet = unsafe { GreenletRef::retained(header) };
        let list = callbacks.list.borrow().clone();
        callbacks.calling.set(true);
        callbacks.update();
        self.as_if_in_loop(|| {
            for (id, callback) in list {
                // One may have removed another.
                let removed = !callbacks.list.borrow().iter().any(|(other, _)| *other == id);
                // It is dropped in there too, if it was the last reference.
                if !removed && !report::contain(|| callback(&greenlet)) {
                    report::error(format_args!("a spawn callback panicked"));
                }
                report::contain(|| drop(callback));
            }
        });
        callbacks.calling.set(false);
        callbacks.update();
    }
}
