//! Passing items between greenlets.

mod channel;
mod core;
mod errors;
mod heap;

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

pub use channel::Channel;
pub use errors::{GetError, PutError, ShutDown, TooManyDone};

use self::core::{Core, Store, WhenFull};
use self::heap::Heap;
use crate::hub::Deadline;
use crate::select::Operation;
use crate::wait::{Attempt, WaitList};
use crate::waitable::{Waitable, sealed::Watch};

/// A first-in, first-out queue, bounded or not: gevent's `Queue`.
///
/// Getters wait while it is empty, putters while it is full; both are served in the order in which they came. An item
/// goes straight to the getter that has waited longest, so nobody overtakes it. A getter that is killed or times out
/// takes nothing with it; a putter that is killed before its item was admitted takes the item with it.
///
/// It works across hubs and from threads without one. Share it by `Rc` or `Arc`. One that begins with items is made `from` a
/// vector or an array, or collected, and given a [capacity](Queue::set_capacity) then.
///
/// ```
/// use greenlet_core::{spawn, Queue};
/// use std::rc::Rc;
///
/// let tasks = Rc::new(Queue::bounded(2));
/// let worker = spawn({
///     let tasks = tasks.clone();
///     move || tasks.iter().collect::<Vec<u32>>() // until the shutdown
/// });
/// for task in 0..5 {
///     tasks.put(task)?; // suspends while two are waiting
/// }
/// tasks.shutdown();
/// assert_eq!(worker.get()?, [0, 1, 2, 3, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Queue<T> {
    core: Core<T, VecDeque<T>>,
}

/// A stack to wait on: the item that was put last leaves first. gevent's `LifoQueue`; else as [`Queue`].
///
/// ```
/// use greenlet_core::LifoQueue;
///
/// let stack = LifoQueue::unbounded();
/// for item in [1, 2, 3] {
///     stack.put(item)?;
/// }
/// assert_eq!(stack.get()?, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LifoQueue<T> {
    core: Core<T, Vec<T>>,
}

/// A queue whose greatest item leaves first; else as [`Queue`].
///
/// gevent's `PriorityQueue` gives the smallest first: wrap items in [`std::cmp::Reverse`] for that, as with
/// [`BinaryHeap`](std::collections::BinaryHeap). Items that are equal leave in no particular order.
///
/// Items are compared inside the queue's lock: an `Ord` must not use the queue, and one that waits for anything panics. A
/// comparison that panics counts as equal and is reported at error level; nobody's put or get fails by it, and no item is
/// lost.
///
/// ```
/// use greenlet_core::PriorityQueue;
/// use std::cmp::Reverse;
///
/// let urgent = PriorityQueue::unbounded();
/// for (level, what) in [(2, "soon"), (1, "now"), (3, "later")] {
///     urgent.put(Reverse((level, what)))?;
/// }
/// assert_eq!(urgent.get()?.0.1, "now");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PriorityQueue<T: Ord> {
    core: Core<T, Heap<T>>,
}

impl<T> Queue<T> {
    /// A queue without a limit: putting never waits.
    pub const fn unbounded() -> Queue<T> {
        Queue { core: Core::new(VecDeque::new(), None) }
    }

    /// A queue for at most `capacity` items.
    ///
    /// # Panics
    /// When `capacity` is 0: see [`Channel`] for a queue that holds nothing.
    #[track_caller]
    pub const fn bounded(capacity: usize) -> Queue<T> {
        Queue { core: Core::new(VecDeque::new(), Some(at_least_one(capacity))) }
    }
}

impl<T> LifoQueue<T> {
    /// A stack without a limit: putting never waits.
    pub const fn unbounded() -> LifoQueue<T> {
        LifoQueue { core: Core::new(Vec::new(), None) }
    }

    /// A stack of at most `capacity` items.
    ///
    /// # Panics
    /// When `capacity` is 0.
    #[track_caller]
    pub const fn bounded(capacity: usize) -> LifoQueue<T> {
        LifoQueue { core: Core::new(Vec::new(), Some(at_least_one(capacity))) }
    }
}

impl<T: Ord> PriorityQueue<T> {
    /// A queue without a limit: putting never waits.
    pub const fn unbounded() -> PriorityQueue<T> {
        PriorityQueue { core: Core::new(Heap::new(), None) }
    }

