//! An actor in memory: its life, its mailbox and its state, in one allocation.
//!
//! # Invariants
//! - `state` is touched by the mailbox's owner alone (see `mailbox`): there is one at a time, and it hands the actor on with release
//!   and acquire. An actor whose state is not `Send` is pinned: its owner is always on the thread where it was made, since a pinned actor
//!   is only ever queued there (`run`).
//! - The state is dropped by the owner when the actor ends. If that never happens (its thread ended without a chance to end it), it is
//!   dropped with the cell if it is `Send`, and leaked if not.

use std::any::{Any, type_name};
use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use greenlet_core::{GreenletError, attempt, embed};

use crate::activation::Activation;
use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::bounded::Bounded;
use crate::context::{Context, Personal};
use crate::dead_letters::{self, Undelivered};
use crate::exit::Exit;
use crate::life::{Force, Life, flag};
use crate::mailbox::{Mailbox, Pushed};
use crate::run::{self, Runner};
use crate::signals;
use crate::special::{self, Place, Signal, Special};
use crate::sys::{Fault, Observed};

/// An item of a mailbox.
pub(crate) enum Mail<M> {
    Message(M),
    Special(Box<Special<M>>),
}

/// A cell whatever its messages are.
pub(crate) trait AnyCell: Send + Sync {
    fn life(&self) -> &Life;
    /// Puts something into the mailbox, however full that is, and has the actor run. Nobody hears if it has ended.
    fn post(self: Arc<Self>, signal: Signal);
    /// Has an idle actor look at its flags.
    fn wake(self: Arc<Self>);
    /// Runs the actor for a while: see [`Activation::run`].
    fn activate(&self, me: Activation, runner: &Runner) -> After;
    /// How many messages and signals are in its mailbox.
    fn mailbox_len(&self) -> usize;
    /// How many messages and signals it has taken out of its mailbox.
    fn handled(&self) -> u64;
    /// Puts a typed reference into `slot`, if that is an `Option<ActorRef<M>>` for the messages that the actor takes.
    fn give_typed(self: Arc<Self>, slot: &mut dyn Any);
    /// The types of the actor and of its messages.
    fn types(&self) -> (&'static str, &'static str);
    /// What it takes in memory, without what it points to.
    fn size(&self) -> usize;
    /// How many messages were dropped since the mailbox was full.
    fn dropped(&self) -> u64;
    /// Whether nobody has it.
    fn is_idle(&self) -> bool;
    /// Whether its handler waits for a message.
    fn is_receiving(&self) -> bool;
    /// Kills the actor in place, where no runner is left that could do it: on a hub that has ended. The caller is the mailbox's owner.
    fn abandon(self: Arc<Self>);
}

/// What becomes of an actor that ran.
pub(crate) enum After {
    /// Somebody else may have it already, and it may even have ended.
    Done,
    /// It wants to go on, after the others.
    Again(Activation),
    /// It has ended.
    #[expect(dead_code, reason = "it is kept until whoever ran it has returned")]
    Ended(Arc<dyn AnyCell>),
}

/// A cell that takes messages of type `M`.
pub(crate) trait MailCell<M>: AnyCell {
    fn mailbox(&self) -> &Mailbox<Mail<M>>;
    fn bounded(&self) -> Option<&Bounded<M>>;
}

pub(crate) struct Cell<A: Actor> {
    life: Life,
    mailbox: Mailbox<Mail<A::Message>>,
    bounded: Option<Box<Bounded<A::Message>>>,
    state: UnsafeCell<State<A>>,
}

struct State<A: Actor> {
    actor: Option<A>,
    personal: Personal<A>,
}

/// What the cell has beside the state must be so by itself, since the compiler does not look after the two lines below.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Life>();
    const fn of_messages<M: Send>() {
        shared::<Mailbox<Mail<M>>>();
        shared::<Option<Box<Bounded<M>>>>();
    }
    of_messages::<()>();
};

// SAFETY: the state is only touched by the owner, on the home thread if it is not `Send` (module docs). The rest is `Send` and `Sync` by itself, as is
// checked above.
unsafe impl<A: Actor> Send for Cell<A> {}
// SAFETY: as above.
unsafe impl<A: Actor> Sync for Cell<A> {}

