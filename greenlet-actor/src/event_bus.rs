//! Events, and handlers with state that come and go: OTP's `gen_event`.
//!
//! An [`EventBus`] is an actor with any number of [`EventHandler`]s. Each event that it is [notified](EventBus::notify) of goes to all of them, one
//! after another, in the order in which they were added. A handler that fails is removed, and [whoever added it](Handler::join) can know why; the bus and
//! the other handlers go on.
//!
//! ```
//! use greenlet_actor::event_bus::{EventBus, EventHandler, Next};
//! use greenlet_actor::Exit;
//!
//! enum Alarm { Fire, Water(f64) }
//!
//! struct Level { highest: f64 }
//! impl EventHandler<Alarm> for Level {
//!     fn handle_event(&mut self, alarm: &Alarm) -> Result<Next, Exit> {
//!         if let Alarm::Water(level) = alarm {
//!             self.highest = self.highest.max(*level);
//!         }
//!         Ok(Next::Keep)
//!     }
//! }
//!
//! # greenlet_core::run(|| {
//! let bus = EventBus::spawn();
//! let level = bus.add(Level { highest: 0.0 }).unwrap();
//! bus.notify(Alarm::Water(1.5)).unwrap();
//! bus.sync_notify(Alarm::Fire).unwrap(); // all have handled it
//! assert_eq!(level.call(|level| level.highest).unwrap(), 1.5);
//! let level = level.remove().unwrap(); // its state comes back
//! assert_eq!(level.highest, 1.5);
//! # });
//! ```

use std::any::{Any, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use greenlet_core::{AsyncResult, GreenletError, GreenletExit, attempt, raise};

use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::{ActorRef, AnyActor, Linkable, SendError};
use crate::ask::{AskError, DEFAULT_TIMEOUT, Reply};
use crate::context::Context;
use crate::exit::{Exit, InitError};

/// State that handles events of type `E`, in the actor of the bus. It may block cooperatively: then the bus waits, with all its handlers.
pub trait EventHandler<E>: Send + 'static {
    /// Called when it is added.
    ///
    /// # Errors
    /// The reason for which it is not added.
    fn init(&mut self) -> Result<(), Exit> {
        Ok(())
    }

    /// Handles an event.
    ///
    /// # Errors
    /// The reason for which it is removed: a failure, as a panic is.
    fn handle_event(&mut self, event: &E) -> Result<Next, Exit>;

    /// Called when it is removed: with `normal` if that was asked for, by itself or by others; with its failure; or with the reason with which the bus ends.
    /// Not after a kill of the bus.
    fn terminate(&mut self, why: &Exit) {
        let _ = why;
    }
}

/// What becomes of a handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It handles the next event too.
    Keep,
    /// It is done: OTP's `remove_handler`.
    Remove,
}

/// A running event bus. Cheap to clone; usable from any thread.
pub struct EventBus<E> {
    actor: ActorRef<Message<E>>,
}

/// Names a handler of a bus.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct HandlerId(u64);

/// A handler as [`EventBus::which_handlers`] shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HandlerInfo {
    /// Its number.
    pub id: HandlerId,
    /// The name of its type.
    pub type_name: &'static str,
}

/// Why something was not done with a handler.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// The bus has ended, or did not answer.
    #[error("{0}")]
    Bus(AskError),
    /// It was removed before, for this reason.
    #[error("the handler was removed: {0}")]
    Removed(Exit),
    /// It failed in this, or did not start, and is removed.
    #[error("the handler failed: {0}")]
    Failed(Exit),
}

/// What a bus is asked.
enum Message<E> {
    Event(E),
    SyncEvent(E, Reply<()>),
    Do(Job<E>),
}

type Job<E> = Box<dyn FnOnce(&mut Bus<E>) + Send>;

/// The actor.
struct Bus<E> {
    handlers: Vec<Entry<E>>,
}

struct Entry<E> {
    id: HandlerId,
    type_name: &'static str,
    handler: Box<dyn AnyHandler<E>>,
    removed: Removed,
}

/// Knows when a handler is removed, and why.
struct Removed(Arc<AsyncResult<Exit>>);

impl Drop for Removed {
    fn drop(&mut self) {
        // Its bus was killed.
        if !self.0.ready() {
            self.0.set(Exit::Killed);
        }
    }
}

