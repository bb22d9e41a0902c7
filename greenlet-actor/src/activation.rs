//! An actor that has something to do, and the right to run it.
//!
//! # Invariants
//! - There is one for each actor at a time: it is made by who becomes the owner of the mailbox (see `mailbox`), and is used up when that one
//!   gives the mailbox up, or ends the actor.
//! - An actor that has not ended is kept by its hub's list (`Part::keep`), and nobody but the owner ends it. So an activation, which is made and
//!   dropped with every message, need not count itself. Who ends the actor counts it first.
//! - The pointer is that of an `Arc`.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::cell::{After, AnyCell};
use crate::life::Life;
use crate::run::Runner;

#[must_use = "an actor whose activation is dropped never runs again, and never ends"]
pub(crate) struct Activation(NonNull<dyn AnyCell>);

// SAFETY: cells are `Send` and `Sync`, and are as good on another thread.
unsafe impl Send for Activation {}

impl Activation {
    /// The caller has become the owner of the mailbox of an actor that has not ended, and hands that over with this.
    #[inline]
    pub(crate) fn of(cell: &Arc<dyn AnyCell>) -> Activation {
        Activation::at(Arc::as_ptr(cell))
    }

    /// As [`of`](Activation::of), by the pointer of the `Arc`.
    #[inline]
    pub(crate) fn at(cell: *const dyn AnyCell) -> Activation {
        // SAFETY: what an `Arc` points to is somewhere.
        Activation(unsafe { NonNull::new_unchecked(cell.cast_mut()) })
    }

    #[inline]
    pub(crate) fn life(&self) -> &Life {
        // SAFETY: the actor has not ended, so it is kept (invariants).
        unsafe { self.0.as_ref() }.life()
    }

    /// The pointer of the `Arc`.
    #[inline]
    pub(crate) fn pointer(&self) -> NonNull<dyn AnyCell> {
        self.0
    }

    /// The actor, counted.
    pub(crate) fn counted(&self) -> Arc<dyn AnyCell> {
        // SAFETY: the pointer is that of an `Arc`, and the actor is kept (invariants).
        unsafe {
            Arc::increment_strong_count(self.0.as_ptr());
            Arc::from_raw(self.0.as_ptr())
        }
    }

    /// Runs the actor for a while.
    #[inline]
    pub(crate) fn run(self, runner: &Runner) -> After {
        // SAFETY: the actor is kept as long as it has not ended. Who has given it up does not touch it any more, so it does not matter if somebody else ends it
        // before this returns: to the compiler, a reference to what has cells in it does not promise that it stays there. If this ends it, it comes back counted.
        unsafe { self.0.as_ref() }.activate(self, runner)
    }

    /// See [`AnyCell::abandon`].
    pub(crate) fn abandon(self) {
        self.counted().abandon();
    }
}
