//! Passing items between greenlets.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::hub::Deadline;
use crate::lock::Lock;
use crate::wait::{TimedOut, WaitList, wait};

/// A first-in, first-out queue, bounded or not: gevent's `Queue`.
///
/// Getters wait while it is empty, putters while it is full; both are served in the order in which they came. An item
/// goes straight to the getter that has waited longest, so nobody overtakes it. A getter that is killed or times out
/// takes nothing with it; a putter that is killed before its item was admitted takes the item with it.
///
/// It works across hubs and from threads without one. Share it by `Rc` or `Arc`.
///
/// ```
/// use greenlet_core::{spawn, Queue};
/// use std::rc::Rc;
///
/// let tasks = Rc::new(Queue::bounded(2));
/// let worker = spawn({
///     let tasks = tasks.clone();
///     move || {
///         let mut done = Vec::new();
///         while let Ok(task) = tasks.get() {
///             done.push(task);
///         }
///         done
///     }
/// });
/// for task in 0..5 {
///     tasks.put(task)?; // suspends while two are waiting
/// }
/// tasks.shutdown();
/// assert_eq!(worker.get()?, [0, 1, 2, 3, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Queue<T> {
    state: Lock<State<T>>,
}

struct State<T> {
    items: VecDeque<T>,
    capacity: Option<NonZeroUsize>,
    shut_down: bool,
    /// Waiting getters; there are none while there are items. Notified with an item, or with none by a shutdown.
    getters: WaitList<Option<T>>,
    /// Waiting putters with their items. Notified with the item taken, or left there by a shutdown.
    putters: WaitList<Option<T>>,
}

/// [`Queue::put`] failed: the queue was shut down. The item comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue was shut down")]
pub struct ShutDown<T = ()>(pub T);

/// Why [`Queue::put_timeout`] or [`Queue::try_put`] did not put. The item comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PutError<T> {
    /// There was no room (in time).
    #[error("the queue is full")]
    Full(T),
    /// The queue was shut down.
    #[error("the queue was shut down")]
    ShutDown(T),
}

/// Why [`Queue::get_timeout`] or [`Queue::try_get`] got nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GetError {
    /// There was no item (in time).
    #[error("the queue is empty")]
    Empty,
    /// The queue was shut down and is empty.
    #[error("the queue was shut down")]
    ShutDown,
}

impl<T> PutError<T> {
    /// The item that was not put.
    pub fn into_item(self) -> T {
        match self {
            PutError::Full(item) | PutError::ShutDown(item) => item,
        }
    }
}

/// What a put does when there is no room.
#[derive(Clone, Copy)]
enum WhenFull {
    Wait(Deadline),
    Refuse,
    PutAnyway,
}

impl<T> Queue<T> {
    /// A queue without a limit: putting never waits.
    pub const fn unbounded() -> Queue<T> {
        Queue::with_capacity(None)
    }

    /// A queue for at most `capacity` items.
    ///
    /// # Panics
    /// When `capacity` is 0: nothing could ever be put.
    #[track_caller]
    pub const fn bounded(capacity: usize) -> Queue<T> {
        match NonZeroUsize::new(capacity) {
            Some(capacity) => Queue::with_capacity(Some(capacity)),
            None => panic!("the capacity of a queue must be at least 1"),
        }
    }

    const fn with_capacity(capacity: Option<NonZeroUsize>) -> Queue<T> {
        Queue {
            state: Lock::new(State {
                items: VecDeque::new(),
                capacity,
                shut_down: false,
                getters: WaitList::new(),
                putters: WaitList::new(),
            }),
        }
    }

    /// Puts an item, waiting for room if the queue is full.
    ///
    /// # Errors
    /// [`ShutDown`] with the item.
    #[inline]
    pub fn put(&self, item: T) -> Result<(), ShutDown<T>> {
        match self.put_as(item, WhenFull::Wait(Deadline::Never)) {
            Ok(()) => Ok(()),
            Err(PutError::ShutDown(item) | PutError::Full(item)) => Err(ShutDown(item)),
        }
    }

