//! State machines: OTP's `gen_statem`, as actors.
//!
//! A [`StateMachine`] says what to do with an event in a state. It is spawned, supervised and talked to as any actor
//! ([`into_actor`](StateMachine::into_actor)); its messages are its events. What a callback asks of its [`StateContext`] is done when it has
//! returned, in the new state, as the actions of `gen_statem` are:
//!
//! | | |
//! |---|---|
//! | [`state_timeout`](StateContext::state_timeout) | an event after a while in this state; a change of state cancels it |
//! | [`event_timeout`](StateContext::event_timeout) | an event after a while without events; any event cancels it |
//! | [`timeout`](StateContext::timeout) | an event after a while, with a name; until it is set anew or [cancelled](StateContext::cancel_timeout) |
//! | [`postpone`](StateContext::postpone) | the event comes again, in order with the others, after the next change of state |
//! | [`next_event`](StateContext::next_event) | an event of the machine's own, before all others |
//!
//! Being asked is an event with a [`Reply`](crate::Reply) in it, which may be answered now or in another state.
//!
//! ```
//! use greenlet_actor::statem::{StateContext, StateMachine, Transition};
//! use greenlet_actor::{Exit, Reply};
//! use std::time::Duration;
//!
//! /// A light that goes out by itself.
//! struct Light;
//!
//! #[derive(PartialEq, Clone, Copy, Debug)]
//! enum State { Off, On }
//!
//! enum Event { Press, Out, Get(Reply<State>) }
//!
//! impl StateMachine for Light {
//!     type State = State;
//!     type Event = Event;
//!
//!     fn init(&mut self, _: &mut StateContext<Self>) -> Result<State, Exit> {
//!         Ok(State::Off)
//!     }
//!
//!     fn handle_event(
//!         &mut self,
//!         state: &State,
//!         event: Event,
//!         ctx: &mut StateContext<Self>,
//!     ) -> Result<Transition<State>, Exit> {
//!         Ok(match (state, event) {
//!             (State::Off, Event::Press) => {
//!                 ctx.state_timeout(Duration::from_secs(60), Event::Out); // in the state that comes
//!                 Transition::Next(State::On)
//!             }
//!             (State::On, Event::Press | Event::Out) => Transition::Next(State::Off),
//!             (State::Off, Event::Out) => Transition::Keep,
//!             (state, Event::Get(reply)) => {
//!                 reply.send(*state);
//!                 Transition::Keep
//!             }
//!         })
//!     }
//! }
//!
//! # greenlet_core::run(|| {
//! let light = Light.spawn();
//! light.send(Event::Press).unwrap();
//! assert_eq!(light.ask(Event::Get, Duration::from_secs(1)).unwrap(), State::On);
//! # });
//! ```

mod context;
mod machine;

pub use context::StateContext;
pub use machine::Machine;

use crate::actor::Actor;
use crate::actor_ref::{ActorId, ActorRef};
use crate::describe::Describe;
use crate::exit::{Exit, InitError};
use crate::monitor::Down;

/// What becomes of the state after an event. A machine that is done returns an [`Exit`] instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transition<S> {
    /// It stays: OTP's `keep_state`.
    Keep,
    /// This one, OTP's `next_state`. If it is not equal to the old one that is a change of state: the state timeout is cancelled,
    /// [`enter`](StateMachine::enter) is called, and what was postponed comes again.
    Next(S),
    /// It stays, and `enter` is called again: OTP's `repeat_state`.
    Repeat,
}

