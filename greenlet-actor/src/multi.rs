//! Several actors at once.

use std::fmt;
use std::time::Duration;

use greenlet_core::oneshot::{Receiver, RecvTimeoutError};
use greenlet_core::{Instant, iwait};

use crate::actor_ref::{ActorRef, SendError};
use crate::ask::{AskError, Reply};
use crate::exit::Exit;

/// Who did not answer, and why, in the order in which they were asked.
pub type Failures<M> = Vec<(ActorRef<M>, AskError)>;

/// What came of [`multi_ask`], each in the order of the actors.
#[must_use]
pub struct Answers<M, T> {
    /// Who answered what.
    pub replies: Vec<(ActorRef<M>, T)>,
    /// Who did not, and why.
    pub failures: Failures<M>,
}

impl<M, T: fmt::Debug> fmt::Debug for Answers<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("replies", &self.replies).field("failures", &self.failures).finish()
    }
}

/// Asks all of them at once, and waits for the answers for at most `timeout` in all: OTP's `gen_server:multi_call`. Suspends a greenlet,
/// parks a thread.
///
/// Mailboxes that are full and made to wait hold up nobody but those behind them: the others are asked first. A circle of asks is not
/// noticed here before the timeout, except that an actor does not ask itself. An answer that comes later is dropped, and [counted](crate::late_replies).
///
/// ```
/// use greenlet_actor::{Actor, Context, Exit, Reply, multi_ask};
/// use std::time::Duration;
///
/// struct Shop(u32);
/// impl Actor for Shop {
///     type Message = Reply<u32>;
///     fn receive(&mut self, price: Reply<u32>, _: &mut Context<Self>) -> Result<(), Exit> {
///         price.send(self.0);
///         Ok(())
///     }
/// }
///
/// # greenlet_core::run(|| {
/// let shops = [Shop(30).spawn(), Shop(20).spawn(), Shop(25).spawn()];
/// shops[2].kill();
/// let answers = multi_ask(&shops, |reply| reply, Duration::from_secs(1));
/// let cheapest = answers.replies.iter().map(|(_, price)| *price).min();
/// assert_eq!((cheapest, answers.failures.len()), (Some(20), 1));
/// # });
/// ```
pub fn multi_ask<'a, M: Send + 'static, T>(
    actors: impl IntoIterator<Item = &'a ActorRef<M>>,
    question: impl FnMut(Reply<T>) -> M,
    timeout: Duration,
) -> Answers<M, T> {
    let start = Instant::now();
    let left = || timeout.saturating_sub(start.elapsed());
    let mut answers = Answers { replies: Vec::new(), failures: Vec::new() };
    // All are sent before any is waited for.
    let mut asked = ask_all(actors, question);
    for question in &mut asked {
        question.wait_for_room(left(), timeout);
    }
    for Asked { actor, answer, state } in asked {
        let result = match state {
            State::Sent => answer.recv_timeout(left()).map_err(|error| no_answer(&actor, error, timeout)),
            State::Failed(error) => Err(error),
            State::Full(_) => Err(AskError::Full),
        };
        match result {
            Ok(reply) => answers.replies.push((actor, reply)),
            Err(error) => answers.failures.push((actor, error)),
        }
    }
    answers
}

