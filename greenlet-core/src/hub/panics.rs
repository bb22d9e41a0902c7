//! What the hub must know of panics: where they began, and that a hook runs.
//!
//! std counts panics per thread, not per greenlet, so `thread::panicking()` is true for everybody while one greenlet is
//! suspended in the middle of unwinding. Nothing may be raised in a greenlet that unwinds (a second panic in a
//! destructor aborts the process), so the hub keeps marks of its own: an unwinding is marked where it begins (a raise,
//! or the panic hook) and unmarked where this crate catches it.
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
                hub.panic_place.set(info.location().map(ToString::to_string));
                let current = hub.current.take();
                hub.in_panic_hook.set(true);
                previous(info);
                hub.in_panic_hook.set(false);
                hub.current.set(current);
            }
        }));
    });
}

/// Where the panic that was caught last on this thread began.
pub(crate) fn take_panic_place() -> Option<String> {
    Hub::try_current()?.panic_place.take()
}

/// The current greenlet starts to unwind.
pub(crate) fn unwinding_begins() {
    change_marks(|marks| marks + 1);
}

/// An unwinding of the current greenlet was caught.
pub(crate) fn unwinding_ended() {
    change_marks(|marks| marks.saturating_sub(1));
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
        // SAFETY: the running greenlet is alive.
        Some(header) => unsafe { header.as_ref() }.describe(out),
        None => out.write_str("the hub's loop"),
    };
}
