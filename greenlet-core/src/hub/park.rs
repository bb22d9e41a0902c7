//! Suspension: the one way out of a running greenlet, and the timers of those who wait.

use std::ptr::NonNull;
use std::time::Duration;

use super::{Deadline, Hub, Resume, TimerAction, TimerKey};
use crate::greenlet::raw::Header;
use crate::sleep::yield_now;
use crate::spans::Spans;

/// So many operations in a row may find their descriptor ready before the others get a turn. A turn costs some 20 ns, and a
/// look at the kernel if nothing else runs; an operation costs a microsecond.
const LONGEST_STREAK: u32 = 32;

impl Hub {
    /// Counts an operation that may find its descriptor ready. Who never waits never suspends; so every now and then it
    /// lets the others run: greenlets, timers, kills.
    #[inline]
    pub(crate) fn take_part(&self) {
        let streak = self.streak.get() + 1;
        self.streak.set(streak);
        if streak >= LONGEST_STREAK {
            self.end_streak();
        }
    }

    #[cold]
    #[inline(never)]
    fn end_streak(&self) {
        self.streak.set(0);
        // A callback of the loop cannot suspend; it is over soon.
        if self.current_greenlet().is_some() {
            yield_now();
        }
    }

    /// Suspends the current greenlet until it is scheduled or something is raised in it. Everything that blocks
    /// comes through here.
    ///
    /// Inlined into the primitives: a `ret` after a switch of stacks is mispredicted, and costs more than the switch.
    #[inline(always)]
    pub(crate) fn park(&self, header: NonNull<Header>) -> Resume {
        // SAFETY: the running greenlet is alive.
        let local = unsafe { &header.as_ref().local };
        if local.parks_slowly
            || local.has_raises.get()
            || std::thread::panicking()
            || tracing::dispatcher::has_been_set()
        {
            return self.park_slow(header);
        }
        // Nothing unwinds on this thread, whatever was caught without our seeing it.
        local.unwind_marks.set(0);
        // SAFETY: a running greenlet that is not main has a worker, and this is its stack.
        unsafe { local.worker.get().unwrap_unchecked().as_ref().suspend() };
        if local.has_raises.get() { self.resumed(header) } else { Resume::Woken }
    }

    /// Back from `park` with something to see to.
    #[cold]
    #[inline(never)]
    fn resumed(&self, header: NonNull<Header>) -> Resume {
        self.answer_inspections(header);
        // SAFETY: the running greenlet is alive.
        let local = unsafe { &header.as_ref().local };
        if local.can_raise(local.resting_floor()) { Resume::Raised } else { Resume::Woken }
    }

    /// `park` for main, in a simulation, during unwinding, with spans to save, or with raises waiting.
    #[cold]
    #[inline(never)]
    fn park_slow(&self, header: NonNull<Header>) -> Resume {
        // SAFETY: the running greenlet is alive.
        let local = unsafe { &header.as_ref().local };
        if !std::thread::panicking() {
            local.unwind_marks.set(0);
        }
        let floor = self.raise_floor(header);
        let at_resumption = self.simulate_suspension(header, floor);
        if local.can_raise(floor) {
            return Resume::Raised;
        }
        let unwinding = u32::from(floor > local.resting_floor());
        local.floor.set(floor);
        self.unwinding.set(self.unwinding.get() + unwinding);
        let spans = Spans::leave();
        if local.is_main {
            self.main_stands_here();
            self.simulate_choice();
            self.run_loop();
        } else {
            // SAFETY: as in `park`.
            unsafe { local.worker.get().unwrap_unchecked().as_ref().suspend() };
            self.answer_inspections(header);
        }
        spans.enter();
        local.floor.set(0);
        self.unwinding.set(self.unwinding.get() - unwinding);
        if let Some(raised) = at_resumption {
            local.push_raise(raised);
        }
        if local.can_raise(floor) { Resume::Raised } else { Resume::Woken }
    }

    /// Notes how far the main greenlet's stack reaches. Called on it.
    #[inline(always)]
    pub(super) fn main_stands_here(&self) {
        let here = 0_u8;
        self.main_stack.set((&raw const here).addr());
    }

