//! One group, for actors that take the same messages.

use std::fmt;
use std::marker::PhantomData;

use super::{GroupEvents, JoinError, NotJoined, Scope};
use crate::actor_ref::{ActorRef, AnyActor};
use crate::registry::Key;

/// A group whose members take messages of type `M`. Made by [`Scope::group`].
pub struct Group<K, M> {
    scope: Scope<K>,
    name: K,
    _messages: PhantomData<fn(M)>,
}

impl<K: Key, M: Send + 'static> Group<K, M> {
    pub(super) fn new(scope: Scope<K>, name: K) -> Group<K, M> {
        Group { scope, name, _messages: PhantomData }
    }

    /// Its name.
    pub fn name(&self) -> &K {
        &self.name
    }

    /// [`Scope::join`].
    ///
    /// # Errors
    /// As there.
    pub fn join(&self, actor: &ActorRef<M>) -> Result<(), JoinError> {
        self.scope.join(self.name.clone(), actor)
    }

    /// [`Scope::leave`].
    ///
    /// # Errors
    /// As there.
    pub fn leave(&self, actor: &ActorRef<M>) -> Result<(), NotJoined> {
        self.scope.leave(&self.name, actor)
    }

    /// [`Scope::members`].
    pub fn members(&self) -> Vec<ActorRef<M>> {
        self.scope.members(&self.name)
    }

    /// [`Scope::monitor_group`].
    pub fn monitor(&self) -> (Vec<AnyActor>, GroupEvents<K>) {
        self.scope.monitor_group(self.name.clone())
    }
}

impl<K: Clone, M> Clone for Group<K, M> {
    fn clone(&self) -> Group<K, M> {
        Group { scope: self.scope.clone(), name: self.name.clone(), _messages: PhantomData }
    }
}

impl<K: fmt::Debug, M> fmt::Debug for Group<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Group").field(&self.name).finish()
    }
}
