//! Timeouts: a raise at a deadline.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::greenlet::GreenletRef;
use crate::hub::{self, Hub, Nanos, TimerKey, blocked_in_loop};
use crate::raise::{Raised, catch_if};

/// The time was over: what a [`Timeout`] raises, and what [`with_timeout`] returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedOut {
    after: Duration,
}

impl TimedOut {
    pub(crate) fn new(after: Duration) -> TimedOut {
        TimedOut { after }
    }

    /// How long the timeout was.
    pub fn after(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out after {:?}", self.after)
    }
}

impl Error for TimedOut {}

/// Raises in the greenlet that started it once its time is over: gevent's `Timeout`.
///
/// The raise arrives when the greenlet is suspended, or at its next suspension point: code that only computes is not
/// interrupted. Dropping the timeout cancels it. Several may be pending at once, each told apart by identity
/// ([`raised`](Timeout::raised)); [`with_timeout`] does that by itself and is what most code wants.
///
/// ```
/// use greenlet_core::{catch, sleep, Timeout};
/// use std::time::Duration;
///
/// let timeout = Timeout::start_new(Duration::from_millis(5));
/// let late = catch(|| sleep(Duration::MAX)).unwrap_err();
/// assert!(timeout.raised(&late));
/// ```
pub struct Timeout {
    state: Rc<State>,
}

struct State {
    id: u64,
    after: Duration,
    error: Option<Raised>,
    /// Whom it raises in: the greenlet that started it last.
    target: RefCell<Option<GreenletRef>>,
    /// Its timer, while it is pending (none if it never fires).
    pending: Cell<Option<Option<TimerKey>>>,
    /// See `Raised::rank`.
    rank: Cell<u32>,
    /// The start that is current: what an earlier one left in the queue is void.
    start: Cell<u64>,
}

impl Timeout {
    fn with(after: Duration, error: impl FnOnce(u64) -> Option<Raised>) -> Timeout {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let error = error(id);
        let (target, pending) = (RefCell::new(None), Cell::new(None));
        let state = State { id, after, error, target, pending, rank: Cell::new(0), start: Cell::new(0) };
        Timeout { state: Rc::new(state) }
    }

    /// A timeout of that length, not started. [`Duration::MAX`] never fires.
    pub fn new(after: Duration) -> Timeout {
        Timeout::with(after, |_| None)
    }

    /// One that raises `error` instead of [`TimedOut`].
    pub fn with_error(after: Duration, error: impl Error + Send + Sync + 'static) -> Timeout {
        Timeout::with(after, |id| Some(Raised::by_timeout(error, id)))
    }

    /// One that never fires, for code that needs a timeout in any case: gevent's `Timeout(None)`.
    pub fn never() -> Timeout {
        Timeout::new(Duration::MAX)
    }

    /// How long it is, as it was made: [`Duration::MAX`] if it never fires. What gevent compares timeouts by.
    pub fn after(&self) -> Duration {
        self.state.after
    }

    /// Makes one and starts it for the current greenlet.
    ///
    /// # Panics
    /// In a callback of the loop, which never suspends.
    #[track_caller]
    pub fn start_new(after: Duration) -> Timeout {
        let timeout = Timeout::new(after);
        timeout.start();
        timeout
    }

    /// Starts it for the current greenlet. It may be started again after it fired or was cancelled.
    ///
    /// # Panics
    /// When it is pending already, and in a callback of the loop, which never suspends.
    #[track_caller]
    pub fn start(&self) {
        assert!(!self.pending(), "this timeout is pending already");
        let hub = Hub::current_hub();
        if hub.current_greenlet().is_none() {
            blocked_in_loop();
        }
        // What an earlier start raised and nobody has seen yet does not count any more.
        self.cancel();
        let start = self.state.start.get() + 1;
        self.state.start.set(start);
        let timer = Nanos::now().checked_add(self.state.after).map(|deadline| {
            let state = self.state.clone();
            hub.call_at(deadline, Box::new(move |hub| state.fire(hub, start)))
        });
        self.state.pending.set(Some(timer));
        self.state.rank.set(0);
        *self.state.target.borrow_mut() = Some(crate::current());
    }

    /// What it raises, for somebody else to raise: caught for certain at that rank.
    pub(crate) fn expired(&self, rank: u32) -> Raised {
        let after = self.state.after;
        let timed_out = || Raised::by_timeout(TimedOut { after }, self.state.id);
        self.state.error.clone().unwrap_or_else(timed_out).with_rank(rank)
    }

    pub(crate) fn late(&self) -> TimedOut {
        TimedOut { after: self.state.after }
    }

