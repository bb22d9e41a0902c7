//! The loop: main waits, and everything else runs.

use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::compiler_fence;
use std::time::Duration;

use super::ready::Entry;
use super::shared::Arrival;
use super::{Callback, ErrorContext, Hub, Nanos, Readiness, TimerAction, Worker, drain};
use crate::embed::memory;
use crate::failure::{GreenletError, attempt};
use crate::greenlet::raw::{Header, Phase};
use crate::raise::Raised;
use crate::report;
use crate::spans::Spans;
use crate::stack::{StackError, StackSize, StackSlot};
use crate::watcher::WatchedFds;

/// Idle workers kept with their stacks set up. More are taken apart, and their stacks go to the pool.
const IDLE_WORKERS: usize = 256;

impl Hub {
    /// Main waits: everything else runs, until main is scheduled or raised in.
    pub(super) fn run_loop(&self) {
        // SAFETY: main lives as long as the hub.
        let main = unsafe { &self.main.as_ref().local };
        self.current.set(None);
        self.shared.vitals.in_loop.store(true, Relaxed);
        if self.switch_hooks.any() {
            self.switched_from(self.main);
        }
        loop {
            self.look_ahead();
            match self.ready.pop() {
                Some(Entry::Resume(header)) if header == self.main => {
                    main.queued.set(false);
                    self.spend();
                    break;
                }
                Some(Entry::Resume(header)) => self.resume(header),
                Some(Entry::Call(callback)) => self.call(callback),
                None => {
                    self.turn(Idle::Sleep);
                    continue;
                }
            }
            if self.holds_back.get() {
                self.deliver_held_back();
            }
            if main.has_raises.get() && main.can_raise(main.floor.get()) {
                break;
            }
            self.spend();
        }
        if self.switch_hooks.any() {
            self.switching_to(self.main);
        }
        self.shared.vitals.in_loop.store(false, Relaxed);
        self.shared.vitals.main_waits.add(1);
        self.current.set(Some(self.main));
        self.streak.set(0);
        self.main_let_others_run();
    }

    /// Others than main may have used thread-locals since the last time.
    #[inline]
    fn main_let_others_run(&self) {
        self.waits_of_main.set(self.waits_of_main.get() + 1);
        if self.waits_of_main.get().is_power_of_two() {
            drain::watch_thread_end();
        }
    }

    /// Fetches into the cache what the greenlets need that are to be resumed soon. With many of them, each resume is a chain of
    /// loads (header, worker, stack) that miss the first-level cache; fetched one step ahead of another they overlap with
    /// what runs meanwhile.
    #[inline]
    fn look_ahead(&self) {
        let Some(third) = self.ready.ahead(6) else { return };
        memory::prefetch(third.as_ptr());
        memory::prefetch(third.as_ptr().cast::<u8>().wrapping_add(64));
        if let Some(second) = self.ready.ahead(4)
            // SAFETY: whoever is in the ready queue is kept until popped.
            && let Some(worker) = unsafe { second.as_ref() }.local.worker.get()
        {
            memory::prefetch(worker.as_ptr());
            memory::prefetch(worker.as_ptr().cast::<u8>().wrapping_add(64));
        }
        if let Some(first) = self.ready.ahead(2)
            // SAFETY: as above.
            && let Some(worker) = unsafe { first.as_ref() }.local.worker.get()
        {
            // SAFETY: a greenlet has its worker until it has ended.
            let top = unsafe { worker.as_ref() }.top();
            memory::prefetch(top.wrapping_sub(64));
            memory::prefetch(top);
            memory::prefetch(top.wrapping_add(64));
        }
    }

    /// Counts an entry of the ready queue, and looks outside when it is time.
    #[inline]
    fn spend(&self) {
        let left = self.budget.get() - 1;
        self.budget.set(left);
        if left == 0 {
            self.turn(Idle::GoOn);
        }
    }

    #[inline]
    fn resume(&self, header: NonNull<Header>) {
        // SAFETY: whoever is in the ready queue is kept until popped.
        let local = unsafe { &header.as_ref().local };
        local.queued.set(false);
        if local.phase.get() == Phase::Ended {
            // SAFETY: `finish` left the hub's count to this entry.
            unsafe { Header::release(header) };
        } else {
            self.switch_to(header);
        }
    }

