//! How a simulation goes.

use std::panic::Location;
use std::time::Duration;

use super::replay::Replay;
use super::runner;
use crate::hub::{Config, Settings};

/// Which of the greenlets that are ready runs next.
///
/// What primitives promise to those who *wait* (an item goes to the getter that has waited longest) holds in every order:
/// their wait lists see to that. So do callbacks of the loop among each other, hence links, and raises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// First in, first out, as on an ordinary hub: the seed decides only about faults.
    Fifo,
    /// Any of them, except that [`yield_now`](crate::yield_now) keeps its word: everybody who is ready runs first.
    #[default]
    Fair,
    /// Any of them, whoever it is. Even a greenlet that yields may be the next to run.
    Random,
}

/// In whom faults are raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Victims {
    /// Those inside of [`victim`](super::victim).
    #[default]
    Marked,
    /// Every greenlet but main. Timeouts are raised only in marked ones, where somebody catches them.
    Spawned,
}

/// What [`Sim::error_rate`] raises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, thiserror::Error)]
#[error("a fault injected by the simulation")]
pub struct Injected;

/// A simulation with settings: see the [module](super).
///
/// Rates are probabilities, from 0 (never) to 1 (always); all are 0 by default.
///
/// ```
/// use greenlet_core::sim::{Order, Sim, Victims};
/// use greenlet_core::{joinall, spawn, sleep};
/// use std::time::Duration;
///
/// Sim::new(42).order(Order::Random).victims(Victims::Spawned).kill_rate(0.1).run(|| {
///     let naps: Vec<_> = (0..10).map(|_| spawn(|| sleep(Duration::from_secs(60)))).collect();
///     joinall(&naps); // some are killed, all end
/// });
/// ```
#[derive(Clone, Debug)]
#[must_use = "a simulation starts with `run`"]
pub struct Sim {
    pub(super) settings: Settings,
    pub(super) config: Config,
}

impl Sim {
    /// Fair order, no faults, at most 10 million turns, from time zero.
    pub fn new(seed: u64) -> Sim {
        let settings = Settings {
            seed,
            order: Order::default(),
            victims: Victims::default(),
            kills: 0.0,
            timeouts: 0.0,
            errors: 0.0,
            spurious: 0.0,
            delays: (0.0, Duration::ZERO),
            start: Duration::ZERO,
            turn_limit: 10_000_000,
            panics_fail: true,
            plan: None,
        };
        Sim { settings, config: Config::default() }
    }

    /// Who runs next. Default: [`Order::Fair`].
    pub fn order(mut self, order: Order) -> Sim {
        self.settings.order = order;
        self
    }

    /// In whom faults are raised. Default: [`Victims::Marked`].
    pub fn victims(mut self, victims: Victims) -> Sim {
        self.settings.victims = victims;
        self
    }

    /// How often a victim that suspends is killed: [`GreenletExit`](crate::GreenletExit) is raised in it, right there, a
    /// little later, when nothing else is left to do, or when it was woken and is about to go on.
    pub fn kill_rate(mut self, rate: f64) -> Sim {
        self.settings.kills = rate;
        self
    }

    /// As [`kill_rate`](Sim::kill_rate), with a timeout that [`victim`](super::victim) catches.
    pub fn timeout_rate(mut self, rate: f64) -> Sim {
        self.settings.timeouts = rate;
        self
    }

    /// As [`kill_rate`](Sim::kill_rate), with an error ([`Injected`]), with which a victim that does not catch it fails.
    pub fn error_rate(mut self, rate: f64) -> Sim {
        self.settings.errors = rate;
        self
    }

    /// How often, for each turn, somebody who waits is woken for nothing. Nobody should notice.
    pub fn spurious_rate(mut self, rate: f64) -> Sim {
        self.settings.spurious = rate;
        self
    }

    /// How often, for each turn, up to `longest` passes although somebody is ready, as if it had computed for so long. So
    /// timers fire early, compared with everything else. Without it computing takes no time.
    pub fn delay_rate(mut self, rate: f64, longest: Duration) -> Sim {
        self.settings.delays = (rate, longest);
        self
    }

    /// What [`now`](super::now) says at the start. Default: zero.
    pub fn start_time(mut self, start: Duration) -> Sim {
        self.settings.start = start;
        self
    }

    /// After so many turns the simulation fails with a list of who ran last: somebody goes round in circles. A turn is
    /// one greenlet, or callback, that ran until it suspended. Default: 10 million.
    pub fn turn_limit(mut self, turns: u64) -> Sim {
        self.settings.turn_limit = turns;
        self
    }

    /// A greenlet that panics does not fail the simulation, as it fails nobody but itself on an ordinary hub.
    pub fn allow_panics(mut self) -> Sim {
        self.settings.panics_fail = false;
        self
    }

    /// Settings of the hub, such as the size of stacks.
    pub fn config(mut self, config: Config) -> Sim {
        self.config = config;
        self
    }

    /// Runs `f` as the main greenlet of a simulated hub, on a thread of its own, and returns what it returns. Greenlets that
    /// are left when it returns are killed, as by [`run`](crate::run). The calling thread is blocked meanwhile.
    ///
    /// If the environment has `GREENLET_SEED`, that is the seed.
    ///
    /// # Panics
    /// When the simulation fails, after printing its seed: `f` panicked (its panic is passed on), something was raised in `f`
    /// and not caught, a greenlet panicked (unless [allowed](Sim::allow_panics)), everybody waits and nothing will ever wake
    /// them, or there were [too many turns](Sim::turn_limit). When the system has no thread or descriptors for it.
    #[track_caller]
    pub fn run<R: Send>(mut self, f: impl FnOnce() -> R + Send) -> R {
        Replay::from_env().apply(&mut self.settings);
        runner::run(&self, Location::caller(), f)
    }

    /// [Runs](Sim::run) `f` once for each seed, until one fails. With `GREENLET_SEED` in the environment only that one is run.
    ///
    /// # Panics
    /// As [`run`](Sim::run), for the first seed that fails.
    #[track_caller]
    pub fn explore(self, seeds: impl IntoIterator<Item = u64>, f: impl Fn() + Sync) {
        let at = Location::caller();
        let replay = Replay::from_env();
        if replay.seed.is_some() {
            let mut sim = self;
            replay.apply(&mut sim.settings);
            return runner::run(&sim, at, &f);
        }
        for seed in seeds {
            let mut sim = self.clone();
            sim.settings.seed = seed;
            runner::run(&sim, at, &f);
        }
    }

    /// Runs `f` once without faults to count the suspensions of its [victims](Victims), then once for each of them with a
    /// kill exactly there, and once with a timeout: at once, soon after, when nothing else is left to do, and when the victim
    /// has been woken. Returns how often `f` ran.
    ///
    /// `f` must do the same whenever it is run with the same seed: what it does at random, it should do by
    /// [`random`](super::random). Rates are ignored, apart from those of spurious wake-ups and delays.
    ///
    /// `GREENLET_SEED` may name a seed, or, as printed by a run that failed, one fault.
    ///
    /// # Panics
    /// As [`run`](Sim::run), for the first run that fails; and if a run does not get as far as the first one did.
    #[track_caller]
    pub fn each_fault_point(mut self, f: impl Fn() + Sync) -> u64 {
        let at = Location::caller();
        let replay = Replay::from_env();
        replay.apply(&mut self.settings);
        if replay.fault.is_some() {
            runner::run(&self, at, &f);
            return 1;
        }
        runner::each_fault_point(&self, at, &f)
    }
}