impl<A: Actor> Drop for Cell<A> {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if state.actor.is_some() && self.life.has(flag::PINNED) && !self.life.home.is_here() {
            // Not ours to drop here, and nobody else will.
            std::mem::forget(state.actor.take());
            std::mem::forget(std::mem::take(&mut state.personal));
        }
    }
}

impl<A: Actor> Cell<A> {
    /// A new actor, which belongs to the caller until it is handed to be run.
    pub(crate) fn new(actor: A, life: Life, bounded: Option<Box<Bounded<A::Message>>>) -> Arc<Cell<A>> {
        let state = State { actor: Some(actor), personal: Personal::default() };
        Arc::new(Cell { life, mailbox: Mailbox::new(), bounded, state: UnsafeCell::new(state) })
    }
}

/// After a push into the mailbox of `cell`.
#[inline]
pub(crate) fn pushed<C: AnyCell + ?Sized>(
    cell: &Arc<C>,
    pushed: Pushed,
    any: impl FnOnce(*const C) -> *const dyn AnyCell,
) {
    match pushed {
        Pushed::Queued => {}
        Pushed::WasIdle => run::schedule(Activation::at(any(Arc::as_ptr(cell)))),
        Pushed::WasWaiting => cell.life().rare().arrived.set(),
    }
}

impl<A: Actor> AnyCell for Cell<A> {
    fn life(&self) -> &Life {
        &self.life
    }

    fn post(self: Arc<Self>, signal: Signal) {
        // A mailbox that was closed belongs to an actor that ends: nobody wants to know any more.
        if let Ok(how) = self.mailbox.push(Mail::Special(Box::new(Special::Signal(signal)))) {
            pushed(&self, how, |cell| cell);
        }
    }

    fn wake(self: Arc<Self>) {
        if self.mailbox.wake() {
            run::schedule(Activation::of(&(self as Arc<dyn AnyCell>)));
        } else if let Some(held) = self.life.take_held() {
            run::schedule(held);
        }
    }

    fn mailbox_len(&self) -> usize {
        self.mailbox.len()
    }

    fn handled(&self) -> u64 {
        self.mailbox.taken()
    }

    fn give_typed(self: Arc<Self>, slot: &mut dyn Any) {
        if let Some(slot) = slot.downcast_mut::<Option<ActorRef<A::Message>>>() {
            *slot = Some(ActorRef::new(self));
        }
    }

    fn types(&self) -> (&'static str, &'static str) {
        (type_name::<A>(), type_name::<A::Message>())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.mailbox.len() * Mailbox::<Mail<A::Message>>::NODE
    }

    fn dropped(&self) -> u64 {
        self.bounded.as_ref().map_or(0, |bounded| bounded.dropped())
    }

    fn is_idle(&self) -> bool {
        self.mailbox.is_idle()
    }

    fn is_receiving(&self) -> bool {
        self.mailbox.is_waiting()
    }

    fn abandon(self: Arc<Self>) {
        let life = &self.life;
        life.request_stop(Force::Kill, Exit::Killed);
        let cell: *const Cell<A> = Arc::as_ptr(&self);
        // SAFETY: `self` keeps the cell, and the caller is the owner, so nobody else touches the state.
        let state = unsafe { &mut *(*cell).state.get() };
        let left = (state.actor.take(), std::mem::take(&mut state.personal));
        if left.0.is_none() {
            return; // it has ended
        }
        if life.has(flag::PINNED) && !life.home.is_here() {
            std::mem::forget(left);
        } else {
            drop_unhandled(left);
        }
        last_rites(&self, &Exit::Killed, 0);
    }

