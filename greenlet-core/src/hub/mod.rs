//! The hub: one per thread, it decides which greenlet runs next.
//!
//! A hub is made by the first call that needs it. The thread's own stack is its *main greenlet*: when main blocks, it
//! runs the loop in place, and every other greenlet is resumed from there. So a switch from greenlet to greenlet is a
//! switch to the loop and one out of it, and the loop itself costs no thread and no stack.
//!
//! # One turn
//! Entries of the ready queue run first in, first out. Every [`POLL_INTERVAL`] entries (fewer when they took long),
//! and before the hub would idle: other threads' messages, then I/O, then timers, so that in one turn I/O wins over
//! a timeout.
//!
//! # Invariants
//! - Everything here is touched by the hub's own thread only, except [`HubShared`].
//! - `current` names the greenlet whose code runs; it is null while the loop itself (or a panic hook) runs.
//! - No reference into a cell of the hub is held across a call of user code or a switch.
//! - An entry of the ready queue names a greenlet at most once (`queued`), and the greenlet is kept until it is popped.
//! - A stack with frames is finished, unwound or leaked, never reused or freed. A hub thread ends its greenlets before
//!   its thread-locals die; a thread that does not gets `exit_with_live_greenlets`.

mod clock;
mod config;
mod drain;
mod handle;
mod inbox;
mod panics;
mod poller;
mod ready;
mod shared;
mod thread;
mod timers;
mod worker;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use clock::{Deadline, Nanos};
pub use config::Config;
pub use drain::run;
pub use handle::{HubGone, HubHandle};
pub(crate) use inbox::{Link, LinkKind};
pub(crate) use panics::{take_panic_place, unwinding_begins, unwinding_ended, unwindings};
pub(crate) use poller::{Readiness, Token};
pub(crate) use ready::Callback;
pub(crate) use shared::HubShared;
pub use thread::{HubBuilder, HubThread};
pub(crate) use timers::TimerKey;
pub(crate) use worker::Worker;

use crate::failure::{End, Failure, GreenletError, attempt};
use crate::greenlet::GreenletRef;
use crate::greenlet::raw::{self, Header, Phase, Spec};
use crate::io::SourceTable;
use crate::raise::Raised;
use crate::report;
use crate::spans::Spans;
use crate::spawn;
use crate::stack::{StackPool, overflow};
use ready::{Entry, ReadyQueue};
use shared::Arrival;
use timers::TimerHeap;

/// The loop looks at I/O, timers and other threads' messages after at most so many entries of the ready queue.
const POLL_INTERVAL: u32 = 61;
/// ... or sooner, when so many entries took longer than this.
const POLL_PERIOD: u64 = 100_000;
/// Idle workers kept with their stacks set up. More are taken apart, and their stacks go to the pool.
const IDLE_WORKERS: usize = 256;

/// The scheduler of one thread.
///
/// There is nothing to start: the first [`spawn`](crate::spawn), socket or timeout of a thread makes its hub. This type
/// offers what concerns the hub itself.
pub struct Hub {
    pub(crate) shared: Arc<HubShared>,
    current: Cell<Option<NonNull<Header>>>,
    main: NonNull<Header>,
    ready: ReadyQueue,
    /// Entries left until the next poll, and when the last one was.
    budget: Cell<u32>,
    interval: Cell<u32>,
    last_poll: Cell<Nanos>,
    timers: RefCell<TimerHeap<TimerAction>>,
    pub(crate) sources: SourceTable,
    stacks: RefCell<StackPool>,
    idle_workers: RefCell<Vec<NonNull<Worker>>>,
    /// Greenlets that were started and have not ended, main left out.
    live: RefCell<Vec<NonNull<Header>>>,
    /// Callbacks of links that were made on this thread.
    link_callbacks: RefCell<HashMap<u64, Callback>>,
    /// Greenlets (main included) that are suspended while they unwind.
    unwinding: Cell<u32>,
    in_panic_hook: Cell<bool>,
    /// Where the panics began that greenlets (by id) are unwinding from.
    panic_places: RefCell<Vec<(u64, String)>>,
    pub(crate) config: Config,
}

