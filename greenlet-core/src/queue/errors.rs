//! Why a put or a get did not succeed.

use std::fmt;

/// [`Queue::put`](super::Queue::put) failed: the queue was shut down. The item comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue was shut down")]
pub struct ShutDown<T = ()>(pub T);

/// Why [`Queue::put_timeout`](super::Queue::put_timeout) or [`Queue::try_put`](super::Queue::try_put) did not put. The item comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PutError<T> {
    /// There was no room (in time).
    #[error("the queue is full")]
    Full(T),
    /// The queue was shut down.
    #[error("the queue was shut down")]
    ShutDown(T),
}

/// Why [`Queue::get_timeout`](super::Queue::get_timeout) or [`Queue::try_get`](super::Queue::try_get) got nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GetError {
    /// There was no item (in time).
    #[error("the queue is empty")]
    Empty,
    /// The queue was shut down and is empty.
    #[error("the queue was shut down")]
    ShutDown,
}

/// [`Queue::task_done`](super::Queue::task_done) was called more often than items were put.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("task_done was called more often than items were put")]
pub struct TooManyDone;

impl<T> PutError<T> {
    /// The item that was not put.
    pub fn into_item(self) -> T {
        match self {
            PutError::Full(item) | PutError::ShutDown(item) => item,
        }
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
