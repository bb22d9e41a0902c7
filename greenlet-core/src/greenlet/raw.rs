//! The one allocation behind a greenlet: a header that every part of the hub knows, followed by the closure, and in
//! the closure's place later by the value.
//!
//! # Invariants
//! The `SAFETY` comments of this crate lean on these:
//!
//! - **Home.** `local` and the closure are touched on the home thread only (the thread of `shared`'s hub). Everything
//!   else is atomic or under the `end` lock.
//! - **Counts.** `refs` counts `GreenletRef`s, plus one for all typed handles together (`handles` counts those),
//!   plus one for the hub from the start until the greenlet has ended *and* no entry of the ready queue names it.
//!   The allocation is freed when `refs` reaches zero.
//! - **Alive while it waits.** A greenlet that is suspended, or is the running one, is held by its hub. So a wait
//!   node on its stack may point at its header without a count.
//! - **Unknown.** With one count, the hub's, and no typed handle, a greenlet is known to its home thread only: what makes further counts
//!   (`current`, lists of the hub, a count that exists) is there. Whoever reads that, with acquire, may look behind the `end` lock without it.
//! - **Value.** It exists from the moment that `state` has `VALUE` until it is dropped or taken out. Only typed
//!   handles reach it; it is dropped by whoever sets the second of `VALUE` and `NO_HANDLES`. A typed handle goes to
//!   another thread only if `T` may.
//! - **Closure.** It is dropped, or run, on the home thread. If the last count goes elsewhere before it ran, the
//!   allocation is sent home first. It is gone when `ENDED` is set (unless it is leaked, since home is gone), which is what
//!   closures that borrow lean on (see `scope`).
//! - **Extras.** Greenlet-locals and the tree are dropped at the end of the greenlet, at home; nothing of them is left for
//!   whoever frees the allocation.

use std::cell::{Cell, OnceCell, UnsafeCell};
use std::error::Error;
use std::mem::{ManuallyDrop, needs_drop};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};

use crate::failure::{End, Failure};
use crate::hub::{Hub, HubRef, HubShared, Link, LinkKind, Nanos, Worker};
use crate::link::LinkEntry;
use crate::local::{self, Locals};
use crate::lock::Lock;
use crate::raise::Raised;
use crate::report;
use crate::stack::StackSize;
use crate::wait::WaitList;

#[repr(C)]
pub(crate) struct Header {
    /// Must stay first: the inbox hands out pointers to it.
    link: Link,
    /// Whether `link` is in an inbox.
    in_inbox: AtomicBool,
    state: AtomicU8,
    handles: AtomicU32,
    refs: AtomicUsize,
    vtable: &'static VTable,
    pub(crate) shared: HubRef,
    pub(crate) id: u64,
    /// The id of the greenlet that spawned it; 0 if none did.
    pub(crate) parent: u64,
    pub(crate) site: &'static Location<'static>,
    /// When it was made, coarsely: see `Born`.
    pub(crate) born: Born,
    pub(crate) local: Local,
    pub(crate) end: Lock<Ending>,
}

