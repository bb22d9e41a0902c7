//! A function for each of many items, several at the same time.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::{Instant, Queue};

use super::{TaskError, Tasks};
use crate::actor_ref::AnyActor;
use crate::ask::DEFAULT_TIMEOUT;
use crate::exit::Exit;

/// The values of a function for many items, each computed by a task of its own: Elixir's `Task.async_stream`. Made by [`Tasks::async_stream`].
///
/// An iterator. Tasks are started when it is asked for the next value, as many as may run; so it takes no more items than it needs. Dropping it kills
/// those that run.
#[must_use = "the tasks are started as the values are asked for"]
pub struct TaskStream<I, F, T> {
    tasks: Tasks,
    items: I,
    f: Arc<F>,
    owner: Option<AnyActor>,
    max_concurrency: usize,
    timeout: Duration,
    ordered: bool,
    exhausted: bool,
    started: usize,
    given: usize,
    running: BTreeMap<usize, Running>,
    /// What came before its turn.
    early: HashMap<usize, Result<T, TaskError>>,
    news: Arc<Queue<(usize, Result<T, Exit>)>>,
}

struct Running {
    actor: AnyActor,
    /// `None`: never.
    deadline: Option<Instant>,
}

impl<I, F, T> TaskStream<I, F, T>
where
    I: Iterator<Item: Send + 'static>,
    F: Fn(I::Item) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    pub(super) fn new(tasks: Tasks, items: I, f: F, owner: Option<AnyActor>) -> TaskStream<I, F, T> {
        TaskStream {
            tasks,
            items,
            f: Arc::new(f),
            owner,
            max_concurrency: std::thread::available_parallelism().map_or(1, usize::from),
            timeout: DEFAULT_TIMEOUT,
            ordered: true,
            exhausted: false,
            started: 0,
            given: 0,
            running: BTreeMap::new(),
            early: HashMap::new(),
            news: Arc::new(Queue::unbounded()),
        }
    }

    /// How many tasks run at the same time. Default: as many as there are cores.
    ///
    /// # Panics
    /// If it is 0.
    #[track_caller]
    pub fn max_concurrency(mut self, tasks: usize) -> TaskStream<I, F, T> {
        assert!(tasks > 0, "without tasks there are no values");
        self.max_concurrency = tasks;
        self
    }

    /// How long each task may take; then it is killed, and its value is [`TaskError::TimedOut`]. Default: 5 seconds.
    pub fn timeout(mut self, timeout: Duration) -> TaskStream<I, F, T> {
        self.timeout = timeout;
        self
    }

    /// Gives the values as they come, and not in the order of the items.
    pub fn unordered(mut self) -> TaskStream<I, F, T> {
        self.ordered = false;
        self
    }

    /// Starts as many tasks as may run. Returns the result of one that was not started.
    fn fill(&mut self) {
        while !self.exhausted && self.running.len() < self.max_concurrency {
            let Some(item) = self.items.next() else {
                self.exhausted = true;
                return;
            };
            let number = self.started;
            self.started += 1;
            let (f, news) = (self.f.clone(), self.news.clone());
            let job = move || drop(news.put((number, Ok(f(item)))));
            match self.tasks.start(job, self.owner.clone()) {
                Ok(actor) => {
                    let news = self.news.clone();
                    // After the value, if there is one: then it is no news any more.
                    actor.on_end(move |_, exit| drop(news.put((number, Err(exit.clone())))));
                    let deadline = Instant::now().checked_add(self.timeout);
                    self.running.insert(number, Running { actor, deadline });
                }
                Err(error) => drop(self.early.insert(number, Err(TaskError::NotStarted(error)))),
            }
        }
    }

    /// Waits until another task has ended, or has had its time.
    fn wait(&mut self) {
        let Some((&first, Running { deadline, .. })) = self.running.first_key_value() else { return };
        // All have the same time, so the one that was started first is the first whose time is over.
        let left = deadline.map_or(Duration::MAX, |deadline| deadline.duration_since(Instant::now()));
        match self.news.get_timeout(left) {
            Ok((number, result)) => {
                if self.running.remove(&number).is_some() {
                    self.early.insert(number, result.map_err(TaskError::Exited));
                }
            }
            Err(_) => {
                if let Some(running) = self.running.remove(&first) {
                    end(&running.actor, self.owner.as_ref());
                    self.early.insert(first, Err(TaskError::TimedOut(self.timeout)));
                }
            }
        }
    }
}

fn end(task: &AnyActor, owner: Option<&AnyActor>) {
    if let Some(owner) = owner {
        task.unlink(owner);
    }
    task.send_exit(Exit::Killed);
}

impl<I, F, T> Iterator for TaskStream<I, F, T>
where
    I: Iterator<Item: Send + 'static>,
    F: Fn(I::Item) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    type Item = Result<T, TaskError>;

    fn next(&mut self) -> Option<Result<T, TaskError>> {
        loop {
            self.fill();
            let next = if self.ordered { Some(self.given) } else { self.early.keys().next().copied() };
            if let Some(result) = next.and_then(|number| self.early.remove(&number)) {
                self.given += 1;
                return Some(result);
            }
            if self.running.is_empty() && self.exhausted {
                return None;
            }
            self.wait();
        }
    }
}

impl<I, F, T> Drop for TaskStream<I, F, T> {
    fn drop(&mut self) {
        for running in self.running.values() {
            end(&running.actor, self.owner.as_ref());
        }
    }
}

impl<I, F, T> fmt::Debug for TaskStream<I, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskStream")
            .field("running", &self.running.len())
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}
