//! Threads for what would block a hub.
//!
//! One mutex guards the numbers, and a job is sent while it is held. So `idle` (workers that wait for a job) and `queued`
//! (jobs sent and not yet accounted for by a worker) are consistent: there are workers enough when `idle >= queued`, or
//! as many as allowed. A worker that goes away says so under the mutex, and stays if a job counts on it.

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never, select, unbounded};

use super::map::apply_inline;
use crate::event::Event;
use crate::failure::{Failure, GreenletError, attempt};
use crate::hub::{Config, Deadline, Hub};
use crate::lock::Lock;
use crate::raise::GreenletExit;
use crate::report;
use crate::wait::{WaitList, wait};

/// Until an idle thread ends, unless told otherwise.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

thread_local! {
    /// The pool that this thread works for.
    static WORKS_FOR: Cell<Option<u64>> = const { Cell::new(None) };
}

/// OS threads for code that blocks its thread or computes for long: gevent's `ThreadPool`.
///
/// Whoever waits for a task suspends (a greenlet) or parks (a thread); the hub goes on meanwhile. Threads are started when
/// they are needed, up to a limit, and end when they were idle for a while. More tasks than threads wait in line, without
/// a limit: spawning never waits.
///
/// ```
/// use greenlet_core::pool::ThreadPool;
/// use greenlet_core::spawn;
///
/// let threads = ThreadPool::new(2);
/// let sum = threads.spawn(|| (1..=1000u64).sum::<u64>());
/// let other = spawn(|| "greenlets go on meanwhile");
/// assert_eq!(sum.get()?, 500_500);
/// assert_eq!(other.get()?, "greenlets go on meanwhile");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # The tasks
/// - Nothing stops a task that runs: a waiter that is killed or times out goes, and the result is dropped.
/// - A panic, or an error raised in it, is reported once through `tracing` and kept for the waiter. The worker goes on.
/// - A task may use greenlets, on a hub of its thread. Those that are left when it returns are killed first, as by
///   [`run`](crate::run).
///
/// # The end
/// Dropping the pool drops the tasks that have not begun: their waiters get [`TaskError::Cancelled`]. Those that run are
/// finished, and nobody waits for them, nor for the threads: that is [`shutdown`](ThreadPool::shutdown). To have all of
/// them done, [`join`](ThreadPool::join) first.
pub struct ThreadPool {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    /// For those of the workers that are idle: look at the settings.
    nudges: Sender<()>,
    /// What workers receive from.
    inlet: Inlet,
}

type Job = Box<dyn FnOnce() + Send>;

