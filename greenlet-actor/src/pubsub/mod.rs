//! Topics: what is published reaches all who subscribed, with back-pressure.
//!
//! A [`Topic`] is one; a [`PubSub`] has topics by name, and patterns of names. Subscribers are actors, which get what is published as a message
//! of their own, or [`Subscriber`]s, which are read like a queue. What happens when one is full is its own choice: [`WhenFull`]. By
//! default the publisher waits: it is never faster than the slowest of those who want everything.
//!
//! ```
//! use greenlet_actor::pubsub::{Topic, WhenFull};
//! use greenlet_actor::{Actor, ActorBuilder, Context, Exit};
//!
//! struct Display;
//! enum Show { Temperature(f64), Humidity(f64) }
//! impl Actor for Display {
//!     type Message = Show;
//!     fn receive(&mut self, _: Show, _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
//! }
//!
//! # greenlet_core::run(|| {
//! let (temperature, humidity) = (Topic::retaining(), Topic::new());
//! let display = ActorBuilder::new().capacity(8).spawn(Display);
//! temperature.subscribe(&display, Show::Temperature).unwrap();
//! humidity.subscribe(&display, Show::Humidity).unwrap();
//!
//! temperature.publish(21.5); // waits while the display has 8 messages
//! let late = temperature.reader(1, WhenFull::DropOldest); // begins with the retained value
//! temperature.publish(22.0);
//! assert_eq!(late.recv(), Some(22.0));
//! # });
//! ```

mod core;
mod names;
mod pattern;
mod sink;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::{GetError, Queue};

use self::core::Core;
pub use self::names::{PubSub, Published};
use self::pattern::Filter;
use self::sink::{ActorSink, QueueSink};
use crate::actor_ref::{ActorRef, AnyActor};

/// What happens with what is published when a subscriber is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhenFull {
    /// The publisher waits for room: it suspends a greenlet, parks a thread. The other subscribers get the value first.
    #[default]
    Suspend,
    /// This subscriber does not get it.
    DropNewest,
    /// What waits longest is dropped for it. An actor has to be made for that: with [`Overflow::DropOldest`](crate::Overflow::DropOldest).
    DropOldest,
    /// It is not subscribed any more.
    Disconnect,
}

/// Names a subscription, to take it back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SubscriptionId(u64);

/// The actor was not subscribed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// It has ended.
    #[error("{0} has ended")]
    Ended(AnyActor),
    /// [`WhenFull::DropOldest`], but its mailbox does not drop the oldest.
    #[error("the mailbox of {0} was not made to drop the oldest message")]
    KeepsOldest(AnyActor),
}

/// One topic.
///
/// Usable from any thread, and cheap to clone: the clones are the same topic. Values of one publisher arrive in the order of publishing.
pub struct Topic<T> {
    core: Arc<Core<T>>,
}