enum TimerAction {
    /// The wait with this timer is over. The waiter removes the timer before it leaves.
    Wake(NonNull<Header>),
    Start(GreenletRef),
    /// Called in its turn: queued behind what is ready, so that I/O of the same turn wins.
    Call(Callback),
}

/// How a suspended greenlet came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resume {
    /// Perhaps for nothing: the waiter looks for itself.
    Woken,
    /// Something is to be raised in it: see [`Hub::throw_pending`].
    Raised,
}

/// Who is asking to block.
pub(crate) enum Context<'a> {
    Greenlet(&'a Hub, NonNull<Header>),
    /// A callback of the loop: it must not block.
    Loop,
    /// A thread without a hub, or a panic hook: the thread itself blocks.
    Thread,
}

thread_local! {
    /// The hub of this thread, for quick access. No destructor, so it can be read at any time.
    static HUB: Cell<*const Hub> = const { Cell::new(ptr::null()) };
    /// Its owner, whose destructor ends it with the thread.
    static OWNER: RefCell<Option<drain::Owner>> = const { RefCell::new(None) };
    /// Ids for greenlets made on this thread: the next one, and the end of the block.
    static IDS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Ids are handed to threads in blocks, so that spawning shares no counter.
fn next_id() -> u64 {
    static NEXT_BLOCK: AtomicU64 = AtomicU64::new(1);
    const BLOCK: u64 = 1024;
    IDS.with(|ids| {
        let (mut next, mut end) = ids.get();
        if next == end {
            next = NEXT_BLOCK.fetch_add(BLOCK, Ordering::Relaxed);
            end = next + BLOCK;
        }
        ids.set((next + 1, end));
        next
    })
}

/// Who runs now.
#[inline(always)]
pub(crate) fn context<'a>() -> Context<'a> {
    match Hub::try_current() {
        Some(hub) => match hub.current.get() {
            Some(current) => Context::Greenlet(hub, current),
            None if hub.in_panic_hook.get() => Context::Thread,
            None => Context::Loop,
        },
        None => Context::Thread,
    }
}

/// A callback of the loop tried to block.
#[cold]
#[track_caller]
pub(crate) fn blocked_in_loop() -> ! {
    panic!(
        "a callback of the hub's loop must not block: spawn a greenlet there, or use `link` instead of `rawlink`"
    )
}

/// Queues a greenlet of this thread's hub.
///
/// # Safety
/// The header is alive and its hub is the current thread's.
#[inline]
pub(crate) unsafe fn schedule_here(header: NonNull<Header>) {
    Hub::current_hub().schedule(header);
}

// --- the current hub -------------------------------------------------------------------------------------------

impl Hub {
    /// The hub of this thread, if it has one.
    #[inline(always)]
    pub(crate) fn try_current<'a>() -> Option<&'a Hub> {
        // SAFETY: the pointer is set while the owner has the hub, which is until the thread ends; whoever asks runs on
        // that thread, and no reference is kept beyond the call that asked (module docs).
        unsafe { HUB.get().as_ref() }
    }

    /// The hub of this thread; made if there is none yet.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn current_hub<'a>() -> &'a Hub {
        match Hub::try_current() {
            Some(hub) => hub,
            None => Hub::create_default(),
        }
    }

    #[cold]
    #[track_caller]
    fn create_default<'a>() -> &'a Hub {
        match Hub::create(Config::default()) {
            Ok(hub) => hub,
            Err(error) => panic!("cannot make a hub for this thread: {error}"),
        }
    }

    /// Makes the hub of this thread, which has none.
    #[track_caller]
    fn create<'a>(config: Config) -> std::io::Result<&'a Hub> {
        overflow::install(panics::describe_current);
        overflow::prepare_thread();
        panics::install_hook();
        let shared = Arc::new(HubShared::new(config.stack_size)?);
        let main = raw::allocate_main(Spec {
            name: Some("main".into()),
            ..spec(shared.clone(), Location::caller())
        });
        let hub = Box::new(Hub {
            shared,
            current: Cell::new(Some(main)),
            main,
            ready: ReadyQueue::new(),
            budget: Cell::new(POLL_INTERVAL),
            interval: Cell::new(POLL_INTERVAL),
            last_poll: Cell::new(Nanos::now()),
            timers: RefCell::new(TimerHeap::new()),
            sources: SourceTable::default(),
            stacks: RefCell::new(StackPool::new(config.stacks())),
            idle_workers: RefCell::new(Vec::new()),
            live: RefCell::new(Vec::new()),
            link_callbacks: RefCell::new(HashMap::new()),
            unwinding: Cell::new(0),
            in_panic_hook: Cell::new(false),
            panic_places: RefCell::new(Vec::new()),
            config,
        });
        let hub: *const Hub = Box::into_raw(hub);
        let owned = OWNER.try_with(|owner| {
            // SAFETY: this pointer was made from a box just now and is owned by nobody else.
            owner.replace(Some(unsafe { drain::Owner::new(hub) }));
        });
        if owned.is_err() {
            panic!("this thread is ending: its hub is gone and no new one can be made");
        }
        HUB.set(hub);
        // SAFETY: owned by `OWNER` until the thread ends.
        Ok(unsafe { &*hub })
    }

    /// The running greenlet, if one of this thread runs.
    #[inline]
    pub(crate) fn current_greenlet(&self) -> Option<NonNull<Header>> {
        self.current.get()
    }

    pub(crate) fn main_greenlet(&self) -> NonNull<Header> {
        self.main
    }
}