/// The pool of the process, once it was used.
fn global() -> MutexGuard<'static, Option<&'static ThreadPool>> {
    static GLOBAL: Mutex<Option<&'static ThreadPool>> = Mutex::new(None);
    // Nothing under this lock panics.
    GLOBAL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
struct Inlet {
    jobs: Receiver<Job>,
    nudges: Receiver<()>,
}

struct Shared {
    id: u64,
    state: Mutex<State>,
    /// Set while no task is unfinished.
    done: Event,
}

struct State {
    max: usize,
    idle_timeout: Option<Duration>,
    workers: usize,
    /// Workers that wait for a job.
    idle: usize,
    /// Jobs that were sent and that no worker has accounted for.
    queued: usize,
    /// Jobs that were sent and are not finished.
    unfinished: usize,
    /// Workers ever started, for their names.
    started: usize,
}

impl Shared {
    /// A poisoned mutex has a sound state: nothing of the user's runs while it is held. It is poisoned when it is unlocked
    /// while another greenlet of the thread is suspended in mid-unwind.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many tasks are finished, or never will be.
    fn finish(&self, state: &mut State, tasks: usize) {
        state.unfinished -= tasks;
        if state.unfinished == 0 {
            self.done.set();
        }
    }
}

impl ThreadPool {
    /// A pool of at most `max` threads. With 0, tasks wait until the limit is raised.
    pub fn new(max: usize) -> ThreadPool {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (jobs, jobs_inlet) = unbounded();
        let (nudges, nudges_inlet) = unbounded();
        let state = State {
            max,
            idle_timeout: Some(IDLE_TIMEOUT),
            workers: 0,
            idle: 0,
            queued: 0,
            unfinished: 0,
            started: 0,
        };
        let done = Event::new();
        done.set();
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        ThreadPool {
            shared: Arc::new(Shared { id, state: Mutex::new(state), done }),
            jobs,
            nudges,
            inlet: Inlet { jobs: jobs_inlet, nudges: nudges_inlet },
        }
    }

    /// The pool of the process: gevent's `hub.threadpool`, shared by all hubs. It is never dropped.
    ///
    /// It has at most 10 threads, unless the settings of the hub that uses it first (the environment, on a thread without a
    /// hub) say otherwise: see [`Config::threadpool_size`] and [`Config::threadpool_idle`].
    ///
    /// # Panics
    /// As the making of a hub does, when the environment has bad settings.
    pub fn global() -> &'static ThreadPool {
        if let Some(pool) = *global() {
            return pool;
        }
        let config = match Hub::try_current() {
            Some(hub) => Ok(hub.config.clone()),
            None => Config::from_env(),
        };
        let config = config.unwrap_or_else(|error| panic!("cannot make the process's thread pool: {error}"));
        let fresh = ThreadPool::new(config.threadpool_size);
        fresh.set_idle_timeout(config.threadpool_idle);
        // Another thread may have been faster; then this one, which has no threads yet, is dropped.
        global().get_or_insert_with(|| Box::leak(Box::new(fresh)))
    }

    /// In a forked child, which has none of the threads: the next use makes a new one.
    pub(crate) fn forget_global() {
        *global() = None;
    }

    // --- tasks -------------------------------------------------------------------------------------------------

    /// Lets a thread run `f`. Never suspends, and works from any thread.
    ///
    /// Dropping the task leaves it running. If there is no thread and the system refuses to start one, that is reported and
    /// the tasks in line are [cancelled](TaskError::Cancelled).
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let slot = Arc::new(Outcome::new());
        let completion = Completion { slot: slot.clone(), done: false };
        let (shared, site) = (self.shared.clone(), Location::caller());
        let job = Box::new(move || completion.complete(perform(f, site), &shared));
        let mut state = self.shared.state();
        state.queued += 1;
        state.unfinished += 1;
        self.shared.done.clear();
        // It cannot fail, as this pool has a receiver too.
        let _ = self.jobs.send(job);
        drop(state);
        self.start_workers();
        Task { slot }
    }

    /// Runs `f` on a thread of the pool and waits for what it returns.
    ///
    /// Called from a task of the same pool, it runs `f` right there. Then an error that is *raised* in `f` goes through to
    /// the caller. A kill or timeout that ends the wait does not stop `f`.
    ///
    /// # Errors
    /// [`TaskError`], apart from `TimedOut` and `Taken`.
    ///
    /// ```
    /// use greenlet_core::pool::ThreadPool;
    ///
    /// let threads = ThreadPool::new(1);
    /// assert_eq!(threads.apply(|| 6 * 7)?, 42);
    /// let failed = threads.apply(|| -> u32 { panic!("out of paper") }).unwrap_err();
    /// assert!(failed.to_string().contains("out of paper"));
    /// # Ok::<(), greenlet_core::pool::TaskError>(())
    /// ```
    #[track_caller]
    pub fn apply<F, T>(&self, f: F) -> Result<T, TaskError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if self.is_own_thread() {
            return apply_inline(f).map_err(TaskError::from_end);
        }
        self.spawn(f).get()
    }

    /// Calls `f` for every item, each in a task of its own, and collects the results in the order of the items.
    ///
    /// Called from a task of the same pool, it does one after the other right there, as [`apply`](ThreadPool::apply). When
    /// this ends early, by an error, or a kill or timeout of the caller, items that have not begun are left out.
    ///
    /// # Errors
    /// How the first item, by position, ended that did not return.
    ///
    /// ```
    /// use greenlet_core::pool::ThreadPool;
    ///
    /// let threads = ThreadPool::new(2);
    /// assert_eq!(threads.map(|n: u32| n * n, 1..=5)?, [1, 4, 9, 16, 25]);
    /// # Ok::<(), greenlet_core::pool::TaskError>(())
    /// ```
    #[track_caller]
    pub fn map<F, I, T>(&self, f: F, items: I) -> Result<Vec<T>, TaskError>
    where
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
    {
        if self.is_own_thread() {
            let inline = |item| apply_inline(|| f(item)).map_err(TaskError::from_end);
            return items.into_iter().map(inline).collect();
        }
        let f = Arc::new(f);
        let unwanted = SetOnDrop(Arc::new(AtomicBool::new(false)));
        let mut tasks = Vec::new();
        for item in items {
            let (f, unwanted) = (f.clone(), unwanted.0.clone());
            tasks.push(self.spawn(move || (!unwanted.load(Ordering::Relaxed)).then(|| f(item))));
        }
        let value = |task: Task<Option<T>>| task.get()?.ok_or(TaskError::Cancelled);
        tasks.into_iter().map(value).collect()
    }

    /// Whether the caller runs on a thread of this pool.
    fn is_own_thread(&self) -> bool {
        WORKS_FOR.get() == Some(self.shared.id)
    }

    /// The number of tasks that are not finished: in line, or running.
    pub fn len(&self) -> usize {
        self.shared.state().unfinished
    }

    /// Whether no task is unfinished.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until no task is unfinished. Does not suspend if that is so.
    ///
    /// A kill or timeout ends the wait and has no other effect. A task that joins its own pool waits for ever.
    pub fn join(&self) {
        self.shared.done.wait();
    }

    /// As [`join`](ThreadPool::join), for at most `timeout`. True if no task was unfinished.
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.shared.done.wait_timeout(timeout)
    }

    /// Drops the tasks that have not begun, as dropping the pool does, and waits until those that run are finished.
    ///
    /// A kill or timeout ends the wait; the pool is gone all the same.
    pub fn shutdown(self) {
        let shared = self.shared.clone();
        drop(self);
        shared.done.wait();
    }

    // --- threads -----------------------------------------------------------------------------------------------

    /// The number of threads that there are now.
    pub fn threads(&self) -> usize {
        self.shared.state().workers
    }

    /// The most threads that there may be.
    pub fn max(&self) -> usize {
        self.shared.state().max
    }

    /// Changes the most threads that there may be. Never suspends.
    ///
    /// Raised, it lets tasks in line begin. Lowered, threads end when they have finished what they do; with 0 all of
    /// them, and tasks wait until it is raised.
    pub fn set_max(&self, max: usize) {
        let mut state = self.shared.state();
        state.max = max;
        self.nudge(&state);
        drop(state);
        self.start_workers();
    }

    /// How long a thread stays without a task: 5 seconds, unless changed. `None`: for ever.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.shared.state().idle_timeout
    }

    /// Changes how long a thread stays without a task; those that are idle now begin anew. `None`: for ever.
    pub fn set_idle_timeout(&self, timeout: Option<Duration>) {
        let mut state = self.shared.state();
        state.idle_timeout = timeout;
        self.nudge(&state);
    }

    /// Lets idle workers look at the settings.
    fn nudge(&self, state: &State) {
        for _ in 0..state.idle {
            let _ = self.nudges.send(());
        }
    }

    /// As many as there are jobs that nobody is there for.
    fn start_workers(&self) {
        loop {
            let mut state = self.shared.state();
            if state.idle >= state.queued || state.workers >= state.max {
                return;
            }
            state.workers += 1;
            // It will wait for a job at once: until then it counts as one that does.
            state.idle += 1;
            state.started += 1;
            let name = format!("greenlet-pool-{}-{}", self.shared.id, state.started);
            drop(state);
            let (shared, inlet) = (self.shared.clone(), self.inlet.clone());
            let started = thread::Builder::new().name(name).spawn(move || work(&shared, &inlet));
            if let Err(error) = started {
                let mut state = self.shared.state();
                state.workers -= 1;
                state.idle -= 1;
                let nobody = state.workers == 0;
                drop(state);
                report::error(format_args!("a thread pool could not start a thread: {error}"));
                if nobody {
                    self.cancel_queued();
                }
                return;
            }
        }
    }

    /// Drops the jobs that no worker has taken.
    fn cancel_queued(&self) {
        let mut state = self.shared.state();
        let jobs: Vec<Job> = self.inlet.jobs.try_iter().collect();
        state.queued -= jobs.len();
        drop(state);
        let count = jobs.len();
        for job in jobs {
            // With the closure of the user's; the waiter is told by the completion in it.
            report::contain(|| drop(job));
        }
        if count > 0 {
            self.shared.finish(&mut self.shared.state(), count);
        }
    }
}

