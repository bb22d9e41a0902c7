//! Supervisors: actors that start others, and start them again when they end.

mod intensity;
mod spec;

use std::any::Any;
use std::time::{Duration, Instant};

use greenlet_core::{GreenletError, GreenletExit, attempt, catch, raise};
pub use spec::{ChildKind, ChildSpec, Restart, Shutdown, supervisor, worker};

use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::{ActorId, ActorRef, AnyActor, Linkable};
use crate::ask::{AskError, Reply};
use crate::context::Context;
use crate::exit::{Exit, InitError};
use intensity::Intensity;
use spec::Made;

/// A supervisor to be started: its strategy and its children. OTP's `supervisor`.
///
/// Children start in the order given, each when the one before has done its `init`, and stop in reverse order. A child
/// that ends is restarted as its [`Restart`] says; when that happens more than `intensity` times in `period`, the
/// supervisor gives up: it stops its children and ends with `shutdown`, and its own supervisor decides what next.
///
/// The strategy is `one_for_one`: only the child that ended is restarted.
///
/// ```
/// use greenlet_actor::{worker, Actor, Context, Exit, Supervisor};
/// use std::time::Duration;
///
/// struct Counter(u32);
///
/// impl Actor for Counter {
///     type Message = u32;
///     fn receive(&mut self, by: u32, _: &mut Context<Self>) -> Result<(), Exit> {
///         self.0 = self.0.checked_add(by).expect("overflow");
///         Ok(())
///     }
/// }
///
/// # greenlet_core::run(|| {
/// let tree = Supervisor::one_for_one()
///     .intensity(3, Duration::from_secs(5))
///     .child(worker("counter", || Counter(0)))
///     .start()
///     .unwrap();
/// let counter = tree.child::<u32>("counter").unwrap();
/// counter.send(7).unwrap();
/// tree.shutdown();
/// # });
/// ```
#[derive(Debug)]
#[must_use = "a supervisor does nothing until it is started"]
pub struct Supervisor {
    intensity: usize,
    period: Duration,
    children: Vec<ChildSpec>,
}

impl Supervisor {
    /// Restarts only the child that ended.
    pub fn one_for_one() -> Supervisor {
        Supervisor { intensity: 1, period: Duration::from_secs(5), children: Vec::new() }
    }

    /// How many restarts are tolerated in which time. Default: 1 in 5 seconds. With 0 the first is too many.
    pub fn intensity(mut self, restarts: usize, period: Duration) -> Supervisor {
        self.intensity = restarts;
        self.period = period;
        self
    }

    /// Adds a child, made by [`worker`] or [`supervisor`].
    pub fn child(mut self, child: ChildSpec) -> Supervisor {
        self.children.push(child);
        self
    }

    /// Starts the supervisor and its children, and waits until all of them have started.
    ///
    /// # Errors
    /// [`StartError::DuplicateId`] if two children have the same id. [`StartError::Child`] if a child failed to start: those
    /// started before it were stopped in reverse order.
    #[track_caller]
    pub fn start(self) -> Result<SupervisorRef, StartError> {
        self.start_named("supervisor")
    }

    /// As [`start`](Supervisor::start), with a name for reports.
    ///
    /// # Errors
    /// As `start`.
    #[track_caller]
    pub fn start_named(self, name: impl Into<String>) -> Result<SupervisorRef, StartError> {
        let actor =
            ActorBuilder::new().name(name).start_local(self.into_actor()).map_err(|InitError { exit }| {
                let known = exit.failure().and_then(|failure| failure.downcast_ref::<StartError>());
                known.cloned().unwrap_or(StartError::Supervisor(exit))
            })?;
        Ok(SupervisorRef { actor })
    }

    pub(super) fn into_actor(self) -> Supervising {
        Supervising {
            intensity: Intensity::new(self.intensity, self.period),
            children: self.children.into_iter().map(Child::new).collect(),
        }
    }
}

/// Why a supervisor did not start.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Two children have this id.
    #[error("two children have the id {0:?}")]
    DuplicateId(String),
    /// A child failed to start.
    #[error("child {id:?} failed to start: {exit}")]
    Child {
        /// Its id.
        id: String,
        /// Its reason.
        exit: Exit,
    },
    /// The supervisor itself ended while it started.
    #[error("the supervisor ended while it started: {0}")]
    Supervisor(Exit),
}

/// A child as [`SupervisorRef::which_children`] shows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildInfo {
    /// Its id in the supervisor.
    pub id: String,
    /// The actor; `None` unless it runs.
    pub actor: Option<AnyActor>,
    /// Whether it runs.
    pub state: ChildState,
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// When it is restarted.
    pub restart: Restart,
}

