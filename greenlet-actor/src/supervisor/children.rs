//! The children of a supervisor, in order.

use std::collections::{BTreeMap, HashMap};

use super::backoff::Recovery;
use super::handle::{ChildInfo, ChildState};
use super::spec::ChildSpec;
use crate::actor_ref::{ActorId, AnyActor};

/// Names a child as long as its supervisor knows of it. Later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Key(u64);

pub(super) struct Child {
    pub(super) spec: ChildSpec,
    actor: Option<AnyActor>,
    pub(super) state: ChildState,
    pub(super) recovery: Recovery,
    /// Changes whenever it starts or stops: an attempt to restart it that was meant before is not meant any more.
    pub(super) turn: u64,
}

impl Child {
    /// From before its `init` until it has ended: what runs is always here.
    pub(super) fn actor(&self) -> Option<&AnyActor> {
        self.actor.as_ref()
    }

    pub(super) fn info(&self) -> ChildInfo {
        ChildInfo {
            id: self.spec.id.clone(),
            actor: self.actor.clone().filter(|_| self.state == ChildState::Running),
            state: self.state,
            kind: self.spec.kind,
            restart: self.spec.settings.restart,
            significant: self.spec.settings.significant,
        }
    }
}

#[derive(Default)]
pub(super) struct Children {
    next: u64,
    all: BTreeMap<Key, Child>,
    ids: HashMap<String, Key>,
    actors: HashMap<ActorId, Key>,
}

impl Children {
    /// Adds a child behind the others. `Err`: that id is taken.
    pub(super) fn add(&mut self, spec: ChildSpec) -> Result<Key, Box<ChildSpec>> {
        let key = Key(self.next);
        match self.ids.entry(spec.id.clone()) {
            std::collections::hash_map::Entry::Occupied(_) => return Err(Box::new(spec)),
            std::collections::hash_map::Entry::Vacant(place) => place.insert(key),
        };
        self.next += 1;
        let (state, recovery) = (ChildState::Stopped, Recovery::default());
        self.all.insert(key, Child { spec, actor: None, state, recovery, turn: 0 });
        Ok(key)
    }

    /// Forgets a child.
    pub(super) fn remove(&mut self, key: Key) {
        self.clear_actor(key);
        let removed = self.all.remove(&key);
        if let Some(child) = &removed {
            self.ids.remove(&child.spec.id);
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Child> {
        self.all.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Child> {
        self.all.get_mut(&key)
    }

    pub(super) fn find(&self, id: &str) -> Option<Key> {
        self.ids.get(id).copied()
    }

    pub(super) fn of_actor(&self, actor: ActorId) -> Option<Key> {
        self.actors.get(&actor).copied()
    }

    pub(super) fn set_actor(&mut self, key: Key, actor: AnyActor) {
        if let Some(child) = self.all.get_mut(&key) {
            self.actors.insert(actor.id(), key);
            child.actor = Some(actor);
        }
    }

    /// It does not run any more.
    pub(super) fn clear_actor(&mut self, key: Key) {
        let Some(child) = self.all.get_mut(&key) else { return };
        child.state = ChildState::Stopped;
        child.turn += 1;
        child.recovery.cancel();
        if let Some(actor) = child.actor.take() {
            self.actors.remove(&actor.id());
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Key, &Child)> {
        self.all.iter().map(|(key, child)| (*key, child))
    }

    /// Those from this one on, in order.
    pub(super) fn keys_from(&self, first: Option<Key>) -> Vec<Key> {
        match first {
            Some(first) => self.all.range(first..).map(|(key, _)| *key).collect(),
            None => self.all.keys().copied().collect(),
        }
    }

    /// What runs, last first; from now on nothing does.
    pub(super) fn take_actors(&mut self) -> Vec<AnyActor> {
        self.actors.clear();
        self.all.values_mut().rev().filter_map(|child| child.actor.take()).collect()
    }
}
