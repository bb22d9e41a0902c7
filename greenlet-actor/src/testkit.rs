//! For tests of actors: probes that messages are sent to, expectations with a limit of time, and faults on demand.
//!
//! In a [simulation](greenlet_core::sim), the limits are virtual time: an expectation of ten seconds that fails takes none, and the order in which actors
//! run follows from a seed.
//!
//! ```
//! use greenlet_actor::testkit::Probe;
//! use greenlet_actor::{Actor, ActorRef, Context, Exit};
//! use std::time::Duration;
//!
//! /// Passes on what is even.
//! struct Filter { to: ActorRef<u32> }
//!
//! impl Actor for Filter {
//!     type Message = u32;
//!     fn receive(&mut self, n: u32, _: &mut Context<Self>) -> Result<(), Exit> {
//!         if n % 2 == 0 {
//!             self.to.cast(n);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # greenlet_core::run(|| {
//! let probe = Probe::new();
//! let filter = Filter { to: probe.actor().clone() }.spawn();
//! for n in 1..=4 {
//!     filter.send(n).unwrap();
//! }
//! assert_eq!((probe.expect(), probe.expect()), (2, 4));
//! probe.expect_nothing(Duration::from_millis(10));
//! # });
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::{GetError, Instant, Queue};

use crate::actor::Actor;
use crate::actor_ref::{ActorRef, AnyActor, Linkable};
use crate::context::Context;
use crate::exit::Exit;
use crate::life::flag;
use crate::monitor::Down;
use crate::sys::Fault;

/// How long expectations wait unless told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// An actor that keeps what it is sent, for a test to look at.
///
/// Its expectations panic when they are not met: they are for tests. Each waits for at most [`PATIENCE`], or as
/// [`patience`](Probe::patience) says. Dropping the probe stops its actor.
pub struct Probe<M> {
    actor: ActorRef<M>,
    seen: Arc<Seen<M>>,
    patience: Duration,
}

struct Seen<M> {
    messages: Queue<M>,
    downs: Queue<Down>,
}

struct Collects<M> {
    seen: Arc<Seen<M>>,
    watched: Vec<AnyActor>,
}

impl<M: Send + 'static> Actor for Collects<M> {
    type Message = M;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        for actor in self.watched.drain(..) {
            ctx.monitor(&actor);
        }
        Ok(())
    }

    fn receive(&mut self, message: M, _: &mut Context<Self>) -> Result<(), Exit> {
        // Never shut down.
        let _ = self.seen.messages.put(message);
        Ok(())
    }

    fn handle_down(&mut self, down: Down, _: &mut Context<Self>) -> Result<(), Exit> {
        let _ = self.seen.downs.put(down);
        Ok(())
    }
}

impl<M: Send + 'static> Default for Probe<M> {
    fn default() -> Probe<M> {
        Probe::new()
    }
}

