//! Tasks: functions that run on their own, supervised, and whose values are awaited. Elixir's `Task` and `Task.Supervisor`.

mod stream;

use std::fmt;
use std::time::Duration;

use greenlet_core::oneshot::{self, RecvTimeoutError};
pub use stream::TaskStream;

use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::{AnyActor, Linkable};
use crate::ask::AskError;
use crate::context::Context;
use crate::exit::Exit;
use crate::supervisor::{
    ChildCounts, DynamicRef, DynamicSpec, DynamicSupervisor, Restart, Shutdown, StartChildError, StartError,
    Supervise,
};

/// A supervisor of tasks, to be started.
///
/// A task is an actor that runs one function, and ends with it. It may block as any handler; it runs on whichever hub has time. Tasks are
/// temporary: what has failed is not run again by itself.
///
/// ```
/// use greenlet_actor::{TaskError, TaskSupervisor};
/// use std::time::Duration;
///
/// # greenlet_core::run(|| {
/// let tasks = TaskSupervisor::new().start().unwrap();
/// let sum = tasks.async_(|| (1..=10).sum::<u32>()).unwrap();
/// let broken = tasks.async_nolink(|| -> u32 { panic!("no data") }).unwrap();
/// assert_eq!(sum.await_(Duration::from_secs(5)).unwrap(), 55);
/// assert!(matches!(broken.await_(Duration::from_secs(5)), Err(TaskError::Exited(_))));
///
/// let squares = tasks.async_stream(1..=4, |n: u32| n * n).max_concurrency(2);
/// assert_eq!(squares.map(Result::unwrap).collect::<Vec<_>>(), [1, 4, 9, 16]);
/// # });
/// ```
#[derive(Clone, Debug)]
#[must_use = "a supervisor does nothing until it is started"]
pub struct TaskSupervisor(DynamicSupervisor);

impl Default for TaskSupervisor {
    fn default() -> TaskSupervisor {
        TaskSupervisor::new()
    }
}

impl TaskSupervisor {
    /// Any number of tasks, which have 5 seconds to shut down.
    pub fn new() -> TaskSupervisor {
        TaskSupervisor(DynamicSupervisor::new().restart(Restart::Temporary))
    }

    /// How many tasks there may be at the same time. Default: any number.
    pub fn max_children(self, tasks: usize) -> TaskSupervisor {
        TaskSupervisor(self.0.max_children(tasks))
    }

    /// How tasks are stopped with their supervisor. Default: 5 seconds.
    pub fn shutdown(self, shutdown: Shutdown) -> TaskSupervisor {
        TaskSupervisor(self.0.shutdown(shutdown))
    }

    /// Starts the supervisor, on this thread's hub. In a tree it is a [`supervisor`](crate::supervisor), found by
    /// [`SupervisorRef::tasks`](crate::SupervisorRef::tasks).
    ///
    /// # Errors
    /// As [`DynamicSupervisor::start`].
    #[track_caller]
    pub fn start(self) -> Result<Tasks, StartError> {
        self.start_named("task supervisor")
    }

    /// As [`start`](TaskSupervisor::start), with a name for reports.
    ///
    /// # Errors
    /// As `start`.
    #[track_caller]
    pub fn start_named(self, name: impl Into<String>) -> Result<Tasks, StartError> {
        Ok(Tasks { supervisor: self.0.start_named(name)? })
    }

    pub(crate) fn into_dynamic(self) -> DynamicSupervisor {
        self.0
    }
}

// Checked here: it can be in a tree.
const _: fn() = || {
    fn is_supervise<S: Supervise>() {}
    is_supervise::<TaskSupervisor>();
};

/// A running [`TaskSupervisor`]. Works from any thread, greenlet or async task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tasks {
    supervisor: DynamicRef,
}

/// Why a task has no value.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// It ended before it had one.
    #[error("the task has ended: {0}")]
    Exited(Exit),
    /// The time was over, and it was killed.
    #[error("no value in {0:?}")]
    TimedOut(Duration),
    /// Of a stream: the task was not started.
    #[error(transparent)]
    NotStarted(StartChildError),
}

/// What a task does. Its message to itself is: go.
struct Run<F> {
    job: Option<F>,
}

impl<F: FnOnce() + Send + 'static> Actor for Run<F> {
    type Message = ();

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        ctx.me().send(()).map_err(|_| Exit::NoProc)
    }

    fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> {
        if let Some(job) = self.job.take() {
            job();
        }
        Err(Exit::Normal)
    }

    fn label((): &()) -> &'static str {
        "task"
    }
}

impl Tasks {
    pub(crate) fn new(supervisor: DynamicRef) -> Tasks {
        Tasks { supervisor }
    }

    #[track_caller]
    fn start(
        &self,
        job: impl FnOnce() + Send + 'static,
        owner: Option<AnyActor>,
    ) -> Result<AnyActor, StartChildError> {
        let mut job = Some(job);
        let mut spec = DynamicSpec::worker(move || Run { job: job.take() });
        if let Some(owner) = owner {
            spec = spec.builder(move |builder: ActorBuilder| builder.link(&owner));
        }
        Ok(self.supervisor.start_spec(spec)?.any_cell())
    }

