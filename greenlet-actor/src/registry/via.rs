//! Other registries in the place of ours.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::errors::{FindError, RegisterError, SendToError, send, typed};
use super::{Key, Registry};
use crate::actor_ref::{ActorRef, AnyActor};
use crate::ask::{AskError, DEFAULT_TIMEOUT, Reply};
use crate::exit::Exit;

/// A registry that actors can be started with and found by: a `via` module of OTP, with the functions of that one.
///
/// [`Registry`] is one. An own one may keep names elsewhere (in groups, by weight, on other machines); it has to see to it that a name
/// does not outlive its actor, for which [`AnyActor::on_end`] and [`AnyActor::ready`] are there.
///
/// ```
/// use greenlet_actor::registry::{FindError, RegisterError, Registry, Via, via};
/// use greenlet_actor::{Actor, ActorBuilder, AnyActor, Context, Exit};
///
/// /// Names without regard to upper and lower case.
/// #[derive(Clone, Default)]
/// struct Caseless(Registry);
///
/// impl Via<String> for Caseless {
///     fn register_name(&self, name: String, actor: &AnyActor) -> Result<(), RegisterError<String>> {
///         self.0.register(name.to_lowercase(), actor)
///     }
///     fn unregister_name(&self, name: &String) {
///         self.0.unregister(&name.to_lowercase());
///     }
///     fn whereis_name(&self, name: &String) -> Option<AnyActor> {
///         self.0.whereis_any(&name.to_lowercase())
///     }
/// }
/// # struct Worker;
/// # impl Actor for Worker {
/// #     type Message = u32;
/// #     fn receive(&mut self, _: u32, _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
/// # }
///
/// # greenlet_core::run(|| {
/// let names = Caseless::default();
/// let worker = ActorBuilder::new().register_via(names.clone(), "Bob".to_owned()).spawn(Worker);
/// let bob = via(names, "BOB".to_owned());
/// assert_eq!(bob.whereis(), Ok(worker));
/// bob.send(1_u32).unwrap();
/// # });
/// ```
pub trait Via<K: fmt::Debug>: Send + Sync {
    /// Gives the actor the name.
    ///
    /// # Errors
    /// [`RegisterError`].
    fn register_name(&self, name: K, actor: &AnyActor) -> Result<(), RegisterError<K>>;
    /// Takes it from whoever has it.
    fn unregister_name(&self, name: &K);
    /// Who has it.
    fn whereis_name(&self, name: &K) -> Option<AnyActor>;
}

impl<K: Key> Via<K> for Registry<K> {
    fn register_name(&self, name: K, actor: &AnyActor) -> Result<(), RegisterError<K>> {
        self.register(name, actor)
    }

    fn unregister_name(&self, name: &K) {
        self.unregister(name);
    }

    fn whereis_name(&self, name: &K) -> Option<AnyActor> {
        self.whereis_any(name)
    }
}

/// An actor by its name in a registry, to be looked up each time: OTP's `{via, Module, Name}`. Whoever has the name then is meant, so it
/// stays good over restarts.
#[derive(Clone, Debug)]
pub struct ViaName<R, K> {
    registry: R,
    name: K,
}

/// Names an actor by a registry and a key.
pub fn via<K: fmt::Debug, R: Via<K>>(registry: R, name: K) -> ViaName<R, K> {
    ViaName { registry, name }
}

impl<K: fmt::Debug, R: Via<K>> ViaName<R, K> {
    /// The actor that has the name now.
    ///
    /// # Errors
    /// [`FindError`].
    pub fn whereis<M: Send + 'static>(&self) -> Result<ActorRef<M>, FindError> {
        self.registry.whereis_name(&self.name).ok_or(FindError::NotRegistered).and_then(typed)
    }

    /// [`ActorRef::send`] to whoever has the name now.
    ///
    /// # Errors
    /// [`SendToError`] with the message.
    pub fn send<M: Send + 'static>(&self, message: M) -> Result<(), SendToError<M>> {
        send(self.whereis(), message)
    }

    /// [`ActorRef::ask`] to whoever has the name now. It is not asked again if that one ends meanwhile.
    ///
    /// # Errors
    /// [`AskError`]: [`Ended`](AskError::Ended) with `noproc` if nobody has the name.
    ///
    /// # Panics
    /// If whoever has the name takes messages of another type.
    pub fn ask<M: Send + 'static, T>(
        &self,
        question: impl FnOnce(Reply<T>) -> M,
        timeout: Duration,
    ) -> Result<T, AskError> {
        match self.whereis::<M>() {
            Ok(actor) => actor.ask(question, timeout),
            Err(FindError::NotRegistered) => Err(AskError::Ended(Exit::NoProc)),
            Err(error @ FindError::OtherMessages { .. }) => panic!("{error}"),
        }
    }

    /// As [`ask`](ViaName::ask), with a [timeout](DEFAULT_TIMEOUT) of 5 seconds.
    ///
    /// # Errors
    /// As `ask`.
    ///
    /// # Panics
    /// As `ask`.
    pub fn call<M: Send + 'static, T>(&self, question: impl FnOnce(Reply<T>) -> M) -> Result<T, AskError> {
        self.ask(question, DEFAULT_TIMEOUT)
    }
}

/// How a builder gives actors a name.
#[derive(Clone)]
pub(crate) struct Naming(Arc<Give>);

type Give = dyn Fn(&AnyActor) -> Result<(), Exit> + Send + Sync;

impl Naming {
    pub(crate) fn new<K: Key>(registry: impl Via<K> + 'static, name: K) -> Naming {
        Naming(Arc::new(move |actor| Ok(registry.register_name(name.clone(), actor)?)))
    }

    pub(crate) fn give(&self, actor: &AnyActor) -> Result<(), Exit> {
        (self.0)(actor)
    }
}

impl fmt::Debug for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Naming(..)")
    }
}
