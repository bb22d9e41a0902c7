//! Raises: errors that arrive at a suspension point and unwind the greenlet from there.
//!
//! A kill, a [`Timeout`](crate::Timeout) and a link to a greenlet all raise. A raise is not a panic: no panic hook
//! runs and nothing is printed, but destructors run as they do for a panic, so locks are released and sockets are
//! closed. What is not caught ends the greenlet, and is found in [`Failure::raised`](crate::Failure::raised), unless it
//! is [`GreenletExit`], which is an ordinary end.
//!
//! To std, though, it is an unwinding like a panic's: a `std::sync::Mutex` that a killed greenlet holds is poisoned, and a
//! destructor that itself panics or raises meanwhile aborts the process. While a greenlet is suspended in a destructor
//! that an unwinding runs, `std::thread::panicking()` is true for all greenlets of its thread; [`is_unwinding`] tells them
//! apart. What is raised on a thread's own stack and not caught there unwinds the thread, in silence unless
//! [`run`](crate::run) is around it.
//!
//! gevent raises exceptions inside the victim; this is the same with Rust's means. Catching is explicit:
//! [`catch`] for everything, [`with_timeout`](crate::with_timeout) for one's own timeout. `std::panic::catch_unwind`
//! catches raises too (the payload is a [`Raised`]), as a bare `except:` would.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::hub::{self, Context};

/// Ends a greenlet without failure: what [`kill`](crate::GreenletRef::kill) raises by default.
///
/// A greenlet that ends with it counts as [`successful`](crate::GreenletRef::successful), as in gevent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GreenletExit;

impl fmt::Display for GreenletExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("greenlet exit")
    }
}

impl Error for GreenletExit {}

/// An error on its way through a greenlet, as caught by [`catch`].
#[derive(Clone)]
pub struct Raised {
    error: Arc<dyn Error + Send + Sync>,
    /// Which `Timeout` raised it: timeouts are told apart by identity, not by type.
    timeout: Option<u64>,
    rank: u32,
    /// Set when the sender has taken it back.
    revoked: Option<Arc<AtomicBool>>,
}

impl Raised {
    /// Wraps an error so that it can be raised in a greenlet.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Raised {
        Raised { error: Arc::new(error), timeout: None, rank: 0, revoked: None }
    }

    /// Wraps an error that is boxed already. It is downcast to what is in the box.
    pub(crate) fn from_box(error: Box<dyn Error + Send + Sync>) -> Raised {
        Raised { error: Arc::from(error), timeout: None, rank: 0, revoked: None }
    }

    pub(crate) fn by_timeout(error: impl Error + Send + Sync + 'static, id: u64) -> Raised {
        Raised { timeout: Some(id), ..Raised::new(error) }
    }

    pub(crate) fn revocable(self, revoked: Arc<AtomicBool>) -> Raised {
        Raised { revoked: Some(revoked), ..self }
    }

    /// The same error, to be raised in another greenlet.
    pub(crate) fn for_another(&self) -> Raised {
        Raised { error: self.error.clone(), timeout: None, rank: 0, revoked: None }
    }

    /// Whether the sender has taken it back.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.as_ref().is_some_and(|revoked| revoked.load(Ordering::Acquire))
    }

    pub(crate) fn with_rank(self, rank: u32) -> Raised {
        Raised { rank, ..self }
    }

    /// The same error for another greenlet, where no timeout of the first one's knows it.
    pub(crate) fn afresh(&self) -> Raised {
        Raised { error: self.error.clone(), timeout: None, rank: 0, revoked: None }
    }

    /// How deep inside unwindings it is caught for certain: one more than the number of unwindings that were under way
    /// when the `with_timeout` that it belongs to was entered. 0 for what nobody need catch, which must not be raised
    /// in a destructor that an unwinding runs: it could leave it, and that aborts the process.
    pub(crate) fn rank(&self) -> u32 {
        self.rank
    }

    pub(crate) fn timeout_id(&self) -> Option<u64> {
        self.timeout
    }

    /// The error.
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }

    /// Whether both carry the same error: not an equal one, but the very one.
    pub fn is_same(&self, other: &Raised) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.error), Arc::as_ptr(&other.error))
    }

    /// Whether the error is an `E`.
    pub fn is<E: Error + 'static>(&self) -> bool {
        self.error.is::<E>()
    }

    /// The error as an `E`, if it is one.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.error.downcast_ref()
    }

    /// Raises it in the current greenlet, as if [`catch`] had not stopped it.
    pub fn reraise(self) -> ! {
        hub::unwinding_begins();
        resume_unwind(Box::new(self))
    }
}

impl fmt::Debug for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Raised").field(&self.error).finish()
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

/// Raises `error` in the current greenlet: unwinds to the nearest [`catch`], or ends the greenlet.
///
/// `raise(GreenletExit)` ends the greenlet without failure from any depth. On a plain thread it unwinds the thread.
///
/// ```
/// use greenlet_core::{catch, raise, GreenletExit};
///
/// let ended = catch(|| raise(GreenletExit));
/// assert!(matches!(ended, Err(raised) if raised.is::<GreenletExit>()));
/// ```
pub fn raise(error: impl Error + Send + Sync + 'static) -> ! {
    Raised::new(error).reraise()
}

/// Runs `f` and stops whatever is raised inside: a kill, a timeout, the end of a linked greenlet, or [`raise`].
///
/// This is `except BaseException:`: code that does not want to swallow a kill gives it back with
/// [`Raised::reraise`]. Panics are not stopped.
///
/// # Errors
/// What was raised.
///
/// ```
/// use greenlet_core::{catch, sleep, spawn};
/// use std::time::Duration;
///
/// let survivor = spawn(|| {
///     let raised = catch(|| sleep(Duration::MAX)).unwrap_err();
///     format!("survived: {raised}")
/// });
/// greenlet_core::yield_now();
/// survivor.kill();
/// assert_eq!(survivor.get().unwrap(), "survived: greenlet exit");
/// ```
pub fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Raised> {
    catch_if(|_| true, f)
}

/// Whether the current greenlet is unwinding, from a raise or a panic: it runs a destructor on the way.
///
/// `std::thread::panicking` speaks of the thread: it is true for all of its greenlets while one is suspended in a
/// destructor. Outside of greenlets the two are the same.
pub fn is_unwinding() -> bool {
    match hub::context() {
        Context::Greenlet(hub, current) => hub.is_unwinding(current),
        Context::Loop | Context::Thread => std::thread::panicking(),
    }
}

/// Catches the raises that `wanted` accepts; others, and panics, pass.
pub(crate) fn catch_if<R>(wanted: impl FnOnce(&Raised) -> bool, f: impl FnOnce() -> R) -> Result<R, Raised> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => Ok(result),
        Err(payload) => match payload.downcast::<Raised>() {
            Ok(raised) if wanted(&raised) => {
                hub::unwinding_ended();
                Err(*raised)
            }
            Ok(raised) => resume_unwind(raised),
            Err(panic) => resume_unwind(panic),
        },
    }
}
