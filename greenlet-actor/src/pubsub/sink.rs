//! How a subscriber takes values.

use std::any::Any;

use greenlet_core::{PutError, Queue};

use super::{SubscribeError, WhenFull};
use crate::actor_ref::{ActorRef, Linkable, SendError};
use crate::bounded::Overflow;

/// Does not wait by itself.
pub(super) trait Sink<V>: Send + Sync {
    fn offer(&self, value: V) -> Offered;
    /// Does all but the last step of taking a value, however full it is.
    fn prepare(&self, value: V) -> Prepared;
}

/// The last step: it runs under a lock, and so calls and drops nothing of the user's. What was not taken comes back.
pub(super) type Prepared = Box<dyn FnOnce() -> Option<Box<dyn Any>>>;

/// What became of a value.
pub(super) enum Offered {
    Taken,
    Dropped,
    /// It is full. To be called to wait; false if it is gone then.
    Wait(Box<dyn FnOnce() -> bool>),
    /// It takes nothing any more.
    Gone,
}

pub(super) struct ActorSink<M, F> {
    actor: ActorRef<M>,
    when_full: WhenFull,
    message: F,
}

impl<M: Send + 'static, F> ActorSink<M, F> {
    pub(super) fn new(
        actor: &ActorRef<M>,
        when_full: WhenFull,
        message: F,
    ) -> Result<ActorSink<M, F>, SubscribeError> {
        let drops_oldest = actor.overflow().is_none_or(|overflow| overflow == Overflow::DropOldest);
        if when_full == WhenFull::DropOldest && !drops_oldest {
            return Err(SubscribeError::KeepsOldest(actor.any_cell()));
        }
        Ok(ActorSink { actor: actor.clone(), when_full, message })
    }
}

impl<V, M: Send + 'static, F: Fn(V) -> M + Send + Sync> Sink<V> for ActorSink<M, F> {
    fn prepare(&self, value: V) -> Prepared {
        let (actor, message) = (self.actor.clone(), (self.message)(value));
        Box::new(move || {
            let refused = actor.push_beyond_limit(message).err()?;
            Some(Box::new(refused.into_message()))
        })
    }

    fn offer(&self, value: V) -> Offered {
        match self.actor.try_send((self.message)(value)) {
            Ok(()) => Offered::Taken,
            Err(SendError::Ended(_)) => Offered::Gone,
            Err(SendError::Full(message)) => match self.when_full {
                WhenFull::Suspend if self.actor.waits_for_room() => {
                    let actor = self.actor.clone();
                    Offered::Wait(Box::new(move || actor.send(message).is_ok()))
                }
                WhenFull::Disconnect => Offered::Gone,
                _ => Offered::Dropped,
            },
        }
    }
}

pub(super) struct QueueSink<V> {
    pub(super) queue: std::sync::Arc<Queue<V>>,
    pub(super) when_full: WhenFull,
}

impl<V: Send + 'static> Sink<V> for QueueSink<V> {
    fn prepare(&self, value: V) -> Prepared {
        let queue = self.queue.clone();
        Box::new(move || {
            let refused = queue.force_put(value).err()?;
            Some(Box::new(refused.0))
        })
    }

    fn offer(&self, mut value: V) -> Offered {
        loop {
            value = match self.queue.try_put(value) {
                Ok(()) => return Offered::Taken,
                Err(PutError::ShutDown(_)) => return Offered::Gone,
                Err(PutError::Full(value)) => value,
            };
            match self.when_full {
                WhenFull::Suspend => {
                    let queue = self.queue.clone();
                    return Offered::Wait(Box::new(move || queue.put(value).is_ok()));
                }
                WhenFull::DropNewest => return Offered::Dropped,
                WhenFull::DropOldest => drop(self.queue.try_get()),
                WhenFull::Disconnect => {
                    // Its reader gets what is there, and then hears of it.
                    self.queue.shutdown();
                    return Offered::Gone;
                }
            }
        }
    }
}
