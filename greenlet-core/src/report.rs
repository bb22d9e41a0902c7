//! Reports through `tracing`, which run the user's code: a subscriber, and the `Display` of the user's errors.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::raise::Raised;

/// Reports an error. A panic of the subscriber, or of a `Display`, goes no further: whoever reports has work to finish.
pub(crate) fn error(message: fmt::Arguments<'_>) {
    contain(|| tracing::error!(target: "greenlet", "{message}"));
}

/// Runs code of the user's that must not unwind into ours. False if it tried.
pub(crate) fn contain(f: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(()) => true,
        Err(payload) => {
            crate::hub::unwinding_ended();
            // A payload may panic when it is dropped; it is not worth a second containment.
            std::mem::forget(payload);
            false
        }
    }
}

/// Drops something of the user's that must not unwind into ours.
///
/// The destructor runs in whoever happens to drop the last reference. What is raised in that greenlet meanwhile, a kill or a
/// timeout, is meant for it and not for what is dropped: it comes again at its next suspension point. The rest is reported.
pub(crate) fn contain_drop(what: &str, drop: impl FnOnce()) {
    contain_for(format_args!("dropping {what}"), drop);
}

/// As [`contain_drop`], for something else than a destructor.
pub(crate) fn contain_for(what: fmt::Arguments<'_>, f: impl FnOnce()) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else { return };
    crate::hub::unwinding_ended();
    match payload.downcast::<Raised>() {
        Ok(raised) if crate::hub::raise_again(&raised) => {}
        Ok(raised) => error(format_args!("{what} raised: {raised}")),
        Err(payload) => {
            // As in `contain`.
            std::mem::forget(payload);
            error(format_args!("{what} panicked"));
        }
    }
}