/// What has become of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildState {
    /// It runs.
    Running,
    /// Its restart failed, and will be tried again.
    Restarting,
    /// It ended and is not restarted.
    Stopped,
}

/// A running supervisor.
#[derive(Clone, Debug)]
pub struct SupervisorRef {
    actor: ActorRef<Request>,
}

/// How long a query may take: a supervisor answers between two restarts, and stopping a child may take as long as that
/// child was given.
const QUERY: Duration = Duration::MAX;

impl SupervisorRef {
    /// The children, in the order in which they were given. Not for use in a child's `init` or `terminate`, for which the
    /// supervisor waits.
    ///
    /// # Errors
    /// [`AskError`] when the supervisor has ended.
    pub fn which_children(&self) -> Result<Vec<ChildInfo>, AskError> {
        self.actor.ask(Request::WhichChildren, QUERY)
    }

    /// The child with this id, if it runs and takes messages of type `M`.
    ///
    /// After a restart it is another actor: ask again when a send fails.
    pub fn child<M: Send + 'static>(&self, id: &str) -> Option<ActorRef<M>> {
        let typed = self.actor.ask(|reply| Request::Child(id.to_owned(), reply), QUERY).ok()??;
        typed.downcast().ok().map(|actor: Box<ActorRef<M>>| *actor)
    }

    /// The child with this id, if it runs and is a supervisor.
    pub fn supervisor(&self, id: &str) -> Option<SupervisorRef> {
        self.child(id).map(|actor| SupervisorRef { actor })
    }

    /// Stops the children in reverse order, then the supervisor, and waits for that. Returns the reason of its exit.
    pub fn shutdown(&self) -> Exit {
        self.actor.send_exit(Exit::Shutdown);
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

/// What a supervisor is asked, by others and by itself.
pub(super) enum Request {
    WhichChildren(Reply<Vec<ChildInfo>>),
    Child(String, Reply<Option<Box<dyn Any + Send>>>),
    /// A restart failed: another attempt, after what came in between.
    TryAgain(String),
}

/// The actor behind a supervisor.
pub(super) struct Supervising {
    intensity: Intensity,
    children: Vec<Child>,
}

struct Child {
    spec: ChildSpec,
    /// From before its `init` until it has ended: what runs is always here, so that nothing is forgotten when the
    /// supervisor itself is killed in between.
    made: Option<Made>,
    state: ChildState,
}

impl Actor for Supervising {
    type Message = Request;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        ctx.trap_exits();
        for (at, child) in self.children.iter().enumerate() {
            if self.children[..at].iter().any(|other| other.spec.id == child.spec.id) {
                return Err(StartError::DuplicateId(child.spec.id.clone()).into());
            }
        }
        let me = ctx.me().any_cell();
        for at in 0..self.children.len() {
            if let Err(exit) = self.children[at].start(&me) {
                let id = self.children[at].spec.id.clone();
                self.stop_all(&me);
                return Err(StartError::Child { id, exit }.into());
            }
        }
        Ok(())
    }

    fn receive(&mut self, request: Request, ctx: &mut Context<Self>) -> Result<(), Exit> {
        match request {
            Request::WhichChildren(reply) => reply.send(self.children.iter().map(Child::info).collect()),
            Request::Child(id, reply) => {
                let child = self.children.iter().find(|child| child.spec.id == id);
                let running = child.filter(|child| child.state == ChildState::Running);
                reply.send(running.and_then(|child| child.made.as_ref()).map(Made::clone_typed));
            }
            Request::TryAgain(id) => {
                let restarting = |child: &Child| child.spec.id == id && child.state == ChildState::Restarting;
                if let Some(at) = self.children.iter().position(restarting) {
                    self.restart(at, ctx)?;
                }
            }
        }
        Ok(())
    }

    fn handle_exit(&mut self, from: ActorId, exit: Exit, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let Some(at) = self.children.iter().position(|child| child.is(from)) else {
            // A child whose start failed, or a stranger that somebody linked: as in OTP, no reason to end.
            tracing::debug!(target: "greenlet::supervisor", supervisor = %ctx.me(), %from, "exit of a stranger: {exit}");
            return Ok(());
        };
        let child = &mut self.children[at];
        child.made = None;
        child.state = ChildState::Stopped;
        let id = &child.spec.id;
        match child.spec.restart {
            Restart::Temporary => {
                tracing::debug!(target: "greenlet::supervisor", child = %id, "ended: {exit}; temporary, forgotten");
                self.children.remove(at);
                Ok(())
            }
            Restart::Transient if exit.is_ordinary() => {
                tracing::debug!(target: "greenlet::supervisor", child = %id, "ended: {exit}; not restarted");
                Ok(())
            }
            Restart::Permanent | Restart::Transient => {
                tracing::warn!(
                    target: "greenlet::supervisor", supervisor = %ctx.me(), child = %id, "ended: {exit}"
                );
                self.restart(at, ctx)
            }
        }
    }

    fn terminate(&mut self, _: &Exit, ctx: &mut Context<Self>) {
        self.stop_all(&ctx.me().any_cell());
    }
}

