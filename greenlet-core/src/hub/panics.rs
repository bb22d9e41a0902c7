//! What the hub must know of panics: where they began, and that a hook runs.
//!
//! std counts panics per thread, not per greenlet, so `thread::panicking()` is true for everybody while one greenlet is
//! suspended in the middle of unwinding. Nothing may be raised in a greenlet that unwinds (a second panic in a
//! destructor aborts the process), so the hub keeps marks of its own: an unwinding is marked where it begins (a raise,
//! or the panic hook) and unmarked where this crate catches it.
//!
//! What the marks cannot see: an unwinding that the user's code starts with `resume_unwind`, or a panic after somebody
//! replaced the hook. Only while *another* greenlet of the thread is suspended in mid-unwind does that matter: a kill that
//! reaches a destructor of such an unwinding then aborts the process.
//!
//! A panic hook must not suspend: std holds a lock meanwhile, and a panic of another greenlet would abort. While a hook
//! runs, the thread counts as one without a hub, so whatever blocks blocks the thread.

use std::fmt;
use std::panic;
use std::sync::Once;

use super::Hub;

/// Chains a hook to the current one, once per process.
pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    if std::thread::panicking() {
        return; // the hook cannot be changed now; the next hub does it
    }
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| match Hub::try_current() {
            None => previous(info),
            Some(hub) => {
                unwinding_begins();
                if let Some(place) = info.location() {
                    hub.note_panic_place(place.to_string());
                }
                let current = hub.current.take();
                hub.in_panic_hook.set(true);
                previous(info);
                hub.in_panic_hook.set(false);
                hub.current.set(current);
            }
        }));
    });
}

impl Hub {
    fn current_id(&self) -> Option<u64> {
        // SAFETY: the running greenlet is alive.
        self.current_greenlet().map(|current| unsafe { current.as_ref() }.id)
    }

    fn note_panic_place(&self, place: String) {
        if let Some(id) = self.current_id() {
            let mut places = self.panic_places.borrow_mut();
            places.retain(|(other, _)| *other != id);
            places.push((id, place));
        }
    }
}

/// The current greenlet is about to unwind again from a panic that began there.
pub(crate) fn put_panic_place(place: String) {
    if let Some(hub) = Hub::try_current() {
        hub.note_panic_place(place);
    }
}

/// Where the panic began that the current greenlet unwinds, or just unwound, from.
pub(crate) fn take_panic_place() -> Option<String> {
    let hub = Hub::try_current()?;
    let id = hub.current_id()?;
    let mut places = hub.panic_places.borrow_mut();
    let at = places.iter().position(|(other, _)| *other == id)?;
    Some(places.swap_remove(at).1)
}

/// The current greenlet starts to unwind.
pub(crate) fn unwinding_begins() {
    change_marks(|marks| marks + 1);
}

/// An unwinding of the current greenlet was caught.
pub(crate) fn unwinding_ended() {
    change_marks(|marks| marks.saturating_sub(1));
}

/// How many unwindings of the current greenlet are under way, as far as the marks tell.
pub(crate) fn unwindings() -> u32 {
    let current = Hub::try_current().and_then(Hub::current_greenlet);
    // SAFETY: the running greenlet is alive.
    current.map_or(0, |current| unsafe { current.as_ref() }.local.unwind_marks.get())
}

fn change_marks(change: impl FnOnce(u32) -> u32) {
    if let Some(current) = Hub::try_current().and_then(Hub::current_greenlet) {
        // SAFETY: the running greenlet is alive.
        let marks = unsafe { &current.as_ref().local.unwind_marks };
        marks.set(change(marks.get()));
    }
}

/// Names the greenlet that runs on this thread, for the report of a stack overflow. Async-signal-safe: it reads and
/// formats, no more.
pub(super) fn describe_current(out: &mut dyn fmt::Write) {
    let current = Hub::try_current().and_then(Hub::current_greenlet);
    let _ = match current {
        Some(header) => {
            // SAFETY: the running greenlet is alive.
            let greenlet = unsafe { header.as_ref() };
            greenlet.describe_in_signal(out).and_then(|()| write!(out, ", spawned at {},", greenlet.site))
        }
        None => out.write_str("the hub's loop"),
    };
}
