//! Asking an actor and waiting for its answer.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_core::{GetError, Queue};

use crate::actor_ref::{ActorRef, SendError};
use crate::exit::Exit;

/// Where an answer goes. It travels in the message; whoever has it answers, now or later, from wherever.
///
/// It may be passed on: to another actor, a greenlet, a thread. Dropping it unanswered tells the asker at once, with
/// [`AskError::NoReply`] if the actor that was asked is still there.
pub struct Reply<T> {
    to: Arc<Queue<T>>,
}

impl<T> Reply<T> {
    /// Answers. If the asker has given up, the answer is dropped.
    pub fn send(self, answer: T) {
        // Fails when the asker shut the queue down, which it never does, or answered twice, which it cannot.
        let _ = self.to.try_put(answer);
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.to.shutdown();
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply(..)")
    }
}

/// Why an [`ask`](ActorRef::ask) has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The actor has ended, before the question or before the answer.
    #[error("the actor has ended: {0}")]
    Ended(Exit),
    /// The reply was dropped without an answer, by an actor that goes on, or by a handler that is about to fail: when it
    /// drops the reply, nobody knows yet.
    #[error("the actor did not answer")]
    NoReply,
    /// The time was over. An answer that comes later is dropped.
    #[error("no answer in {0:?}")]
    TimedOut(Duration),
    /// An actor asked itself: it would wait for ever.
    #[error("an actor cannot ask itself")]
    Itself,
}

impl<M: Send + 'static> ActorRef<M> {
    /// Sends a question and waits for the answer: OTP's `call`. Suspends a greenlet, parks a plain thread.
    ///
    /// `question` makes the message from the place to answer to; the name of a tuple variant does. An actor that has
    /// ended, or ends before it answers, is noticed at once and not at the timeout. The timeout includes the wait for room
    /// in a bounded mailbox.
    ///
    /// # Errors
    /// [`AskError`].
    ///
    /// ```
    /// use greenlet_actor::{Actor, Context, Exit, Reply};
    /// use std::time::{Duration, Instant};
    ///
    /// struct Doubler;
    /// enum Question { Double(u32, Reply<u32>) }
    ///
    /// impl Actor for Doubler {
    ///     type Message = Question;
    ///     fn receive(&mut self, question: Question, _: &mut Context<Self>) -> Result<(), Exit> {
    ///         let Question::Double(n, reply) = question;
    ///         reply.send(2 * n);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # greenlet_core::run(|| {
    /// let doubler = Doubler.spawn();
    /// let answer = doubler.ask(|reply| Question::Double(21, reply), Duration::from_secs(1));
    /// assert_eq!(answer.unwrap(), 42);
    /// # });
    /// ```
    pub fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> M, timeout: Duration) -> Result<T, AskError> {
        if self.is_current() {
            return Err(AskError::Itself);
        }
        let answer = Arc::new(Queue::unbounded());
        let question = question(Reply { to: answer.clone() });
        let left = match self.try_send(question) {
            Ok(()) => timeout,
            Err(SendError::Ended(_)) => return Err(self.ended()),
            Err(SendError::Full(question)) => {
                let start = Instant::now();
                match self.send_timeout(question, timeout) {
                    Ok(()) => timeout.saturating_sub(start.elapsed()),
                    Err(SendError::Full(_)) => return Err(AskError::TimedOut(timeout)),
                    Err(SendError::Ended(_)) => return Err(self.ended()),
                }
            }
        };
        answer.get_timeout(left).map_err(|error| match (error, self.stopping()) {
            (GetError::Empty, _) => AskError::TimedOut(timeout),
            (GetError::ShutDown, Some(exit)) => AskError::Ended(exit),
            (GetError::ShutDown, None) => AskError::NoReply,
        })
    }

    fn ended(&self) -> AskError {
        AskError::Ended(self.exit().unwrap_or(Exit::NoProc))
    }
}
