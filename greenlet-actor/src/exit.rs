//! Why an actor ended: Erlang's exit reasons.

use std::fmt;

use greenlet_core::Failure;

/// The reason with which an actor ends, and what [`receive`](crate::Actor::receive) returns to end it.
///
/// Any error converts into it, so `?` works in handlers: `file.read(&mut buffer)?` ends the actor with that error when it
/// fails.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Exit {
    /// `normal`: it was done. Linked actors are not harmed.
    Normal,
    /// `shutdown`: it was told to end by its supervisor, or ends as planned.
    Shutdown,
    /// `killed`: somebody killed it.
    Killed,
    /// `noproc`: it did not exist (any more).
    NoProc,
    /// It panicked, or a handler returned an error.
    Failed(Failure),
}

impl Exit {
    /// An abnormal reason with this error; what `?` makes of it.
    pub fn error(error: impl std::error::Error + Send + Sync + 'static) -> Exit {
        Exit::Failed(Failure::new(error))
    }

    /// Whether it is an ordinary end: `normal` or `shutdown`. A transient child is not restarted after one.
    pub fn is_ordinary(&self) -> bool {
        matches!(self, Exit::Normal | Exit::Shutdown)
    }

    /// Whether it is `normal`, which linked actors ignore.
    pub fn is_normal(&self) -> bool {
        matches!(self, Exit::Normal)
    }

    /// The failure, if it was one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Exit::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

/// [`start`](crate::Actor::start) failed: the actor ended before it had started.
///
/// It is an error type, which [`Exit`] itself is not (any error converts into an `Exit`).
#[derive(Clone, Debug, thiserror::Error)]
#[error("the actor did not start: {exit}")]
pub struct InitError {
    /// The reason of its exit.
    pub exit: Exit,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Normal => f.write_str("normal"),
            Exit::Shutdown => f.write_str("shutdown"),
            Exit::Killed => f.write_str("killed"),
            Exit::NoProc => f.write_str("noproc"),
            Exit::Failed(failure) => write!(f, "{failure}"),
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Exit {
    fn from(error: E) -> Exit {
        Exit::error(error)
    }
}
