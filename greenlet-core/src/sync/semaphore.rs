//! Counted permits.

use std::fmt;
use std::ptr::NonNull;
use std::time::Duration;

use crate::hub::Deadline;
use crate::lock::Lock;
use crate::report;
use crate::select::Operation;
use crate::wait::{Attempt, Party, WaitList, Wakeups, wait};
use crate::waitable::{Waitable, WhenReady, sealed::Watch};

/// A number of permits, to limit how many do something at once: gevent's `Semaphore`.
///
/// A permit that is released goes straight to whoever has waited longest. Nobody owns a permit: any greenlet or thread may
/// release, and may release more than the semaphore began with ([`BoundedSemaphore`] refuses that). A [`Permit`] releases
/// by itself, also when its greenlet is killed.
///
/// It works across hubs and from threads without one. Share it by `Rc` or `Arc`.
///
/// ```
/// use greenlet_core::sync::Semaphore;
/// use greenlet_core::{joinall, spawn, yield_now};
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// let downloads = Rc::new((Semaphore::new(2), Cell::new(0)));
/// let jobs: Vec<_> = (0..10)
///     .map(|_| {
///         let downloads = downloads.clone();
///         spawn(move || {
///             let (limit, running) = &*downloads;
///             let _permit = limit.permit(); // suspends while two are at it
///             running.set(running.get() + 1);
///             assert!(running.get() <= 2);
///             yield_now();
///             running.set(running.get() - 1);
///         })
///     })
///     .collect();
/// joinall(&jobs);
/// assert_eq!(downloads.0.available(), 2);
/// ```
pub struct Semaphore {
    state: Lock<State>,
}

struct State {
    available: usize,
    /// Those who wait for a permit; nobody while there are any.
    acquirers: WaitList<()>,
    /// Those who wait for the next release; nobody while there are permits.
    watchers: WaitList<()>,
}

impl State {
    /// Adds a permit: for whoever has waited longest, or else available.
    #[inline]
    fn add(&mut self) -> Wakeups {
        let mut wakeups = self.watchers.notify_all();
        match self.acquirers.notify_first(|()| ()) {
            Some(((), wakeup)) => wakeups.add(wakeup),
            None => self.available += 1,
        }
        wakeups
    }
}

impl Semaphore {
    /// A semaphore with so many permits. With none, the first acquirer waits for a release.
    pub const fn new(permits: usize) -> Semaphore {
        Semaphore {
            state: Lock::new(State {
                available: permits,
                acquirers: WaitList::new(),
                watchers: WaitList::new(),
            }),
        }
    }

    /// Takes a permit, waiting for one if there is none. Does not suspend if there is.
    ///
    /// Who is killed meanwhile has none.
    #[inline]
    pub fn acquire(&self) {
        self.acquire_until(Some(Deadline::Never));
    }

    /// Takes a permit if there is one now. Never suspends.
    #[inline]
    #[must_use = "without a permit there is nothing to release"]
    pub fn try_acquire(&self) -> bool {
        self.acquire_until(None)
    }