    #[inline]
    fn activate(&self, me: Activation, runner: &Runner) -> After {
        let cell: *const dyn MailCell<A::Message> = me.pointer().as_ptr().cast::<Cell<A>>().cast_const();
        // SAFETY: that is the pointer of the `Arc` that this cell is in. It is not counted, and so never dropped; the cell is there until the actor
        // has been given up, or until `ended` below is dropped.
        let myself = ManuallyDrop::new(ActorRef::new(unsafe { Arc::from_raw(cell) }));
        let state = self.state.get();
        // SAFETY: the caller is the owner and has handed that over, so nobody else touches the state until it is given up below, and nothing
        // is done with the context after that. The runner is the caller's.
        let mut ctx =
            unsafe { Context::new(myself, runner, NonNull::new_unchecked(&raw mut (*state).personal)) };
        loop {
            // SAFETY: the actor is kept while it has not ended, and it is put down before it has, and before it is given up.
            unsafe { runner.take_up(me.pointer()) };
            // SAFETY: as above; the reference ends with the call.
            let actor = unsafe { &mut (*state).actor };
            match turns(self, actor, &mut ctx, runner) {
                Pause::Share => return After::Again(me),
                Pause::Held => {
                    // Whoever resumes it may end it, before the lock in it that was held for this is let go.
                    let _kept = me.counted();
                    if self.life.hold(&me) {
                        return After::Done;
                    }
                }
                Pause::Empty => {
                    if self.life.has(flag::IDLE_TIMEOUT) {
                        ctx.becomes_idle();
                    }
                    // SAFETY: the caller is the owner; if something has come since, or somebody wants it to look at its flags, `rest` refuses.
                    // After it somebody else may have the actor, and have ended it.
                    if unsafe { self.mailbox.rest() } {
                        return After::Done;
                    }
                }
                Pause::Ending(exit) => {
                    let ended = me.counted();
                    end(self, actor, &mut ctx, runner, exit);
                    return After::Ended(ended);
                }
            }
        }
    }
}

impl<A: Actor> MailCell<A::Message> for Cell<A> {
    #[inline]
    fn mailbox(&self) -> &Mailbox<Mail<A::Message>> {
        &self.mailbox
    }

    fn bounded(&self) -> Option<&Bounded<A::Message>> {
        self.bounded.as_deref()
    }
}

/// Why nothing is handled at the moment.
enum Pause {
    /// The mailbox was empty.
    Empty,
    /// The runner has had its share.
    Share,
    /// It is held.
    Held,
    /// It is to [`end`].
    Ending(Exit),
}

/// Handles what is there, until one of these. The runner has taken the actor up, and unless it ends has put it down afterwards.
#[inline]
fn turns<A: Actor>(cell: &Cell<A>, actor: &mut Option<A>, ctx: &mut Context<A>, runner: &Runner) -> Pause {
    let life = &cell.life;
    let alive = actor.as_mut().expect("an actor that has ended is not run");
    let result = attempt(|| handle_all(cell, alive, ctx, runner));
    match settle(life, result, runner) {
        Ok(pause) => {
            runner.put_down(life);
            embed::forget_locals();
            pause
        }
        Err(exit) => Pause::Ending(exit),
    }
}

/// As [`turns`], where what unwinds is not caught. `Err`: it ends.
fn handle_all<A: Actor>(
    cell: &Cell<A>,
    actor: &mut A,
    ctx: &mut Context<A>,
    runner: &Runner,
) -> Result<Pause, Exit> {
    let life = &cell.life;
    if !life.has(flag::STARTED) {
        runner.handles("init");
        if let Some(stop) = life.stop()
            && stop.force > Force::Graceful
        {
            // Killed, or ended by a signal, before its first turn.
            return Err(stop.exit);
        }
        actor.init(ctx)?;
        life.set(flag::STARTED);
        if let Some(started) = life.try_rare().and_then(|rare| rare.started.get()) {
            started.set(Ok(()));
        }
    }
    loop {
        let flags = life.flags_between_messages();
        if flags & flag::ATTENTION != 0 {
            if flags & flag::STOPPING != 0 {
                return Ok(Pause::Empty); // `settle` sees why
            }
            if flags & flag::ASKED != 0 {
                show(life, actor, runner);
            }
            if flags & flag::HELD != 0 {
                return Ok(Pause::Held);
            }
        }
        if !runner.has_budget() {
            return Ok(Pause::Share);
        }
        let mail = match A::PRIORITY {
            // SAFETY: the caller is the owner.
            None => unsafe { cell.mailbox.next() },
            Some(rank) => ctx.next_by_priority(rank),
        };
        let Some(mail) = mail else { return Ok(Pause::Empty) };
        runner.spend();
        handle(actor, mail, cell.bounded.as_deref(), ctx, runner)?;
    }
}

/// Has the actor handle what came out of its mailbox.
#[inline]
pub(crate) fn handle<A: Actor>(
    actor: &mut A,
    mail: Mail<A::Message>,
    bounded: Option<&Bounded<A::Message>>,
    ctx: &mut Context<A>,
    runner: &Runner,
) -> Result<(), Exit> {
    match mail {
        Mail::Message(message) => {
            drop(Place::of(bounded));
            deliver(actor, message, ctx, runner)
        }
        Mail::Special(special) => special::handle(actor, *special, ctx, runner),
    }
}

