//! Several of the same, chosen by a key: so that one of them does not become what everybody waits for.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::panic::Location;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::dynamic::{DynamicRef, DynamicSupervisor};
use super::handle::{ChildCounts, ChildInfo, QUERY, StartChildError, StartError, SupervisorRef};
use super::spec::{ChildSpec, Restart, Shutdown, supervisor, worker};
use super::supervising::{Request, Supervising};
use super::{INTENSITY, PERIOD, Supervisor, sealed, start_actor};
use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::{ActorRef, AnyActor, Linkable};
use crate::ask::AskError;
use crate::exit::Exit;
use crate::life::flag;
use crate::run;

/// A supervisor of several children that are the same, one for each hub unless told otherwise, among which a key chooses: Elixir's
/// `PartitionSupervisor`.
///
/// The children are [`DynamicSupervisor`]s, so that children start on all hubs at the same time, or workers. They are spread over the hubs of the
/// [`System`](crate::System). One that fails is restarted by itself (`one_for_one`); who asks for it finds the new one without asking the supervisor.
///
/// ```
/// use greenlet_actor::{Actor, Context, DynamicSupervisor, Exit, PartitionSupervisor};
///
/// # struct Session;
/// # impl Actor for Session {
/// #     type Message = ();
/// #     fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
/// # }
/// # greenlet_core::run(|| {
/// let sessions = PartitionSupervisor::dynamic(DynamicSupervisor::new()).partitions(4).start().unwrap();
/// for user in ["Anna", "Ben", "Chris"] {
///     sessions.start_child(&user, || Session).unwrap();
/// }
/// # });
/// ```
#[must_use = "a supervisor does nothing until it is started"]
pub struct PartitionSupervisor {
    partitions: Option<usize>,
    intensity: usize,
    period: Duration,
    child: Rc<dyn Fn(usize) -> ChildSpec>,
    restart: Restart,
    shutdown: Option<Shutdown>,
}

impl PartitionSupervisor {
    fn of(child: impl Fn(usize) -> ChildSpec + 'static) -> PartitionSupervisor {
        PartitionSupervisor {
            partitions: None,
            intensity: INTENSITY,
            period: PERIOD,
            child: Rc::new(child),
            restart: Restart::Permanent,
            shutdown: None,
        }
    }

    /// Partitions that are dynamic supervisors with these settings.
    #[track_caller]
    pub fn dynamic(settings: DynamicSupervisor) -> PartitionSupervisor {
        PartitionSupervisor::of(move |index| {
            let settings = settings.clone();
            supervisor(index.to_string(), move || settings.clone())
        })
    }

    /// Partitions that are actors, made by `make` from their number.
    #[track_caller]
    pub fn workers<A: Actor + Send>(make: impl Fn(usize) -> A + 'static) -> PartitionSupervisor {
        let (make, site) = (Rc::new(make), Location::caller());
        PartitionSupervisor::of(move |index| {
            let make = make.clone();
            let mut spec = worker(index.to_string(), move || make(index));
            spec.builder = spec.builder.spawn_site(site);
            spec
        })
    }

    /// How many partitions. Default: one for each hub of the system.
    ///
    /// # Panics
    /// If it is 0.
    #[track_caller]
    pub fn partitions(mut self, partitions: usize) -> PartitionSupervisor {
        assert!(partitions > 0, "there must be a partition for each key");
        self.partitions = Some(partitions);
        self
    }

    /// How many restarts of partitions are tolerated in which time: [`Supervisor::intensity`].
    pub fn intensity(mut self, restarts: usize, period: Duration) -> PartitionSupervisor {
        self.intensity = restarts;
        self.period = period;
        self
    }

    /// When partitions are restarted. Default: [`Restart::Permanent`].
    pub fn restart(mut self, restart: Restart) -> PartitionSupervisor {
        self.restart = restart;
        self
    }

    /// How partitions are stopped. Default: 5 seconds for workers, all the time that it takes for supervisors.
    pub fn shutdown(mut self, shutdown: Shutdown) -> PartitionSupervisor {
        self.shutdown = Some(shutdown);
        self
    }

    /// Starts the supervisor on this thread's hub, and the partitions.
    ///
    /// # Errors
    /// As [`Supervisor::start`].
    #[track_caller]
    pub fn start(self) -> Result<PartitionRef, StartError> {
        self.start_named("partitions")
    }

    /// As [`start`](PartitionSupervisor::start), with a name for reports.
    ///
    /// # Errors
    /// As `start`.
    #[track_caller]
    pub fn start_named(self, name: impl Into<String>) -> Result<PartitionRef, StartError> {
        let actor = self.into_actor();
        let slots = actor.partitions.clone().unwrap_or_default();
        let actor = start_actor(ActorBuilder::new().name(name), actor)?;
        Ok(PartitionRef { supervisor: SupervisorRef { actor }, slots })
    }