    /// As [`acquire`](Semaphore::acquire), waiting for at most `timeout`. True if there is a permit to release.
    #[inline]
    #[must_use = "without a permit there is nothing to release"]
    pub fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.acquire_until(Some(Deadline::After(timeout)))
    }

    /// `None`: do not wait. Inlined with the switch in it, see `Hub::park`.
    #[inline(always)]
    fn acquire_until(&self, deadline: Option<Deadline>) -> bool {
        let mut state = self.state.lock();
        if state.available > 0 {
            state.available -= 1;
            return true;
        }
        let Some(deadline) = deadline else { return false };
        wait("Semaphore::acquire", state, |state| &mut state.acquirers, (), deadline).is_ok()
    }

    /// Gives a permit to whoever has waited longest, or adds it to those available. Never suspends. Returns how many
    /// are available now: 0 if it went to a waiter.
    ///
    /// # Panics
    /// When more than `usize::MAX` permits would be available.
    #[inline]
    #[track_caller]
    pub fn release(&self) -> usize {
        match self.release_within(usize::MAX) {
            Some(available) => available,
            None => panic!("a semaphore cannot have more than usize::MAX permits"),
        }
    }

    /// `None`, and nothing is done, when `limit` permits are available already.
    #[inline]
    fn release_within(&self, limit: usize) -> Option<usize> {
        let mut state = self.state.lock();
        if state.available >= limit {
            return None;
        }
        let wakeups = state.add();
        let available = state.available;
        drop(state);
        wakeups.wake();
        Some(available)
    }

    /// As [`acquire`](Semaphore::acquire), with a guard that releases.
    #[inline]
    pub fn permit(&self) -> Permit<'_> {
        self.acquire();
        Permit { semaphore: self, limit: usize::MAX }
    }

    /// As [`try_acquire`](Semaphore::try_acquire), with a guard that releases. Never suspends.
    #[inline]
    pub fn try_permit(&self) -> Option<Permit<'_>> {
        self.try_acquire().then(|| Permit { semaphore: self, limit: usize::MAX })
    }

    /// As [`acquire_timeout`](Semaphore::acquire_timeout), with a guard that releases.
    #[inline]
    pub fn permit_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
        self.acquire_timeout(timeout).then(|| Permit { semaphore: self, limit: usize::MAX })
    }

    /// [`permit`](Semaphore::permit), for [`select!`](crate::select!) and `.await`.
    pub fn permit_op(&self) -> Operation<impl Attempt<Output = Permit<'_>>> {
        Operation(TakePermit { semaphore: self, limit: usize::MAX })
    }

    /// [`wait`](Semaphore::wait), for [`select!`](crate::select!) and `.await`.
    pub fn wait_op(&self) -> Operation<impl Attempt<Output = ()>> {
        Operation(WhenReady { object: self, output: |_| () })
    }

    /// How many permits are available: gevent's `counter`.
    pub fn available(&self) -> usize {
        self.state.lock().available
    }

    /// Whether no permit is available.
    pub fn locked(&self) -> bool {
        self.available() == 0
    }

    /// Waits until a permit could be acquired, and acquires none. Does not suspend if one is available.
    ///
    /// When it returns, somebody else may have the permit already.
    pub fn wait(&self) {
        self.wait_until(Deadline::Never);
    }

    /// As [`wait`](Semaphore::wait), for at most `timeout`. True if a permit was available.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Deadline::After(timeout))
    }

    #[inline]
    fn wait_until(&self, deadline: Deadline) -> bool {
        let state = self.state.lock();
        state.available > 0
            || wait("Semaphore::wait", state, |state| &mut state.watchers, (), deadline).is_ok()
    }
}

// SAFETY: it has one such list.

unsafe impl Watch for Semaphore {
    fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        let state = &mut *self.state.lock();
        at(state.available > 0, &mut state.watchers);
    }
}

impl Waitable for Semaphore {}

struct TakePermit<'a> {
    semaphore: &'a Semaphore,
    limit: usize,
}

// SAFETY: a permit is `Send`.
unsafe impl<'a> Attempt for TakePermit<'a> {
    type Output = Permit<'a>;
    type Payload = ();

    fn try_now(&mut self) -> Option<Permit<'a>> {
        self.semaphore.try_acquire().then(|| self.complete(()))
    }

    fn look(&self, _: Option<NonNull<Party>>, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        let state = &mut *self.semaphore.state.lock();
        at(state.available > 0, &mut state.acquirers);
    }

    fn payload(&mut self) {}

    fn complete(&mut self, (): ()) -> Permit<'a> {
        Permit { semaphore: self.semaphore, limit: self.limit }
    }

    fn recover(&mut self, (): ()) {}

    fn give_back(&mut self, (): ()) {
        drop(self.complete(()));
    }
}

impl Default for Semaphore {
    /// One permit, as in gevent.
    fn default() -> Semaphore {
        Semaphore::new(1)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("available", &self.available()).finish()
    }
}

/// A permit of a [`Semaphore`] or [`BoundedSemaphore`], released when it is dropped.
///
/// Dropping it never suspends. It may be dropped by another greenlet, or on another thread.
#[must_use = "the permit is released at once if it is not kept"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    limit: usize,
}

impl Permit<'_> {
    /// Keeps the permit acquired: whoever it belongs to from now on calls `release`.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.semaphore.release_within(self.limit).is_none() {
            // A destructor has nobody to return it to.
            report::error(format_args!(
                "a permit was dropped, but somebody had released it: {ReleasedTooOften}"
            ));
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(self.semaphore).finish()
    }
}

