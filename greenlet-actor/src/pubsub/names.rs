//! Topics by name.

use std::fmt;
use std::sync::Arc;

use super::core::Core;
use super::pattern::Filter;
use super::sink::ActorSink;
use super::{SubscribeError, Subscriber, SubscriptionId, WhenFull};
use crate::actor_ref::ActorRef;

/// Topics that have names, each of words separated by dots: `orders.new`. Who subscribes names one, or a pattern: `*` stands for
/// one word, `#` for any number of words (also none). Topics need not be made: there are those that somebody names.
///
/// ```
/// use greenlet_actor::pubsub::{PubSub, WhenFull};
///
/// # greenlet_core::run(|| {
/// let news: PubSub<u32> = PubSub::new();
/// let sport = news.reader("sport.#", 16, WhenFull::Suspend);
/// news.publish("sport.chess", 1);
/// news.publish("weather", 2);
/// news.publish("sport", 3);
/// let (first, second) = (sport.recv().unwrap(), sport.recv().unwrap());
/// assert_eq!((&*first.topic, first.value), ("sport.chess", 1));
/// assert_eq!((&*second.topic, second.value), ("sport", 3));
/// # });
/// ```
pub struct PubSub<T> {
    core: Arc<Core<Published<T>>>,
}

/// A value, and where it was published.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Published<T> {
    /// The name of the topic.
    pub topic: Arc<str>,
    /// What was published.
    pub value: T,
}

impl<T: Clone + Send + Sync + 'static> PubSub<T> {
    /// Topics whose new subscribers get what is published from then on.
    pub fn new() -> PubSub<T> {
        PubSub { core: Core::new(false) }
    }

    /// Topics that keep the last value of each: new subscribers get those first, the oldest first.
    pub fn retaining() -> PubSub<T> {
        PubSub { core: Core::new(true) }
    }

    /// As [`Topic::subscribe`](super::Topic::subscribe), to all topics that the pattern fits.
    ///
    /// # Errors
    /// As there.
    pub fn subscribe<M: Send + 'static>(
        &self,
        pattern: &str,
        actor: &ActorRef<M>,
        message: impl Fn(Published<T>) -> M + Send + Sync + 'static,
    ) -> Result<SubscriptionId, SubscribeError> {
        self.subscribe_with(pattern, actor, WhenFull::Suspend, message)
    }

    /// As [`subscribe`](PubSub::subscribe), with another policy.
    ///
    /// # Errors
    /// As there.
    pub fn subscribe_with<M: Send + 'static>(
        &self,
        pattern: &str,
        actor: &ActorRef<M>,
        when_full: WhenFull,
        message: impl Fn(Published<T>) -> M + Send + Sync + 'static,
    ) -> Result<SubscriptionId, SubscribeError> {
        let sink = ActorSink::new(actor, when_full, message)?;
        self.core.subscribe_actor(Filter::new(pattern), Arc::new(sink), actor.clone().into())
    }

    /// As [`Topic::reader`](super::Topic::reader), of all topics that the pattern fits.
    ///
    /// # Panics
    /// If `capacity` is 0.
    #[track_caller]
    pub fn reader(&self, pattern: &str, capacity: usize, when_full: WhenFull) -> Subscriber<Published<T>> {
        Subscriber::new(&self.core, Filter::new(pattern), capacity, when_full)
    }

    /// As [`Topic::unsubscribe`](super::Topic::unsubscribe).
    pub fn unsubscribe(&self, subscription: SubscriptionId) -> bool {
        self.core.remove(subscription)
    }

    /// As [`Topic::publish`](super::Topic::publish), to all whose name or pattern fits `topic`.
    pub fn publish(&self, topic: &str, value: T) -> usize {
        self.core.publish(topic, Published { topic: topic.into(), value })
    }

    /// The last value of a topic, if they are [retained](PubSub::retaining).
    pub fn latest(&self, topic: &str) -> Option<T> {
        self.core.retained(topic).map(|published| published.value)
    }

    /// Forgets the last value of a topic. False if there was none.
    pub fn forget(&self, topic: &str) -> bool {
        self.core.forget(topic)
    }

    /// How many subscriptions there are.
    pub fn subscribers(&self) -> usize {
        self.core.len()
    }
}

impl<T> Clone for PubSub<T> {
    fn clone(&self) -> PubSub<T> {
        PubSub { core: self.core.clone() }
    }
}

impl<T: Clone + Send + Sync + 'static> Default for PubSub<T> {
    fn default() -> PubSub<T> {
        PubSub::new()
    }
}

impl<T: Clone + Send + Sync + 'static> fmt::Debug for PubSub<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSub").field("subscribers", &self.subscribers()).finish_non_exhaustive()
    }
}
