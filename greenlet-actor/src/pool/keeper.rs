//! The supervisor of a pool's workers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::{GreenletError, GreenletExit, Instant, attempt, catch, raise};

use super::slot::{Slot, Table};
use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::{ActorId, ActorRef, AnyActor, Linkable};
use crate::ask::Reply;
use crate::context::Context;
use crate::exit::{Exit, InitError};
use crate::supervisor::Intensity;

pub(super) enum Request {
    Resize(usize, Reply<Result<(), InitError>>),
    /// A worker did not start: another attempt, after what came in between.
    TryAgain(usize),
}

pub(super) struct Keeper<A: Actor> {
    size: usize,
    make: Box<dyn FnMut() -> A + Send>,
    workers: ActorBuilder,
    intensity: Intensity,
    patience: Duration,
    table: Arc<Table<A::Message>>,
    places: Vec<Place<A::Message>>,
    /// Workers that end when they have done what they have.
    retiring: HashMap<ActorId, AnyActor>,
}

struct Place<M> {
    slot: Arc<Slot<M>>,
    /// From before its `init` until it has ended.
    worker: Option<ActorRef<M>>,
}

impl<A: Actor + Send> Keeper<A> {
    pub(super) fn new(
        size: usize,
        make: Box<dyn FnMut() -> A + Send>,
        workers: ActorBuilder,
        intensity: Intensity,
        patience: Duration,
        table: Arc<Table<A::Message>>,
    ) -> Keeper<A> {
        let (places, retiring) = (Vec::new(), HashMap::new());
        Keeper { size, make, workers, intensity, patience, table, places, retiring }
    }

    /// Starts the worker of a place.
    fn start(&mut self, at: usize, me: &AnyActor) -> Result<(), Exit> {
        let actor = match attempt(|| (self.make)()) {
            Ok(actor) => actor,
            Err(GreenletError::Failed(failure)) => return Err(Exit::Failed(failure)),
            // The pool itself was killed.
            Err(_) => raise(GreenletExit),
        };
        let new = self.workers.clone().parent(me).make(actor, 0);
        self.places[at].worker = Some(new.actor.clone());
        match new.start() {
            Ok(worker) => {
                self.places[at].slot.install(&worker);
                Ok(())
            }
            Err(InitError { exit }) => {
                self.places[at].worker = None;
                Err(exit)
            }
        }
    }

    fn publish(&self) {
        let slots: Vec<_> = self.places.iter().map(|place| place.slot.clone()).collect();
        self.table.publish(&slots);
    }

    fn replace(&mut self, at: usize, ctx: &Context<Self>) -> Result<(), Exit> {
        if !self.intensity.allows(Instant::now()) {
            tracing::error!(target: "greenlet::supervisor", pool = %ctx.me(), "too many workers had to be replaced; giving up");
            return Err(Exit::Shutdown);
        }
        if let Err(exit) = self.start(at, &ctx.me().any_cell()) {
            tracing::warn!(target: "greenlet::supervisor", pool = %ctx.me(), "a worker failed to start: {exit}; trying again");
            // To itself: it only fails when the pool ends, and then nobody needs it.
            let _ = ctx.me().send(Request::TryAgain(at));
        }
        Ok(())
    }

    fn resize(&mut self, size: usize, ctx: &Context<Self>) -> Result<(), InitError> {
        let before = self.places.len();
        for at in before..size {
            self.places.push(Place { slot: self.table.slot(), worker: None });
            if let Err(exit) = self.start(at, &ctx.me().any_cell()) {
                // As it was before; nobody was told of the new ones.
                self.retire(before);
                return Err(InitError { exit });
            }
        }
        if size >= before {
            self.publish();
        } else {
            self.retire(size);
        }
        Ok(())
    }

    /// The places from there on go, and their workers when they have done what they have.
    fn retire(&mut self, from: usize) {
        let places: Vec<_> = self.places.drain(from..).collect();
        self.publish();
        for place in places {
            let (_, waiting) = place.slot.retire();
            if let Some(worker) = place.worker {
                worker.finish();
                self.retiring.insert(worker.id(), worker.into());
            }
            for (key, message) in waiting {
                // With no worker left, nobody can have it.
                let _ = self.table.send(key, message);
            }
        }
    }
}

impl<A: Actor + Send> Actor for Keeper<A> {
    type Message = Request;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        ctx.trap_exits();
        self.resize(self.size, ctx).map_err(|error| error.exit)
    }

    fn receive(&mut self, request: Request, ctx: &mut Context<Self>) -> Result<(), Exit> {
        match request {
            Request::Resize(size, reply) => reply.send(self.resize(size, ctx)),
            Request::TryAgain(at) => {
                if self.places.get(at).is_some_and(|place| place.worker.is_none()) {
                    self.replace(at, ctx)?;
                }
            }
        }
        Ok(())
    }

    fn handle_exit(&mut self, from: ActorId, exit: Exit, ctx: &mut Context<Self>) -> Result<(), Exit> {
        self.retiring.remove(&from);
        let of = |place: &Place<_>| place.worker.as_ref().is_some_and(|worker| worker.id() == from);
        let Some(at) = self.places.iter().position(of) else { return Ok(()) };
        tracing::warn!(target: "greenlet::supervisor", pool = %ctx.me(), worker = %from, "ended: {exit}; replaced");
        let place = &mut self.places[at];
        place.worker = None;
        place.slot.vacate();
        self.replace(at, ctx)
    }

    fn terminate(&mut self, _: &Exit, _: &mut Context<Self>) {
        let workers: Vec<_> = self.workers().collect();
        for worker in &workers {
            worker.tell_to_end(Exit::Shutdown);
        }
        let start = Instant::now();
        for worker in &workers {
            if worker.join_timeout(self.patience.saturating_sub(start.elapsed())).is_none() {
                worker.kill();
            }
        }
    }
}

impl<A: Actor> Keeper<A> {
    fn workers(&self) -> impl Iterator<Item = AnyActor> {
        let working = self.places.iter().filter_map(|place| place.worker.clone()).map(AnyActor::from);
        working.chain(self.retiring.values().cloned())
    }
}

/// Also if the pool was killed, or did not start: workers must not outlive it, and senders hear that it has ended.
impl<A: Actor> Drop for Keeper<A> {
    fn drop(&mut self) {
        self.table.publish(&[]);
        let workers: Vec<_> = self.workers().collect();
        let left: Vec<_> = self.places.drain(..).map(|place| place.slot.retire()).collect();
        // All at once first: even if the wait is cut short, none goes on.
        workers.iter().for_each(|worker| worker.send_exit(Exit::Killed));
        for worker in workers {
            while catch(|| worker.join()).is_err() {}
        }
        drop(left);
    }
}
