//! Any number of children of the same kind, which come and go.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::Instant;

use super::backoff::{Backoff, Recovery};
use super::child::{self, Begun};
use super::handle::{ChildCounts, ChildState, QUERY, StartChildError, StartError, TerminateChildError};
use super::intensity::Intensity;
use super::spec::{ChildKind, Restart, Settings, Shutdown};
use super::supervising::Request as StaticRequest;
use super::{INTENSITY, PERIOD, Supervisor, SupervisorRef, sealed, start_actor};
use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::{ActorId, ActorRef, AnyActor, Linkable};
use crate::ask::{AskError, Reply};
use crate::context::Context;
use crate::exit::Exit;
use crate::life::flag;
use crate::task::TaskSupervisor;

/// A supervisor of any number of children without ids, each restarted by itself: OTP's `simple_one_for_one`, Elixir's `DynamicSupervisor`.
///
/// It starts without children; they come by [`start_child`](DynamicRef::start_child), from any thread. Starting, restarting and forgetting one costs the same
/// however many there are. At the end all are stopped at the same time.
///
/// ```
/// use greenlet_actor::{Actor, Context, DynamicSupervisor, Exit, Reply, Restart};
/// use std::time::Duration;
///
/// struct Session { user: String }
///
/// impl Actor for Session {
///     type Message = Reply<String>;
///     fn receive(&mut self, who: Reply<String>, _: &mut Context<Self>) -> Result<(), Exit> {
///         who.send(self.user.clone());
///         Ok(())
///     }
/// }
///
/// # greenlet_core::run(|| {
/// let sessions = DynamicSupervisor::new().restart(Restart::Transient).max_children(10_000).start().unwrap();
/// let anna = sessions.start_child(|| Session { user: "Anna".to_owned() }).unwrap();
/// assert_eq!(anna.call(|reply| reply).unwrap(), "Anna");
/// assert_eq!(sessions.count_children().unwrap().active, 1);
/// sessions.shutdown();
/// assert!(anna.ready());
/// # });
/// ```
#[derive(Clone, Debug)]
#[must_use = "a supervisor does nothing until it is started"]
pub struct DynamicSupervisor {
    intensity: usize,
    period: Duration,
    max_children: usize,
    settings: Settings,
}

impl Default for DynamicSupervisor {
    fn default() -> DynamicSupervisor {
        DynamicSupervisor::new()
    }
}

impl DynamicSupervisor {
    /// Any number of children, which are permanent unless told otherwise, and have 5 seconds to shut down.
    pub fn new() -> DynamicSupervisor {
        let settings = Settings::of(ChildKind::Worker);
        DynamicSupervisor { intensity: INTENSITY, period: PERIOD, max_children: usize::MAX, settings }
    }

    /// How many restarts, of all children together, are tolerated in which time: see [`Supervisor::intensity`].
    pub fn intensity(mut self, restarts: usize, period: Duration) -> DynamicSupervisor {
        self.intensity = restarts;
        self.period = period;
        self
    }

    /// How many children there may be. Default: any number.
    pub fn max_children(mut self, children: usize) -> DynamicSupervisor {
        self.max_children = children;
        self
    }

    /// When children are restarted, unless their spec says otherwise. Default: [`Restart::Permanent`].
    pub fn restart(mut self, restart: Restart) -> DynamicSupervisor {
        self.settings.restart = restart;
        self
    }

    /// How children are stopped, unless their spec says otherwise. Default: 5 seconds.
    pub fn shutdown(mut self, shutdown: Shutdown) -> DynamicSupervisor {
        self.settings.shutdown = shutdown;
        self
    }

    /// Restarts of children wait, unless their spec says otherwise: [`ChildSpec::backoff`](super::ChildSpec::backoff).
    pub fn backoff(mut self, backoff: Backoff) -> DynamicSupervisor {
        self.settings.backoff = Some(backoff);
        self
    }

