//! A flag to wait for.

use std::time::Duration;

use crate::hub::Deadline;
use crate::lock::Lock;
use crate::select::Operation;
use crate::wait::{Attempt, WaitList, wait};
use crate::waitable::{Waitable, WhenReady, sealed::Watch};

/// A flag that greenlets and threads wait for: gevent's `Event`.
///
/// Level-triggered: while it is set, [`wait`](Event::wait) returns at once. Waiters are woken in the order in which they
/// came. It works across hubs and from threads without one.
///
/// ```
/// use greenlet_core::{spawn, Event};
/// use std::rc::Rc;
///
/// let ready = Rc::new(Event::new());
/// let waiter = spawn({
///     let ready = ready.clone();
///     move || ready.wait()
/// });
/// ready.set();
/// assert!(waiter.get().is_ok());
/// ```
#[derive(Debug)]
pub struct Event {
    state: Lock<State>,
}

struct State {
    set: bool,
    waiters: WaitList<()>,
}

impl Event {
    /// An event that is not set.
    pub const fn new() -> Event {
        Event { state: Lock::new(State { set: false, waiters: WaitList::new() }) }
    }

    /// Sets the flag and wakes everybody who waits now, even if the flag is cleared before they run.
    pub fn set(&self) {
        let mut state = self.state.lock();
        state.set = true;
        let wakeups = state.waiters.notify_all();
        drop(state);
        wakeups.wake();
    }

    /// Takes the flag back. Those who were woken by [`set`](Event::set) stay woken.
    pub fn clear(&self) {
        self.state.lock().set = false;
    }

    /// Whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.state.lock().set
    }

    /// Waits until the flag is set. Does not suspend if it is.
    pub fn wait(&self) {
        self.wait_until(Deadline::Never);
    }

    /// Waits for at most `timeout`. True if the flag was set, even if it was cleared again since.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Deadline::After(timeout))
    }

    /// [`wait`](Event::wait), for [`select!`](crate::select!) and `.await`.
    pub fn wait_op(&self) -> Operation<impl Attempt<Output = ()>> {
        Operation(WhenReady { object: self, output: |_| () })
    }

    #[inline]
    fn wait_until(&self, deadline: Deadline) -> bool {
        let state = self.state.lock();
        state.set || wait("Event", state, |state| &mut state.waiters, (), deadline).is_ok()
    }
}

// SAFETY: it has one such list.

unsafe impl Watch for Event {
    fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        let state = &mut *self.state.lock();
        at(state.set, &mut state.waiters);
    }
}

impl Waitable for Event {}

impl Default for Event {
    fn default() -> Event {
        Event::new()
    }
}
