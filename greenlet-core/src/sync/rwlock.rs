//! A value for one writer or many readers at a time.
//!
//! # Invariants
//! - `writer` is set while a write guard exists or is on its way to the waiter that was notified with it; `readers` counts
//!   read guards likewise. If `writer` is set, `readers` is 0. Only guards take these back.
//! - The first group of the line has waiters and cannot be admitted, except between a waiter's giving up and its
//!   [`Left`], which is on the same thread without a suspension between them.
//! - A group with waiters stays where it is: its number finds it as long as a node is linked there.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, TryLockError, TryLockResult};
use std::time::Duration;

use super::mutex::{Poison, or_poisoned, unwinding};
use crate::hub::Deadline;
use crate::lock::Lock;
use crate::wait::{WaitList, Wakeups, wait};

/// A value that one writer, or any number of readers, have at a time: std's `RwLock`, cooperative and fair.
///
/// Readers and writers are admitted in the order in which they came; readers in a row together. So a reader waits behind
/// a writer that waits, and a greenlet that reads must not read again: with a writer between them, both wait for ever.
/// It may be held across suspensions. Writers poison it, readers do not; see the [module's documentation](super#poison).
///
/// It works across hubs and from threads without one. Share it by `Rc` or `Arc`.
///
/// ```
/// use greenlet_core::sync::RwLock;
/// use greenlet_core::{spawn, yield_now};
/// use std::rc::Rc;
///
/// let routes = Rc::new(RwLock::new(vec!["/"]));
/// let reader = spawn({
///     let routes = routes.clone();
///     move || {
///         let routes = routes.read().unwrap();
///         yield_now(); // nobody changes them meanwhile
///         routes.len()
///     }
/// });
/// yield_now();
/// assert!(routes.try_read().is_ok());
/// routes.write().unwrap().push("/about"); // waits for the reader
/// assert_eq!(reader.get()?, 1);
/// assert_eq!(*routes.read().unwrap(), ["/", "/about"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RwLock<T: ?Sized> {
    gate: Gate,
    poison: Poison,
    value: UnsafeCell<T>,
}

// SAFETY: readers share the value (`T: Sync`), a writer hands it from thread to thread (`T: Send`).
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

// What an unwinding left half done is poisoned.
impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

impl<T> RwLock<T> {
    /// A lock that is free.
    pub const fn new(value: T) -> RwLock<T> {
        RwLock { gate: Gate::new(), poison: Poison::new(), value: UnsafeCell::new(value) }
    }

    /// The value.
    ///
    /// # Errors
    /// [`PoisonError`](std::sync::PoisonError) with the value, if the lock is poisoned.
    pub fn into_inner(self) -> LockResult<T> {
        let poisoned = self.poison.get();
        or_poisoned(self.value.into_inner(), poisoned)
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks it for reading, waiting while it is written or somebody waits. Does not suspend otherwise.
    ///
    /// Who is killed meanwhile does not have it.
    ///
    /// # Errors
    /// [`PoisonError`](std::sync::PoisonError) with the guard, if the lock is poisoned.
    #[inline]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.gate.enter(Access::Read, Some(Deadline::Never));
        self.read_guard()
    }

