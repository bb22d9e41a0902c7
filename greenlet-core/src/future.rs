//! Async code and greenlets: futures in greenlets, and greenlets' things in async tasks.
//!
//! **Futures in greenlets.** [`block_on`] runs a future in the current greenlet, with a waker that wakes this greenlet: other greenlets
//! run meanwhile. It takes any future that needs no particular executor. One that needs a runtime's reactor (tokio's sockets and
//! timers) needs it still: enter that runtime's context, whose own threads then do the work.
//!
//! **Futures beside greenlets.** An [`Executor`] runs any number of futures as tasks in one greenlet; a [`Source`](crate::io::Source) can be
//! [polled](crate::io::Source::poll_io).
//!
//! **Greenlets' things in async tasks.** Every [operation](mod@crate::select) is a future, on any executor, in any thread: `queue.get_op().await`,
//! `event.wait_op().await`, `greenlet.get_op().await`. For greenlets, events and results `.await` works on references directly. A future that is
//! dropped gives back what it was given, so nothing is lost by a cancelled task: an item goes to the next getter, or to the front of its
//! queue (where two that are given back may change places). A put that was done stays done.
//!
//! ```
//! use greenlet_core::{future::block_on, spawn, Queue};
//! use std::sync::Arc;
//!
//! // an async task, here run by a greenlet, that talks to another greenlet
//! let (questions, answers) = (Arc::new(Queue::<u32>::unbounded()), Arc::new(Queue::unbounded()));
//! spawn({
//!     let (questions, answers) = (questions.clone(), answers.clone());
//!     move || {
//!         for question in questions.iter() {
//!             answers.put(question * 2).unwrap();
//!         }
//!     }
//! });
//! let answer = block_on(async {
//!     questions.put_op(21).await?;
//!     Ok::<u32, Box<dyn std::error::Error>>(answers.get_op().await?)
//! })?;
//! assert_eq!(answer, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod executor;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::async_result::{AsyncResult, AsyncResultError};
use crate::event::Event;
use crate::failure::GreenletError;
use crate::greenlet::Greenlet;
use crate::hub::{Deadline, Hub, Nanos};
use crate::lock::Lock;
use crate::select::Operation;
use crate::sleep::yield_now;
use crate::timeout::TimedOut;
use crate::wait::{Attempt, Slot, WaitList, Waiter, wait};
use crate::waitable::WhenReady;

pub use executor::{Executor, Task};

/// Runs a future to its end in the current greenlet, which is suspended whenever the future waits. On a thread without a hub it
/// parks the thread.
///
/// A kill or timeout that reaches the greenlet drops the future, at the await that it waits in, and unwinds from here.
///
/// # Panics
/// When the future does, and in a callback of the loop if it has to wait.
///
/// ```
/// use greenlet_core::future::block_on;
///
/// assert_eq!(block_on(async { 6 * 7 }), 42);
/// ```
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    match drive(pin!(future.into_future()), Deadline::Never) {
        Some(output) => output,
        None => unreachable!("without a deadline it runs to its end"),
    }
}

/// As [`block_on`], for at most `timeout`; then the future is dropped.
///
/// # Errors
/// [`TimedOut`].
///
/// # Panics
/// As `block_on`.
pub fn block_on_timeout<F: IntoFuture>(future: F, timeout: Duration) -> Result<F::Output, TimedOut> {
    drive(pin!(future.into_future()), Deadline::After(timeout)).ok_or_else(|| TimedOut::new(timeout))
}

fn drive<F: Future>(mut future: Pin<&mut F>, mut deadline: Deadline) -> Option<F::Output> {
    let signal = Arc::new(Signal(Lock::new(State { woken: false, waiters: WaitList::new() })));
    let waker = Waker::from(signal.clone());
    let mut context = Context::from_waker(&waker);
    deadline.fix();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        if !signal.wait(deadline) {
            return None;
        }
    }
}

/// Whether the future is to be polled again.
struct Signal(Lock<State>);