/// See [the end](ThreadPool#the-end). Idle threads see that the channels are closed.
impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.state().max = 0;
        self.cancel_queued();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        f.debug_struct("ThreadPool")
            .field("max", &state.max)
            .field("threads", &state.workers)
            .field("unfinished", &state.unfinished)
            .finish_non_exhaustive()
    }
}

/// The life of a worker. It begins as one that is idle.
fn work(shared: &Shared, inlet: &Inlet) {
    WORKS_FOR.set(Some(shared.id));
    while let Some(job) = next_job(shared, inlet) {
        job(); // contains what happens in it, and makes this worker an idle one
    }
}

/// Waits for a job. `None`: the worker is to end, and is not counted any more.
fn next_job(shared: &Shared, inlet: &Inlet) -> Option<Job> {
    loop {
        let mut state = shared.state();
        if state.workers > state.max {
            state.idle -= 1;
            state.workers -= 1;
            return None;
        }
        let idle_timeout = state.idle_timeout;
        drop(state);
        let alarm = idle_timeout.map_or_else(never, crossbeam_channel::after);
        let (job, timed_out) = select! {
            recv(inlet.jobs) -> job => (job.ok(), false),
            recv(inlet.nudges) -> _ => (None, false),
            recv(alarm) -> _ => (None, true),
        };
        let mut state = shared.state();
        if job.is_some() {
            state.idle -= 1;
            state.queued -= 1;
            return job;
        }
        // If a job in line counts on this one, it stays.
        if timed_out && state.idle > state.queued {
            state.idle -= 1;
            state.workers -= 1;
            return None;
        }
    }
}

