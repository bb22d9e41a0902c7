//! What a supervisor knows of a child before it runs.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use greenlet_core::StackSize;

use super::Supervise;
use super::backoff::Backoff;
use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::AnyActor;
use crate::bounded::Overflow;
use crate::life::flag;
use crate::registry::{Key, Via};

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

/// What is decided about a child when it ends, or is to end.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) restart: Restart,
    pub(super) shutdown: Shutdown,
    pub(super) significant: bool,
    pub(super) backoff: Option<Backoff>,
}

impl Settings {
    pub(super) const fn of(kind: ChildKind) -> Settings {
        let shutdown = match kind {
            ChildKind::Worker => Shutdown::Timeout(Duration::from_secs(5)),
            ChildKind::Supervisor => Shutdown::Infinity,
        };
        Settings { restart: Restart::Permanent, shutdown, significant: false, backoff: None }
    }
}

/// Makes the actor of a child, which does not run yet.
pub(super) type Make = Box<dyn FnMut(ActorBuilder) -> AnyActor>;

/// What a supervisor needs to start, restart and stop a child: made by [`worker`], [`worker_local`] and [`supervisor`].
///
/// Its settings are those of OTP's child specification, and those of the actor's mailbox and stack.
#[must_use = "a child is started by its supervisor"]
pub struct ChildSpec {
    pub(super) id: String,
    pub(super) settings: Settings,
    pub(super) kind: ChildKind,
    pub(super) builder: ActorBuilder,
    pub(super) make: Make,
}

impl ChildSpec {
    fn new(
        id: String,
        kind: ChildKind,
        site: &'static Location<'static>,
        make: impl FnMut(ActorBuilder) -> AnyActor + 'static,
    ) -> ChildSpec {
        let builder = ActorBuilder::new().name(id.as_str()).spawn_site(site);
        ChildSpec { id, settings: Settings::of(kind), kind, builder, make: Box::new(make) }
    }
}

/// A child that is an actor, made anew by `make` for each start.
///
/// `make` runs in the supervisor, on its hub; the actor may run on any hub of the [`System`](crate::System), and so is `Send`. By default the
/// child is permanent, and has 5 seconds to shut down. What may fail belongs into [`Actor::init`], which must not query its own supervisor:
/// that waits for `init`.
#[track_caller]
pub fn worker<A: Actor + Send>(id: impl Into<String>, mut make: impl FnMut() -> A + 'static) -> ChildSpec {
    let make = move |builder: ActorBuilder| builder.make(make(), 0).into_any();
    ChildSpec::new(id.into(), ChildKind::Worker, Location::caller(), make)
}

/// As [`worker`], for an actor that stays on the supervisor's hub, so that it need not be `Send`.
#[track_caller]
pub fn worker_local<A: Actor>(id: impl Into<String>, mut make: impl FnMut() -> A + 'static) -> ChildSpec {
    let make = move |builder: ActorBuilder| builder.make(make(), flag::PINNED).into_any();
    ChildSpec::new(id.into(), ChildKind::Worker, Location::caller(), make)
}

/// A child that is a supervisor of whatever kind, made anew by `make` for each start.
///
/// By default it is permanent, and has all the time that it needs to stop its own children.
#[track_caller]
pub fn supervisor<S: Supervise>(id: impl Into<String>, mut make: impl FnMut() -> S + 'static) -> ChildSpec {
    let make = move |builder: ActorBuilder| make().make(builder);
    ChildSpec::new(id.into(), ChildKind::Supervisor, Location::caller(), make)
}

impl ChildSpec {
    /// When it is restarted. Default: [`Restart::Permanent`].
    pub fn restart(mut self, restart: Restart) -> ChildSpec {
        self.settings.restart = restart;
        self
    }

    /// How it is stopped.
    pub fn shutdown(mut self, shutdown: Shutdown) -> ChildSpec {
        self.settings.shutdown = shutdown;
        self
    }

    /// The supervisor may stop with it, as its [`AutoShutdown`](super::AutoShutdown) says. Only for children that are transient or temporary.
    pub fn significant(mut self) -> ChildSpec {
        self.settings.significant = true;
        self
    }

    /// Its restarts wait, each longer than the one before, and do not count for the supervisor's
    /// [`intensity`](super::Supervisor::intensity).
    pub fn backoff(mut self, backoff: Backoff) -> ChildSpec {
        self.settings.backoff = Some(backoff);
        self
    }

    /// Bounds its mailbox: [`ActorBuilder::capacity`].
    pub fn capacity(mut self, messages: usize) -> ChildSpec {
        self.builder = self.builder.capacity(messages);
        self
    }

    /// The name by which it is found, in each of its lives: [`ActorBuilder::register`]. It fails to start while somebody else has that name.
    pub fn register(mut self, name: impl Into<String>) -> ChildSpec {
        self.builder = self.builder.register(name);
        self
    }

    /// As [`register`](ChildSpec::register), in another registry: [`ActorBuilder::register_via`].
    pub fn register_via<K: Key>(mut self, registry: impl Via<K> + 'static, name: K) -> ChildSpec {
        self.builder = self.builder.register_via(registry, name);
        self
    }

    /// What its full mailbox does: [`ActorBuilder::overflow`].
    pub fn overflow(mut self, overflow: Overflow) -> ChildSpec {
        self.builder = self.builder.overflow(overflow);
        self
    }

    /// The stack on which its handlers run: [`ActorBuilder::stack_size`].
    pub fn stack_size(mut self, size: StackSize) -> ChildSpec {
        self.builder = self.builder.stack_size(size);
        self
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
