//! Waiting for signals as for anything else.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::c_int;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::delivery::Watch;
use super::{SignalError, describe};
use crate::event::Event;
use crate::hub::{Deadline, Hub, Nanos};

/// Signals to be waited for, kept from the moment this was made until it is dropped.
///
/// A signal that comes while nobody waits is kept for the next wait, once: as with the kernel, several of one kind that were
/// not taken are one. Several may wait; each signal goes to one of them. It belongs to the hub of its thread, and so is not
/// `Send`.
///
/// ```
/// use greenlet_core::signal::{SIGHUP, SIGUSR2, Signals};
///
/// let signals = Signals::new([SIGHUP, SIGUSR2])?;
/// signal_hook::low_level::raise(SIGUSR2)?; // somebody sends it
/// match signals.wait() {
///     SIGHUP => println!("reading the configuration"),
///     _ => println!("here is what I do"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it gives the signals up"]
pub struct Signals {
    watches: Vec<Watch>,
    arrived: Rc<Arrived>,
}

struct Arrived {
    /// Oldest first, each signal once.
    signals: RefCell<VecDeque<c_int>>,
    news: Event,
}

impl Signals {
    /// Keeps these signals for this thread's hub, from now on. Never suspends. With none at all a wait lasts for ever.
    ///
    /// # Errors
    /// [`SignalError`], for the lowest number that is refused; then none of them is kept.
    #[track_caller]
    pub fn new(signals: impl IntoIterator<Item = c_int>) -> Result<Signals, SignalError> {
        let arrived = Rc::new(Arrived { signals: RefCell::default(), news: Event::new() });
        let mut all = Signals { watches: Vec::new(), arrived };
        for signal in signals.into_iter().collect::<BTreeSet<c_int>>() {
            let arrived = all.arrived.clone();
            all.watches.push(Watch::start(signal, move |_| arrived.add(signal))?);
        }
        Ok(all)
    }

    /// Waits for the next of the signals, and takes it. Does not suspend if one has come.
    ///
    /// A kill or timeout that ends the wait takes none.
    pub fn wait(&self) -> c_int {
        loop {
            if let Some(signal) = self.take_until(Deadline::Never) {
                return signal;
            }
        }
    }

    /// As [`wait`](Signals::wait), for at most `timeout`; zero makes one trip through the loop.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<c_int> {
        self.take_until(Deadline::After(timeout))
    }

    /// Takes one that the hub has seen already. Never suspends.
    pub fn try_wait(&self) -> Option<c_int> {
        self.arrived.signals.borrow_mut().pop_front()
    }

    fn take_until(&self, mut deadline: Deadline) -> Option<c_int> {
        loop {
            if let Some(signal) = self.try_wait() {
                return Some(signal);
            }
            self.arrived.news.clear();
            // A signal may come at any time.
            let _counted = Hub::try_current().map(Hub::counted);
            match deadline.fix() {
                None => self.arrived.news.wait(),
                Some(deadline) => {
                    if !self.arrived.news.wait_timeout(deadline.since(Nanos::now())) {
                        return self.try_wait();
                    }
                }
            }
        }
    }
}

impl Arrived {
    fn add(&self, signal: c_int) {
        let mut signals = self.signals.borrow_mut();
        if !signals.contains(&signal) {
            signals.push_back(signal);
        }
        drop(signals);
        self.news.set();
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.watches.iter().for_each(Watch::cancel);
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.watches.iter().map(|watch| describe(watch.signal)).collect();
        f.debug_struct("Signals").field("signals", &names).finish_non_exhaustive()
    }
}

/// Waits for one of these signals. What comes before or after the call is not kept: [`Signals`] does that.
///
/// A kill or timeout ends the wait.
///
/// # Errors
/// As [`Signals::new`]; then it does not wait.
///
/// ```
/// use greenlet_core::signal::{self, SIGALRM};
/// use greenlet_core::spawn;
///
/// let sender = spawn(|| signal_hook::low_level::raise(SIGALRM).unwrap());
/// assert_eq!(signal::wait([SIGALRM])?, SIGALRM);
/// # drop(sender);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn wait(signals: impl IntoIterator<Item = c_int>) -> Result<c_int, SignalError> {
    Ok(Signals::new(signals)?.wait())
}

/// As [`wait`], for at most `timeout`: `None` if none of them came.
///
/// # Errors
/// As [`wait`].
#[track_caller]
pub fn wait_timeout(
    signals: impl IntoIterator<Item = c_int>,
    timeout: Duration,
) -> Result<Option<c_int>, SignalError> {
    Ok(Signals::new(signals)?.wait_timeout(timeout))
}