impl Supervising {
    /// Starts a child again, unless that was one restart too many. If the start fails, the next attempt stands in line with
    /// what else the supervisor is asked.
    fn restart(&mut self, at: usize, ctx: &Context<Self>) -> Result<(), Exit> {
        if !self.intensity.allows(Instant::now()) {
            tracing::error!(target: "greenlet::supervisor", supervisor = %ctx.me(), "too many restarts; giving up");
            return Err(Exit::Shutdown);
        }
        let child = &mut self.children[at];
        tracing::info!(target: "greenlet::supervisor", supervisor = %ctx.me(), child = %child.spec.id, "restarting");
        child.state = ChildState::Restarting;
        if let Err(exit) = child.start(&ctx.me().any_cell()) {
            let id = child.spec.id.clone();
            tracing::warn!(target: "greenlet::supervisor", child = %id, "failed to start: {exit}; trying again");
            // To itself: it only fails when the supervisor ends, and then nobody needs it.
            let _ = ctx.me().send(Request::TryAgain(id));
        }
        Ok(())
    }

    /// Stops the children in reverse order.
    fn stop_all(&mut self, me: &AnyActor) {
        for child in self.children.iter_mut().rev() {
            child.stop(me);
        }
    }
}

/// A supervisor that is killed has no `terminate`: its children must not outlive it all the same.
impl Drop for Supervising {
    fn drop(&mut self) {
        let left: Vec<_> = self.children.iter_mut().rev().filter_map(|child| child.made.take()).collect();
        // All at once first: even if the wait is cut short, none goes on.
        for made in &left {
            made.actor.send_exit(Exit::Killed);
        }
        for made in left {
            while catch(|| made.actor.join()).is_err() {}
        }
    }
}

impl Child {
    fn new(spec: ChildSpec) -> Child {
        Child { spec, made: None, state: ChildState::Stopped }
    }

    fn is(&self, id: ActorId) -> bool {
        self.made.as_ref().is_some_and(|made| made.actor.id() == id)
    }

    /// Starts it and waits for its `init`.
    fn start(&mut self, me: &AnyActor) -> Result<(), Exit> {
        // What the user's closure does wrong is a failed start, like a failed `init`.
        let (made, start) = match attempt(|| (self.spec.make)(me)) {
            Ok(made) => made,
            Err(GreenletError::Failed(failure)) => return Err(Exit::Failed(failure)),
            // The supervisor itself was killed.
            Err(_) => raise(GreenletExit),
        };
        self.made = Some(made);
        match start() {
            Ok(()) => {
                self.state = ChildState::Running;
                Ok(())
            }
            Err(exit) => {
                self.made = None;
                Err(exit)
            }
        }
    }

    fn stop(&mut self, me: &AnyActor) {
        let Some(Made { actor, .. }) = &self.made else { return };
        let exit = match self.spec.shutdown {
            Shutdown::BrutalKill => None,
            Shutdown::Timeout(limit) => {
                actor.send_exit(Exit::Shutdown);
                actor.join_timeout(limit)
            }
            Shutdown::Infinity => {
                actor.send_exit(Exit::Shutdown);
                Some(actor.join())
            }
        };
        let exit = exit.unwrap_or_else(|| {
            actor.kill();
            Exit::Killed
        });
        // Unlinked only now: whatever the child did meanwhile, we would have heard of it.
        actor.unlink(me);
        self.made = None;
        self.state = ChildState::Stopped;
        if let Exit::Failed(failure) = exit {
            tracing::warn!(target: "greenlet::supervisor", child = %self.spec.id, "failed while it was stopped: {failure}");
        }
    }

    fn info(&self) -> ChildInfo {
        let running = self.made.as_ref().filter(|_| self.state == ChildState::Running);
        ChildInfo {
            id: self.spec.id.clone(),
            actor: running.map(|made| made.actor.clone()),
            state: self.state,
            kind: self.spec.kind,
            restart: self.spec.restart,
        }
    }
}