    /// Locks it for reading if that needs no waiting. Never suspends.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] if it is written or somebody waits, [`TryLockError::Poisoned`] with the guard as
    /// [`read`](RwLock::read).
    #[inline]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        if self.gate.enter(Access::Read, None) {
            Ok(self.read_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// As [`read`](RwLock::read), waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] if its turn did not come in time, [`TryLockError::Poisoned`] with the guard as `read`.
    pub fn read_timeout(&self, timeout: Duration) -> TryLockResult<RwLockReadGuard<'_, T>> {
        if self.gate.enter(Access::Read, Some(Deadline::After(timeout))) {
            Ok(self.read_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// Locks it for writing, waiting while it is locked or somebody waits. Does not suspend otherwise.
    ///
    /// Who is killed meanwhile does not have it, and those behind it go on.
    ///
    /// # Errors
    /// [`PoisonError`](std::sync::PoisonError) with the guard, if the lock is poisoned.
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.gate.enter(Access::Write, Some(Deadline::Never));
        self.write_guard()
    }

    /// Locks it for writing if that needs no waiting. Never suspends.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] if it is locked or somebody waits, [`TryLockError::Poisoned`] with the guard as
    /// [`write`](RwLock::write).
    #[inline]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        if self.gate.enter(Access::Write, None) {
            Ok(self.write_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// As [`write`](RwLock::write), waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] if its turn did not come in time, [`TryLockError::Poisoned`] with the guard as
    /// `write`.
    pub fn write_timeout(&self, timeout: Duration) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        if self.gate.enter(Access::Write, Some(Deadline::After(timeout))) {
            Ok(self.write_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// Caller: was admitted for reading, and leaves that to the guard.
    #[inline]
    fn read_guard(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        or_poisoned(RwLockReadGuard { lock: self, at_home: PhantomData }, self.poison.get())
    }

    /// Caller: was admitted for writing, and leaves that to the guard.
    #[inline]
    fn write_guard(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        let guard = RwLockWriteGuard { lock: self, unwinding: unwinding(), at_home: PhantomData };
        or_poisoned(guard, self.poison.get())
    }

    /// Whether a greenlet, or thread, was unwound while it held the lock for writing.
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
    /// [`PoisonError`](std::sync::PoisonError) with the value, if the lock is poisoned.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let poisoned = self.poison.get();
        or_poisoned(self.value.get_mut(), poisoned)
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("RwLock");
        match self.try_read() {
            Ok(value) => f.field("value", &&*value),
            Err(TryLockError::Poisoned(poisoned)) => f.field("value", &&**poisoned.get_ref()),
            Err(TryLockError::WouldBlock) => f.field("value", &format_args!("<locked>")),
        };
        f.field("poisoned", &self.is_poisoned()).finish()
    }
}

/// The value of an [`RwLock`] that is locked for reading; unlocks it when it is dropped.
///
/// Dropping it never suspends. It stays on its thread.
#[must_use = "the lock is free at once if the guard is not kept"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    at_home: PhantomData<*const ()>,
}

/// The value of an [`RwLock`] that is locked for writing; unlocks it when it is dropped.
///
/// Dropping it never suspends. It stays on its thread.
#[must_use = "the lock is free at once if the guard is not kept"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    /// Whether its greenlet was unwinding when it locked.
    unwinding: bool,
    at_home: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard is counted in `readers`, so there is no writer (module docs).
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this is the writer, so there is no other guard (module docs).
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.gate.leave(Access::Read);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.note(self.unwinding);
        self.lock.gate.leave(Access::Write);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

// --- who may enter ------------------------------------------------------------------------------------------------

/// Who is inside and who waits, without the value.
struct Gate {
    state: Lock<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    Read,
    Write,
}

impl Access {
    fn waiting(self) -> &'static str {
        match self {
            Access::Read => "RwLock::read",
            Access::Write => "RwLock::write",
        }
    }
}

struct State {
    readers: usize,
    writer: bool,
    /// Those who wait, in order of arrival. Who wants the same as the one before it joins its group.
    line: VecDeque<Group>,
    /// The number of the first group in line; the others count on from there.
    first: u64,
}

struct Group {
    access: Access,
    waiters: WaitList<()>,
}

impl Gate {
    const fn new() -> Gate {
        Gate { state: Lock::new(State { readers: 0, writer: false, line: VecDeque::new(), first: 0 }) }
    }

    /// `None`: do not wait. True if admitted.
    #[inline(always)]
    fn enter(&self, access: Access, deadline: Option<Deadline>) -> bool {
        let mut state = self.state.lock();
        state.forget_empty_groups();
        if state.line.is_empty() && state.has_room_for(access) {
            state.admit(access);
            return true;
        }
        let Some(deadline) = deadline else { return false };
        let group = state.join(access);
        let left = Left { gate: self };
        let admitted = wait(access.waiting(), state, |state| state.waiters_of(group), (), deadline).is_ok();
        if admitted {
            mem::forget(left);
        }
        admitted
    }

    #[inline]
    fn leave(&self, access: Access) {
        let mut state = self.state.lock();
        match access {
            Access::Read => state.readers -= 1,
            Access::Write => state.writer = false,
        }
        let wakeups = state.admit_from_line();
        drop(state);
        wakeups.wake();
    }
}

/// Of a waiter that timed out or is unwound. Those behind a writer may have waited for nothing else.
struct Left<'a> {
    gate: &'a Gate,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let wakeups = self.gate.state.lock().admit_from_line();
        wakeups.wake();
    }
}

impl State {
    fn has_room_for(&self, access: Access) -> bool {
        !self.writer && (access == Access::Read || self.readers == 0)
    }

    fn admit(&mut self, access: Access) {
        match access {
            Access::Read => self.readers += 1,
            Access::Write => self.writer = true,
        }
    }

    /// Admits from the front of the line as many as there is room for.
    fn admit_from_line(&mut self) -> Wakeups {
        let mut wakeups = Wakeups::default();
        self.forget_empty_groups();
        while let Some(access) = self.line.front().map(|group| group.access)
            && self.has_room_for(access)
        {
            let next = self.line.front_mut().and_then(|group| group.waiters.notify_first(|()| ()));
            if let Some(((), wakeup)) = next {
                self.admit(access);
                wakeups.add(wakeup);
            }
            self.forget_empty_groups();
        }
        wakeups
    }

    /// Groups are left by waiters that were admitted or gave up.
    fn forget_empty_groups(&mut self) {
        while self.line.front().is_some_and(|group| group.waiters.is_empty()) {
            self.line.pop_front();
            self.first += 1;
        }
        while self.line.back().is_some_and(|group| group.waiters.is_empty()) {
            self.line.pop_back();
        }
    }

    /// The number of the last group, which is one for that access.
    fn join(&mut self, access: Access) -> u64 {
        if self.line.back().is_none_or(|group| group.access != access) {
            self.line.push_back(Group { access, waiters: WaitList::new() });
        }
        self.first + self.line.len() as u64 - 1
    }

    fn waiters_of(&mut self, group: u64) -> &mut WaitList<()> {
        &mut self.line[(group - self.first) as usize].waiters
    }
}
