//! References to actors.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::{Failure, GreenletError, GreenletExit, Instant, raise};

use crate::bounded::{Bounded, Entry, Overflow};
use crate::cell::{self, AnyCell, Mail, MailCell};
use crate::dead_letters::{self, Undelivered};
use crate::exit::Exit;
use crate::life::{Direction, Ends, Force, Life, Watcher};
use crate::mailbox::Mailbox;
use crate::run::Runner;
use crate::signals;
use crate::special::{self, Special};

/// Names an actor: no other actor of this process has or had the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ActorId(pub(crate) u64);

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.0)
    }
}

/// A reference to an actor that takes messages of type `M`: Erlang's pid.
///
/// Cheap to clone and usable from any thread, greenlet or async task. It does not keep the actor running, nor does the actor end with the
/// last of them; sending to one that has ended is an error that gives the message back.
pub struct ActorRef<M> {
    cell: Arc<dyn MailCell<M>>,
}

/// The message was not sent; it comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError<M> {
    /// The actor has ended.
    #[error("the actor has ended")]
    Ended(M),
    /// The mailbox is full, and made to refuse ([`Overflow::Fail`]).
    #[error("the mailbox is full")]
    Full(M),
}

impl<M> SendError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            SendError::Full(message) | SendError::Ended(message) => message,
        }
    }
}

/// An actor that can be linked, whatever its messages are.
pub trait Linkable {
    #[doc(hidden)]
    fn any_cell(&self) -> AnyActor;
}

/// A reference to an actor without the type of its messages: it can be linked, monitored, told to exit, and waited for.
#[derive(Clone)]
pub struct AnyActor {
    cell: Arc<dyn AnyCell>,
}

impl AnyActor {
    pub(crate) fn new(cell: Arc<dyn AnyCell>) -> AnyActor {
        AnyActor { cell }
    }

    /// The actor that the caller runs inside, if it does: the current greenlet handles a message of it, or runs one of its hooks.
    pub fn current() -> Option<AnyActor> {
        Runner::current_actor().map(AnyActor::new)
    }

    /// The actor as one that takes messages of type `M`, if it does.
    pub fn downcast<M: Send + 'static>(&self) -> Option<ActorRef<M>> {
        let mut typed: Option<ActorRef<M>> = None;
        self.cell.clone().give_typed(&mut typed);
        typed
    }

    /// The name of the type of its messages, for reports.
    pub fn message_type(&self) -> &'static str {
        self.cell.types().1
    }

    pub(crate) fn life(&self) -> &Life {
        self.cell.life()
    }

    pub(crate) fn shared(&self) -> Arc<dyn AnyCell> {
        self.cell.clone()
    }

    pub(crate) fn cell(&self) -> &Arc<dyn AnyCell> {
        &self.cell
    }
}

fn message<M>(mail: Mail<M>) -> M {
    match mail {
        Mail::Message(message) => message,
        Mail::Special(_) => unreachable!("only the message that was put comes back"),
    }
}

#[cold]
fn ended<M>(message: M) -> SendError<M> {
    dead_letters::count_to_ended();
    SendError::Ended(message)
}

/// How long a sender waits for room.
#[derive(Clone, Copy)]
enum Patience {
    None,
    Until(Option<Instant>),
}