    fn into_actor(self) -> Supervising {
        let homes = run::homes();
        let count = self.partitions.unwrap_or(homes.len());
        let slots = Arc::new(Slots((0..count).map(|_| Mutex::default()).collect()));
        let mut tree = Supervisor::one_for_one().intensity(self.intensity, self.period);
        for index in 0..count {
            let mut spec = (self.child)(index).restart(self.restart);
            if let Some(shutdown) = self.shutdown {
                spec = spec.shutdown(shutdown);
            }
            spec.builder = spec.builder.home(homes[index % homes.len()].clone());
            let (mut make, slots) = (spec.make, slots.clone());
            spec.make = Box::new(move |builder| {
                let actor = make(builder);
                slots.set(index, &actor);
                actor
            });
            tree = tree.child(spec);
        }
        let mut actor = tree.into_actor();
        actor.partitions = Some(slots);
        actor
    }
}

impl sealed::Supervise for PartitionSupervisor {
    fn make(self, builder: ActorBuilder) -> AnyActor {
        builder.make(self.into_actor(), flag::PINNED).into_any()
    }
}

impl fmt::Debug for PartitionSupervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionSupervisor").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

/// The actors of the partitions, as they are at present.
#[derive(Default)]
pub(super) struct Slots(Vec<Mutex<Option<AnyActor>>>);

impl Slots {
    fn set(&self, index: usize, actor: &AnyActor) {
        let mut slot = self.0[index].lock().unwrap_or_else(PoisonError::into_inner);
        let before = slot.replace(actor.clone());
        drop(slot);
        drop(before);
    }

    fn get(&self, index: usize) -> Option<AnyActor> {
        self.0[index].lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A running [`PartitionSupervisor`]. Works from any thread, greenlet or async task.
#[derive(Clone)]
pub struct PartitionRef {
    supervisor: SupervisorRef,
    slots: Arc<Slots>,
}

impl PartitionRef {
    /// That one, if it has partitions.
    pub(super) fn find(supervisor: SupervisorRef) -> Option<PartitionRef> {
        let slots = supervisor.actor.ask(Request::Partitions, QUERY).ok()??;
        Some(PartitionRef { supervisor, slots })
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> usize {
        self.slots.0.len()
    }

    /// The number of the partition that this key chooses: always the same for equal keys.
    pub fn partition_of(&self, key: &(impl Hash + ?Sized)) -> usize {
        // The same in every process, unlike std's default.
        let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one(key);
        usize::try_from(hash % self.slots.0.len() as u64).expect("less than the number of partitions")
    }

    /// The partition of that number, if it runs and takes messages of type `M`.
    pub fn partition<M: Send + 'static>(&self, number: usize) -> Option<ActorRef<M>> {
        (number < self.partitions())
            .then(|| self.slots.get(number))??
            .downcast()
            .filter(|actor| !actor.ready())
    }

    /// The partition that this key chooses, if it runs and takes messages of type `M`.
    pub fn child<M: Send + 'static>(&self, key: &(impl Hash + ?Sized)) -> Option<ActorRef<M>> {
        self.partition(self.partition_of(key))
    }

    /// The partition that this key chooses, if it runs and is a [`DynamicSupervisor`].
    pub fn supervisor_of(&self, key: &(impl Hash + ?Sized)) -> Option<DynamicRef> {
        self.child(key).map(DynamicRef::new)
    }

    /// Starts a child in the partition that this key chooses: [`DynamicRef::start_child`].
    ///
    /// # Errors
    /// As `start_child`; [`StartChildError::Supervisor`] too when the partition is being restarted.
    #[track_caller]
    pub fn start_child<A: Actor + Send>(
        &self,
        key: &(impl Hash + ?Sized),
        make: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Message>, StartChildError> {
        match self.supervisor_of(key) {
            Some(partition) => partition.start_child(make),
            None => Err(StartChildError::Supervisor(AskError::Ended(Exit::NoProc))),
        }
    }

    /// The partitions, in order: their ids are their numbers.
    ///
    /// # Errors
    /// [`AskError`] when the supervisor has ended.
    pub fn which_children(&self) -> Result<Vec<ChildInfo>, AskError> {
        self.supervisor.which_children()
    }

    /// How many partitions there are, and run.
    ///
    /// # Errors
    /// [`AskError`] when the supervisor has ended.
    pub fn count_children(&self) -> Result<ChildCounts, AskError> {
        self.supervisor.count_children()
    }

    /// Stops the partitions in reverse order, then the supervisor, and waits for that. Returns the reason of its exit.
    pub fn shutdown(&self) -> Exit {
        self.supervisor.shutdown()
    }

    /// Waits until the supervisor has ended, and returns why.
    pub fn join(&self) -> Exit {
        self.supervisor.join()
    }

    /// The supervisor as an actor.
    pub fn actor(&self) -> AnyActor {
        self.supervisor.actor()
    }
}

impl Linkable for PartitionRef {
    fn any_cell(&self) -> AnyActor {
        self.actor()
    }
}

impl fmt::Debug for PartitionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionRef")
            .field("supervisor", &self.supervisor)
            .field("partitions", &self.partitions())
            .finish()
    }
}
