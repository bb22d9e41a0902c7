//! Messages that come later.
//!
//! A timer that fires puts a token into the mailbox, which leads to the timer, and the message stays there until the actor comes to the token.
//! So a timer can be cancelled until then, from any thread, and one that repeats has one token in the mailbox at most.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use greenlet_core::Instant;

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::alarm::{Alarm, Rings};
use crate::cell::MailCell;
use crate::context::Context;
use crate::special::{Special, post};

/// A timer of [`send_after`](Context::send_after) or [`send_interval`](Context::send_interval): Erlang's timer reference.
///
/// Dropping it does not cancel the timer. It may be used from any thread.
#[derive(Clone)]
pub struct TimerRef {
    timer: Arc<dyn AnyTimer>,
}

/// What [`TimerRef::cancel`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancelled {
    /// Its time had not come, and does not come any more: so much was left.
    InTime(Duration),
    /// Its message was in the mailbox already, and was taken out: nobody handles it.
    InMailbox,
    /// There was nothing to cancel: the message was handled or is being handled, the timer was cancelled before, or the actor has ended.
    TooLate,
}

impl Cancelled {
    /// Whether the message was kept from being handled.
    pub fn is_in_time(self) -> bool {
        self != Cancelled::TooLate
    }
}

impl TimerRef {
    /// Cancels the timer. Afterwards none of its messages is handled any more, except one that is being handled: also one that is in
    /// the mailbox already is not. Never suspends.
    pub fn cancel(&self) -> Cancelled {
        self.timer.cancel()
    }

    /// Whether it is still to fire, or its message waits in the mailbox.
    pub fn is_active(&self) -> bool {
        self.timer.is_active()
    }

    /// How long it is until it fires (next): Erlang's `read_timer`. `None` if it does not, or not before the message that is in the mailbox
    /// was handled.
    pub fn remaining(&self) -> Option<Duration> {
        self.timer.remaining()
    }
}

impl fmt::Debug for TimerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerRef").field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}

/// A timer of an actor, whatever the messages are.
pub(crate) trait AnyTimer: Send + Sync {
    fn cancel(&self) -> Cancelled;
    fn is_active(&self) -> bool;
    fn remaining(&self) -> Option<Duration>;
}

/// Names a timer in its actor's list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerId(u64);

impl TimerId {
    pub(crate) fn next() -> TimerId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        TimerId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

type Make<M> = Box<dyn FnMut() -> M + Send>;

pub(crate) struct Timed<M> {
    id: TimerId,
    actor: Weak<dyn MailCell<M>>,
    period: Option<Duration>,
    alarm: OnceLock<Alarm>,
    state: Mutex<State<M>>,
}

struct State<M> {
    phase: Phase,
    /// When it fires next; `None` for never.
    due: Option<Instant>,
    message: Option<M>,
    /// Makes the messages of one that repeats. Taken out while it does.
    make: Option<Make<M>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It is to fire.
    Set,
    /// Its token is in the mailbox.
    Arrived,
    /// And the actor has come to it.
    Taken,
    Over,
}

impl<M: Send + 'static> Timed<M> {
    fn set(
        actor: &ActorRef<M>,
        after: Duration,
        period: Option<Duration>,
        message: Option<M>,
        make: Option<Make<M>>,
    ) -> TimerRef {
        let due = Instant::now().checked_add(after);
        let timed = Arc::new(Timed {
            id: TimerId::next(),
            actor: Arc::downgrade(actor.mail_cell()),
            period,
            alarm: OnceLock::new(),
            state: Mutex::new(State { phase: Phase::Set, due, message, make }),
        });
        let timer = TimerRef { timer: timed.clone() };
        // The actor's end cancels it, hence first.
        if !actor.life().add_timer(timed.id, timed.clone()) {
            timed.cancel();
            return timer;
        }
        let ringing = timed.clone();
        let rings = period.map_or(Rings::Once, Rings::Every);
        let alarm = Alarm::set(&actor.life().home, after, rings, move || ringing.fire());
        let _ = timed.alarm.set(alarm);
        if !timed.is_active() {
            // The actor ended just now, and did not see the alarm yet.
            timed.disarm();
        }
        timer
    }

    fn state(&self) -> MutexGuard<'_, State<M>> {
        // Nothing under this lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its time has come: called in the loop of its hub.
    fn fire(self: &Arc<Self>) {
        let mut state = self.state();
        if let Some(period) = self.period {
            state.due = Instant::now().checked_add(period);
        }
        if state.phase != Phase::Set {
            return; // over; or the last one was not handled yet
        }
        state.phase = Phase::Arrived;
        drop(state);
        match self.actor.upgrade() {
            Some(actor) if post(&actor, Special::Timer(self.clone())) => {}
            _ => drop(self.cancel()),
        }
    }