impl<M: Send + 'static> ActorRef<M> {
    pub(crate) fn new(cell: Arc<dyn MailCell<M>>) -> ActorRef<M> {
        ActorRef { cell }
    }

    pub(crate) fn life(&self) -> &Life {
        self.cell.life()
    }

    pub(crate) fn mailbox(&self) -> &Mailbox<Mail<M>> {
        self.cell.mailbox()
    }

    pub(crate) fn bounded(&self) -> Option<&Bounded<M>> {
        self.cell.bounded()
    }

    pub(crate) fn mail_cell(&self) -> &Arc<dyn MailCell<M>> {
        &self.cell
    }

    pub(crate) fn cell(&self) -> Arc<dyn AnyCell> {
        self.cell.clone()
    }

    /// Sends a message: Erlang's `!`, OTP's `cast`. Does not wait, unless the mailbox is bounded and full, and made to
    /// [wait](Overflow::Suspend) then: it suspends the greenlet, or parks the thread, until there is room.
    ///
    /// Messages of one sender arrive in the order in which they were sent. An actor that sends to itself never waits:
    /// nobody else would make room.
    ///
    /// # Errors
    /// [`SendError`] with the message when the actor has ended, or its mailbox refuses. A message that was accepted may still not be handled, if
    /// the actor ends first.
    #[inline]
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        match self.cell.bounded() {
            None => self.push(message),
            Some(bounded) => self.send_bounded(bounded, message, Patience::Until(None)),
        }
    }

    /// As [`send`](ActorRef::send), without ever waiting for room.
    ///
    /// # Errors
    /// [`SendError`] with the message.
    #[inline]
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        match self.cell.bounded() {
            None => self.push(message),
            Some(bounded) => self.send_bounded(bounded, message, Patience::None),
        }
    }

    /// As [`send`](ActorRef::send), waiting for room for at most `timeout`.
    ///
    /// # Errors
    /// [`SendError`] with the message; [`SendError::Full`] when there was no room in time.
    pub fn send_timeout(&self, message: M, timeout: Duration) -> Result<(), SendError<M>> {
        match self.cell.bounded() {
            None => self.push(message),
            Some(bounded) => {
                let deadline = Instant::now().checked_add(timeout);
                self.send_bounded(bounded, message, Patience::Until(deadline))
            }
        }
    }

    /// Lets a runner come inside the caller, who asks this actor, and whose question stands there in the mailbox.
    pub(crate) fn runs_for_the_asker(&self, at: u64, runner: &Runner) {
        Runner::asking(&self.cell, |cell| cell, at, runner);
    }

    /// Whether `try_send` drops nothing: what is not taken comes back.
    #[inline]
    pub(crate) fn refuses_or_takes(&self) -> bool {
        let overflow = self.cell.bounded().map(Bounded::overflow);
        matches!(overflow, None | Some(Overflow::Suspend | Overflow::Fail))
    }

    /// Sends a message for which there is room.
    #[inline]
    pub(crate) fn push(&self, message: M) -> Result<(), SendError<M>> {
        match self.cell.mailbox().push(Mail::Message(message)) {
            Ok(how) => {
                cell::pushed(&self.cell, how, |cell| cell);
                Ok(())
            }
            Err(mail) => Err(ended(self::message(mail))),
        }
    }

    fn send_bounded(&self, bounded: &Bounded<M>, message: M, patience: Patience) -> Result<(), SendError<M>> {
        if bounded.overflow() == Overflow::DropOldest {
            return match bounded.push_ring(message) {
                Err(message) => Err(ended(message)),
                Ok(Some(oldest)) => {
                    // The mailbox has not changed, so a handler that waits for a message is not told by that.
                    if self.mailbox().is_waiting() {
                        self.life().rare().arrived.set();
                    }
                    self.dropped_for_room(oldest);
                    Ok(())
                }
                Ok(None) => {
                    special::post(&self.cell, Special::Ring);
                    Ok(())
                }
            };
        }
        let entry = match bounded.try_enter() {
            Entry::Full if bounded.overflow() == Overflow::DropNewest => {
                bounded.note_dropped();
                self.dropped_for_room(message);
                return Ok(());
            }
            Entry::Full if bounded.overflow() == Overflow::Suspend => match patience {
                Patience::None => Entry::Full,
                // An actor that writes to itself: nobody else would make room.
                Patience::Until(_) if self.is_current() => Entry::Room,
                Patience::Until(None) => bounded.enter(None),
                Patience::Until(Some(deadline)) => {
                    bounded.enter(Some(deadline.duration_since(Instant::now())))
                }
            },
            entry => entry,
        };
        match entry {
            Entry::Room => self.push(message),
            Entry::Full => Err(SendError::Full(message)),
            Entry::Closed => Err(ended(message)),
        }
    }

    /// A message that the full mailbox does not take, or not any more.
    fn dropped_for_room(&self, message: M) {
        if dead_letters::has_readers() {
            let name = std::any::type_name::<M>();
            dead_letters::tell(self.life(), name, name, Undelivered::Full);
        }
        drop(message);
    }

    /// Sends a message that nobody waits with: into the mailbox however full that is, and without a place of its own there.
    pub(crate) fn push_beyond_limit(&self, message: M) -> Result<(), SendError<M>> {
        if self.cell.bounded().is_none() {
            return self.push(message);
        }
        special::post_message(&self.cell, message).map_err(ended)
    }

    /// What a full mailbox does, if it has a limit.
    pub(crate) fn overflow(&self) -> Option<Overflow> {
        self.cell.bounded().map(Bounded::overflow)
    }

    /// Whether senders wait when the mailbox is full.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.overflow() == Some(Overflow::Suspend)
    }

    /// How it is to stop, or has.
    pub(crate) fn stopping(&self) -> Option<Exit> {
        self.life().stop().map(|stop| stop.exit).or_else(|| self.exit())
    }

    /// How many messages may wait, if the mailbox is bounded.
    pub fn capacity(&self) -> Option<usize> {
        self.cell.bounded().map(Bounded::capacity)
    }

    /// How many messages were dropped since the mailbox was full: see [`Overflow`].
    pub fn dropped(&self) -> u64 {
        self.cell.bounded().map_or(0, Bounded::dropped)
    }
}