impl<T: Clone + Send + Sync + 'static> Topic<T> {
    /// A topic whose new subscribers get what is published from then on.
    pub fn new() -> Topic<T> {
        Topic { core: Core::new(false) }
    }

    /// A topic that keeps the last value: new subscribers get that first, and then every later one.
    pub fn retaining() -> Topic<T> {
        Topic { core: Core::new(true) }
    }

    /// Subscribes an actor until it ends: `message` makes a message of its own of what is published. With [`WhenFull::Suspend`].
    ///
    /// `message` is called by publishers, and must not wait. If it fails, that is reported, and the subscription is over.
    ///
    /// # Errors
    /// [`SubscribeError::Ended`].
    pub fn subscribe<M: Send + 'static>(
        &self,
        actor: &ActorRef<M>,
        message: impl Fn(T) -> M + Send + Sync + 'static,
    ) -> Result<SubscriptionId, SubscribeError> {
        self.subscribe_with(actor, WhenFull::Suspend, message)
    }

    /// As [`subscribe`](Topic::subscribe), with another policy.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn subscribe_with<M: Send + 'static>(
        &self,
        actor: &ActorRef<M>,
        when_full: WhenFull,
        message: impl Fn(T) -> M + Send + Sync + 'static,
    ) -> Result<SubscriptionId, SubscribeError> {
        let sink = ActorSink::new(actor, when_full, message)?;
        self.core.subscribe_actor(Filter::one(""), Arc::new(sink), actor.clone().into())
    }

    /// A subscriber that is read like a queue, in which up to `capacity` values wait. Dropping it ends the subscription.
    ///
    /// # Panics
    /// If `capacity` is 0.
    #[track_caller]
    pub fn reader(&self, capacity: usize, when_full: WhenFull) -> Subscriber<T> {
        Subscriber::new(&self.core, Filter::one(""), capacity, when_full)
    }

    /// Ends a subscription. False if it was over. A value that is being published at this moment may still arrive.
    pub fn unsubscribe(&self, subscription: SubscriptionId) -> bool {
        self.core.remove(subscription)
    }

    /// Gives the value to all subscribers, and returns how many got it. Waits for those that are full and say
    /// [`Suspend`](WhenFull::Suspend): suspends a greenlet, parks a thread.
    ///
    /// Who is killed while it waits has told all but those that it waits for.
    pub fn publish(&self, value: T) -> usize {
        self.core.publish("", value)
    }

    /// The last value, if the topic [retains](Topic::retaining) it.
    pub fn latest(&self) -> Option<T> {
        self.core.retained("")
    }

    /// How many subscribers it has.
    pub fn subscribers(&self) -> usize {
        self.core.len()
    }
}

impl<T> Clone for Topic<T> {
    fn clone(&self) -> Topic<T> {
        Topic { core: self.core.clone() }
    }
}

impl<T: Clone + Send + Sync + 'static> Default for Topic<T> {
    fn default() -> Topic<T> {
        Topic::new()
    }
}

impl<T: Clone + Send + Sync + 'static> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic").field("subscribers", &self.subscribers()).finish_non_exhaustive()
    }
}

/// Reads what is published. Made by [`Topic::reader`] and [`PubSub::reader`].
pub struct Subscriber<T: Clone + Send + Sync + 'static> {
    sink: Arc<QueueSink<T>>,
    subscription: SubscriptionId,
    core: Arc<Core<T>>,
}

impl<T: Clone + Send + Sync + 'static> Subscriber<T> {
    #[track_caller]
    fn new(core: &Arc<Core<T>>, filter: Filter, capacity: usize, when_full: WhenFull) -> Subscriber<T> {
        let sink = Arc::new(QueueSink { queue: Arc::new(Queue::bounded(capacity)), when_full });
        let subscription = core.subscribe_reader(filter, sink.clone());
        Subscriber { sink, subscription, core: core.clone() }
    }

    /// Waits for the next value: suspends a greenlet, parks a thread. `None` when it was
    /// [disconnected](WhenFull::Disconnect) and everything before is read.
    pub fn recv(&self) -> Option<T> {
        self.sink.queue.get().ok()
    }

    /// Waits for at most `timeout`.
    ///
    /// # Errors
    /// [`GetError::ShutDown`] when it was disconnected; [`GetError::Empty`] if nothing came in time.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.sink.queue.get_timeout(timeout)
    }

    /// The next value, if there is one.
    pub fn try_recv(&self) -> Option<T> {
        self.sink.queue.try_get().ok()
    }

    /// How many values wait.
    pub fn waiting(&self) -> usize {
        self.sink.queue.len()
    }

    /// Whether it was disconnected.
    pub fn is_disconnected(&self) -> bool {
        self.sink.queue.is_shut_down()
    }
}

impl<T: Clone + Send + Sync + 'static> Drop for Subscriber<T> {
    fn drop(&mut self) {
        // Publishers that wait for room do so no longer.
        self.sink.queue.shutdown();
        self.core.remove(self.subscription);
    }
}

impl<T: Clone + Send + Sync + 'static> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}
