//! Numbers of a system.

use std::fmt;
use std::sync::atomic::Ordering;

use crate::ask::late_replies;
use crate::run::Local;
use crate::run::system::{Shared, System};

/// What the actors of a system have done so far. [`Display`](fmt::Display) is Prometheus' text format, with a label `hub` where numbers are of one
/// hub.
///
/// Counts only go up. No hub is stopped for it, so the numbers may be of slightly different moments.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// The name of the system; empty for a hub by itself.
    pub system: String,
    /// By hub.
    pub hubs: Vec<HubMetrics>,
    /// Answers of the whole process that came when the asker had given up: [`late_replies`].
    pub late_replies: u64,
}

/// What one hub of a system has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HubMetrics {
    /// Its index.
    pub hub: u32,
    /// Actors that were spawned there and live, wherever they run.
    pub live: u64,
    /// Those that have ended.
    pub ended: u64,
    /// Messages and signals that its runners have handled. Counted when a runner has had its share.
    pub handled: u64,
    /// How often an actor was run there.
    pub activations: u64,
    /// How many of those were taken from other hubs.
    pub stolen: u64,
    /// Runners that are in a handler, or wait for work.
    pub runners: u64,
    /// Messages that nobody handled, since their actor ended first.
    pub dead_letters: u64,
}

/// The metrics of the current thread's system, or of its hub if it is in none; `None` if it never had actors.
///
/// ```
/// # use greenlet_actor::{Actor, Context, Exit, sys};
/// # struct Idler;
/// # impl Actor for Idler {
/// #     type Message = ();
/// #     fn receive(&mut self, _: (), _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
/// # }
/// # greenlet_core::run(|| {
/// Idler.start().unwrap();
/// let metrics = sys::metrics().unwrap();
/// assert_eq!(metrics.hubs[0].live, 1);
/// assert!(metrics.to_string().contains("greenlet_actors_live{hub=\"0\"} 1"));
/// # });
/// ```
pub fn metrics() -> Option<Metrics> {
    Local::current().map(|local| Metrics::of(local.system()))
}

impl System {
    /// What its actors have done so far.
    pub fn metrics(&self) -> Metrics {
        Metrics::of(self.shared())
    }
}

impl Metrics {
    fn of(system: &Shared) -> Metrics {
        let hubs = system.all().into_iter().map(|part| {
            let counts = part.counts();
            HubMetrics {
                hub: part.index(),
                live: part.live() as u64,
                ended: counts.ended.load(Ordering::Relaxed),
                handled: counts.handled.load(Ordering::Relaxed),
                activations: counts.activations.load(Ordering::Relaxed),
                stolen: counts.stolen.load(Ordering::Relaxed),
                runners: counts.runners.load(Ordering::Relaxed),
                dead_letters: counts.dead_letters.load(Ordering::Relaxed),
            }
        });
        Metrics { system: system.name().to_owned(), hubs: hubs.collect(), late_replies: late_replies() }
    }
}

type Column = (&'static str, &'static str, &'static str, fn(&HubMetrics) -> u64);

const COLUMNS: [Column; 7] = [
    ("live", "gauge", "Actors that live.", |hub| hub.live),
    ("ended_total", "counter", "Actors that have ended.", |hub| hub.ended),
    ("handled_total", "counter", "Messages and signals that were handled.", |hub| hub.handled),
    ("activations_total", "counter", "How often an actor was run.", |hub| hub.activations),
    ("stolen_total", "counter", "Activations taken from other hubs.", |hub| hub.stolen),
    ("runners", "gauge", "Greenlets that run actors or wait to.", |hub| hub.runners),
    ("dead_letters_total", "counter", "Messages whose actor ended first.", |hub| hub.dead_letters),
];

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, kind, help, value) in COLUMNS {
            writeln!(f, "# HELP greenlet_actors_{name} {help}\n# TYPE greenlet_actors_{name} {kind}")?;
            for hub in &self.hubs {
                writeln!(f, "greenlet_actors_{name}{{hub=\"{}\"}} {}", hub.hub, value(hub))?;
            }
        }
        let help = "Answers that came when the asker had given up.";
        writeln!(f, "# HELP greenlet_actors_late_replies_total {help}")?;
        writeln!(f, "# TYPE greenlet_actors_late_replies_total counter")?;
        writeln!(f, "greenlet_actors_late_replies_total {}", self.late_replies)
    }
}
