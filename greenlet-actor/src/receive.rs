//! Selective receive: Erlang's `receive` with patterns, inside a handler.

use std::time::Duration;

use greenlet_core::Instant;

use crate::actor::Actor;
use crate::bounded::{Bounded, Overflow};
use crate::cell::Mail;
use crate::context::Context;
use crate::monitor::{Down, MonitorId};
use crate::special::{Signal, Special, offer};

/// No message that was wanted came in time: Erlang's `after`. All that came are in the mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no message that matches came in {timeout:?}")]
#[non_exhaustive]
pub struct NoMatch {
    /// How long it was waited for.
    pub timeout: Duration,
}

/// What of the mailbox was looked at, and refused.
#[derive(Default)]
struct Seen {
    /// So many from the front.
    mails: usize,
    /// Those of the ring with numbers below this.
    ring: u64,
}

/// A function for [`Context::receive_match`] from a pattern, as an arm of a `match`: it takes the messages that the pattern matches, and makes
/// the value behind the arrow of them. With `move` before the pattern it is a `move` closure.
///
/// ```
/// use greenlet_actor::matching;
///
/// enum Message { Answer { id: u32, text: String }, Other }
///
/// let mut take = matching!(Message::Answer { id, text } if id == 7 => text);
/// assert_eq!(take(Message::Answer { id: 7, text: "seven".into() }).ok().unwrap(), "seven");
/// assert!(take(Message::Answer { id: 8, text: "eight".into() }).is_err());
/// assert!(take(Message::Other).is_err());
/// ```
#[macro_export]
macro_rules! matching {
    (move $pattern:pat $(if $guard:expr)? => $value:expr $(,)?) => {
        move |message| $crate::matching!(@arms message, $pattern $(if $guard)? => $value)
    };
    (@arms $message:ident, $pattern:pat $(if $guard:expr)? => $value:expr) => {
        match $message {
            $pattern $(if $guard)? => ::core::result::Result::Ok($value),
            other => ::core::result::Result::Err(other),
        }
    };
    ($pattern:pat $(if $guard:expr)? => $value:expr $(,)?) => {
        |message| $crate::matching!(@arms message, $pattern $(if $guard)? => $value)
    };
}