struct State {
    woken: bool,
    waiters: WaitList<()>,
}

impl Signal {
    /// False: the deadline came first.
    fn wait(&self, mut deadline: Deadline) -> bool {
        let mut state = self.0.lock();
        if state.woken {
            // Woken while it was polled, perhaps by itself: who never waits must let the others run all the same, and hear of kills and
            // of its deadline.
            state.woken = false;
            drop(state);
            if Hub::try_current().and_then(Hub::current_greenlet).is_some() {
                yield_now();
            }
            return deadline.fix().is_none_or(|at| !at.since(Nanos::now()).is_zero());
        }
        if wait("a future", state, |state| &mut state.waiters, (), deadline).is_err() {
            return false;
        }
        self.0.lock().woken = false;
        true
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Signal>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Signal>) {
        let mut state = self.0.lock();
        state.woken = true;
        let wakeups = state.waiters.notify_all();
        drop(state);
        wakeups.wake();
    }
}

/// The future of an [`Operation`].
#[must_use = "a future does nothing until it is polled"]
pub struct OperationFuture<A: Attempt> {
    slot: Slot<A>,
}

impl<A: Attempt> Future for OperationFuture<A> {
    type Output = A::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A::Output> {
        // SAFETY: the slot is not moved out.
        let slot = unsafe { &mut self.get_unchecked_mut().slot };
        if slot.is_waiting() {
            if !slot.notified() {
                slot.wake_instead(context.waker());
            }
            // It may have been notified before the new waker was in place.
            if !slot.notified() {
                return Poll::Pending;
            }
            slot.leave();
        } else {
            while !slot.try_now() {
                // SAFETY: pinned, and the destructor of the slot takes it out. There is no party.
                if unsafe { slot.enter(Waiter::Task(context.waker().clone()), None) } {
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(slot.take_output().expect("an operation that is done has its output"))
    }
}

impl<A: Attempt> fmt::Debug for OperationFuture<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationFuture").field("waiting", &self.slot.is_waiting()).finish_non_exhaustive()
    }
}

impl<A: Attempt> IntoFuture for Operation<A> {
    type Output = A::Output;
    type IntoFuture = OperationFuture<A>;

    fn into_future(self) -> OperationFuture<A> {
        OperationFuture { slot: Slot::new(self.0) }
    }
}

/// `(&event).await` waits until it is set.
impl<'a> IntoFuture for &'a Event {
    type Output = ();
    type IntoFuture = OperationFuture<WhenReady<&'a Event, ()>>;

    fn into_future(self) -> Self::IntoFuture {
        Operation(WhenReady { object: self, output: |_| () }).into_future()
    }
}

/// `(&result).await` is what was set.
impl<'a, T: Clone> IntoFuture for &'a AsyncResult<T> {
    type Output = Result<T, AsyncResultError>;
    type IntoFuture = OperationFuture<WhenReady<&'a AsyncResult<T>, Self::Output>>;

    fn into_future(self) -> Self::IntoFuture {
        Operation(WhenReady { object: self, output: |result| result.get() }).into_future()
    }
}

/// `(&greenlet).await` is what it returned.
impl<'a, T: Clone> IntoFuture for &'a Greenlet<T> {
    type Output = Result<T, GreenletError>;
    type IntoFuture = OperationFuture<WhenReady<&'a Greenlet<T>, Self::Output>>;

    fn into_future(self) -> Self::IntoFuture {
        Operation(WhenReady { object: self, output: |greenlet| greenlet.get() }).into_future()
    }
}

/// `greenlet.await` is what it returned.
impl<T: Clone> IntoFuture for Greenlet<T> {
    type Output = Result<T, GreenletError>;
    type IntoFuture = OperationFuture<WhenReady<Greenlet<T>, Self::Output>>;

    fn into_future(self) -> Self::IntoFuture {
        Operation(WhenReady { object: self, output: |greenlet| greenlet.get() }).into_future()
    }
}
