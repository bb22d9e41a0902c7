//! Killing: raising in another greenlet.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::GreenletRef;
use super::raw::Phase;
use crate::hub::{Deadline, Hub};
use crate::raise::{GreenletExit, Raised};

/// How to kill: what is raised, and how long to wait for the end. See [`GreenletRef::kill_with`].
#[derive(Clone, Debug)]
#[must_use = "it says how to kill, and kills nothing"]
pub struct Kill {
    raised: Raised,
    wait: Wait,
}

#[derive(Clone, Copy, Debug)]
enum Wait {
    No,
    Until(Deadline),
}

impl Default for Kill {
    /// Raises [`GreenletExit`] and waits for the end.
    fn default() -> Kill {
        Kill::error(GreenletExit)
    }
}

impl Kill {
    /// Raises this error: a greenlet that does not catch it fails with it.
    pub fn error(error: impl Error + Send + Sync + 'static) -> Kill {
        Kill { raised: Raised::new(error), wait: Wait::Until(Deadline::Never) }
    }

    pub(crate) fn raised(raised: Raised) -> Kill {
        Kill { raised, wait: Wait::Until(Deadline::Never) }
    }

    /// How long to wait; `None`: not at all.
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        match self.wait {
            Wait::No => None,
            Wait::Until(deadline) => Some(deadline),
        }
    }

    /// Does not wait for the end.
    pub fn no_wait(mut self) -> Kill {
        self.wait = Wait::No;
        self
    }

    /// Waits for the end for at most so long.
    pub fn timeout(mut self, timeout: Duration) -> Kill {
        self.wait = Wait::Until(Deadline::After(timeout));
        self
    }
}

/// A raise on its way, which can be taken back: see [`GreenletRef::interrupt`].
#[derive(Clone, Debug)]
pub struct Interrupt {
    revoked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes the raise back: if it was not thrown yet, it never is.
    ///
    /// When the interrupted greenlet itself does this, it knows for certain: from then on it is not interrupted by it.
    pub fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }
}

impl GreenletRef {
    /// Raises an error in the greenlet, in its turn, and does not wait: a [kill](GreenletRef::kill_with) that can be taken
    /// back. For those who build on greenlets: a greenlet that was asked to end and is about to do so revokes what is
    /// still on its way, and ends undisturbed.
    ///
    /// ```
    /// use greenlet_core::{current, yield_now, GreenletExit};
    ///
    /// let interrupt = current().interrupt(GreenletExit);
    /// interrupt.revoke();
    /// yield_now(); // nothing happens
    /// ```
    pub fn interrupt(&self, error: impl Error + Send + Sync + 'static) -> Interrupt {
        let revoked = Arc::new(AtomicBool::new(false));
        self.raise(Raised::new(error).revocable(revoked.clone()));
        Interrupt { revoked }
    }

    /// Raises [`GreenletExit`] in the greenlet and waits until it has ended.
    ///
    /// - Suspended: it is unwound from where it is suspended; destructors run, locks and sockets are released. If a
    ///   wake-up was queued for it first, it goes on with that and is unwound at its next suspension point.
    /// - Not started, or waiting for its first turn: it never runs.
    /// - Ended: nothing happens.
    /// - The current greenlet: it is raised right here.
    /// - It may [`catch`](crate::catch) the raise and live on; then this waits on.
    ///
    /// Code that computes without suspending is not interrupted. A greenlet that is unwinding already (suspended in a
    /// destructor) gets the raise once that is over, and one that is past its code is left to its end. Works from any
    /// thread.
    ///
    /// In programs built with `panic = "abort"` nothing can be unwound, and a kill aborts the process.
    pub fn kill(&self) {
        self.kill_with(Kill::default());
    }

    /// Kills with an error of one's own, without waiting, or with a limit on the wait. True if the greenlet has ended.
    ///
    /// The limit bounds the wait for the end, not the delivery; when it passes, the greenlet is alive and the raise
    /// stands.
    ///
    /// ```
    /// use greenlet_core::{sleep, spawn, yield_now, Kill};
    /// use std::time::Duration;
    ///
    /// let worker = spawn(|| sleep(Duration::MAX));
    /// yield_now();
    /// worker.kill_with(Kill::error(std::io::Error::other("shutting down")));
    /// assert_eq!(worker.exception().unwrap().to_string(), "shutting down");
    /// ```
    pub fn kill_with(&self, kill: Kill) -> bool {
        if self.ready() {
            return true;
        }
        let home = self.home_hub();
        if let Some(hub) = home
            && self.is_current()
        {
            match kill.wait {
                // A raise in the middle of an unwinding would abort the process: it has to wait like any other.
                Wait::Until(_) if !hub.is_unwinding(self.header()) => kill.raised.reraise(),
                _ => {
                    self.raise(kill.raised);
                    return false;
                }
            }
        }
        match home {
            Some(hub) if self.header_ref().local.phase.get() == Phase::New => {
                hub.cancel(self.header(), kill.raised);
            }
            _ => self.raise(kill.raised),
        }
        match kill.wait {
            Wait::No => self.ready(),
            Wait::Until(deadline) => self.join_deadline(deadline),
        }
    }
}

