//! Running a simulation on a thread of its own, and telling how it failed.

use std::any::Any;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::thread;

use super::replay::Replay;
use super::settings::Sim;
use crate::hub::{self, Fault, FaultPoint, Hub, Injection, Moment};
use crate::raise::Raised;

/// How one run ended.
struct Run<R> {
    /// What main returned, or how it unwound.
    result: Result<R, Box<dyn Any + Send>>,
    verdict: Option<String>,
    points: FaultPoint,
}

/// The program is over, even if it unwinds.
struct End<'a>(&'a Hub);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if let Some(simulation) = self.0.simulation() {
            simulation.end();
        }
    }
}

fn simulate<R>(sim: &Sim, f: impl FnOnce() -> R) -> Run<R> {
    let hub = match Hub::simulate(sim.config.clone(), sim.settings.clone()) {
        Ok(hub) => hub,
        Err(error) => panic!("cannot make a hub for a simulation: {error}"),
    };
    let result = catch_unwind(AssertUnwindSafe(|| {
        hub::run(|| {
            let _end = End(hub);
            f()
        })
    }));
    let simulation = hub.simulation();
    let verdict = simulation.and_then(|simulation| simulation.verdict());
    if hub.has_survivors() {
        // The end of this thread aborts the process, and the capture of a test ends with it: so not `eprintln!`.
        let how = if result.is_err() { "failed" } else { "is over" };
        let seed = Replay::of(&sim.settings);
        let verdict = verdict.as_deref().unwrap_or_default();
        let last_words = format!(
            "simulation {seed} {how}, and some of its greenlets survive every kill: replay with GREENLET_SEED={seed}\n{verdict}\n"
        );
        let _ = std::io::stderr().write_all(last_words.as_bytes());
    }
    Run { result, verdict, points: simulation.map_or(0, |simulation| simulation.points()) }
}

/// Runs it on a fresh thread.
fn on_a_thread<R: Send>(sim: &Sim, f: impl FnOnce() -> R + Send) -> Run<R> {
    let name = format!("simulation {}", Replay::of(&sim.settings));
    let ran = thread::scope(|scope| {
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, || simulate(sim, f));
        match thread {
            Ok(thread) => thread.join(),
            Err(error) => panic!("cannot start a thread for a simulation: {error}"),
        }
    });
    ran.unwrap_or_else(|payload| resume_unwind(payload))
}

/// Runs it; fails as it failed. The number of suspensions of victims comes back, too.
fn run_counting<R: Send>(sim: &Sim, at: &Location<'_>, f: impl FnOnce() -> R + Send) -> (R, FaultPoint) {
    let Run { result, verdict, points } = on_a_thread(sim, f);
    let seed = Replay::of(&sim.settings);
    let payload = match (result, &verdict) {
        (Ok(value), None) => return (value, points),
        (Ok(_), Some(_)) => None,
        (Err(payload), _) => Some(payload),
    };
    eprintln!("the simulation at {at} failed: replay with GREENLET_SEED={seed}");
    let payload = match payload.map(|payload| payload.downcast::<Raised>()) {
        // A panic of main's was printed by the hook; what else went wrong was not.
        Some(Err(panic)) => {
            if let Some(verdict) = verdict {
                eprintln!("{verdict}");
            }
            resume_unwind(panic)
        }
        Some(Ok(raised)) if verdict.is_none() => {
            panic!("the main greenlet of simulation {seed} failed: {raised}")
        }
        _ => verdict.unwrap_or_default(),
    };
    panic!("simulation {seed}: {payload}")
}

pub(super) fn run<R: Send>(sim: &Sim, at: &Location<'_>, f: impl FnOnce() -> R + Send) -> R {
    run_counting(sim, at, f).0
}

pub(super) fn each_fault_point(sim: &Sim, at: &Location<'_>, f: &(impl Fn() + Sync)) -> u64 {
    let mut sim = sim.clone();
    let settings = &mut sim.settings;
    (settings.kills, settings.timeouts, settings.errors, settings.plan) = (0.0, 0.0, 0.0, None);
    let ((), points) = run_counting(&sim, at, f);
    let mut runs = 1;
    for point in 0..points {
        for fault in [Fault::Kill, Fault::Timeout] {
            for moment in Moment::ALL {
                sim.settings.plan = Some(Injection { point, moment, fault });
                let ((), reached) = run_counting(&sim, at, f);
                assert!(
                    reached > point,
                    "simulation {} did not get to suspension {point}, as the first run did: what it does does not follow \
                     from the seed alone",
                    Replay::of(&sim.settings)
                );
                runs += 1;
            }
        }
    }
    runs
}