    /// Runs a greenlet that is ready until it suspends or ends, from within the current one and not from the loop: two switches instead of four.
    /// False if it is not ready, or if the loop has to be in between.
    ///
    /// The current greenlet is neither queued nor suspended meanwhile, and nothing can be raised in it: the loop, which alone does that, does not
    /// run. `runs_inside` keeps others from resuming its stack.
    pub(crate) fn run_inside(&self, next: NonNull<Header>, current: NonNull<Header>) -> bool {
        let runs = self.may_run_inside(next, current) && self.ready.take_out(next);
        if runs {
            self.resume_inside(next, current);
        }
        runs
    }

    /// As [`run_inside`](Hub::run_inside), for one that is suspended, whether it is ready or not.
    #[inline]
    pub(crate) fn wake_inside(&self, next: NonNull<Header>, current: NonNull<Header>) -> bool {
        // SAFETY: who has the header keeps it.
        let local = unsafe { &next.as_ref().local };
        let runs = local.phase.get() == Phase::Started
            && self.may_run_inside(next, current)
            && (!local.queued.get() || self.ready.take_out(next));
        if runs {
            self.resume_inside(next, current);
        }
        runs
    }

    #[inline]
    fn may_run_inside(&self, next: NonNull<Header>, current: NonNull<Header>) -> bool {
        // SAFETY: who has the header keeps it.
        let other = unsafe { &next.as_ref().local };
        !(next == current
            // It stands below us on the way to the loop: it is resumed when those that it runs inside of it have suspended.
            || other.runs_inside.get()
            // It is the loop that returns to main.
            || other.is_main)
            && self.may_run_others_inside(current)
    }

    /// Whether the current greenlet may run others inside itself now.
    #[inline]
    pub(super) fn may_run_others_inside(&self, current: NonNull<Header>) -> bool {
        // SAFETY: the running greenlet is alive.
        let local = unsafe { &current.as_ref().local };
        !(local.has_raises.get() || std::thread::panicking() || self.switch_hooks.any())
            && self.loop_may_wait()
    }

    /// Whether the loop need not be in between when one greenlet runs another one.
    #[inline]
    fn loop_may_wait(&self) -> bool {
        match self.simulation() {
            Some(simulation) => simulation.runs_inside(),
            // Else it is time to look outside, which is the loop's business.
            None => self.budget.get() > 1,
        }
    }

    #[inline]
    fn resume_inside(&self, next: NonNull<Header>, current: NonNull<Header>) {
        // SAFETY: the running greenlet is alive.
        let local = unsafe { &current.as_ref().local };
        // A simulated loop has one only, for what it runs itself.
        self.budget.set((self.budget.get() - 1).max(1));
        // As in `park`.
        local.unwind_marks.set(0);
        match local.worker.get() {
            // SAFETY: a running greenlet has its worker, and this is its stack.
            Some(worker) => unsafe { worker.as_ref() }.stands_here(),
            None => self.main_stands_here(),
        }
        local.runs_inside.set(true);
        // Those of the current greenlet are not the other one's.
        let spans = tracing::dispatcher::has_been_set().then(Spans::leave);
        self.current.set(None);
        self.resume(next);
        self.shared.vitals.switches.add(1);
        self.current.set(Some(current));
        spans.into_iter().for_each(Spans::enter);
        local.runs_inside.set(false);
        self.streak.set(0);
        if local.is_main {
            self.main_let_others_run();
        }
    }

