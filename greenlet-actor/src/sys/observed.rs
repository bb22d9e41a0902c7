//! What only actors have that somebody looks at.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use greenlet_core::oneshot;

use crate::actor_ref::ActorId;
use crate::exit::Exit;
use crate::life::Life;

/// One step of a [traced](super::trace) actor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TraceEvent {
    /// Which actor.
    pub actor: ActorId,
    /// What it does.
    pub what: Trace,
}

/// What a [traced](super::trace) actor does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Trace {
    /// It begins to handle a message with this label, or runs this hook.
    Begins(&'static str),
    /// It is done with that, after this time.
    Done(&'static str, Duration),
    /// It ends with that, for this reason.
    Ends(&'static str, Exit),
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Trace::Begins(label) => write!(f, "{} begins {label}", self.actor),
            Trace::Done(label, took) => write!(f, "{} done with {label} in {took:?}", self.actor),
            Trace::Ends(label, exit) => write!(f, "{} ends in {label}: {exit}", self.actor),
        }
    }
}

type Tracer = Arc<dyn Fn(&TraceEvent) + Send + Sync>;

/// What the next message of an actor does instead of being handled.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Panic(String),
    Exit(Exit),
}

#[derive(Default)]
pub(crate) struct Observed {
    watchers: Mutex<Watchers>,
    busy_nanos: AtomicU64,
}

#[derive(Default)]
struct Watchers {
    tracer: Option<Tracer>,
    dumps: Vec<oneshot::Sender<String>>,
    fault: Option<Fault>,
}

impl Observed {
    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_tracer(&self, tracer: Option<Tracer>) {
        let before = std::mem::replace(&mut self.watchers().tracer, tracer);
        drop(before);
    }

    pub(super) fn want_dump(&self, tell: oneshot::Sender<String>) {
        self.watchers().dumps.push(tell);
    }

    pub(crate) fn take_wishes(&self) -> Vec<oneshot::Sender<String>> {
        std::mem::take(&mut self.watchers().dumps)
    }

    pub(crate) fn drop_wishes(&self) {
        drop(self.take_wishes());
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        let before = self.watchers().fault.replace(fault);
        drop(before);
    }

    pub(crate) fn take_fault(&self) -> Option<Fault> {
        self.watchers().fault.take()
    }

    pub(crate) fn add_busy(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.busy_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_nanos.load(Ordering::Relaxed))
    }

    /// Runs `handle` with what a tracer and a subscriber are told of it.
    #[cold]
    pub(crate) fn around(
        life: &Life,
        label: &'static str,
        handle: impl FnOnce() -> Result<(), Exit>,
    ) -> Result<(), Exit> {
        let tracer = life.try_rare().and_then(|rare| rare.observed().watchers().tracer.clone());
        let tell = |what| {
            if let Some(tracer) = &tracer {
                tracer(&TraceEvent { actor: life.id(), what });
            }
        };
        let span = tracing::trace_span!(
            target: "greenlet::actor", "message", actor = %life.id(), path = %life.path(), label
        );
        tell(Trace::Begins(label));
        let begun = Instant::now();
        let result = span.in_scope(handle);
        match &result {
            Ok(()) => tell(Trace::Done(label, begun.elapsed())),
            Err(exit) => tell(Trace::Ends(label, exit.clone())),
        }
        result
    }
}
