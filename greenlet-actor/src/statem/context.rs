//! What a callback of a state machine sees of it, and asks of it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::{Machine, StateMachine};
use crate::context::Context;
use crate::stash::{Stash, StashFull};
use crate::timer::TimerRef;

/// The machine's view of itself. It is the [`Context`] of its actor too, with all that is there.
///
/// What is asked for here is done when the callback has returned and its change of state is made, in the order of the calls.
pub struct StateContext<'a, S: StateMachine> {
    ctx: &'a mut Context<Machine<S>>,
    agenda: &'a mut Agenda<S::Event>,
}

/// What the machine has still to do.
pub(super) struct Agenda<E> {
    /// Asked for by the callback that runs.
    pub(super) actions: Vec<Action<E>>,
    pub(super) inserted: Vec<E>,
    /// Events that come before those of the mailbox.
    pub(super) queue: VecDeque<E>,
    pub(super) postponed: Stash<E>,
    pub(super) state_timeout: Option<TimerRef>,
    pub(super) event_timeout: Option<TimerRef>,
    pub(super) timeouts: HashMap<&'static str, TimerRef>,
}

pub(super) enum Action<E> {
    StateTimeout(Duration, E),
    CancelStateTimeout,
    EventTimeout(Duration, E),
    Timeout(&'static str, Duration, E),
    CancelTimeout(&'static str),
}

impl<E> Default for Agenda<E> {
    fn default() -> Agenda<E> {
        Agenda {
            actions: Vec::new(),
            inserted: Vec::new(),
            queue: VecDeque::new(),
            postponed: Stash::default(),
            state_timeout: None,
            event_timeout: None,
            timeouts: HashMap::new(),
        }
    }
}

impl<'a, S: StateMachine> StateContext<'a, S> {
    pub(super) fn new(
        ctx: &'a mut Context<Machine<S>>,
        agenda: &'a mut Agenda<S::Event>,
    ) -> StateContext<'a, S> {
        StateContext { ctx, agenda }
    }

    /// Has this event come when the machine has been in the state for so long: OTP's `state_timeout`. A change of state cancels it, and another one
    /// takes its place. If the callback changes the state, this is about the new one.
    pub fn state_timeout(&mut self, after: Duration, event: S::Event) {
        self.agenda.actions.push(Action::StateTimeout(after, event));
    }

    /// Takes the state timeout back.
    pub fn cancel_state_timeout(&mut self) {
        self.agenda.actions.push(Action::CancelStateTimeout);
    }

    /// Has this event come when no other event has for so long: OTP's event timeout. Any event cancels it, one of the machine's own and one
    /// that was postponed too, as do a trapped exit and a DOWN.
    pub fn event_timeout(&mut self, after: Duration, event: S::Event) {
        self.agenda.actions.push(Action::EventTimeout(after, event));
    }

    /// Has this event come after so long: OTP's generic timeout. It has a name, by which it is set anew and
    /// [cancelled](StateContext::cancel_timeout); what else happens does not matter to it.
    pub fn timeout(&mut self, name: &'static str, after: Duration, event: S::Event) {
        self.agenda.actions.push(Action::Timeout(name, after, event));
    }

    /// Takes a timeout back, also if its event is in the mailbox already. Nothing happens if there is none of this name.
    pub fn cancel_timeout(&mut self, name: &'static str) {
        self.agenda.actions.push(Action::CancelTimeout(name));
    }

    /// Has this event handled next, before those of the mailbox and those that come again: OTP's `next_event`. Several come in the order of the
    /// calls.
    pub fn next_event(&mut self, event: S::Event) {
        self.agenda.inserted.push(event);
    }

    /// Puts the event aside until the state changes: then all that were postponed come again, in order, before newer ones. If the callback
    /// changes the state, that is at once.
    ///
    /// # Errors
    /// [`StashFull`] with the event, at the [limit](StateContext::set_postpone_limit).
    pub fn postpone(&mut self, event: S::Event) -> Result<(), StashFull<S::Event>> {
        self.agenda.postponed.push(event)
    }

    /// How many events are postponed.
    pub fn postponed(&self) -> usize {
        self.agenda.postponed.len()
    }

    /// How many events may be postponed. Default: [`DEFAULT_STASH_LIMIT`](crate::DEFAULT_STASH_LIMIT).
    pub fn set_postpone_limit(&mut self, events: usize) {
        self.agenda.postponed.set_limit(events);
    }
}

impl<S: StateMachine> Deref for StateContext<'_, S> {
    type Target = Context<Machine<S>>;

    fn deref(&self) -> &Context<Machine<S>> {
        self.ctx
    }
}

impl<S: StateMachine> DerefMut for StateContext<'_, S> {
    fn deref_mut(&mut self) -> &mut Context<Machine<S>> {
        self.ctx
    }
}

impl<S: StateMachine> fmt::Debug for StateContext<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateContext({})", self.me())
    }
}