    /// Runs a greenlet until it suspends or ends.
    #[inline]
    pub(super) fn switch_to(&self, header: NonNull<Header>) {
        // SAFETY: a greenlet that has not ended is held by the hub.
        let local = unsafe { &header.as_ref().local };
        let worker = match local.worker.get() {
            Some(worker) => worker,
            // One that was cancelled and is not done with that has no stack and gets none.
            None if local.phase.get() != Phase::New => return,
            None => match self.first_run(header) {
                Some(worker) => worker,
                None => return,
            },
        };
        if self.switch_hooks.any() {
            self.switching_to(header);
        }
        self.shared.vitals.switches.add(1);
        self.current.set(Some(header));
        self.streak.set(0);
        // SAFETY: a worker with a job belongs to this hub, and outlives this call.
        let worker_ref = unsafe { worker.as_ref() };
        worker_ref.resume();
        self.current.set(None);
        // A signal handler that asks who runs must not find one that is let go of below. It costs no instruction.
        compiler_fence(Release);
        if self.switch_hooks.any() {
            self.switched_from(header);
        }
        if worker_ref.is_idle() {
            local.worker.set(None);
            self.recycle(worker);
            self.let_go(header);
        }
    }

    /// Gives a greenlet the stack it starts on. Without one it fails.
    #[inline]
    fn first_run(&self, header: NonNull<Header>) -> Option<NonNull<Worker>> {
        // SAFETY: as in `switch_to`.
        let local = unsafe { &header.as_ref().local };
        let size = local.stack_size.get();
        let warm = if size == self.config.stack_size { self.idle_workers.borrow_mut().pop() } else { None };
        let worker = match warm {
            Some(worker) => worker,
            None => match self.allocate_stack(size) {
                Ok(slot) => Worker::new(slot, size),
                Err(error) => {
                    self.cancel(header, Raised::new(error));
                    return None;
                }
            },
        };
        // SAFETY: fresh or idle, so ours.
        unsafe { worker.as_ref() }.set_job(header);
        local.worker.set(Some(worker));
        local.phase.set(Phase::Started);
        Some(worker)
    }

    fn allocate_stack(&self, size: StackSize) -> Result<StackSlot, StackError> {
        let slot = self.stacks.borrow_mut().allocate(size);
        let Err(StackError::LimitReached { .. }) = slot else { return slot };
        // Idle workers have stacks too, of the default size.
        let idle = self.idle_workers.take();
        let mut stacks = self.stacks.borrow_mut();
        for worker in idle {
            stacks.release(Worker::retire(worker));
        }
        stacks.allocate(size)
    }

    #[inline]
    pub(super) fn recycle(&self, worker: NonNull<Worker>) {
        // SAFETY: an idle worker belongs to the hub.
        let size = unsafe { worker.as_ref() }.size;
        let mut idle = self.idle_workers.borrow_mut();
        if size == self.config.stack_size && idle.len() < IDLE_WORKERS {
            idle.push(worker);
        } else {
            drop(idle);
            let slot = Worker::retire(worker);
            self.stacks.borrow_mut().release(slot);
        }
    }

    pub(super) fn call(&self, callback: Callback) {
        self.shared.vitals.callbacks.add(1);
        self.contain(|| ErrorContext::Callback, || callback(self));
    }

    /// Runs code of the user's in the loop. What fails goes to the error handler.
    pub(crate) fn contain(&self, context: impl FnOnce() -> ErrorContext, f: impl FnOnce()) {
        if let Err(GreenletError::Failed(failure)) = attempt(f) {
            self.handle_error(&context(), &failure);
            report::contain(|| drop(failure));
        }
    }

    /// Looks at everything that comes from outside.
    #[cold]
    fn turn(&self, idle: Idle) {
        if let Some(simulation) = self.simulation.get() {
            return self.simulated_turn(simulation, idle);
        }
        self.take_arrivals();
        let next = self.next_deadline();
        let may_sleep = matches!(idle, Idle::Sleep) && self.ready.is_empty() && !self.end_join();
        let idlers = may_sleep && self.has_idlers();
        if may_sleep {
            if idlers || next.is_some_and(|deadline| deadline <= Nanos::now()) {
                self.poll(Some(Duration::ZERO));
            } else {
                self.sleep(next);
            }
            self.take_arrivals();
        } else if !self.sources.is_empty() || !self.watched_fds.is_empty() {
            self.poll(Some(Duration::ZERO));
        }
        let now = Nanos::now();
        if next.is_some() {
            self.fire_timers(now);
        }
        if idlers && self.ready.is_empty() {
            self.wake_idler();
        }
        self.plan_next_turn(now, may_sleep);
        self.publish();
    }

