//! A runner: a greenlet that has an actor while it handles messages.
//!
//! # Invariants
//! - While `actor` is there, the activation that the runner is in keeps that actor: it is taken up after the cell was borrowed from it, and put
//!   down before it is given away.
//! - What `asked` points to is kept by who waits for `asking` to return.
//! - The tag of a runner's greenlet is the address of its `Runner`, as long as it has an actor, and 0 otherwise. Nobody else sets it.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use greenlet_core::{Failure, GreenletExit, GreenletRef, Interrupt, embed};

use super::arrives;
use crate::actor_ref::AnyActor;
use crate::cell::AnyCell;
use crate::life::{Life, flag};

pub(crate) struct Runner {
    /// Its place in the hub's list, from 1.
    index: u32,
    hub: u32,
    greenlet: GreenletRef,
    budget: Cell<u32>,
    /// The actor that it has.
    actor: Cell<Option<NonNull<dyn AnyCell>>>,
    /// What that one is doing.
    label: Cell<&'static str>,
    /// Somebody has killed the greenlet itself: it ends with what it is doing.
    retired: Cell<bool>,
    /// It was idle, and has been called.
    called: Cell<bool>,
    /// It was called from inside a handler, which goes on when this one has suspended.
    inside: Cell<bool>,
    /// The actor that it asks, and runs inside itself meanwhile, and where the question stands in the mailbox of that one.
    asked: Cell<Option<(NonNull<dyn AnyCell>, u64)>>,
    /// What was raised in the greenlet to end that actor.
    interrupts: RefCell<Vec<Interrupt>>,
    /// The message whose handler has failed, if the actor describes its messages.
    culprit: Cell<Option<String>>,
    /// Memory for the next description.
    spare: Cell<String>,
}

