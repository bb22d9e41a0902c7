//! Threads for what would block a hub.
//!
//! One mutex guards the numbers, and a job is sent while it is held. So `idle` (workers that wait for a job) and `queued`
//! (jobs sent and not yet accounted for by a worker) are consistent: there are workers enough when `idle >= queued`, or
//! as many as allowed. A worker that goes away says so under the mutex, and stays if a job counts on it.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never, select, unbounded};

use super::bounded::PoolFull;
use super::map::apply_inline;
use super::task::{Completion, Outcome, Task, TaskError, Told};
use crate::event::Event;
use crate::failure::{GreenletError, attempt};
use crate::greenlet::Greenlet;
use crate::hub::{Config, Hub};
use crate::raise::raise;
use crate::report;
use crate::sim;
use crate::sync::Semaphore;

/// Until an idle thread ends, unless told otherwise.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pool of the process, once it was asked for.
static GLOBAL: AtomicPtr<ThreadPool> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// The pool that this thread works for.
    static WORKS_FOR: Cell<Option<u64>> = const { Cell::new(None) };
}

/// OS threads for code that blocks its thread or computes for long: gevent's `ThreadPool`.
///
/// Whoever waits for a task suspends (a greenlet) or parks (a thread); the hub goes on meanwhile. Threads are started when
/// they are needed, up to a limit, and end when they were idle for a while. More tasks than threads wait in line, without
/// a limit unless [`max_waiting`](ThreadPool::max_waiting) sets one: then spawning waits for a place.
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
    /// Places in the line, where they are limited.
    line: Option<Arc<Semaphore>>,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
struct Inlet {
    jobs: Receiver<Job>,
    nudges: Receiver<()>,
}

pub(super) struct Shared {
    id: u64,
    state: Mutex<State>,
    /// Set while no task is unfinished.
    done: Event,
}

