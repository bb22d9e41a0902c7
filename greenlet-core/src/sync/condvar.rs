//! Waiting for a change of what a mutex protects.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::{LockResult, PoisonError};
use std::time::Duration;

use super::{Mutex, MutexGuard};
use crate::hub::Deadline;
use crate::lock::Lock;
use crate::wait::{WaitList, wait};

/// Waits for a change of what a [`Mutex`] protects: std's `Condvar`, cooperative.
///
/// Waiting unlocks the mutex and locks it again before it returns. Who changes the value under the mutex and notifies then
/// reaches everybody who has begun to wait before. Waiters are notified in the order in which they came. Look at
/// the value in a loop, or use [`wait_while`](Condvar::wait_while): by the time that a waiter has the mutex again,
/// somebody else may have changed the value.
///
/// # Kills
/// Waiting takes the guard, as in std. Who is killed while it waits, or while it waits for the mutex afterwards, is unwound
/// without the mutex, which is not poisoned by that. If it was notified already, its notification goes to the next
/// waiter.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_core::sync::{Condvar, Mutex};
/// use std::rc::Rc;
///
/// let shared = Rc::new((Mutex::new(Vec::new()), Condvar::new()));
/// let consumer = spawn({
///     let shared = shared.clone();
///     move || {
///         let (items, changed) = &*shared;
///         let items = changed.wait_while(items.lock().unwrap(), |items| items.len() < 2).unwrap();
///         items.iter().sum::<i32>()
///     }
/// });
/// let (items, changed) = &*shared;
/// for item in [20, 22] {
///     items.lock().unwrap().push(item);
///     changed.notify_one();
/// }
/// assert_eq!(consumer.get().unwrap(), 42);
/// ```
pub struct Condvar {
    state: Lock<State>,
}

struct State {
    waiters: WaitList<()>,
    /// Those who are between unlocking their mutex and waiting, by ticket. Taken out by a notification.
    coming: VecDeque<u64>,
    next_ticket: u64,
}

/// How [`Condvar::wait_timeout`] ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitTimeoutResult {
    timed_out: bool,
}

impl WaitTimeoutResult {
    /// Whether the time was over before a notification came.
    pub fn timed_out(&self) -> bool {
        self.timed_out
    }
}

impl Condvar {
    /// One that nobody waits for.
    pub const fn new() -> Condvar {
        let state = State { waiters: WaitList::new(), coming: VecDeque::new(), next_ticket: 0 };
        Condvar { state: Lock::new(state) }
    }

    /// Unlocks the mutex, suspends until notified, and locks the mutex again.
    ///
    /// On a kill the mutex is not locked again (see [above](Condvar#kills)).
    ///
    /// # Errors
    /// [`PoisonError`] with the guard, if the mutex is poisoned.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.wait_until(guard, Deadline::Never).0
    }

    /// Waits as long as `condition` holds. Does not suspend if it does not.
    ///
    /// # Errors
    /// [`PoisonError`] with the guard, if the mutex is poisoned.
    ///
    /// # Panics
    /// When `condition` does, which poisons the mutex.
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`wait`](Condvar::wait), for at most `timeout`. Locking the mutex again takes the time that it takes.
    ///
    /// # Errors
    /// [`PoisonError`] with the guard, if the mutex is poisoned.
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        with_result(self.wait_until(guard, Deadline::After(timeout)))
    }

    /// As [`wait_while`](Condvar::wait_while), for at most `timeout` in all. Timed out means that `condition` still holds.
    ///
    /// # Errors
    /// [`PoisonError`] with the guard, if the mutex is poisoned.
    ///
    /// # Panics
    /// When `condition` does, which poisons the mutex.
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let mut deadline = Deadline::After(timeout);
        let mut timed_out = false;
        while condition(&mut guard) {
            if timed_out {
                return Ok((guard, WaitTimeoutResult { timed_out }));
            }
            deadline.fix();
            let result;
            (guard, result) = with_result(self.wait_until(guard, deadline))?;
            timed_out = result.timed_out();
        }
        Ok((guard, WaitTimeoutResult { timed_out: false }))
    }

    /// With whether it was notified.
    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Deadline,
    ) -> (LockResult<MutexGuard<'a, T>>, bool) {
        let mutex: &'a Mutex<T> = MutexGuard::mutex(&guard);
        // Unlocking wakes the next owner, which must not be done under our lock. So whoever notifies in between finds
        // a ticket.
        let ticket = self.state.lock().draw_ticket();
        drop(guard);
        let mut state = self.state.lock();
        let notified = if state.hand_in(ticket) {
            wait("Condvar", state, |state| &mut state.waiters, (), deadline).is_ok()
        } else {
            drop(state);
            true
        };
        let pass_on = PassOn { condvar: self, notified };
        let guard = mutex.lock();
        mem::forget(pass_on);
        (guard, notified)
    }

    /// Wakes whoever has waited longest, if anybody waits. Never suspends.
    pub fn notify_one(&self) {
        let mut state = self.state.lock();
        let notified = state.waiters.notify_first(|()| ());
        if notified.is_none() {
            state.coming.pop_front();
        }
        drop(state);
        if let Some(((), wakeup)) = notified {
            wakeup.wake();
        }
    }

    /// Wakes everybody who waits. Never suspends.
    pub fn notify_all(&self) {
        let mut state = self.state.lock();
        let wakeups = state.waiters.notify_all();
        state.coming.clear();
        drop(state);
        wakeups.wake();
    }
}

impl State {
    fn draw_ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.coming.push_back(ticket);
        ticket
    }

    /// False if it was notified meanwhile.
    fn hand_in(&mut self, ticket: u64) -> bool {
        match self.coming.iter().position(|&other| other == ticket) {
            Some(at) => self.coming.remove(at).is_some(),
            None => false,
        }
    }
}

/// Of a waiter that was unwound while it locked the mutex again: it makes no use of its notification.
struct PassOn<'a> {
    condvar: &'a Condvar,
    notified: bool,
}

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        if self.notified {
            self.condvar.notify_one();
        }
    }
}

fn with_result<G>((guard, notified): (LockResult<G>, bool)) -> LockResult<(G, WaitTimeoutResult)> {
    let result = WaitTimeoutResult { timed_out: !notified };
    match guard {
        Ok(guard) => Ok((guard, result)),
        Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), result))),
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
