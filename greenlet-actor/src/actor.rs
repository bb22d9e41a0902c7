//! The trait, and making actors.

use std::panic::Location;
use std::sync::Arc;

use greenlet_core::{AsyncResult, StackSize};

use crate::activation::Activation;
use crate::actor_ref::{ActorId, ActorRef, AnyActor, Linkable};
use crate::bounded::{Bounded, Overflow};
use crate::cell::{AnyCell, Cell};
use crate::context::Context;
use crate::describe::Describe;
use crate::exit::{Exit, InitError};
use crate::life::{Force, Hears, Life, Rare, Started, flag};
use crate::monitor::Down;
use crate::priority::Priority;
use crate::registry::{self, Key, Naming, Via};
use crate::run::system::System;
use crate::run::{self, Home, Local};
use crate::signals;

/// State, messages, and what to do with them.
///
/// An actor handles one message at a time. Handlers may block on anything cooperative (sleep, ask another actor, read a
/// socket): only this actor waits. An actor that always finds a message lets the others of its hub run after 64 of them. A
/// panic in a handler ends the actor and nobody else, except those linked to it.
///
/// ```
/// use greenlet_actor::{Actor, Context, Exit, Reply};
/// use std::time::Duration;
///
/// struct Account { cents: i64 }
/// enum Message { Deposit(i64), Balance(Reply<i64>) }
///
/// impl Actor for Account {
///     type Message = Message;
///
///     fn receive(&mut self, message: Message, _ctx: &mut Context<Self>) -> Result<(), Exit> {
///         match message {
///             Message::Deposit(cents) => self.cents += cents,
///             Message::Balance(reply) => reply.send(self.cents),
///         }
///         Ok(())
///     }
/// }
///
/// # greenlet_core::run(|| -> Result<(), Box<dyn std::error::Error>> {
/// let account = Account { cents: 0 }.spawn();
/// account.send(Message::Deposit(500))?;
/// let cents = account.ask(Message::Balance, Duration::from_secs(1))?;
/// assert_eq!(cents, 500);
/// # Ok(())
/// # }).unwrap();
/// ```
pub trait Actor: Sized + 'static {
    /// What it receives. Messages cross threads, hence `Send`. The actor itself need not be: see [`spawn_local`](Actor::spawn_local).
    type Message: Send + 'static;

    /// Which messages come first, for an actor that wants them in another order than they came in: more urgent ones are handled first, and in the order of
    /// arrival where that is equal. By default (`None`) they are in the order of arrival, and nothing is spent on this.
    ///
    /// Trapped exits, DOWN and the like come after every message that came before them, and before less urgent ones that come after. What
    /// the actor [continues](Context::continue_with) with is before all. [`receive_match`](Context::receive_match) looks at what is there in order of
    /// urgency, and at what comes in the order in which it does. [`Overflow::DropOldest`] knows no priorities: spawning such an actor
    /// with that panics.
    ///
    /// ```
    /// use greenlet_actor::{Actor, Context, Exit, Priority};
    ///
    /// enum Message { Work(u32), Cancel }
    /// struct Worker;
    ///
    /// impl Actor for Worker {
    ///     type Message = Message;
    ///     const PRIORITY: Option<fn(&Message) -> Priority> = Some(|message| match message {
    ///         Message::Cancel => Priority::HIGH,
    ///         Message::Work(_) => Priority::NORMAL,
    ///     });
    ///     fn receive(&mut self, message: Message, _: &mut Context<Self>) -> Result<(), Exit> {
    ///         match message {
    ///             Message::Work(n) => { println!("{n}"); Ok(()) }
    ///             Message::Cancel => Err(Exit::Normal), // ahead of all work
    ///         }
    ///     }
    /// }
    /// ```
    const PRIORITY: Option<fn(&Self::Message) -> Priority> = None;

    /// How messages are described, for an actor whose reports are to show the message that made a handler fail: [`fmt::Debug::fmt`](std::fmt::Debug::fmt), or a function
    /// that leaves out what is secret or long. By default (`None`) reports have the [label](Actor::label) alone, and nothing is spent on this.
    ///
    /// A handler takes its message, so each one is described before it is handled, which costs what writing the text costs. The text is shown if the handler
    /// panics, or returns an error.
    ///
    /// ```
    /// use greenlet_actor::{Actor, Context, Describe, Exit};
    /// use std::fmt;
    ///
    /// #[derive(Debug)]
    /// enum Message { Divide { by: u32 } }
    /// struct Divider(u32);
    ///
    /// impl Actor for Divider {
    ///     type Message = Message;
    ///     const DESCRIBE: Option<Describe<Message>> = Some(fmt::Debug::fmt);
    ///     fn receive(&mut self, Message::Divide { by }: Message, _: &mut Context<Self>) -> Result<(), Exit> {
    ///         self.0 /= by; // of 0: "actor <1> (Divider), spawned at src/main.rs:20:9, in Message with Divide { by: 0 }, panicked ..."
    ///         Ok(())
    ///     }
    /// }
    /// ```
    const DESCRIBE: Option<Describe<Self::Message>> = None;

    /// Called once, before the first message: OTP's `init`. An error ends the actor without
    /// [`terminate`](Actor::terminate), and is what [`start`](Actor::start) returns. [`Exit::Ignore`] is OTP's `ignore`: there is nothing to do
    /// for it, which is no failure.
    ///
    /// # Errors
    /// The reason for which the actor does not start.
    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let _ = ctx;
        Ok(())
    }

    /// Handles one message.
    ///
    /// # Errors
    /// The reason with which the actor ends: [`Exit::Normal`] when it is done, or any error by `?`.
    fn receive(&mut self, message: Self::Message, ctx: &mut Context<Self>) -> Result<(), Exit>;

    /// Handles the exit of a linked actor, if this one [traps exits](Context::trap_exits); comes in order with the
    /// messages. By default the actor ends with the same reason, unless that is `normal`. The exit of the supervisor that
    /// started it does not come here: it ends the actor, after the message that it is handling.
    ///
    /// # Errors
    /// As [`receive`](Actor::receive).
    fn handle_exit(&mut self, from: ActorId, exit: Exit, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let _ = (from, ctx);
        if exit.is_normal() { Ok(()) } else { Err(exit) }
    }

    /// Handles the end of a [monitored](Context::monitor) actor; comes in order with the messages. By default nothing happens.
    ///
    /// # Errors
    /// As [`receive`](Actor::receive).
    fn handle_down(&mut self, down: Down, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let _ = (down, ctx);
        Ok(())
    }

    /// Called when no message has come for as long as [`set_idle_timeout`](Context::set_idle_timeout) says: OTP's `timeout`. By default
    /// nothing happens.
    ///
    /// # Errors
    /// As [`receive`](Actor::receive).
    fn handle_timeout(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let _ = ctx;
        Ok(())
    }

    /// Called by [`Context::hibernate`], to give back what the state does not need while the actor has nothing to do: caches,
    /// capacity of collections. By default nothing happens.
    fn hibernate(&mut self, ctx: &mut Context<Self>) {
        let _ = ctx;
    }

    /// What the message is called in reports, traces and [`info`](crate::sys::info): asked before each message, so it should cost
    /// nothing. By default the name of the message's type.
    fn label(message: &Self::Message) -> &'static str {
        let _ = message;
        std::any::type_name::<Self::Message>()
    }

    /// Its state as text, for [`sys::dump`](crate::sys::dump). By default the name of its type.
    fn dump(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// Called once at the end, whatever the reason, except after a kill (of the actor, and by the end of
    /// [`run`](greenlet_core::run)) and a failed [`init`](Actor::init). It may block
    /// cooperatively, and a kill ends that. Then the actor is dropped, and its destructors may block too: those a kill does not cut short.
    fn terminate(&mut self, exit: &Exit, ctx: &mut Context<Self>) {
        let _ = (exit, ctx);
    }

    /// Spawns the actor in this thread's [`System`](crate::System), or on its hub if it is in none. Returns at once; [`init`](Actor::init) runs
    /// in the actor's first turn.
    #[track_caller]
    fn spawn(self) -> ActorRef<Self::Message>
    where
        Self: Send,
    {
        ActorBuilder::new().spawn(self)
    }

    /// As [`spawn`](Actor::spawn), for an actor that stays on this thread's hub, so that it need not be `Send`.
    #[track_caller]
    fn spawn_local(self) -> ActorRef<Self::Message> {
        ActorBuilder::new().spawn_local(self)
    }

    /// Spawns the actor and waits until [`init`](Actor::init) is done, as OTP's `start`. If the caller is killed or times out
    /// meanwhile, the actor goes on by itself.
    ///
    /// # Errors
    /// [`InitError`] with the reason for which it did not start.
    #[track_caller]
    fn start(self) -> Result<ActorRef<Self::Message>, InitError>
    where
        Self: Send,
    {
        ActorBuilder::new().start(self)
    }

    /// As [`start`](Actor::start), for an actor that stays on this thread's hub.
    ///
    /// # Errors
    /// [`InitError`] with the reason for which it did not start.
    #[track_caller]
    fn start_local(self) -> Result<ActorRef<Self::Message>, InitError> {
        ActorBuilder::new().start_local(self)
    }
}

