//! Locks: gevent's semaphores, and std's locks in cooperative form.
//!
//! What waits here suspends its greenlet and lets the others of its thread run; a plain thread parks. All of them work
//! from greenlets, across hubs and from threads without one, and are `Send` and `Sync` where what they carry allows it.
//!
//! | | | |
//! |---|---|---|
//! | [`Semaphore`] | so many at once | gevent's |
//! | [`BoundedSemaphore`] | the same, and a release too many is an error | gevent's |
//! | [`RLock`] | one greenlet at a time, as often as it likes | gevent's |
//! | [`Mutex`], [`RwLock`] | a value for one, or for one writer or many readers | std's |
//! | [`Condvar`] | waiting for a change of what a `Mutex` protects | std's |
//! | [`Barrier`] | waiting for each other | std's |
//! | [`OnceLock`] | a value that is made once, by whoever needs it first | std's |
//!
//! Greenlets of one thread need none of these to keep out of each other's way between two suspension points: nothing
//! runs beside them there, and a `RefCell` does. A lock is for what must hold *across* a suspension, or across threads.
//! A `std::sync::Mutex` held across a suspension blocks the thread of the next who wants it, its holder included.
//!
//! # First come, first served
//! A lock or permit that is given back goes straight to whoever has waited longest. A newcomer does not overtake, so
//! nobody starves, and a loop that locks and unlocks shares.
//!
//! # Kills and timeouts
//! Who is killed, or times out, while it waits has not acquired anything and stands in nobody's way. If a lock was handed to
//! it in the same moment, it has won: the wait returns normally and the kill comes at its next suspension point. Guards
//! give back what they hold when their greenlet is unwound, so prefer them to `acquire` and `release`.
//!
//! # Poison
//! [`Mutex`] and [`RwLock`] are poisoned as std's are: when a guard is dropped by an unwinding that began after it was
//! made. That is an unwinding of *the greenlet itself*; others of the same thread may be in the middle of one meanwhile.
//! Kills, timeouts and other raises count like panics: they cut a critical section in two as a panic does, at a place
//! where it suspended with the lock held, and nobody else can tell whether the value is whole. Who knows
//! that it is takes it with `unwrap_or_else(PoisonError::into_inner)`; semaphores and [`RLock`] know no poison.

mod barrier;
mod condvar;
mod mutex;
mod once;
mod rlock;
mod rwlock;
mod semaphore;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::{Mutex, MutexGuard};
pub use once::OnceLock;
pub use rlock::{NotOwner, RLock, RLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{BoundedSemaphore, Permit, ReleasedTooOften, Semaphore};