    /// When the first timer is due. Those that were set since the last time have their deadlines from now on.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        let mut timers = self.timers.borrow_mut();
        if timers.is_unsettled() {
            timers.settle(Nanos::now());
        }
        timers.next_deadline()
    }

    /// Shows other threads how much there is of what is not counted as it comes and goes.
    pub(super) fn publish(&self) {
        let vitals = &self.shared.vitals;
        vitals.turns.add(1);
        vitals.timers.set(self.timers.borrow().len() as u64);
        let idle_workers = self.idle_workers.borrow().len();
        let stacks = self.stacks.borrow();
        vitals.stacks.set((stacks.allocated() - idle_workers) as u64);
        vitals.idle_stacks.set((stacks.idle() + idle_workers) as u64);
        vitals.mapped_bytes.set(stacks.mapped_bytes() as u64);
    }

    /// Sets how many entries may run until the next turn: `poll_interval`, or as many as fit into `poll_period` at
    /// the pace of the last ones.
    fn plan_next_turn(&self, now: Nanos, slept: bool) {
        let most = self.config.poll_interval;
        let period = u64::try_from(self.config.poll_period.as_nanos()).unwrap_or(u64::MAX);
        let elapsed = now.0.saturating_sub(self.last_poll.get().0).max(1);
        let used = u64::from(self.interval.get() - self.budget.get());
        let interval = if slept || used == 0 {
            most
        } else {
            (used.saturating_mul(period) / elapsed).clamp(1, u64::from(most)) as u32
        };
        self.interval.set(interval);
        self.budget.set(interval);
        self.last_poll.set(now);
    }

    pub(super) fn poll(&self, timeout: Option<Duration>) {
        self.shared.vitals.polls.add(1);
        let report = |ready: Readiness| {
            if WatchedFds::has(ready.token) {
                self.watched_fds.dispatch(self, ready);
            } else {
                self.sources.dispatch(ready);
            }
        };
        if let Err(error) = self.shared.poller.wait(timeout, report) {
            // Nothing that a program does to its own descriptors gets here; without a poller there is no loop.
            panic!("the poller of hub {} failed: {error}", self.shared.id);
        }
    }

    pub(super) fn fire_timers(&self, now: Nanos) {
        loop {
            // The borrow must end before the action runs.
            let due = self.timers.borrow_mut().pop_due(now);
            match due {
                None => break,
                Some(TimerAction::Wake(header)) => self.schedule(header),
                Some(TimerAction::Start(greenlet)) => {
                    // SAFETY: the reference keeps it alive.
                    let phase = unsafe { greenlet.header().as_ref() }.local.phase.get();
                    if phase == Phase::New {
                        self.start(greenlet.header());
                    }
                }
                Some(TimerAction::Call(callback)) => self.call_soon(callback),
            }
        }
    }

    pub(super) fn take_arrivals(&self) {
        for arrival in self.shared.arrivals() {
            self.shared.vitals.arrivals.add(1);
            match arrival {
                Arrival::Call(call) => self.ready.push_call(Box::new(call)),
                Arrival::Greenlet(header) => self.greenlet_arrived(header),
                Arrival::Signal(slot) => self.signal_arrived(&slot),
            }
        }
    }

    /// A wake-up, a start, or the end of a greenlet that never started, from another thread.
    pub(super) fn greenlet_arrived(&self, header: NonNull<Header>) {
        // SAFETY: a count came with it.
        let greenlet = unsafe { header.as_ref() };
        match greenlet.local.phase.get() {
            Phase::Started => self.schedule(header),
            Phase::New
                if greenlet.was_started()
                    && !greenlet.is_discarded()
                    && greenlet.local.live_index.get() == u32::MAX =>
            {
                self.start(header);
                self.announce(header);
            }
            Phase::Ending if greenlet.local.worker.get().is_some() => self.schedule(header),
            Phase::New | Phase::Ending | Phase::Ended => {}
        }
        // SAFETY: that count; for a greenlet sent home it is the last, and drops the closure here.
        unsafe { Header::release(header) };
    }
}

pub(super) enum Idle {
    /// Nothing is ready: wait for something.
    Sleep,
    GoOn,
}