    /// Takes it back. If it was about to be raised at the next suspension point, it is not.
    pub fn cancel(&self) {
        self.state.start.set(self.state.start.get() + 1);
        // A `Timeout` stays on its thread. If it outlives the thread's hub (in a thread-local), nothing is left to do.
        let pending = self.state.pending.take();
        if let (Some(hub), Some(Some(timer))) = (Hub::try_current(), pending) {
            hub.cancel_timer(timer);
        }
        if let Some(target) = self.state.target.take() {
            target.forget_timeout(self.state.id);
        }
    }

    /// [Cancels](Timeout::cancel) it for good, as dropping it does.
    pub fn close(self) {}

    /// Runs `f` with this timeout over it: gevent's `with timeout:`. Starts it, unless it is pending already, and cancels it at
    /// the end; it may be used again.
    ///
    /// What this timeout raises is caught here, even if `f` caught something else meanwhile; a kill, or another timeout,
    /// passes through. As [`with_timeout`], it works while the greenlet unwinds. Who does not care whether it was in time
    /// ignores the result: gevent's silent timeout.
    ///
    /// # Errors
    /// What it raised: [`TimedOut`], or the error of [`with_error`](Timeout::with_error).
    ///
    /// # Panics
    /// In a callback of the loop, which never suspends.
    ///
    /// ```
    /// use greenlet_core::{sleep, Timeout};
    /// use std::time::Duration;
    ///
    /// let timeout = Timeout::with_error(Duration::from_millis(5), std::io::Error::other("too slow"));
    /// let late = timeout.run(|| sleep(Duration::MAX)).unwrap_err();
    /// assert_eq!(late.to_string(), "too slow");
    /// assert_eq!(timeout.run(|| "in time").unwrap(), "in time");
    /// ```
    #[track_caller]
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> Result<R, Raised> {
        let _ends = Ends(self);
        if !self.pending() {
            self.start();
        }
        // Another greenlet that started it does not run in here, and nothing is caught for it.
        if self.state.target.borrow().as_ref().is_some_and(GreenletRef::is_current) {
            self.state.rank.set(hub::unwindings() + 1);
        }
        catch_if(|raised| self.raised(raised), f)
    }

    /// Whether it was started and has neither fired nor been cancelled.
    pub fn pending(&self) -> bool {
        self.state.pending.get().is_some()
    }

    /// Whether this timeout is what was raised.
    pub fn raised(&self, raised: &Raised) -> bool {
        raised.timeout_id() == Some(self.state.id)
    }
}

impl State {
    /// In the loop, when the time is over.
    fn fire(&self, hub: &Hub, start: u64) {
        if self.start.get() != start {
            return; // cancelled while this was queued
        }
        let target = self.target.borrow().clone();
        if let (Some(_), Some(target)) = (self.pending.take(), target) {
            let timed_out = || Raised::by_timeout(TimedOut { after: self.after }, self.id);
            let raised = self.error.clone().unwrap_or_else(timed_out);
            hub.deliver(&target, raised.with_rank(self.rank.get()));
        }
    }
}

impl Drop for Timeout {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The end of a `run`, in whatever way.
struct Ends<'a>(&'a Timeout);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// How long it is: `1s`, `1.5s`, or `never`; with the error that it raises, if it has one of its own: `1s: too slow`.
impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state.after {
            Duration::MAX => f.write_str("never")?,
            after => write!(f, "{after:?}")?,
        }
        match &self.state.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("after", &self.state.after).field("pending", &self.pending()).finish()
    }
}

/// Runs `f` for at most `timeout`: if the time is over while it is suspended, it is unwound from there.
///
/// Only its own timeout is caught. A kill, or the timeout of an outer `with_timeout`, passes through. It works in
/// destructors too, also while the greenlet unwinds.
///
/// # Errors
/// [`TimedOut`].
///
/// ```
/// use greenlet_core::{sleep, with_timeout};
/// use std::time::Duration;
///
/// assert_eq!(with_timeout(Duration::from_secs(5), || "done"), Ok("done"));
/// assert!(with_timeout(Duration::from_millis(5), || sleep(Duration::MAX)).is_err());
/// ```
#[track_caller]
pub fn with_timeout<R>(timeout: Duration, f: impl FnOnce() -> R) -> Result<R, TimedOut> {
    let guard = Timeout::start_new(timeout);
    guard.state.rank.set(hub::unwindings() + 1);
    catch_if(|raised| guard.raised(raised), f).map_err(|_| TimedOut { after: timeout })
}
