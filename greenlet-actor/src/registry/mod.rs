//! Names: by which actors are found.
//!
//! A name belongs to one live actor. It is free again when that one has ended: whoever joins or monitors the actor, or is its supervisor,
//! finds it free, so a restarted child can take it at once. A second actor that wants a taken name is refused
//! ([`RegisterError::Taken`] says who has it).
//!
//! The functions here work on the one [default](global) registry of the process: Erlang's `register`, `whereis` and `Name ! Message`. A
//! [`Registry`] of one's own has any keys that can be hashed. [`ActorBuilder::register`](crate::ActorBuilder::register) gives an
//! actor its name before it runs.
//!
//! ```
//! use greenlet_actor::{Actor, ActorBuilder, Context, Exit, registry};
//!
//! struct Printer;
//! impl Actor for Printer {
//!     type Message = String;
//!     fn receive(&mut self, line: String, _: &mut Context<Self>) -> Result<(), Exit> {
//!         println!("{line}");
//!         Ok(())
//!     }
//! }
//!
//! # greenlet_core::run(|| {
//! let printer = ActorBuilder::new().register("the printer").start(Printer).unwrap();
//! registry::send_to("the printer", "hello".to_owned()).unwrap();
//! assert_eq!(registry::whereis::<String>("the printer"), Some(printer.clone()));
//! assert_eq!(registry::whereis::<u32>("the printer"), None); // it takes no numbers
//!
//! let second = ActorBuilder::new().register("the printer").start(Printer);
//! assert!(second.unwrap_err().to_string().contains("belongs to"));
//!
//! printer.kill();
//! assert_eq!(registry::whereis::<String>("the printer"), None);
//! # });
//! ```

mod errors;
mod lookup;
mod via;

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use errors::{FindError, RegisterError, SendToError};
pub use lookup::{Key, Lookup};
pub(crate) use via::Naming;
pub use via::{Via, ViaName, via};

use crate::actor_ref::{ActorId, ActorRef, AnyActor, Linkable};
use crate::life::Watcher;
use crate::monitor::MonitorId;
use crate::signals;

/// Enough that hubs seldom meet, few enough that an empty registry is small.
const SHARDS: usize = 16;

/// Unique names of actors: Elixir's `Registry` with unique keys, or what a `via` module is in OTP.
///
/// Usable from any thread, and cheap to clone: the clones are the same registry. Looking up takes a read lock for some ten nanoseconds. The
/// key's `Hash`, `Eq` and `Clone` run under that lock, so they must not wait.
///
/// An actor may have several names. Registries are independent of each other.
///
/// ```
/// # use greenlet_actor::{Actor, Context, Exit};
/// # struct Room;
/// # impl Actor for Room {
/// #     type Message = String;
/// #     fn receive(&mut self, _: String, _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
/// # }
/// use greenlet_actor::registry::{RegisterError, Registry};
///
/// # greenlet_core::run(|| {
/// let rooms: Registry<(&'static str, u32)> = Registry::new();
/// let room = Room.spawn();
/// rooms.register(("lobby", 1), &room).unwrap();
/// assert_eq!(rooms.whereis::<String>(&("lobby", 1)), Some(room.clone()));
/// let taken = rooms.register(("lobby", 1), &Room.spawn());
/// assert!(matches!(taken, Err(RegisterError::Taken { by, .. }) if by.id() == room.id()));
/// # });
/// ```
pub struct Registry<K = String> {
    shards: Arc<Shards<K>>,
}

struct Shards<K>([Shard<K>; SHARDS]);

type Shard<K> = RwLock<HashMap<K, Entry>>;

struct Entry {
    actor: AnyActor,
    /// What takes the name out at the actor's end.
    monitor: MonitorId,
}

impl<K: Key> Shards<K> {
    fn of<Q: Hash + ?Sized>(&self, name: &Q) -> &Shard<K> {
        &self.0[lookup::spread(name) % SHARDS]
    }

    fn read<Q: Hash + ?Sized>(&self, name: &Q) -> RwLockReadGuard<'_, HashMap<K, Entry>> {
        // A comparison of keys that panics leaves the map as it was.
        self.of(name).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<Q: Hash + ?Sized>(&self, name: &Q) -> RwLockWriteGuard<'_, HashMap<K, Entry>> {
        self.of(name).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the name out, if it is still that actor's.
    fn ended(&self, name: &K, actor: ActorId) {
        let mut shard = self.write(name);
        let mine = shard.get(name).is_some_and(|entry| entry.actor.id() == actor);
        let removed = mine.then(|| shard.remove_entry(name));
        drop(shard);
        drop(removed);
    }
}

impl<K: Key> Registry<K> {
    /// An empty one.
    pub fn new() -> Registry<K> {
        Registry { shards: Arc::new(Shards(std::array::from_fn(|_| RwLock::default()))) }
    }

