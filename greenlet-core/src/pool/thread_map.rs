//! Work spread over the threads of a pool: one task for each item.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::{Fuse, FusedIterator};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::map::apply_inline;
use super::task::{Task, TaskError};
use super::threads::{ThreadPool, end_as};
use crate::greenlet::Greenlet;
use crate::queue::Queue;

/// Mapping over threads.
impl ThreadPool {
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
        let (_unwanted, tasks) = self.spawn_all(f, items);
        collect(tasks)
    }

    /// As [`map`](ThreadPool::map), collected by a greenlet of this thread's hub, which ends as the map does. gevent's `map_async`,
    /// and its `map_cb` with a link to it: [`Greenlet::link_value`].
    ///
    /// The items are drawn, and the tasks spawned, by the caller before this returns. When the greenlet is killed, items that
    /// have not begun are left out.
    ///
    /// ```
    /// use greenlet_core::pool::ThreadPool;
    ///
    /// let squares = ThreadPool::global().map_async(|n: u32| n * n, 1..=3);
    /// squares.link_value(|squares| println!("{:?}", squares.value()));
    /// assert_eq!(squares.get()?, [1, 4, 9]);
    /// # Ok::<(), greenlet_core::GreenletError>(())
    /// ```
    #[track_caller]
    pub fn map_async<F, I, T>(&self, f: F, items: I) -> Greenlet<Vec<T>>
    where
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
    {
        let (unwanted, tasks) = self.spawn_all(f, items);
        crate::spawn(move || {
            let _unwanted = unwanted;
            end_as(collect(tasks))
        })
    }

    #[track_caller]
    fn spawn_all<F, I, T>(&self, f: F, items: I) -> (SetOnDrop, Vec<Task<Option<T>>>)
    where
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
    {
        let f = Arc::new(f);
        let unwanted = SetOnDrop(Arc::new(AtomicBool::new(false)));
        let mut tasks = Vec::new();
        for item in items {
            let (f, unwanted) = (f.clone(), unwanted.0.clone());
            tasks.push(self.spawn(move || (!unwanted.load(Ordering::Relaxed)).then(|| f(item))));
        }
        (unwanted, tasks)
    }

    /// Calls `f` for every item, each in a task of its own; the iterator returned has the results in the order of the items.
    /// See [`ThreadImap`].
    ///
    /// ```
    /// use greenlet_core::pool::ThreadPool;
    ///
    /// let threads = ThreadPool::new(2);
    /// let first: Result<Vec<_>, _> = threads.imap(|n: u64| n * 10, 0..).take(4).collect();
    /// assert_eq!(first?, [0, 10, 20, 30]);
    /// # Ok::<(), greenlet_core::pool::TaskError>(())
    /// ```
    pub fn imap<F, I, T>(&self, f: F, items: I) -> ThreadImap<'_, F, I::IntoIter, T>
    where
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
    {
        ThreadImap::new(self, Order::Items, f, items)
    }

    /// As [`imap`](ThreadPool::imap), with the results in the order in which they are done.
    pub fn imap_unordered<F, I, T>(&self, f: F, items: I) -> ThreadImap<'_, F, I::IntoIter, T>
    where
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        I: IntoIterator,
        I::Item: Send + 'static,
        T: Send + 'static,
    {
        ThreadImap::new(self, Order::Completion, f, items)
    }
}

fn collect<T>(tasks: Vec<Task<Option<T>>>) -> Result<Vec<T>, TaskError> {
    tasks.into_iter().map(|task| task.get()?.ok_or(TaskError::Cancelled)).collect()
}

/// Tells the tasks of a map that nobody waits for them.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Items,
    Completion,
}

/// The results of a [`ThreadPool::imap`], as they come: `Ok` with a value, or `Err` with how the item ended instead. A failed item
/// does not end the iterator.
///
/// The items are drawn by whoever reads, in [`next`](Iterator::next), up to [`max_size`](ThreadImap::max_size) ahead; so endless
/// input is welcome, nothing runs before the first `next`, and a failure of the input comes out of `next`. It works on
/// threads without a hub too. Called by a task of the same pool, `next` runs one item right there.
///
/// `next` waits for the next result. A kill or timeout that ends the wait loses none: the iterator can be read on. Dropping
/// it leaves out the items that have not begun.
#[must_use = "nothing runs before it is read"]
pub struct ThreadImap<'a, F, I: Iterator, T> {
    /// Dropped first.
    unwanted: SetOnDrop,
    pool: &'a ThreadPool,
    order: Order,
    f: Arc<F>,
    items: Fuse<I>,
    max_size: usize,
    /// Those spawned and not yet read, by position.
    at_work: BTreeMap<u64, Task<Option<T>>>,
    drawn: u64,
    /// The positions of those that are done, where that order counts.
    done: Arc<Queue<u64>>,
}