/// Spawns actors with a name, a bounded mailbox or a stack size.
///
/// ```
/// # use greenlet_actor::{Actor, Context, Exit};
/// # struct Printer;
/// # impl Actor for Printer {
/// #     type Message = String;
/// #     fn receive(&mut self, _: String, _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
/// # }
/// use greenlet_actor::ActorBuilder;
///
/// # greenlet_core::run(|| {
/// let printer = ActorBuilder::new().name("printer").capacity(100).spawn(Printer);
/// assert!(printer.to_string().starts_with("printer "));
/// # });
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder spawns nothing by itself"]
pub struct ActorBuilder {
    name: Option<String>,
    stack: Option<StackSize>,
    site: Option<&'static Location<'static>>,
    capacity: Option<usize>,
    overflow: Overflow,
    links: Vec<AnyActor>,
    parent: Option<AnyActor>,
    owner: Option<(AnyActor, Hears)>,
    home: Option<Home>,
    names: Vec<Naming>,
}

impl ActorBuilder {
    /// Default settings: no name, an unbounded mailbox, the hub's stack size.
    pub fn new() -> ActorBuilder {
        ActorBuilder::default()
    }

    /// The name, shown in reports. It need not be unique: [`register`](ActorBuilder::register) gives a name by which the actor is found.
    pub fn name(mut self, name: impl Into<String>) -> ActorBuilder {
        self.name = Some(name.into());
        self
    }