    /// A queue for at most `capacity` items.
    ///
    /// # Panics
    /// When `capacity` is 0.
    #[track_caller]
    pub const fn bounded(capacity: usize) -> PriorityQueue<T> {
        PriorityQueue { core: Core::new(Heap::new(), Some(at_least_one(capacity))) }
    }
}

#[track_caller]
const fn at_least_one(capacity: usize) -> usize {
    match NonZeroUsize::new(capacity) {
        Some(capacity) => capacity.get(),
        None => panic!("the capacity of a queue must be at least 1"),
    }
}

/// What all queues can do.
macro_rules! queue {
    ($Queue:ident, $Items:ident $(, $Bound:ident)?) => {
        impl<T $(: $Bound)?> $Queue<T> {
            /// Puts an item, waiting for room if the queue is full.
            ///
            /// # Errors
            /// [`ShutDown`] with the item.
            #[inline]
            pub fn put(&self, item: T) -> Result<(), ShutDown<T>> {
                let put = self.core.put(item, WhenFull::Wait(Deadline::Never));
                put.map_err(|error| ShutDown(error.into_item()))
            }

            /// As [`put`](Self::put), waiting for at most `timeout`.
            ///
            /// # Errors
            /// [`PutError`] with the item.
            pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
                self.core.put(item, WhenFull::Wait(Deadline::After(timeout)))
            }

            /// Puts an item if there is room now. Never suspends.
            ///
            /// # Errors
            /// [`PutError`] with the item.
            pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
                self.core.put(item, WhenFull::Refuse)
            }

            /// Puts an item even if the queue is full, for what must not be refused: the queue holds more than its
            /// capacity for a while. Never suspends.
            ///
            /// # Errors
            /// [`ShutDown`] with the item.
            pub fn force_put(&self, item: T) -> Result<(), ShutDown<T>> {
                self.core.put(item, WhenFull::PutAnyway).map_err(|error| ShutDown(error.into_item()))
            }

            /// Takes an item, waiting for one if there is none.
            ///
            /// # Errors
            /// [`ShutDown`] once the queue is shut down and empty.
            #[inline(always)]
            pub fn get(&self) -> Result<T, ShutDown> {
                self.core.get(Some(Deadline::Never)).map_err(|_| ShutDown(()))
            }

            /// As [`get`](Self::get), waiting for at most `timeout`.
            ///
            /// # Errors
            /// [`GetError::Empty`] when nothing came in time, [`GetError::ShutDown`] as `get`.
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
                self.core.get(Some(Deadline::After(timeout)))
            }

            /// Takes an item if there is one now. Never suspends.
            ///
            /// # Errors
            /// [`GetError`].
            pub fn try_get(&self) -> Result<T, GetError> {
                self.core.get(None)
            }

            /// [`get`](Self::get), for [`select!`](crate::select!) and `.await`.
            pub fn get_op(&self) -> Operation<impl Attempt<Output = Result<T, ShutDown>>> {
                self.core.get_op()
            }

            /// [`put`](Self::put), for [`select!`](crate::select!) and `.await`. An item that was not put is dropped with the
            /// operation.
            pub fn put_op(&self, item: T) -> Operation<impl Attempt<Output = Result<(), ShutDown<T>>>> {
                self.core.put_op(item)
            }

            /// Clones the next item and leaves it there, waiting for one if there is none.
            ///
            /// Several may peek at the same item. `T`'s `clone` runs while the queue is locked: it must not wait for
            /// anything (it panics then, or blocks everybody on a thread without a hub), nor use this queue.
            ///
            /// # Errors
            /// [`ShutDown`] once the queue is shut down and empty.
            pub fn peek(&self) -> Result<T, ShutDown>
            where
                T: Clone,
            {
                self.core.peek(Some(Deadline::Never)).map_err(|_| ShutDown(()))
            }

            /// As [`peek`](Self::peek), waiting for at most `timeout`.
            ///
            /// # Errors
            /// [`GetError::Empty`] when nothing came in time, [`GetError::ShutDown`] as `peek`.
            pub fn peek_timeout(&self, timeout: Duration) -> Result<T, GetError>
            where
                T: Clone,
            {
                self.core.peek(Some(Deadline::After(timeout)))
            }

            /// As [`peek`](Self::peek), if there is an item now. Never suspends.
            ///
            /// # Errors
            /// [`GetError`].
            pub fn try_peek(&self) -> Result<T, GetError>
            where
                T: Clone,
            {
                self.core.peek(None)
            }

            /// [Gets](Self::get) items until the queue is shut down and empty.
            pub fn iter(&self) -> impl Iterator<Item = T> {
                std::iter::from_fn(|| self.get().ok())
            }

            /// Takes no more items. What is there can still be got; then, and for those who wait now, getting fails.
            /// Waiting putters get their items back.
            pub fn shutdown(&self) {
                self.core.shutdown();
            }

            /// [Shuts down](Self::shutdown), and drops what is there: it counts as [done](Self::task_done).
            pub fn shutdown_now(&self) {
                self.core.shutdown_now();
            }

            /// Whether it was shut down.
            pub fn is_shut_down(&self) -> bool {
                self.core.is_shut_down()
            }

            /// Declares one item, got earlier, to be done. See [`join`](Self::join).
            ///
            /// # Errors
            /// [`TooManyDone`] when that was said for every item already.
            pub fn task_done(&self) -> Result<(), TooManyDone> {
                self.core.task_done().map_err(|_| TooManyDone)
            }

            /// Waits until every item that was put is [done](Self::task_done): gevent's `JoinableQueue`. Does not suspend if
            /// nothing was put, or all is done.
            pub fn join(&self) {
                self.core.join(Deadline::Never);
            }

            /// As [`join`](Self::join), for at most `timeout`. True if all is done.
            pub fn join_timeout(&self, timeout: Duration) -> bool {
                self.core.join(Deadline::After(timeout))
            }

            /// How many items were put and are not yet done.
            pub fn unfinished_tasks(&self) -> usize {
                self.core.unfinished()
            }

            /// The number of items, those of waiting putters not counted: gevent's `qsize`.
            pub fn len(&self) -> usize {
                self.core.len()
            }

            /// Whether there is no item.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether a put would have to wait.
            pub fn is_full(&self) -> bool {
                self.core.is_full()
            }

            /// The limit, `None` if unbounded.
            pub fn capacity(&self) -> Option<usize> {
                self.core.capacity()
            }

            /// Changes the limit; `None` lifts it. Putters that wait are admitted at once, in order, as far as there is room now
            /// (gevent: at the next put or get). Items beyond a lower limit stay. Never suspends.
            ///
            /// # Panics
            /// When the limit is 0.
            #[track_caller]
            pub fn set_capacity(&self, capacity: Option<usize>) {
                self.core.set_capacity(capacity.map(at_least_one));
            }
        }

        /// Ready while there are items, and when it is shut down.
        impl<T $(: $Bound)?> Waitable for $Queue<T> {}

        // SAFETY: it has one such list.

        unsafe impl<T $(: $Bound)?> Watch for $Queue<T> {
            fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
                self.core.watch(at);
            }
        }

        /// An unbounded queue with these items, as if they had been put in order. They count as unfinished.
        impl<T $(: $Bound)?> FromIterator<T> for $Queue<T> {
            fn from_iter<I: IntoIterator<Item = T>>(items: I) -> $Queue<T> {
                let items: $Items<T> = items.into_iter().collect();
                let unfinished = Store::len(&items);
                $Queue { core: Core::with_items(items, unfinished, None) }
            }
        }

        /// As from an iterator.
        impl<T $(: $Bound)?> From<Vec<T>> for $Queue<T> {
            fn from(items: Vec<T>) -> $Queue<T> {
                items.into_iter().collect()
            }
        }

        /// As from an iterator.
        impl<T $(: $Bound)?, const N: usize> From<[T; N]> for $Queue<T> {
            fn from(items: [T; N]) -> $Queue<T> {
                items.into_iter().collect()
            }
        }

        impl<T $(: $Bound)?> Default for $Queue<T> {
            /// An unbounded queue.
            fn default() -> $Queue<T> {
                $Queue::unbounded()
            }
        }

        impl<T $(: $Bound)?> fmt::Debug for $Queue<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Queue))
                    .field("len", &self.len())
                    .field("capacity", &self.capacity())
                    .finish_non_exhaustive()
            }
        }
    };
}

queue!(Queue, VecDeque);
queue!(LifoQueue, Vec);
queue!(PriorityQueue, Heap, Ord);

/// gevent's `JoinableQueue`: every queue is one.
pub type JoinableQueue<T> = Queue<T>;

/// gevent's `SimpleQueue`, which does not count what is done. Counting costs nothing worth a type of its own.
pub type SimpleQueue<T> = Queue<T>;
