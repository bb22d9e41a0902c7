//! More urgent messages first, for actors that ask for it.
//!
//! Such an actor takes everything that has come out of its mailbox before each message, and keeps it sorted among its belongings. Whatever
//! looks into the mailbox from a handler has it all put back first, in that order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use crate::actor::Actor;
use crate::cell::Mail;
use crate::context::Context;
use crate::special::Special;

/// How urgent a message is: see [`Actor::PRIORITY`]. What is greater comes first.
///
/// ```
/// use greenlet_actor::Priority;
///
/// assert!(Priority::HIGH > Priority::NORMAL && Priority::NORMAL > Priority::LOW);
/// assert!(Priority::new(255) > Priority::HIGH);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Priority(u8);

impl Priority {
    /// Before most: 192.
    pub const HIGH: Priority = Priority(192);
    /// The default: 128.
    pub const NORMAL: Priority = Priority(128);
    /// After most: 64.
    pub const LOW: Priority = Priority(64);

    /// One of 256, of which the greatest is the most urgent.
    pub const fn new(level: u8) -> Priority {
        Priority(level)
    }
}

impl Default for Priority {
    fn default() -> Priority {
        Priority::NORMAL
    }
}

/// How an actor tells which message is more urgent.
pub(crate) type Rank<M> = fn(&M) -> Priority;

/// Where something is in the order: what the actor goes on with is before all messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Message(Priority),
    Next,
}

/// What has come, most urgent first, and in the order of arrival where that is equal.
pub(crate) struct Sorted<M>(BTreeMap<Reverse<Level>, VecDeque<Mail<M>>>);

impl<M> Default for Sorted<M> {
    fn default() -> Sorted<M> {
        Sorted(BTreeMap::new())
    }
}

impl<M: Send + 'static> Sorted<M> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, mail: Mail<M>, rank: Rank<M>) {
        let level = self.level(&mail, rank);
        self.0.entry(Reverse(level)).or_default().push_back(mail);
    }

    fn pop(&mut self) -> Option<Mail<M>> {
        let mut first = self.0.first_entry()?;
        let mail = first.get_mut().pop_front();
        if first.get().is_empty() {
            first.remove();
        }
        mail
    }

    fn level(&self, mail: &Mail<M>, rank: Rank<M>) -> Level {
        let special = match mail {
            Mail::Message(message) => return Level::Message(rank(message)),
            Mail::Special(special) => special,
        };
        match &**special {
            Special::Again(message) | Special::Item(message, _) => Level::Message(rank(message)),
            Special::Timer(timed) => match timed.look() {
                Some(message) => {
                    let level = Level::Message(rank(&message));
                    timed.put_back(message);
                    level
                }
                None => Level::Next,
            },
            Special::Continue(_) | Special::Hibernate => Level::Next,
            // Behind all messages that came before it: one of them may be of the same sender.
            Special::Signal(_) | Special::Ring => {
                self.0.last_key_value().map_or(Level::Next, |(Reverse(least), _)| *least)
            }
        }
    }
}

impl<A: Actor> Context<A> {
    /// The most urgent of what has come.
    pub(crate) fn next_by_priority(&mut self, rank: Rank<A::Message>) -> Option<Mail<A::Message>> {
        while let Some(mail) = self.owned().take_uncounted() {
            self.belongings().sorted.push(mail, rank);
        }
        if self.try_belongings().is_none_or(|belongings| belongings.sorted.is_empty()) {
            return None;
        }
        let mail = self.belongings().sorted.pop();
        if mail.is_some() {
            self.owned().count_taken();
        }
        mail
    }

    /// Puts what was sorted back into the mailbox, in that order.
    #[cold]
    pub(crate) fn unsort(&mut self) {
        if self.try_belongings().is_none_or(|belongings| belongings.sorted.is_empty()) {
            return;
        }
        let sorted = std::mem::take(&mut self.belongings().sorted);
        let mails: VecDeque<_> = sorted.0.into_values().flatten().collect();
        self.owned().put_back_uncounted(mails.into_iter());
    }
}