/// What does not depend on the messages, for `ActorRef` and `AnyActor` alike.
macro_rules! lifecycle {
    () => {
        /// Its number.
        pub fn id(&self) -> ActorId {
            self.cell.life().id()
        }

        /// The name that it was given when it was made.
        pub fn name(&self) -> Option<&str> {
            self.cell.life().name()
        }

        /// Its place in the tree of supervisors: the names from the top down to its own, each behind a `/`; the number stands for a
        /// name that was not given.
        pub fn path(&self) -> String {
            self.cell.life().path()
        }

        /// Where it was spawned.
        pub fn spawn_site(&self) -> &'static std::panic::Location<'static> {
            self.cell.life().site()
        }

        /// Whether the caller runs inside this actor.
        #[inline]
        pub fn is_current(&self) -> bool {
            Runner::runs(self.cell.life())
        }

        /// How many messages and signals are in the mailbox and were not handled yet.
        pub fn mailbox_len(&self) -> usize {
            self.cell.mailbox_len()
        }

        /// Why it has ended; `None` while it lives.
        pub fn exit(&self) -> Option<Exit> {
            self.cell.life().exit()
        }

        /// Whether it has ended: gevent's `ready`, as those below. On another hub that may be a moment before its links and monitors are told; who has
        /// to find them told [joins](Self::join).
        pub fn ready(&self) -> bool {
            self.cell.life().ready()
        }

        /// Whether it has ended otherwise than by a failure.
        pub fn successful(&self) -> bool {
            self.exit().is_some_and(|exit| exit.failure().is_none())
        }

        /// The failure with which it has ended, if it was one.
        pub fn exception(&self) -> Option<Failure> {
            self.exit()?.failure().cloned()
        }

        /// Waits until it has ended: gevent's `get`. An actor has no value but that it was done.
        ///
        /// # Errors
        /// [`GreenletError::Failed`] with its failure; [`GreenletError::Exit`] if it was killed.
        ///
        /// # Panics
        /// As [`join`](Self::join).
        pub fn get(&self) -> Result<(), GreenletError> {
            match self.join() {
                Exit::Failed(failure) => Err(GreenletError::Failed(failure)),
                Exit::Killed => Err(GreenletError::Exit(GreenletExit)),
                _ => Ok(()),
            }
        }

        /// What [`get`](Self::get) would return, if it is known: gevent's `value`.
        pub fn value(&self) -> Option<()> {
            match self.exit()? {
                Exit::Failed(_) | Exit::Killed => None,
                _ => Some(()),
            }
        }

        /// Asks the actor to end normally: after the message that it is handling, ahead of those that wait. Does not wait.
        pub fn stop(&self) {
            signals::end(self.any_cell().cell(), Force::Graceful, Exit::Normal);
        }

        /// Asks the actor to end normally when it has handled everything that was sent to it before: the end takes its place in the queue, as
        /// the request of OTP's `gen_server:stop` does. Does not wait. [`stop`](Self::stop) goes ahead of the queue.
        pub fn finish(&self) {
            self.any_cell().shared().post(special::Signal::Finish);
        }

        /// Sends an exit signal, as Erlang's `exit(Pid, Reason)`: from the actor in which it is called. Does not wait.
        ///
        /// An actor that does not [trap exits](crate::Context::trap_exits) ends with that reason, from where its handler is suspended; `normal` it
        /// ignores, unless it sends that to itself. One that does trap gets it in [`handle_exit`](crate::Actor::handle_exit), in order with the
        /// messages, unless it comes from its supervisor: that it obeys, after the message that it is handling. [`Exit::Killed`] is
        /// [`kill`](Self::kill) without the wait, and cannot be trapped.
        ///
        /// From outside of actors (a thread, a greenlet) there is nobody to name as the sender: it is obeyed as if it came from the supervisor, and `normal`
        /// is ignored.
        pub fn send_exit(&self, exit: Exit) {
            match (exit, Runner::current_actor()) {
                (Exit::Killed, _) => signals::end(self.any_cell().cell(), Force::Kill, Exit::Killed),
                (exit, Some(sender)) => {
                    signals::direct_exit_signal(self.any_cell().cell(), sender.life().id(), exit);
                }
                (exit, None) => self.tell_to_end(exit),
            }
        }

        /// An exit signal that is obeyed also by an actor that traps exits: in good order then. `Normal` is ignored.
        pub(crate) fn tell_to_end(&self, exit: Exit) {
            signals::tell_to_end(self.any_cell().cell(), exit);
        }

        /// Ends the actor with `killed` and waits until it has ended. It cannot trap this; its handler is unwound from
        /// where it is suspended, and [`terminate`](crate::Actor::terminate) is not called.
        ///
        /// Like any kill it reaches the actor where it suspends. A handler that catches it (`catch`) goes on to its end, and
        /// then the actor ends all the same; one that never returns is never gone.
        ///
        /// What the actor owned, and the messages that it has not handled, are dropped in peace: a kill that comes when it is done with
        /// [`terminate`](crate::Actor::terminate) waits until their destructors are through. A [`with_timeout`](greenlet_core::with_timeout) inside of them limits that.
        ///
        /// Called by the actor itself, it does not return, unless in a destructor that an unwinding runs: then the actor
        /// ends with that.
        pub fn kill(&self) {
            signals::end(self.any_cell().cell(), Force::Kill, Exit::Killed);
            if !self.is_current() {
                self.cell.life().await_end(None);
            } else if !greenlet_core::is_unwinding() {
                raise(GreenletExit);
            }
        }

        /// Waits until the actor has ended, and returns why.
        ///
        /// Those who are linked with it or monitor it are told first, callbacks of [`on_end`](Self::on_end) included: whoever looks at a linked actor after
        /// this finds that the exit signal has reached it. Then its name is free, it is in no group, and sends to it fail. The messages that it had
        /// not handled may be dropped only now.
        ///
        /// # Panics
        /// When an actor joins itself: it would wait for ever.
        #[track_caller]
        pub fn join(&self) -> Exit {
            assert!(self.ready() || !self.is_current(), "an actor cannot wait for its own end");
            self.cell.life().await_end(None);
            self.exit().unwrap_or(Exit::Killed)
        }

        /// Waits for at most `timeout`; `None` if it has not ended by then.
        ///
        /// # Panics
        /// As [`join`](Self::join).
        #[track_caller]
        pub fn join_timeout(&self, timeout: Duration) -> Option<Exit> {
            assert!(self.ready() || !self.is_current(), "an actor cannot wait for its own end");
            self.cell.life().await_end(Some(timeout)).then(|| self.exit().unwrap_or(Exit::Killed))
        }

        /// Links the two, as in Erlang: when either ends, the other gets an exit signal with its reason. Idempotent.
        ///
        /// If `other` has ended already, the signal comes at once, with [`Exit::NoProc`]. Linking an actor with itself
        /// does nothing.
        pub fn link(&self, other: &impl Linkable) {
            signals::link(&self.any_cell(), &other.any_cell());
        }

        /// Takes a link back, in both directions, including the one-sided ones. As in Erlang, an exit that was
        /// trapped before stays in the mailbox. If the other one is ending on another thread at this moment, its signal may
        /// still arrive.
        pub fn unlink(&self, other: &impl Linkable) {
            let other = other.any_cell();
            self.cell.life().remove_link(other.id());
            other.life().remove_link(self.id());
        }

        fn link_one_sided(&self, receiver: &impl Linkable, ends: Ends) {
            let receiver = receiver.any_cell();
            if receiver.id() == self.id() {
                return;
            }
            if !self.cell.life().add_link(receiver.shared(), Direction::Tell(ends))
                && let Some(exit) = self.exit()
                && ends.include(&exit)
            {
                signals::exit_signal(receiver.cell(), self.id(), exit);
            }
        }

        /// gevent's one-sided link to another actor: when this one ends, `receiver` gets an exit signal with the reason. Nothing happens
        /// when `receiver` ends. If this actor has ended already, the signal comes at once.
        pub fn link_to(&self, receiver: &impl Linkable) {
            self.link_one_sided(receiver, Ends::All);
        }

        /// As [`link_to`](Self::link_to), when this actor ends otherwise than by a failure.
        pub fn link_value_to(&self, receiver: &impl Linkable) {
            self.link_one_sided(receiver, Ends::Successes);
        }

        /// As [`link_to`](Self::link_to), when this actor fails: panics, or a handler returns an error.
        pub fn link_exception(&self, receiver: &impl Linkable) {
            self.link_one_sided(receiver, Ends::Failures);
        }

        /// Calls `callback` once when the actor has ended, with the reason; at once if that is over. It runs where the actor ends, and must
        /// not wait: not even [`join`](Self::join) the actor, since those who do so come after all callbacks. It belongs to no actor any more:
        /// [`AnyActor::current`] is `None`.
        pub fn on_end(&self, callback: impl FnOnce(ActorId, &Exit) + Send + 'static) {
            signals::watch(&self.any_cell(), Watcher::Callback(Box::new(callback)));
        }
    };
}

