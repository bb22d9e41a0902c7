//! What an actor sees of itself.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::{ActorId, ActorRef, AnyActor, Linkable};
use crate::bounded::Bounded;
use crate::cell::{self, Mail};
use crate::describe::{Describe, Described};
use crate::exit::Exit;
use crate::idle::IdleTimeout;
use crate::life::{Watcher, flag};
use crate::mailbox::Owned;
use crate::monitor::MonitorId;
use crate::priority::Sorted;
use crate::reentrant::Reentrancy;
use crate::run::Runner;
use crate::signals;
use crate::stash::Stash;

/// How an actor handles messages instead of by [`Actor::receive`].
pub type Behaviour<A> = fn(&mut A, <A as Actor>::Message, &mut Context<A>) -> Result<(), Exit>;

/// The actor's view of itself, passed to every hook.
pub struct Context<A: Actor> {
    /// Not counted, and not dropped: the cell outlives the context.
    me: ManuallyDrop<ActorRef<A::Message>>,
    /// The runner that has the actor: alive as long as the context is, since it made it.
    runner: NonNull<Runner>,
    /// In the actor's cell.
    personal: NonNull<Personal<A>>,
    /// The actor ends: what is in its mailbox is not handled any more.
    ending: bool,
    _on_this_thread: PhantomData<*const A>,
}

/// The actor's side of a mailbox, and its limit.
type Inbox<'a, M> = (Option<&'a Bounded<M>>, Owned<'a, Mail<M>>);

/// What only some actors have, and only they themselves touch.
pub(crate) struct Personal<A: Actor>(Option<Box<Belongings<A>>>);

impl<A: Actor> Default for Personal<A> {
    fn default() -> Personal<A> {
        Personal(None)
    }
}

impl<A: Actor> Personal<A> {
    /// What is stashed, at the end.
    pub(crate) fn take_stash(&mut self) -> std::collections::VecDeque<A::Message> {
        self.0.as_mut().map(|belongings| belongings.stash.take()).unwrap_or_default()
    }
}

pub(crate) struct Belongings<A: Actor> {
    behaviours: Vec<Behaviour<A>>,
    pub(crate) stash: Stash<A::Message>,
    pub(crate) idle: Option<IdleTimeout>,
    pub(crate) reentrancy: Reentrancy,
    pub(crate) sorted: Sorted<A::Message>,
}

impl<A: Actor> Default for Belongings<A> {
    fn default() -> Belongings<A> {
        Belongings {
            behaviours: Vec::new(),
            stash: Stash::default(),
            idle: None,
            reentrancy: Reentrancy::default(),
            sorted: Sorted::default(),
        }
    }
}

impl<A: Actor> Context<A> {
    /// # Safety
    /// `personal` is in the cell of `me`, and this context alone leads to it. The cell and the runner outlive the context's use.
    pub(crate) unsafe fn new(
        me: ManuallyDrop<ActorRef<A::Message>>,
        runner: &Runner,
        personal: NonNull<Personal<A>>,
    ) -> Context<A> {
        Context { me, runner: NonNull::from(runner), personal, ending: false, _on_this_thread: PhantomData }
    }

    pub(crate) fn begin_end(&mut self) {
        self.ending = true;
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending
    }

    pub(crate) fn runner(&self) -> &Runner {
        // SAFETY: by the contract of `new`.
        unsafe { self.runner.as_ref() }
    }

    fn personal(&self) -> &Personal<A> {
        // SAFETY: by the contract of `new`; changes go through `personal_mut`, which takes `&mut self`.
        unsafe { self.personal.as_ref() }
    }

    fn personal_mut(&mut self) -> &mut Personal<A> {
        // SAFETY: as above.
        unsafe { self.personal.as_mut() }
    }

    pub(crate) fn belongings(&mut self) -> &mut Belongings<A> {
        self.personal_mut().0.get_or_insert_default()
    }

    pub(crate) fn try_belongings(&self) -> Option<&Belongings<A>> {
        self.personal().0.as_deref()
    }

