//! A running supervisor, as others see it.

use std::time::Duration;

use super::dynamic::DynamicRef;
use super::partition::PartitionRef;
use super::spec::{ChildKind, ChildSpec, Restart};
use super::supervising::Request;
use crate::actor_ref::{ActorRef, AnyActor, Linkable};
use crate::ask::AskError;
use crate::exit::Exit;
use crate::task::Tasks;

/// Why a supervisor did not start.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Two children have this id.
    #[error("two children have the id {0:?}")]
    DuplicateId(String),
    /// A significant child must not be restarted always, and its supervisor must say when it stops with it: OTP's `bad_combination`.
    #[error("child {id:?} is significant, but {problem}")]
    Significant {
        /// Its id.
        id: String,
        /// What does not go together with that.
        problem: &'static str,
    },
    /// A child failed to start: OTP's `{shutdown, {failed_to_start_child, Id, Reason}}`.
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

/// Why [`start_child`](SupervisorRef::start_child) did not start a child.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartChildError {
    /// A child of that id runs, or is restarting (then without an actor).
    #[error("the child has started already")]
    AlreadyStarted(Option<AnyActor>),
    /// A child of that id is known, and stopped: [`restart_child`](SupervisorRef::restart_child) starts it.
    #[error("a child with that id is there already, and is stopped")]
    AlreadyPresent,
    /// There are as many children as there may be.
    #[error("there are {0} children already, and more must not be")]
    MaxChildren(usize),
    /// What was asked for does not go together.
    #[error(transparent)]
    Refused(StartError),
    /// Its `init` answered [`Exit::Ignore`]: it does not run, and that is no failure. Only of dynamic supervisors.
    #[error("the child has nothing to do")]
    Ignored,
    /// It failed to start, and is forgotten.
    #[error("the child failed to start: {0}")]
    Failed(Exit),
    /// The supervisor has ended.
    #[error("no answer of the supervisor: {0}")]
    Supervisor(#[source] AskError),
}

/// Why [`restart_child`](SupervisorRef::restart_child) did not start a child.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestartChildError {
    /// No child has that id.
    #[error("there is no such child")]
    NotFound,
    /// It runs.
    #[error("the child runs")]
    Running,
    /// It is being restarted.
    #[error("the child is restarting")]
    Restarting,
    /// It failed to start, and stays stopped.
    #[error("the child failed to start: {0}")]
    Failed(Exit),
    /// The supervisor has ended.
    #[error("no answer of the supervisor: {0}")]
    Supervisor(#[source] AskError),
}

/// Why [`delete_child`](SupervisorRef::delete_child) did not forget a child.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteChildError {
    /// No child has that id.
    #[error("there is no such child")]
    NotFound,
    /// It runs.
    #[error("the child runs")]
    Running,
    /// It is being restarted.
    #[error("the child is restarting")]
    Restarting,
    /// The supervisor has ended.
    #[error("no answer of the supervisor: {0}")]
    Supervisor(#[source] AskError),
}

/// Why [`terminate_child`](SupervisorRef::terminate_child) did not stop a child.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TerminateChildError {
    /// There is no such child.
    #[error("there is no such child")]
    NotFound,
    /// The supervisor has ended.
    #[error("no answer of the supervisor: {0}")]
    Supervisor(#[source] AskError),
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
    /// Whether the supervisor may stop with it.
    pub significant: bool,
}

/// What has become of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildState {
    /// It runs.
    Running,
    /// Its restart failed and will be tried again, or waits for its [`Backoff`](super::Backoff).
    Restarting,
    /// It ended and is not restarted.
    Stopped,
}

/// How many children a supervisor has: OTP's `count_children`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct ChildCounts {
    /// All that it knows of.
    pub specs: usize,
    /// Those that run.
    pub active: usize,
    /// Those that are supervisors, whether they run or not.
    pub supervisors: usize,
    /// Those that are workers, whether they run or not.
    pub workers: usize,
}

impl ChildCounts {
    pub(super) fn add(&mut self, kind: ChildKind, active: bool) {
        self.specs += 1;
        self.active += usize::from(active);
        match kind {
            ChildKind::Worker => self.workers += 1,
            ChildKind::Supervisor => self.supervisors += 1,
        }
    }
}

/// A running supervisor. Works from any thread, greenlet or async task.
///
/// All questions wait for the answer without a limit of time: a supervisor answers between two restarts, and stopping a child may take as long as
/// that child was given. They are not for a child's `init` or `terminate`, for which the supervisor waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SupervisorRef {
    pub(super) actor: ActorRef<Request>,
}

/// How long a question may take.
pub(super) const QUERY: Duration = Duration::MAX;

impl SupervisorRef {
    /// The children, in the order in which they were given.
    ///
    /// # Errors
    /// [`AskError`] when the supervisor has ended.
    pub fn which_children(&self) -> Result<Vec<ChildInfo>, AskError> {
        self.actor.ask(Request::WhichChildren, QUERY)
    }

