//! Stacks at work: a coroutine that runs one greenlet after another.
//!
//! A worker is made for the first greenlet that needs a stack and is kept for the next one, so a warm spawn neither
//! sets up a stack nor touches cold memory. Its own record lies at the top of the stack, in the page that is resident
//! anyway: a parked greenlet costs that page and its header.

use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::Hub;
use super::waiting::Waiting;
use crate::greenlet::raw::Header;
use crate::spans::Spans;
use crate::stack::{StackSize, StackSlot};

pub(crate) struct Worker {
    coroutine: UnsafeCell<ManuallyDrop<Coroutine<(), (), (), WorkerStack>>>,
    /// Set by the first resume; lives as long as the coroutine has frames.
    yielder: Cell<Option<NonNull<Yielder<(), ()>>>>,
    /// The greenlet that it runs. None when resumed: return.
    job: Cell<Option<NonNull<Header>>>,
    /// Near the stack pointer, while it is suspended: what a resume touches first.
    top: Cell<*const u8>,
    /// How often its greenlet was resumed.
    switches: Cell<u64>,
    pub(super) waiting: Waiting,
    /// Sections that its greenlet is inside of in which blocking is not reported.
    pub(super) may_block: Cell<u32>,
    pub(crate) size: StackSize,
}

/// A stack slot whose top is reserved for the worker's record.
struct WorkerStack {
    slot: StackSlot,
    /// Where the record begins and the stack ends.
    base: StackPointer,
}

const RESERVED: usize = size_of::<Worker>().next_multiple_of(LINE);
const LINE: usize = 64;
/// Two lines: more would be missing from each stack.
const _: () = assert!(RESERVED <= 2 * LINE);
/// Slots are powers of two apart, so the hot lines at their tops would all fall into the same few sets of the caches.
/// Bases are therefore staggered: by up to so many cache lines, and by up to so many pages. The pages above the base are
/// never touched, so they cost address space only.
const LINES: usize = 16;
const PAGES: usize = 8;
const PAGE: usize = 4096;

impl WorkerStack {
    fn new(slot: StackSlot, size: StackSize) -> WorkerStack {
        let top = slot.base().get();
        let colour = top / size.bytes();
        // No more than a 16th of the stack is given away.
        let pages = (colour / LINES) % PAGES.min(size.bytes() / (16 * PAGE)).max(1);
        let base = top - pages * PAGE - (colour % LINES) * LINE - RESERVED;
        WorkerStack { slot, base: StackPointer::new(base).expect("a stack does not end at address zero") }
    }
}

// SAFETY: the slot fulfils the contract (guard, alignment); a base that is lower by a multiple of 64 keeps it, since
// the smallest slot is far larger than `MIN_STACK_SIZE` and what is taken off.
unsafe impl Stack for WorkerStack {
    fn base(&self) -> StackPointer {
        self.base
    }

    fn limit(&self) -> StackPointer {
        self.slot.limit()
    }
}

/// `finish` contains all code that is not ours. If it unwound all the same, that would go on into the loop.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        eprintln!("greenlet: the end of a greenlet panicked; this is a bug of greenlet-core. Aborting.");
        std::process::abort();
    }
}

impl Worker {
    /// Puts a worker on a stack.
    pub(crate) fn new(slot: StackSlot, size: StackSize) -> NonNull<Worker> {
        let stack = WorkerStack::new(slot, size);
        let place = std::ptr::with_exposed_provenance_mut::<Worker>(stack.base.get());
        let place = NonNull::new(place).expect("a stack does not end at address zero");
        let coroutine = Coroutine::with_stack(stack, move |yielder, ()| {
            // SAFETY: the record lies above this stack and is there until the coroutine has returned.
            let worker = unsafe { place.as_ref() };
            worker.yielder.set(Some(NonNull::from(yielder)));
            while let Some(greenlet) = worker.job.get() {
                // SAFETY: the hub puts a started greenlet of its own here, once.
                let end = unsafe { Header::run(greenlet) };
                // Spans that it entered and never left end with it.
                drop(Spans::leave());
                let bomb = AbortOnUnwind;
                Hub::current_hub().finish(greenlet, end);
                std::mem::forget(bomb);
                worker.job.set(None);
                yielder.suspend(());
            }
        });
        // SAFETY: the bytes from the base on are reserved for this record, aligned to 64.
        unsafe {
            place.write(Worker {
                coroutine: UnsafeCell::new(ManuallyDrop::new(coroutine)),
                yielder: Cell::new(None),
                job: Cell::new(None),
                top: Cell::new(std::ptr::null()),
                switches: Cell::new(0),
                waiting: Waiting::new(),
                may_block: Cell::new(0),
                size,
            });
        }
        place
    }

    #[inline]
    pub(crate) fn set_job(&self, greenlet: NonNull<Header>) {
        self.job.set(Some(greenlet));
        self.switches.set(0);
        self.may_block.set(0);
    }

    /// Whether the greenlet has ended and the stack is free for the next one.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.job.get().is_none()
    }

    /// Runs the stack until it suspends. For the hub's loop, and for who runs another greenlet inside itself.
    #[inline(always)]
    pub(crate) fn resume(&self) {
        self.switches.set(self.switches.get() + 1);
        self.resume_to_inspect();
    }

    /// As `resume`, from any stack of the thread but its own, to ask it something (see `inspect`).
    #[inline(always)]
    pub(super) fn resume_to_inspect(&self) {
        // SAFETY: the coroutine is touched here only, never from inside itself, so this borrow is exclusive.
        let coroutine = unsafe { &mut *self.coroutine.get() };
        match coroutine.resume(()) {
            CoroutineResult::Yield(()) | CoroutineResult::Return(()) => {}
        }
    }

    /// Notes how far its stack reaches. Called on it.
    #[inline(always)]
    pub(super) fn stands_here(&self) {
        let here = 0_u8;
        self.top.set(&raw const here);
    }

    /// Switches to the hub's loop.
    ///
    /// # Safety
    /// Called on this worker's own stack.
    #[inline(always)]
    pub(crate) unsafe fn suspend(&self) {
        let yielder = self.yielder.get();
        self.stands_here();
        // SAFETY: a worker that runs has its yielder.
        unsafe { yielder.unwrap_unchecked().as_ref() }.suspend(());
    }

    /// How often its greenlet was resumed.
    pub(super) fn switches(&self) -> u64 {
        self.switches.get()
    }

    /// Where its stack was suspended.
    #[inline]
    pub(crate) fn top(&self) -> *const u8 {
        self.top.get()
    }

    /// Lets an idle worker return and gives its stack back.
    pub(crate) fn retire(this: NonNull<Worker>) -> StackSlot {
        // SAFETY: an idle worker belongs to its caller. It returns from its body when it finds no job (or never
        // began, then dropping its body is all), so no frame of a greenlet is on the stack.
        unsafe {
            let worker = this.as_ref();
            debug_assert!(worker.is_idle());
            if worker.yielder.get().is_some() {
                worker.resume();
            } else {
                (*worker.coroutine.get()).force_unwind();
            }
            ManuallyDrop::take(&mut *worker.coroutine.get()).into_stack().slot
        }
    }
}
