//! Waiting for each other.

use std::fmt;
use std::time::Duration;

use crate::hub::Deadline;
use crate::lock::Lock;
use crate::wait::{WaitList, wait_unless_given_up};

/// Lets a number of greenlets, or threads, wait until all of them are there: std's `Barrier`, cooperative.
///
/// It can be used again and again. Who is killed, or times out, while it waits leaves and is not counted: the others
/// wait for somebody else in its place. Who is killed when the last has come goes through.
///
/// It works across hubs and from threads without one. Share it by `Rc` or `Arc`.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_core::sync::Barrier;
/// use std::rc::Rc;
///
/// let start = Rc::new(Barrier::new(3));
/// let runners: Vec<_> = (0..3)
///     .map(|_| {
///         let start = start.clone();
///         spawn(move || start.wait().is_leader())
///     })
///     .collect();
/// let leaders = runners.iter().filter(|runner| runner.get().unwrap()).count();
/// assert_eq!(leaders, 1);
/// ```
pub struct Barrier {
    size: usize,
    state: Lock<State>,
}

struct State {
    /// How many nodes are in `waiters`.
    waiting: usize,
    waiters: WaitList<()>,
}

/// Who passes a [`Barrier`]: the leader or one of the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarrierWaitResult {
    is_leader: bool,
}

impl BarrierWaitResult {
    /// True for one of those who pass together: the one that came last.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

impl Barrier {
    /// A barrier that opens whenever `size` wait. Nobody waits for a barrier of 0 or 1.
    pub const fn new(size: usize) -> Barrier {
        Barrier { size, state: Lock::new(State { waiting: 0, waiters: WaitList::new() }) }
    }

    /// Waits for the others. The last does not suspend.
    pub fn wait(&self) -> BarrierWaitResult {
        match self.wait_until(Deadline::Never) {
            Some(result) => result,
            None => unreachable!("a wait without a deadline ends when it is notified"),
        }
    }

    /// Waits for the others for at most `timeout`. `None` if they did not all come: then it was not counted.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<BarrierWaitResult> {
        self.wait_until(Deadline::After(timeout))
    }

    fn wait_until(&self, deadline: Deadline) -> Option<BarrierWaitResult> {
        let mut state = self.state.lock();
        if state.waiting + 1 >= self.size {
            state.waiting = 0;
            let wakeups = state.waiters.notify_all();
            drop(state);
            wakeups.wake();
            return Some(BarrierWaitResult { is_leader: true });
        }
        state.waiting += 1;
        // Under the same lock as the list: whoever leaves is not counted for a moment longer.
        let leave = |state: &mut State| state.waiting -= 1;
        wait_unless_given_up("Barrier", state, |state| &mut state.waiters, leave, (), deadline).ok()?;
        Some(BarrierWaitResult { is_leader: false })
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.state.lock().waiting;
        f.debug_struct("Barrier").field("size", &self.size).field("waiting", &waiting).finish()
    }
}