trait AnyHandler<E>: Send {
    fn handle_event(&mut self, event: &E) -> Result<Next, Exit>;
    fn terminate(&mut self, why: &Exit);
    fn as_any(&mut self) -> &mut dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

impl<E, H: EventHandler<E>> AnyHandler<E> for H {
    fn handle_event(&mut self, event: &E) -> Result<Next, Exit> {
        EventHandler::handle_event(self, event)
    }

    fn terminate(&mut self, why: &Exit) {
        EventHandler::terminate(self, why);
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

impl<E: Send + 'static> Actor for Bus<E> {
    type Message = Message<E>;

    fn receive(&mut self, message: Message<E>, _: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Message::Event(event) => self.tell(&event),
            Message::SyncEvent(event, reply) => {
                self.tell(&event);
                reply.send(());
            }
            Message::Do(job) => job(self),
        }
        Ok(())
    }

    fn label(message: &Message<E>) -> &'static str {
        match message {
            Message::Event(_) | Message::SyncEvent(..) => type_name::<E>(),
            Message::Do(_) => "a request about handlers",
        }
    }

    fn terminate(&mut self, exit: &Exit, _: &mut Context<Self>) {
        while !self.handlers.is_empty() {
            let entry = self.handlers.remove(0);
            entry.end(exit.clone());
        }
    }
}

/// As `attempt`, for what a handler does: only its own failure is kept apart.
fn contained<R>(f: impl FnOnce() -> Result<R, Exit>) -> Result<R, Exit> {
    match attempt(f) {
        Ok(result) => result,
        Err(GreenletError::Failed(failure)) => Err(Exit::Failed(failure)),
        // The bus itself is killed.
        Err(_) => raise(GreenletExit),
    }
}

impl<E> Bus<E> {
    fn tell(&mut self, event: &E) {
        let mut at = 0;
        while let Some(entry) = self.handlers.get_mut(at) {
            let why = match contained(|| entry.handler.handle_event(event)) {
                Ok(Next::Keep) => {
                    at += 1;
                    continue;
                }
                Ok(Next::Remove) => Exit::Normal,
                Err(exit) => exit,
            };
            let entry = self.handlers.remove(at);
            entry.end(why);
        }
    }

    fn place(&self, id: HandlerId) -> Option<usize> {
        self.handlers.iter().position(|entry| entry.id == id)
    }
}

impl<E> Entry<E> {
    /// The end of a handler that was taken out. Returns its state.
    fn end(mut self, why: Exit) -> Box<dyn AnyHandler<E>> {
        if why.failure().is_some() {
            tracing::error!(target: "greenlet", handler = self.type_name, "an event handler failed and is removed: {why}");
        }
        let terminated = contained(|| {
            self.handler.terminate(&why);
            Ok(())
        });
        if let Err(error) = terminated {
            tracing::error!(target: "greenlet", handler = self.type_name, "an event handler failed in terminate: {error}");
        }
        self.removed.0.set(why);
        self.handler
    }
}