/// What only the home thread touches.
pub(crate) struct Local {
    pub(crate) phase: Cell<Phase>,
    /// An entry of the ready queue names this greenlet.
    pub(crate) queued: Cell<bool>,
    /// What may be raised in it while it is suspended: raises of at least this rank (see `Raised::rank`). 0 is
    /// everything; more than that means that it was suspended while its stack was unwinding.
    pub(crate) floor: Cell<u32>,
    /// Unwindings under way on this stack, as far as this crate sees them (see `hub::unwinding_begins`).
    pub(crate) unwind_marks: Cell<u32>,
    /// Its place in the hub's list of live greenlets.
    pub(crate) live_index: Cell<u32>,
    pub(crate) stack_size: Cell<StackSize>,
    pub(crate) worker: Cell<Option<NonNull<Worker>>>,
    /// Raises that have arrived and were not yet thrown, if any.
    raises: Cell<Option<Box<Raises>>>,
    pub(crate) has_raises: Cell<bool>,
    /// Made when the greenlet first uses a greenlet-local.
    locals: OnceCell<Box<Locals>>,
    /// The values of the spawn tree that it belongs to: made with its first child or first use. Not dropped with the header.
    tree: Cell<Option<ManuallyDrop<Rc<Locals>>>>,
    /// What it has that must be dropped at its end: `IDENT`, `LOCALS`, `TREE`.
    extras: Cell<u8>,
    /// Raises are discarded: a main greenlet that ends its hub.
    pub(crate) shielded: Cell<bool>,
    /// Raises wait until it is not any more: see `embed::undisturbed`.
    pub(crate) undisturbed: Cell<bool>,
    /// The thread's own stack: it has no worker, and suspends by running the loop.
    pub(crate) is_main: bool,
    /// There is always more to do at a suspension than to switch: main, and all greenlets of a simulation.
    pub(crate) parks_slowly: bool,
    /// It stands in `Hub::run_inside`: another greenlet runs, and its stack must not be resumed until that one has suspended.
    pub(crate) runs_inside: Cell<bool>,
    /// In a simulation: it was in the ready queue already when it suspended, so it let the others go first.
    pub(crate) yielded: Cell<bool>,
    /// See `embed::tag`.
    pub(crate) tag: Cell<usize>,
    /// See `embed::become_service`.
    pub(crate) is_service: Cell<bool>,
}

/// Oldest first. Boxed where it is kept: hardly a greenlet ever has one, and a million headers should be small.
#[derive(Default)]
struct Raises(Vec<Raised>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Not started, or waiting for its first turn: it has a closure and no stack.
    New,
    /// Started, so it has a stack that must be finished or unwound.
    Started,
    /// Past its code, or never to run it: what is left may suspend, but is neither run again nor raised in, except by timeouts of its own.
    Ending,
    Ended,
}

/// The end of a greenlet and who wants to know it.
pub(crate) struct Ending {
    /// Here since it may be changed, and is needed seldom.
    name: Option<Arc<Name>>,
    pub(crate) failure: Option<Failure>,
    pub(crate) waiters: WaitList<()>,
    pub(crate) links: Vec<LinkEntry>,
}

/// A name, behind a thin pointer.
pub(crate) struct Name(Box<str>);

/// A point in time that takes four bytes: in units of 2^24 nanoseconds (17 ms), which last for two years.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Born(u32);

impl Born {
    const SHIFT: u32 = 24;

    #[inline]
    pub(crate) fn at(now: Nanos) -> Born {
        Born((now.0 >> Born::SHIFT) as u32)
    }

    /// Not earlier than it was.
    pub(crate) fn nanos(self) -> Nanos {
        Nanos(u64::from(self.0) << Born::SHIFT)
    }
}

// SAFETY: wait nodes are only reached under the lock that this is kept in (see `wait`).
unsafe impl Send for Ending {}

const ENDED: u8 = 1;
const VALUE: u8 = 1 << 1;
const EXIT: u8 = 1 << 2;
const FAILED: u8 = 1 << 3;
const NO_HANDLES: u8 = 1 << 4;
/// `start` was called.
const STARTED: u8 = 1 << 5;
/// It goes home to be dropped.
const DISCARDED: u8 = 1 << 6;

/// Of one that was started and has no typed handle.
const UNHELD: u8 = STARTED | NO_HANDLES;

/// Extras of a greenlet: a minimal ident, greenlet-locals, membership in a tree.
const IDENT: u8 = 1;
const LOCALS: u8 = 1 << 1;
const TREE: u8 = 1 << 2;

pub(crate) struct VTable {
    run: unsafe fn(NonNull<Header>) -> End,
    drop_closure: unsafe fn(NonNull<Header>),
    value: unsafe fn(NonNull<Header>) -> NonNull<()>,
    drop_value: unsafe fn(NonNull<Header>),
    /// There is something to be done when the value is dropped.
    value_needs_drop: bool,
    free: unsafe fn(NonNull<Header>),
}

/// What a greenlet runs.
pub(crate) trait Code {
    type Returned;
    /// What the greenlet has in the end.
    type Value;

    /// Runs it. May unwind.
    fn call(self) -> Self::Returned;