    /// Starts the supervisor, on this thread's hub.
    ///
    /// # Errors
    /// [`StartError::Supervisor`] if it is killed meanwhile.
    #[track_caller]
    pub fn start(self) -> Result<DynamicRef, StartError> {
        self.start_named("dynamic supervisor")
    }

    /// As [`start`](DynamicSupervisor::start), with a name for reports.
    ///
    /// # Errors
    /// As `start`.
    #[track_caller]
    pub fn start_named(self, name: impl Into<String>) -> Result<DynamicRef, StartError> {
        let builder = ActorBuilder::new().name(name);
        Ok(DynamicRef::new(start_actor(builder, self.into_actor())?))
    }

    fn into_actor(self) -> Dynamic {
        Dynamic {
            intensity: Intensity::new(self.intensity, self.period),
            max_children: self.max_children,
            settings: Arc::new(self.settings),
            children: HashMap::new(),
        }
    }
}

impl sealed::Supervise for DynamicSupervisor {
    fn make(self, builder: ActorBuilder) -> AnyActor {
        fn sendable<T: Send>(actor: T) -> T {
            actor
        }
        // It may be made for another hub, where it stays.
        builder.make(sendable(self.into_actor()), flag::PINNED).into_any()
    }
}

impl sealed::Supervise for TaskSupervisor {
    fn make(self, builder: ActorBuilder) -> AnyActor {
        self.into_dynamic().make(builder)
    }
}

type Make = Box<dyn FnMut(ActorBuilder) -> AnyActor + Send>;

/// A child of a [`DynamicSupervisor`] with settings of its own, whose messages are of type `M`.
#[must_use = "a child is started by its supervisor"]
pub struct DynamicSpec<M> {
    child: NewChild,
    message: PhantomData<fn(M)>,
}

/// A child to be started.
pub(super) struct NewChild {
    make: Make,
    kind: ChildKind,
    site: &'static Location<'static>,
    /// Where they differ from those of the supervisor.
    restart: Option<Restart>,
    shutdown: Option<Shutdown>,
    backoff: Option<Backoff>,
}

impl<M: Send + 'static> DynamicSpec<M> {
    fn new(make: Make, kind: ChildKind, site: &'static Location<'static>) -> DynamicSpec<M> {
        let child = NewChild { make, kind, site, restart: None, shutdown: None, backoff: None };
        DynamicSpec { child, message: PhantomData }
    }

    /// A child that is an actor, made anew by `make` for each start. `make` runs in the supervisor.
    #[track_caller]
    pub fn worker<A: Actor<Message = M> + Send>(
        mut make: impl FnMut() -> A + Send + 'static,
    ) -> DynamicSpec<M> {
        let make = Box::new(move |builder: ActorBuilder| builder.make(make(), 0).into_any());
        DynamicSpec::new(make, ChildKind::Worker, Location::caller())
    }

    /// As [`worker`](DynamicSpec::worker), for an actor that stays on the supervisor's hub, so that it need not be `Send`.
    #[track_caller]
    pub fn worker_local<A: Actor<Message = M>>(
        mut make: impl FnMut() -> A + Send + 'static,
    ) -> DynamicSpec<M> {
        let make = Box::new(move |builder: ActorBuilder| builder.make(make(), flag::PINNED).into_any());
        DynamicSpec::new(make, ChildKind::Worker, Location::caller())
    }

    /// When it is restarted.
    pub fn restart(mut self, restart: Restart) -> DynamicSpec<M> {
        self.child.restart = Some(restart);
        self
    }

    /// How it is stopped.
    pub fn shutdown(mut self, shutdown: Shutdown) -> DynamicSpec<M> {
        self.child.shutdown = Some(shutdown);
        self
    }

    /// Its restarts wait: [`ChildSpec::backoff`](super::ChildSpec::backoff).
    pub fn backoff(mut self, backoff: Backoff) -> DynamicSpec<M> {
        self.child.backoff = Some(backoff);
        self
    }

    /// Its actor is made with these settings: a mailbox that is bounded, a stack of its own.
    pub fn builder(
        mut self,
        settings: impl Fn(ActorBuilder) -> ActorBuilder + Send + 'static,
    ) -> DynamicSpec<M> {
        let mut make = self.child.make;
        self.child.make = Box::new(move |builder| make(settings(builder)));
        self
    }
}

