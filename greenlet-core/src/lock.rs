//! The lock around the state of one primitive.
//!
//! Every critical section under it is a few dozen instructions on plain data: no suspension, no user code (no
//! `Drop`, no `Clone` of a payload), no system call. That is what makes spinning right here: the only way to
//! find it held is another thread inside such a section, and then waiting costs less than asking the kernel.
//! Against a plain mutex it saves the read-modify-write of the unlock, which is a fifth of a queue round trip.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Lock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is only reached through a guard, and one guard exists at a time (`held`).
unsafe impl<T: Send> Send for Lock<T> {}
// SAFETY: as above; sharing the lock hands the value from thread to thread, hence `T: Send`.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Lock<T> {
        Lock { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> LockGuard<'_, T> {
        if self.held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_contended();
        }
        LockGuard { lock: self }
    }

    /// The guard, if nobody has the lock. For signal handlers, which must not wait for the code that they interrupted.
    pub(crate) fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        let free = self.held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        free.then(|| LockGuard { lock: self })
    }

    /// The value, without the lock.
    ///
    /// # Safety
    /// Nobody else comes to the lock while the reference is in use.
    #[inline]
    pub(crate) unsafe fn unlocked(&self) -> &T {
        // SAFETY: as promised by the caller.
        unsafe { &*self.value.get() }
    }

    #[cold]
    fn lock_contended(&self) {
        let mut spins = 0;
        loop {
            while self.held.load(Ordering::Relaxed) {
                spins += 1;
                if spins % 64 == 0 {
                    // The holder may have been preempted: let it run.
                    std::thread::yield_now();
                } else {
                    std::hint::spin_loop();
                }
            }
            if self.held.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("held", &self.held.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}

pub(crate) struct LockGuard<'a, T> {
    lock: &'a Lock<T>,
}

impl<'a, T> LockGuard<'a, T> {
    /// The lock that this guard holds.
    pub(crate) fn lock_of(guard: &LockGuard<'a, T>) -> &'a Lock<T> {
        guard.lock
    }
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a guard exists only while the lock is held, so the reference is exclusive to this thread.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive within the thread.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for LockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.held.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn increments_from_many_threads_are_all_counted() {
        let total = Arc::new(Lock::new(0u64));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let total = total.clone();
                std::thread::spawn(move || {
                    for _ in 0..20_000 {
                        *total.lock() += 1;
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*total.lock(), 80_000);
    }
}