/// Raises [`GreenletExit`] in all of these greenlets and waits until they have ended: see [`killall_with`].
///
/// ```
/// use greenlet_core::{killall, sleep, spawn, yield_now};
/// use std::time::Duration;
///
/// let sleepers: Vec<_> = (0..3).map(|_| spawn(|| sleep(Duration::MAX))).collect();
/// yield_now();
/// killall(&sleepers);
/// assert!(sleepers.iter().all(|sleeper| sleeper.exited()));
/// ```
pub fn killall<I>(greenlets: I)
where
    I: IntoIterator,
    I::Item: AsRef<GreenletRef>,
{
    killall_with(greenlets, Kill::default());
}

/// Kills all of these greenlets with an error of one's own, without waiting, or with a limit on the wait, which counts for
/// all together. True if all have ended.
///
/// - Those that have not started, or wait for their first turn, never run; on their own thread they have ended when this begins
///   to wait.
/// - The others get the raise in the order given: those of this thread's hub in one go, after everything that is ready now.
/// - One that is there several times gets it once.
/// - The current greenlet comes last: it is raised here as soon as the others have theirs on the way, and the wait for them is
///   off; without waiting it comes at the next suspension point, as from [`GreenletRef::kill_with`].
///
/// They may be of several hubs, and of other hubs than the caller's. A kill or timeout of the caller ends the wait; the raises
/// stand. When the limit has passed gevent raises `Timeout`; here it is the value returned.
///
/// ```
/// use greenlet_core::{catch, killall_with, sleep, spawn, yield_now, Kill};
/// use std::time::Duration;
///
/// let soft = spawn(|| sleep(Duration::MAX));
/// let hard = spawn(|| {
///     let _ = catch(|| sleep(Duration::MAX)); // survives one kill
///     sleep(Duration::MAX)
/// });
/// yield_now();
/// let all_ended = killall_with([&soft, &hard], Kill::default().timeout(Duration::from_millis(1)));
/// assert!(!all_ended && soft.ready() && !hard.ready());
/// # hard.kill();
/// ```
pub fn killall_with<I>(greenlets: I, kill: Kill) -> bool
where
    I: IntoIterator,
    I::Item: AsRef<GreenletRef>,
{
    let mut deadline = kill.deadline();
    if let Some(deadline) = &mut deadline {
        deadline.fix();
    }
    let mut seen = HashSet::new();
    let all: Vec<_> = greenlets
        .into_iter()
        .map(|greenlet| greenlet.as_ref().clone())
        .filter(|g| seen.insert(g.header()))
        .collect();
    let mut batch = Vec::new();
    let mut current = None;
    for greenlet in all.iter().filter(|greenlet| !greenlet.ready()) {
        match greenlet.home_hub() {
            Some(_) if greenlet.is_current() => current = Some(greenlet),
            // Its destructors may suspend, and end others.
            Some(hub) if greenlet.header_ref().local.phase.get() == Phase::New => {
                hub.cancel(greenlet.header(), kill.raised.clone());
            }
            Some(_) => batch.push(greenlet.clone()),
            None => greenlet.raise(kill.raised.clone()),
        }
    }
    if !batch.is_empty() {
        let raised = kill.raised.clone();
        Hub::current_hub().call_soon(Box::new(move |hub| {
            batch.into_iter().for_each(|greenlet| hub.deliver(&greenlet, raised.clone()));
        }));
    }
    if let Some(current) = current
        && !current.kill_with(kill)
    {
        // It is not raised here, so whoever waits for the current greenlet would wait for ever.
        return false;
    }
    match deadline {
        None => all.iter().all(|greenlet| greenlet.ready()),
        Some(deadline) => all.iter().all(|greenlet| greenlet.join_deadline(deadline)),
    }
}
