//! What goes wrong with names.

use std::fmt;

use crate::actor_ref::{ActorRef, AnyActor, SendError};

/// The actor did not get the name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError<K: fmt::Debug> {
    /// The name belongs to a live actor: OTP's `already_started`.
    #[error("the name {name:?} belongs to {by}")]
    Taken {
        /// The name.
        name: K,
        /// Who has it.
        by: AnyActor,
    },
    /// The actor has ended, and needs no name any more.
    #[error("an actor that has ended cannot have the name {name:?}")]
    Ended {
        /// The name, which stays free.
        name: K,
    },
}

/// No such actor.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// No live actor has the name.
    #[error("no actor has this name")]
    NotRegistered,
    /// It takes other messages.
    #[error("{actor} takes messages of type {takes}, not {expected}")]
    OtherMessages {
        /// Who has the name.
        actor: AnyActor,
        /// The type of its messages.
        takes: &'static str,
        /// The type that was asked for.
        expected: &'static str,
    },
}

/// The message was not sent; it comes back.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SendToError<M> {
    /// There is no such actor.
    #[error("{error}")]
    Find {
        /// What is wrong.
        error: FindError,
        /// The message.
        message: M,
    },
    /// It was found and did not take the message.
    #[error("{0}")]
    Send(SendError<M>),
}

impl<M> SendToError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            SendToError::Find { message, .. } => message,
            SendToError::Send(error) => error.into_message(),
        }
    }
}

// The message need not be `Debug`.
impl<M> fmt::Debug for SendToError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendToError::Find { error, .. } => write!(f, "Find({error:?})"),
            SendToError::Send(error) => write!(f, "Send({error:?})"),
        }
    }
}

/// The actor as one that takes messages of type `M`.
pub(super) fn typed<M: Send + 'static>(actor: AnyActor) -> Result<ActorRef<M>, FindError> {
    actor.downcast().ok_or_else(|| FindError::OtherMessages {
        takes: actor.message_type(),
        expected: std::any::type_name::<M>(),
        actor,
    })
}

/// Sends to whoever was found.
pub(super) fn send<M: Send + 'static>(
    found: Result<ActorRef<M>, FindError>,
    message: M,
) -> Result<(), SendToError<M>> {
    match found {
        Ok(actor) => actor.send(message).map_err(SendToError::Send),
        Err(error) => Err(SendToError::Find { error, message }),
    }
}
