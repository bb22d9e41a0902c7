//! The actor behind a supervisor whose children have ids and an order.

use std::sync::Arc;

use greenlet_core::Instant;

use super::child::{self, Begun};
use super::children::{Children, Key};
use super::handle::{
    ChildCounts, ChildInfo, ChildState, DeleteChildError, RestartChildError, StartChildError, StartError,
    TerminateChildError,
};
use super::intensity::Intensity;
use super::partition::Slots;
use super::spec::{ChildSpec, Restart};
use super::{AutoShutdown, Strategy};
use crate::actor::Actor;
use crate::actor_ref::{ActorId, AnyActor, Linkable};
use crate::ask::Reply;
use crate::context::Context;
use crate::exit::Exit;

/// What a supervisor is asked, by others and by itself.
pub(super) enum Request {
    WhichChildren(Reply<Vec<ChildInfo>>),
    CountChildren(Reply<ChildCounts>),
    Child(String, Reply<Option<AnyActor>>),
    Partitions(Reply<Option<Arc<Slots>>>),
    StartChild(Box<dyn FnOnce() -> ChildSpec + Send>, Reply<Result<Option<AnyActor>, StartChildError>>),
    RestartChild(String, Reply<Result<Option<AnyActor>, RestartChildError>>),
    TerminateChild(String, Reply<Result<(), TerminateChildError>>),
    DeleteChild(String, Reply<Result<(), DeleteChildError>>),
    /// A restart failed, or its delay is over: another attempt, if nothing came in between (the number is [`Child::turn`](super::children::Child)).
    TryAgain(Key, u64),
}

pub(super) struct Supervising {
    pub(super) strategy: Strategy,
    pub(super) auto_shutdown: AutoShutdown,
    pub(super) intensity: Intensity,
    /// What is to be started in `init`.
    pub(super) specs: Vec<ChildSpec>,
    pub(super) children: Children,
    /// Of a supervisor of partitions.
    pub(super) partitions: Option<Arc<Slots>>,
}

impl Actor for Supervising {
    type Message = Request;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        ctx.trap_exits();
        for spec in std::mem::take(&mut self.specs) {
            self.check(&spec)?;
            self.children.add(spec).map_err(StartError::DuplicateId)?;
        }
        for key in self.children.keys_from(None) {
            if let Err(exit) = self.start(key, ctx) {
                let id = self.id(key).to_owned();
                tracing::error!(target: "greenlet::supervisor", supervisor = %ctx.me(), child = %id, "failed to start: {exit}");
                self.stop_group(None, &ctx.me().any_cell());
                return Err(Exit::shutdown_with(StartError::Child { id, exit }));
            }
        }
        Ok(())
    }

    fn label(request: &Request) -> &'static str {
        match request {
            Request::WhichChildren(_) => "which_children",
            Request::CountChildren(_) => "count_children",
            Request::Child(..) => "child",
            Request::Partitions(_) => "partitions",
            Request::StartChild(..) => "start_child",
            Request::RestartChild(..) => "restart_child",
            Request::TerminateChild(..) => "terminate_child",
            Request::DeleteChild(..) => "delete_child",
            Request::TryAgain(..) => "try_again_restart",
        }
    }

    fn receive(&mut self, request: Request, ctx: &mut Context<Self>) -> Result<(), Exit> {
        match request {
            Request::WhichChildren(reply) => {
                reply.send(self.children.iter().map(|(_, child)| child.info()).collect());
            }
            Request::CountChildren(reply) => {
                let mut counts = ChildCounts::default();
                for (_, child) in self.children.iter() {
                    counts.add(child.spec.kind, child.state == ChildState::Running);
                }
                reply.send(counts);
            }
            Request::Child(id, reply) => {
                let child = self.children.find(&id).and_then(|key| self.children.get(key));
                let running = child.filter(|child| child.state == ChildState::Running);
                reply.send(running.and_then(|child| child.actor().cloned()));
            }
            Request::Partitions(reply) => reply.send(self.partitions.clone()),
            Request::StartChild(spec, reply) => reply.send(self.start_child(spec, ctx)),
            Request::RestartChild(id, reply) => reply.send(self.restart_child(&id, ctx)),
            Request::TerminateChild(id, reply) => reply.send(match self.children.find(&id) {
                Some(key) => {
                    self.stop(key, &ctx.me().any_cell());
                    Ok(())
                }
                None => Err(TerminateChildError::NotFound),
            }),
            Request::DeleteChild(id, reply) => reply.send(self.delete_child(&id)),
            Request::TryAgain(key, turn) => {
                let meant = |child: &&super::children::Child| {
                    child.state == ChildState::Restarting && child.turn == turn
                };
                if let Some(child) = self.children.get(key).filter(meant) {
                    if child.spec.settings.backoff.is_none() {
                        self.count(ctx)?;
                    }
                    self.revive(key, ctx);
                }
            }
        }
        Ok(())
    }

    fn handle_exit(&mut self, from: ActorId, exit: Exit, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let Some(key) = self.children.of_actor(from) else {
            // A child that was stopped, or whose start failed, or a stranger that somebody linked: as in OTP, no reason to end.
            tracing::debug!(target: "greenlet::supervisor", supervisor = %ctx.me(), %from, "exit of a stranger: {exit}");
            return Ok(());
        };
        self.children.clear_actor(key);
        let (id, Some(child)) = (self.id(key), self.children.get(key)) else { return Ok(()) };
        let settings = &child.spec.settings;
        let (restart, significant) = (settings.restart, settings.significant);
        match restart {
            Restart::Temporary => {
                tracing::debug!(target: "greenlet::supervisor", child = %id, "ended: {exit}; temporary, forgotten");
                self.children.remove(key);
            }
            Restart::Transient if exit.is_ordinary() => {
                tracing::debug!(target: "greenlet::supervisor", child = %id, "ended: {exit}; not restarted");
            }
            Restart::Permanent | Restart::Transient => {
                tracing::warn!(
                    target: "greenlet::supervisor", supervisor = %ctx.me(), child = %id, "ended: {exit}"
                );
                if settings.backoff.is_some() {
                    self.stop_siblings(key, &ctx.me().any_cell());
                    self.try_later(key, ctx);
                } else {
                    self.count(ctx)?;
                    self.stop_siblings(key, &ctx.me().any_cell());
                    self.revive(key, ctx);
                }
                return Ok(());
            }
        }
        if significant && self.ends_with_it() {
            tracing::info!(target: "greenlet::supervisor", supervisor = %ctx.me(), "its significant children have ended");
            return Err(Exit::Shutdown);
        }
        Ok(())
    }

    fn terminate(&mut self, _: &Exit, ctx: &mut Context<Self>) {
        self.stop_group(None, &ctx.me().any_cell());
    }
}

