//! A queue that holds nothing.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::core::{Core, WhenFull};
use super::errors::{GetError, PutError, ShutDown};
use crate::hub::Deadline;
use crate::select::Operation;
use crate::wait::Attempt;

/// A rendezvous: a put waits until somebody gets the item, and a get until somebody puts one. gevent's `Channel`.
///
/// Putters and getters are served in the order in which they came. Whoever is killed or times out while waiting is not
/// met any more.
///
/// ```
/// use greenlet_core::{spawn, Channel};
/// use std::rc::Rc;
///
/// let channel = Rc::new(Channel::new());
/// let sender = spawn({
///     let channel = channel.clone();
///     move || ["a", "b"].map(|item| channel.put(item).is_ok()) // each waits for its getter
/// });
/// assert_eq!(channel.get()?, "a");
/// assert_eq!(channel.get()?, "b");
/// assert_eq!(sender.get()?, [true, true]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Channel<T> {
    core: Core<T, VecDeque<T>>,
}

impl<T> Channel<T> {
    /// A channel on which nobody waits.
    pub const fn new() -> Channel<T> {
        Channel { core: Core::new(VecDeque::new(), Some(0)) }
    }

    /// Hands an item over, waiting for a getter.
    ///
    /// # Errors
    /// [`ShutDown`] with the item.
    pub fn put(&self, item: T) -> Result<(), ShutDown<T>> {
        let put = self.core.put(item, WhenFull::Wait(Deadline::Never));
        put.map_err(|error| ShutDown(error.into_item()))
    }

    /// As [`put`](Channel::put), waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`PutError`] with the item; `Full` when nobody came.
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.core.put(item, WhenFull::Wait(Deadline::After(timeout)))
    }

    /// Hands an item over if a getter is waiting. Never suspends.
    ///
    /// # Errors
    /// [`PutError`] with the item; `Full` when there is no getter.
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        self.core.put(item, WhenFull::Refuse)
    }

    /// Takes an item, waiting for a putter.
    ///
    /// # Errors
    /// [`ShutDown`] once the channel is shut down.
    #[inline(always)]
    pub fn get(&self) -> Result<T, ShutDown> {
        self.core.get(Some(Deadline::Never)).map_err(|_| ShutDown(()))
    }

    /// As [`get`](Channel::get), waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`GetError::Empty`] when nobody came, [`GetError::ShutDown`] as `get`.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.core.get(Some(Deadline::After(timeout)))
    }

    /// Takes an item if a putter is waiting. Never suspends.
    ///
    /// # Errors
    /// [`GetError`].
    pub fn try_get(&self) -> Result<T, GetError> {
        self.core.get(None)
    }

    /// [`get`](Channel::get), for [`select!`](crate::select!) and `.await`.
    pub fn get_op(&self) -> Operation<impl Attempt<Output = Result<T, ShutDown>>> {
        self.core.get_op()
    }

    /// [`put`](Channel::put), for [`select!`](crate::select!) and `.await`. An item that was not put is dropped with the operation.
    pub fn put_op(&self, item: T) -> Operation<impl Attempt<Output = Result<(), ShutDown<T>>>> {
        self.core.put_op(item)
    }

    /// How many putters wait, minus how many getters wait: gevent's `balance`. Only one of the two is ever waited for, apart
    /// from a [`select!`](crate::select!) that does both itself.
    pub fn balance(&self) -> isize {
        let (putters, getters) = self.core.waiting();
        putters.cast_signed() - getters.cast_signed()
    }

    /// [Gets](Channel::get) items until the channel is shut down.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.get().ok())
    }

    /// Ends the use of the channel: those who wait, and everybody from now on, get an error.
    pub fn shutdown(&self) {
        self.core.shutdown();
    }

    /// Whether it was shut down.
    pub fn is_shut_down(&self) -> bool {
        self.core.is_shut_down()
    }
}

impl<T> Default for Channel<T> {
    fn default() -> Channel<T> {
        Channel::new()
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("shut_down", &self.is_shut_down()).finish_non_exhaustive()
    }
}