impl<M: Send + 'static> Probe<M> {
    /// A probe on this thread's hub, or in its system.
    #[track_caller]
    pub fn new() -> Probe<M> {
        Probe::watching(std::iter::empty::<&AnyActor>())
    }

    /// A probe that monitors these actors from the start: see [`expect_down`](Probe::expect_down).
    #[track_caller]
    pub fn watching<'a, L: Linkable + 'a>(actors: impl IntoIterator<Item = &'a L>) -> Probe<M> {
        let seen = Arc::new(Seen { messages: Queue::unbounded(), downs: Queue::unbounded() });
        let watched = actors.into_iter().map(Linkable::any_cell).collect();
        let actor = Collects { seen: seen.clone(), watched }.spawn();
        Probe { actor, seen, patience: PATIENCE }
    }

    /// How long its expectations wait.
    pub fn patience(mut self, patience: Duration) -> Probe<M> {
        self.patience = patience;
        self
    }

    /// The address to give to whoever is tested.
    pub fn actor(&self) -> &ActorRef<M> {
        &self.actor
    }

    /// The next message.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn expect(&self) -> M {
        match self.seen.messages.get_timeout(self.patience) {
            Ok(message) => message,
            Err(_) => panic!("no message came in {:?}", self.patience),
        }
    }

    /// The next message, which is what `wanted` accepts.
    ///
    /// # Panics
    /// When none comes in time, or another one.
    #[track_caller]
    pub fn expect_match<T>(&self, wanted: impl FnOnce(M) -> Result<T, M>) -> T
    where
        M: fmt::Debug,
    {
        match wanted(self.expect()) {
            Ok(found) => found,
            Err(other) => panic!("another message came: {other:?}"),
        }
    }

    /// The first message that `wanted` accepts; those before it are dropped.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn fish_for<T>(&self, mut wanted: impl FnMut(M) -> Result<T, M>) -> T {
        let deadline = Instant::now() + self.patience;
        let mut others = 0;
        loop {
            let left = deadline.duration_since(Instant::now());
            match self.seen.messages.get_timeout(left) {
                Ok(message) => match wanted(message) {
                    Ok(found) => return found,
                    Err(_) => others += 1,
                },
                Err(_) => panic!("no such message came in {:?}, only {others} others", self.patience),
            }
        }
    }

    /// So many messages, in order.
    ///
    /// # Panics
    /// When they do not come in time, all together.
    #[track_caller]
    pub fn expect_many(&self, count: usize) -> Vec<M> {
        let deadline = Instant::now() + self.patience;
        let mut messages = Vec::with_capacity(count);
        while messages.len() < count {
            let left = deadline.duration_since(Instant::now());
            match self.seen.messages.get_timeout(left) {
                Ok(message) => messages.push(message),
                Err(_) => panic!("only {} of {count} messages came in {:?}", messages.len(), self.patience),
            }
        }
        messages
    }

    /// Waits that long, in which nothing may come.
    ///
    /// # Panics
    /// When something comes.
    #[track_caller]
    pub fn expect_nothing(&self, during: Duration)
    where
        M: fmt::Debug,
    {
        match self.seen.messages.get_timeout(during) {
            Err(GetError::Empty) => {}
            Ok(message) => panic!("nothing was expected, but this came: {message:?}"),
            Err(error) => panic!("{error}"),
        }
    }

    /// The end of a watched actor. What other watched ones did meanwhile is kept, in order, for the next.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn expect_down(&self, actor: &impl Linkable) -> Exit {
        let wanted = actor.any_cell().id();
        let deadline = Instant::now() + self.patience;
        let mut others = Vec::new();
        let found = loop {
            let left = deadline.duration_since(Instant::now());
            match self.seen.downs.get_timeout(left) {
                Ok(down) if down.actor == wanted => break Some(down.exit),
                Ok(down) => others.push(down),
                Err(_) => break None,
            }
        };
        for down in others {
            let _ = self.seen.downs.put(down);
        }
        found.unwrap_or_else(|| panic!("{wanted} did not end in {:?}", self.patience))
    }

    /// Everything that came and was not looked at.
    pub fn drain(&self) -> Vec<M> {
        std::iter::from_fn(|| self.seen.messages.try_get().ok()).collect()
    }
}

impl<M> Drop for Probe<M> {
    fn drop(&mut self) {
        self.actor.end_quietly();
    }
}

impl<M> fmt::Debug for Probe<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("actor", &self.actor).finish_non_exhaustive()
    }
}

/// Has an actor panic with this text instead of handling its next message, which is dropped: to test what supervises it.
pub fn panic_on_next(actor: &impl Linkable, text: impl Into<String>) {
    inject(actor, Fault::Panic(text.into()));
}

/// Has an actor end with this reason instead of handling its next message, which is dropped.
pub fn exit_on_next(actor: &impl Linkable, exit: Exit) {
    inject(actor, Fault::Exit(exit));
}

fn inject(actor: &impl Linkable, fault: Fault) {
    let actor = actor.any_cell();
    actor.life().rare().observed().set_fault(fault);
    actor.life().set(flag::FAULTY);
}