impl Supervising {
    fn id(&self, key: Key) -> &str {
        self.children.get(key).map_or("", |child| &child.spec.id)
    }

    fn check(&self, spec: &ChildSpec) -> Result<(), StartError> {
        let refuse = |problem| Err(StartError::Significant { id: spec.id.clone(), problem });
        match (spec.settings.significant, spec.settings.restart, self.auto_shutdown) {
            (true, Restart::Permanent, _) => refuse("permanent: it is restarted whenever it ends"),
            (true, _, AutoShutdown::Never) => refuse("its supervisor never shuts down with its children"),
            _ => Ok(()),
        }
    }

    /// A significant child has ended: whether that is the end of the supervisor.
    fn ends_with_it(&self) -> bool {
        match self.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => !self
                .children
                .iter()
                .any(|(_, child)| child.spec.settings.significant && child.state != ChildState::Stopped),
        }
    }

    /// Counts a failure. `Err`: that was one too many.
    fn count(&mut self, ctx: &Context<Self>) -> Result<(), Exit> {
        if self.intensity.allows(Instant::now()) {
            return Ok(());
        }
        tracing::error!(target: "greenlet::supervisor", supervisor = %ctx.me(), "too many restarts; giving up");
        Err(Exit::Shutdown)
    }

    /// The children that share the fate of this one, itself included: from which on; `None` is all.
    fn group(&self, key: Key) -> Option<Option<Key>> {
        match self.strategy {
            Strategy::OneForOne => None,
            Strategy::OneForAll => Some(None),
            Strategy::RestForOne => Some(Some(key)),
        }
    }

    fn stop_siblings(&mut self, key: Key, me: &AnyActor) {
        if let Some(first) = self.group(key) {
            self.stop_group(first, me);
        }
    }

    /// Starts a child again, and those that share its fate. One whose start fails is tried again, in line with what else the supervisor is asked.
    fn revive(&mut self, key: Key, ctx: &Context<Self>) {
        let me = ctx.me().any_cell();
        let keys = match self.group(key) {
            None => vec![key],
            Some(first) => {
                // Of a further attempt some may have come up before, or were started by somebody.
                self.stop_group(first, &me);
                self.children.keys_from(first)
            }
        };
        for key in keys {
            let id = self.id(key).to_owned();
            tracing::info!(target: "greenlet::supervisor", supervisor = %ctx.me(), child = %id, "restarting");
            if let Some(child) = self.children.get_mut(key) {
                child.state = ChildState::Restarting;
            }
            if let Err(exit) = self.start(key, ctx) {
                tracing::warn!(target: "greenlet::supervisor", child = %id, "failed to start: {exit}; trying again");
                self.try_later(key, ctx);
                return;
            }
        }
    }

    /// The child is restarting: the next attempt comes after its delay if it has a back-off, and at once if not.
    fn try_later(&mut self, key: Key, ctx: &Context<Self>) {
        let Some(child) = self.children.get_mut(key) else { return };
        child.state = ChildState::Restarting;
        let (me, turn) = (ctx.me().clone(), child.turn);
        // To itself: it only fails when the supervisor ends, and then nobody needs it.
        let again = move || drop(me.send(Request::TryAgain(key, turn)));
        match &child.spec.settings.backoff {
            None => again(),
            Some(backoff) => {
                let delay = child.recovery.has_failed(backoff, again);
                tracing::info!(target: "greenlet::supervisor", child = %child.spec.id, "restarting in {delay:?}");
            }
        }
    }

    /// Starts a child and waits for its `init`. `Err`: it does not run.
    fn start(&mut self, key: Key, ctx: &Context<Self>) -> Result<(), Exit> {
        let Some(child) = self.children.get_mut(key) else { return Ok(()) };
        let builder = child.spec.builder.clone().parent(&ctx.me().any_cell());
        let actor = child::make(|| (child.spec.make)(builder))?;
        self.children.set_actor(key, actor.clone());
        match child::begin(&actor) {
            Ok(Begun::Running) => {
                if let Some(child) = self.children.get_mut(key) {
                    child.state = ChildState::Running;
                    child.turn += 1;
                    child.recovery.has_started();
                }
                Ok(())
            }
            Ok(Begun::Ignored) => {
                self.forget_actor(key);
                Ok(())
            }
            Err(exit) => {
                self.children.clear_actor(key);
                Err(exit)
            }
        }
    }

    /// The child does not run any more, by the supervisor's own doing: it is kept, unless it is temporary.
    fn forget_actor(&mut self, key: Key) {
        self.children.clear_actor(key);
        if self.children.get(key).is_some_and(|child| child.spec.settings.restart == Restart::Temporary) {
            self.children.remove(key);
        }
    }

    fn stop(&mut self, key: Key, me: &AnyActor) {
        let Some(child) = self.children.get(key) else { return };
        if let Some(actor) = child.actor().cloned()
            && let Exit::Failed(failure) = child::stop(&actor, child.spec.settings.shutdown, me)
        {
            tracing::warn!(target: "greenlet::supervisor", child = %child.spec.id, "failed while it was stopped: {failure}");
        }
        self.forget_actor(key);
    }

    /// Stops those from this one on, or all, in reverse order.
    fn stop_group(&mut self, first: Option<Key>, me: &AnyActor) {
        for key in self.children.keys_from(first).into_iter().rev() {
            self.stop(key, me);
        }
    }

    fn start_child(
        &mut self,
        spec: Box<dyn FnOnce() -> ChildSpec + Send>,
        ctx: &Context<Self>,
    ) -> Result<Option<AnyActor>, StartChildError> {
        let spec = child::make(spec).map_err(StartChildError::Failed)?;
        self.check(&spec).map_err(StartChildError::Refused)?;
        if let Some(known) = self.children.find(&spec.id).and_then(|key| self.children.get(key)) {
            return Err(match known.state {
                ChildState::Stopped => StartChildError::AlreadyPresent,
                ChildState::Running => StartChildError::AlreadyStarted(known.actor().cloned()),
                ChildState::Restarting => StartChildError::AlreadyStarted(None),
            });
        }
        let Ok(key) = self.children.add(spec) else { return Err(StartChildError::AlreadyPresent) };
        match self.start(key, ctx) {
            Ok(()) => Ok(self.actor(key)),
            Err(exit) => {
                self.children.remove(key);
                Err(StartChildError::Failed(exit))
            }
        }
    }

    fn actor(&self, key: Key) -> Option<AnyActor> {
        self.children.get(key)?.actor().cloned()
    }

    fn restart_child(
        &mut self,
        id: &str,
        ctx: &Context<Self>,
    ) -> Result<Option<AnyActor>, RestartChildError> {
        let key = self.children.find(id).ok_or(RestartChildError::NotFound)?;
        match self.children.get(key).map(|child| child.state) {
            Some(ChildState::Stopped) => {}
            Some(ChildState::Running) => return Err(RestartChildError::Running),
            Some(ChildState::Restarting) => return Err(RestartChildError::Restarting),
            None => return Err(RestartChildError::NotFound),
        }
        self.start(key, ctx).map_err(RestartChildError::Failed)?;
        Ok(self.actor(key))
    }

    fn delete_child(&mut self, id: &str) -> Result<(), DeleteChildError> {
        let key = self.children.find(id).ok_or(DeleteChildError::NotFound)?;
        match self.children.get(key).map(|child| child.state) {
            Some(ChildState::Stopped) => {
                self.children.remove(key);
                Ok(())
            }
            Some(ChildState::Running) => Err(DeleteChildError::Running),
            Some(ChildState::Restarting) => Err(DeleteChildError::Restarting),
            None => Err(DeleteChildError::NotFound),
        }
    }
}

impl Drop for Supervising {
    fn drop(&mut self) {
        child::kill_all(&self.children.take_actors());
    }
}
