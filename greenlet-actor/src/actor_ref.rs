//! References to actors.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::{GreenletRef, PutError, ShutDown};

use crate::cell::{self, AnyCell, Direction, Force, Mail, MailCell};
use crate::exit::Exit;

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
/// Cheap to clone and usable from any thread. It does not keep the actor running; sending to one that has ended is an
/// error that gives the message back.
pub struct ActorRef<M> {
    cell: Arc<MailCell<M>>,
}

/// The actor has ended; the message comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor has ended")]
pub struct SendError<M>(pub M);

/// Why [`ActorRef::try_send`] did not send. The message comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError<M> {
    /// The mailbox is bounded and full.
    #[error("the mailbox is full")]
    Full(M),
    /// The actor has ended.
    #[error("the actor has ended")]
    Ended(M),
}

impl<M> TrySendError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            TrySendError::Full(message) | TrySendError::Ended(message) => message,
        }
    }
}

/// An actor that can be linked, whatever its messages are.
pub trait Linkable {
    #[doc(hidden)]
    fn any_cell(&self) -> AnyActor;
}

/// A reference to an actor without the type of its messages: it can be linked, told to exit, and waited for.
#[derive(Clone)]
pub struct AnyActor {
    cell: Arc<dyn AnyCell>,
}

impl AnyActor {
    pub(crate) fn cell(&self) -> &dyn AnyCell {
        &*self.cell
    }
}

fn mail<M>(mail: Mail<M>) -> M {
    match mail {
        Mail::Message(message) => message,
        Mail::Exited(..) | Mail::Look => unreachable!("only the message that was put comes back"),
    }
}

fn unsent<M>(error: PutError<Mail<M>>) -> TrySendError<M> {
    match error {
        PutError::Full(back) => TrySendError::Full(mail(back)),
        PutError::ShutDown(back) => TrySendError::Ended(mail(back)),
    }
}

impl<M: Send + 'static> ActorRef<M> {
    pub(crate) fn new(cell: Arc<MailCell<M>>) -> ActorRef<M> {
        ActorRef { cell }
    }

    /// Sends a message. Does not wait, unless the mailbox is bounded and full: then it suspends until there is room.
    ///
    /// Messages of one sender arrive in the order in which they were sent. An actor that sends to itself never waits:
    /// nobody else would make room.
    ///
    /// # Errors
    /// [`SendError`] with the message when the actor has ended. A message that was accepted may still not be handled, if
    /// the actor ends first.
    #[inline]
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        let mailbox = &self.cell.mailbox;
        let sent = match mailbox.try_put(Mail::Message(message)) {
            Err(PutError::Full(mail)) if self.is_current() => mailbox.force_put(mail),
            Err(PutError::Full(mail)) => mailbox.put(mail),
            Err(PutError::ShutDown(mail)) => Err(ShutDown(mail)),
            Ok(()) => Ok(()),
        };
        sent.map_err(|ShutDown(back)| SendError(mail(back)))
    }

    /// As `send`, waiting for room for at most `timeout`.
    pub(crate) fn send_timeout(&self, message: M, timeout: Duration) -> Result<(), TrySendError<M>> {
        self.cell.mailbox.put_timeout(Mail::Message(message), timeout).map_err(unsent)
    }

    /// How it is to stop, if it is.
    pub(crate) fn stopping(&self) -> Option<Exit> {
        self.cell.life.stop().map(|stop| stop.exit)
    }

    /// Sends a message without waiting for room.
    ///
    /// # Errors
    /// [`TrySendError`] with the message.
    pub fn try_send(&self, message: M) -> Result<(), TrySendError<M>> {
        self.cell.mailbox.try_put(Mail::Message(message)).map_err(unsent)
    }

    /// Whether the caller runs inside this actor.
    pub(crate) fn is_current(&self) -> bool {
        self.greenlet().is_current()
    }

    /// The number of items in the mailbox: messages, trapped exits, and now and then a wake-up.
    pub fn mailbox_len(&self) -> usize {
        self.cell.mailbox.len()
    }
}