impl<A: Actor> Context<A> {
    /// Waits for a message of which `take` makes something, in the middle of a handler: Erlang's selective `receive`. What `take` gives back as
    /// `Err` stays in the mailbox where it is, and is handled in its turn; so do signals (trapped exits, DOWN). The oldest that matches is taken. It
    /// suspends the handler; with a timeout of zero it only looks at what is there. [`matching!`](crate::matching) makes `take` of a pattern.
    ///
    /// Each message is offered once for each call: waiting costs nothing for what was refused. `take` may block, but must not depend
    /// on how often it is called. A message that is taken leaves its room in a bounded mailbox to the next. Stashed messages are not
    /// looked at.
    ///
    /// A kill, an exit signal that is not trapped and a [`Timeout`](greenlet_core::Timeout) end the wait, and lose nothing; being told to
    /// [stop](crate::ActorRef::stop), or to end by the supervisor while exits are trapped, does not: that waits for the handler's end.
    ///
    /// # Errors
    /// [`NoMatch`] when the time is over. [`Duration::MAX`] never is.
    ///
    /// ```
    /// use greenlet_actor::{Actor, ActorRef, Context, Exit, matching};
    /// use std::time::Duration;
    ///
    /// enum Message { Start, Data(u32), Ack }
    /// struct Sender { peer: ActorRef<u32> }
    ///
    /// impl Actor for Sender {
    ///     type Message = Message;
    ///     fn receive(&mut self, message: Message, ctx: &mut Context<Self>) -> Result<(), Exit> {
    ///         if let Message::Data(n) = message {
    ///             self.peer.cast(n);
    ///             // More data may come meanwhile: it waits.
    ///             ctx.receive_match(matching!(Message::Ack => ()), Duration::from_secs(5))?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn receive_match<T>(
        &mut self,
        mut take: impl FnMut(A::Message) -> Result<T, A::Message>,
        timeout: Duration,
    ) -> Result<T, NoMatch> {
        let ring = self.me().bounded().is_some_and(|bounded| bounded.overflow() == Overflow::DropOldest);
        self.receive_until(timeout, |ctx, seen| {
            if ring && let Some(taken) = ctx.take_from_ring(seen, &mut take) {
                return Some(taken);
            }
            let (bounded, mut owned) = ctx.inbox();
            owned.take_first(&mut seen.mails, |mail| offer(mail, bounded, &mut take))
        })
    }

    /// Waits for the DOWN of this monitor, as [`receive_match`](Context::receive_match) for a message: it does not come to
    /// [`handle_down`](Actor::handle_down) then.
    ///
    /// # Errors
    /// [`NoMatch`] when the time is over.
    pub fn receive_down(&mut self, monitor: MonitorId, timeout: Duration) -> Result<Down, NoMatch> {
        self.receive_until(timeout, |ctx, seen| ctx.take_down(monitor, &mut seen.mails))
    }

    /// Takes the DOWN of this monitor out of the mailbox, if it is there behind the first `known`.
    pub(crate) fn take_down(&mut self, monitor: MonitorId, known: &mut usize) -> Option<Down> {
        let wanted = |special: &Special<A::Message>| matches!(special, Special::Signal(Signal::Down(down)) if down.monitor == monitor);
        self.inbox().1.take_first(known, |mail| match mail {
            Mail::Special(special) if wanted(&special) => match *special {
                Special::Signal(Signal::Down(down)) => Ok(down),
                other => Err(Mail::Special(Box::new(other))),
            },
            other => Err(other),
        })
    }

    fn receive_until<T>(
        &mut self,
        timeout: Duration,
        mut scan: impl FnMut(&mut Context<A>, &mut Seen) -> Option<T>,
    ) -> Result<T, NoMatch> {
        let mut seen = Seen::default();
        if let Some(taken) = scan(self, &mut seen) {
            return Ok(taken);
        }
        if timeout.is_zero() {
            return Err(NoMatch { timeout });
        }
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let in_time = self.await_mail(deadline, seen.ring);
            if let Some(taken) = scan(self, &mut seen) {
                return Ok(taken);
            }
            if !in_time {
                return Err(NoMatch { timeout });
            }
        }
    }

    /// Waits until something new is in the mailbox. It may come back without. False when the time is over.
    fn await_mail(&mut self, deadline: Option<Instant>, ring_seen: u64) -> bool {
        let me = self.me().clone();
        let arrived = &me.life().rare().arrived;
        // Before the wait is announced: who sees the announcement sets it.
        arrived.clear();
        let (bounded, mut owned) = self.inbox();
        let Some(_waiting) = owned.wait() else { return true };
        // Those who found the ring full have put nothing into the mailbox, and did not see us wait, perhaps.
        if bounded.is_some_and(|bounded| bounded.ring_has(ring_seen)) {
            return true;
        }
        match deadline {
            None => {
                arrived.wait();
                true
            }
            Some(deadline) => arrived.wait_timeout(deadline - Instant::now()),
        }
    }

    /// As [`Owned::take_first`](crate::mailbox::Owned::take_first), of the messages that are kept apart.
    fn take_from_ring<T>(
        &mut self,
        seen: &mut Seen,
        take: &mut impl FnMut(A::Message) -> Result<T, A::Message>,
    ) -> Option<T> {
        let (bounded, mut owned) = self.inbox();
        let bounded = bounded?;
        while let Some((number, message)) = bounded.take_numbered(seen.ring) {
            seen.ring = number + 1;
            match take(message) {
                Err(message) => drop(bounded.put_numbered(number, message)),
                Ok(taken) => {
                    // The one that stood for it. If its sender has not put it in yet, it comes for nothing, which is harmless.
                    owned.take_first(&mut 0, |mail| match mail {
                        Mail::Special(special) if matches!(*special, Special::Ring) => Ok(()),
                        other => Err(other),
                    });
                    return Some(taken);
                }
            }
        }
        None
    }
}

impl<M> Bounded<M> {
    /// Whether the ring has a message with this number or a later one.
    fn ring_has(&self, number: u64) -> bool {
        self.last_number().is_some_and(|last| last >= number)
    }
}