impl<M> fmt::Debug for DynamicSpec<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicSpec")
            .field("kind", &self.child.kind)
            .field("site", &self.child.site)
            .field("restart", &self.child.restart)
            .field("shutdown", &self.child.shutdown)
            .finish_non_exhaustive()
    }
}

/// A running [`DynamicSupervisor`]. Works from any thread, greenlet or async task.
///
/// Questions wait for the answer without a limit of time. They are not for a child's `init` or `terminate`, for which the supervisor waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DynamicRef {
    actor: ActorRef<Request>,
}

impl DynamicRef {
    pub(super) fn new(actor: ActorRef<Request>) -> DynamicRef {
        DynamicRef { actor }
    }

    /// Starts a child, made anew by `make` for each start, and waits until its `init` is done.
    ///
    /// `make` runs in the supervisor. After a restart the child is another actor.
    ///
    /// # Errors
    /// [`StartChildError`]. A child that failed to start, or has [nothing to do](Exit::Ignore), is not kept.
    #[track_caller]
    pub fn start_child<A: Actor + Send>(
        &self,
        make: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Message>, StartChildError> {
        self.start_spec(DynamicSpec::worker(make))
    }

    /// Starts a child with settings of its own.
    ///
    /// # Errors
    /// As [`start_child`](DynamicRef::start_child).
    pub fn start_spec<M: Send + 'static>(
        &self,
        spec: DynamicSpec<M>,
    ) -> Result<ActorRef<M>, StartChildError> {
        let actor = self.start_any(spec.child)?;
        Ok(actor.downcast().expect("the spec makes actors that take these messages"))
    }

    fn start_any(&self, child: NewChild) -> Result<AnyActor, StartChildError> {
        let ask = |reply| Request::StartChild(Box::new(child), reply);
        self.actor.ask(ask, QUERY).map_err(StartChildError::Supervisor)?
    }

    /// Starts a child that is a supervisor.
    ///
    /// # Errors
    /// As [`start_child`](DynamicRef::start_child).
    #[track_caller]
    pub fn start_supervisor(
        &self,
        mut make: impl FnMut() -> Supervisor + Send + 'static,
    ) -> Result<SupervisorRef, StartChildError> {
        let make: Make = Box::new(move |builder| sealed::Supervise::make(make(), builder));
        let spec: DynamicSpec<StaticRequest> =
            DynamicSpec::new(make, ChildKind::Supervisor, Location::caller());
        let shutdown = Settings::of(ChildKind::Supervisor).shutdown;
        Ok(SupervisorRef { actor: self.start_spec(spec.shutdown(shutdown))? })
    }

