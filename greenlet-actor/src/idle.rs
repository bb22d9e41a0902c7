//! Having nothing to do: the idle timeout, and giving memory back.
//!
//! An actor with an idle timeout notes the time whenever its mailbox is empty. One alarm is set, lazily: when it rings too early, since messages
//! came, it is set again for the rest. When it rings in time it puts a signal into the mailbox, which counts only if nothing was taken out
//! of the mailbox before it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use greenlet_core::Instant;

use crate::actor::Actor;
use crate::alarm::{Alarm, Rings};
use crate::cell::{AnyCell, Mail};
use crate::context::Context;
use crate::life::flag;
use crate::run::Home;
use crate::special::{Signal, Special, goes_on};

/// The idle timeout of an actor. Dropped with the actor's own, which stops it.
pub(crate) struct IdleTimeout(Arc<Idle>);

struct Idle {
    actor: Weak<dyn AnyCell>,
    home: Home,
    state: Mutex<State>,
}

struct State {
    /// `None`: it is over.
    timeout: Option<Duration>,
    /// When the actor will have been idle for so long; `None` while that is not known.
    due: Option<Instant>,
    /// How much had been taken out of the mailbox when it became idle.
    taken: u64,
    alarm: Option<Alarm>,
}

impl Idle {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_alarm(self: &Arc<Self>, state: &mut State, after: Duration) {
        let idle = self.clone();
        state.alarm = Some(Alarm::set(&self.home, after, Rings::Once, move || idle.ring()));
    }

    fn ring(self: &Arc<Self>) {
        let mut state = self.state();
        state.alarm = None;
        let Some(due) = state.due else { return };
        let left = due.duration_since(Instant::now());
        if !left.is_zero() {
            return self.set_alarm(&mut state, left);
        }
        state.due = None;
        let taken = state.taken;
        drop(state);
        if let Some(actor) = self.actor.upgrade() {
            actor.post(Signal::Idle { taken });
        }
    }
}

impl Drop for IdleTimeout {
    fn drop(&mut self) {
        let mut state = self.0.state();
        (state.timeout, state.due) = (None, None);
        if let Some(alarm) = state.alarm.take() {
            alarm.stop();
        }
    }
}

impl<A: Actor> Context<A> {
    /// Has [`handle_timeout`](Actor::handle_timeout) called when nothing (messages, trapped exits, DOWN) has come for so long since the mailbox was
    /// empty, again and again, until this says otherwise; `None`: never, as at the beginning. OTP's time-out of `gen_server`, which has to be given anew by each
    /// callback.
    pub fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        let life = self.me().life();
        if timeout.is_some() {
            life.set(flag::IDLE_TIMEOUT)
        } else {
            life.unset(flag::IDLE_TIMEOUT)
        }
        let (actor, home) = (Arc::downgrade(&self.me().cell()), life.home.clone());
        let new = timeout.map(|timeout| {
            let state = State { timeout: Some(timeout), due: None, taken: 0, alarm: None };
            IdleTimeout(Arc::new(Idle { actor, home, state: Mutex::new(state) }))
        });
        if new.is_some() || self.try_belongings().is_some() {
            let old = std::mem::replace(&mut self.belongings().idle, new);
            drop(old);
        }
    }

    /// The mailbox is empty, and the actor has an idle timeout.
    #[cold]
    pub(crate) fn becomes_idle(&mut self) {
        let taken = self.me().mailbox().taken();
        let Some(IdleTimeout(idle)) = self.try_belongings().and_then(|belongings| belongings.idle.as_ref())
        else {
            return;
        };
        let mut state = idle.state();
        let Some(timeout) = state.timeout else { return };
        state.taken = taken;
        state.due = Instant::now().checked_add(timeout);
        if state.due.is_some() && state.alarm.is_none() {
            idle.set_alarm(&mut state, timeout);
        }
    }

    /// Whether the actor has done nothing since it became idle with that count, but take out what says so.
    pub(crate) fn was_idle(&self, taken: u64) -> bool {
        self.me().life().has(flag::IDLE_TIMEOUT) && self.me().mailbox().taken() == taken + 1
    }

    /// Gives memory back when the handler has returned, for an actor that expects to be idle for long: OTP's `hibernate`. What the context has
    /// (stash, behaviours) shrinks to what is in use, and [`Actor::hibernate`] does the same for the state. An idle actor has no stack anyway.
    pub fn hibernate(&mut self) {
        let mail = Mail::Special(Box::new(Special::Hibernate));
        self.inbox().1.put_in_front(goes_on, std::iter::once(mail));
    }

    /// Gives back what it need not have.
    pub(crate) fn shrink(&mut self) {
        if let Some(bounded) = self.me().bounded() {
            bounded.shrink();
        }
        self.shrink_belongings();
    }
}
