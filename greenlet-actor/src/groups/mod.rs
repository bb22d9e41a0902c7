//! Groups of actors: OTP's `pg`.
//!
//! A [`Scope`] has groups by name; any number of actors are in a group, and an actor is in any number of groups, in each as often as it
//! joined. Who ends is in none. [`Scope::monitor`] tells who comes and goes.
//!
//! ```
//! use greenlet_actor::groups::{GroupEvent, Scope};
//! use greenlet_actor::{Actor, Context, Exit};
//!
//! struct Worker;
//! impl Actor for Worker {
//!     type Message = u32;
//!     fn receive(&mut self, _: u32, _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
//! }
//!
//! # greenlet_core::run(|| {
//! let scope: Scope = Scope::new();
//! let (first, second) = (Worker.spawn(), Worker.spawn());
//! scope.join("workers", &first).unwrap();
//!
//! let (now, events) = scope.monitor();
//! assert_eq!(now["workers"], [first.clone().into()]);
//!
//! scope.join("workers", &second).unwrap();
//! assert_eq!(scope.members::<u32>("workers"), [first.clone(), second]);
//! first.kill();
//! assert!(matches!(events.recv(), GroupEvent::Joined { .. }));
//! assert!(matches!(events.recv(), GroupEvent::Left { actor, .. } if actor.id() == first.id()));
//! # });
//! ```

mod group;
mod monitor;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

pub use group::Group;
pub use monitor::{GroupEvent, GroupEvents, GroupMonitor};

use crate::actor_ref::{ActorId, ActorRef, AnyActor, Linkable};
use crate::life::Watcher;
use crate::monitor::MonitorId;
use crate::registry::{Key, Lookup};
use crate::signals;
use monitor::Monitors;

/// Groups that belong together: OTP's `pg` with a scope. Scopes know nothing of each other.
///
/// Usable from any thread, and cheap to clone: the clones are the same scope. Nothing here waits. Names of groups are compared, hashed and
/// cloned under the scope's lock.
pub struct Scope<K = String> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    state: Mutex<State<K>>,
    monitors: Monitors<K>,
}

struct State<K> {
    groups: HashMap<K, Members>,
    actors: HashMap<ActorId, Member<K>>,
    /// The number of the next join.
    next: u64,
}

/// By the number of the join.
type Members = BTreeMap<u64, AnyActor>;

/// An actor that is in a group.
struct Member<K> {
    /// What takes it out at its end.
    monitor: MonitorId,
    /// Its joins.
    joins: HashMap<K, Vec<u64>>,
}

/// The actor has ended, and joins nothing any more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} has ended")]
pub struct JoinError(pub AnyActor);

/// The actor is not in the group: OTP's `not_joined`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} is not in the group")]
pub struct NotJoined(pub AnyActor);

impl<K> Inner<K> {
    fn state(&self) -> MutexGuard<'_, State<K>> {
        // A comparison of keys that panics is the worst that happens; an actor's end puts right what it leaves.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key> Inner<K> {
    /// An actor has ended.
    fn ended(&self, actor: ActorId) {
        let mut state = self.state();
        let Some(member) = state.actors.remove(&actor) else { return };
        let mut joins: Vec<_> = member
            .joins
            .into_iter()
            .flat_map(|(group, joins)| joins.into_iter().map(move |join| (join, group.clone())))
            .collect();
        joins.sort_unstable_by_key(|(join, _)| *join);
        for (join, group) in &joins {
            let left = state.take_out(group, *join);
            if let Some(actor) = left {
                self.monitors.note(group, |group| GroupEvent::Left { group, actor });
            }
        }
        drop(state);
        drop(joins);
        self.monitors.tell();
    }
}

impl<K: Key> State<K> {
    fn take_out(&mut self, group: &K, join: u64) -> Option<AnyActor> {
        let members = self.groups.get_mut(group)?;
        let actor = members.remove(&join);
        if members.is_empty() {
            self.groups.remove(group);
        }
        actor
    }
}

impl<K: Key> Scope<K> {
    /// A scope without groups.
    pub fn new() -> Scope<K> {
        let state = State { groups: HashMap::new(), actors: HashMap::new(), next: 0 };
        Scope { inner: Arc::new(Inner { state: Mutex::new(state), monitors: Monitors::new() }) }
    }

    /// The actor joins the group. One that joins several times is in the group as often, and has to leave as often.
    ///
    /// # Errors
    /// [`JoinError`] if it has ended.
    pub fn join(&self, group: impl Into<K>, actor: &impl Linkable) -> Result<(), JoinError> {
        let (group, actor) = (group.into(), actor.any_cell());
        let inner = Arc::downgrade(&self.inner);
        let watcher = Watcher::Callback(Box::new(move |actor, _| {
            if let Some(inner) = inner.upgrade() {
                inner.ended(actor);
            }
        }));
        let mut unused = Some(watcher);
        let mut state = self.inner.state();
        let join = state.next;
        let known = state.actors.contains_key(&actor.id());
        // One that ends now, and was known, is taken out of this group too when its end gets at the lock.
        let joined = known || {
            let watched = unused.take().map(|watcher| signals::watch_alive(&actor, watcher));
            match watched {
                Some(Ok(monitor)) => {
                    state.actors.insert(actor.id(), Member { monitor, joins: HashMap::new() });
                    true
                }
                Some(Err(watcher)) => {
                    unused = Some(watcher);
                    false
                }
                None => false,
            }
        };
        if joined {
            state.next += 1;
            if let Some(member) = state.actors.get_mut(&actor.id()) {
                member.joins.entry(group.clone()).or_default().push(join);
            }
            state.groups.entry(group.clone()).or_default().insert(join, actor.clone());
            self.inner.monitors.note(&group, |group| GroupEvent::Joined { group, actor: actor.clone() });
        }
        drop(state);
        drop(unused);
        self.inner.monitors.tell();
        if joined { Ok(()) } else { Err(JoinError(actor)) }
    }

