//! Who is told of joins and leaves.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenlet_core::Queue;

use super::Scope;
use crate::actor_ref::{ActorRef, AnyActor};
use crate::outbox::Outbox;
use crate::registry::Key;

/// Somebody came or went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupEvent<K> {
    /// The actor joined the group.
    Joined {
        /// The group.
        group: K,
        /// Who joined.
        actor: AnyActor,
    },
    /// The actor left the group, or ended. One that was in the group several times leaves as often.
    Left {
        /// The group.
        group: K,
        /// Who left.
        actor: AnyActor,
    },
}

/// Names a monitor of a scope.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GroupMonitor(u64);

/// False: nobody listens any more.
pub(super) type Deliver<K> = Arc<dyn Fn(GroupEvent<K>) -> bool + Send + Sync>;

pub(super) struct Monitors<K> {
    list: Mutex<Vec<Monitor<K>>>,
    outbox: Outbox<(GroupMonitor, Deliver<K>, GroupEvent<K>)>,
}

struct Monitor<K> {
    id: GroupMonitor,
    /// Only events of this one.
    group: Option<K>,
    deliver: Deliver<K>,
}

impl<K: Key> Monitors<K> {
    pub(super) fn new() -> Monitors<K> {
        Monitors { list: Mutex::default(), outbox: Outbox::new() }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Monitor<K>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, group: Option<K>, deliver: Deliver<K>) -> GroupMonitor {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = GroupMonitor(NEXT.fetch_add(1, Ordering::Relaxed));
        self.list().push(Monitor { id, group, deliver });
        id
    }

    pub(super) fn remove(&self, monitor: GroupMonitor) -> bool {
        let mut list = self.list();
        let at = list.iter().position(|known| known.id == monitor);
        let removed = at.map(|at| list.swap_remove(at));
        drop(list);
        removed.is_some()
    }

    /// Something has happened. To be called under the scope's lock.
    pub(super) fn note(&self, group: &K, event: impl FnOnce(K) -> GroupEvent<K>) {
        let list = self.list();
        if list.is_empty() {
            return;
        }
        let event = event(group.clone());
        for monitor in &*list {
            if monitor.group.as_ref().is_none_or(|only| only == group) {
                self.outbox.put((monitor.id, monitor.deliver.clone(), event.clone()));
            }
        }
    }

    /// Tells what was noted. To be called under no lock.
    pub(super) fn tell(&self) {
        self.outbox.deliver(|(monitor, deliver, event)| {
            if !deliver(event) {
                self.remove(monitor);
            }
        });
    }
}

/// Joins and leaves, in order. See [`Scope::monitor`]. Events wait here without limit; dropping it ends the monitor.
pub struct GroupEvents<K: Key> {
    events: Arc<Queue<GroupEvent<K>>>,
    monitor: GroupMonitor,
    scope: Scope<K>,
}

/// What was made for a monitor that is not there yet.
pub(super) struct Events<K>(Arc<Queue<GroupEvent<K>>>);

impl<K: Key> Events<K> {
    pub(super) fn of(self, monitor: GroupMonitor, scope: Scope<K>) -> GroupEvents<K> {
        GroupEvents { events: self.0, monitor, scope }
    }
}

pub(super) fn queue<K: Key>() -> (Deliver<K>, Events<K>) {
    let events = Arc::new(Queue::unbounded());
    let to = Arc::downgrade(&events);
    let deliver = move |event| to.upgrade().is_some_and(|events: Arc<Queue<_>>| events.put(event).is_ok());
    (Arc::new(deliver), Events(events))
}

pub(super) fn actor<K: Key, M: Send + 'static>(
    actor: &ActorRef<M>,
    message: impl Fn(GroupEvent<K>) -> M + Send + Sync + 'static,
) -> Deliver<K> {
    let actor = actor.clone();
    Arc::new(move |event| actor.push_beyond_limit(message(event)).is_ok())
}

impl<K: Key> GroupEvents<K> {
    /// Waits for the next event: suspends a greenlet, parks a thread.
    pub fn recv(&self) -> GroupEvent<K> {
        self.events.get().expect("never shut down")
    }

    /// Waits for at most `timeout`; `None` if nothing has happened by then.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<GroupEvent<K>> {
        self.events.get_timeout(timeout).ok()
    }

    /// The next event, if one has happened.
    pub fn try_recv(&self) -> Option<GroupEvent<K>> {
        self.events.try_get().ok()
    }
}

impl<K: Key> Drop for GroupEvents<K> {
    fn drop(&mut self) {
        self.scope.demonitor(self.monitor);
    }
}

impl<K: Key> fmt::Debug for GroupEvents<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupEvents").field("waiting", &self.events.len()).finish_non_exhaustive()
    }
}
