//! The trait, and the loop that runs it.

use std::cell::Cell;
use std::panic::Location;
use std::sync::Arc;

use greenlet_core::{
    AsyncResult, Builder, GreenletError, GreenletExit, Queue, StackSize, attempt, raise, yield_now,
};

use crate::actor_ref::{ActorId, ActorRef, AnyActor, Linkable};
use crate::cell::{Force, Life, Mail, MailCell};
use crate::context::Context;
use crate::exit::{Exit, InitError};

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
    /// What it receives. Messages cross threads, hence `Send`; the actor itself stays on its hub.
    type Message: Send + 'static;

    /// Called once, before the first message: OTP's `init`. An error ends the actor without
    /// [`terminate`](Actor::terminate), and is what [`start`](Actor::start) returns.
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

    /// Called once at the end, whatever the reason, except after a kill (of the actor or its greenlet, and by the end of
    /// [`run`](greenlet_core::run)) and a failed [`init`](Actor::init). It may block
    /// cooperatively. Then the actor is dropped.
    fn terminate(&mut self, exit: &Exit, ctx: &mut Context<Self>) {
        let _ = (exit, ctx);
    }

    /// Spawns the actor on this thread's hub. Returns at once; [`init`](Actor::init) runs in the actor's first turn.
    #[track_caller]
    fn spawn(self) -> ActorRef<Self::Message> {
        ActorBuilder::new().spawn(self)
    }

    /// Spawns the actor and waits until [`init`](Actor::init) is done, as OTP's `start`. If the caller is killed or times out
    /// meanwhile, the actor goes on by itself.
    ///
    /// # Errors
    /// [`InitError`] with the reason for which it did not start.
    #[track_caller]
    fn start(self) -> Result<ActorRef<Self::Message>, InitError> {
        ActorBuilder::new().start(self)
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
    greenlet: Builder,
    capacity: Option<usize>,
    links: Vec<AnyActor>,
}

impl ActorBuilder {
    /// Default settings: no name, an unbounded mailbox, the hub's stack size.
    pub fn new() -> ActorBuilder {
        ActorBuilder::default()
    }

    /// The name, shown in reports.
    pub fn name(mut self, name: impl Into<String>) -> ActorBuilder {
        self.greenlet = self.greenlet.name(name);
        self
    }

    /// Bounds the mailbox: [`send`](ActorRef::send) waits when so many messages are there, and
    /// [`try_send`](ActorRef::try_send) fails.
    ///
    /// # Panics
    /// When spawning, if `messages` is 0.
    pub fn capacity(mut self, messages: usize) -> ActorBuilder {
        self.capacity = Some(messages);
        self
    }

    /// The place shown as where it was spawned, instead of the call that spawns it.
    pub(crate) fn spawn_site(mut self, site: &'static Location<'static>) -> ActorBuilder {
        self.greenlet = self.greenlet.spawn_site(site);
        self
    }

    /// The stack on which handlers run.
    pub fn stack_size(mut self, size: StackSize) -> ActorBuilder {
        self.greenlet = self.greenlet.stack_size(size);
        self
    }

    /// Links the new actor with this one, before it runs: there is no moment in which it is not linked.
    pub fn link(mut self, other: &impl Linkable) -> ActorBuilder {
        self.links.push(other.any_cell());
        self
    }

    /// As [`Actor::spawn`].
    #[track_caller]
    pub fn spawn<A: Actor>(self, actor: A) -> ActorRef<A::Message> {
        let new = self.make(actor);
        new.actor.greenlet().start();
        new.actor
    }

    /// As [`Actor::start`].
    ///
    /// # Errors
    /// [`InitError`] with the reason for which it did not start.
    #[track_caller]
    pub fn start<A: Actor>(self, actor: A) -> Result<ActorRef<A::Message>, InitError> {
        let new = self.make(actor);
        new.actor.greenlet().start();
        new.wait()
    }

    /// Makes the actor, linked but not started.
    #[track_caller]
    pub(crate) fn make<A: Actor>(self, actor: A) -> New<A::Message> {
        let mailbox = self.capacity.map_or_else(Queue::unbounded, Queue::bounded);
        let cell = Arc::new(MailCell { mailbox, life: Life::default() });
        let started = Arc::new(AsyncResult::new());
        let this = ActorRef::new(cell.clone());
        // Dropped with the closure if the actor is killed before it ran.
        let last_rites =
            LastRites { cell: cell.clone(), started: started.clone(), performed: Cell::new(false) };
        let ctx = Context::new(this.clone());
        let greenlet = self.greenlet.build(move || live(actor, ctx, last_rites));
        cell.life.set_greenlet((*greenlet).clone());
        for other in &self.links {
            this.link(other);
        }
        New { actor: this, started }
    }
}

type Started = AsyncResult<Result<(), Exit>>;

/// An actor that was made; its greenlet is to be started.
pub(crate) struct New<M> {
    pub(crate) actor: ActorRef<M>,
    started: Arc<Started>,
}