/// Asks all of them at once, and returns the first answer, with who gave it. The others' are dropped when they come, and
/// [counted](crate::late_replies).
///
/// # Errors
/// All their failures in the order of the actors, when all have failed, or the time was over ([`AskError::TimedOut`] for those that might have
/// answered). A full mailbox is not waited for.
pub fn ask_any<'a, M: Send + 'static, T>(
    actors: impl IntoIterator<Item = &'a ActorRef<M>>,
    question: impl FnMut(Reply<T>) -> M,
    timeout: Duration,
) -> Result<(ActorRef<M>, T), Failures<M>> {
    let start = Instant::now();
    let mut asked = ask_all(actors, question);
    for at in
        asked.iter().enumerate().filter(|(_, asked)| asked.is_sent()).map(|(at, _)| at).collect::<Vec<_>>()
    {
        // Somebody may have answered already.
        if let Ok(answer) = asked[at].answer.try_recv() {
            return Ok((asked.swap_remove(at).actor, answer));
        }
    }
    let waiting = asked.iter().filter(|asked| asked.is_sent()).map(|asked| &asked.answer);
    let left = timeout.saturating_sub(start.elapsed());
    for ready in iwait(waiting).timeout(left) {
        if let Ok(answer) = ready.try_recv()
            && let Some(who) = asked.iter().find(|asked| std::ptr::eq(&raw const asked.answer, ready))
        {
            return Ok((who.actor.clone(), answer));
        }
    }
    let failure = |Asked { actor, answer, state }| {
        let error = match state {
            State::Sent => {
                let error = answer.try_recv().err().unwrap_or(RecvTimeoutError::Closed);
                no_answer(&actor, error, timeout)
            }
            State::Failed(error) => error,
            State::Full(_) => AskError::Full,
        };
        (actor, error)
    };
    Err(asked.into_iter().map(failure).collect())
}

/// Sends each of them a copy of the message: OTP's `abcast`. Returns those that did not get it. Waits where a mailbox is full and made to
/// wait.
pub fn broadcast<'a, M: Clone + Send + 'static>(
    actors: impl IntoIterator<Item = &'a ActorRef<M>>,
    message: &M,
) -> Vec<(ActorRef<M>, SendError<M>)> {
    let send = |actor: &ActorRef<M>| actor.send(message.clone()).err().map(|error| (actor.clone(), error));
    actors.into_iter().filter_map(send).collect()
}

struct Asked<M, T> {
    actor: ActorRef<M>,
    answer: Receiver<T>,
    state: State<M>,
}

enum State<M> {
    Sent,
    /// There was no room.
    Full(M),
    Failed(AskError),
}

impl<M: Send + 'static, T> Asked<M, T> {
    fn is_sent(&self) -> bool {
        matches!(self.state, State::Sent)
    }

    /// Sends a question for which there was no room.
    fn wait_for_room(&mut self, left: Duration, timeout: Duration) {
        if !matches!(self.state, State::Full(_)) {
            return;
        }
        let State::Full(question) = std::mem::replace(&mut self.state, State::Sent) else { return };
        let start = Instant::now();
        match self.actor.send_timeout(question, left) {
            Ok(()) => {}
            Err(SendError::Full(_)) if start.elapsed() < left => self.state = State::Failed(AskError::Full),
            Err(SendError::Full(_)) => self.state = State::Failed(AskError::TimedOut(timeout)),
            Err(SendError::Ended(_)) => self.state = State::Failed(ended(&self.actor)),
        }
    }
}

fn ask_all<'a, M: Send + 'static, T>(
    actors: impl IntoIterator<Item = &'a ActorRef<M>>,
    mut question: impl FnMut(Reply<T>) -> M,
) -> Vec<Asked<M, T>> {
    let ask = |actor: &ActorRef<M>| {
        let (reply, answer) = Reply::channel();
        let state = if actor.is_current() {
            State::Failed(AskError::Itself)
        } else {
            match actor.try_send(question(reply)) {
                Ok(()) => State::Sent,
                Err(SendError::Full(question)) if actor.waits_for_room() => State::Full(question),
                Err(SendError::Full(_)) => State::Failed(AskError::Full),
                Err(SendError::Ended(_)) => State::Failed(ended(actor)),
            }
        };
        Asked { actor: actor.clone(), answer, state }
    };
    actors.into_iter().map(ask).collect()
}

fn ended<M: Send + 'static>(actor: &ActorRef<M>) -> AskError {
    AskError::Ended(actor.exit().unwrap_or(Exit::NoProc))
}

fn no_answer<M: Send + 'static>(actor: &ActorRef<M>, error: RecvTimeoutError, timeout: Duration) -> AskError {
    AskError::of(error, actor.stopping(), timeout)
}