/// What a greenlet of that hub is made from.
#[inline]
pub(crate) fn spec(shared: Arc<HubShared>, site: &'static Location<'static>) -> Spec {
    let stack_size = shared.stack_size;
    Spec { shared, id: next_id(), site, name: None, stack_size }
}

// --- starting, waking, raising ---------------------------------------------------------------------------------

impl Hub {
    /// Queues a greenlet of this hub to be resumed.
    #[inline]
    pub(crate) fn schedule(&self, header: NonNull<Header>) {
        // SAFETY: callers pass greenlets of this hub that are alive.
        let local = unsafe { &header.as_ref().local };
        if !local.queued.replace(true) {
            self.ready.push_resume(header);
        }
    }

    /// Queues the first run of a greenlet whose start was claimed. From now on the hub holds a count of it.
    pub(crate) fn start(&self, header: NonNull<Header>) {
        // SAFETY: the caller holds a count.
        unsafe { header.as_ref() }.retain();
        self.start_claimed(header);
    }

    /// As `start`; the caller gives a count to the hub.
    #[inline]
    pub(crate) fn start_claimed(&self, header: NonNull<Header>) {
        // SAFETY: the count that came along.
        let greenlet = unsafe { header.as_ref() };
        let mut live = self.live.borrow_mut();
        greenlet.local.live_index.set(live.len() as u32);
        live.push(header);
        drop(live);
        self.schedule(header);
    }

    /// Starts a greenlet after a while.
    pub(crate) fn start_at(&self, deadline: Nanos, greenlet: GreenletRef) {
        self.timers.borrow_mut().insert(deadline, TimerAction::Start(greenlet));
    }

    /// Runs a callback in the loop, after everything that is ready now.
    pub(crate) fn call_soon(&self, callback: Callback) {
        self.ready.push_call(callback);
    }

    /// Raises in a greenlet of this hub, in its turn: what was queued before runs first.
    pub(crate) fn raise_soon(&self, greenlet: GreenletRef, raised: Raised) {
        self.call_soon(Box::new(move |hub| hub.deliver(&greenlet, raised)));
    }

    /// Runs a callback in the loop at a deadline. The key cancels it.
    pub(crate) fn call_at(&self, deadline: Nanos, callback: Callback) -> TimerKey {
        self.timers.borrow_mut().insert(deadline, TimerAction::Call(callback))
    }

    pub(crate) fn cancel_timer(&self, key: TimerKey) {
        let removed = self.timers.borrow_mut().remove(key);
        // Dropped after the borrow: a callback owns user's data.
        drop(removed);
    }

