//! A value for one at a time.
//!
//! # Invariant
//! The one permit of `permit` is with the guard that exists, or on its way to the waiter that was notified with it. So at
//! most one guard exists, and only a guard gives the permit back.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;

use super::Semaphore;
use crate::hub::{Context, context};

/// A value that one greenlet, or thread, has at a time: std's `Mutex`, cooperative and fair.
///
/// It may be held across suspensions. Unlocking hands it straight to whoever has waited longest. Locking it twice in one
/// greenlet waits for ever. Poison, and what a kill means for it, is described in the
/// [module's documentation](super#poison).
///
/// It works across hubs and from threads without one. Share it by `Rc` or `Arc`.
///
/// ```
/// use greenlet_core::sync::Mutex;
/// use greenlet_core::{joinall, spawn, yield_now};
/// use std::rc::Rc;
///
/// let total = Rc::new(Mutex::new(0));
/// let jobs: Vec<_> = (0..10)
///     .map(|_| {
///         let total = total.clone();
///         spawn(move || {
///             let mut total = total.lock().unwrap();
///             let before = *total;
///             yield_now(); // others run, and wait for the lock
///             *total = before + 1;
///         })
///     })
///     .collect();
/// joinall(&jobs);
/// assert_eq!(*total.lock().unwrap(), 10);
/// ```
pub struct Mutex<T: ?Sized> {
    permit: Semaphore,
    poison: Poison,
    value: UnsafeCell<T>,
}

// SAFETY: the value is only reached through the one guard (module docs), so sharing the mutex hands the value from
// thread to thread: `T: Send`.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

// What an unwinding left half done is poisoned.
impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    /// A mutex that is not locked.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { permit: Semaphore::new(1), poison: Poison::new(), value: UnsafeCell::new(value) }
    }

    /// The value.
    ///
    /// # Errors
    /// [`PoisonError`] with the value, if the mutex is poisoned.
    pub fn into_inner(self) -> LockResult<T> {
        let poisoned = self.poison.get();
        or_poisoned(self.value.into_inner(), poisoned)
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks it, waiting while it is locked. Does not suspend if it is not.
    ///
    /// Who is killed meanwhile does not have it.
    ///
    /// # Errors
    /// [`PoisonError`] with the guard, if the mutex is poisoned.
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.permit.acquire();
        self.guard()
    }

    /// Locks it if it is not locked. Never suspends.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] if it is locked, [`TryLockError::Poisoned`] with the guard as [`lock`](Mutex::lock).
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.permit.try_acquire() { Ok(self.guard()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// As [`lock`](Mutex::lock), waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] if it was locked all the time, [`TryLockError::Poisoned`] with the guard as `lock`.
    #[inline]
    pub fn lock_timeout(&self, timeout: Duration) -> TryLockResult<MutexGuard<'_, T>> {
        if self.permit.acquire_timeout(timeout) { Ok(self.guard()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Caller: has just acquired the permit, and leaves it to the guard.
    #[inline]
    fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        let guard = MutexGuard { mutex: self, unwinding: unwinding(), at_home: PhantomData };
        or_poisoned(guard, self.poison.get())
    }

    /// Whether a greenlet, or thread, was unwound while it held the lock.
    pub fn is_poisoned(&self) -> bool {
        self.poison.get()
    }

    /// Takes the poison out: the value is whole again.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value, without locking: nobody else can have it.
    ///
    /// # Errors
    /// [`PoisonError`] with the value, if the mutex is poisoned.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let poisoned = self.poison.get();
        or_poisoned(self.value.get_mut(), poisoned)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Mutex");
        match self.try_lock() {
            Ok(value) => f.field("value", &&*value),
            Err(TryLockError::Poisoned(poisoned)) => f.field("value", &&**poisoned.get_ref()),
            Err(TryLockError::WouldBlock) => f.field("value", &format_args!("<locked>")),
        };
        f.field("poisoned", &self.is_poisoned()).finish()
    }
}

/// The value of a locked [`Mutex`]; unlocks it when it is dropped.
///
/// Dropping it never suspends. It stays on its thread.
#[must_use = "the mutex is unlocked at once if the guard is not kept"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// Whether its greenlet was unwinding when it locked.
    unwinding: bool,
    at_home: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The mutex that it holds.
    pub(super) fn mutex(guard: &MutexGuard<'a, T>) -> &'a Mutex<T> {
        guard.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this is the only guard (module docs).
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.poison.note(self.unwinding);
        self.mutex.permit.release();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

// --- poison -------------------------------------------------------------------------------------------------------

/// Whether somebody was unwound in a critical section. The lock around it orders the accesses.
pub(super) struct Poison(AtomicBool);

impl Poison {
    pub(super) const fn new() -> Poison {
        Poison(AtomicBool::new(false))
    }

    #[inline]
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// A guard is dropped whose greenlet was unwinding, or not, when it was made.
    #[inline]
    pub(super) fn note(&self, unwinding_before: bool) {
        if !unwinding_before && unwinding() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether the current greenlet, or thread without a hub, unwinds. `panicking` alone speaks of the thread: it is true for
/// everybody while one greenlet is suspended in the middle of unwinding.
#[inline]
pub(super) fn unwinding() -> bool {
    std::thread::panicking() && unwinding_itself()
}

#[cold]
#[inline(never)]
fn unwinding_itself() -> bool {
    match context() {
        Context::Greenlet(hub, current) => hub.is_unwinding(current),
        Context::Loop | Context::Thread => true,
    }
}

#[inline]
pub(super) fn or_poisoned<G>(guard: G, poisoned: bool) -> LockResult<G> {
    if poisoned { Err(PoisonError::new(guard)) } else { Ok(guard) }
}