    /// Gives the actor this name: OTP's `register_name`.
    ///
    /// # Errors
    /// [`RegisterError::Taken`] if another actor has the name, or the same one already; [`RegisterError::Ended`] if the actor has
    /// ended.
    pub fn register(&self, name: impl Into<K>, actor: &impl Linkable) -> Result<(), RegisterError<K>> {
        let (name, actor) = (name.into(), actor.any_cell());
        let watcher = {
            let (shards, name) = (Arc::downgrade(&self.shards), name.clone());
            Watcher::Callback(Box::new(move |actor, _| {
                if let Some(shards) = shards.upgrade() {
                    shards.ended(&name, actor);
                }
            }))
        };
        let mut shard = self.shards.write(&name);
        // The name of one that has ended is free, even if it is not taken out yet.
        if let Some(by) = shard.get(&name).map(|entry| &entry.actor).filter(|actor| !actor.ready()) {
            let by = by.clone();
            drop(shard);
            return Err(RegisterError::Taken { name, by });
        }
        // From here on its end takes the name out, when it gets at the shard.
        let (replaced, refused) = match signals::watch_alive(&actor, watcher) {
            Ok(monitor) => {
                let replaced = shard.remove_entry(&name);
                shard.insert(name.clone(), Entry { actor, monitor });
                (replaced, None)
            }
            Err(watcher) => (None, Some(watcher)),
        };
        drop(shard);
        drop(replaced);
        match refused {
            None => Ok(()),
            Some(_) => Err(RegisterError::Ended { name }),
        }
    }

    /// Takes the name away from whoever has it, and returns that actor, which goes on without it. `None` if the name was free.
    pub fn unregister(&self, name: &(impl Lookup<K> + ?Sized)) -> Option<AnyActor> {
        let mut shard = self.shards.write(name);
        let removed = name.take(&mut shard);
        drop(shard);
        let (_, Entry { actor, monitor }) = removed?;
        signals::demonitor(&actor, monitor);
        (!actor.ready()).then_some(actor)
    }

    /// The actor that has the name, if there is one and it takes messages of type `M`. [`find`](Registry::find) tells the two apart.
    #[inline]
    pub fn whereis<M: Send + 'static>(&self, name: &(impl Lookup<K> + ?Sized)) -> Option<ActorRef<M>> {
        let shard = self.shards.read(name);
        let entry = name.find(&shard)?;
        if entry.actor.ready() { None } else { entry.actor.downcast() }
    }

    /// The actor that has the name, whatever its messages are.
    pub fn whereis_any(&self, name: &(impl Lookup<K> + ?Sized)) -> Option<AnyActor> {
        let shard = self.shards.read(name);
        name.find(&shard).map(|entry| &entry.actor).filter(|actor| !actor.ready()).cloned()
    }

    /// The actor that has the name.
    ///
    /// # Errors
    /// [`FindError::NotRegistered`]; [`FindError::OtherMessages`] if the actor that has the name takes messages of another type.
    pub fn find<M: Send + 'static>(
        &self,
        name: &(impl Lookup<K> + ?Sized),
    ) -> Result<ActorRef<M>, FindError> {
        self.whereis_any(name).ok_or(FindError::NotRegistered).and_then(errors::typed)
    }

    /// Sends a message to the actor that has the name, as [`ActorRef::send`] does.
    ///
    /// # Errors
    /// [`SendToError`] with the message.
    pub fn send_to<M: Send + 'static>(
        &self,
        name: &(impl Lookup<K> + ?Sized),
        message: M,
    ) -> Result<(), SendToError<M>> {
        errors::send(self.find(name), message)
    }

    /// All names that are taken, in no order: Erlang's `registered`. Each shard is looked at by itself, so it is no moment of the whole.
    pub fn registered(&self) -> Vec<K> {
        let mut names = Vec::new();
        for shard in &self.shards.0 {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            names
                .extend(shard.iter().filter(|(_, entry)| !entry.actor.ready()).map(|(name, _)| name.clone()));
        }
        names
    }

    /// How many names are taken.
    pub fn len(&self) -> usize {
        let live = |shard: &Shard<K>| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.values().filter(|entry| !entry.actor.ready()).count()
        };
        self.shards.0.iter().map(live).sum()
    }

    /// Whether no name is taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K> Clone for Registry<K> {
    fn clone(&self) -> Registry<K> {
        Registry { shards: self.shards.clone() }
    }
}

impl<K: Key> Default for Registry<K> {
    fn default() -> Registry<K> {
        Registry::new()
    }
}

impl<K> fmt::Debug for Registry<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry(..)")
    }
}

/// The registry of the process: one for all systems and threads.
pub fn global() -> &'static Registry {
    static GLOBAL: LazyLock<Registry> = LazyLock::new(Registry::new);
    &GLOBAL
}

/// [`Registry::register`] in the [default](global) registry: Erlang's `register`.
///
/// # Errors
/// As there.
pub fn register(name: impl Into<String>, actor: &impl Linkable) -> Result<(), RegisterError<String>> {
    global().register(name, actor)
}

/// [`Registry::unregister`] in the [default](global) registry.
pub fn unregister(name: &str) -> Option<AnyActor> {
    global().unregister(name)
}

/// [`Registry::whereis`] in the [default](global) registry.
#[inline]
pub fn whereis<M: Send + 'static>(name: &str) -> Option<ActorRef<M>> {
    global().whereis(name)
}

/// [`Registry::find`] in the [default](global) registry.
///
/// # Errors
/// As there.
pub fn find<M: Send + 'static>(name: &str) -> Result<ActorRef<M>, FindError> {
    global().find(name)
}

/// [`Registry::send_to`] in the [default](global) registry: Erlang's `Name ! Message`.
///
/// # Errors
/// As there.
pub fn send_to<M: Send + 'static>(name: &str, message: M) -> Result<(), SendToError<M>> {
    global().send_to(name, message)
}

/// [`Registry::registered`] of the [default](global) registry.
pub fn registered() -> Vec<String> {
    global().registered()
}
