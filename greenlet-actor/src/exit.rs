//! Why an actor ended: Erlang's exit reasons.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

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
    /// `{shutdown, Term}`: a planned end too, and everywhere taken for one, that says more about itself. Made by
    /// [`Exit::shutdown_with`].
    ShutdownWith(ShutdownTerm),
    /// From [`Actor::init`](crate::Actor::init): the actor has nothing to do, and that is no failure. Its supervisor keeps what it knows of
    /// the child, without an actor, and goes on. For everybody else it is [`Normal`](Exit::Normal).
    Ignore,
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

    /// `{shutdown, Term}`: a planned end that says more about itself. The term is shown in reports, and whoever knows its type finds it by
    /// [`shutdown_term`](Exit::shutdown_term).
    ///
    /// ```
    /// use greenlet_actor::Exit;
    ///
    /// let exit = Exit::shutdown_with("the licence has expired");
    /// assert!(exit.is_shutdown() && exit.is_ordinary());
    /// assert_eq!(exit.to_string(), "shutdown: the licence has expired");
    /// assert_eq!(exit.shutdown_term::<&str>(), Some(&"the licence has expired"));
    /// ```
    pub fn shutdown_with(term: impl fmt::Display + Any + Send + Sync) -> Exit {
        Exit::ShutdownWith(ShutdownTerm(Arc::new(term)))
    }

    /// Whether it is an ordinary end: `normal` or `shutdown`, with or without a term. A transient child is not restarted after one.
    pub fn is_ordinary(&self) -> bool {
        self.is_normal() || self.is_shutdown()
    }

    /// Whether it is `shutdown`, with or without a term.
    pub fn is_shutdown(&self) -> bool {
        matches!(self, Exit::Shutdown | Exit::ShutdownWith(_))
    }

    /// Whether it is `normal`, which linked actors ignore.
    pub fn is_normal(&self) -> bool {
        matches!(self, Exit::Normal | Exit::Ignore)
    }

    /// What a `shutdown` says about itself, if that is a `T`.
    pub fn shutdown_term<T: Any>(&self) -> Option<&T> {
        match self {
            Exit::ShutdownWith(term) => term.downcast_ref(),
            _ => None,
        }
    }

    /// The failure, if it was one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Exit::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

/// What a planned end says about itself: the `Term` of OTP's `{shutdown, Term}`. Cheap to clone.
#[derive(Clone)]
pub struct ShutdownTerm(Arc<dyn Term>);

trait Term: fmt::Display + Any + Send + Sync {}

impl<T: fmt::Display + Any + Send + Sync> Term for T {}

impl ShutdownTerm {
    /// It, if it is a `T`.
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        let term: &dyn Any = &*self.0;
        term.downcast_ref()
    }
}

impl fmt::Display for ShutdownTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ShutdownTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.to_string())
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
            Exit::ShutdownWith(term) => write!(f, "shutdown: {term}"),
            Exit::Ignore => f.write_str("ignore"),
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