    /// Raises in a suspended greenlet now. Called by the loop.
    pub(crate) fn deliver(&self, greenlet: &GreenletRef, raised: Raised) {
        let header = greenlet.header();
        // SAFETY: the reference keeps it alive.
        let local = unsafe { &header.as_ref().local };
        if raised.is_revoked() {
            return;
        }
        match local.phase.get() {
            Phase::Ending | Phase::Ended => {}
            Phase::New => {
                // Its closure is dropped on a stack, where a destructor may suspend.
                local.phase.set(Phase::Ending);
                let greenlet = greenlet.clone();
                drop(spawn(move || Hub::current_hub().cancel(greenlet.header(), raised)));
            }
            Phase::Started if local.shielded.get() => {}
            Phase::Started => {
                local.push_raise(raised);
                // One that unwinds must not be thrown into: it gets the raise at its next suspension after that.
                // Main returns from the loop by itself when it sees the raise.
                if local.can_raise(local.floor.get()) && !local.is_main {
                    self.switch_to(header);
                }
            }
        }
    }

    /// Ends a greenlet that has not run, as if it had raised that. Its closure is dropped.
    pub(crate) fn cancel(&self, header: NonNull<Header>, raised: Raised) {
        // SAFETY: the caller holds a count, and `New` means that the closure is there. The phase changes first, since
        // dropping the closure runs user code, which may suspend.
        unsafe {
            header.as_ref().claim_start();
            header.as_ref().local.phase.set(Phase::Ending);
            Header::drop_closure(header);
        }
        self.finish(header, End::from_raised(raised));
        // SAFETY: as above.
        let greenlet = unsafe { header.as_ref() };
        if greenlet.local.live_index.replace(u32::MAX) != u32::MAX {
            self.let_go(header);
        }
    }

    /// Records how a greenlet ended and tells everybody. Runs on the greenlet's stack or, if it never ran, on the
    /// caller's. Does not unwind.
    pub(crate) fn finish(&self, header: NonNull<Header>, end: End) {
        // SAFETY: the hub's count (or the caller's, for one that never started) keeps it alive.
        let greenlet = unsafe { header.as_ref() };
        // From here on nothing is raised in it, though reports and destructors may suspend.
        greenlet.local.phase.set(Phase::Ending);
        greenlet.local.clear_raises();
        self.panic_places.borrow_mut().retain(|(id, _)| *id != greenlet.id);
        let end = match end {
            End::Failed(failure) => {
                report_failure(greenlet, &failure);
                End::Failed(failure)
            }
            End::Value if greenlet.has_no_handles() => {
                // Destructors first, then the news: whoever joins it finds everything done.
                // SAFETY: the value is there, and no handle can come to it any more.
                unsafe { Header::drop_value(header) };
                End::DroppedValue
            }
            end => end,
        };
        let mut ending = greenlet.end.lock();
        let drop_value = greenlet.set_ended(&end);
        if let End::Failed(failure) = end {
            ending.failure = Some(failure);
        }
        let wakeups = ending.waiters.notify_all();
        let links = std::mem::take(&mut ending.links);
        drop(ending);
        wakeups.wake();
        for link in links {
            link.fire(header);
        }
        if drop_value {
            // SAFETY: `set_ended` said that nobody can ask for it.
            unsafe { Header::drop_value(header) };
        }
        greenlet.local.phase.set(Phase::Ended);
        let index = greenlet.local.live_index.get();
        if index == u32::MAX {
            return; // never started: the hub does not know it
        }
        let mut live = self.live.borrow_mut();
        live.swap_remove(index as usize);
        if let Some(moved) = live.get(index as usize) {
            // SAFETY: live greenlets are held by the hub.
            unsafe { moved.as_ref() }.local.live_index.set(index);
        }
    }

    /// Gives back the hub's count of a greenlet that has ended. Not before its stack was left: until then it is `current`.
    #[inline]
    fn let_go(&self, header: NonNull<Header>) {
        // SAFETY: the hub's count. If it is still queued, that count is left to the entry, and goes when it is popped.
        unsafe {
            if !header.as_ref().local.queued.get() {
                Header::release(header);
            }
        }
    }
}