    /// As [`put`](Queue::put), waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`PutError`] with the item.
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_as(item, WhenFull::Wait(Deadline::After(timeout)))
    }

    /// Puts an item if there is room now. Never suspends.
    ///
    /// # Errors
    /// [`PutError`] with the item.
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        self.put_as(item, WhenFull::Refuse)
    }

    /// Puts an item even if the queue is full, for what must not be refused: it stands in line behind the others, and the
    /// queue is longer than its capacity for a while. Never suspends.
    ///
    /// # Errors
    /// [`ShutDown`] with the item.
    pub fn force_put(&self, item: T) -> Result<(), ShutDown<T>> {
        self.put_as(item, WhenFull::PutAnyway).map_err(|error| ShutDown(error.into_item()))
    }

    #[inline]
    fn put_as(&self, item: T, when_full: WhenFull) -> Result<(), PutError<T>> {
        let mut state = self.state.lock();
        if state.shut_down {
            drop(state);
            return Err(PutError::ShutDown(item));
        }
        if !state.getters.is_empty() {
            let handed = state.getters.notify_first(|slot| *slot = Some(item));
            drop(state);
            if let Some(((), wakeup)) = handed {
                wakeup.wake();
            }
            return Ok(());
        }
        let has_room = state.capacity.is_none_or(|capacity| state.items.len() < capacity.get());
        let deadline = match when_full {
            WhenFull::Wait(deadline) if !has_room => deadline,
            WhenFull::Refuse if !has_room => {
                drop(state);
                return Err(PutError::Full(item));
            }
            _ => {
                state.items.push_back(item);
                return Ok(());
            }
        };
        match wait(state, |state| &mut state.putters, Some(item), deadline) {
            Ok(None) => Ok(()),
            Ok(Some(item)) => Err(PutError::ShutDown(item)),
            Err(TimedOut(Some(item))) => Err(PutError::Full(item)),
            Err(TimedOut(None)) => unreachable!("the item of a putter that was not notified is untouched"),
        }
    }

    /// Takes the first item, waiting for one if there is none.
    ///
    /// # Errors
    /// [`ShutDown`] once the queue is shut down and empty.
    #[inline(always)]
    pub fn get(&self) -> Result<T, ShutDown> {
        self.get_until(Some(Deadline::Never)).map_err(|_| ShutDown(()))
    }

    /// As [`get`](Queue::get), waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`GetError::Empty`] when nothing came in time, [`GetError::ShutDown`] as `get`.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_until(Some(Deadline::After(timeout)))
    }

    /// Takes the first item if there is one now. Never suspends.
    ///
    /// # Errors
    /// [`GetError`].
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_until(None)
    }

    /// `None`: do not wait. Inlined with the switch in it, see `Hub::park`.
    #[inline(always)]
    fn get_until(&self, deadline: Option<Deadline>) -> Result<T, GetError> {
        let mut state = self.state.lock();
        if let Some(item) = state.items.pop_front() {
            // After a `force_put` the queue may still be full.
            let admit = state.capacity.is_some_and(|capacity| state.items.len() < capacity.get());
            let admitted = if admit { state.putters.notify_first(Option::take) } else { None };
            if let Some((next, wakeup)) = admitted {
                state.items.extend(next);
                drop(state);
                wakeup.wake();
            }
            return Ok(item);
        }
        if state.shut_down {
            return Err(GetError::ShutDown);
        }
        let Some(deadline) = deadline else { return Err(GetError::Empty) };
        match wait(state, |state| &mut state.getters, None, deadline) {
            Ok(Some(item)) => Ok(item),
            Ok(None) => Err(GetError::ShutDown),
            Err(TimedOut(_)) => Err(GetError::Empty),
        }
    }

    /// Takes no more items. What is there can still be got; then, and for those who wait now, getting fails. Waiting
    /// putters get their items back.
    pub fn shutdown(&self) {
        let mut state = self.state.lock();
        state.shut_down = true;
        let mut wakeups = Vec::new();
        while let Some(((), wakeup)) = state.getters.notify_first(|_| ()) {
            wakeups.push(wakeup);
        }
        while let Some(((), wakeup)) = state.putters.notify_first(|_| ()) {
            wakeups.push(wakeup);
        }
        drop(state);
        wakeups.into_iter().for_each(|wakeup| wakeup.wake());
    }

    /// Whether [`shutdown`](Queue::shutdown) was called.
    pub fn is_shut_down(&self) -> bool {
        self.state.lock().shut_down
    }

    /// The number of items, those of waiting putters not counted: gevent's `qsize`.
    pub fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a put would have to wait.
    pub fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.capacity.is_some_and(|capacity| state.items.len() >= capacity.get())
    }

    /// The limit, `None` if unbounded.
    pub fn capacity(&self) -> Option<usize> {
        self.state.lock().capacity.map(NonZeroUsize::get)
    }
}

impl<T> Default for Queue<T> {
    /// An unbounded queue.
    fn default() -> Queue<T> {
        Queue::unbounded()
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

// The item is not part of what these say: it need not be `Debug`.

impl<T> fmt::Debug for ShutDown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShutDown(..)")
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutError::Full(_) => "Full(..)",
            PutError::ShutDown(_) => "ShutDown(..)",
        })
    }
}