/// States, events, and what to do with them. The data that go along with the states are in `self`.
///
/// Each callback may block, as the hooks of an [`Actor`]; events wait meanwhile. See the [module](self) for an example.
pub trait StateMachine: Sized + 'static {
    /// States are compared: an equal one is no change.
    type State: PartialEq + 'static;
    /// What it receives.
    type Event: Send + 'static;

    /// [`Actor::DESCRIBE`], also of events that come again or are its own.
    const DESCRIBE: Option<Describe<Self::Event>> = None;

    /// Called once, before the first event: the state to begin in. [`Actor::init`].
    ///
    /// # Errors
    /// The reason for which it does not start.
    fn init(&mut self, ctx: &mut StateContext<'_, Self>) -> Result<Self::State, Exit>;

    /// Handles an event: OTP's `handle_event_function`.
    ///
    /// # Errors
    /// The reason with which it ends, as for [`Actor::receive`].
    fn handle_event(
        &mut self,
        state: &Self::State,
        event: Self::Event,
        ctx: &mut StateContext<'_, Self>,
    ) -> Result<Transition<Self::State>, Exit>;

    /// Called when it enters a state, before any event is handled there: OTP's state enter call. `from` is the state before, which is
    /// `None` at the beginning, and the same one after [`Transition::Repeat`]. By default nothing happens.
    ///
    /// # Errors
    /// As [`handle_event`](StateMachine::handle_event).
    fn enter(
        &mut self,
        from: Option<&Self::State>,
        state: &Self::State,
        ctx: &mut StateContext<'_, Self>,
    ) -> Result<(), Exit> {
        let _ = (from, state, ctx);
        Ok(())
    }

    /// [`Actor::handle_exit`].
    ///
    /// # Errors
    /// As [`handle_event`](StateMachine::handle_event).
    fn handle_exit(
        &mut self,
        state: &Self::State,
        from: ActorId,
        exit: Exit,
        ctx: &mut StateContext<'_, Self>,
    ) -> Result<Transition<Self::State>, Exit> {
        let _ = (state, from, ctx);
        if exit.is_normal() { Ok(Transition::Keep) } else { Err(exit) }
    }

    /// [`Actor::handle_down`].
    ///
    /// # Errors
    /// As [`handle_event`](StateMachine::handle_event).
    fn handle_down(
        &mut self,
        state: &Self::State,
        down: Down,
        ctx: &mut StateContext<'_, Self>,
    ) -> Result<Transition<Self::State>, Exit> {
        let _ = (state, down, ctx);
        Ok(Transition::Keep)
    }

    /// [`Actor::terminate`].
    fn terminate(&mut self, exit: &Exit, state: &Self::State, ctx: &mut StateContext<'_, Self>) {
        let _ = (exit, state, ctx);
    }

    /// [`Actor::label`].
    fn label(event: &Self::Event) -> &'static str {
        let _ = event;
        std::any::type_name::<Self::Event>()
    }

    /// [`Actor::dump`].
    fn dump(&self, state: &Self::State) -> String {
        let _ = state;
        std::any::type_name::<Self>().to_owned()
    }

    /// The machine as an actor, for [`ActorBuilder`](crate::ActorBuilder) and [`worker`](crate::worker).
    fn into_actor(self) -> Machine<Self> {
        Machine::new(self)
    }

    /// [`Actor::spawn`].
    #[track_caller]
    fn spawn(self) -> ActorRef<Self::Event>
    where
        Self: Send,
        Self::State: Send,
    {
        Actor::spawn(self.into_actor())
    }

    /// [`Actor::spawn_local`].
    #[track_caller]
    fn spawn_local(self) -> ActorRef<Self::Event> {
        Actor::spawn_local(self.into_actor())
    }

    /// [`Actor::start`]: `enter` of the first state is part of the start.
    ///
    /// # Errors
    /// [`InitError`] with the reason for which it did not start.
    #[track_caller]
    fn start(self) -> Result<ActorRef<Self::Event>, InitError>
    where
        Self: Send,
        Self::State: Send,
    {
        Actor::start(self.into_actor())
    }

    /// [`Actor::start_local`].
    ///
    /// # Errors
    /// [`InitError`] with the reason for which it did not start.
    #[track_caller]
    fn start_local(self) -> Result<ActorRef<Self::Event>, InitError> {
        Actor::start_local(self.into_actor())
    }
}