impl<E: Send + 'static> EventBus<E> {
    /// A bus without handlers, that stays on this thread's hub or goes where its system has it.
    #[track_caller]
    pub fn spawn() -> EventBus<E> {
        EventBus { actor: ActorBuilder::new().name("event bus").spawn(Bus { handlers: Vec::new() }) }
    }

    /// As [`spawn`](EventBus::spawn), with the settings of the builder: a name by which it is found, links, a bounded mailbox.
    ///
    /// # Errors
    /// [`InitError`] if a name is taken.
    #[track_caller]
    pub fn start(builder: ActorBuilder) -> Result<EventBus<E>, InitError> {
        Ok(EventBus { actor: builder.start(Bus { handlers: Vec::new() })? })
    }

    /// Adds a handler, behind those that are there, and waits until it has started: OTP's `add_handler`.
    ///
    /// # Errors
    /// [`HandlerError::Failed`] if its `init` fails; [`HandlerError::Bus`].
    pub fn add<H: EventHandler<E>>(&self, handler: H) -> Result<Handler<E, H>, HandlerError> {
        let ours = Handler::new(self.clone());
        let entry = ours.entry_of();
        self.query(move |bus, reply| reply.send(bus.start(handler, entry, usize::MAX)))??;
        Ok(ours)
    }

    /// Tells all handlers, and does not wait until they have handled it.
    ///
    /// # Errors
    /// [`SendError`] with the event: the bus has ended, or refuses.
    pub fn notify(&self, event: E) -> Result<(), SendError<E>> {
        self.actor.send(Message::Event(event)).map_err(|error| match error {
            SendError::Ended(message) => SendError::Ended(message.into_event()),
            SendError::Full(message) => SendError::Full(message.into_event()),
        })
    }

    /// Tells all handlers, and waits until all have handled it.
    ///
    /// # Errors
    /// [`AskError`]: the bus has ended; [`Itself`](AskError::Itself) in one of its handlers.
    pub fn sync_notify(&self, event: E) -> Result<(), AskError> {
        self.actor.ask(|reply| Message::SyncEvent(event, reply), Duration::MAX)
    }

    /// The handlers, in the order in which events come to them.
    ///
    /// # Errors
    /// [`AskError`], as [`sync_notify`](EventBus::sync_notify).
    pub fn which_handlers(&self) -> Result<Vec<HandlerInfo>, AskError> {
        let list = |bus: &mut Bus<E>, reply: Reply<_>| {
            let info = |entry: &Entry<E>| HandlerInfo { id: entry.id, type_name: entry.type_name };
            reply.send(bus.handlers.iter().map(info).collect());
        };
        self.ask(list, Duration::MAX)
    }

    /// Stops the bus after what it was notified of before, and waits for that.
    pub fn stop(&self) -> Exit {
        self.actor.finish();
        self.actor.join()
    }

    /// The bus as an actor: to link it, to wait for it, to see why it ended.
    pub fn actor(&self) -> AnyActor {
        self.actor.any_cell()
    }

    fn ask<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Bus<E>, Reply<R>) + Send + 'static,
        timeout: Duration,
    ) -> Result<R, AskError> {
        self.actor.ask(|reply| Message::Do(Box::new(move |bus| job(bus, reply))), timeout)
    }

    fn query<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Bus<E>, Reply<R>) + Send + 'static,
    ) -> Result<R, HandlerError> {
        self.ask(job, Duration::MAX).map_err(HandlerError::Bus)
    }
}

impl<E> Bus<E> {
    /// Adds a handler at a place, or at the end.
    fn start<H: EventHandler<E>>(
        &mut self,
        mut handler: H,
        (id, removed): (HandlerId, Removed),
        at: usize,
    ) -> Result<(), HandlerError> {
        if let Err(exit) = contained(|| handler.init()) {
            removed.0.set(exit.clone());
            return Err(HandlerError::Failed(exit));
        }
        let entry = Entry { id, type_name: type_name::<H>(), handler: Box::new(handler), removed };
        self.handlers.insert(at.min(self.handlers.len()), entry);
        Ok(())
    }
}

impl<E> Message<E> {
    fn into_event(self) -> E {
        match self {
            Message::Event(event) => event,
            Message::SyncEvent(..) | Message::Do(_) => unreachable!("the event that was sent comes back"),
        }
    }
}

/// A handler of type `H` that was added to a bus. It stays there when this is dropped.
pub struct Handler<E, H> {
    bus: EventBus<E>,
    id: HandlerId,
    removed: Arc<AsyncResult<Exit>>,
    _handler: PhantomData<fn(H)>,
}