    /// Bounds the mailbox. What happens with more messages says [`overflow`](ActorBuilder::overflow).
    ///
    /// # Panics
    /// When spawning, if `messages` is 0.
    pub fn capacity(mut self, messages: usize) -> ActorBuilder {
        self.capacity = Some(messages);
        self
    }

    /// What a full mailbox does. Default: [`send`](ActorRef::send) waits.
    pub fn overflow(mut self, overflow: Overflow) -> ActorBuilder {
        self.overflow = overflow;
        self
    }

    /// Gives the actor this name in the [default registry](crate::registry), before it runs. It is its
    /// [`name`](ActorBuilder::name) too, unless that was set.
    ///
    /// If the name is taken, the actor does not start: [`start`](ActorBuilder::start) fails with
    /// [`RegisterError::Taken`](registry::RegisterError::Taken) in the reason, as OTP's with `already_started`, and one that is only
    /// [spawned](ActorBuilder::spawn) ends with it. Its `init` is not called.
    pub fn register(mut self, name: impl Into<String>) -> ActorBuilder {
        let name = name.into();
        self.name.get_or_insert_with(|| name.clone());
        self.register_via(registry::global().clone(), name)
    }

    /// As [`register`](ActorBuilder::register), in another registry. Can be said several times.
    pub fn register_via<K: Key>(mut self, registry: impl Via<K> + 'static, name: K) -> ActorBuilder {
        self.names.push(Naming::new(registry, name));
        self
    }

    /// How many messages wait in a mailbox, if that is bounded.
    pub(crate) fn room(&self) -> Option<usize> {
        self.capacity
    }

    /// The place shown as where it was spawned, instead of the call that spawns it.
    pub(crate) fn spawn_site(mut self, site: &'static Location<'static>) -> ActorBuilder {
        self.site = Some(site);
        self
    }

    /// The stack on which handlers run. An actor with a size of its own has a new greenlet for each time that it finds messages, which costs more than
    /// the shared ones.
    pub fn stack_size(mut self, size: StackSize) -> ActorBuilder {
        self.stack = Some(size);
        self
    }

    /// Links the new actor with this one, before it runs: there is no moment in which it is not linked.
    pub fn link(mut self, other: &impl Linkable) -> ActorBuilder {
        self.links.push(other.any_cell());
        self
    }

    /// The supervisor that starts it: it is linked with that one, and obeys it.
    pub(crate) fn parent(mut self, parent: &AnyActor) -> ActorBuilder {
        self.parent = Some(parent.clone());
        self
    }

    /// Where it is spawned, instead of here.
    pub(crate) fn home(mut self, home: Home) -> ActorBuilder {
        self.home = Some(home);
        self
    }

    /// The actor whose task it is.
    pub(crate) fn owner(mut self, owner: &impl Linkable, hears: Hears) -> ActorBuilder {
        self.owner = Some((owner.any_cell(), hears));
        self
    }

    /// Spawns it in this system, on the hub with the least to do, instead of the caller's. A system that has ended kills it at once.
    pub fn system(mut self, system: &System) -> ActorBuilder {
        self.home = system.home();
        self
    }

