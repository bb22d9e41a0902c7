//! Tests in virtual time: the same hub, but its clock, its order and its faults follow from a seed.
//!
//! [`run`] calls a closure as the main greenlet of a fresh hub, on a fresh thread, and everything in it is as it always is,
//! except that
//!
//! - **time is virtual.** It stands still while anybody is ready, and moves to the next timer when nobody is. A sleep of a
//!   year returns at once; a timeout of 5 seconds strikes after exactly 5 seconds;
//! - **the order comes from the seed.** Which of those who are ready runs next is drawn ([`Order`]), so a thousand seeds are a
//!   thousand schedules, and one seed is always the same one;
//! - **waiting for nothing fails.** If nobody is ready and no timer is set, the simulation fails at once with a list of who
//!   waits, and for what. So a wake-up that was lost is a failed test and not one that hangs;
//! - **faults can be injected**: kills, timeouts and errors at suspension points, wake-ups for nothing, delays.
//!
//! # Testing one's own code
//!
//! Nothing has to be changed in code that sleeps, waits and times out by means of this crate. What measures time must do so by
//! [`Instant`](crate::Instant), which is virtual here and std's elsewhere. This waits for hours and runs in microseconds:
//!
//! ```
//! use greenlet_core::{sim, sleep};
//! use std::time::Duration;
//!
//! /// Tries again after 1 second, 2, 4, ... up to an hour.
//! fn retry<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
//!     let mut pause = Duration::from_secs(1);
//!     loop {
//!         if let Some(value) = attempt() {
//!             return value;
//!         }
//!         sleep(pause);
//!         pause = (pause * 2).min(Duration::from_secs(3600));
//!     }
//! }
//!
//! sim::run(1, || {
//!     let back_at = Duration::from_secs(5 * 3600); // the server is away for five hours
//!     let found = retry(|| (sim::now() >= back_at).then_some("there again"));
//!     assert_eq!(found, "there again");
//!     // 1 + 2 + 4 + ... + 2048 seconds, then four hours
//!     assert_eq!(sim::now(), Duration::from_secs(4095 + 4 * 3600));
//! });
//! ```
//!
//! # Many seeds, and one again
//!
//! [`explore`] runs a closure for many seeds. When one fails, it prints
//!
//! ```text
//! the simulation at tests/orders.rs:12:5 failed: replay with GREENLET_SEED=4711
//! ```
//!
//! and the test, run alone with that variable in its environment, does the same again, as often as you like. What the program
//! itself does at random it should draw from [`random`], which follows from the seed too.
//!
//! ```
//! use greenlet_core::{joinall, sim, sleep, spawn, sync::Mutex};
//! use std::{rc::Rc, time::Duration};
//!
//! sim::explore(0..100, || {
//!     let account = Rc::new(Mutex::new(0));
//!     let deposits: Vec<_> = (0..5)
//!         .map(|_| {
//!             let account = account.clone();
//!             spawn(move || {
//!                 let mut cents = account.lock().unwrap();
//!                 let before = *cents;
//!                 sleep(Duration::from_millis(sim::random(10))); // the ledger is slow
//!                 *cents = before + 100;
//!             })
//!         })
//!         .collect();
//!     joinall(&deposits);
//!     assert_eq!(*account.lock().unwrap(), 500);
//! });
//! ```
//!
//! The same seed is the same run as long as the program does not look at what changes from run to run: the real time, ids of
//! greenlets, addresses, the order of a `HashMap`, or what threads and sockets do.
//!
//! # Faults
//!
//! In a real program a kill or a timeout may arrive at every suspension point. [`victim`] marks code that must stand that;
//! [`Sim::kill_rate`] and its like strike at random, and [`each_fault_point`] strikes at each of them in turn. What it prints on
//! failure, such as `GREENLET_SEED=1:12:waking:kill`, replays that one fault. See [`victim`] for an example.
//!
//! A fault comes at one of four moments: at once; soon, in the queue behind what is ready; when nothing else is left to do; or
//! when the victim was woken and is about to go on. In the last one, who was *given* something (an item, a permit) has won: the
//! operation returns with it.
//!
//! # The outside
//!
//! - **Threads.** The simulation knows of tasks of a [`ThreadPool`](crate::pool::ThreadPool): while one that was spawned in it is
//!   not finished and nobody is ready, time stands still. For other threads, and hubs, that will wake one of its greenlets there
//!   is [`outside`]; without it, time goes on without them, and waiting for them counts as a deadlock.
//! - **Sockets.** The system is asked before time moves, and answers at once if both ends are in the simulation. Time does not
//!   wait for a peer that is elsewhere, unless [`outside`] says so. If no timer is set and somebody waits for a descriptor,
//!   that is not a deadlock: the simulation waits in real time.
//! - **Signals.** Whoever waits for one needs [`outside`], as for a thread.
//! - What threads and peers do has an order of its own: no seed repeats it.
//! - Code that computes, or blocks its thread, takes no virtual time, but see [`Sim::delay_rate`].
//! - A panic hook runs in real time.
//!
//! # What is different from an ordinary hub
//!
//! - [`Order`] says which promises of order hold. By default only the greenlets that become ready together are mixed;
//!   [`yield_now`](crate::yield_now), wait lists, links and raises keep their word.
//! - A greenlet that panics fails the simulation, since in a test that is what one wants to know: [`Sim::allow_panics`].
//! - It is slower: some ten times for a switch, and 30 us for a simulation that does nothing. An ordinary hub pays for none of this.

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