impl<E: Send + 'static, H: EventHandler<E>> Handler<E, H> {
    fn new(bus: EventBus<E>) -> Handler<E, H> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = HandlerId(NEXT.fetch_add(1, Ordering::Relaxed));
        Handler { bus, id, removed: Arc::new(AsyncResult::new()), _handler: PhantomData }
    }

    fn entry_of(&self) -> (HandlerId, Removed) {
        (self.id, Removed(self.removed.clone()))
    }

    /// Its number.
    pub fn id(&self) -> HandlerId {
        self.id
    }

    /// Does something with the handler, between two events, and returns the result: OTP's `gen_event:call`. Waits for at most
    /// [5 seconds](DEFAULT_TIMEOUT). If `job` panics, the handler has failed.
    ///
    /// # Errors
    /// [`HandlerError`].
    pub fn call<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut H) -> R + Send + 'static,
    ) -> Result<R, HandlerError> {
        self.call_within(DEFAULT_TIMEOUT, job)
    }

    /// As [`call`](Handler::call), with another timeout.
    ///
    /// # Errors
    /// As there.
    pub fn call_within<R: Send + 'static>(
        &self,
        timeout: Duration,
        job: impl FnOnce(&mut H) -> R + Send + 'static,
    ) -> Result<R, HandlerError> {
        let id = self.id;
        let asked = move |bus: &mut Bus<E>, reply: Reply<Result<R, Exit>>| {
            // Removed: no reply, and why is known.
            let Some(at) = bus.place(id) else { return };
            let result = contained(|| {
                let handler = bus.handlers[at].handler.as_any().downcast_mut::<H>();
                Ok(job(handler.expect("the handler with this number is of this type")))
            });
            if let Err(exit) = &result {
                let entry = bus.handlers.remove(at);
                entry.end(exit.clone());
            }
            reply.send(result);
        };
        match self.bus.ask(asked, timeout) {
            Ok(result) => result.map_err(HandlerError::Failed),
            Err(error) => Err(self.why_not(error)),
        }
    }

    fn why_not(&self, error: AskError) -> HandlerError {
        match (error, self.removed()) {
            (AskError::NoReply, Some(exit)) => HandlerError::Removed(exit),
            (error, _) => HandlerError::Bus(error),
        }
    }

    /// Removes the handler after what the bus was notified of before, and returns its state.
    ///
    /// # Errors
    /// [`HandlerError::Removed`] if it was removed before; [`HandlerError::Bus`].
    pub fn remove(&self) -> Result<H, HandlerError> {
        let id = self.id;
        let removes = move |bus: &mut Bus<E>, reply: Reply<H>| {
            let Some(at) = bus.place(id) else { return };
            let entry = bus.handlers.remove(at);
            if let Ok(handler) = entry.end(Exit::Normal).into_any().downcast() {
                reply.send(*handler);
            }
        };
        self.bus.ask(removes, Duration::MAX).map_err(|error| self.why_not(error))
    }

    /// Puts another handler in its place, made of its state: OTP's `swap_handler`. No event is missed by both, or comes to both. If it was removed
    /// before, the other one is made of nothing, and added.
    ///
    /// # Errors
    /// [`HandlerError::Failed`] if `make` panics, or the other one's `init` fails: then there is neither. [`HandlerError::Bus`].
    pub fn swap<N: EventHandler<E>>(
        &self,
        make: impl FnOnce(Option<H>) -> N + Send + 'static,
    ) -> Result<Handler<E, N>, HandlerError> {
        let (id, other) = (self.id, Handler::new(self.bus.clone()));
        let entry = other.entry_of();
        self.bus.query(move |bus, reply| {
            let at = bus.place(id);
            let old = at.and_then(|at| {
                let entry = bus.handlers.remove(at);
                entry.end(Exit::Normal).into_any().downcast().ok().map(|old| *old)
            });
            let started = contained(|| Ok(make(old)))
                .map_err(HandlerError::Failed)
                .and_then(|new| bus.start(new, entry, at.unwrap_or(usize::MAX)));
            reply.send(started);
        })??;
        Ok(other)
    }

    /// Removes the handler when this actor ends: OTP's `add_sup_handler` has that of who adds it.
    pub fn ends_with(&self, actor: &impl Linkable) {
        let (bus, id) = (self.bus.actor.clone(), self.id);
        actor.any_cell().on_end(move |_, _| {
            let removes: Job<E> = Box::new(move |bus: &mut Bus<E>| {
                if let Some(at) = bus.place(id) {
                    let entry = bus.handlers.remove(at);
                    drop(entry.end(Exit::Normal));
                }
            });
            // A bus that has ended has no handlers.
            let _ = bus.push_beyond_limit(Message::Do(removes));
        });
    }

    /// Why it was removed; `None` while it is there.
    pub fn removed(&self) -> Option<Exit> {
        self.removed.value()
    }

    /// Waits until it is removed, and returns why: `normal` if that was asked for, its failure, or the reason with which the bus ended.
    pub fn join(&self) -> Exit {
        self.removed.get().unwrap_or(Exit::Killed)
    }
}

impl<E> Clone for EventBus<E> {
    fn clone(&self) -> EventBus<E> {
        EventBus { actor: self.actor.clone() }
    }
}

impl<E> fmt::Debug for EventBus<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventBus({})", self.actor)
    }
}

impl<E, H> Clone for Handler<E, H> {
    fn clone(&self) -> Handler<E, H> {
        Handler { bus: self.bus.clone(), id: self.id, removed: self.removed.clone(), _handler: PhantomData }
    }
}

impl<E, H> fmt::Debug for Handler<E, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("id", &self.id).field("bus", &self.bus).finish_non_exhaustive()
    }
}