/// Runs a task and ends the greenlets that it left behind.
fn perform<T>(f: impl FnOnce() -> T, site: &Location<'_>) -> Result<T, TaskError> {
    let ended = attempt(f);
    if Hub::try_current().is_some() {
        report::contain(|| crate::run(|| ()));
    }
    ended.map_err(|error| {
        if let GreenletError::Failed(failure) = &error
            && failure.claim_report()
        {
            report::error(format_args!("a task of a thread pool, spawned at {site}, failed: {failure}"));
        }
        TaskError::from_end(error)
    })
}

/// Tells the tasks of a map that nobody waits for them.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// --- the handle ---------------------------------------------------------------------------------------------------

/// What a [`ThreadPool`] was told to run: waits for it, and has its result.
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
    slot: Arc<Outcome<T>>,
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
    fn from_end(error: GreenletError) -> TaskError {
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

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("ready", &self.ready()).finish_non_exhaustive()
    }
}

/// Where the result goes.
struct Outcome<T> {
    state: Lock<OutcomeState<T>>,
}

struct OutcomeState<T> {
    ended: bool,
    result: Option<Result<T, TaskError>>,
    waiters: WaitList<()>,
}

impl<T> Outcome<T> {
    fn new() -> Outcome<T> {
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
        state.ended || wait(state, |state| &mut state.waiters, (), deadline).is_ok()
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
struct Completion<T> {
    slot: Arc<Outcome<T>>,
    done: bool,
}

impl<T> Completion<T> {
    /// The task is finished and its worker idle, for all to see at once: whoever has the result finds the pool done with
    /// it, and whoever joined the pool finds the result.
    fn complete(mut self, result: Result<T, TaskError>, shared: &Shared) {
        self.done = true;
        // Without a handle nobody can ask for the value any more. Dropping it runs code of the user's.
        let mut result = Some(result);
        if Arc::strong_count(&self.slot) == 1 {
            report::contain(|| drop(result.take()));
        }
        let mut state = shared.state();
        if let Some(result) = result {
            self.slot.set(result);
        }
        state.idle += 1;
        shared.finish(&mut state, 1);
        drop(state);
        // The handle may have gone in this moment, and then the value goes here.
        report::contain(|| drop(self));
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        if !mem::replace(&mut self.done, true) {
            self.slot.set(Err(TaskError::Cancelled));
        }
    }
}
