//! Reports through `tracing`, which run the user's code: a subscriber, and the `Display` of the user's errors.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

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
