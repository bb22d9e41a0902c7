//! A value or an error that somebody will set.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::hub::Deadline;
use crate::lock::{Lock, LockGuard};
use crate::raise::Raised;
use crate::select::Operation;
use crate::wait::{Attempt, WaitList, wait};
use crate::waitable::{Waitable, WhenReady, sealed::Watch};

/// A value, or an error, that is set once it is known and waited for by anybody: gevent's `AsyncResult`.
///
/// Setting it again replaces what was there. It works across hubs and from threads without one.
///
/// ```
/// use greenlet_core::{spawn, AsyncResult};
/// use std::rc::Rc;
///
/// let answer = Rc::new(AsyncResult::new());
/// spawn({
///     let answer = answer.clone();
///     move || answer.set(42)
/// });
/// assert_eq!(answer.get().unwrap(), 42);
/// ```
pub struct AsyncResult<T> {
    state: Lock<State<T>>,
}

struct State<T> {
    /// Behind an `Arc`, so that cloning and dropping a `T`, which is user code, happen outside the lock.
    outcome: Option<Result<Arc<T>, Raised>>,
    waiters: WaitList<()>,
}

/// Why [`AsyncResult::get`] has no value.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AsyncResultError {
    /// [`AsyncResult::set_exception`] was called with this.
    #[error("{0}")]
    Exception(Raised),
    /// Nothing was set in the time given.
    #[error("no result in time")]
    TimedOut,
}

impl<T> AsyncResult<T> {
    /// One that is not set.
    pub const fn new() -> AsyncResult<T> {
        AsyncResult { state: Lock::new(State { outcome: None, waiters: WaitList::new() }) }
    }

    /// Sets the value and wakes everybody who waits.
    pub fn set(&self, value: T) {
        self.settle(Ok(Arc::new(value)));
    }

    /// Sets an error, which [`get`](AsyncResult::get) returns, and wakes everybody who waits.
    pub fn set_exception(&self, error: impl Error + Send + Sync + 'static) {
        self.settle(Err(Raised::new(error)));
    }

    fn settle(&self, outcome: Result<Arc<T>, Raised>) {
        let mut state = self.state.lock();
        let replaced = state.outcome.replace(outcome);
        let wakeups = state.waiters.notify_all();
        drop(state);
        wakeups.wake();
        drop(replaced);
    }

    /// Whether something was set.
    pub fn ready(&self) -> bool {
        self.state.lock().outcome.is_some()
    }

    /// Whether a value was set.
    pub fn successful(&self) -> bool {
        matches!(self.state.lock().outcome, Some(Ok(_)))
    }

    /// The error that was set.
    pub fn exception(&self) -> Option<Raised> {
        match &self.state.lock().outcome {
            Some(Err(raised)) => Some(raised.clone()),
            _ => None,
        }
    }

    /// Waits until something is set. Does not suspend if it is.
    pub fn wait(&self) {
        drop(self.settled(Deadline::Never));
    }

    /// Waits for at most `timeout`. True if something is set.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.settled(Deadline::After(timeout)).is_some()
    }

    fn settled(&self, deadline: Deadline) -> Option<LockGuard<'_, State<T>>> {
        let state = self.state.lock();
        if state.outcome.is_some() {
            return Some(state);
        }
        wait("AsyncResult", state, |state| &mut state.waiters, (), deadline).ok()?;
        Some(self.state.lock())
    }
}

impl<T: Clone> AsyncResult<T> {
    /// Waits for the value and clones it.
    ///
    /// # Errors
    /// [`AsyncResultError::Exception`] if an error was set.
    pub fn get(&self) -> Result<T, AsyncResultError> {
        self.get_until(Deadline::Never)
    }

    /// As [`get`](AsyncResult::get), for at most `timeout`; zero makes one trip through the loop.
    ///
    /// # Errors
    /// [`AsyncResultError::TimedOut`] if nothing was set in time, else as `get`.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, AsyncResultError> {
        self.get_until(Deadline::After(timeout))
    }

    /// [`get`](AsyncResult::get), for [`select!`](crate::select!) and `.await`.
    pub fn get_op(&self) -> Operation<impl Attempt<Output = Result<T, AsyncResultError>>> {
        Operation(WhenReady { object: self, output: |result| result.get() })
    }

    fn get_until(&self, deadline: Deadline) -> Result<T, AsyncResultError> {
        let state = self.settled(deadline).ok_or(AsyncResultError::TimedOut)?;
        let outcome = state.outcome.clone();
        drop(state);
        match outcome {
            Some(Ok(value)) => Ok((*value).clone()),
            Some(Err(raised)) => Err(AsyncResultError::Exception(raised)),
            None => unreachable!("what was set is replaced, never taken away"),
        }
    }
}

impl<T> Watch for AsyncResult<T> {
    fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        let state = &mut *self.state.lock();
        at(state.outcome.is_some(), &mut state.waiters);
    }
}

impl<T> Waitable for AsyncResult<T> {}

impl<T> Default for AsyncResult<T> {
    fn default() -> AsyncResult<T> {
        AsyncResult::new()
    }
}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").field("ready", &self.ready()).finish_non_exhaustive()
    }
}
