//! What comes in the mailbox in order with the messages, and is no plain message.
//!
//! It is in a box, so that plain messages, which are what there is most of, do not grow by it.

use std::sync::Arc;

use crate::actor::Actor;
use crate::actor_ref::ActorId;
use crate::bounded::Bounded;
use crate::cell::{Mail, MailCell, deliver};
use crate::context::Context;
use crate::exit::Exit;
use crate::feed::InWindow;
use crate::monitor::Down;
use crate::run::Runner;
use crate::signals;
use crate::timer::Timed;

/// What anybody can put into any mailbox.
pub(crate) enum Signal {
    /// The exit of a linked actor, for one that traps exits.
    Exited(ActorId, Exit),
    Down(Down),
    /// It is to end normally, now that all that was sent before is done.
    Finish,
    /// Nothing has come for so long; counts if nothing was taken out of the mailbox since.
    Idle {
        taken: u64,
    },
}

pub(crate) enum Special<M> {
    Signal(Signal),
    /// One of the messages that are kept in the ring, so that the oldest can be dropped.
    Ring,
    /// A message that was handled once and stashed, or that was let in over the limit. It has no place in a bounded mailbox.
    Again(M),
    /// What the actor goes on with, ahead of everything.
    Continue(M),
    /// A timer has fired, which has the message.
    Timer(Arc<Timed<M>>),
    /// An item of a stream.
    Item(M, InWindow),
    Hibernate,
}

/// Whether that is something that the actor goes on with, ahead of everything else.
pub(crate) fn goes_on<M>(mail: &Mail<M>) -> bool {
    matches!(mail, Mail::Special(special) if matches!(**special, Special::Continue(_)))
}

/// The place in a bounded mailbox of a message that is taken out of it: given back when this is dropped.
pub(crate) struct Place<'a, M>(Option<&'a Bounded<M>>);

impl<'a, M> Place<'a, M> {
    #[inline]
    pub(crate) fn of(bounded: Option<&'a Bounded<M>>) -> Place<'a, M> {
        Place(bounded)
    }

    /// The message is put back into its place.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl<M> Drop for Place<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(bounded) = self.0 {
            bounded.taken();
        }
    }
}

/// The message of a timer is being looked at: it is taken, unless it is put back; also when the look unwinds.
struct Looked<'a, M: Send + 'static>(&'a Timed<M>);

impl<M: Send + 'static> Drop for Looked<'_, M> {
    fn drop(&mut self) {
        self.0.taken();
    }
}

/// Has an actor handle what is no plain message.
#[cold]
pub(crate) fn handle<A: Actor>(
    actor: &mut A,
    special: Special<A::Message>,
    ctx: &mut Context<A>,
    runner: &Runner,
) -> Result<(), Exit> {
    match special {
        Special::Signal(signal) => signals::handle(actor, signal, ctx, runner),
        Special::Ring => match ctx.me().bounded().and_then(Bounded::pop_ring) {
            Some(message) => deliver(actor, message, ctx, runner),
            None => Ok(()),
        },
        Special::Again(message) | Special::Continue(message) => deliver(actor, message, ctx, runner),
        Special::Item(message, room) => {
            drop(room);
            deliver(actor, message, ctx, runner)
        }
        Special::Timer(timed) => {
            runner.handles("timer");
            let Some(message) = timed.look() else { return Ok(()) };
            timed.taken();
            deliver(actor, message, ctx, runner)
        }
        Special::Hibernate => {
            ctx.shrink();
            runner.handles("hibernate");
            actor.hibernate(ctx);
            Ok(())
        }
    }
}

/// Offers the message that this is, if it is one. What is not wanted comes back.
pub(crate) fn offer<M: Send + 'static, T>(
    mail: Mail<M>,
    bounded: Option<&Bounded<M>>,
    take: &mut impl FnMut(M) -> Result<T, M>,
) -> Result<T, Mail<M>> {
    let special = match mail {
        Mail::Message(message) => {
            let place = Place::of(bounded);
            return take(message).map_err(|message| {
                place.keep();
                Mail::Message(message)
            });
        }
        Mail::Special(special)
            if matches!(*special, Special::Signal(_) | Special::Ring | Special::Hibernate) =>
        {
            return Err(Mail::Special(special));
        }
        Mail::Special(special) => special,
    };
    let refused = match *special {
        Special::Again(message) => match take(message) {
            Ok(taken) => return Ok(taken),
            Err(message) => Special::Again(message),
        },
        Special::Continue(message) => match take(message) {
            Ok(taken) => return Ok(taken),
            Err(message) => Special::Continue(message),
        },
        Special::Item(message, room) => match take(message) {
            Ok(taken) => return Ok(taken),
            Err(message) => Special::Item(message, room),
        },
        Special::Timer(timed) => {
            // One that was cancelled stays as it is: nothing comes of it.
            if let Some(message) = timed.look() {
                let looked = Looked(&timed);
                match take(message) {
                    Ok(taken) => return Ok(taken),
                    Err(message) => {
                        std::mem::forget(looked);
                        timed.put_back(message);
                    }
                }
            }
            Special::Timer(timed)
        }
        other @ (Special::Signal(_) | Special::Ring | Special::Hibernate) => other,
    };
    Err(Mail::Special(Box::new(refused)))
}

/// The message that this is, if it is one that was sent.
pub(crate) fn message<M>(mail: &Mail<M>) -> Option<&M> {
    match mail {
        Mail::Message(message) => Some(message),
        Mail::Special(special) => match &**special {
            Special::Again(message) | Special::Continue(message) | Special::Item(message, _) => Some(message),
            Special::Signal(_) | Special::Ring | Special::Timer(_) | Special::Hibernate => None,
        },
    }
}

/// Puts a message into the mailbox of an actor, however full that is, where it has no place. It comes back if the actor has ended.
pub(crate) fn post_message<M>(to: &Arc<dyn MailCell<M>>, message: M) -> Result<(), M> {
    match to.mailbox().push(Mail::Special(Box::new(Special::Again(message)))) {
        Ok(how) => {
            crate::cell::pushed(to, how, |cell| cell);
            Ok(())
        }
        Err(Mail::Special(special)) => match *special {
            Special::Again(message) => Err(message),
            _ => unreachable!("what was put comes back"),
        },
        Err(Mail::Message(message)) => Err(message),
    }
}

/// Puts something into the mailbox of an actor, however full that is. Nobody hears if it has ended.
pub(crate) fn post<M>(to: &Arc<dyn MailCell<M>>, special: Special<M>) -> bool {
    match to.mailbox().push(Mail::Special(Box::new(special))) {
        Ok(how) => {
            crate::cell::pushed(to, how, |cell| cell);
            true
        }
        Err(_) => false,
    }
}