    /// As [`Actor::spawn`].
    #[track_caller]
    pub fn spawn<A: Actor + Send>(self, actor: A) -> ActorRef<A::Message> {
        self.make(actor, 0).begin()
    }

    /// As [`Actor::spawn_local`].
    #[track_caller]
    pub fn spawn_local<A: Actor>(mut self, actor: A) -> ActorRef<A::Message> {
        self.home = None;
        self.make(actor, flag::PINNED).begin()
    }

    /// As [`Actor::start`].
    ///
    /// # Errors
    /// [`InitError`] with the reason for which it did not start.
    #[track_caller]
    pub fn start<A: Actor + Send>(self, actor: A) -> Result<ActorRef<A::Message>, InitError> {
        self.make(actor, 0).start()
    }

    /// As [`Actor::start_local`].
    ///
    /// # Errors
    /// [`InitError`] with the reason for which it did not start.
    #[track_caller]
    pub fn start_local<A: Actor>(mut self, actor: A) -> Result<ActorRef<A::Message>, InitError> {
        self.home = None;
        self.make(actor, flag::PINNED).start()
    }

    /// Makes the actor, linked but not begun. Without `PINNED` among the flags, or with another home than this hub, `A` is `Send`.
    #[track_caller]
    pub(crate) fn make<A: Actor>(self, actor: A, flags: u32) -> New<A::Message> {
        let site = self.site.unwrap_or(Location::caller());
        assert!(
            A::PRIORITY.is_none() || self.capacity.is_none() || self.overflow != Overflow::DropOldest,
            "a mailbox that drops its oldest message knows no priorities"
        );
        let home = self.home.unwrap_or_else(|| Local::here().home());
        let rare = (self.name.is_some() || self.stack.is_some()).then(|| Rare::new(self.name, self.stack));
        let life = Life::new(home, site, flags, rare);
        let bounded = self.capacity.map(|capacity| Box::new(Bounded::new(capacity, self.overflow)));
        let cell = Cell::new(actor, life, bounded);
        let any: Arc<dyn AnyCell> = cell.clone();
        let kept = cell.life().home.part().keep(&any);
        if !kept {
            // The hub ends, or has ended. Whoever runs it finds this.
            cell.life().request_stop(Force::Kill, Exit::Killed);
        }
        let actor = ActorRef::new(cell);
        if let Some(parent) = self.parent {
            let me = AnyActor::new(any.clone());
            signals::link(&me, &parent);
            any.life().set_parent(parent);
        }
        if let Some((owner, hears)) = &self.owner {
            signals::own(owner, &AnyActor::new(any.clone()), *hears);
        }
        for other in &self.links {
            signals::link(&AnyActor::new(any.clone()), other);
        }
        // Names run code of the user's.
        let not_begun = NotBegun(&any);
        for naming in self.names.iter().filter(|_| kept) {
            if let Err(exit) = naming.give(&AnyActor::new(any.clone())) {
                any.life().request_stop(Force::Signal, exit);
                break;
            }
        }
        std::mem::forget(not_begun);
        New { actor, any }
    }
}

/// An actor that was made and has not begun.
pub(crate) struct New<M> {
    pub(crate) actor: ActorRef<M>,
    any: Arc<dyn AnyCell>,
}

/// An actor that does not begin, since who makes it panics or is killed meanwhile: it ends, for nobody else would come to it.
struct NotBegun<'a>(&'a Arc<dyn AnyCell>);

impl Drop for NotBegun<'_> {
    fn drop(&mut self) {
        self.0.life().request_stop(Force::Kill, Exit::Killed);
        run::schedule(Activation::of(self.0));
    }
}

impl<M: Send + 'static> New<M> {
    /// Lets it run.
    pub(crate) fn begin(self) -> ActorRef<M> {
        run::schedule(Activation::of(&self.any));
        self.actor
    }

    /// Lets it run, and waits until `init` is done.
    pub(crate) fn start(self) -> Result<ActorRef<M>, InitError> {
        start(&self.actor.any_cell()).map_err(|exit| InitError { exit })?;
        Ok(self.actor)
    }

    /// It, without the type of its messages, still to be started.
    pub(crate) fn into_any(self) -> AnyActor {
        AnyActor::new(self.any)
    }
}

/// Lets an actor run that was made, and waits until its `init` is done. `Err`: it has ended, with this reason.
pub(crate) fn start(actor: &AnyActor) -> Result<(), Exit> {
    let started: Arc<Started> = Arc::new(AsyncResult::new());
    let _ = actor.life().rare().started.set(started.clone());
    run::schedule(Activation::of(actor.cell()));
    match started.get() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(exit)) => {
            actor.join();
            Err(exit)
        }
        Err(_) => Err(actor.join()),
    }
}