    /// The actor leaves the group, once.
    ///
    /// # Errors
    /// [`NotJoined`].
    pub fn leave(&self, group: &(impl Lookup<K> + ?Sized), actor: &impl Linkable) -> Result<(), NotJoined> {
        let actor = actor.any_cell();
        let mut state = self.inner.state();
        let Some(member) = state.actors.get_mut(&actor.id()) else { return Err(NotJoined(actor)) };
        let Some((group, mut joins)) = group.take(&mut member.joins) else { return Err(NotJoined(actor)) };
        let join = joins.pop();
        if !joins.is_empty() {
            member.joins.insert(group.clone(), joins);
        }
        let last = member.joins.is_empty();
        if let Some(actor) = join.and_then(|join| state.take_out(&group, join)) {
            self.inner.monitors.note(&group, |group| GroupEvent::Left { group, actor });
        }
        let forgotten = if last { state.actors.remove(&actor.id()) } else { None };
        drop(state);
        if let Some(member) = forgotten {
            signals::demonitor(&actor, member.monitor);
        }
        self.inner.monitors.tell();
        Ok(())
    }

    /// Who is in the group and takes messages of type `M`, in the order of joining; who joined several times is there as often.
    pub fn members<M: Send + 'static>(&self, group: &(impl Lookup<K> + ?Sized)) -> Vec<ActorRef<M>> {
        let state = self.inner.state();
        let members = group.find(&state.groups).into_iter().flat_map(BTreeMap::values);
        members.filter(|actor| !actor.ready()).filter_map(AnyActor::downcast).collect()
    }

    /// Who is in the group, whatever messages they take: OTP's `get_members`.
    pub fn all_members(&self, group: &(impl Lookup<K> + ?Sized)) -> Vec<AnyActor> {
        let state = self.inner.state();
        group.find(&state.groups).map(live).unwrap_or_default()
    }

    /// The names of the groups that somebody is in, in no order: OTP's `which_groups`.
    pub fn which_groups(&self) -> Vec<K> {
        let state = self.inner.state();
        let inhabited =
            state.groups.iter().filter(|(_, members)| members.values().any(|actor| !actor.ready()));
        inhabited.map(|(group, _)| group.clone()).collect()
    }

    /// The group of that name, for actors that take messages of type `M`.
    pub fn group<M: Send + 'static>(&self, name: impl Into<K>) -> Group<K, M> {
        Group::new(self.clone(), name.into())
    }

    /// Who is in which group at this moment, and from then on every join and leave, each once and in order: OTP's `monitor_scope`. Ends when the
    /// [`GroupEvents`] are dropped.
    pub fn monitor(&self) -> (HashMap<K, Vec<AnyActor>>, GroupEvents<K>) {
        let (deliver, events) = monitor::queue();
        let state = self.inner.state();
        let now = state.groups.iter().map(|(group, members)| (group.clone(), all(members))).collect();
        let monitor = self.inner.monitors.add(None, deliver);
        drop(state);
        (now, events.of(monitor, self.clone()))
    }

    /// As [`monitor`](Scope::monitor), for one group: OTP's `monitor/2`.
    pub fn monitor_group(&self, group: impl Into<K>) -> (Vec<AnyActor>, GroupEvents<K>) {
        let (group, (deliver, events)) = (group.into(), monitor::queue());
        let state = self.inner.state();
        let now = state.groups.get(&group).map(all).unwrap_or_default();
        let monitor = self.inner.monitors.add(Some(group), deliver);
        drop(state);
        (now, events.of(monitor, self.clone()))
    }

    /// As [`monitor`](Scope::monitor), where an actor gets the events, made into messages of its own. It gets them however full
    /// its mailbox is, until it ends or [`demonitor`](Scope::demonitor) is called. `message` must not wait.
    pub fn monitor_by<M: Send + 'static>(
        &self,
        actor: &ActorRef<M>,
        message: impl Fn(GroupEvent<K>) -> M + Send + Sync + 'static,
    ) -> (HashMap<K, Vec<AnyActor>>, GroupMonitor) {
        let deliver = monitor::actor(actor, message);
        let state = self.inner.state();
        let now = state.groups.iter().map(|(group, members)| (group.clone(), all(members))).collect();
        let monitor = self.inner.monitors.add(None, deliver);
        drop(state);
        (now, monitor)
    }

    /// Takes a monitor back. False if it is not there any more. An event that is on its way at this moment may still arrive.
    pub fn demonitor(&self, monitor: GroupMonitor) -> bool {
        self.inner.monitors.remove(monitor)
    }
}

/// All members of a group whose joins were told, and whose leaves will be.
fn all(members: &Members) -> Vec<AnyActor> {
    members.values().cloned().collect()
}

fn live(members: &Members) -> Vec<AnyActor> {
    members.values().filter(|actor| !actor.ready()).cloned().collect()
}

impl<K> Clone for Scope<K> {
    fn clone(&self) -> Scope<K> {
        Scope { inner: self.inner.clone() }
    }
}

impl<K: Key> Default for Scope<K> {
    fn default() -> Scope<K> {
        Scope::new()
    }
}

impl<K> fmt::Debug for Scope<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scope(..)")
    }
}

/// The scope of the process: OTP's default scope `pg`.
pub fn global() -> &'static Scope {
    static GLOBAL: LazyLock<Scope> = LazyLock::new(Scope::new);
    &GLOBAL
}