/// Reports that a greenlet failed; once for each failure, however many greenlets it is handed on to.
#[cold]
fn report_failure(greenlet: &Header, failure: &Failure) {
    if !failure.claim_report() {
        return;
    }
    // SAFETY: a reference to a header is one to something alive.
    let named = unsafe { GreenletRef::retained(NonNull::from(greenlet)) };
    let reported = report::contain(|| {
        tracing::error!(target: "greenlet", greenlet = %named, spawned_at = %greenlet.site, "failed: {failure}");
    });
    if !reported {
        report::error(format_args!("{named} failed, and the report of it panicked"));
    }
}

// --- suspension ------------------------------------------------------------------------------------------------

impl Hub {
    /// Suspends the current greenlet until it is scheduled or something is raised in it. Everything that blocks
    /// comes through here.
    ///
    /// Inlined into the primitives: a `ret` after a switch of stacks is mispredicted, and costs more than the switch.
    #[inline(always)]
    pub(crate) fn park(&self, header: NonNull<Header>) -> Resume {
        // SAFETY: the running greenlet is alive.
        let local = unsafe { &header.as_ref().local };
        if local.is_main
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
        if local.has_raises.get() { Resume::Raised } else { Resume::Woken }
    }

    /// `park` for main, during unwinding, with spans to save, or with raises waiting.
    #[cold]
    #[inline(never)]
    fn park_slow(&self, header: NonNull<Header>) -> Resume {
        // SAFETY: the running greenlet is alive.
        let local = unsafe { &header.as_ref().local };
        if !std::thread::panicking() {
            local.unwind_marks.set(0);
        }
        let floor = self.raise_floor(header);
        if local.can_raise(floor) {
            return Resume::Raised;
        }
        let unwinding = u32::from(floor > 0);
        local.floor.set(floor);
        self.unwinding.set(self.unwinding.get() + unwinding);
        let spans = Spans::leave();
        if local.is_main {
            self.run_loop();
        } else {
            // SAFETY: as in `park`.
            unsafe { local.worker.get().unwrap_unchecked().as_ref().suspend() };
        }
        spans.enter();
        local.floor.set(0);
        self.unwinding.set(self.unwinding.get() - unwinding);
        if local.can_raise(floor) { Resume::Raised } else { Resume::Woken }
    }

    /// The rank that a raise must have to be thrown in the running greenlet now: 0 unless it unwinds.
    fn raise_floor(&self, header: NonNull<Header>) -> u32 {
        // `panicking` speaks of the thread: with another greenlet suspended in mid-unwind it is true for everybody,
        // and only then the marks decide.
        if !std::thread::panicking() {
            return 0;
        }
        // SAFETY: the running greenlet is alive.
        match (unsafe { header.as_ref() }.local.unwind_marks.get(), self.unwinding.get()) {
            (0, 0) => u32::MAX, // begun without our seeing it: no rank is certain
            (0, _) => 0,
            (marks, _) => marks + 1,
        }
    }

