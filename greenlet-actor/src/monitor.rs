//! Monitors: hearing of an actor's end without sharing it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::actor_ref::ActorId;
use crate::exit::Exit;

/// Names one monitor: each [`Context::monitor`](crate::Context::monitor) makes another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MonitorId(u64);

impl MonitorId {
    pub(crate) fn next() -> MonitorId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        MonitorId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for MonitorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#Monitor<{}>", self.0)
    }
}

/// A monitored actor has ended: Erlang's `DOWN`. Comes to [`Actor::handle_down`](crate::Actor::handle_down).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Down {
    /// The monitor that this is the one answer of.
    pub monitor: MonitorId,
    /// Who ended.
    pub actor: ActorId,
    /// Why; [`Exit::NoProc`] if it had ended before it was monitored.
    pub exit: Exit,
}