impl<M: Send + 'static> ActorRef<M> {
    lifecycle!();
}

impl AnyActor {
    lifecycle!();
}

impl<M: Send + 'static> Linkable for ActorRef<M> {
    fn any_cell(&self) -> AnyActor {
        AnyActor { cell: self.cell.clone() }
    }
}

impl Linkable for AnyActor {
    fn any_cell(&self) -> AnyActor {
        self.clone()
    }
}

impl<M: Send + 'static> From<ActorRef<M>> for AnyActor {
    fn from(actor: ActorRef<M>) -> AnyActor {
        actor.any_cell()
    }
}

impl<M> ActorRef<M> {
    /// [`stop`](ActorRef::stop), whatever its messages are.
    pub(crate) fn end_quietly(&self) {
        let cell: Arc<dyn AnyCell> = self.cell.clone();
        signals::end(&cell, Force::Graceful, Exit::Normal);
    }
}

impl<M> Clone for ActorRef<M> {
    #[inline]
    fn clone(&self) -> ActorRef<M> {
        ActorRef { cell: self.cell.clone() }
    }
}

/// The same actor.
impl<M> PartialEq for ActorRef<M> {
    fn eq(&self, other: &ActorRef<M>) -> bool {
        self.cell.life().id() == other.cell.life().id()
    }
}

impl<M> Eq for ActorRef<M> {}

impl<M> Hash for ActorRef<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cell.life().id().hash(state);
    }
}

/// The same actor.
impl PartialEq for AnyActor {
    fn eq(&self, other: &AnyActor) -> bool {
        self.id() == other.id()
    }
}

impl Eq for AnyActor {}

impl Hash for AnyActor {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

fn show(life: &Life, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match life.name() {
        Some(name) => write!(f, "{name} {}", life.id()),
        None => write!(f, "{}", life.id()),
    }
}

/// The name, if it has one, and the number.
impl<M> fmt::Display for ActorRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.cell.life(), f)
    }
}

impl<M> fmt::Debug for ActorRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorRef({self})")
    }
}

/// The name, if it has one, and the number.
impl fmt::Display for AnyActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.cell.life(), f)
    }
}

impl fmt::Debug for AnyActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyActor({self})")
    }
}

// The message is not part of what these say: it need not be `Debug`.

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Full(_) => "Full(..)",
            SendError::Ended(_) => "Ended(..)",
        })
    }
}