/// What does not depend on the messages, for `ActorRef` and `AnyActor` alike.
macro_rules! lifecycle {
    () => {
        /// Its number, which is that of its greenlet.
        pub fn id(&self) -> ActorId {
            self.cell.life().id()
        }

        /// Its greenlet: for `joinall`, gevent's links, and whatever else takes one.
        pub fn greenlet(&self) -> &GreenletRef {
            self.cell.life().greenlet()
        }

        /// Why it has ended; `None` while it lives.
        pub fn exit(&self) -> Option<Exit> {
            self.cell.life().exit()
        }

        /// Asks the actor to end normally: after the message that it is handling, ahead of those that wait. Does not wait.
        pub fn stop(&self) {
            cell::stop(self.cell.any(), Exit::Normal);
        }

        /// Sends an exit signal, as Erlang's `exit(Pid, Reason)`. An actor that does not [trap
        /// exits](crate::Context::trap_exits) ends with that reason, from where its handler is suspended; one that does
        /// ends after the message that it is handling, as if its supervisor had told it. `Normal` is ignored, and
        /// [`Exit::Killed`] is [`kill`](Self::kill) without the wait. Does not wait.
        pub fn send_exit(&self, exit: Exit) {
            match exit {
                Exit::Normal => {}
                Exit::Killed => drop(self.cell.life().request_stop(Force::Kill, Exit::Killed)),
                exit => cell::exit_signal(self.cell.any(), self.id(), exit),
            }
        }

        /// Ends the actor with `killed` and waits until it has ended. It cannot trap this; its handler is unwound from
        /// where it is suspended, and [`terminate`](crate::Actor::terminate) is not called.
        ///
        /// Like any kill it reaches the actor where it suspends. A handler that catches it (`catch`) goes on to its end, and
        /// then the actor ends all the same; one that never returns is never gone.
        ///
        /// Called by the actor itself, it does not return, unless in a destructor that an unwinding runs: then the actor
        /// ends with that.
        pub fn kill(&self) {
            self.cell.life().request_stop(Force::Kill, Exit::Killed);
            if !self.greenlet().is_current() {
                self.greenlet().join();
            } else if !greenlet_core::is_unwinding() {
                greenlet_core::raise(greenlet_core::GreenletExit);
            }
        }

        /// Waits until the actor has ended, and returns why.
        ///
        /// # Panics
        /// When an actor joins itself: it would wait for ever.
        pub fn join(&self) -> Exit {
            self.greenlet().join();
            self.exit().unwrap_or(Exit::Killed)
        }

        /// Waits for at most `timeout`; `None` if it has not ended by then.
        pub fn join_timeout(&self, timeout: Duration) -> Option<Exit> {
            self.greenlet().join_timeout(timeout).then(|| self.exit().unwrap_or(Exit::Killed))
        }

        /// Links the two, as in Erlang: when either ends, the other gets an exit signal with its reason. Idempotent.
        ///
        /// If `other` has ended already, the signal comes at once, with [`Exit::NoProc`]. Linking an actor with itself
        /// does nothing.
        pub fn link(&self, other: &impl Linkable) {
            link(self.any_cell(), other.any_cell());
        }

        /// Takes a link back, in both directions, including one made by `link_exception`. As in Erlang, an exit that was
        /// trapped before stays in the mailbox. If the other one is ending on another thread at this moment, its signal may
        /// still arrive.
        pub fn unlink(&self, other: &impl Linkable) {
            let other = other.any_cell();
            self.cell.life().remove_link(other.id());
            other.cell().life().remove_link(self.id());
        }

        /// gevent's one-sided link: when this actor fails (panics, or a handler returns an error), `receiver` gets an
        /// exit signal with the reason. Nothing happens when `receiver` ends, or when this actor ends otherwise.
        ///
        /// If this actor has failed already, the signal comes at once.
        pub fn link_exception(&self, receiver: &impl Linkable) {
            let receiver = receiver.any_cell();
            if receiver.id() == self.id() {
                return;
            }
            let added = self.cell.life().add_link(receiver.cell.clone(), Direction::TellFailure);
            if let (false, Some(exit @ Exit::Failed(_))) = (added, self.exit()) {
                cell::exit_signal(receiver.cell(), self.id(), exit);
            }
        }
    };
}

impl<M: Send + 'static> ActorRef<M> {
    lifecycle!();
}

impl AnyActor {
    lifecycle!();
}

/// Borrows a cell as one whose messages do not matter.
trait Any {
    fn any(&self) -> &dyn AnyCell;
}

impl<M: Send + 'static> Any for Arc<MailCell<M>> {
    fn any(&self) -> &dyn AnyCell {
        &**self
    }
}

impl Any for Arc<dyn AnyCell> {
    fn any(&self) -> &dyn AnyCell {
        &**self
    }
}

/// Tells `to` that it is linked with `dead`.
fn no_proc(to: &AnyActor, dead: &AnyActor) {
    tracing::error!(target: "greenlet", actor = %to, %dead, "linked to an actor that has ended");
    cell::exit_signal(to.cell(), dead.id(), Exit::NoProc);
}

fn link(a: AnyActor, b: AnyActor) {
    if a.id() == b.id() {
        return;
    }
    if !a.cell().life().add_link(b.cell.clone(), Direction::Both) {
        return no_proc(&b, &a);
    }
    if !b.cell().life().add_link(a.cell.clone(), Direction::Both) {
        a.cell().life().remove_link(b.id());
        return no_proc(&a, &b);
    }
    if a.exit().is_some() {
        // It ended between the two, on another thread, and told `b`.
        b.cell().life().remove_link(a.id());
    }
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

impl<M> Clone for ActorRef<M> {
    fn clone(&self) -> ActorRef<M> {
        ActorRef { cell: self.cell.clone() }
    }
}

/// The same actor.
impl<M> PartialEq for ActorRef<M> {
    fn eq(&self, other: &ActorRef<M>) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell)
    }
}

impl<M> Eq for ActorRef<M> {}

/// The name (if it has one) and number of its greenlet.
impl<M> fmt::Display for ActorRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.cell.life.greenlet(), f)
    }
}

impl<M> fmt::Debug for ActorRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorRef({self})")
    }
}

impl fmt::Display for AnyActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.cell.life().greenlet(), f)
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
        f.write_str("SendError(..)")
    }
}

impl<M> fmt::Debug for TrySendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Ended(_) => "Ended(..)",
        })
    }
}
