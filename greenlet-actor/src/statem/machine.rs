//! The actor under a state machine.

use std::fmt;

use greenlet_core::yield_now;

use super::context::{Action, Agenda};
use super::{StateContext, StateMachine, Transition};
use crate::actor::Actor;
use crate::actor_ref::ActorId;
use crate::context::Context;
use crate::describe::Describe;
use crate::exit::Exit;
use crate::life::flag;
use crate::monitor::Down;
use crate::timer::TimerRef;

/// Events of its own and events that come again, which a machine handles in a row before other greenlets get a turn.
const EVENTS_PER_TURN: u32 = 64;

/// A [`StateMachine`] as an [`Actor`].
pub struct Machine<S: StateMachine> {
    machine: S,
    /// `None` before `init`.
    state: Option<S::State>,
    agenda: Agenda<S::Event>,
}

impl<S: StateMachine> Machine<S> {
    pub(super) fn new(machine: S) -> Machine<S> {
        Machine { machine, state: None, agenda: Agenda::default() }
    }

    /// Calls a callback, and does what it asks for.
    fn happens(
        &mut self,
        ctx: &mut Context<Self>,
        callback: impl FnOnce(&mut S, &S::State, &mut StateContext<'_, S>) -> Result<Transition<S::State>, Exit>,
    ) -> Result<(), Exit> {
        let Machine { machine, state, agenda } = self;
        let Some(state) = state else { return Ok(()) };
        stop(&mut agenda.event_timeout);
        match callback(machine, state, &mut StateContext::new(ctx, agenda))? {
            Transition::Next(next) if next != *state => {
                let before = std::mem::replace(state, next);
                stop(&mut agenda.state_timeout);
                for event in agenda.postponed.take().into_iter().rev() {
                    agenda.queue.push_front(event);
                }
                machine.enter(Some(&before), state, &mut StateContext::new(ctx, agenda))?;
            }
            Transition::Keep | Transition::Next(_) => {}
            Transition::Repeat => {
                machine.enter(Some(state), state, &mut StateContext::new(ctx, agenda))?;
            }
        }
        agenda.settle(ctx);
        Ok(())
    }

    fn event(&mut self, event: S::Event, ctx: &mut Context<Self>) -> Result<(), Exit> {
        self.happens(ctx, |machine, state, ctx| machine.handle_event(state, event, ctx))
    }

    /// Handles what comes before the mailbox.
    fn go_on(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let mut handled = 0;
        while let Some(event) = self.agenda.queue.pop_front() {
            if ctx.me().life().has(flag::STOPPING) {
                // As if it were in the mailbox.
                drop(event);
                break;
            }
            match S::DESCRIBE {
                None => self.event(event, ctx)?,
                Some(describe) => ctx.described(describe, event, |event, ctx| self.event(event, ctx))?,
            }
            handled += 1;
            if handled % EVENTS_PER_TURN == 0 {
                yield_now();
            }
        }
        Ok(())
    }
}

fn stop(timer: &mut Option<TimerRef>) {
    if let Some(timer) = timer.take() {
        timer.cancel();
    }
}

impl<E: Send + 'static> Agenda<E> {
    /// Does what a callback has asked for.
    fn settle<S: StateMachine<Event = E>>(&mut self, ctx: &Context<Machine<S>>) {
        for action in self.actions.drain(..) {
            match action {
                Action::StateTimeout(after, event) => {
                    stop(&mut self.state_timeout);
                    self.state_timeout = Some(ctx.send_after(after, event));
                }
                Action::CancelStateTimeout => stop(&mut self.state_timeout),
                Action::EventTimeout(after, event) => {
                    stop(&mut self.event_timeout);
                    self.event_timeout = Some(ctx.send_after(after, event));
                }
                Action::Timeout(name, after, event) => {
                    stop(&mut self.timeouts.insert(name, ctx.send_after(after, event)));
                }
                Action::CancelTimeout(name) => stop(&mut self.timeouts.remove(name)),
            }
        }
        for event in self.inserted.drain(..).rev() {
            self.queue.push_front(event);
        }
    }
}

impl<S: StateMachine> Actor for Machine<S> {
    type Message = S::Event;
    const DESCRIBE: Option<Describe<S::Event>> = S::DESCRIBE;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let Machine { machine, state, agenda } = self;
        let state = state.insert(machine.init(&mut StateContext::new(ctx, agenda))?);
        machine.enter(None, state, &mut StateContext::new(ctx, agenda))?;
        agenda.settle(ctx);
        // Not part of the start.
        for event in agenda.queue.drain(..) {
            ctx.continue_with(event);
        }
        Ok(())
    }

    fn receive(&mut self, event: S::Event, ctx: &mut Context<Self>) -> Result<(), Exit> {
        self.event(event, ctx)?;
        self.go_on(ctx)
    }

    fn handle_exit(&mut self, from: ActorId, exit: Exit, ctx: &mut Context<Self>) -> Result<(), Exit> {
        self.happens(ctx, |machine, state, ctx| machine.handle_exit(state, from, exit, ctx))?;
        self.go_on(ctx)
    }

    fn handle_down(&mut self, down: Down, ctx: &mut Context<Self>) -> Result<(), Exit> {
        self.happens(ctx, |machine, state, ctx| machine.handle_down(state, down, ctx))?;
        self.go_on(ctx)
    }

    fn label(event: &S::Event) -> &'static str {
        S::label(event)
    }

    fn dump(&self) -> String {
        match &self.state {
            Some(state) => self.machine.dump(state),
            None => std::any::type_name::<S>().to_owned(),
        }
    }

    fn terminate(&mut self, exit: &Exit, ctx: &mut Context<Self>) {
        let Machine { machine, state, agenda } = self;
        if let Some(state) = state {
            machine.terminate(exit, state, &mut StateContext::new(ctx, agenda));
        }
    }
}

impl<S: StateMachine> fmt::Debug for Machine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}
