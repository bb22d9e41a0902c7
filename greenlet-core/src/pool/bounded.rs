//! Pools: groups with a limit, and the slots that they consist of.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use super::group::Group;
use crate::greenlet::{Greenlet, GreenletRef};
use crate::hub::Deadline;
use crate::lock::Lock;
use crate::wait::{WaitList, wait};

/// A [`Group`] of at most so many greenlets: gevent's `Pool`.
///
/// [`spawn`](Group::spawn), [`add`](Group::add) and [`start`](Group::start) wait for a slot, first come, first served. A slot
/// is free again when its greenlet has ended, or was discarded. A waiter that is killed or times out takes no slot with it.
/// Everything else is inherited from [`Group`].
///
/// ```
/// use greenlet_core::pool::Pool;
/// use greenlet_core::yield_now;
///
/// let pool = Pool::new(2);
/// for job in 0..10 {
///     pool.spawn(move || {
///         yield_now();
///         println!("job {job} is done");
///     }); // suspends while two are at work
/// }
/// assert!(pool.len() <= 2);
/// pool.join();
/// assert_eq!(pool.free_count(), 2);
/// ```
///
/// Clones are the same pool. It belongs to the hub of its thread, and so is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(greenlet_core::pool::Pool::new(1));
/// ```
#[derive(Clone)]
pub struct Pool {
    group: Group,
}

/// There was no free slot (in time). What was to run comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pool is full")]
pub struct PoolFull<F = ()>(pub F);

/// It need not be `Debug`, so it is not shown.
impl<F> fmt::Debug for PoolFull<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolFull(..)")
    }
}

impl Pool {
    /// A pool of at most `size` greenlets. With 0 it is full for ever.
    pub fn new(size: usize) -> Pool {
        Pool { group: Group::with_slots(Some(Slots::new(size))) }
    }

    /// A pool without a limit, as gevent's `Pool(None)`.
    pub fn unlimited() -> Pool {
        Pool { group: Group::with_slots(None) }
    }

    fn slots(&self) -> Option<&Slots> {
        self.group.slots()
    }

    /// The limit, `None` if there is none.
    pub fn size(&self) -> Option<usize> {
        self.slots().map(Slots::size)
    }

    /// How many could be spawned now without waiting; [`usize::MAX`] without a limit (gevent says 1).
    pub fn free_count(&self) -> usize {
        self.slots().map_or(usize::MAX, Slots::free)
    }

    /// Whether a spawn would have to wait.
    pub fn full(&self) -> bool {
        self.free_count() == 0
    }