    /// A template for children that differ in an argument: what `simple_one_for_one` has. A restart gets the same argument.
    ///
    /// ```
    /// # use greenlet_actor::{Actor, Context, DynamicSupervisor, Exit};
    /// # struct Session(u32);
    /// # impl Actor for Session {
    /// #     type Message = ();
    /// #     fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
    /// # }
    /// # greenlet_core::run(|| {
    /// let supervisor = DynamicSupervisor::new().start().unwrap();
    /// let sessions = supervisor.template(|number: &u32| Session(*number));
    /// let children: Vec<_> = (0..3).map(|number| sessions.start_child(number).unwrap()).collect();
    /// assert_eq!(supervisor.which_children().unwrap().len(), 3);
    /// # });
    /// ```
    pub fn template<T, A>(&self, make: impl Fn(&T) -> A + Send + Sync + 'static) -> Template<T, A>
    where
        T: Send + 'static,
        A: Actor + Send,
    {
        Template { supervisor: self.clone(), make: Arc::new(make) }
    }

    /// Stops a child as its [`Shutdown`] says, waits for that, and forgets it. One that is restarting is known by the actor that it was.
    ///
    /// # Errors
    /// [`TerminateChildError`].
    pub fn terminate_child(&self, child: &impl Linkable) -> Result<(), TerminateChildError> {
        let id = child.any_cell().id();
        let ask = |reply| Request::TerminateChild(id, reply);
        self.actor.ask(ask, QUERY).map_err(TerminateChildError::Supervisor)?
    }

    /// The children that run, in no order.
    ///
    /// # Errors
    /// [`AskError`] when the supervisor has ended.
    pub fn which_children(&self) -> Result<Vec<AnyActor>, AskError> {
        self.actor.ask(Request::WhichChildren, QUERY)
    }

    /// How many children there are.
    ///
    /// # Errors
    /// [`AskError`] when the supervisor has ended.
    pub fn count_children(&self) -> Result<ChildCounts, AskError> {
        self.actor.ask(Request::CountChildren, QUERY)
    }

    /// Stops all children at the same time, then the supervisor, and waits for that. Returns the reason of its exit.
    pub fn shutdown(&self) -> Exit {
        self.actor.tell_to_end(Exit::Shutdown);
        self.actor.join()
    }

    /// Waits until the supervisor has ended, and returns why.
    pub fn join(&self) -> Exit {
        self.actor.join()
    }

    /// The supervisor as an actor: to link it, to wait for it, to see why it ended.
    pub fn actor(&self) -> AnyActor {
        self.actor.any_cell()
    }
}

impl Linkable for DynamicRef {
    fn any_cell(&self) -> AnyActor {
        self.actor()
    }
}

/// Starts children of a [`DynamicSupervisor`] that differ in an argument: [`DynamicRef::template`].
pub struct Template<T, A> {
    supervisor: DynamicRef,
    make: Arc<dyn Fn(&T) -> A + Send + Sync>,
}

impl<T: Send + 'static, A: Actor + Send> Template<T, A> {
    /// Starts a child with this argument: [`DynamicRef::start_child`].
    ///
    /// # Errors
    /// As `start_child`.
    #[track_caller]
    pub fn start_child(&self, argument: T) -> Result<ActorRef<A::Message>, StartChildError> {
        let make = self.make.clone();
        self.supervisor.start_child(move || make(&argument))
    }
}

impl<T, A> Clone for Template<T, A> {
    fn clone(&self) -> Template<T, A> {
        Template { supervisor: self.supervisor.clone(), make: self.make.clone() }
    }
}

impl<T, A> fmt::Debug for Template<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("supervisor", &self.supervisor).finish_non_exhaustive()
    }
}

/// What a dynamic supervisor is asked, by others and by itself.
pub(super) enum Request {
    StartChild(Box<NewChild>, Reply<Result<AnyActor, StartChildError>>),
    TerminateChild(ActorId, Reply<Result<(), TerminateChildError>>),
    WhichChildren(Reply<Vec<AnyActor>>),
    CountChildren(Reply<ChildCounts>),
    /// A restart failed, or its delay is over: another attempt, if nothing came in between.
    TryAgain(ActorId),
}

/// The actor behind it.
struct Dynamic {
    intensity: Intensity,
    max_children: usize,
    settings: Arc<Settings>,
    /// By the actor that each is, or was before its restart failed.
    children: HashMap<ActorId, Child>,
}

struct Child {
    make: Make,
    site: &'static Location<'static>,
    /// From before its `init` until it has ended: what runs is always here.
    actor: Option<AnyActor>,
    state: ChildState,
    kind: ChildKind,
    settings: Arc<Settings>,
    /// Of those that have a back-off.
    recovery: Option<Box<Recovery>>,
}

impl Child {
    fn builder(&self, me: &AnyActor) -> ActorBuilder {
        ActorBuilder::new().spawn_site(self.site).parent(me)
    }

