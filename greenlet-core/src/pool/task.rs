//! The tasks of a thread pool: handles to them, and where their results go.

use std::fmt;
use std::future::IntoFuture;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::threads::Shared;
use crate::failure::{Failure, GreenletError};
use crate::future::OperationFuture;
use crate::hub::Deadline;
use crate::lock::Lock;
use crate::queue::Queue;
use crate::raise::GreenletExit;
use crate::report;
use crate::select::Operation;
use crate::wait::{Attempt, WaitList, wait};
use crate::waitable::{Waitable, WhenReady, sealed::Watch};

/// What a [`ThreadPool`](super::ThreadPool) was told to run: waits for it, and has its result.
///
/// It works from greenlets, which suspend, and from threads, which park. Dropping it leaves the task running, and the
/// result is dropped.
///
/// ```
/// use greenlet_core::pool::{TaskError, ThreadPool};
/// use std::time::Duration;
///
/// let (go, gone) = std::sync::mpsc::channel::<()>();
/// let mut task = ThreadPool::global().spawn(move || gone.recv().is_ok());
/// assert!(matches!(task.get_timeout(Duration::from_millis(1)), Err(TaskError::TimedOut)));
/// go.send(())?;
/// assert_eq!(task.get()?, true);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it drops the result; the task runs all the same"]
pub struct Task<T> {
    pub(super) slot: Arc<Outcome<T>>,
}

/// Why a [`Task`] has no value.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// It panicked, or an error was raised in it.
    #[error("the task failed: {0}")]
    Failed(#[source] Failure),
    /// It raised [`GreenletExit`].
    #[error("the task exited")]
    Exit(#[source] GreenletExit),
    /// It was not run: the pool was dropped first, or got no thread.
    #[error("the task was cancelled before it began")]
    Cancelled,
    /// The time given for the wait was over first. The task goes on, and may be waited for again.
    #[error("the task did not end in time")]
    TimedOut,
    /// [`Task::get_timeout`] had the result already.
    #[error("the task's result was taken before")]
    Taken,
}

impl TaskError {
    pub(super) fn from_end(error: GreenletError) -> TaskError {
        match error {
            GreenletError::Failed(failure) => TaskError::Failed(failure),
            _ => TaskError::Exit(GreenletExit),
        }
    }
}

impl<T> Task<T> {
    /// Whether it has ended, in whatever way.
    pub fn ready(&self) -> bool {
        self.slot.state.lock().ended
    }

    /// Waits until it has ended. Does not suspend if it has. A kill or timeout ends the wait and does nothing to the task.
    pub fn wait(&self) {
        self.slot.wait(Deadline::Never);
    }

    /// As [`wait`](Task::wait), for at most `timeout`. True if it has ended.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.slot.wait(Deadline::After(timeout))
    }

    /// [`wait`](Task::wait), for [`select!`](crate::select!) and `.await`.
    pub fn wait_op(&self) -> Operation<impl Attempt<Output = ()>> {
        Operation(WhenReady { object: self, output: |_| () })
    }

    /// Waits for the task and takes its result. A kill or timeout that ends the wait drops the result.
    ///
    /// # Errors
    /// [`TaskError`], apart from `TimedOut`.
    pub fn get(self) -> Result<T, TaskError> {
        self.slot.take(Deadline::Never)
    }

    /// As [`get`](Task::get), waiting for at most `timeout`. A kill or timeout of the caller leaves the result here.
    ///
    /// # Errors
    /// [`TaskError::TimedOut`] if it has not ended in time, [`TaskError::Taken`] if this returned its result before, else
    /// as `get`.
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<T, TaskError> {
        self.slot.take(Deadline::After(timeout))
    }
}

// SAFETY: it has one such list.

unsafe impl<T> Watch for Task<T> {
    fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        let state = &mut *self.slot.state.lock();
        at(state.ended, &mut state.waiters);
    }
}

impl<T> Waitable for Task<T> {}

/// `task.await` is its result.
impl<T> IntoFuture for Task<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = OperationFuture<WhenReady<Task<T>, Self::Output>>;

    fn into_future(self) -> Self::IntoFuture {
        Operation(WhenReady { object: self, output: |task| task.slot.take(Deadline::Never) }).into_future()
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("ready", &self.ready()).finish_non_exhaustive()
    }
}

/// Where the result goes.
pub(super) struct Outcome<T> {
    state: Lock<OutcomeState<T>>,
}

struct OutcomeState<T> {
    ended: bool,
    result: Option<Result<T, TaskError>>,
    waiters: WaitList<()>,
}

impl<T> Outcome<T> {
    pub(super) fn new() -> Outcome<T> {
        let state = OutcomeState { ended: false, result: None, waiters: WaitList::new() };
        Outcome { state: Lock::new(state) }
    }

    fn set(&self, result: Result<T, TaskError>) {
        let mut state = self.state.lock();
        state.ended = true;
        state.result = Some(result);
        let wakeups = state.waiters.notify_all();
        drop(state);
        wakeups.wake();
    }

    /// False: the deadline came first.
    fn wait(&self, deadline: Deadline) -> bool {
        let state = self.state.lock();
        state.ended || wait("Task", state, |state| &mut state.waiters, (), deadline).is_ok()
    }

    fn take(&self, deadline: Deadline) -> Result<T, TaskError> {
        if !self.wait(deadline) {
            return Err(TaskError::TimedOut);
        }
        let result = self.state.lock().result.take();
        result.unwrap_or(Err(TaskError::Taken))
    }
}

/// The worker's end of a task. Dropped without a result, it cancels the task.
pub(super) struct Completion<T> {
    slot: Arc<Outcome<T>>,
    /// Who else is told of the end.
    told: Option<Told>,
    done: bool,
}

/// Somebody who reads the ends of several tasks, and the number of this one.
pub(super) type Told = (Arc<Queue<u64>>, u64);

impl<T> Completion<T> {
    pub(super) fn new(slot: Arc<Outcome<T>>, told: Option<Told>) -> Completion<T> {
        Completion { slot, told, done: false }
    }

    /// The task is finished and its worker idle, for all to see at once: whoever has the result finds the pool done with
    /// it, and whoever joined the pool finds the result.
    pub(super) fn complete(mut self, result: Result<T, TaskError>, shared: &Shared) {
        self.done = true;
        // Without a handle nobody can ask for the value any more. Dropping it runs code of the user's.
        let mut result = Some(result);
        if Arc::strong_count(&self.slot) == 1 {
            report::contain(|| drop(result.take()));
        }
        let mut state = shared.state();
        if let Some(result) = result {
            self.set(result);
        }
        shared.worker_is_idle(&mut state);
        drop(state);
        // The handle may have gone in this moment, and then the value goes here.
        report::contain(|| drop(self));
    }

    fn set(&self, result: Result<T, TaskError>) {
        self.slot.set(result);
        if let Some((queue, number)) = &self.told {
            // It has no bound, and nobody shuts it down.
            let _ = queue.put(*number);
        }
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        if !mem::replace(&mut self.done, true) {
            self.set(Err(TaskError::Cancelled));
        }
    }
}