    #[track_caller]
    fn task<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
        owner: Option<AnyActor>,
    ) -> Result<Task<T>, StartChildError> {
        let (to, answer) = oneshot::channel();
        let actor = self.start(move || drop(to.send(f())), owner.clone())?;
        Ok(Task { actor, owner, answer })
    }

    /// Runs a function as a task that is linked with the actor that the caller is in, if it is in one: if either fails, both do.
    ///
    /// # Errors
    /// [`StartChildError`].
    #[track_caller]
    pub fn async_<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Task<T>, StartChildError> {
        self.task(f, AnyActor::current())
    }

    /// Runs a function as a task whose failure harms nobody: only its value is missing.
    ///
    /// # Errors
    /// [`StartChildError`].
    #[track_caller]
    pub fn async_nolink<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Task<T>, StartChildError> {
        self.task(f, None)
    }

    /// Runs a function as a task for whose value nobody waits.
    ///
    /// # Errors
    /// [`StartChildError`].
    #[track_caller]
    pub fn start_child(&self, f: impl FnOnce() + Send + 'static) -> Result<AnyActor, StartChildError> {
        self.start(f, None)
    }

    /// Runs a function for each item, several at the same time, and gives the values in the order of the items: see [`TaskStream`]. The tasks
    /// are linked as those of [`async_`](Tasks::async_).
    pub fn async_stream<I, F, T>(&self, items: I, f: F) -> TaskStream<I::IntoIter, F, T>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        TaskStream::new(self.clone(), items.into_iter(), f, AnyActor::current())
    }

    /// As [`async_stream`](Tasks::async_stream), with tasks whose failures harm nobody.
    pub fn async_stream_nolink<I, F, T>(&self, items: I, f: F) -> TaskStream<I::IntoIter, F, T>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        TaskStream::new(self.clone(), items.into_iter(), f, None)
    }

    /// The tasks that run, in no order.
    ///
    /// # Errors
    /// [`AskError`] when the supervisor has ended.
    pub fn which_children(&self) -> Result<Vec<AnyActor>, AskError> {
        self.supervisor.which_children()
    }

    /// How many tasks run.
    ///
    /// # Errors
    /// [`AskError`] when the supervisor has ended.
    pub fn count_children(&self) -> Result<ChildCounts, AskError> {
        self.supervisor.count_children()
    }

    /// Stops all tasks at the same time, then the supervisor, and waits for that. Returns the reason of its exit.
    pub fn shutdown(&self) -> Exit {
        self.supervisor.shutdown()
    }

    /// The supervisor as an actor.
    pub fn actor(&self) -> AnyActor {
        self.supervisor.actor()
    }
}

impl Linkable for Tasks {
    fn any_cell(&self) -> AnyActor {
        self.actor()
    }
}

/// A function that runs as a task, and will have a value. Dropping it leaves the task alone.
pub struct Task<T> {
    actor: AnyActor,
    owner: Option<AnyActor>,
    answer: oneshot::Receiver<T>,
}

impl<T: Send + 'static> Task<T> {
    /// Waits for the value. After a timeout the task is killed (and whoever it is linked with does not hear of that).
    ///
    /// As Elixir's, a task that has given its value may still be about to end when this returns; [`join`](AnyActor::join) its
    /// [actor](Task::actor) to see that through. One that is found to have failed has ended, and its links have been told.
    ///
    /// # Errors
    /// [`TaskError`].
    pub fn await_(self, timeout: Duration) -> Result<T, TaskError> {
        match self.yield_(timeout) {
            Some(result) => result,
            None => {
                self.unlink();
                self.actor.send_exit(Exit::Killed);
                Err(TaskError::TimedOut(timeout))
            }
        }
    }

    /// Waits for the value for so long; `None` if it is not there by then, and the task goes on. The value is given out once.
    pub fn yield_(&self, timeout: Duration) -> Option<Result<T, TaskError>> {
        match self.answer.recv_timeout(timeout) {
            Ok(value) => Some(Ok(value)),
            Err(RecvTimeoutError::TimedOut) => None,
            // Without a value it ends, or has.
            Err(RecvTimeoutError::Closed) => Some(Err(TaskError::Exited(self.actor.join()))),
        }
    }

    /// Stops the task and waits for that. `Some` if it had a value all the same, or a failure of its own.
    pub fn shutdown(self, shutdown: Shutdown) -> Option<Result<T, TaskError>> {
        self.unlink();
        let exit = match shutdown {
            Shutdown::BrutalKill => None,
            Shutdown::Timeout(limit) => {
                self.actor.tell_to_end(Exit::Shutdown);
                self.actor.join_timeout(limit)
            }
            Shutdown::Infinity => {
                self.actor.tell_to_end(Exit::Shutdown);
                Some(self.actor.join())
            }
        };
        let exit = exit.unwrap_or_else(|| {
            self.actor.kill();
            self.actor.join()
        });
        match self.answer.try_recv() {
            Ok(value) => Some(Ok(value)),
            Err(_) => exit.failure().is_some().then(|| Err(TaskError::Exited(exit))),
        }
    }

    fn unlink(&self) {
        if let Some(owner) = &self.owner {
            self.actor.unlink(owner);
        }
    }

    /// The task as an actor: to monitor it, or to end it.
    pub fn actor(&self) -> &AnyActor {
        &self.actor
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("actor", &self.actor).finish_non_exhaustive()
    }
}