    /// Makes the end of what was returned, and keeps the value if there is one. Runs no code of the user's.
    fn settle(returned: Self::Returned, keep: impl FnOnce(Self::Value)) -> End;
}

/// A closure whose result is the value.
pub(crate) struct Plain<F>(pub(crate) F);

impl<F: FnOnce() -> T, T> Code for Plain<F> {
    type Returned = T;
    type Value = T;

    #[inline]
    fn call(self) -> T {
        (self.0)()
    }

    #[inline]
    fn settle(returned: T, keep: impl FnOnce(T)) -> End {
        keep(returned);
        End::Value
    }
}

/// A closure whose `Err` is a failure.
pub(crate) struct Fallible<F>(pub(crate) F);

impl<F, T, E> Code for Fallible<F>
where
    F: FnOnce() -> Result<T, E>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Returned = Result<T, Box<dyn Error + Send + Sync>>;
    type Value = T;

    fn call(self) -> Self::Returned {
        (self.0)().map_err(Into::into)
    }

    fn settle(returned: Self::Returned, keep: impl FnOnce(T)) -> End {
        match returned {
            Ok(value) => {
                keep(value);
                End::Value
            }
            Err(error) => End::from_raised(Raised::from_box(error)),
        }
    }
}

#[repr(C)]
struct Allocation<C, T> {
    header: Header,
    body: UnsafeCell<Body<C, T>>,
}

union Body<C, T> {
    closure: ManuallyDrop<C>,
    value: ManuallyDrop<T>,
}

struct Table<C>(C);

impl<C: Code> Table<C> {
    const TABLE: VTable = VTable {
        run: Self::run,
        drop_closure: Self::drop_closure,
        value: Self::value,
        drop_value: Self::drop_value,
        value_needs_drop: needs_drop::<C::Value>(),
        free: Self::free,
    };

    fn body(header: NonNull<Header>) -> *mut Body<C, C::Value> {
        // SAFETY: every header with this table heads such an allocation.
        unsafe { header.cast::<Allocation<C, C::Value>>().as_ref() }.body.get()
    }

    /// Caller: the home thread, once, with the closure still there.
    unsafe fn run(header: NonNull<Header>) -> End {
        let body = Self::body(header);
        // SAFETY: the caller promises that the closure is there and takes it out by this.
        let closure = unsafe { ManuallyDrop::take(&mut (*body).closure) };
        match catch_unwind(AssertUnwindSafe(|| closure.call())) {
            // SAFETY: the closure is gone, nobody reads the value before `end` sets `VALUE`.
            Ok(returned) => C::settle(returned, |value| unsafe { (*body).value = ManuallyDrop::new(value) }),
            Err(payload) => End::from_unwind(payload),
        }
    }

    /// Caller: the home thread, with the closure still there; it is gone afterwards.
    unsafe fn drop_closure(header: NonNull<Header>) {
        // SAFETY: as promised by the caller.
        let drop = || unsafe { ManuallyDrop::drop(&mut (*Self::body(header)).closure) };
        report::contain_drop("the closure of a greenlet that never ran", drop);
    }

    unsafe fn value(header: NonNull<Header>) -> NonNull<()> {
        // SAFETY: a pointer into a live allocation is not null.
        unsafe { NonNull::new_unchecked(Self::body(header)) }.cast()
    }

    /// Caller: whoever set the second of `VALUE` and `NO_HANDLES`; the value is gone afterwards.
    unsafe fn drop_value(header: NonNull<Header>) {
        // SAFETY: as promised by the caller.
        let drop = || unsafe { ManuallyDrop::drop(&mut (*Self::body(header)).value) };
        report::contain_drop("the value of a greenlet", drop);
    }

    /// Caller: the last count. The closure and the value are gone already.
    unsafe fn free(header: NonNull<Header>) {
        // SAFETY: the allocation was made by `allocate` with these types; nobody else has it.
        let allocation = unsafe { Box::from_raw(header.cast::<Allocation<C, C::Value>>().as_ptr()) };
        if allocation.header.successful() {
            return; // nothing that is left in it has code of the user's
        }
        // A failure has the user's error in it.
        report::contain_drop("the failure of a greenlet", || drop(allocation));
    }
}

