//! A value that is made once.
//!
//! # Invariant
//! `value` is written by whoever has the turn, before `ready` is set; from then on it is only read, until somebody has
//! the lock exclusively. One greenlet or thread has the turn at a time: the one whose `Turn` exists, or the waiter that
//! was notified with it.

use std::cell::UnsafeCell;
use std::convert::Infallible;
use std::fmt;
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::hub::Deadline;
use crate::lock::Lock;
use crate::wait::{WaitList, wait};

/// A value that is made once, by whoever needs it first: std's `OnceLock`, cooperative.
///
/// While one greenlet makes the value, which may suspend, the others wait for it. If it panics or is killed on the way, the
/// one that has waited longest makes it.
///
/// It works across hubs and from threads without one. Share it by `Rc` or `Arc`, or in a `static`.
///
/// ```
/// use greenlet_core::sync::OnceLock;
/// use greenlet_core::{sleep, spawn};
/// use std::time::Duration;
///
/// static CONFIG: OnceLock<String> = OnceLock::new();
///
/// fn config() -> &'static str {
///     CONFIG.get_or_init(|| {
///         sleep(Duration::from_millis(1)); // as reading it from somewhere does
///         "verbose".to_owned()
///     })
/// }
///
/// let other = spawn(|| config().len());
/// assert_eq!(config(), "verbose");
/// assert_eq!(other.get().unwrap(), 7);
/// ```
pub struct OnceLock<T> {
    ready: AtomicBool,
    state: Lock<State>,
    value: UnsafeCell<Option<T>>,
}

struct State {
    /// Somebody has the turn.
    taken: bool,
    /// Those who would make the value. Notified with whether it is their turn; if not, the value is there.
    makers: WaitList<bool>,
    /// Those who only wait for it.
    watchers: WaitList<()>,
}

// SAFETY: the value is shared once it is there (`T: Sync`), and written by one thread and taken by another (`T: Send`).
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

// What unwinds leaves no value.
impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}
impl<T: UnwindSafe + RefUnwindSafe> RefUnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// One without a value.
    pub const fn new() -> OnceLock<T> {
        let state = State { taken: false, makers: WaitList::new(), watchers: WaitList::new() };
        OnceLock { ready: AtomicBool::new(false), state: Lock::new(state), value: UnsafeCell::new(None) }
    }

    /// The value, if it is there. Never suspends.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if self.ready.load(Ordering::Acquire) {
            // SAFETY: the value is there and is only read (module docs).
            unsafe { (*self.value.get()).as_ref() }
        } else {
            None
        }
    }

    /// The value, or what `f` makes. Suspends while somebody else makes it.
    ///
    /// If `f` panics, or the greenlet is killed in it, there is still no value, and the next one in line makes it. If
    /// `f` asks for the same value, it waits for itself for ever.
    ///
    /// # Panics
    /// When `f` does.
    #[inline]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        match self.get_or_try_init(|| Ok::<T, Infallible>(f())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// As [`get_or_init`](OnceLock::get_or_init), for an `f` that may fail. Then too the next one in line makes the value.
    ///
    /// # Errors
    /// What `f` returns.
    ///
    /// # Panics
    /// When `f` does.
    #[inline]
    pub fn get_or_try_init<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        self.make(f)
    }

    #[cold]
    fn make<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(turn) = self.turn() {
            let value = f()?;
            turn.finish(value);
        }
        Ok(self.get().expect("who does not get the turn finds the value"))
    }

    /// Waits for the turn. `None`: the value is there.
    fn turn(&self) -> Option<Turn<'_, T>> {
        let mut state = self.state.lock();
        if self.ready.load(Ordering::Relaxed) {
            return None;
        }
        let mine = if state.taken {
            // Without a deadline it does not time out.
            wait("OnceLock", state, |state| &mut state.makers, false, Deadline::Never)
                .unwrap_or_else(|late| late.0)
        } else {
            state.taken = true;
            true
        };
        mine.then_some(Turn { once: self })
    }

    /// Sets the value, unless it is there. Suspends while somebody else makes it.
    ///
    /// # Errors
    /// The value that was not needed.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        if self.get().is_none()
            && let Some(turn) = self.turn()
            && let Some(value) = value.take()
        {
            turn.finish(value);
        }
        value.map_or(Ok(()), Err)
    }

    /// Waits until somebody has made the value. Does not suspend if it is there.
    pub fn wait(&self) -> &T {
        self.wait_until(Deadline::Never).expect("a wait without a deadline ends with the value")
    }

    /// As [`wait`](OnceLock::wait), for at most `timeout`. `None` if there is no value by then.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<&T> {
        self.wait_until(Deadline::After(timeout))
    }

    fn wait_until(&self, deadline: Deadline) -> Option<&T> {
        let state = self.state.lock();
        if !self.ready.load(Ordering::Relaxed) {
            wait("OnceLock", state, |state| &mut state.watchers, (), deadline).ok()?;
        } else {
            drop(state);
        }
        self.get()
    }

    /// The value, if it is there.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut().as_mut()
    }

    /// Takes the value out: it can be made again.
    pub fn take(&mut self) -> Option<T> {
        *self.ready.get_mut() = false;
        self.value.get_mut().take()
    }

    /// The value, if it is there.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

/// The right to make the value. Given on, when it is dropped without one.
struct Turn<'a, T> {
    once: &'a OnceLock<T>,
}

impl<T> Turn<'_, T> {
    fn finish(self, value: T) {
        // SAFETY: this is the one that may write, and nobody reads before `ready` is set (module docs). What is
        // replaced is `None`, so nothing is dropped.
        unsafe { *self.once.value.get() = Some(value) };
        let mut state = self.once.state.lock();
        self.once.ready.store(true, Ordering::Release);
        state.taken = false;
        let makers = state.makers.notify_all();
        let watchers = state.watchers.notify_all();
        drop(state);
        makers.wake();
        watchers.wake();
        mem::forget(self);
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let mut state = self.once.state.lock();
        let next = state.makers.notify_first(|mine| *mine = true);
        state.taken = next.is_some();
        drop(state);
        if let Some(((), wakeup)) = next {
            wakeup.wake();
        }
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> OnceLock<T> {
        let once = OnceLock::new();
        let _ = once.set(value);
        once
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => f.field(value),
            None => f.field(&format_args!("<no value>")),
        };
        f.finish()
    }
}