impl Runner {
    pub(super) fn new(index: u32, hub: u32, greenlet: GreenletRef) -> Rc<Runner> {
        Rc::new(Runner {
            index,
            hub,
            greenlet,
            budget: Cell::new(0),
            actor: Cell::new(None),
            label: Cell::new(""),
            retired: Cell::new(false),
            called: Cell::new(false),
            inside: Cell::new(false),
            asked: Cell::new(None),
            interrupts: RefCell::default(),
            culprit: Cell::default(),
            spare: Cell::default(),
        })
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn grant(&self, messages: u32) {
        self.budget.set(messages);
    }

    pub(super) fn budget(&self) -> u32 {
        self.budget.get()
    }

    #[inline]
    pub(crate) fn has_budget(&self) -> bool {
        self.budget.get() != 0
    }

    #[inline]
    pub(crate) fn spend(&self) {
        self.budget.set(self.budget.get().saturating_sub(1));
    }

    /// The actor is in this runner's hands from now on, until [`put_down`](Runner::put_down).
    ///
    /// # Safety
    /// The pointer is that of an `Arc` which the caller keeps until it is put down.
    #[inline]
    pub(crate) unsafe fn take_up(&self, actor: NonNull<dyn AnyCell>) {
        // SAFETY: kept by the caller.
        let life = unsafe { actor.as_ref() }.life();
        arrives(life, self.hub);
        life.runner.store(self.index, Ordering::Relaxed);
        self.actor.set(Some(actor));
        // SAFETY: this greenlet is a runner's, and the tag is taken back before that ends (invariant).
        unsafe { embed::set_tag(std::ptr::from_ref(self).expose_provenance()) };
    }

    /// What the runner of the current greenlet says, if that is one and has an actor.
    #[inline]
    fn current<R>(f: impl FnOnce(&Runner) -> R) -> Option<R> {
        let tag = embed::tag();
        let runner = NonNull::new(std::ptr::with_exposed_provenance_mut::<Runner>(tag))?;
        // SAFETY: the tag of this greenlet says so, and the runner outlives the activation (invariant).
        Some(f(unsafe { runner.as_ref() }))
    }

    /// Whether the caller runs inside that actor.
    #[inline]
    pub(crate) fn runs(life: &Life) -> bool {
        // SAFETY: the actor is alive while it is here (invariant).
        let id =
            Runner::current(|runner| runner.actor.get().map(|actor| unsafe { actor.as_ref() }.life().id()));
        id.flatten() == Some(life.id())
    }

    /// The actor that the caller runs inside.
    pub(crate) fn current_actor() -> Option<Arc<dyn AnyCell>> {
        let actor = Runner::current(|runner| runner.actor.get()).flatten()?;
        // SAFETY: the actor is in an `Arc` that is kept while it is here (invariant): this makes another count of it.
        unsafe {
            Arc::increment_strong_count(actor.as_ptr());
            Some(Arc::from_raw(actor.as_ptr()))
        }
    }

    /// Lets `next` run inside the caller, to handle the question that stands there in the mailbox of `asked`. If the caller is an actor, it is known here to ask that one meanwhile.
    #[inline]
    pub(crate) fn asking<C: AnyCell + ?Sized>(
        asked: &Arc<C>,
        any: impl FnOnce(*const C) -> *const dyn AnyCell,
        at: u64,
        next: &Runner,
    ) {
        struct Asked<'a>(&'a Runner);
        impl Drop for Asked<'_> {
            fn drop(&mut self) {
                self.0.asked.set(None);
            }
        }
        let inside = Runner::current(|runner| {
            runner.asked.set(NonNull::new(any(Arc::as_ptr(asked)).cast_mut()).map(|asked| (asked, at)));
            let _asked = Asked(runner);
            next.inside.set(true);
            next.comes_now();
            next.inside.set(false);
        });
        if inside.is_none() {
            next.comes_now();
        }
    }

    /// Whom its actor asks, if that one has not come past the question yet (see `Life::asks`).
    pub(super) fn asks(&self) -> Option<AnyActor> {
        let (asked, at) = self.asked.get()?;
        // SAFETY: it is kept as long as it is here, in an `Arc` that the pointer is of (invariant): this makes another count of it.
        let asked = unsafe {
            Arc::increment_strong_count(asked.as_ptr());
            Arc::from_raw(asked.as_ptr())
        };
        (asked.handled() <= at).then(|| AnyActor::new(asked))
    }

    /// And from now on not any more.
    #[inline]
    pub(crate) fn put_down(&self, life: &Life) {
        life.runner.store(0, Ordering::Relaxed);
        self.actor.set(None);
        // SAFETY: 0 is nobody's address.
        unsafe { embed::set_tag(0) };
    }

    /// Ends its [`await_call`](Runner::await_call).
    #[inline]
    pub(super) fn call(&self) {
        self.called.set(true);
        embed::unpark(&self.greenlet);
    }

    /// As [`call`](Runner::call), in two steps: this is the first.
    #[inline]
    pub(super) fn is_to_come(&self) {
        self.called.set(true);
    }

    /// And this the second: it comes before the current greenlet goes on, if that can be.
    #[inline]
    pub(super) fn comes_now(&self) {
        embed::unpark_now(&self.greenlet);
    }

    pub(super) fn is_inside(&self) -> bool {
        self.inside.get()
    }

    pub(super) fn was_called(&self) -> bool {
        self.called.get()
    }

    /// Waits until it is called.
    #[inline]
    pub(super) fn await_call(&self) {
        while !self.called.get() {
            embed::park("actors");
        }
    }

    /// As [`await_call`](Runner::await_call), for at most `timeout`. True if it was called.
    pub(super) fn await_call_for(&self, timeout: Duration) -> bool {
        while !self.called.get() {
            if embed::park_timeout("actors", timeout) {
                return self.called.get();
            }
        }
        true
    }

    pub(super) fn answer_call(&self) {
        self.called.set(false);
    }

    pub(crate) fn retire(&self) {
        self.retired.set(true);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// What the actor is doing.
    #[inline]
    pub(crate) fn handles(&self, label: &'static str) {
        self.label.set(label);
    }

    pub(crate) fn label(&self) -> &'static str {
        self.label.get()
    }

    pub(crate) fn take_spare(&self) -> String {
        self.spare.take()
    }

    /// A message is done: nothing that failed inside of its handler has ended the actor.
    pub(crate) fn keep_spare(&self, text: String) {
        self.culprit.set(None);
        self.spare.set(text);
    }

    /// Of handlers inside each other the innermost comes first, and is to blame.
    pub(crate) fn blame(&self, text: String) {
        let first = self.culprit.take();
        self.culprit.set(Some(first.unwrap_or(text)));
    }

    /// The message whose handler did not return.
    pub(crate) fn take_culprit(&self) -> Option<String> {
        self.culprit.take()
    }

    /// Ends what the actor is doing, if this runner has it.
    pub(super) fn interrupt(&self, life: &Life) {
        if life.has(flag::ENDING) && !life.killed() {
            return; // it came too late, from another thread: the actor is in `terminate` already
        }
        // SAFETY: the actor is alive while it is here (invariant).
        if self.actor.get().is_some_and(|actor| unsafe { actor.as_ref() }.life().id() == life.id()) {
            let interrupt = self.greenlet.interrupt(GreenletExit);
            self.interrupts.borrow_mut().push(interrupt);
        }
    }

    /// The actor knows that it ends: what is on its way to say so is taken back.
    pub(crate) fn revoke_interrupts(&self) {
        self.interrupts.take().iter().for_each(Interrupt::revoke);
    }

    /// Reports the failure of the actor, once, with what it was doing, and the message if that is known.
    #[cold]
    pub(crate) fn report(&self, life: &Life, actor: &'static str, message: Option<&str>, failure: &Failure) {
        let (id, site, label) = (life.id(), life.site(), self.label.get());
        let name = match (life.parent(), life.name()) {
            (Some(_), _) => format!("{} ", life.path()),
            (None, Some(name)) => format!("{name} "),
            (None, None) => String::new(),
        };
        let with = message.map_or_else(String::new, |message| format!(" with {message}"));
        embed::report_failure(
            format_args!("actor {name}{id} ({actor}), spawned at {site}, in {label}{with},"),
            failure,
        );
    }
}
