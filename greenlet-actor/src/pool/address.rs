//! A pool as those see it who send to it.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::keeper::Request;
use super::routing::hash;
use super::slot::{Slot, Table};
use crate::actor_ref::{ActorRef, AnyActor, Linkable, SendError};
use crate::ask::{AskError, Asking, DEFAULT_TIMEOUT, Reply};
use crate::exit::{Exit, InitError};

/// A running pool: an address like [`ActorRef`], for all its workers. Linking or monitoring it is about the pool's supervisor.
pub struct PoolRef<M> {
    keeper: ActorRef<Request>,
    table: Arc<Table<M>>,
}

impl<M: Send + 'static> PoolRef<M> {
    pub(super) fn new(keeper: ActorRef<Request>, table: Arc<Table<M>>) -> PoolRef<M> {
        PoolRef { keeper, table }
    }

    /// Sends a message to one of the workers, as [`ActorRef::send`] does. Messages of one sender that go to the same worker stay in
    /// order. If all workers are being replaced, the message waits for one.
    ///
    /// # Errors
    /// [`SendError`] with the message: when the pool has ended or has no workers, or the worker's mailbox refuses.
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        self.table.send(None, message).map(drop)
    }

    /// As [`send`](PoolRef::send), to the worker that messages with this key go to.
    ///
    /// # Errors
    /// As `send`.
    pub fn send_by_key(&self, key: &(impl Hash + ?Sized), message: M) -> Result<(), SendError<M>> {
        self.table.send(Some(hash(key)), message).map(drop)
    }

    /// Sends a question to one of the workers and waits for the answer, as [`ActorRef::ask`]. The wait for room in a bounded mailbox is not
    /// part of the timeout.
    ///
    /// # Errors
    /// [`AskError`]. It is not asked again if the worker ends meanwhile.
    pub fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> M, timeout: Duration) -> Result<T, AskError> {
        self.ask_one(None, question, timeout)
    }

    /// As [`ask`](PoolRef::ask), of the worker that messages with this key go to.
    ///
    /// # Errors
    /// As `ask`.
    pub fn ask_by_key<T>(
        &self,
        key: &(impl Hash + ?Sized),
        question: impl FnOnce(Reply<T>) -> M,
        timeout: Duration,
    ) -> Result<T, AskError> {
        self.ask_one(Some(hash(key)), question, timeout)
    }

    /// As [`ask`](PoolRef::ask), with a [timeout](DEFAULT_TIMEOUT) of 5 seconds.
    ///
    /// # Errors
    /// As `ask`.
    pub fn call<T>(&self, question: impl FnOnce(Reply<T>) -> M) -> Result<T, AskError> {
        self.ask(question, DEFAULT_TIMEOUT)
    }

    fn ask_one<T>(
        &self,
        key: Option<u64>,
        question: impl FnOnce(Reply<T>) -> M,
        timeout: Duration,
    ) -> Result<T, AskError> {
        let (reply, answer) = Reply::channel();
        let worker = match self.table.send(key, question(reply)) {
            Ok(worker) => worker,
            Err(SendError::Full(_)) => return Err(AskError::Full),
            Err(SendError::Ended(_)) => {
                return Err(AskError::Ended(self.keeper.exit().unwrap_or(Exit::NoProc)));
            }
        };
        let Some(worker) = worker else {
            return answer.recv_timeout(timeout).map_err(|error| AskError::of(error, None, timeout));
        };
        let _asking = Asking::begin(&worker)?;
        answer.recv_timeout(timeout).map_err(|error| AskError::of(error, worker.stopping(), timeout))
    }

    /// Sends a copy of the message to each worker that is there. Returns how many have it. Waits where a mailbox does.
    pub fn broadcast(&self, message: &M) -> usize
    where
        M: Clone,
    {
        self.workers().iter().filter(|worker| worker.send(message.clone()).is_ok()).count()
    }

    /// The workers, by their place; without those that are being replaced.
    pub fn workers(&self) -> Vec<ActorRef<M>> {
        self.table.slots().iter().filter_map(|slot| Slot::worker(slot)).collect()
    }

    /// How many workers the pool has, with those that are being replaced; 0 when it has ended.
    pub fn len(&self) -> usize {
        self.table.slots().len()
    }

    /// Whether it has no workers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes the number of workers. Returns when new ones have started. Those that go handle first what they have; they are the last by place, so
    /// that as few keys move as possible.
    ///
    /// # Errors
    /// [`InitError`] if a new worker did not start, and then the pool is as before; or with the pool's reason if that has ended.
    pub fn resize(&self, workers: usize) -> Result<(), InitError> {
        let resized = self.keeper.ask(|reply| Request::Resize(workers, reply), Duration::MAX);
        resized.unwrap_or_else(|error| {
            let exit = match error {
                AskError::Ended(exit) => exit,
                _ => self.keeper.exit().unwrap_or(Exit::NoProc),
            };
            Err(InitError { exit })
        })
    }

    /// The pool's supervisor: to link it, to wait for it, to see why it ended.
    pub fn supervisor(&self) -> AnyActor {
        self.keeper.any_cell()
    }

    /// Stops the workers and the pool, and waits for that. What waits in mailboxes is not handled. Returns the reason of its exit.
    pub fn shutdown(&self) -> Exit {
        self.keeper.tell_to_end(Exit::Shutdown);
        self.keeper.join()
    }

    /// Waits until the pool has ended, and returns why.
    pub fn join(&self) -> Exit {
        self.keeper.join()
    }
}

impl<M: Send + 'static> Linkable for PoolRef<M> {
    fn any_cell(&self) -> AnyActor {
        self.keeper.any_cell()
    }
}

impl<M> Clone for PoolRef<M> {
    fn clone(&self) -> PoolRef<M> {
        PoolRef { keeper: self.keeper.clone(), table: self.table.clone() }
    }
}

impl<M> fmt::Debug for PoolRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolRef({})", self.keeper)
    }
}