/// Has the actor handle a message.
#[inline]
pub(crate) fn deliver<A: Actor>(
    actor: &mut A,
    message: A::Message,
    ctx: &mut Context<A>,
    runner: &Runner,
) -> Result<(), Exit> {
    let label = A::label(&message);
    runner.handles(label);
    if ctx.me().life().flags() & (flag::TRACED | flag::FAULTY) != 0
        || tracing::enabled!(target: "greenlet::actor", tracing::Level::TRACE)
    {
        return deliver_observed(actor, message, ctx, label);
    }
    receive(actor, message, ctx)
}

#[inline]
fn receive<A: Actor>(actor: &mut A, message: A::Message, ctx: &mut Context<A>) -> Result<(), Exit> {
    match A::DESCRIBE {
        None => behave(actor, message, ctx),
        Some(describe) => ctx.described(describe, message, |message, ctx| behave(actor, message, ctx)),
    }
}

#[inline]
fn behave<A: Actor>(actor: &mut A, message: A::Message, ctx: &mut Context<A>) -> Result<(), Exit> {
    match ctx.behaviour() {
        None => actor.receive(message, ctx),
        Some(behaviour) => behaviour(actor, message, ctx),
    }
}

#[cold]
fn deliver_observed<A: Actor>(
    actor: &mut A,
    message: A::Message,
    ctx: &mut Context<A>,
    label: &'static str,
) -> Result<(), Exit> {
    let me = ctx.me().clone();
    let life = me.life();
    Observed::around(life, label, || {
        if life.has(flag::FAULTY) {
            life.unset(flag::FAULTY);
            match life.rare().observed().take_fault() {
                Some(Fault::Panic(what)) => panic!("{what}"),
                Some(Fault::Exit(exit)) => return Err(exit),
                None => {}
            }
        }
        receive(actor, message, ctx)
    })
}

/// Shows the state to those who asked for it. What fails in that is their loss alone.
#[cold]
fn show<A: Actor>(life: &Life, actor: &A, runner: &Runner) {
    life.unset(flag::ASKED);
    runner.handles("dump");
    for tell in life.rare().observed().take_wishes() {
        match attempt(|| actor.dump()) {
            Ok(dump) => drop(tell.send(dump)),
            Err(error) => {
                tracing::error!(target: "greenlet", actor = %life.id(), "dumping its state failed: {error}")
            }
        }
    }
}

/// What a turn of the actor comes to. A signal or a kill wins over whatever the handler returned, since it interrupted it; being
/// asked to stop does not: a failure stays a failure.
#[inline]
fn settle(
    life: &Life,
    result: Result<Result<Pause, Exit>, GreenletError>,
    runner: &Runner,
) -> Result<Pause, Exit> {
    match result {
        Ok(Ok(pause)) if !life.has(flag::STOPPING) => Ok(pause),
        result => settle_end(life, result, runner),
    }
}

#[cold]
fn settle_end(
    life: &Life,
    result: Result<Result<Pause, Exit>, GreenletError>,
    runner: &Runner,
) -> Result<Pause, Exit> {
    let own = match result {
        Ok(result) => result,
        Err(GreenletError::Failed(failure)) => Err(Exit::Failed(failure)),
        // Raised by somebody who ends the greenlet, or by the handler: either way it is a kill.
        Err(_) => {
            if life.stop().is_none_or(|stop| stop.force == Force::Graceful) {
                life.request_stop(Force::Kill, Exit::Killed);
                // And it is the greenlet that is to end.
                runner.retire();
            }
            Err(Exit::Killed)
        }
    };
    match life.stop() {
        Some(stop) if stop.force > Force::Graceful || own.is_ok() => Err(stop.exit),
        _ => own,
    }
}