    /// Spawns a greenlet if there is a slot now. Never suspends.
    ///
    /// # Errors
    /// [`PoolFull`] with the closure.
    #[track_caller]
    pub fn try_spawn<F, T>(&self, f: F) -> Result<Greenlet<T>, PoolFull<F>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        self.group.spawn_until(f, None)
    }

    /// As [`spawn`](Group::spawn), waiting for a slot for at most `timeout`.
    ///
    /// # Errors
    /// [`PoolFull`] with the closure.
    ///
    /// ```
    /// use greenlet_core::pool::{Pool, PoolFull};
    /// use greenlet_core::sleep;
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1);
    /// pool.spawn(|| sleep(Duration::MAX));
    /// let refused = pool.spawn_timeout(|| "never", Duration::from_millis(1));
    /// let Err(PoolFull(closure)) = refused else { panic!("the pool was full") };
    /// assert_eq!(closure(), "never"); // it is still ours
    /// # pool.kill();
    /// ```
    #[track_caller]
    pub fn spawn_timeout<F, T>(&self, f: F, timeout: Duration) -> Result<Greenlet<T>, PoolFull<F>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        self.group.spawn_until(f, Some(Deadline::After(timeout)))
    }

    /// Adds a greenlet if there is a slot now. Never suspends.
    ///
    /// # Errors
    /// [`PoolFull`].
    pub fn try_add(&self, greenlet: &GreenletRef) -> Result<(), PoolFull> {
        self.group.add_until(greenlet, None)
    }

    /// As [`add`](Group::add), waiting for a slot for at most `timeout`.
    ///
    /// # Errors
    /// [`PoolFull`].
    pub fn add_timeout(&self, greenlet: &GreenletRef, timeout: Duration) -> Result<(), PoolFull> {
        self.group.add_until(greenlet, Some(Deadline::After(timeout)))
    }

    /// Adds a greenlet and starts it, if there is a slot now; else it is not started. Never suspends.
    ///
    /// # Errors
    /// [`PoolFull`].
    pub fn try_start(&self, greenlet: &GreenletRef) -> Result<(), PoolFull> {
        self.try_add(greenlet).map(|()| greenlet.start())
    }

    /// As [`start`](Group::start), waiting for a slot for at most `timeout`; if there is none, it is not started.
    ///
    /// # Errors
    /// [`PoolFull`].
    pub fn start_timeout(&self, greenlet: &GreenletRef, timeout: Duration) -> Result<(), PoolFull> {
        self.add_timeout(greenlet, timeout).map(|()| greenlet.start())
    }

    /// Waits until a slot is free, without taking it: what is spawned before the caller suspends again need not wait.
    ///
    /// Those who wait for a slot in order to take it go first. On a pool of size 0 this waits for ever. A kill or timeout
    /// ends the wait and has no other effect.
    pub fn wait_available(&self) {
        self.wait_available_until(Deadline::Never);
    }

    /// As [`wait_available`](Pool::wait_available), for at most `timeout`. True if a slot is free.
    pub fn wait_available_timeout(&self, timeout: Duration) -> bool {
        self.wait_available_until(Deadline::After(timeout))
    }

    fn wait_available_until(&self, deadline: Deadline) -> bool {
        self.slots().is_none_or(|slots| slots.watch(deadline))
    }
}

/// A pool is a group: joining, killing and mapping are the same.
impl Deref for Pool {
    type Target = Group;

    fn deref(&self) -> &Group {
        &self.group
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("size", &self.size()).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The slots of a pool.
pub(super) struct Slots {
    size: usize,
    state: Lock<State>,
}

struct State {
    /// Not taken. While there are any, nobody waits to take one: they are handed over.
    free: usize,
    /// Waiting for a slot, notified with it.
    takers: WaitList<()>,
    /// Waiting until one is free.
    watchers: WaitList<()>,
}

impl Slots {
    fn new(size: usize) -> Slots {
        Slots {
            size,
            state: Lock::new(State { free: size, takers: WaitList::new(), watchers: WaitList::new() }),
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn free(&self) -> usize {
        self.state.lock().free
    }

    /// Takes one, which must be given back by [`release`](Slots::release). `None`: does not wait. False: there was none.
    pub(super) fn take(&self, deadline: Option<Deadline>) -> bool {
        let mut state = self.state.lock();
        if state.free > 0 {
            state.free -= 1;
            return true;
        }
        let Some(deadline) = deadline else { return false };
        wait("Pool::spawn", state, |state| &mut state.takers, (), deadline).is_ok()
    }

    /// Gives one to whoever waited longest, or to all.
    pub(super) fn release(&self) {
        let mut state = self.state.lock();
        if let Some(((), wakeup)) = state.takers.notify_first(|()| ()) {
            drop(state);
            wakeup.wake();
            return;
        }
        state.free += 1;
        let wakeups = state.watchers.notify_all();
        drop(state);
        wakeups.wake();
    }

    /// Waits until one is free. False: the deadline came first.
    fn watch(&self, mut deadline: Deadline) -> bool {
        loop {
            let state = self.state.lock();
            if state.free > 0 {
                return true;
            }
            if matches!(deadline, Deadline::After(_)) {
                // However often a slot goes to somebody else meanwhile, the time is counted from here.
                drop(state);
                deadline.fix();
                continue;
            }
            if wait("Pool::wait_available", state, |state| &mut state.watchers, (), deadline).is_err() {
                return false;
            }
        }
    }
}
