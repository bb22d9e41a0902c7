//! What a supervisor knows of a child before it runs.

use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use super::Supervisor;
use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::{AnyActor, Linkable};
use crate::exit::Exit;
use crate::life::flag;

/// When a child that has ended is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Unless it ended with `normal` or `shutdown`.
    Transient,
    /// Never; it is forgotten.
    Temporary,
}

/// How a child is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// Killed at once.
    BrutalKill,
    /// Told to shut down, and killed if it has not ended by then.
    Timeout(Duration),
    /// Told to shut down, and waited for.
    Infinity,
}

/// A worker or a supervisor; only shown in [`ChildInfo`](super::ChildInfo).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildKind {
    /// An actor that does the work.
    Worker,
    /// An actor that supervises others.
    Supervisor,
}

/// A child that was made: how to stop it, and its `ActorRef` for those who ask for it by type.
pub(super) struct Made {
    pub(super) actor: AnyActor,
    typed: Box<dyn Fn() -> Box<dyn Any + Send>>,
}

impl Made {
    /// Its `ActorRef<M>`.
    pub(super) fn clone_typed(&self) -> Box<dyn Any + Send> {
        (self.typed)()
    }
}

/// Makes a child that is linked to its supervisor, with what starts it and waits for its `init`.
type Make = Box<dyn FnMut(&AnyActor) -> (Made, Start)>;
type Start = Box<dyn FnOnce() -> Result<(), Exit>>;

/// What a supervisor needs to start, restart and stop a child: made by [`worker`] and [`supervisor`].
pub struct ChildSpec {
    pub(super) id: String,
    pub(super) restart: Restart,
    pub(super) shutdown: Shutdown,
    pub(super) kind: ChildKind,
    pub(super) make: Make,
}

/// A child that is an actor, made anew by `make` for each start.
///
/// By default it is permanent, and has 5 seconds to shut down. What may fail belongs into [`Actor::init`], which must not
/// query its own supervisor: that waits for `init`.
#[track_caller]
pub fn worker<A: Actor>(id: impl Into<String>, mut make: impl FnMut() -> A + 'static) -> ChildSpec {
    let id = id.into();
    let builder = ActorBuilder::new().name(id.as_str()).spawn_site(Location::caller());
    ChildSpec {
        id,
        restart: Restart::Permanent,
        shutdown: Shutdown::Timeout(Duration::from_secs(5)),
        kind: ChildKind::Worker,
        make: Box::new(move |parent| linked(builder.clone(), make(), parent)),
    }
}

/// A child that is a supervisor, made anew by `make` for each start.
///
/// By default it is permanent, and has all the time that it needs to stop its own children.
#[track_caller]
pub fn supervisor(id: impl Into<String>, mut make: impl FnMut() -> Supervisor + 'static) -> ChildSpec {
    let id = id.into();
    let builder = ActorBuilder::new().name(id.as_str()).spawn_site(Location::caller());
    ChildSpec {
        id,
        restart: Restart::Permanent,
        shutdown: Shutdown::Infinity,
        kind: ChildKind::Supervisor,
        make: Box::new(move |parent| linked(builder.clone(), make().into_actor(), parent)),
    }
}

fn linked<A: Actor>(builder: ActorBuilder, actor: A, parent: &AnyActor) -> (Made, Start) {
    let new = builder.parent(parent).make(actor, flag::PINNED);
    let (any, typed) = (new.actor.any_cell(), new.actor.clone());
    let made = Made { actor: any, typed: Box::new(move || Box::new(typed.clone())) };
    (made, Box::new(move || new.start().map(drop).map_err(|error| error.exit)))
}

impl ChildSpec {
    /// When it is restarted.
    pub fn restart(mut self, restart: Restart) -> ChildSpec {
        self.restart = restart;
        self
    }

    /// How it is stopped.
    pub fn shutdown(mut self, shutdown: Shutdown) -> ChildSpec {
        self.shutdown = shutdown;
        self
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("restart", &self.restart)
            .field("shutdown", &self.shutdown)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