pub(crate) struct Spec {
    pub(crate) shared: HubRef,
    pub(crate) site: &'static Location<'static>,
    pub(crate) stack_size: StackSize,
    pub(crate) descent: Descent,
}

/// Who a greenlet is, and whose child.
pub(crate) struct Descent {
    pub(crate) id: u64,
    pub(crate) parent: u64,
    pub(crate) born: Born,
    pub(crate) tree: Option<Rc<Locals>>,
}

/// Whether a new greenlet starts right away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Its start is claimed already, and the hub's count is there: the caller passes it to `Hub::start_claimed`.
    Claimed,
    /// As `Claimed`, and there is no typed handle: all that there is is the hub's count.
    Unheld,
    Later,
}

/// Makes a greenlet with one typed handle, or none.
#[inline]
pub(crate) fn allocate<C: Code>(spec: Spec, start: Start, code: C) -> NonNull<Header> {
    // Written in place: moving it would cost as much as a switch.
    let allocation = Box::leak(Box::<Allocation<C, C::Value>>::new_uninit()).as_mut_ptr();
    // SAFETY: the fields of a fresh allocation.
    unsafe {
        (&raw mut (*allocation).body).write(UnsafeCell::new(Body { closure: ManuallyDrop::new(code) }));
        let (state, refs) = match start {
            Start::Claimed => (STARTED, 2),
            Start::Unheld => (UNHELD, 1),
            Start::Later => (0, 1),
        };
        (&raw mut (*allocation).header).write(Header::new(spec, &Table::<C>::TABLE, false, state, refs));
        NonNull::new_unchecked(allocation).cast()
    }
}

/// Makes another greenlet of one that [is to spare](Header::is_to_spare), if it ran code of the same type. It is `Unheld`, and a child of whoever runs.
#[inline]
pub(crate) fn renew<C: Code>(
    spare: NonNull<Header>,
    descent: Descent,
    site: &'static Location<'static>,
    code: C,
) -> Result<NonNull<Header>, C> {
    // SAFETY: the hub has a count of it, the only one.
    let (vtable, stack_size) = unsafe { (spare.as_ref().vtable, spare.as_ref().shared.stack_size) };
    if !std::ptr::eq(vtable, &Table::<C>::TABLE) {
        return Err(code);
    }
    let allocation = spare.cast::<Allocation<C, C::Value>>().as_ptr();
    // SAFETY: the table says that it is such an allocation. Nobody else refers to it, and nothing is left in what is written over here that would have to
    // be dropped (`is_to_spare`). The counts, the link and `end` are as in a new one.
    unsafe {
        (&raw mut (*allocation).body).write(UnsafeCell::new(Body { closure: ManuallyDrop::new(code) }));
        let header = &raw mut (*allocation).header;
        (&raw mut (*header).state).write(AtomicU8::new(UNHELD));
        (&raw mut (*header).id).write(descent.id);
        (&raw mut (*header).parent).write(descent.parent);
        (&raw mut (*header).site).write(site);
        (&raw mut (*header).born).write(descent.born);
        (&raw mut (*header).local).write(Local::new(stack_size, descent.tree, false, false));
    }
    Ok(spare)
}

/// Makes the main greenlet of a hub: it runs already and counts for the hub only.
pub(crate) fn allocate_main(spec: Spec) -> NonNull<Header> {
    let header = Header::new(spec, &Table::<Plain<fn()>>::TABLE, true, NO_HANDLES | STARTED, 1);
    header.local.phase.set(Phase::Started);
    header.set_name("main".into());
    let body = UnsafeCell::new(Body::<Plain<fn()>, ()> { value: ManuallyDrop::new(()) });
    NonNull::from(Box::leak(Box::new(Allocation { header, body }))).cast()
}

impl Header {
    #[inline(always)]
    fn new(spec: Spec, vtable: &'static VTable, is_main: bool, state: u8, refs: usize) -> Header {
        let parks_slowly = is_main || spec.shared.is_simulated();
        Header {
            link: Link::new(LinkKind::Greenlet),
            in_inbox: AtomicBool::new(false),
            state: AtomicU8::new(state),
            handles: AtomicU32::new(1),
            refs: AtomicUsize::new(refs),
            vtable,
            shared: spec.shared,
            id: spec.descent.id,
            parent: spec.descent.parent,
            site: spec.site,
            born: spec.descent.born,
            local: Local::new(spec.stack_size, spec.descent.tree, is_main, parks_slowly),
            end: Lock::new(Ending { name: None, failure: None, waiters: WaitList::new(), links: Vec::new() }),
        }
    }

