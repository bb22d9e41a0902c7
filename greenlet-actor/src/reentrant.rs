//! Asking without shutting the door: other messages are handled while the answer is awaited.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenlet_core::oneshot::{Receiver, RecvTimeoutError};
use greenlet_core::select::after;
use greenlet_core::{GreenletExit, Instant, is_unwinding, raise, select};

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::ask::{AskError, Reply};
use crate::context::Context;
use crate::exit::Exit;
use crate::life::{Force, flag};

/// How many [re-entrant asks](Context::ask_reentrant) of an actor may be under way at the same time, unless it says otherwise.
pub const DEFAULT_REENTRANCY_LIMIT: usize = 16;

pub(crate) struct Reentrancy {
    limit: usize,
    /// How many are under way. Shared with the guards on the stack.
    depth: Arc<AtomicUsize>,
}

impl Default for Reentrancy {
    fn default() -> Reentrancy {
        Reentrancy { limit: DEFAULT_REENTRANCY_LIMIT, depth: Arc::default() }
    }
}

impl Reentrancy {
    /// Whether it is as it was at the beginning.
    pub(crate) fn is_unused(&self) -> bool {
        self.limit == DEFAULT_REENTRANCY_LIMIT && self.depth.load(Ordering::Relaxed) == 0
    }
}

/// One that is under way.
struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What ended a wait.
enum Came<T> {
    Answer(Result<T, RecvTimeoutError>),
    Mail,
}

impl<A: Actor> Context<A> {
    /// As [`ActorRef::ask`], but the actor goes on handling messages (and trapped exits, DOWN) while it waits for the answer, one inside the other on the same
    /// stack. `actor` is the `self` of the handler: it may be changed when this returns.
    ///
    /// So two actors may ask each other, and an actor itself, without a deadlock; none is looked for. In exchange the handler must expect that
    /// other messages were handled in its middle. The innermost of several nested asks returns first: an answer for an outer one waits for that.
    ///
    /// When a message that is handled meanwhile ends the actor, this does not return: the handlers around it are unwound. While the actor is to
    /// [stop](ActorRef::stop), and in [`init`](Actor::init) and [`terminate`](Actor::terminate), it waits for the answer only.
    ///
    /// # Errors
    /// As `ask`; [`AskError::TooDeep`] at the [limit](Context::set_reentrancy_limit).
    ///
    /// ```
    /// use greenlet_actor::{Actor, ActorRef, Context, Exit, Reply};
    /// use std::time::Duration;
    ///
    /// enum Message { Greet(ActorRef<Message>, Reply<String>), Name(Reply<&'static str>) }
    /// struct Person(&'static str);
    ///
    /// impl Actor for Person {
    ///     type Message = Message;
    ///     fn receive(&mut self, message: Message, ctx: &mut Context<Self>) -> Result<(), Exit> {
    ///         match message {
    ///             Message::Greet(whom, reply) => {
    ///                 let name = ctx.ask_reentrant(self, &whom, Message::Name, Duration::from_secs(1))?;
    ///                 reply.send(format!("{} greets {name}", self.0));
    ///             }
    ///             Message::Name(reply) => reply.send(self.0),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// # greenlet_core::run(|| {
    /// let joe = Person("Joe").spawn();
    /// let greeting = joe.ask(|reply| Message::Greet(joe.clone(), reply), Duration::from_secs(1));
    /// assert_eq!(greeting.unwrap(), "Joe greets Joe");
    /// # });
    /// ```
    pub fn ask_reentrant<N: Send + 'static, T>(
        &mut self,
        actor: &mut A,
        asked: &ActorRef<N>,
        question: impl FnOnce(Reply<T>) -> N,
        timeout: Duration,
    ) -> Result<T, AskError> {
        let Reentrancy { limit, depth } = &self.belongings().reentrancy;
        if depth.load(Ordering::Relaxed) >= *limit {
            return Err(AskError::TooDeep(*limit));
        }
        depth.fetch_add(1, Ordering::Relaxed);
        let _inside = Inside(depth.clone());
        let label = self.runner().label();
        let start = Instant::now();
        let (reply, answer) = Reply::channel();
        asked.send_question(question(reply), timeout)?;
        let deadline = start.checked_add(timeout);
        let answered = self.go_on_until(actor, &answer, deadline);
        self.runner().handles(label);
        answered.map_err(|error| asked.no_answer(error, timeout))
    }

    /// How many re-entrant asks may be under way at the same time. Default: [`DEFAULT_REENTRANCY_LIMIT`]. Each takes a part of the stack.
    pub fn set_reentrancy_limit(&mut self, asks: usize) {
        self.belongings().reentrancy.limit = asks;
    }

    fn go_on_until<T>(
        &mut self,
        actor: &mut A,
        answer: &Receiver<T>,
        deadline: Option<Instant>,
    ) -> Result<T, RecvTimeoutError> {
        loop {
            match answer.try_recv() {
                Err(RecvTimeoutError::TimedOut) => {}
                answered => return answered,
            }
            let left = deadline.map_or(Duration::MAX, |deadline| deadline - Instant::now());
            let flags = self.me().life().flags();
            let waits_only = flags & (flag::STOPPING | flag::HELD) != 0 || flags & flag::STARTED == 0;
            if waits_only || self.is_ending() {
                return answer.recv_timeout(left);
            }
            if left.is_zero() {
                return Err(RecvTimeoutError::TimedOut);
            }
            match self.handle_next(actor) {
                Some(Ok(())) => {}
                Some(Err(exit)) => self.end_from_inside(exit),
                None => {
                    if let Came::Answer(answered) = self.await_either(answer, left) {
                        return answered;
                    }
                }
            }
        }
    }

    fn await_either<T>(&mut self, answer: &Receiver<T>, left: Duration) -> Came<T> {
        let me = self.me().clone();
        let arrived = &me.life().rare().arrived;
        // Before the wait is announced: who sees the announcement sets it.
        arrived.clear();
        let (_, mut owned) = self.inbox();
        let Some(_waiting) = owned.wait() else { return Came::Mail };
        select! {
            answered = answer.recv_op() => Came::Answer(answered.map_err(|_| RecvTimeoutError::Closed)),
            () = arrived.wait_op() => Came::Mail,
            () = after(left) => Came::Answer(Err(RecvTimeoutError::TimedOut)),
        }
    }

    /// A handler inside of another has ended the actor: so the outer one ends too.
    fn end_from_inside(&self, exit: Exit) {
        self.me().life().request_stop(Force::Signal, exit);
        if !is_unwinding() {
            raise(GreenletExit);
        }
    }
}