/// [`BoundedSemaphore::release`] failed: all permits are available already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the semaphore was released more often than acquired")]
pub struct ReleasedTooOften;

/// A [`Semaphore`] that never has more permits than it began with: gevent's `BoundedSemaphore`.
///
/// ```
/// use greenlet_core::sync::{BoundedSemaphore, ReleasedTooOften};
///
/// let desk = BoundedSemaphore::new(1);
/// desk.acquire();
/// assert_eq!(desk.release(), Ok(1));
/// assert_eq!(desk.release(), Err(ReleasedTooOften));
/// ```
pub struct BoundedSemaphore {
    semaphore: Semaphore,
    permits: usize,
}

impl BoundedSemaphore {
    /// A semaphore with so many permits, and never more.
    pub const fn new(permits: usize) -> BoundedSemaphore {
        BoundedSemaphore { semaphore: Semaphore::new(permits), permits }
    }

    /// As [`Semaphore::acquire`].
    #[inline]
    pub fn acquire(&self) {
        self.semaphore.acquire();
    }

    /// As [`Semaphore::try_acquire`].
    #[inline]
    #[must_use = "without a permit there is nothing to release"]
    pub fn try_acquire(&self) -> bool {
        self.semaphore.try_acquire()
    }

    /// As [`Semaphore::acquire_timeout`].
    #[inline]
    #[must_use = "without a permit there is nothing to release"]
    pub fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.semaphore.acquire_timeout(timeout)
    }

    /// Gives a permit to whoever has waited longest, or adds it to those available. Never suspends. Returns how many
    /// are available now: 0 if it went to a waiter.
    ///
    /// # Errors
    /// [`ReleasedTooOften`] when all permits are available. Nothing changes then.
    #[inline]
    pub fn release(&self) -> Result<usize, ReleasedTooOften> {
        self.semaphore.release_within(self.permits).ok_or(ReleasedTooOften)
    }

    /// As [`Semaphore::permit`]. If somebody releases in its stead, dropping the permit is the release too many, and
    /// is reported at error level.
    #[inline]
    pub fn permit(&self) -> Permit<'_> {
        self.acquire();
        Permit { semaphore: &self.semaphore, limit: self.permits }
    }

    /// As [`Semaphore::try_permit`].
    #[inline]
    pub fn try_permit(&self) -> Option<Permit<'_>> {
        self.try_acquire().then(|| Permit { semaphore: &self.semaphore, limit: self.permits })
    }

    /// As [`Semaphore::permit_timeout`].
    #[inline]
    pub fn permit_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
        self.acquire_timeout(timeout).then(|| Permit { semaphore: &self.semaphore, limit: self.permits })
    }

    /// [`permit`](BoundedSemaphore::permit), for [`select!`](crate::select!) and `.await`.
    pub fn permit_op(&self) -> Operation<impl Attempt<Output = Permit<'_>>> {
        Operation(TakePermit { semaphore: &self.semaphore, limit: self.permits })
    }

    /// [`wait`](BoundedSemaphore::wait), for [`select!`](crate::select!) and `.await`.
    pub fn wait_op(&self) -> Operation<impl Attempt<Output = ()>> {
        self.semaphore.wait_op()
    }

    /// How many permits are available.
    pub fn available(&self) -> usize {
        self.semaphore.available()
    }

    /// Whether no permit is available.
    pub fn locked(&self) -> bool {
        self.semaphore.locked()
    }

    /// As [`Semaphore::wait`].
    pub fn wait(&self) {
        self.semaphore.wait();
    }

    /// As [`Semaphore::wait_timeout`].
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.semaphore.wait_timeout(timeout)
    }
}

// SAFETY: it has one such list.

unsafe impl Watch for BoundedSemaphore {
    fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        self.semaphore.look(at);
    }
}

impl Waitable for BoundedSemaphore {}

impl Default for BoundedSemaphore {
    /// One permit, as in gevent.
    fn default() -> BoundedSemaphore {
        BoundedSemaphore::new(1)
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedSemaphore")
            .field("available", &self.available())
            .field("permits", &self.permits)
            .finish()
    }
}