/// The end of an actor, whatever the reason.
fn end<A: Actor>(cell: &Cell<A>, slot: &mut Option<A>, ctx: &mut Context<A>, runner: &Runner, exit: Exit) {
    let life = &cell.life;
    // From here on only a kill is news.
    life.begin_end(&exit);
    runner.revoke_interrupts();
    let culprit = runner.take_culprit();
    if let Exit::Failed(failure) = &exit {
        runner.report(life, type_name::<A>(), culprit.as_deref(), failure);
    }
    ctx.begin_end();
    if A::PRIORITY.is_some() {
        // What waits ends with the mailbox.
        ctx.unsort();
    }
    let started = life.has(flag::STARTED);
    let mut ended = Ok(());
    if let Some(actor) = slot {
        runner.handles("terminate");
        ended = attempt(|| {
            if started && !life.killed() {
                actor.terminate(&exit, ctx);
            }
        });
    }
    // As a greenlet that is past its code it is left to its end: a kill that comes while a destructor waits does not cut that short.
    embed::undisturbed(|| release(cell, slot, ctx, runner, exit, ended));
}

/// Drops what an actor had, and tells of its end. `ended` is what came of `terminate`.
fn release<A: Actor>(
    cell: &Cell<A>,
    slot: &mut Option<A>,
    ctx: &mut Context<A>,
    runner: &Runner,
    exit: Exit,
    ended: Result<(), GreenletError>,
) {
    let life = &cell.life;
    // The state goes before the news of the end, so that whoever restarts the actor finds released what it owned.
    let actor = slot.take();
    let mut personal = ctx.take_personal();
    let stash = personal.take_stash();
    let ended = ended.and(attempt(move || drop((actor, personal))));
    let stashed = bury::<A>(life, stash.into_iter().map(Mail::Message), &exit);
    let exit = match ended {
        _ if life.killed() => Exit::Killed,
        Err(GreenletError::Failed(failure)) => {
            let exit = Exit::Failed(failure);
            if let Exit::Failed(failure) = &exit {
                runner.report(life, type_name::<A>(), None, failure);
            }
            exit
        }
        _ => exit,
    };
    runner.revoke_interrupts();
    runner.put_down(life);
    embed::forget_locals();
    last_rites(cell, &exit, stashed);
}

/// Drops what an actor has not handled. Returns how many messages that were: signals are none, nor are timers.
fn bury<A: Actor>(life: &Life, mails: impl Iterator<Item = Mail<A::Message>>, exit: &Exit) -> usize {
    let mut buried = 0;
    for mail in mails {
        buried += usize::from(special::message(&mail).is_some());
        // A destructor that fails is not the actor's failure.
        let dropped = attempt(|| {
            if let Some(message) = special::message(&mail)
                && dead_letters::has_readers()
            {
                let why = Undelivered::Unhandled(exit.clone());
                dead_letters::tell(life, type_name::<A::Message>(), A::label(message), why);
            }
            drop(mail);
        });
        if let Err(error) = dropped {
            tracing::error!(target: "greenlet", "dropping a message that was not handled: {error}");
        }
    }
    if buried != 0 {
        dead_letters::count_unhandled(buried);
    }
    buried
}

/// Ends what others see of an actor, which had so many messages in its stash.
fn last_rites<A: Actor>(cell: &Cell<A>, exit: &Exit, stashed: usize) {
    let life = &cell.life;
    // The reason is recorded first, so that whoever hears of the end finds it.
    let concerned = life.finish(exit);
    // From now on sends fail: before anybody hears of the end, who may then rely on that.
    // SAFETY: the caller is the owner, and the actor has ended: there is no other any more.
    let left = unsafe { cell.mailbox.close() };
    // A signal that stands for a message in the ring is counted with that.
    let ring = cell.bounded.as_ref().map(|bounded| bounded.close()).unwrap_or_default();
    signals::ended(life, concerned, exit);
    if let Some(started) = life.try_rare().and_then(|rare| rare.started.get())
        && !started.ready()
    {
        started.set(Err(exit.clone()));
    }
    if let Some(rare) = life.try_rare()
        && life.has(flag::ASKED)
    {
        rare.observed().drop_wishes();
    }
    // Askers whose questions are still here hear that nobody will answer.
    let dead_letters = bury::<A>(life, left.into_iter().chain(ring.into_iter().map(Mail::Message)), exit);
    life.home.forget(life.entry.load(Ordering::Relaxed), dead_letters + stashed);
}

/// Drops what an actor left behind. A destructor that fails is not the actor's failure.
fn drop_unhandled<T>(left: T) {
    if let Err(error) = attempt(|| drop(left)) {
        tracing::error!(target: "greenlet", "dropping what an actor left behind: {error}");
    }
}
