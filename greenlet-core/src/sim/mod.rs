//! Simulation.

mod replay;
mod runner;
mod settings;

use std::rc::Rc;
use std::time::Duration;

pub use settings::{Injected, Order, Sim, Victims};

use crate::hub::{Context, Hub, HubRef, Region, Simulation, context};
use crate::raise::catch_if;
use crate::timeout::TimedOut;

/// [`Sim::run`] with the default settings: runs `f` as the main greenlet of a hub in virtual time.
///
/// # Panics
/// When the simulation fails: see [`Sim::run`].
#[track_caller]
pub fn run<R: Send>(seed: u64, f: impl FnOnce() -> R + Send) -> R {
    Sim::new(seed).run(f)
}

/// [`Sim::explore`] with the default settings: runs `f` for each seed, until one fails.
///
/// # Panics
/// For the first seed that fails.
#[track_caller]
pub fn explore(seeds: impl IntoIterator<Item = u64>, f: impl Fn() + Sync) {
    Sim::new(0).explore(seeds, f);
}

/// [`Sim::each_fault_point`] with the default settings: runs `f` again and again, each time with a kill or timeout at
/// another suspension of its [victims](victim). Returns how often it ran.
///
/// # Panics
/// For the first run that fails.
#[track_caller]
pub fn each_fault_point(seed: u64, f: impl Fn() + Sync) -> u64 {
    Sim::new(seed).each_fault_point(f)
}

#[track_caller]
fn simulation<'a>() -> &'a Simulation {
    match Hub::try_current().and_then(Hub::simulation) {
        Some(simulation) => simulation,
        None => panic!("this thread has no simulated hub: call it inside of `sim::run`"),
    }
}

/// Whether the calling thread's hub is simulated.
pub fn is_simulated() -> bool {
    Hub::try_current().is_some_and(|hub| hub.simulation().is_some())
}

/// The time of the simulation: zero, or [`Sim::start_time`], when it began.
///
/// # Panics
/// Outside of a simulation. For code that also runs in real time there is [`Instant`](crate::Instant).
#[track_caller]
pub fn now() -> Duration {
    simulation().now()
}

/// The seed that this simulation runs with.
///
/// # Panics
/// Outside of a simulation.
#[track_caller]
pub fn seed() -> u64 {
    simulation().seed()
}

/// How many turns the simulation has taken: greenlets and callbacks that ran until they suspended. Two runs with the same
/// seed have taken the same number at the same place.
///
/// # Panics
/// Outside of a simulation.
#[track_caller]
pub fn turns() -> u64 {
    simulation().turns()
}

/// A random number less than `limit`, for the program that is simulated: it follows from the seed, and asking does not
/// change the schedule.
///
/// # Panics
/// Outside of a simulation, and when `limit` is 0.
#[track_caller]
pub fn random(limit: u64) -> u64 {
    assert!(limit > 0, "there is no number less than 0");
    simulation().random_below(limit)
}

/// Runs `f` as a victim: the simulation may raise faults at any suspension point inside, as its settings say.
///
/// Kills and errors unwind through here, as a real one would; what the caller's `catch` or end does with them is up to it. An
/// injected timeout is caught here, as by [`with_timeout`](crate::with_timeout). A fault that is still on its way when `f`
/// returns is taken back. Outside of a simulation this just calls `f`.
///
/// # Errors
/// [`TimedOut`] when a timeout was injected.
///
/// ```
/// use greenlet_core::sim::{self, victim};
/// use greenlet_core::sync::Semaphore;
/// use greenlet_core::{joinall, sleep, spawn};
/// use std::rc::Rc;
/// use std::time::Duration;
///
/// let runs = sim::each_fault_point(1, || {
///     let permits = Rc::new(Semaphore::new(1));
///     let users: Vec<_> = (0..3)
///         .map(|_| {
///             let permits = permits.clone();
///             spawn(move || {
///                 victim(|| {
///                     let _permit = permits.permit();
///                     sleep(Duration::from_secs(1));
///                 })
///             })
///         })
///         .collect();
///     joinall(&users);
///     assert_eq!(permits.available(), 1); // whoever was killed, wherever
/// });
/// assert_eq!(runs, 41); // 5 suspensions
/// ```
pub fn victim<R>(f: impl FnOnce() -> R) -> Result<R, TimedOut> {
    let Context::Greenlet(hub, current) = context() else { return Ok(f()) };
    let Some(simulation) = hub.simulation() else { return Ok(f()) };
    struct Leave<'a>(&'a Simulation, Rc<Region>);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            self.0.leave(&self.1);
        }
    }
    let region = Leave(simulation, simulation.enter(current));
    catch_if(|raised| region.1.is_late(raised), f).map_err(|_| region.1.late())
}

/// Somebody outside of a simulation owes it an answer: made by [`outside`].
#[derive(Debug)]
#[must_use = "time goes on when it is dropped"]
pub struct Outside {
    hub: Option<HubRef>,
}

/// Tells the simulation that another thread will wake one of its greenlets. Until the guard is dropped (by that thread, when it
/// has given its answer) time stands still when nothing is ready, and nobody speaks of a deadlock.
///
/// Tasks of a [`ThreadPool`](crate::pool::ThreadPool) have one by themselves. Outside of a simulation it does nothing.
///
/// ```
/// use greenlet_core::{sim, AsyncResult};
/// use std::sync::Arc;
///
/// sim::run(1, || {
///     let answer = Arc::new(AsyncResult::new());
///     let (outside, to) = (sim::outside(), answer.clone());
///     std::thread::spawn(move || {
///         to.set(42);
///         drop(outside);
///     });
///     assert_eq!(answer.get().unwrap(), 42);
/// });
/// ```
pub fn outside() -> Outside {
    let simulated = Hub::try_current().filter(|hub| hub.simulation().is_some());
    let hub = simulated.map(|hub| hub.shared.clone());
    if let Some(hub) = &hub {
        hub.owe();
    }
    Outside { hub }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(hub) = &self.hub {
            hub.paid();
        }
    }
}
