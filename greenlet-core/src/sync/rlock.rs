//! A lock that its owner may take again.

use std::fmt;
use std::marker::PhantomData;
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::hub::{Context, Deadline, Hub, context};
use crate::lock::Lock;
use crate::report;
use crate::wait::{WaitList, wait};

/// A lock that is owned by a greenlet, which may take it again while it has it: gevent's `RLock`.
///
/// It is free again after as many releases as acquisitions. Then it goes straight to whoever has waited longest. On a
/// thread without a hub, the owner is the thread; it stays the owner, as the main greenlet, when the thread gets one.
///
/// It protects no value, since two guards of one greenlet could not both hand it out; a `Cell` or `RefCell` beside it
/// does that on one thread. It works across hubs and from threads without one.
///
/// ```
/// use greenlet_core::sync::RLock;
///
/// struct Journal {
///     lock: RLock,
/// }
/// impl Journal {
///     fn line(&self, _text: &str) {
///         let _mine = self.lock.lock();
///         // ... several calls that suspend ...
///     }
///     fn paragraph(&self, lines: &[&str]) {
///         let _mine = self.lock.lock(); // nobody's line comes in between
///         lines.iter().for_each(|line| self.line(line));
///     }
/// }
///
/// let journal = Journal { lock: RLock::new() };
/// journal.paragraph(&["It was a dark", "and stormy night."]);
/// assert!(!journal.lock.locked());
/// ```
pub struct RLock {
    state: Lock<State>,
}

struct State {
    owner: Option<Owner>,
    /// How often the owner has it.
    depth: usize,
    waiters: WaitList<Owner>,
}

/// [`RLock::release`] failed: the current greenlet does not own the lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the lock can only be released by the greenlet that owns it")]
pub struct NotOwner;

/// Who may own a lock. None of these is used twice in the life of the process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Greenlet(u64),
    /// A thread's own stack: its main greenlet, if it has a hub.
    Thread(ThreadId),
    /// A callback of the loop or a panic hook. They run on somebody's stack, and are not that somebody.
    Visitor(ThreadId),
}

impl Owner {
    #[inline]
    fn current() -> Owner {
        match (context(), Hub::try_current()) {
            (Context::Greenlet(hub, current), _) if current != hub.main_greenlet() => {
                // SAFETY: the running greenlet is alive.
                Owner::Greenlet(unsafe { current.as_ref() }.id)
            }
            (Context::Greenlet(..), _) | (Context::Thread, None) => Owner::Thread(thread::current().id()),
            (Context::Loop, _) | (Context::Thread, Some(_)) => Owner::Visitor(thread::current().id()),
        }
    }
}

impl RLock {
    /// A lock that nobody owns.
    pub const fn new() -> RLock {
        RLock { state: Lock::new(State { owner: None, depth: 0, waiters: WaitList::new() }) }
    }

    /// Takes the lock, waiting while somebody else owns it. Does not suspend otherwise.
    ///
    /// Who is killed meanwhile does not own it. To be released as often; [`lock`](RLock::lock) does so by itself.
    #[inline]
    pub fn acquire(&self) {
        self.acquire_until(Owner::current(), Some(Deadline::Never));
    }

    /// Takes the lock unless somebody else owns it. Never suspends.
    #[inline]
    #[must_use = "what was not acquired must not be released"]
    pub fn try_acquire(&self) -> bool {
        self.acquire_until(Owner::current(), None)
    }

    /// As [`acquire`](RLock::acquire), waiting for at most `timeout`. True if the current greenlet owns it now.
    #[inline]
    #[must_use = "what was not acquired must not be released"]
    pub fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.acquire_until(Owner::current(), Some(Deadline::After(timeout)))
    }

    /// `None`: do not wait.
    #[inline(always)]
    fn acquire_until(&self, owner: Owner, deadline: Option<Deadline>) -> bool {
        let mut state = self.state.lock();
        if state.owner.is_none_or(|other| other == owner) {
            state.owner = Some(owner);
            state.depth += 1;
            return true;
        }
        let Some(deadline) = deadline else { return false };
        wait("RLock", state, |state| &mut state.waiters, owner, deadline).is_ok()
    }

    /// Takes back one acquisition of the current greenlet. After the last one, the lock goes to whoever has waited
    /// longest. Never suspends.
    ///
    /// # Errors
    /// [`NotOwner`] when the current greenlet does not own the lock.
    #[inline]
    pub fn release(&self) -> Result<(), NotOwner> {
        self.release_for(Owner::current())
    }

    #[inline]
    fn release_for(&self, owner: Owner) -> Result<(), NotOwner> {
        let mut state = self.state.lock();
        if state.owner != Some(owner) {
            return Err(NotOwner);
        }
        state.depth -= 1;
        if state.depth > 0 {
            return Ok(());
        }
        let Some((next, wakeup)) = state.waiters.notify_first(|next| *next) else {
            state.owner = None;
            return Ok(());
        };
        state.owner = Some(next);
        state.depth = 1;
        drop(state);
        wakeup.wake();
        Ok(())
    }

    /// As [`acquire`](RLock::acquire), with a guard that releases.
    #[inline]
    pub fn lock(&self) -> RLockGuard<'_> {
        let owner = Owner::current();
        self.acquire_until(owner, Some(Deadline::Never));
        self.guard(owner)
    }

    /// As [`try_acquire`](RLock::try_acquire), with a guard that releases. Never suspends.
    #[inline]
    pub fn try_lock(&self) -> Option<RLockGuard<'_>> {
        let owner = Owner::current();
        self.acquire_until(owner, None).then(|| self.guard(owner))
    }

    /// As [`acquire_timeout`](RLock::acquire_timeout), with a guard that releases.
    #[inline]
    pub fn lock_timeout(&self, timeout: Duration) -> Option<RLockGuard<'_>> {
        let owner = Owner::current();
        self.acquire_until(owner, Some(Deadline::After(timeout))).then(|| self.guard(owner))
    }

    #[inline]
    fn guard(&self, owner: Owner) -> RLockGuard<'_> {
        RLockGuard { lock: self, owner, at_home: PhantomData }
    }

    /// Whether somebody owns it.
    pub fn locked(&self) -> bool {
        self.state.lock().owner.is_some()
    }

    /// Whether the current greenlet owns it.
    pub fn is_owned(&self) -> bool {
        let owner = Owner::current();
        self.state.lock().owner == Some(owner)
    }
}

impl Default for RLock {
    fn default() -> RLock {
        RLock::new()
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let (locked, depth) = (state.owner.is_some(), state.depth);
        drop(state);
        f.debug_struct("RLock").field("locked", &locked).field("depth", &depth).finish()
    }
}

/// One acquisition of an [`RLock`], released when it is dropped.
///
/// Dropping it never suspends. It stays on its thread. If another greenlet of the thread drops it, it releases what the
/// greenlet acquired that made it.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    owner: Owner,
    at_home: PhantomData<*const ()>,
}

impl Drop for RLockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.lock.release_for(self.owner).is_err() {
            // A destructor has nobody to return it to.
            report::error(format_args!(
                "the guard of a lock was dropped, but its owner had released it before"
            ));
        }
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RLockGuard").field(self.lock).finish()
    }
}
