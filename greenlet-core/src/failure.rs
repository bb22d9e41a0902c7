//! How a greenlet ended when it did not return.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::hub;
use crate::raise::{GreenletExit, Raised};

/// Why a greenlet failed: it panicked, or an error was raised in it that nobody caught.
///
/// Cheap to clone; all clones are the same failure.
#[derive(Clone)]
pub struct Failure(Arc<Inner>);

struct Inner {
    kind: Kind,
    reported: AtomicBool,
}

enum Kind {
    Panic { message: String, place: Option<String>, payload: Mutex<Option<Box<dyn Any + Send>>> },
    Raised(Raised),
}

impl Failure {
    fn of(kind: Kind) -> Failure {
        Failure(Arc::new(Inner { kind, reported: AtomicBool::new(false) }))
    }

    /// True for the first caller: it reports the failure.
    pub(crate) fn claim_report(&self) -> bool {
        !self.0.reported.swap(true, Ordering::AcqRel)
    }

    /// A failure with this error, as if it had been raised. Of a `Failure`, it is the [same](Failure::is_same).
    pub fn new(error: impl Error + Send + Sync + 'static) -> Failure {
        Failure::from_raised(Raised::new(error))
    }

    /// The failure of who was ended by this. One that was handed on from another greenlet is still the same.
    pub(crate) fn from_raised(raised: Raised) -> Failure {
        match raised.downcast_ref::<Failure>() {
            Some(failure) => failure.clone(),
            None => Failure::of(Kind::Raised(raised)),
        }
    }

    /// Fails the current greenlet with this failure: unwinds to the nearest [`attempt`], or ends it.
    ///
    /// It stays the same failure: reported once, however many greenlets it ends.
    pub fn reraise(self) -> ! {
        hub::unwinding_begins();
        resume_unwind(Box::new(self))
    }

    fn from_panic(payload: Box<dyn Any + Send>) -> Failure {
        let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (None, Some(text)) => text.clone(),
            (None, None) => "a payload that is not a string".to_owned(),
        };
        let place = hub::take_panic_place();
        Failure::of(Kind::Panic { message, place, payload: Mutex::new(Some(payload)) })
    }

    /// What the current greenlet was unwinding with, as something to raise in another one, and to go on with.
    pub(crate) fn copy(payload: Box<dyn Any + Send>) -> (Raised, Box<dyn Any + Send>) {
        if let Some(raised) = payload.downcast_ref::<Raised>() {
            // Not the identity of a timeout, which is the caller's own, nor that it can be taken back.
            return (raised.for_another(), payload);
        }
        if let Some(failure) = payload.downcast_ref::<Failure>() {
            return (Raised::new(failure.clone()), payload);
        }
        let failure = Failure::from_panic(payload);
        let Some(payload) = failure.take_panic() else { unreachable!("nobody else has it yet") };
        if let Kind::Panic { place: Some(place), .. } = &failure.0.kind {
            hub::put_panic_place(place.clone());
        }
        // It is reported by whoever it ends in the end.
        failure.claim_report();
        (Raised::new(failure), payload)
    }

    /// Whether it was a panic.
    pub fn is_panic(&self) -> bool {
        matches!(self.0.kind, Kind::Panic { .. })
    }

    /// Whether both are clones of the same failure. That is identity: two greenlets that failed with equal errors have
    /// failed twice.
    ///
    /// ```
    /// use greenlet_core::{spawn, AsyncResult};
    /// use std::rc::Rc;
    ///
    /// let result = Rc::new(AsyncResult::<u32>::new());
    /// let broken = spawn(|| panic!("no disk"));
    /// broken.link_result(result.clone());
    /// result.wait();
    /// assert!(result.exception().unwrap().is_same(&broken.exception().unwrap()));
    /// ```
    pub fn is_same(&self, other: &Failure) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What was raised, if it was not a panic.
    pub fn raised(&self) -> Option<&Raised> {
        match &self.0.kind {
            Kind::Raised(raised) => Some(raised),
            Kind::Panic { .. } => None,
        }
    }

    /// The raised error as an `E`, if it is one.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.raised()?.downcast_ref()
    }

    /// The payload of the panic, for [`std::panic::resume_unwind`]. The first caller gets it.
    pub fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        match &self.0.kind {
            Kind::Panic { payload, .. } => {
                payload.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
            }
            Kind::Raised(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            Kind::Panic { message, place: Some(place), .. } => write!(f, "panicked at {place}: {message}"),
            Kind::Panic { message, place: None, .. } => write!(f, "panicked: {message}"),
            Kind::Raised(raised) => fmt::Display::fmt(raised, f),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({self})")
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.raised().map(|raised| raised.error() as &(dyn Error + 'static))
    }
}

/// Why [`Greenlet::get`](crate::Greenlet::get) has no value.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GreenletError {
    /// The greenlet was killed, or ended itself with [`GreenletExit`]. gevent returns the exit as the value.
    #[error("the greenlet was killed or exited")]
    Exit(#[source] GreenletExit),
    /// It panicked, or an error was raised in it.
    #[error("the greenlet failed: {0}")]
    Failed(#[source] Failure),
    /// The time given for the wait was over first. The greenlet goes on.
    #[error("the greenlet did not end in time")]
    TimedOut,
    /// [`Greenlet::into_value`](crate::Greenlet::into_value) was called while other typed handles exist.
    #[error("the value is shared with other handles of the greenlet")]
    Shared,
}

/// Runs `f` as a greenlet runs its closure: what is raised and what panics inside stops here, and is returned.
///
/// For code that supervises: unlike [`catch`](crate::catch) it contains panics too. The panic hook has run by then.
///
/// # Errors
/// [`GreenletError::Exit`] when [`GreenletExit`] was raised, [`GreenletError::Failed`] for other errors and panics.
///
/// ```
/// use greenlet_core::{attempt, raise, GreenletError};
///
/// let failed = attempt(|| -> u32 { raise(std::io::Error::other("no disk")) });
/// assert!(matches!(failed, Err(GreenletError::Failed(failure)) if failure.to_string() == "no disk"));
/// ```
pub fn attempt<R>(f: impl FnOnce() -> R) -> Result<R, GreenletError> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        hub::unwinding_ended();
        match End::from_unwind(payload) {
            End::Failed(failure) => GreenletError::Failed(failure),
            _ => GreenletError::Exit(GreenletExit),
        }
    })
}

/// The end of a greenlet apart from its value.
pub(crate) enum End {
    Value,
    /// It returned a value that nobody could ask for, and which is dropped already.
    DroppedValue,
    Exit,
    Failed(Failure),
}

impl End {
    /// What an unwound greenlet ended with.
    pub(crate) fn from_unwind(payload: Box<dyn Any + Send>) -> End {
        let payload = match payload.downcast::<Raised>() {
            Ok(raised) => return End::from_raised(*raised),
            Err(payload) => payload,
        };
        match payload.downcast::<Failure>() {
            Ok(failure) => End::Failed(*failure),
            Err(panic) => End::Failed(Failure::from_panic(panic)),
        }
    }

    pub(crate) fn from_raised(raised: Raised) -> End {
        if raised.is::<GreenletExit>() { End::Exit } else { End::Failed(Failure::from_raised(raised)) }
    }
}