    /// Gives it a name, instead of the one it has.
    pub(crate) fn set_name(&self, name: Box<str>) {
        let name = Some(Arc::new(Name(name)));
        let old = std::mem::replace(&mut self.end.lock().name, name);
        drop(old);
    }

    /// Who spawned it.
    pub(crate) fn parent_id(&self) -> Option<u64> {
        (self.parent != 0).then_some(self.parent)
    }

    /// The name given to it, if any.
    pub(crate) fn given_name(&self) -> Option<Arc<Name>> {
        self.end.lock().name.clone()
    }

    /// Calls `f` with the name given to it, if any, under the lock. Does not wait for the lock: if it is held, there is no name.
    /// For signal handlers, hence `f` must be fit for them.
    pub(crate) fn with_given_name<R>(&self, f: impl FnOnce(Option<&str>) -> R) -> R {
        let ending = self.end.try_lock();
        f(ending.as_ref().and_then(|ending| ending.name.as_deref()).map(|name| &**name))
    }

    // --- state -----------------------------------------------------------------------------------------------

    #[inline]
    pub(crate) fn ended(&self) -> bool {
        self.state.load(Ordering::Acquire) & ENDED != 0
    }

    /// Ended, and not by a failure.
    pub(crate) fn successful(&self) -> bool {
        let state = self.state.load(Ordering::Acquire);
        state & ENDED != 0 && state & FAILED == 0
    }

    pub(crate) fn exited(&self) -> bool {
        self.state.load(Ordering::Acquire) & EXIT != 0
    }

    pub(crate) fn has_value(&self) -> bool {
        self.state.load(Ordering::Acquire) & VALUE != 0
    }

    /// Claims the start: true for the first caller.
    pub(crate) fn claim_start(&self) -> bool {
        self.state.fetch_or(STARTED, Ordering::AcqRel) & STARTED == 0
    }

    pub(crate) fn was_started(&self) -> bool {
        self.state.load(Ordering::Relaxed) & STARTED != 0
    }

    /// Whether the value can never be asked for.
    pub(crate) fn has_no_handles(&self) -> bool {
        self.state.load(Ordering::Acquire) & NO_HANDLES != 0
    }

    /// Whether it was sent home only to be dropped there.
    pub(crate) fn is_discarded(&self) -> bool {
        self.state.load(Ordering::Relaxed) & DISCARDED != 0
    }

    /// Whether the hub alone knows it, and it is not known to have anything that its end would have to tell somebody, or to drop.
    #[inline]
    fn is_unknown(&self) -> bool {
        // Whoever had a count has given it back.
        if self.refs.load(Ordering::Acquire) != 1 {
            return false;
        }
        // SAFETY: at home, with the only count, so nobody else comes to it.
        let ending = unsafe { self.end.unlocked() };
        ending.waiters.is_empty() && ending.links.is_empty()
    }

    /// Records the end of one that returned and that [nobody knows](Header::is_unknown): without the lock, since there is nobody to be told. False if it is
    /// another one, and nothing was done.
    ///
    /// At home, with the closure gone. Extras are dropped already.
    #[inline]
    pub(crate) fn end_unknown(&self) -> bool {
        let plain = self.state.load(Ordering::Relaxed) == UNHELD && !self.vtable.value_needs_drop;
        if !plain || !self.is_unknown() {
            return false;
        }
        self.state.store(UNHELD | ENDED, Ordering::Relaxed);
        true
    }

    /// Whether one that has ended can be [renewed](renew): nobody knows it, and nothing of what it had is left.
    #[inline]
    pub(crate) fn is_to_spare(&self) -> bool {
        self.state.load(Ordering::Relaxed) == UNHELD | ENDED
            && !self.local.queued.get()
            && self.local.locals.get().is_none()
            && self.is_unknown()
            // SAFETY: as in `is_unknown`.
            && unsafe { self.end.unlocked() }.name.is_none()
    }