    /// The actor's side of its mailbox, and the limit of that.
    pub(crate) fn inbox(&mut self) -> Inbox<'_, A::Message> {
        if A::PRIORITY.is_some() {
            self.unsort();
        }
        // SAFETY: as in `owned`.
        (self.me.bounded(), unsafe { self.me.mailbox().owned() })
    }

    /// The actor's side of its mailbox, as it is.
    pub(crate) fn owned(&mut self) -> Owned<'_, Mail<A::Message>> {
        // SAFETY: who has an actor's context is its mailbox's owner, and stays it while the context is there: it is borrowed as long as this lives, so
        // that nobody else gets another through it, and `cell` takes messages out between handlers only.
        unsafe { self.me.mailbox().owned() }
    }

    /// Has the actor handle the next thing in its mailbox, in the middle of what it is doing. `None`: there is nothing.
    pub(crate) fn handle_next(&mut self, actor: &mut A) -> Option<Result<(), Exit>> {
        let mail = match A::PRIORITY {
            None => self.owned().next()?,
            Some(rank) => self.next_by_priority(rank)?,
        };
        // SAFETY: by the contract of `new` it outlives the context.
        let runner = unsafe { self.runner.as_ref() };
        runner.spend();
        let me = self.me.clone();
        let handled = cell::handle(actor, mail, me.bounded(), self, runner);
        if handled.is_ok() && !runner.has_budget() {
            greenlet_core::yield_now();
        }
        Some(handled)
    }

    /// Has the message handled, and blamed if that fails.
    pub(crate) fn described(
        &mut self,
        describe: Describe<A::Message>,
        message: A::Message,
        handle: impl FnOnce(A::Message, &mut Context<A>) -> Result<(), Exit>,
    ) -> Result<(), Exit> {
        // SAFETY: by the contract of `new` it outlives the context.
        let described = Described::new(unsafe { self.runner.as_ref() }, &message, describe);
        let handled = handle(message, self);
        if handled.is_ok() {
            described.done();
        }
        handled
    }

    pub(crate) fn shrink_belongings(&mut self) {
        let Some(belongings) = &mut self.personal_mut().0 else { return };
        belongings.behaviours.shrink_to_fit();
        belongings.stash.shrink();
        let Belongings { behaviours, stash, idle, reentrancy, sorted } = &**belongings;
        if sorted.is_empty()
            && behaviours.is_empty()
            && stash.is_unused()
            && idle.is_none()
            && reentrancy.is_unused()
        {
            self.personal_mut().0 = None;
        }
    }

    pub(crate) fn take_personal(&mut self) -> Personal<A> {
        std::mem::take(self.personal_mut())
    }

    #[inline]
    pub(crate) fn behaviour(&self) -> Option<Behaviour<A>> {
        self.personal().0.as_ref().and_then(|belongings| belongings.behaviours.last().copied())
    }

    /// A reference to this actor: Erlang's `self()`.
    pub fn me(&self) -> &ActorRef<A::Message> {
        &self.me
    }

    /// Its number.
    pub fn id(&self) -> ActorId {
        self.me.id()
    }

    /// From now on exits of linked actors do not end this one: they come to
    /// [`handle_exit`](Actor::handle_exit), in order with the messages. Erlang's `process_flag(trap_exit, true)`.
    pub fn trap_exits(&self) {
        self.me.life().set(flag::TRAPS_EXITS);
    }

    /// Links this actor with another: [`ActorRef::link`].
    pub fn link(&self, other: &impl Linkable) {
        self.me.link(other);
    }

    /// Takes a link back: [`ActorRef::unlink`].
    pub fn unlink(&self, other: &impl Linkable) {
        self.me.unlink(other);
    }

    /// Asks to be told when the other actor ends, by [`handle_down`](Actor::handle_down): Erlang's `monitor`. It does not hear of this one's
    /// end. Each monitor is told once; one of an actor that has ended already at once, with [`Exit::NoProc`].
    pub fn monitor(&self, other: &impl Linkable) -> MonitorId {
        signals::monitor(&self.me.any_cell(), &other.any_cell())
    }

    /// Takes a monitor back. A DOWN of it that waits in the mailbox already is taken out: Erlang's `demonitor` with `flush`.
    pub fn demonitor(&mut self, other: &impl Linkable, monitor: MonitorId) {
        signals::demonitor(&other.any_cell(), monitor);
        self.take_down(monitor, &mut 0);
    }

    /// Spawns an actor that is linked to this one from the start: [`ActorBuilder::link`] for one with other settings too.
    #[track_caller]
    pub fn spawn_link<B: Actor + Send>(&self, actor: B) -> ActorRef<B::Message> {
        ActorBuilder::new().link(self.me()).spawn(actor)
    }

    /// As [`spawn_link`](Context::spawn_link), for an actor that stays on this hub.
    #[track_caller]
    pub fn spawn_link_local<B: Actor>(&self, actor: B) -> ActorRef<B::Message> {
        ActorBuilder::new().link(self.me()).spawn_local(actor)
    }

    /// Handles messages by `behaviour` from the next one on, until [`unbecome`](Context::unbecome).
    pub fn become_(&mut self, behaviour: Behaviour<A>) {
        self.belongings().behaviours.push(behaviour);
    }

    /// Goes back to what it did before the last [`become_`](Context::become_). False if there is nothing to go back to.
    pub fn unbecome(&mut self) -> bool {
        self.belongings().behaviours.pop().is_some()
    }
}

impl<A: Actor> fmt::Debug for Context<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({})", self.me())
    }
}

/// What a monitor leads to.
pub(crate) fn watcher_of(actor: &AnyActor) -> Watcher {
    Watcher::Actor(actor.shared())
}
