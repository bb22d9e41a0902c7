//! Pools: several actors that do the same, behind one address.
//!
//! A [`Pool`] is started as a supervisor of its own with so many workers. Its [`PoolRef`] is used like an
//! [`ActorRef`](crate::ActorRef): each message goes to one worker, which [`Routing`] chooses. A worker that ends is replaced;
//! messages that are sent meanwhile wait for the new one or go to others, and are not lost. What the worker that ended had in its mailbox is.
//!
//! ```
//! use greenlet_actor::pool::{Pool, Routing};
//! use greenlet_actor::{Actor, Context, Exit, Reply};
//! use std::time::Duration;
//!
//! struct Squares;
//! impl Actor for Squares {
//!     type Message = (u64, Reply<u64>);
//!     fn receive(&mut self, (n, reply): Self::Message, _: &mut Context<Self>) -> Result<(), Exit> {
//!         reply.send(n * n);
//!         Ok(())
//!     }
//! }
//!
//! # greenlet_core::run(|| {
//! let pool = Pool::of(4, || Squares).routing(Routing::LeastMailbox).start().unwrap();
//! assert_eq!(pool.ask(|reply| (12, reply), Duration::from_secs(1)).unwrap(), 144);
//! pool.resize(8).unwrap();
//! assert_eq!(pool.len(), 8);
//! pool.shutdown();
//! # });
//! ```

mod address;
mod keeper;
mod routing;
mod slot;

use std::fmt;
use std::hash::Hash;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

pub use address::PoolRef;
pub use routing::Routing;

use crate::actor::{Actor, ActorBuilder};
use crate::exit::InitError;
use crate::supervisor::Intensity;
use keeper::Keeper;
use routing::KeyOf;
use slot::Table;

/// A pool to be started. See the [module](self).
#[must_use = "a pool does nothing until it is started"]
pub struct Pool<A: Actor> {
    size: usize,
    make: Box<dyn FnMut() -> A + Send>,
    routing: Routing,
    key: Option<KeyOf<A::Message>>,
    intensity: (usize, Duration),
    workers: ActorBuilder,
    builder: ActorBuilder,
    patience: Duration,
}

impl<A: Actor + Send> Pool<A> {
    /// A pool of so many workers, each made by `make`, in turn unless told otherwise.
    pub fn of(workers: usize, make: impl FnMut() -> A + Send + 'static) -> Pool<A> {
        Pool {
            size: workers,
            make: Box::new(make),
            routing: Routing::RoundRobin,
            key: None,
            intensity: (10, Duration::from_secs(5)),
            workers: ActorBuilder::new(),
            builder: ActorBuilder::new().name("pool"),
            patience: Duration::from_secs(5),
        }
    }

    /// Which worker a message goes to. Default: [`Routing::RoundRobin`].
    pub fn routing(mut self, routing: Routing) -> Pool<A> {
        self.routing = routing;
        self
    }

    /// Messages with the same key go to the same worker, by consistent hashing: when the pool is [resized](PoolRef::resize) from `n` to `m`
    /// workers, only so many keys move as must, from or to those that go or come. For messages that are sent without a
    /// [key of their own](PoolRef::send_by_key). `key` is called by the sender, and must not wait.
    pub fn hash_by<K: Hash>(mut self, key: impl Fn(&A::Message) -> K + Send + Sync + 'static) -> Pool<A> {
        self.key = Some(Arc::new(move |message| routing::hash(&key(message))));
        self
    }

    /// How many workers may be replaced in which time; with one more the pool gives up and ends with `shutdown`, as a supervisor. Default:
    /// 10 in 5 seconds.
    pub fn intensity(mut self, restarts: usize, period: Duration) -> Pool<A> {
        self.intensity = (restarts, period);
        self
    }

    /// With what settings workers are made: the capacity of their mailboxes, the size of their stacks. Names in it would be taken after the first.
    pub fn workers_by(mut self, workers: ActorBuilder) -> Pool<A> {
        self.workers = workers;
        self
    }

    /// With what settings the pool's supervisor is made: its name, links, a registered name. Default: one with the name `pool`.
    pub fn built_by(mut self, builder: ActorBuilder) -> Pool<A> {
        self.builder = builder;
        self
    }

    /// How long workers have to end when the pool ends, all together, before they are killed. Default: 5 seconds.
    pub fn shutdown_timeout(mut self, patience: Duration) -> Pool<A> {
        self.patience = patience;
        self
    }

    /// Starts the pool and its workers, and waits until all of them have started.
    ///
    /// # Errors
    /// [`InitError`] with the reason of the worker that did not start; those before it are stopped.
    #[track_caller]
    pub fn start(self) -> Result<PoolRef<A::Message>, InitError> {
        let table = Arc::new(Table::new(self.routing, self.key, self.workers.room()));
        let (restarts, period) = self.intensity;
        let keeper = Keeper::new(
            self.size,
            self.make,
            self.workers.spawn_site(Location::caller()),
            Intensity::new(restarts, period),
            self.patience,
            table.clone(),
        );
        Ok(PoolRef::new(self.builder.start(keeper)?, table))
    }
}

impl<A: Actor> fmt::Debug for Pool<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("workers", &self.size)
            .field("routing", &self.routing)
            .finish_non_exhaustive()
    }
}
