//! The hub: one per thread, it decides which greenlet runs next.
//!
//! A hub is made by the first call that needs it. The thread's own stack is its *main greenlet*: when main blocks, it
//! runs the loop in place, and every other greenlet is resumed from there. So a switch from greenlet to greenlet is a
//! switch to the loop and one out of it, and the loop itself costs no thread and no stack.
//! Only `yield_to` does without the loop where it can: the other greenlet then runs inside the current one, and suspends to it.
//!
//! # One turn
//! Entries of the ready queue run first in, first out. Every 61 entries (fewer when they took long),
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

mod census;
mod clock;
mod config;
mod counted;
mod drain;
mod errors;
mod fork;
mod handle;
mod idents;
mod inbox;
mod inside;
mod inspect;
mod life;
mod panics;
mod park;
mod poller;
mod quiet;
mod ready;
mod shared;
mod simulate;
mod switch_hook;
mod thread;
mod timers;
mod turn;
mod vitals;
mod waiting;
mod worker;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

pub use clock::Instant;
pub(crate) use clock::{Deadline, Nanos};
pub use config::{Config, ConfigError, Setting};
pub(crate) use counted::HubRef;
pub use drain::run;
pub use errors::ErrorContext;
pub use handle::{HubGone, HubHandle};
pub(crate) use inbox::{Link, LinkKind};
pub(crate) use life::raise_again;
pub(crate) use panics::{put_panic_place, take_panic_place, unwinding_begins, unwinding_ended, unwindings};
pub(crate) use park::WakeTimer;
pub use poller::PollerKind;
pub(crate) use poller::{Readiness, Token};
pub(crate) use quiet::SILENT_THREADS;
pub use quiet::{LoopExit, idle};
pub(crate) use ready::Callback;
pub(crate) use shared::HubShared;
pub(crate) use simulate::{Fault, FaultPoint, Injection, Moment, Region, Settings, Simulation};
pub use switch_hook::{Switch, SwitchHook};
pub use thread::{HubBuilder, HubThread};
pub(crate) use thread::{await_hub_threads, stop_hub_threads};
pub(crate) use timers::TimerKey;
pub(crate) use vitals::Vitals;
pub(crate) use worker::Worker;

use crate::greenlet::GreenletRef;
use crate::greenlet::SpawnCallbacks;
use crate::greenlet::raw::{self, Born, Descent, Header, Spec};
use crate::io::SourceTable;
use crate::lock::Lock;
use crate::monitor;
use crate::signal::Watches;
use crate::stack::{StackPool, overflow};
use crate::wait::WaitList;
use crate::watcher::{Asyncs, WatchedFds};
use ready::ReadyQueue;
use timers::TimerHeap;

/// The scheduler of one thread.
///
/// There is nothing to start: the first [`spawn`](crate::spawn), socket or timeout of a thread makes its hub. This type
/// offers what concerns the hub itself.
pub struct Hub {
    pub(crate) shared: HubRef,
    /// See `counted`.
    credit: Cell<usize>,
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
    /// One that has ended, to be used again; see `inside`.
    spare: Cell<Option<NonNull<Header>>>,
    /// Greenlets that were started and have not ended, main left out.
    live: RefCell<Vec<NonNull<Header>>>,
    /// Callbacks of links that were made on this thread, with the id of the source.
    link_callbacks: RefCell<HashMap<u64, (u64, Callback)>>,
    pub(crate) spawn_callbacks: SpawnCallbacks,
    idents: RefCell<idents::Idents>,
    /// How often main has waited; see `drain::watch_thread_end`.
    waits_of_main: Cell<u64>,
    /// Operations in a row that may not have waited; see `Hub::take_part`.
    streak: Cell<u32>,
    /// Greenlets (main included) that are suspended while they unwind.
    unwinding: Cell<u32>,
    /// Those for whom a raise is held back until their unwinding is over, and whether there are any.
    held_back: RefCell<Vec<GreenletRef>>,
    holds_back: Cell<bool>,
    in_panic_hook: Cell<bool>,
    switch_hooks: switch_hook::SwitchHooks,
    /// As `Worker::waiting`, for main.
    main_waiting: waiting::Waiting,
    /// As `Worker::may_block`, for main and the loop.
    main_may_block: Cell<u32>,
    /// The innermost address of main's stack while it waits.
    main_stack: Cell<usize>,
    /// What `inspect` asks a suspended greenlet to write down.
    inspection: Cell<Option<NonNull<inspect::Inspection>>>,
    /// Where the panics began that greenlets (by id) are unwinding from.
    panic_places: RefCell<Vec<(u64, String)>>,
    pub(crate) signals: Watches,
    /// What makes this a hub for tests; see `simulate`.
    simulation: OnceCell<Box<Simulation>>,
    /// Descriptors of `watcher::Io`.
    pub(crate) watched_fds: WatchedFds,
    /// Those of `watcher::Async`.
    pub(crate) asyncs: Asyncs,
    error_handler: RefCell<Option<errors::ErrorHandler>>,
    /// See `embed::add_service`.
    pub(crate) services: RefCell<Vec<std::rc::Rc<dyn crate::embed::Service>>>,
    idlers: quiet::Idlers,
    joining: Cell<quiet::Joining>,
    /// Watchers that count, and sleeps without an end; see `quiet::Counted`.
    counted: Cell<usize>,
    /// How many of the timers keep nothing alive.
    uncounted_timers: Cell<usize>,
    /// That nobody will ever come was reported, where it could not be raised.
    stuck_reported: Cell<bool>,
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
    /// A callback of the loop, or a destructor at the end of the thread: it must not block.
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
        "what runs here must not block: a callback of the hub's loop (spawn a greenlet there, or use `link` instead of \
         `rawlink`), or a destructor at the end of a thread"
    )
}