    /// Records the end under the lock. Returns whether the value must be dropped, as nobody can ask for it.
    pub(crate) fn set_ended(&self, end: &End) -> bool {
        let bits = match end {
            End::Value => VALUE,
            End::DroppedValue => 0,
            End::Exit => EXIT,
            End::Failed(_) => FAILED,
        };
        let before = self.state.fetch_or(ENDED | STARTED | bits, Ordering::AcqRel);
        before & NO_HANDLES != 0 && matches!(end, End::Value)
    }

    // --- inbox -----------------------------------------------------------------------------------------------

    /// Claims the link for an inbox: true when it is in none.
    pub(crate) fn claim_link(&self) -> bool {
        !self.in_inbox.swap(true, Ordering::AcqRel)
    }

    /// The link is out of the inbox. A wake-up from now on pushes it again.
    pub(crate) fn release_link(&self) {
        self.in_inbox.swap(false, Ordering::AcqRel);
    }

    // --- counts ----------------------------------------------------------------------------------------------

    #[inline]
    pub(crate) fn retain(&self) {
        let before = self.refs.fetch_add(1, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            // Only a leak of half the address space gets here; going on would free a greenlet in use.
            std::process::abort();
        }
    }

    /// Gives a count back.
    ///
    /// # Safety
    /// The caller owns a count and does not use the header afterwards.
    #[inline]
    pub(crate) unsafe fn release(this: NonNull<Header>) {
        // SAFETY: the count keeps it alive until here.
        let header = unsafe { this.as_ref() };
        // A sole owner needs no read-modify-write: nobody is left who could add a count.
        if header.refs.load(Ordering::Acquire) != 1 {
            if header.refs.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            fence(Ordering::Acquire);
        }
        // SAFETY: that was the last count.
        unsafe { Header::destroy(this) };
    }

    /// # Safety
    /// No count is left.
    unsafe fn destroy(this: NonNull<Header>) {
        // SAFETY: nobody else has the allocation any more.
        unsafe {
            let header = this.as_ref();
            if !header.ended() && !header.local.is_main {
                // It never started: the closure is still there, and belongs to the home thread.
                if !header.shared.is_current() {
                    header.refs.store(1, Ordering::Relaxed);
                    header.state.fetch_or(DISCARDED, Ordering::Relaxed);
                    return HubShared::send_home(this);
                }
                (header.vtable.drop_closure)(this);
                header.drop_extras();
            }
            (header.vtable.free)(this);
        }
    }

    pub(crate) fn retain_handle(&self) {
        if self.handles.fetch_add(1, Ordering::Relaxed) > u32::MAX / 2 {
            std::process::abort();
        }
    }

    /// Gives a typed handle back, and with the last one the value and the handles' count.
    ///
    /// # Safety
    /// The caller owns a typed handle, on a thread where the value may be dropped, and does not use it afterwards.
    pub(crate) unsafe fn release_handle(this: NonNull<Header>) {
        // SAFETY: the handles' count keeps it alive until here.
        let header = unsafe { this.as_ref() };
        if header.handles.load(Ordering::Acquire) != 1 && header.handles.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // One that has ended decides nothing any more: no need to tell it.
        let mut before = header.state.load(Ordering::Acquire);
        if before & ENDED == 0 {
            before = header.state.fetch_or(NO_HANDLES, Ordering::AcqRel);
        }
        // SAFETY: this call set the second of the two bits, so the value is ours to drop; and the count goes last.
        unsafe {
            if before & VALUE != 0 {
                (header.vtable.drop_value)(this);
            }
            Header::release(this);
        }
    }

