//! Who gets what.
//!
//! Who subscribes is in the list from the moment when it gets what is retained, so it gets every value once, and in order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greenlet_core::{GreenletError, GreenletExit, attempt, raise};

use super::pattern::Filter;
use super::sink::{Offered, Prepared, QueueSink, Sink};
use super::{SubscribeError, SubscriptionId};
use crate::actor_ref::AnyActor;
use crate::life::Watcher;
use crate::monitor::MonitorId;
use crate::signals;

pub(super) struct Core<V> {
    state: Mutex<State<V>>,
    retains: bool,
}

struct State<V> {
    /// Subscribers of one name. The lists are replaced, not changed, so that publishers need them no longer than for a look.
    exact: HashMap<Box<str>, List<V>>,
    patterns: List<V>,
    by_id: HashMap<SubscriptionId, Arc<Subscription<V>>>,
    retained: HashMap<Box<str>, (u64, Arc<V>)>,
    /// The number of the last value that was retained.
    version: u64,
}

type List<V> = Arc<[Arc<Subscription<V>>]>;

struct Subscription<V> {
    id: SubscriptionId,
    filter: Filter,
    sink: Arc<dyn Sink<V>>,
    /// What ends it with its actor.
    ends_with: Option<(AnyActor, MonitorId)>,
}

impl<V: Clone + Send + Sync + 'static> Core<V> {
    pub(super) fn new(retains: bool) -> Arc<Core<V>> {
        let state = State {
            exact: HashMap::new(),
            patterns: Arc::from([]),
            by_id: HashMap::new(),
            retained: HashMap::new(),
            version: 0,
        };
        Arc::new(Core { state: Mutex::new(state), retains })
    }

    fn state(&self) -> MutexGuard<'_, State<V>> {
        // Nothing of the user's runs under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe_reader(&self, filter: Filter, sink: Arc<QueueSink<V>>) -> SubscriptionId {
        self.subscribe(Subscription { id: next_id(), filter, sink, ends_with: None })
    }

    pub(super) fn subscribe_actor(
        self: &Arc<Self>,
        filter: Filter,
        sink: Arc<dyn Sink<V>>,
        actor: AnyActor,
    ) -> Result<SubscriptionId, SubscribeError> {
        let (id, core) = (next_id(), Arc::downgrade(self));
        let watcher = Watcher::Callback(Box::new(move |_, _| {
            if let Some(core) = core.upgrade() {
                core.remove(id);
            }
        }));
        let Ok(monitor) = signals::watch_alive(&actor, watcher) else {
            return Err(SubscribeError::Ended(actor));
        };
        self.subscribe(Subscription { id, filter, sink, ends_with: Some((actor.clone(), monitor)) });
        if actor.ready() {
            // Its end may have come before it was in the list.
            self.remove(id);
        }
        Ok(id)
    }

    /// Adds it, and gives it what is retained, in one step: copies are made before, and again if something newer has come meanwhile. What is
    /// retained does not wait for room, since a reader that is not there yet cannot make any.
    fn subscribe(&self, subscription: Subscription<V>) -> SubscriptionId {
        let subscription = Arc::new(subscription);
        let mut prepared: Vec<(u64, Prepared)> = Vec::new();
        loop {
            let mut state = self.state();
            let retained = state.retained_for(&subscription.filter);
            if retained.iter().map(|(version, _)| version).eq(prepared.iter().map(|(version, _)| version)) {
                let refused: Vec<_> = prepared.into_iter().filter_map(|(_, put)| put()).collect();
                let before = state.add(subscription.clone());
                drop(state);
                drop((before, refused));
                return subscription.id;
            }
            drop(state);
            prepared.clear();
            for (version, value) in retained {
                match subscription.contained(|sink| sink.prepare(V::clone(&value))) {
                    Some(put) => prepared.push((version, put)),
                    None => return subscription.id,
                }
            }
        }
    }

    pub(super) fn remove(&self, id: SubscriptionId) -> bool {
        let mut state = self.state();
        let removed = state.take_out(id);
        drop(state);
        let Some((subscription, lists)) = removed else { return false };
        if let Some((actor, monitor)) = &subscription.ends_with {
            signals::demonitor(actor, *monitor);
        }
        drop(lists);
        true
    }

    pub(super) fn publish(&self, topic: &str, value: V) -> usize {
        let retained = self.retains.then(|| Arc::new(value.clone()));
        let mut state = self.state();
        let before = retained.and_then(|value| {
            state.version += 1;
            let version = state.version;
            state.retained.insert(topic.into(), (version, value))
        });
        let (exact, patterns) = (state.exact.get(topic).cloned(), state.patterns.clone());
        drop(state);
        drop(before);
        let exact = exact.iter().flat_map(|list| list.iter());
        let matching = patterns.iter().filter(|subscription| subscription.filter.matches(topic));
        let (mut delivered, mut waiting) = (0, Vec::new());
        for subscription in exact.chain(matching) {
            match subscription.offer(|| value.clone()) {
                Offered::Taken => delivered += 1,
                Offered::Dropped => {}
                Offered::Wait(wait) => waiting.push((subscription.id, wait)),
                Offered::Gone => drop(self.remove(subscription.id)),
            }
        }
        // Those who had room have it.
        for (id, wait) in waiting {
            if wait() {
                delivered += 1;
            } else {
                self.remove(id);
            }
        }
        delivered
    }

    pub(super) fn retained(&self, topic: &str) -> Option<V> {
        let value = self.state().retained.get(topic).map(|(_, value)| value.clone());
        value.map(|value| V::clone(&value))
    }

    /// Does not retain the topic's last value any more.
    pub(super) fn forget(&self, topic: &str) -> bool {
        let forgotten = self.state().retained.remove(topic);
        forgotten.is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.state().by_id.len()
    }
}