impl<M: Send + 'static> New<M> {
    /// Says which supervisor it belongs to.
    pub(crate) fn set_parent(&self, parent: &AnyActor) {
        self.actor.any_cell().cell().life().set_parent(parent.id());
    }

    /// Waits until `init` is done.
    pub(crate) fn wait(self) -> Result<ActorRef<M>, InitError> {
        match self.started.get() {
            Ok(Ok(())) => Ok(self.actor),
            Ok(Err(exit)) => {
                self.actor.greenlet().join();
                Err(InitError { exit })
            }
            Err(_) => Err(InitError { exit: self.actor.join() }),
        }
    }
}

/// Ends what others see of an actor, also when it never ran.
struct LastRites<M: Send + 'static> {
    cell: Arc<MailCell<M>>,
    started: Arc<Started>,
    performed: Cell<bool>,
}

impl<M: Send + 'static> LastRites<M> {
    fn perform(&self, exit: Exit) {
        if self.performed.replace(true) {
            return;
        }
        // The reason is recorded first, so that whoever hears of the end finds it.
        self.cell.life.finish(exit.clone());
        if !self.started.ready() {
            self.started.set(Err(exit));
        }
        // From now on sends fail; and askers whose questions are still here hear that nobody will answer.
        self.cell.mailbox.shutdown();
        while let Ok(mail) = self.cell.mailbox.try_get() {
            discard(mail);
        }
    }
}

impl<M: Send + 'static> Drop for LastRites<M> {
    fn drop(&mut self) {
        self.perform(self.cell.life.stop().map_or(Exit::Killed, |stop| stop.exit));
    }
}

/// The life of an actor, from its greenlet's first turn to its last.
fn live<A: Actor>(mut actor: A, mut ctx: Context<A>, last_rites: LastRites<A::Message>) {
    let cell = last_rites.cell.clone();
    let life = &cell.life;
    let init = match life.stop() {
        // Killed, or ended by a signal, before its first turn.
        Some(stop) if stop.force > Force::Graceful => Ok(Err(stop.exit)),
        _ => attempt(|| actor.init(&mut ctx)),
    };
    let initialized = matches!(init, Ok(Ok(())));
    let mut step_result = settle(life, init);
    if initialized {
        last_rites.started.set(Ok(()));
    }
    let mut handled = 0_u32;
    let exit = loop {
        if let Err(exit) = step_result {
            break exit;
        }
        handled = handled.wrapping_add(1);
        let step = || {
            if handled.is_multiple_of(MESSAGES_PER_TURN) {
                yield_now();
            }
            step(&mut actor, &mut ctx, &cell)
        };
        step_result = settle(life, attempt(step));
    };
    // From here on only a kill is news.
    life.begin_end(&exit);
    let ended = attempt(|| {
        if initialized && !life.killed() {
            actor.terminate(&exit, &mut ctx);
        }
    });
    // The state goes before the news of the end, so that whoever restarts the actor finds released what it owned.
    let ended = ended.and(attempt(move || drop((actor, ctx))));
    let exit = match ended {
        _ if life.killed() => Exit::Killed,
        Err(GreenletError::Failed(failure)) => Exit::Failed(failure),
        _ => exit,
    };
    last_rites.perform(exit.clone());
    drop(last_rites);
    match exit {
        Exit::Killed => raise(GreenletExit),
        exit => {
            if let Some(failure) = exit.into_failure() {
                failure.reraise();
            }
        }
    }
}

/// An actor that always finds a message lets the others of its hub run after so many.
const MESSAGES_PER_TURN: u32 = 64;

/// Waits for the next thing and does it.
fn step<A: Actor>(actor: &mut A, ctx: &mut Context<A>, cell: &MailCell<A::Message>) -> Result<(), Exit> {
    let mail = cell.mailbox.get().map_err(|_| Exit::Normal)?;
    if cell.life.stop().is_some() {
        discard(mail);
        return Ok(()); // `settle` sees the stop
    }
    match mail {
        Mail::Message(message) => actor.receive(message, ctx),
        Mail::Exited(from, exit) => actor.handle_exit(from, exit, ctx),
        Mail::Look => Ok(()),
    }
}

/// Drops what is not handled any more. A destructor that fails is not the actor's failure.
fn discard<M>(mail: Mail<M>) {
    if let Err(error) = attempt(|| drop(mail)) {
        tracing::error!(target: "greenlet", "dropping a message that was not handled: {error}");
    }
}

/// What a step of the actor comes to. A signal or a kill wins over whatever the step returned, since it interrupted it; being
/// asked to stop does not: a failure stays a failure.
fn settle(life: &Life, step: Result<Result<(), Exit>, GreenletError>) -> Result<(), Exit> {
    let own = match step {
        Ok(result) => result,
        Err(GreenletError::Failed(failure)) => Err(Exit::Failed(failure)),
        // Raised by somebody who has the greenlet, or by the handler: either way it is a kill.
        Err(_) => {
            if life.stop().is_none_or(|stop| stop.force == Force::Graceful) {
                life.request_stop(Force::Kill, Exit::Killed);
            }
            Err(Exit::Killed)
        }
    };
    match life.stop() {
        Some(stop) if stop.force > Force::Graceful || own.is_ok() => Err(stop.exit),
        _ => own,
    }
}