impl<'a, F, I, T> ThreadImap<'a, F, I, T>
where
    F: Fn(I::Item) -> T + Send + Sync + 'static,
    I: Iterator,
    I::Item: Send + 'static,
    T: Send + 'static,
{
    fn new(
        pool: &'a ThreadPool,
        order: Order,
        f: F,
        items: impl IntoIterator<IntoIter = I>,
    ) -> ThreadImap<'a, F, I, T> {
        ThreadImap {
            pool,
            order,
            f: Arc::new(f),
            items: items.into_iter().fuse(),
            max_size: pool.max().saturating_mul(2).max(1),
            at_work: BTreeMap::new(),
            drawn: 0,
            done: Arc::new(Queue::unbounded()),
            unwanted: SetOnDrop(Arc::new(AtomicBool::new(false))),
        }
    }

    /// How many items may be drawn and not yet read: in line, at work, or done and waiting here. gevent's `maxsize`. By
    /// default it is twice the number of threads that the pool may have when this is made.
    ///
    /// # Panics
    /// When `limit` is 0: nothing could ever be read.
    #[track_caller]
    pub fn max_size(mut self, limit: usize) -> Self {
        assert!(limit > 0, "an imap must be allowed to draw at least 1 item");
        self.max_size = limit;
        self
    }

    fn draw(&mut self) {
        while self.at_work.len() < self.max_size {
            // The place comes first: a wait that is ended must not take an item with it. While there is something to be read,
            // nobody waits for a place.
            let place = match self.pool.try_place() {
                Ok(place) => place,
                Err(_) if !self.at_work.is_empty() => return,
                Err(_) => self.pool.place(),
            };
            let Some(item) = self.items.next() else { return };
            let (f, unwanted) = (self.f.clone(), self.unwanted.0.clone());
            let call = move || (!unwanted.load(Ordering::Relaxed)).then(|| f(item));
            let told = (self.order == Order::Completion).then(|| (self.done.clone(), self.drawn));
            self.at_work.insert(self.drawn, self.pool.enqueue(call, place, told));
            self.drawn += 1;
        }
    }
}

impl<F, I, T> Iterator for ThreadImap<'_, F, I, T>
where
    F: Fn(I::Item) -> T + Send + Sync + 'static,
    I: Iterator,
    I::Item: Send + 'static,
    T: Send + 'static,
{
    type Item = Result<T, TaskError>;

    fn next(&mut self) -> Option<Result<T, TaskError>> {
        if self.at_work.is_empty() && self.pool.is_own_thread() {
            let (f, item) = (&self.f, self.items.next()?);
            return Some(apply_inline(|| f(item)).map_err(TaskError::from_end));
        }
        self.draw();
        let next = match self.order {
            Order::Items => {
                let (next, task) = self.at_work.first_key_value()?;
                task.wait(); // stays here meanwhile: a wait that is ended loses nothing
                *next
            }
            Order::Completion if self.at_work.is_empty() => return None,
            // It is never shut down.
            Order::Completion => self.done.get().ok()?,
        };
        let task = self.at_work.remove(&next)?;
        Some(task.get().and_then(|value| value.ok_or(TaskError::Cancelled)))
    }
}

impl<F, I, T> FusedIterator for ThreadImap<'_, F, I, T>
where
    F: Fn(I::Item) -> T + Send + Sync + 'static,
    I: Iterator,
    I::Item: Send + 'static,
    T: Send + 'static,
{
}

impl<F, I: Iterator, T> fmt::Debug for ThreadImap<'_, F, I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadImap")
            .field("at_work", &self.at_work.len())
            .field("max_size", &self.max_size)
            .finish_non_exhaustive()
    }
}
