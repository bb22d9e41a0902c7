//! The trait, and the loop that runs it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use greenlet_core::{
    AsyncResult, Builder, GreenletError, GreenletExit, Kill, Queue, StackSize, attempt, catch, raise, spawn,
};

use crate::actor_ref::{ActorId, ActorRef};
use crate::cell::{Life, Mail, MailCell};
use crate::context::Context;
use crate::exit::Exit;

/// State, messages, and what to do with them.
///
/// An actor handles one message at a time. Handlers may block on anything cooperative (sleep, ask another actor, read a
/// socket): only this actor waits. A panic in a handler ends the actor and nobody else, except those linked to it.
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
    /// messages. By default the actor ends with the same reason, unless that is `normal`.
    ///
    /// # Errors
    /// As [`receive`](Actor::receive).
    fn handle_exit(&mut self, from: ActorId, exit: Exit, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let _ = (from, ctx);
        if exit.is_normal() { Ok(()) } else { Err(exit) }
    }

    /// Called once at the end, whatever the reason, except after a kill and a failed [`init`](Actor::init). It may block
    /// cooperatively. Then the actor is dropped.
    fn terminate(&mut self, exit: &Exit, ctx: &mut Context<Self>) {
        let _ = (exit, ctx);
    }

    /// Spawns the actor on this thread's hub. Returns at once; [`init`](Actor::init) runs in the actor's first turn.
    #[track_caller]
    fn spawn(self) -> ActorRef<Self::Message> {
        ActorBuilder::new().spawn(self)
    }

    /// Spawns the actor and waits until [`init`](Actor::init) is done, as OTP's `start`.
    ///
    /// # Errors
    /// The reason for which it did not start.
    #[track_caller]
    fn start(self) -> Result<ActorRef<Self::Message>, Exit> {
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

    /// The stack on which handlers run.
    pub fn stack_size(mut self, size: StackSize) -> ActorBuilder {
        self.greenlet = self.greenlet.stack_size(size);
        self
    }

    /// As [`Actor::spawn`].
    #[track_caller]
    pub fn spawn<A: Actor>(self, actor: A) -> ActorRef<A::Message> {
        self.spawn_prepared(actor, |_| ()).0
    }

    /// As [`Actor::start`].
    ///
    /// # Errors
    /// The reason for which it did not start.
    #[track_caller]
    pub fn start<A: Actor>(self, actor: A) -> Result<ActorRef<A::Message>, Exit> {
        self.start_prepared(actor, |_| ())
    }

    /// `prepare` sees the reference before the actor runs: to link it without a gap.
    #[track_caller]
    pub(crate) fn start_prepared<A: Actor>(
        self,
        actor: A,
        prepare: impl FnOnce(&ActorRef<A::Message>),
    ) -> Result<ActorRef<A::Message>, Exit> {
        let (actor, started) = self.spawn_prepared(actor, prepare);
        match started.get() {
            Ok(Ok(())) => Ok(actor),
            Ok(Err(exit)) => {
                actor.greenlet().join();
                Err(exit)
            }
            Err(_) => Err(actor.join()),
        }
    }

    #[track_caller]
    pub(crate) fn spawn_prepared<A: Actor>(
        self,
        actor: A,
        prepare: impl FnOnce(&ActorRef<A::Message>),
    ) -> (ActorRef<A::Message>, Arc<AsyncResult<Result<(), Exit>>>) {
        let mailbox = self.capacity.map_or_else(Queue::unbounded, Queue::bounded);
        let cell = Arc::new(MailCell { mailbox, life: Life::default() });
        let started = Arc::new(AsyncResult::new());
        let this = ActorRef::new(cell.clone());
        // Dropped with the closure if the actor is killed before it ran.
        let last_rites = LastRites { cell, started: started.clone() };
        let greenlet = {
            let ctx = Context::new(this.clone());
            self.greenlet.build(move || live(actor, ctx, last_rites))
        };
        this.set_greenlet((*greenlet).clone());
        prepare(&this);
        greenlet.start();
        (this, started)
    }
}

/// Ends what others see of an actor, also when it never ran.
struct LastRites<M: Send + 'static> {
    cell: Arc<MailCell<M>>,
    started: Arc<AsyncResult<Result<(), Exit>>>,
}