    fn has_started(&mut self) {
        self.state = ChildState::Running;
        if let Some(recovery) = &mut self.recovery {
            recovery.has_started();
        }
    }
}

impl Actor for Dynamic {
    type Message = Request;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        ctx.trap_exits();
        Ok(())
    }

    fn label(request: &Request) -> &'static str {
        match request {
            Request::StartChild(..) => "start_child",
            Request::TerminateChild(..) => "terminate_child",
            Request::WhichChildren(_) => "which_children",
            Request::CountChildren(_) => "count_children",
            Request::TryAgain(_) => "try_again_restart",
        }
    }

    fn receive(&mut self, request: Request, ctx: &mut Context<Self>) -> Result<(), Exit> {
        match request {
            Request::StartChild(child, reply) => reply.send(self.start_child(*child, &ctx.me().any_cell())),
            Request::TerminateChild(id, reply) => reply.send(self.terminate_child(id, &ctx.me().any_cell())),
            Request::WhichChildren(reply) => {
                let running = self.children.values().filter(|child| child.state == ChildState::Running);
                reply.send(running.filter_map(|child| child.actor.clone()).collect());
            }
            Request::CountChildren(reply) => {
                let mut counts = ChildCounts::default();
                for child in self.children.values() {
                    counts.add(child.kind, child.state == ChildState::Running);
                }
                reply.send(counts);
            }
            Request::TryAgain(id) => {
                let Some(child) = self.children.get(&id) else { return Ok(()) };
                if child.state == ChildState::Restarting {
                    if child.settings.backoff.is_none() {
                        self.count(ctx)?;
                    }
                    self.revive(id, ctx);
                }
            }
        }
        Ok(())
    }

    fn handle_exit(&mut self, from: ActorId, exit: Exit, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let Some(child) = self.children.get_mut(&from) else {
            tracing::debug!(target: "greenlet::supervisor", supervisor = %ctx.me(), %from, "exit of a stranger: {exit}");
            return Ok(());
        };
        child.actor = None;
        let again = match child.settings.restart {
            Restart::Permanent => true,
            Restart::Transient => !exit.is_ordinary(),
            Restart::Temporary => false,
        };
        if !again {
            tracing::debug!(target: "greenlet::supervisor", supervisor = %ctx.me(), child = %from, "ended: {exit}; forgotten");
            self.children.remove(&from);
            return Ok(());
        }
        tracing::warn!(target: "greenlet::supervisor", supervisor = %ctx.me(), child = %from, "ended: {exit}");
        child.state = ChildState::Restarting;
        if child.recovery.is_some() {
            self.try_later(from, ctx);
        } else {
            self.count(ctx)?;
            self.revive(from, ctx);
        }
        Ok(())
    }

    fn terminate(&mut self, _: &Exit, _: &mut Context<Self>) {
        let running = self.children.values();
        let mut running: Vec<_> =
            running.filter_map(|child| Some((child.actor.clone()?, child.settings.shutdown))).collect();
        child::stop_together(&mut running);
        self.children.clear();
    }
}

impl Dynamic {
    /// Counts a failure. `Err`: that was one too many.
    fn count(&mut self, ctx: &Context<Self>) -> Result<(), Exit> {
        if self.intensity.allows(Instant::now()) {
            return Ok(());
        }
        tracing::error!(target: "greenlet::supervisor", supervisor = %ctx.me(), "too many restarts; giving up");
        Err(Exit::Shutdown)
    }

    fn settings(&self, child: &NewChild) -> Arc<Settings> {
        let NewChild { restart, shutdown, backoff, .. } = child;
        if restart.is_none() && shutdown.is_none() && backoff.is_none() {
            return self.settings.clone();
        }
        let mut settings = Settings::clone(&self.settings);
        settings.restart = restart.unwrap_or(settings.restart);
        settings.shutdown = shutdown.unwrap_or(settings.shutdown);
        settings.backoff = backoff.clone().or(settings.backoff);
        Arc::new(settings)
    }

