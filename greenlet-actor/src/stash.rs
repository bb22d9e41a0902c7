//! Messages for later, and messages for now.

use std::collections::VecDeque;
use std::fmt;

use crate::actor::Actor;
use crate::cell::Mail;
use crate::context::Context;
use crate::special::{Special, goes_on};

/// How many messages an actor may [stash](Context::stash), unless it says otherwise.
pub const DEFAULT_STASH_LIMIT: usize = 65_536;

/// The stash is full; the message comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stash is full: it takes {limit} messages")]
pub struct StashFull<M> {
    /// The message that was to be stashed.
    pub message: M,
    /// How many it takes.
    pub limit: usize,
}

impl<M> fmt::Debug for StashFull<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StashFull").field("limit", &self.limit).finish_non_exhaustive()
    }
}

pub(crate) struct Stash<M> {
    messages: VecDeque<M>,
    limit: usize,
}

impl<M> Default for Stash<M> {
    fn default() -> Stash<M> {
        Stash { messages: VecDeque::new(), limit: DEFAULT_STASH_LIMIT }
    }
}

impl<M> Stash<M> {
    pub(crate) fn push(&mut self, message: M) -> Result<(), StashFull<M>> {
        if self.messages.len() >= self.limit {
            return Err(StashFull { message, limit: self.limit });
        }
        self.messages.push_back(message);
        Ok(())
    }

    pub(crate) fn take(&mut self) -> VecDeque<M> {
        std::mem::take(&mut self.messages)
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(crate) fn shrink(&mut self) {
        self.messages.shrink_to_fit();
    }

    /// Whether it is as it was at the beginning.
    pub(crate) fn is_unused(&self) -> bool {
        self.messages.is_empty() && self.limit == DEFAULT_STASH_LIMIT
    }
}

impl<A: Actor> Context<A> {
    /// Puts a message aside until [`unstash_all`](Context::unstash_all). It has left the mailbox, also as far as a
    /// [capacity](crate::ActorBuilder::capacity) is concerned. With the actor it ends: what was asked in it hears that.
    ///
    /// # Errors
    /// [`StashFull`] with the message, at the [limit](Context::set_stash_limit).
    ///
    /// ```
    /// use greenlet_actor::{Actor, Context, Exit, Reply};
    ///
    /// enum Message { Connected, Query(Reply<u32>) }
    /// struct Client { connected: bool }
    ///
    /// impl Actor for Client {
    ///     type Message = Message;
    ///     fn receive(&mut self, message: Message, ctx: &mut Context<Self>) -> Result<(), Exit> {
    ///         match message {
    ///             Message::Connected => {
    ///                 self.connected = true;
    ///                 ctx.unstash_all();
    ///             }
    ///             query if !self.connected => ctx.stash(query)?,
    ///             Message::Query(reply) => reply.send(42),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// # greenlet_core::run(|| {
    /// let client = Client { connected: false }.spawn();
    /// let answer = client.request(Message::Query).unwrap();
    /// client.send(Message::Connected).unwrap();
    /// assert_eq!(answer.wait(std::time::Duration::from_secs(1)).unwrap(), 42);
    /// # });
    /// ```
    pub fn stash(&mut self, message: A::Message) -> Result<(), StashFull<A::Message>> {
        self.belongings().stash.push(message)
    }

    /// Has the stashed messages handled next, in the order in which they were stashed, ahead of those in the mailbox. Returns how many they are.
    pub fn unstash_all(&mut self) -> usize {
        if self.stashed() == 0 {
            return 0;
        }
        let messages = self.belongings().stash.take();
        let count = messages.len();
        let mails = messages.into_iter().map(|message| Mail::Special(Box::new(Special::Again(message))));
        self.inbox().1.put_in_front(goes_on, mails);
        count
    }

    /// How many messages are stashed.
    pub fn stashed(&self) -> usize {
        self.try_belongings().map_or(0, |belongings| belongings.stash.len())
    }

    /// How many messages may be stashed. Default: [`DEFAULT_STASH_LIMIT`]. Those that are stay, also if they are more.
    pub fn set_stash_limit(&mut self, messages: usize) {
        self.belongings().stash.set_limit(messages);
    }

    /// Has the actor handle this message next, after the one that it is handling (or `init`) and ahead of all others: OTP's `{continue, _}`. Several
    /// are handled in the order of the calls.
    ///
    /// So `init` may return at once, with whoever [starts](Actor::start) the actor, and do the rest before anybody is served.
    ///
    /// ```
    /// use greenlet_actor::{Actor, Context, Exit, Reply};
    /// use std::time::Duration;
    ///
    /// enum Message { Load, Get(Reply<u32>) }
    /// struct Cache(u32);
    ///
    /// impl Actor for Cache {
    ///     type Message = Message;
    ///     fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
    ///         ctx.continue_with(Message::Load);
    ///         Ok(())
    ///     }
    ///     fn receive(&mut self, message: Message, _: &mut Context<Self>) -> Result<(), Exit> {
    ///         match message {
    ///             Message::Load => self.0 = 42, // takes its time
    ///             Message::Get(reply) => reply.send(self.0),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// # greenlet_core::run(|| {
    /// assert_eq!(Cache(0).spawn().ask(Message::Get, Duration::from_secs(1)).unwrap(), 42);
    /// # });
    /// ```
    pub fn continue_with(&mut self, message: A::Message) {
        let mail = Mail::Special(Box::new(Special::Continue(message)));
        self.inbox().1.put_in_front(goes_on, std::iter::once(mail));
    }
}