    /// The rank that a raise must have to be thrown in the running greenlet now: that of its rest, unless it unwinds.
    fn raise_floor(&self, header: NonNull<Header>) -> u32 {
        // SAFETY: the running greenlet is alive.
        let local = unsafe { &header.as_ref().local };
        // `panicking` speaks of the thread: with another greenlet suspended in mid-unwind it is true for everybody,
        // and only then the marks decide.
        if !std::thread::panicking() {
            return local.resting_floor();
        }
        match (local.unwind_marks.get(), self.unwinding.get()) {
            (0, 0) => u32::MAX, // begun without our seeing it: no rank is certain
            (0, _) => local.resting_floor(),
            (marks, _) => marks + 1,
        }
    }

    /// Whether the running greenlet is unwinding: then nothing may be raised in it without being caught in time.
    pub(crate) fn is_unwinding(&self, header: NonNull<Header>) -> bool {
        // SAFETY: the running greenlet is alive.
        self.raise_floor(header) > unsafe { header.as_ref() }.local.resting_floor()
    }

    /// Unwinds the current greenlet with the first of its raises.
    #[cold]
    #[inline(never)]
    pub(crate) fn throw_pending(&self, header: NonNull<Header>) -> ! {
        let floor = self.raise_floor(header);
        // SAFETY: the running greenlet is alive.
        let raised = unsafe { header.as_ref() }.local.pop_raise(floor);
        raised.expect("a greenlet resumed as raised has a raise").reraise()
    }
}

/// A timeout that is so much longer than the time between two turns of the loop that nobody minds if it begins with the next turn.
const FAR: Duration = Duration::from_millis(10);

/// The timer of one wait; cancelled when the wait ends.
pub(crate) struct WakeTimer<'a> {
    hub: &'a Hub,
    key: Option<TimerKey>,
}

impl<'a> WakeTimer<'a> {
    #[inline]
    pub(crate) fn start(hub: &'a Hub, waiter: NonNull<Header>, deadline: &mut Deadline) -> WakeTimer<'a> {
        let key = match deadline {
            Deadline::Never => None,
            _ => deadline.fix().map(|at| hub.timers.borrow_mut().insert(at, TimerAction::Wake(waiter))),
        };
        WakeTimer { hub, key }
    }

    /// As [`start`](WakeTimer::start), for a timer that most likely never fires: it does not even look at the clock. It fires a little later.
    #[inline]
    pub(crate) fn start_lazily(hub: &'a Hub, waiter: NonNull<Header>, deadline: Deadline) -> WakeTimer<'a> {
        if hub.simulation().is_some() {
            // There time passes between any two steps, if the seed says so.
            return WakeTimer::start(hub, waiter, &mut { deadline });
        }
        let mut timers = hub.timers.borrow_mut();
        let key = match deadline {
            Deadline::Never => None,
            // As `Deadline::fix` has it.
            Deadline::After(timeout) if timeout.as_secs() > u64::from(u32::MAX) => None,
            Deadline::At(at) => Some(timers.insert(at, TimerAction::Wake(waiter))),
            Deadline::After(timeout) if timeout >= FAR => {
                Some(timers.insert_later(timeout, TimerAction::Wake(waiter)))
            }
            mut near @ Deadline::After(_) => {
                near.fix().map(|at| timers.insert(at, TimerAction::Wake(waiter)))
            }
        };
        drop(timers);
        WakeTimer { hub, key }
    }

    /// A timer whose time begins when the loop next looks at the clock, which it does before it sleeps.
    pub(crate) fn start_late(hub: &'a Hub, waiter: NonNull<Header>, timeout: Duration) -> WakeTimer<'a> {
        if hub.simulation().is_some() {
            return WakeTimer::start(hub, waiter, &mut Deadline::After(timeout));
        }
        let key = hub.timers.borrow_mut().insert_later(timeout, TimerAction::Wake(waiter));
        WakeTimer { hub, key: Some(key) }
    }

    pub(crate) fn never_fires(&self) -> bool {
        self.key.is_none()
    }

    pub(crate) fn fired(&self) -> bool {
        self.key.is_some_and(|key| !self.hub.timers.borrow().contains(key))
    }
}

impl Drop for WakeTimer<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.hub.cancel_timer(key);
        }
    }
}