    /// Whether the running greenlet is unwinding: then nothing may be raised in it without being caught in time.
    pub(crate) fn is_unwinding(&self, header: NonNull<Header>) -> bool {
        self.raise_floor(header) > 0
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

// --- the loop --------------------------------------------------------------------------------------------------

impl Hub {
    /// Main waits: everything else runs, until main is scheduled or raised in.
    fn run_loop(&self) {
        // SAFETY: main lives as long as the hub.
        let main = unsafe { &self.main.as_ref().local };
        self.current.set(None);
        loop {
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
            if main.has_raises.get() && main.can_raise(main.floor.get()) {
                break;
            }
            self.spend();
        }
        self.current.set(Some(self.main));
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

    /// Runs a greenlet until it suspends or ends.
    #[inline]
    fn switch_to(&self, header: NonNull<Header>) {
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
        self.current.set(Some(header));
        // SAFETY: a worker with a job belongs to this hub, and outlives this call.
        let worker_ref = unsafe { worker.as_ref() };
        worker_ref.resume();
        self.current.set(None);
        if worker_ref.is_idle() {
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
            None => {
                let slot = self.stacks.borrow_mut().allocate(size);
                match slot {
                    Ok(slot) => Worker::new(slot, size),
                    Err(error) => {
                        self.cancel(header, Raised::new(error));
                        return None;
                    }
                }
            }
        };
        // SAFETY: fresh or idle, so ours.
        unsafe { worker.as_ref() }.set_job(header);
        local.worker.set(Some(worker));
        local.phase.set(Phase::Started);
        Some(worker)
    }

    #[inline]
    fn recycle(&self, worker: NonNull<Worker>) {
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

    fn call(&self, callback: Callback) {
        if let Err(GreenletError::Failed(failure)) = attempt(|| callback(self)) {
            report::error(format_args!("a callback of the loop failed: {failure}"));
            report::contain(|| drop(failure));
        }
    }

    /// Looks at everything that comes from outside.
    #[cold]
    fn turn(&self, idle: Idle) {
        self.take_arrivals();
        let next = self.timers.borrow().next_deadline();
        let may_sleep = matches!(idle, Idle::Sleep) && self.ready.is_empty();
        if may_sleep {
            let timeout = next.map(|deadline| deadline.since(Nanos::now()));
            if timeout.is_some_and(|timeout| timeout.is_zero()) {
                self.poll(Some(std::time::Duration::ZERO));
            } else if self.shared.prepare_sleep() {
                self.poll(timeout);
            }
            self.take_arrivals();
        } else if !self.sources.is_empty() {
            self.poll(Some(std::time::Duration::ZERO));
        }
        let now = Nanos::now();
        if next.is_some() {
            self.fire_timers(now);
        }
        self.plan_next_turn(now, may_sleep);
    }

    /// Sets how many entries may run until the next turn: `POLL_INTERVAL`, or as many as fit into `POLL_PERIOD` at
    /// the pace of the last ones.
    fn plan_next_turn(&self, now: Nanos, slept: bool) {
        let elapsed = now.0.saturating_sub(self.last_poll.get().0).max(1);
        let used = u64::from(self.interval.get() - self.budget.get());
        let interval = if slept || used == 0 {
            POLL_INTERVAL
        } else {
            (used * POLL_PERIOD / elapsed).clamp(1, u64::from(POLL_INTERVAL)) as u32
        };
        self.interval.set(interval);
        self.budget.set(interval);
        self.last_poll.set(now);
    }

    fn poll(&self, timeout: Option<std::time::Duration>) {
        if let Err(error) = self.shared.poller.wait(timeout, |ready| self.sources.dispatch(ready)) {
            // Nothing that a program does to its own descriptors gets here; without a poller there is no loop.
            panic!("the poller of hub {} failed: {error}", self.shared.id);
        }
    }

    fn fire_timers(&self, now: Nanos) {
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

    fn take_arrivals(&self) {
        for arrival in self.shared.arrivals() {
            match arrival {
                Arrival::Call(call) => self.ready.push_call(Box::new(call)),
                Arrival::Greenlet(header) => self.greenlet_arrived(header),
            }
        }
    }

    /// A wake-up, a start, or the end of a greenlet that never started, from another thread.
    fn greenlet_arrived(&self, header: NonNull<Header>) {
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
            }
            Phase::Ending if greenlet.local.worker.get().is_some() => self.schedule(header),
            Phase::New | Phase::Ending | Phase::Ended => {}
        }
        // SAFETY: that count; for a greenlet sent home it is the last, and drops the closure here.
        unsafe { Header::release(header) };
    }
}

enum Idle {
    /// Nothing is ready: wait for something.
    Sleep,
    GoOn,
}

// --- callbacks of links ----------------------------------------------------------------------------------------

impl Hub {
    pub(crate) fn keep_link_callback(&self, key: u64, callback: Callback) {
        self.link_callbacks.borrow_mut().insert(key, callback);
    }

    pub(crate) fn take_link_callback(&self, key: u64) -> Option<Callback> {
        self.link_callbacks.borrow_mut().remove(&key)
    }
}

// --- timers of waits -------------------------------------------------------------------------------------------

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

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("id", &self.shared.id)
            .field("name", &self.shared.name())
            .field("live", &self.live.borrow().len())
            .finish_non_exhaustive()
    }
}