    fn start_child(&mut self, new: NewChild, me: &AnyActor) -> Result<AnyActor, StartChildError> {
        if self.children.len() >= self.max_children {
            return Err(StartChildError::MaxChildren(self.max_children));
        }
        let settings = self.settings(&new);
        let recovery = settings.backoff.is_some().then(Box::default);
        let NewChild { make, kind, site, .. } = new;
        let mut child =
            Child { make, site, actor: None, state: ChildState::Restarting, kind, settings, recovery };
        let builder = child.builder(me);
        let actor = child::make(|| (child.make)(builder)).map_err(StartChildError::Failed)?;
        child.actor = Some(actor.clone());
        let id = actor.id();
        self.children.insert(id, child);
        let begun = child::begin(&actor);
        match begun {
            Ok(Begun::Running) => {
                if let Some(child) = self.children.get_mut(&id) {
                    child.has_started();
                }
                Ok(actor)
            }
            Ok(Begun::Ignored) => {
                self.children.remove(&id);
                Err(StartChildError::Ignored)
            }
            Err(exit) => {
                self.children.remove(&id);
                Err(StartChildError::Failed(exit))
            }
        }
    }

    /// Starts a child again. If that fails, it is tried again, in line with what else the supervisor is asked.
    fn revive(&mut self, old: ActorId, ctx: &Context<Self>) {
        let me = ctx.me().any_cell();
        let Some(child) = self.children.get_mut(&old) else { return };
        tracing::info!(target: "greenlet::supervisor", supervisor = %me, child = %old, "restarting");
        let builder = child.builder(&me);
        let actor = match child::make(|| (child.make)(builder)) {
            Ok(actor) => actor,
            Err(exit) => return self.failed(old, &exit, ctx),
        };
        child.actor = Some(actor.clone());
        match child::begin(&actor) {
            Ok(Begun::Running) => {
                child.has_started();
                if let Some(child) = self.children.remove(&old) {
                    self.children.insert(actor.id(), child);
                }
            }
            Ok(Begun::Ignored) => drop(self.children.remove(&old)),
            Err(exit) => {
                child.actor = None;
                self.failed(old, &exit, ctx);
            }
        }
    }

    fn failed(&mut self, old: ActorId, exit: &Exit, ctx: &Context<Self>) {
        tracing::warn!(target: "greenlet::supervisor", supervisor = %ctx.me(), child = %old, "failed to start: {exit}; trying again");
        self.try_later(old, ctx);
    }

    fn try_later(&mut self, old: ActorId, ctx: &Context<Self>) {
        let Some(child) = self.children.get_mut(&old) else { return };
        let me = ctx.me().clone();
        // To itself: it only fails when the supervisor ends, and then nobody needs it.
        let again = move || drop(me.send(Request::TryAgain(old)));
        match (&child.settings.backoff, &mut child.recovery) {
            (Some(backoff), Some(recovery)) => {
                let delay = recovery.has_failed(backoff, again);
                tracing::info!(target: "greenlet::supervisor", child = %old, "restarting in {delay:?}");
            }
            _ => again(),
        }
    }

    fn terminate_child(&mut self, id: ActorId, me: &AnyActor) -> Result<(), TerminateChildError> {
        let child = self.children.get(&id).ok_or(TerminateChildError::NotFound)?;
        if let Some(actor) = child.actor.clone()
            && let Exit::Failed(failure) = child::stop(&actor, child.settings.shutdown, me)
        {
            tracing::warn!(target: "greenlet::supervisor", child = %actor, "failed while it was stopped: {failure}");
        }
        self.children.remove(&id);
        Ok(())
    }
}

impl Drop for Dynamic {
    fn drop(&mut self) {
        let left: Vec<AnyActor> = self.children.values_mut().filter_map(|child| child.actor.take()).collect();
        child::kill_all(&left);
    }
}