/// Runs code of the user's where it must not block: what blocks panics there.
pub(crate) fn without_waiting<R>(f: impl FnOnce() -> R) -> R {
    /// Whose turn it was. It is again, however `f` ends.
    struct Turn<'a>(&'a Hub, Option<NonNull<Header>>);
    impl Drop for Turn<'_> {
        fn drop(&mut self) {
            self.0.current.set(self.1);
        }
    }
    let turn = Hub::try_current().map(|hub| Turn(hub, hub.current.take()));
    let result = catch_unwind(AssertUnwindSafe(f));
    drop(turn);
    result.unwrap_or_else(|payload| {
        // It began in nobody's turn, so nobody's mark was set.
        unwinding_begins();
        resume_unwind(payload)
    })
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
        let config = match Config::from_env() {
            Ok(config) => config,
            Err(error) => panic!("cannot make a hub for this thread: {error}"),
        };
        match Hub::create(config) {
            Ok(hub) => hub,
            Err(error) => panic!("cannot make a hub for this thread: {error}"),
        }
    }

    /// Makes the hub of this thread, which has none.
    #[track_caller]
    fn create<'a>(config: Config) -> std::io::Result<&'a Hub> {
        #[cfg(feature = "may")]
        assert!(
            !may::coroutine::is_coroutine(),
            "a coroutine of `may` cannot have a hub, since its thread may change: spawn with a `HubHandle`"
        );
        overflow::install(panics::describe_current);
        overflow::prepare_thread();
        panics::install_hook();
        let shared = HubRef::new(HubShared::new(&config)?);
        let main = raw::allocate_main(spec(shared.clone(), Location::caller(), Born::at(Nanos::now())));
        let hub = Box::new(Hub {
            shared,
            credit: Cell::new(0),
            current: Cell::new(Some(main)),
            main,
            ready: ReadyQueue::new(),
            budget: Cell::new(config.poll_interval),
            interval: Cell::new(config.poll_interval),
            last_poll: Cell::new(Nanos::now()),
            timers: RefCell::new(TimerHeap::new()),
            sources: SourceTable::default(),
            stacks: RefCell::new(StackPool::new(config.stacks())),
            idle_workers: RefCell::new(Vec::new()),
            spare: Cell::new(None),
            live: RefCell::new(Vec::new()),
            link_callbacks: RefCell::new(HashMap::new()),
            spawn_callbacks: SpawnCallbacks::default(),
            idents: RefCell::default(),
            waits_of_main: Cell::new(0),
            streak: Cell::new(0),
            unwinding: Cell::new(0),
            held_back: RefCell::new(Vec::new()),
            holds_back: Cell::new(false),
            in_panic_hook: Cell::new(false),
            switch_hooks: switch_hook::SwitchHooks::default(),
            main_waiting: waiting::Waiting::new(),
            main_may_block: Cell::new(0),
            main_stack: Cell::new(0),
            inspection: Cell::new(None),
            panic_places: RefCell::new(Vec::new()),
            signals: Watches::default(),
            simulation: OnceCell::new(),
            watched_fds: WatchedFds::default(),
            asyncs: Asyncs::default(),
            error_handler: RefCell::new(None),
            services: RefCell::default(),
            idlers: Lock::new(WaitList::new()),
            joining: Cell::new(quiet::Joining::No),
            counted: Cell::new(0),
            uncounted_timers: Cell::new(0),
            stuck_reported: Cell::new(false),
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
        let hub = unsafe { &*hub };
        monitor::hub_begins(&hub.shared, &hub.config);
        Ok(hub)
    }

    /// The running greenlet, if one of this thread runs.
    #[inline]
    pub(crate) fn current_greenlet(&self) -> Option<NonNull<Header>> {
        self.current.get()
    }

    /// Runs `f` as a callback of the loop: it must not block, and no greenlet is current. `f` does not unwind.
    pub(crate) fn as_if_in_loop(&self, f: impl FnOnce()) {
        let current = self.current.take();
        f();
        self.current.set(current);
    }

    pub(crate) fn main_greenlet(&self) -> NonNull<Header> {
        self.main
    }
}

impl Hub {
    /// What a greenlet of this hub is made from. It is a child of whoever runs.
    #[inline]
    pub(crate) fn spec(&self, site: &'static Location<'static>) -> Spec {
        let stack_size = self.shared.stack_size;
        Spec { shared: self.shared.clone(), site, stack_size, descent: self.descent() }
    }

    /// Who a new greenlet is: a child of whoever runs.
    #[inline]
    fn descent(&self) -> Descent {
        let mut descent = descent(Born::at(self.last_poll.get()));
        if let Some(parent) = self.current.get() {
            // SAFETY: the running greenlet is alive.
            let parent = unsafe { parent.as_ref() };
            descent.parent = parent.id;
            if !parent.local.is_main {
                descent.tree = Some(parent.local.tree());
            }
        }
        descent
    }
}

/// What a greenlet of that hub is made from, anywhere. It is nobody's child.
#[inline]
pub(crate) fn spec(shared: HubRef, site: &'static Location<'static>, born: Born) -> Spec {
    let stack_size = shared.stack_size;
    Spec { shared, site, stack_size, descent: descent(born) }
}

#[inline]
fn descent(born: Born) -> Descent {
    Descent { id: next_id(), parent: 0, born, tree: None }
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
