//! Many futures in one greenlet.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};

use async_task::Runnable;

use crate::failure::{GreenletError, attempt};
use crate::greenlet::{Builder, Greenlet, Kill};
use crate::hub::{ErrorContext, Hub};
use crate::queue::{Queue, ShutDown};
use crate::sleep::yield_now;

/// Runs futures as tasks of this hub, all of them in one greenlet: a task that waits has no stack.
///
/// For libraries of the async world that want tasks of their own, and for what has to wait by the ten thousand in little memory. Blocking
/// in a task suspends the executor's greenlet, and so every task of it: a task that has to block [spawns](crate::spawn) a greenlet and
/// awaits its end. After 32 tasks in a row the greenlet lets the others run.
///
/// Wakers work from any thread; the tasks themselves stay on this one. Dropping the executor ends its greenlet: a task is dropped with its
/// [`Task`], or when it is woken next.
///
/// ```
/// use greenlet_core::future::{block_on, Executor};
/// use greenlet_core::{spawn_later, Event};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let (executor, start) = (Executor::new(), Arc::new(Event::new()));
/// let tasks: Vec<_> = (0..1000)
///     .map(|n| {
///         let start = start.clone();
///         executor.spawn(async move {
///             start.wait_op().await;
///             n
///         })
///     })
///     .collect();
/// spawn_later(Duration::from_millis(1), move || start.set());
/// let sum: u32 = block_on(async {
///     let mut sum = 0;
///     for task in tasks {
///         sum += task.await.unwrap();
///     }
///     sum
/// });
/// assert_eq!(sum, 499_500);
/// ```
pub struct Executor {
    woken: Arc<Queue<Runnable>>,
    driver: Greenlet<()>,
    /// Tasks are spawned, polled and dropped on one thread.
    local: PhantomData<Rc<()>>,
}

/// A future that an [`Executor`] runs. Awaiting it gives what the future returned; dropping it drops the future, at its next turn, and
/// [`detach`](Task::detach) lets it run on by itself.
#[must_use = "dropping a task drops its future"]
pub struct Task<T>(async_task::Task<Result<T, GreenletError>>);

/// Tasks that may run before other greenlets get a turn.
const LONGEST_STREAK: u32 = 32;

impl Executor {
    /// Starts the greenlet.
    #[track_caller]
    pub fn new() -> Executor {
        let woken = Arc::new(Queue::<Runnable>::unbounded());
        let tasks = woken.clone();
        let driver = Builder::new().name("executor").spawn(move || drive(&tasks));
        Executor { woken, driver, local: PhantomData }
    }

    /// Runs a future as a task, beginning at the next turn of the executor.
    ///
    /// If it panics, or an error is raised in it, that is reported as a greenlet's failure is, and the task ends with it. The others go on.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let (woken, home) = (self.woken.clone(), thread::current().id());
        let (runnable, task) =
            async_task::spawn_local(Contained(future), move |runnable| schedule(&woken, home, runnable));
        runnable.schedule();
        Task(task)
    }
}

fn schedule(woken: &Queue<Runnable>, home: ThreadId, runnable: Runnable) {
    if let Err(ShutDown(runnable)) = woken.put(runnable) {
        // The executor is gone. The future may only be dropped where it lived; elsewhere it is leaked.
        if thread::current().id() == home {
            drop(runnable);
        } else {
            std::mem::forget(runnable);
        }
    }
}

fn drive(tasks: &Queue<Runnable>) {
    // Also when it is killed: nobody is to wait for a turn that never comes.
    struct Close<'a>(&'a Queue<Runnable>);
    impl Drop for Close<'_> {
        fn drop(&mut self) {
            self.0.shutdown_now();
        }
    }
    let _close = Close(tasks);
    loop {
        for _ in 0..LONGEST_STREAK {
            match tasks.get() {
                Ok(runnable) => drop(runnable.run()),
                Err(_) => return,
            }
        }
        yield_now();
    }
}

/// Ends the task when its future panics, instead of all of them.
struct Contained<F>(F);

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, GreenletError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the field is pinned with the whole, which is never moved out of.
        let future = unsafe { self.map_unchecked_mut(|contained| &mut contained.0) };
        match attempt(|| future.poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(error) => {
                if let GreenletError::Failed(failure) = &error {
                    Hub::current_hub().handle_error(&ErrorContext::Task, failure);
                }
                Poll::Ready(Err(error))
            }
        }
    }
}

impl Default for Executor {
    fn default() -> Executor {
        Executor::new()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.woken.shutdown_now();
        self.driver.kill_with(Kill::default().no_wait());
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("driver", &self.driver).finish_non_exhaustive()
    }
}

impl<T> Task<T> {
    /// Lets it run to its end by itself.
    pub fn detach(self) {
        self.0.detach();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Task<T> {
    /// The error says that the future panicked, or that something was raised in it.
    type Output = Result<T, GreenletError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("finished", &self.is_finished()).finish()
    }
}