impl<V> State<V> {
    /// What is retained for a new subscriber, oldest first.
    fn retained_for(&self, filter: &Filter) -> Vec<(u64, Arc<V>)> {
        let mut retained: Vec<_> = match filter {
            Filter::One(topic) => self.retained.get(topic).cloned().into_iter().collect(),
            Filter::Pattern(_) => {
                let wanted = self.retained.iter().filter(|(topic, _)| filter.matches(topic));
                wanted.map(|(_, retained)| retained.clone()).collect()
            }
        };
        retained.sort_unstable_by_key(|(version, _)| *version);
        retained
    }

    /// Returns what is to be dropped outside of the lock.
    fn add(&mut self, subscription: Arc<Subscription<V>>) -> List<V> {
        let list = match &subscription.filter {
            Filter::One(name) => self.exact.entry(name.clone()).or_insert_with(|| Arc::from([])),
            Filter::Pattern(_) => &mut self.patterns,
        };
        self.by_id.insert(subscription.id, subscription.clone());
        let with = list.iter().cloned().chain([subscription]).collect();
        std::mem::replace(list, with)
    }

    /// Returns what is to be dropped outside of the lock.
    fn take_out(&mut self, id: SubscriptionId) -> Option<(Arc<Subscription<V>>, List<V>)> {
        let found = self.by_id.remove(&id)?;
        let list = match &found.filter {
            Filter::One(name) => self.exact.get_mut(name)?,
            Filter::Pattern(_) => &mut self.patterns,
        };
        let rest: List<V> = list.iter().filter(|other| other.id != id).cloned().collect();
        let before = match &found.filter {
            Filter::One(name) if rest.is_empty() => self.exact.remove(name)?,
            _ => std::mem::replace(list, rest),
        };
        Some((found, before))
    }
}

impl<V> Subscription<V> {
    fn offer(&self, value: impl FnOnce() -> V) -> Offered {
        self.contained(|sink| sink.offer(value())).unwrap_or(Offered::Gone)
    }

    /// A subscriber whose closure fails is gone; that is not the publisher's failure.
    fn contained<R>(&self, f: impl FnOnce(&dyn Sink<V>) -> R) -> Option<R> {
        match attempt(|| f(&*self.sink)) {
            Ok(result) => Some(result),
            Err(GreenletError::Failed(failure)) => {
                tracing::error!(target: "greenlet", "a subscriber failed and is disconnected: {failure}");
                None
            }
            // The publisher was killed.
            Err(_) => raise(GreenletExit),
        }
    }
}

fn next_id() -> SubscriptionId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    SubscriptionId(NEXT.fetch_add(1, Ordering::Relaxed))
}