impl<M: Send + 'static> LastRites<M> {
    fn perform(&self, exit: Exit) {
        // From now on sends fail; and askers whose questions are still here hear that nobody will answer. The reason is
        // recorded first, so that they see it.
        self.cell.life.finish(exit.clone());
        self.cell.mailbox.shutdown();
        while self.cell.mailbox.try_get().is_ok() {}
        if !self.started.ready() {
            self.started.set(Err(exit));
        }
    }
}

impl<M: Send + 'static> Drop for LastRites<M> {
    fn drop(&mut self) {
        self.perform(self.cell.life.stop().unwrap_or(Exit::Killed));
    }
}

/// The life of an actor, from its greenlet's first turn to its last.
fn live<A: Actor>(mut actor: A, mut ctx: Context<A>, last_rites: LastRites<A::Message>) {
    let cell = last_rites.cell.clone();
    let life = &cell.life;
    let started = guarded(life, || actor.init(&mut ctx));
    let initialized = started.is_ok();
    let exit = match started {
        Err(exit) => exit,
        Ok(()) => {
            last_rites.started.set(Ok(()));
            loop {
                if let Err(exit) = guarded(life, || step(&mut actor, &mut ctx, &cell)) {
                    break exit;
                }
            }
        }
    };
    // From here on only a kill is news.
    life.request_stop(exit.clone());
    let reason = exit.clone();
    let end = move || {
        // The state goes before the news of the end, so that whoever restarts the actor finds released what it owned.
        if initialized && !matches!(reason, Exit::Killed) {
            actor.terminate(&reason, &mut ctx);
        }
        drop((actor, ctx));
    };
    let exit = match undisturbed(life, end) {
        Ok(()) => exit,
        Err(_) if life.killed() => Exit::Killed,
        Err(GreenletError::Failed(failure)) => Exit::Failed(failure),
        Err(_) => exit,
    };
    last_rites.perform(exit.clone());
    drop(last_rites);
    match exit {
        Exit::Normal | Exit::Shutdown | Exit::NoProc => {}
        Exit::Killed => raise(GreenletExit),
        Exit::Failed(failure) => failure.reraise(),
    }
}

/// Runs the last part of an actor so that an exit signal that is still on its way does not interrupt it. A kill does.
fn undisturbed(life: &Life, end: impl FnOnce() + 'static) -> Result<(), GreenletError> {
    if !life.interrupted() {
        return attempt(end);
    }
    // What was raised arrives in this greenlet, whenever it suspends. So the work is done by another one.
    let outcome = Rc::new(Cell::new(None));
    let worker = spawn({
        let outcome = outcome.clone();
        move || outcome.set(Some(attempt(end)))
    });
    while !worker.ready() {
        if catch(|| worker.join()).is_err() && life.killed() {
            worker.kill_with(Kill::default().no_wait());
        }
    }
    outcome.take().unwrap_or(Err(GreenletError::Exit(GreenletExit)))
}

/// Runs a part of the actor. An unwinding out of it becomes the reason of the exit, and one that an exit signal caused
/// becomes that signal's reason.
fn guarded(life: &Life, part: impl FnOnce() -> Result<(), Exit>) -> Result<(), Exit> {
    let result = match attempt(part) {
        Ok(result) => result,
        Err(GreenletError::Failed(failure)) => Err(Exit::Failed(failure)),
        // Only a kill raises this in somebody else; or the handler ended itself as greenlets do.
        Err(_) => Err(Exit::Normal),
    };
    match (result, life.stop()) {
        (_, Some(stop)) => Err(stop),
        (result, None) => result,
    }
}

/// Waits for the next thing and does it.
fn step<A: Actor>(actor: &mut A, ctx: &mut Context<A>, cell: &MailCell<A::Message>) -> Result<(), Exit> {
    let mail = cell.mailbox.get().map_err(|_| Exit::Normal)?;
    if let Some(stop) = cell.life.stop() {
        return Err(stop);
    }
    match mail {
        Mail::Message(message) => actor.receive(message, ctx),
        Mail::Exited(from, exit) => actor.handle_exit(from, exit, ctx),
        Mail::Look => Ok(()),
    }
}

