//! Supervisors: actors that start others, and start them again when they end.
//!
//! | | |
//! |---|---|
//! | [`Supervisor`] | children with ids and an order, and a strategy: OTP's `supervisor` |
//! | [`DynamicSupervisor`] | any number of children of the same kind, without ids: `simple_one_for_one`, Elixir's `DynamicSupervisor` |
//! | [`PartitionSupervisor`] | several of the same, chosen by a key: Elixir's `PartitionSupervisor` |
//!
//! `spec` says what is known of a child, `children` keeps them, `child` starts and stops their actors, `supervising` is the actor that decides.

mod backoff;
mod child;
mod children;
mod dynamic;
mod handle;
mod intensity;
mod partition;
mod spec;
mod supervising;

use std::time::Duration;

pub use backoff::Backoff;
pub use dynamic::{DynamicRef, DynamicSpec, DynamicSupervisor, Template};
pub use handle::{
    ChildCounts, ChildInfo, ChildState, DeleteChildError, RestartChildError, StartChildError, StartError,
    SupervisorRef, TerminateChildError,
};
pub use partition::{PartitionRef, PartitionSupervisor};
pub use spec::{ChildKind, ChildSpec, Restart, Shutdown, supervisor, worker, worker_local};

use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::{ActorRef, AnyActor};
use crate::exit::InitError;
use crate::life::flag;
use children::Children;
pub(crate) use intensity::Intensity;
use supervising::Supervising;

/// A supervisor to be started: its strategy and its children. OTP's `supervisor`.
///
/// Children start in the order given, each when the one before has done its `init`, and stop in reverse order. A child
/// that ends is restarted as its [`Restart`] says, alone or with others, as the strategy says; when that happens more than `intensity` times
/// in `period`, the supervisor gives up: it stops its children and ends with `shutdown`, and its own supervisor decides what next.
///
/// | strategy | what is restarted when a child fails |
/// |---|---|
/// | [`one_for_one`](Supervisor::one_for_one) | that child |
/// | [`one_for_all`](Supervisor::one_for_all) | all children |
/// | [`rest_for_one`](Supervisor::rest_for_one) | that child and those after it |
///
/// Those that share the fate of another are stopped first, in reverse order, and then all are started in order; temporary ones are not, but
/// forgotten. As in OTP, others that were stopped before, by themselves or by [`terminate_child`](SupervisorRef::terminate_child), come back with the rest.
///
/// ```
/// use greenlet_actor::{supervisor, worker, Actor, Context, Exit, Restart, Supervisor};
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
/// fn counters() -> Supervisor {
///     Supervisor::one_for_one()
///         .child(worker("even", || Counter(0)))
///         .child(worker("odd", || Counter(1)).restart(Restart::Transient))
/// }
///
/// # greenlet_core::run(|| {
/// let tree = Supervisor::rest_for_one()
///     .intensity(3, Duration::from_secs(5))
///     .child(worker("total", || Counter(0)))
///     .child(supervisor("counters", counters))
///     .start()
///     .unwrap();
/// let total = tree.child::<u32>("total").unwrap();
/// total.send(7).unwrap();
/// assert_eq!(total.path(), "/supervisor/total");
/// tree.shutdown();
/// # });
/// ```
#[derive(Debug)]
#[must_use = "a supervisor does nothing until it is started"]
pub struct Supervisor {
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    intensity: usize,
    period: Duration,
    children: Vec<ChildSpec>,
}

/// Who is restarted with a child that fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Strategy {
    OneForOne,
    OneForAll,
    RestForOne,
}

/// When a supervisor shuts down by itself, with `shutdown`, since [significant](ChildSpec::significant) children have ended: by themselves, and
/// without being restarted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum AutoShutdown {
    /// It does not.
    #[default]
    Never,
    /// When one has ended.
    AnySignificant,
    /// When the last one has ended that ran.
    AllSignificant,
}

/// OTP's defaults.
const INTENSITY: usize = 1;
const PERIOD: Duration = Duration::from_secs(5);

impl Supervisor {
    fn with(strategy: Strategy) -> Supervisor {
        let auto_shutdown = AutoShutdown::Never;
        Supervisor { strategy, auto_shutdown, intensity: INTENSITY, period: PERIOD, children: Vec::new() }
    }

    /// Restarts only the child that ended.
    pub fn one_for_one() -> Supervisor {
        Supervisor::with(Strategy::OneForOne)
    }

    /// Restarts all children when one ends.
    pub fn one_for_all() -> Supervisor {
        Supervisor::with(Strategy::OneForAll)
    }

    /// Restarts the child that ended and those after it.
    pub fn rest_for_one() -> Supervisor {
        Supervisor::with(Strategy::RestForOne)
    }

    /// How many restarts are tolerated in which time. Default: 1 in 5 seconds. With 0 the first is too many, with `usize::MAX` none.
    ///
    /// A failure counts once, however many children are restarted since of it; each start that fails counts again.
    pub fn intensity(mut self, restarts: usize, period: Duration) -> Supervisor {
        self.intensity = restarts;
        self.period = period;
        self
    }

    /// When it shuts down by itself. Default: [`AutoShutdown::Never`].
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Supervisor {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// Adds a child, made by [`worker`], [`worker_local`] or [`supervisor`].
    pub fn child(mut self, child: ChildSpec) -> Supervisor {
        self.children.push(child);
        self
    }

    /// Starts the supervisor and its children, and waits until all of them have started. It stays on this thread's hub.
    ///
    /// # Errors
    /// [`StartError::DuplicateId`] if two children have the same id, and [`StartError::Significant`] if one cannot be significant; then none was
    /// started. [`StartError::Child`] if a child failed to start: those started before it were stopped in reverse order.
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
        let builder = ActorBuilder::new().name(name);
        Ok(SupervisorRef { actor: start_actor(builder, self.into_actor())? })
    }

    fn into_actor(self) -> Supervising {
        Supervising {
            strategy: self.strategy,
            auto_shutdown: self.auto_shutdown,
            intensity: Intensity::new(self.intensity, self.period),
            specs: self.children,
            children: Children::default(),
            partitions: None,
        }
    }
}

/// Starts a supervisor that nobody supervises.
#[track_caller]
fn start_actor<A: Actor>(builder: ActorBuilder, actor: A) -> Result<ActorRef<A::Message>, StartError> {
    builder.start_local(actor).map_err(|InitError { exit }| {
        let of_children = exit.shutdown_term::<StartError>();
        let known = of_children.or_else(|| exit.failure()?.downcast_ref());
        known.cloned().unwrap_or(StartError::Supervisor(exit))
    })
}

/// What [`supervisor`] takes: the kinds of supervisors.
pub trait Supervise: sealed::Supervise {}

impl<S: sealed::Supervise> Supervise for S {}

mod sealed {
    use crate::actor::ActorBuilder;
    use crate::actor_ref::AnyActor;

    pub trait Supervise: 'static {
        /// Makes its actor, which does not run yet.
        fn make(self, builder: ActorBuilder) -> AnyActor;
    }
}

impl sealed::Supervise for Supervisor {
    fn make(self, builder: ActorBuilder) -> AnyActor {
        builder.make(self.into_actor(), flag::PINNED).into_any()
    }
}