    /// How many children there are.
    ///
    /// # Errors
    /// [`AskError`] when the supervisor has ended.
    pub fn count_children(&self) -> Result<ChildCounts, AskError> {
        self.actor.ask(Request::CountChildren, QUERY)
    }

    /// Starts another child, behind the others, and waits until its `init` is done. `spec` is called in the supervisor, so what it makes need
    /// not be `Send`.
    ///
    /// Returns the actor: [`downcast`](AnyActor::downcast) gives it its type. `None` if its `init` answered [`Exit::Ignore`]; the child is known
    /// then (unless it is temporary), and stopped.
    ///
    /// # Errors
    /// [`StartChildError`]. A child that failed to start is not kept.
    ///
    /// ```
    /// use greenlet_actor::{worker, Actor, Context, Exit, StartChildError, Supervisor};
    ///
    /// # struct Printer;
    /// # impl Actor for Printer {
    /// #     type Message = String;
    /// #     fn receive(&mut self, _: String, _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
    /// # }
    /// # greenlet_core::run(|| {
    /// let tree = Supervisor::one_for_one().start().unwrap();
    /// let printer = tree.start_child(|| worker("printer", || Printer)).unwrap().unwrap();
    /// printer.downcast::<String>().unwrap().send("page 1".to_owned()).unwrap();
    /// let again = tree.start_child(|| worker("printer", || Printer));
    /// assert!(matches!(again, Err(StartChildError::AlreadyStarted(Some(running))) if running == printer));
    /// # });
    /// ```
    pub fn start_child(
        &self,
        spec: impl FnOnce() -> ChildSpec + Send + 'static,
    ) -> Result<Option<AnyActor>, StartChildError> {
        let ask = |reply| Request::StartChild(Box::new(spec), reply);
        self.actor.ask(ask, QUERY).map_err(StartChildError::Supervisor)?
    }

    /// Starts a child again that is stopped. Returns as [`start_child`](SupervisorRef::start_child).
    ///
    /// # Errors
    /// [`RestartChildError`].
    pub fn restart_child(&self, id: &str) -> Result<Option<AnyActor>, RestartChildError> {
        let ask = |reply| Request::RestartChild(id.to_owned(), reply);
        self.actor.ask(ask, QUERY).map_err(RestartChildError::Supervisor)?
    }

    /// Stops a child as its [`Shutdown`](super::Shutdown) says, and waits for that. What is known of it stays (unless it is temporary), so
    /// that it can be [restarted](SupervisorRef::restart_child). Of one that is stopped it is `Ok`.
    ///
    /// # Errors
    /// [`TerminateChildError`].
    pub fn terminate_child(&self, id: &str) -> Result<(), TerminateChildError> {
        let ask = |reply| Request::TerminateChild(id.to_owned(), reply);
        self.actor.ask(ask, QUERY).map_err(TerminateChildError::Supervisor)?
    }

    /// Forgets a child that is stopped.
    ///
    /// # Errors
    /// [`DeleteChildError`].
    pub fn delete_child(&self, id: &str) -> Result<(), DeleteChildError> {
        let ask = |reply| Request::DeleteChild(id.to_owned(), reply);
        self.actor.ask(ask, QUERY).map_err(DeleteChildError::Supervisor)?
    }

    /// The child with this id, if it runs and takes messages of type `M`.
    ///
    /// After a restart it is another actor: ask again when a send fails.
    pub fn child<M: Send + 'static>(&self, id: &str) -> Option<ActorRef<M>> {
        self.actor.ask(|reply| Request::Child(id.to_owned(), reply), QUERY).ok()??.downcast()
    }

    /// The child with this id, if it runs and is a [`Supervisor`](super::Supervisor).
    pub fn supervisor(&self, id: &str) -> Option<SupervisorRef> {
        self.child(id).map(|actor| SupervisorRef { actor })
    }

    /// The child with this id, if it runs and is a [`DynamicSupervisor`](super::DynamicSupervisor).
    pub fn dynamic(&self, id: &str) -> Option<DynamicRef> {
        self.child(id).map(DynamicRef::new)
    }

    /// The child with this id, if it runs and is a [`TaskSupervisor`](crate::TaskSupervisor).
    pub fn tasks(&self, id: &str) -> Option<Tasks> {
        self.dynamic(id).map(Tasks::new)
    }

    /// The child with this id, if it runs and is a [`PartitionSupervisor`](super::PartitionSupervisor).
    pub fn partitions(&self, id: &str) -> Option<PartitionRef> {
        self.supervisor(id).and_then(PartitionRef::find)
    }

    /// Stops the children in reverse order, then the supervisor, and waits for that. Returns the reason of its exit.
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

impl Linkable for SupervisorRef {
    fn any_cell(&self) -> AnyActor {
        self.actor()
    }
}