    /// The message, for an actor that has come to the token. It is followed by `taken` or `put_back`. `None`: it was cancelled.
    pub(crate) fn look(&self) -> Option<M> {
        let mut state = self.state();
        if state.phase != Phase::Arrived {
            return None;
        }
        state.phase = Phase::Taken;
        if let Some(message) = state.message.take() {
            return Some(message);
        }
        let mut make = state.make.take()?;
        drop(state);
        let message = make();
        let mut state = self.state();
        if state.phase == Phase::Over {
            drop(state);
            drop(make);
        } else {
            state.make = Some(make);
        }
        Some(message)
    }

    /// The message is being handled.
    pub(crate) fn taken(&self) {
        let mut state = self.state();
        if state.phase != Phase::Taken {
            return;
        }
        if self.period.is_some() {
            state.phase = Phase::Set;
        } else {
            state.phase = Phase::Over;
            drop(state);
            self.leave();
        }
    }

    /// The message was looked at, and not wanted.
    pub(crate) fn put_back(&self, message: M) {
        let mut state = self.state();
        if state.phase == Phase::Taken {
            state.phase = Phase::Arrived;
            state.message = Some(message);
        } else {
            // Cancelled meanwhile.
            drop(state);
            drop(message);
        }
    }

    fn leave(&self) {
        if let Some(actor) = self.actor.upgrade() {
            actor.life().remove_timer(self.id);
        }
    }

    fn disarm(&self) {
        if let Some(alarm) = self.alarm.get() {
            alarm.stop();
        }
    }
}

impl<M: Send + 'static> AnyTimer for Timed<M> {
    fn cancel(&self) -> Cancelled {
        let mut state = self.state();
        let phase = std::mem::replace(&mut state.phase, Phase::Over);
        let due = state.due;
        let dropped = (state.message.take(), state.make.take());
        drop(state);
        if phase != Phase::Over {
            self.leave();
            if phase == Phase::Set || self.period.is_some() {
                self.disarm();
            }
        }
        drop(dropped);
        match phase {
            Phase::Set => {
                Cancelled::InTime(due.map_or(Duration::MAX, |due| due.duration_since(Instant::now())))
            }
            Phase::Arrived => Cancelled::InMailbox,
            Phase::Taken | Phase::Over => Cancelled::TooLate,
        }
    }

    fn is_active(&self) -> bool {
        matches!(self.state().phase, Phase::Set | Phase::Arrived)
    }

    fn remaining(&self) -> Option<Duration> {
        let state = self.state();
        if state.phase != Phase::Set {
            return None;
        }
        Some(state.due?.duration_since(Instant::now()))
    }
}

impl<A: Actor> Context<A> {
    /// Sends a message to this actor after a while, unless it is cancelled: Erlang's `send_after`. It comes through the mailbox, in order with
    /// the others, however full that is. With the actor the timer ends. Never suspends; [`Duration::MAX`] never comes.
    ///
    /// ```
    /// use greenlet_actor::{Actor, Context, Exit, Cancelled, TimerRef};
    /// use std::time::Duration;
    ///
    /// enum Message { Touch, Expire }
    /// struct Session { expiry: Option<TimerRef> }
    ///
    /// impl Actor for Session {
    ///     type Message = Message;
    ///     fn receive(&mut self, message: Message, ctx: &mut Context<Self>) -> Result<(), Exit> {
    ///         match message {
    ///             Message::Touch => {
    ///                 let timer = ctx.send_after(Duration::from_millis(2), Message::Expire);
    ///                 // One that has fired is cancelled too, as long as its message was not handled.
    ///                 if let Some(before) = self.expiry.replace(timer) { before.cancel(); }
    ///                 Ok(())
    ///             }
    ///             Message::Expire => Err(Exit::Normal),
    ///         }
    ///     }
    /// }
    /// # greenlet_core::run(|| {
    /// let session = Session { expiry: None }.spawn();
    /// session.send(Message::Touch).unwrap();
    /// assert!(session.join().is_normal());
    /// # });
    /// ```
    pub fn send_after(&self, delay: Duration, message: A::Message) -> TimerRef {
        self.me().send_after(delay, message)
    }

    /// Sends a message to this actor every `period`, the first time after one, until it is cancelled: OTP's `timer:send_interval`. `make` makes each
    /// message when the actor comes to it, in the actor: what fails in it is the actor's failure.
    ///
    /// One message at most is in the mailbox: while it was not handled, those that follow are left out. So an actor that is slower than its
    /// timer is not flooded. The times do not drift.
    ///
    /// # Panics
    /// If `period` is zero.
    pub fn send_interval(
        &self,
        period: Duration,
        make: impl FnMut() -> A::Message + Send + 'static,
    ) -> TimerRef {
        assert!(!period.is_zero(), "a timer that repeats needs time in between");
        Timed::set(self.me(), period, Some(period), None, Some(Box::new(make)))
    }
}

impl<M: Send + 'static> ActorRef<M> {
    /// Sends a message to the actor after a while, unless it is cancelled: Erlang's `erlang:send_after`. As
    /// [`Context::send_after`]: it goes into the mailbox however full that is, and the timer ends with the actor (not with the caller). Never
    /// suspends, and works from any thread.
    pub fn send_after(&self, delay: Duration, message: M) -> TimerRef {
        Timed::set(self, delay, None, Some(message), None)
    }
}