pub(super) struct State {
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
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker has finished its task.
    pub(super) fn worker_is_idle(&self, state: &mut State) {
        state.idle += 1;
        self.finish(state, 1);
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
            line: None,
        }
    }

    /// Limits how many tasks may wait in line, so that who spawns faster than the threads work is held up: then
    /// [`spawn`](ThreadPool::spawn), and what is built on it, waits for a place. gevent's pool is like that, with a limit of 1.
    ///
    /// # Panics
    /// When `limit` is 0: nothing could ever be spawned.
    ///
    /// ```
    /// use greenlet_core::pool::ThreadPool;
    ///
    /// let threads = ThreadPool::new(2).max_waiting(10);
    /// assert_eq!(threads.map(|n: u32| n + 1, 0..1000)?.len(), 1000); // never more than 10 in line
    /// # Ok::<(), greenlet_core::pool::TaskError>(())
    /// ```
    #[track_caller]
    pub fn max_waiting(mut self, limit: usize) -> ThreadPool {
        assert!(limit > 0, "a thread pool must let at least 1 task wait in line");
        self.line = Some(Arc::new(Semaphore::new(limit)));
        self
    }

    /// The pool of the process: gevent's `hub.threadpool`, shared by all hubs. It is never dropped.
    ///
    /// It has at most 10 threads, unless the settings of the hub that uses it first (the environment, on a thread without a
    /// hub) say otherwise: see [`Config::threadpool_size`] and [`Config::threadpool_idle`].
    ///
    /// # Panics
    /// As the making of a hub does, when the environment has bad settings.
    pub fn global() -> &'static ThreadPool {
        // SAFETY: what is there was leaked below, and is never freed.
        if let Some(pool) = unsafe { GLOBAL.load(Ordering::Acquire).as_ref() } {
            return pool;
        }
        let config = match Hub::try_current() {
            Some(hub) => Ok(hub.config.clone()),
            None => Config::from_env(),
        };
        let config = config.unwrap_or_else(|error| panic!("cannot make the process's thread pool: {error}"));
        let fresh = ThreadPool::new(config.threadpool_size);
        fresh.set_idle_timeout(config.threadpool_idle);
        let fresh: &'static ThreadPool = Box::leak(Box::new(fresh));
        let leaked = ptr::from_ref(fresh).cast_mut();
        match GLOBAL.compare_exchange(ptr::null_mut(), leaked, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            // Two began at once. The second one's pool has no thread, and is left to itself.
            // SAFETY: as above.
            Err(first) => unsafe { &*first },
        }
    }

    /// In the child of a fork, where the threads of the parent's pool are not: the next [`global`](ThreadPool::global) makes a
    /// new one. The old one is left to itself: its mutex may be held by a thread that is not there.
    pub(crate) fn forget_global() {
        GLOBAL.store(ptr::null_mut(), Ordering::Release);
    }

    // --- tasks -------------------------------------------------------------------------------------------------

    /// Lets a thread run `f`. Works from any thread, and never suspends unless the line has a
    /// [limit](ThreadPool::max_waiting).
    ///
    /// With a limit this waits for a place in the line, first come, first served; a kill or timeout that ends the wait drops
    /// `f`. A task that spawns into its own pool never waits: it might be for itself.
    ///
    /// Dropping the task leaves it running. If there is no thread and the system refuses to start one, that is reported and
    /// the tasks in line are [cancelled](TaskError::Cancelled).
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.enqueue(f, self.place(), None)
    }

    /// As [`spawn`](ThreadPool::spawn), if that need not wait. Never suspends.
    ///
    /// # Errors
    /// [`PoolFull`] with the closure, if there is no place in the line.
    ///
    /// ```
    /// use greenlet_core::pool::ThreadPool;
    ///
    /// let threads = ThreadPool::new(0).max_waiting(1); // no thread: the first one waits in line
    /// let task = threads.try_spawn(|| 1).unwrap();
    /// assert!(threads.try_spawn(|| 2).is_err());
    /// threads.set_max(1);
    /// assert_eq!(task.get()?, 1);
    /// # Ok::<(), greenlet_core::pool::TaskError>(())
    /// ```
    #[track_caller]
    pub fn try_spawn<F, T>(&self, f: F) -> Result<Task<T>, PoolFull<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.try_place() {
            Ok(place) => Ok(self.enqueue(f, place, None)),
            Err(PoolFull(())) => Err(PoolFull(f)),
        }
    }

    /// Waits for a place in the line. `None`: none is needed.
    pub(super) fn place(&self) -> Option<Place> {
        let line = self.line.as_ref().filter(|_| !self.is_own_thread())?;
        line.acquire();
        Some(Place(line.clone()))
    }

    /// As `place`, without waiting.
    pub(super) fn try_place(&self) -> Result<Option<Place>, PoolFull> {
        match &self.line {
            Some(line) if !self.is_own_thread() => {
                if line.try_acquire() {
                    Ok(Some(Place(line.clone())))
                } else {
                    Err(PoolFull(()))
                }
            }
            _ => Ok(None),
        }
    }

    /// Puts a task into the line. Never suspends. `told` hears of its end.
    #[track_caller]
    pub(super) fn enqueue<F, T>(&self, f: F, place: Option<Place>, told: Option<Told>) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let slot = Arc::new(Outcome::new());
        let completion = Completion::new(slot.clone(), told);
        let (shared, site) = (self.shared.clone(), Location::caller());
        // In a simulation, time stands still until the task is finished.
        let outside = sim::outside();
        let job = Box::new(move || {
            drop(place);
            completion.complete(perform(f, site), &shared);
            drop(outside);
        });
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

    /// As [`spawn`](ThreadPool::spawn), with a greenlet of this thread's hub that waits for the task and ends as it did: to
    /// be linked, joined with others, or asked again and again. gevent's `callback` is a link to it:
    /// [`Greenlet::link_value`]. Never suspends.
    ///
    /// A kill of the greenlet does not stop the task. The [limit](ThreadPool::max_waiting) of the line does not count here.
    ///
    /// ```
    /// use greenlet_core::pool::ThreadPool;
    ///
    /// let sum = ThreadPool::global().apply_async(|| (1..=10u32).sum::<u32>());
    /// sum.link_value(|sum| println!("{:?}", sum.value()));
    /// assert_eq!(sum.get()?, 55);
    /// # Ok::<(), greenlet_core::GreenletError>(())
    /// ```
    #[track_caller]
    pub fn apply_async<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // Not in the greenlet: the pool may be gone before that has run.
        let task = self.enqueue(f, None, None);
        crate::spawn(move || end_as(task.get()))
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

    /// Whether the caller runs on a thread of this pool.
    pub(super) fn is_own_thread(&self) -> bool {
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

/// A place in the line, given back when the task begins or is cancelled.
pub(super) struct Place(Arc<Semaphore>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Ends a greenlet as a task ended.
pub(super) fn end_as<T>(result: Result<T, TaskError>) -> T {
    match result {
        Ok(value) => value,
        Err(TaskError::Failed(failure)) => failure.reraise(),
        Err(TaskError::Exit(exit)) => raise(exit),
        Err(other) => raise(other),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_of_the_process_is_made_anew_after_a_fork() {
        let of_the_parent = ThreadPool::global();
        assert!(ptr::eq(of_the_parent, ThreadPool::global()));
        ThreadPool::forget_global();
        let of_the_child = ThreadPool::global();
        assert!(!ptr::eq(of_the_parent, of_the_child));
        assert_eq!(of_the_child.apply(|| 1).unwrap(), 1);
    }
}