    /// Moves the value out if the caller's is the only typed handle, which is used up by that.
    ///
    /// # Safety
    /// The caller owns a typed handle of a greenlet whose value type is `T`; on `Some` it must not use it afterwards.
    pub(crate) unsafe fn take_value<T>(this: NonNull<Header>) -> Option<T> {
        // SAFETY: the handle keeps it alive.
        let header = unsafe { this.as_ref() };
        if !header.has_value() || header.handles.load(Ordering::Acquire) != 1 {
            return None;
        }
        // SAFETY: the value is there, and no other handle can reach it. `VALUE` goes away before the handle does,
        // so it is not dropped again.
        unsafe {
            let value = (header.vtable.value)(this).cast::<T>().read();
            header.state.fetch_and(!VALUE, Ordering::AcqRel);
            Header::release_handle(this);
            Some(value)
        }
    }

    /// # Safety
    /// `has_value` is true, and the greenlet's value type is `T`.
    pub(crate) unsafe fn value<'a, T>(this: NonNull<Header>) -> &'a T {
        // SAFETY: as promised by the caller.
        unsafe { (this.as_ref().vtable.value)(this).cast::<T>().as_ref() }
    }

    // --- body ------------------------------------------------------------------------------------------------

    /// Runs the closure to its end.
    ///
    /// # Safety
    /// On the home thread, once, on the stack that the greenlet was given.
    #[inline]
    pub(crate) unsafe fn run(this: NonNull<Header>) -> End {
        // SAFETY: as promised by the caller.
        unsafe { (this.as_ref().vtable.run)(this) }
    }

    /// # Safety
    /// On the home thread, before `run`, once.
    pub(crate) unsafe fn drop_closure(this: NonNull<Header>) {
        // SAFETY: as promised by the caller.
        unsafe { (this.as_ref().vtable.drop_closure)(this) }
    }

