//! A value or an error that somebody will set.

use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::failure::{Failure, GreenletError};
use crate::greenlet::Greenlet;
use crate::hub::Deadline;
use crate::link::LinkId;
use crate::lock::{Lock, LockGuard};
use crate::raise::{GreenletExit, Raised};
use crate::select::Operation;
use crate::wait::{Attempt, WaitList, wait};
use crate::waitable::{Waitable, WhenReady, sealed::Watch};

/// A value, or an error, that is set once it is known and waited for by anybody: gevent's `AsyncResult`.
///
/// Setting it again replaces what was there. It works across hubs and from threads without one. A greenlet that is
/// [linked](Greenlet::link_result) to it sets it when it ends.
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
    outcome: Option<Outcome<T>>,
    waiters: WaitList<()>,
}

enum Outcome<T> {
    /// Behind an `Arc`, so that cloning and dropping a `T`, which is user code, happen outside the lock.
    Value(Arc<T>),
    Failed(Failure),
    /// Copied from a greenlet that was killed.
    Exit,
}

impl<T> Clone for Outcome<T> {
    fn clone(&self) -> Outcome<T> {
        match self {
            Outcome::Value(value) => Outcome::Value(value.clone()),
            Outcome::Failed(failure) => Outcome::Failed(failure.clone()),
            Outcome::Exit => Outcome::Exit,
        }
    }
}

/// Why [`AsyncResult::get`] has no value.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AsyncResultError {
    /// [`AsyncResult::set_exception`] was called with this, or the greenlet that set it failed with it. Always the
    /// [same](Failure::is_same), however often it is asked for.
    #[error("{0}")]
    Exception(#[source] Failure),
    /// The greenlet that set it was killed or exited. gevent has the exit as the value.
    #[error("the greenlet was killed or exited")]
    Exit(#[source] GreenletExit),
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
        self.settle(Outcome::Value(Arc::new(value)));
    }

    /// Sets an error, which [`get`](AsyncResult::get) returns, and wakes everybody who waits. A [`Failure`] is handed on
    /// as the [same](Failure::is_same) failure.
    pub fn set_exception(&self, error: impl Error + Send + Sync + 'static) {
        self.settle(Outcome::Failed(Failure::from_raised(Raised::new(error))));
    }

    /// Copies what a greenlet has ended with: a clone of the value, the same failure, or the exit of a killed one. gevent calls
    /// the result with the greenlet.
    ///
    /// False, and nothing is set, while it has not ended. Does not suspend, unless cloning the value does.
    ///
    /// ```
    /// use greenlet_core::{joinall, spawn, AsyncResult};
    ///
    /// let (job, answer) = (spawn(|| 42), AsyncResult::new());
    /// assert!(!answer.set_from(&job));
    /// joinall([&job]);
    /// assert!(answer.set_from(&job));
    /// assert_eq!(answer.value(), Some(42));
    /// ```
    pub fn set_from(&self, greenlet: &Greenlet<T>) -> bool
    where
        T: Clone + 'static,
    {
        let ready = greenlet.ready();
        if ready {
            self.settle(match greenlet.outcome() {
                Ok(value) => Outcome::Value(Arc::new(value.clone())),
                Err(GreenletError::Failed(failure)) => Outcome::Failed(failure),
                Err(_) => Outcome::Exit,
            });
        }
        ready
    }

    /// Copies what another result was set to; the two share the value. False, and nothing is set, while it is not ready.
    pub fn copy_from(&self, other: &AsyncResult<T>) -> bool {
        let outcome = other.state.lock().outcome.clone();
        let ready = outcome.is_some();
        if let Some(outcome) = outcome {
            self.settle(outcome);
        }
        ready
    }

    fn settle(&self, outcome: Outcome<T>) {
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

    /// Whether a value was set, or the exit of a killed greenlet, which is an ordinary end.
    pub fn successful(&self) -> bool {
        matches!(self.state.lock().outcome, Some(Outcome::Value(_) | Outcome::Exit))
    }

    /// The error that was set.
    pub fn exception(&self) -> Option<Failure> {
        match &self.state.lock().outcome {
            Some(Outcome::Failed(failure)) => Some(failure.clone()),
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
    /// A clone of the value, if one was set. Never suspends: with [`exception`](AsyncResult::exception), gevent's `get_nowait`.
    pub fn value(&self) -> Option<T> {
        let outcome = self.state.lock().outcome.clone();
        match outcome {
            Some(Outcome::Value(value)) => Some((*value).clone()),
            _ => None,
        }
    }

    /// Waits for the value and clones it.
    ///
    /// # Errors
    /// [`AsyncResultError::Exception`] if an error was set, [`AsyncResultError::Exit`] if it was the end of a killed greenlet.
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
            Some(Outcome::Value(value)) => Ok((*value).clone()),
            Some(Outcome::Failed(failure)) => Err(AsyncResultError::Exception(failure)),
            Some(Outcome::Exit) => Err(AsyncResultError::Exit(GreenletExit)),
            None => unreachable!("what was set is replaced, never taken away"),
        }
    }
}

impl<T: Clone + 'static> Greenlet<T> {
    /// Sets `result` when this greenlet has ended: to a clone of its value, to the same failure, or to the exit of a killed
    /// one. gevent's `link(result)`.
    ///
    /// It is a [link](Greenlet::link), and as such taken back by [`unlink`](crate::GreenletRef::unlink). For the other kinds, and for other
    /// targets, link a closure: `greenlet.link_value(move |g| { result.set_from(g); })`, `greenlet.link(move |g| queue.put(g.clone()).unwrap())`.
    ///
    /// ```
    /// use greenlet_core::{spawn, AsyncResult};
    /// use std::rc::Rc;
    ///
    /// let answer = Rc::new(AsyncResult::new());
    /// spawn(|| 6 * 7).link_result(answer.clone());
    /// assert_eq!(answer.get().unwrap(), 42);
    /// ```
    pub fn link_result(&self, result: impl Deref<Target = AsyncResult<T>> + 'static) -> LinkId {
        self.link(move |ended| {
            result.set_from(ended);
        })
    }
}

// SAFETY: it has one such list.

unsafe impl<T> Watch for AsyncResult<T> {
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