    /// # Safety
    /// `set_ended` said so.
    pub(crate) unsafe fn drop_value(this: NonNull<Header>) {
        // SAFETY: as promised by the caller.
        unsafe { (this.as_ref().vtable.drop_value)(this) }
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Header {
    /// Drops what a few greenlets have: the values of greenlet-locals, and those of the tree if it is the last member. That
    /// may suspend. At home, in the greenlet's name or before it ever ran.
    #[inline]
    pub(crate) fn drop_extras(&self) {
        if !self.has_no_values() {
            self.drop_extras_slow();
        }
    }

    /// Whether it has no values to be dropped, having left its spawn tree if others are left in that.
    #[inline]
    pub(crate) fn has_no_values(&self) -> bool {
        let extras = self.local.extras.get();
        extras == 0 || extras == TREE && self.local.leave_living_tree()
    }

    /// Drops the values of greenlet-locals, in the greenlet's name, before its end.
    #[inline]
    pub(crate) fn drop_locals(&self) {
        let local = &self.local;
        if local.extras.get() & LOCALS != 0 {
            local.extras.set(local.extras.get() & !LOCALS);
            local.locals.get().map(|locals| locals.take()).into_iter().for_each(local::drop_values);
        }
    }

    #[inline(never)]
    fn drop_extras_slow(&self) {
        let local = &self.local;
        // Values may be made while others are dropped.
        for _ in 0..local::DROP_ROUNDS {
            let extras = local.extras.replace(0);
            if extras & TREE != 0
                && let Some(tree) = local.tree.take()
                && let Some(last) = Rc::into_inner(ManuallyDrop::into_inner(tree))
            {
                local::drop_values(last.take());
            }
            if extras & LOCALS != 0
                && let Some(locals) = local.locals.get()
            {
                local::drop_values(locals.take());
            }
            if extras & IDENT != 0
                && let Some(hub) = Hub::try_current()
            {
                hub.release_ident(self.id);
            }
            if local.extras.get() == 0 {
                return;
            }
        }
        // What is there now is leaked: it must not be dropped later, on whatever thread the last handle goes.
        std::mem::forget(local.locals.get().map(|locals| locals.take()));
        local.tree.set(None);
    }
}

impl Local {
    #[inline(always)]
    fn new(stack_size: StackSize, tree: Option<Rc<Locals>>, is_main: bool, parks_slowly: bool) -> Local {
        Local {
            phase: Cell::new(Phase::New),
            queued: Cell::new(false),
            floor: Cell::new(0),
            unwind_marks: Cell::new(0),
            live_index: Cell::new(u32::MAX),
            stack_size: Cell::new(stack_size),
            worker: Cell::new(None),
            raises: Cell::new(None),
            has_raises: Cell::new(false),
            locals: OnceCell::new(),
            extras: Cell::new(if tree.is_some() { TREE } else { 0 }),
            tree: Cell::new(tree.map(ManuallyDrop::new)),
            shielded: Cell::new(false),
            undisturbed: Cell::new(false),
            is_main,
            parks_slowly,
            runs_inside: Cell::new(false),
            tag: Cell::new(0),
            is_service: Cell::new(false),
            yielded: Cell::new(false),
        }
    }

    pub(crate) fn locals(&self) -> &Locals {
        self.add_extra(LOCALS);
        self.locals.get_or_init(Box::default)
    }

    /// It has a minimal ident from now on.
    pub(crate) fn note_ident(&self) {
        self.add_extra(IDENT);
    }

    fn add_extra(&self, extra: u8) {
        self.extras.set(self.extras.get() | extra);
    }

    /// The values of the spawn tree, whose first member it is if it does not belong to one yet.
    #[inline]
    pub(crate) fn tree(&self) -> Rc<Locals> {
        // SAFETY: only this thread touches the cell (`Home`), and nothing else does while the reference is in use: cloning and
        // making an `Rc` calls nothing of ours or the user's.
        let tree = unsafe { &mut *self.tree.as_ptr() };
        match tree {
            Some(tree) => Rc::clone(tree),
            None => {
                self.add_extra(TREE);
                Rc::clone(tree.insert(ManuallyDrop::new(Rc::default())))
            }
        }
    }

    /// Leaves the spawn tree where others are left in it, so that no value is dropped; false if it is the last.
    #[inline]
    fn leave_living_tree(&self) -> bool {
        let Some(tree) = self.tree.take() else { return false };
        if Rc::strong_count(&tree) == 1 {
            self.tree.set(Some(tree));
            return false;
        }
        self.extras.set(0);
        drop(ManuallyDrop::into_inner(tree));
        true
    }

    /// The least rank of what may be raised in it where it does not unwind: past its code, and where it must not be disturbed, only what is caught for
    /// certain.
    #[inline]
    pub(crate) fn resting_floor(&self) -> u32 {
        u32::from(self.undisturbed.get() || self.phase.get() == Phase::Ending)
    }

    /// Whether a raise waits that may be thrown now, with this floor.
    pub(crate) fn can_raise(&self, floor: u32) -> bool {
        self.has_raises.get() && {
            self.forget_raises(Raised::is_revoked);
            let raises = self.raises.take();
            let found = raises.iter().flat_map(|raises| &raises.0).any(|raised| raised.rank() >= floor);
            self.raises.set(raises);
            found
        }
    }

    pub(crate) fn push_raise(&self, raised: Raised) {
        let mut raises = self.raises.take().unwrap_or_default();
        raises.0.push(raised);
        self.raises.set(Some(raises));
        self.has_raises.set(true);
    }

    /// The first raise that may be thrown with this floor.
    pub(crate) fn pop_raise(&self, floor: u32) -> Option<Raised> {
        let mut raises = self.raises.take()?;
        let first = raises.0.iter().position(|raised| raised.rank() >= floor);
        let first = first.map(|at| raises.0.remove(at));
        self.put_raises(raises);
        first
    }

    /// Forgets all raises.
    pub(crate) fn clear_raises(&self) {
        self.has_raises.set(false);
        drop(self.raises.take());
    }

    /// Forgets what a timeout raised and was not thrown yet.
    pub(crate) fn forget_timeout(&self, id: u64) {
        self.forget_raises(|raised| raised.timeout_id() == Some(id));
    }

    fn forget_raises(&self, unwanted: impl Fn(&Raised) -> bool) {
        if let Some(mut raises) = self.raises.take() {
            let forgotten: Vec<_> = raises.0.extract_if(.., |raised| unwanted(raised)).collect();
            self.put_raises(raises);
            // An error of the user's is dropped only when all is in order again.
            drop(forgotten);
        }
    }

    fn put_raises(&self, raises: Box<Raises>) {
        self.has_raises.set(!raises.0.is_empty());
        self.raises.set((!raises.0.is_empty()).then_some(raises));
    }
}
