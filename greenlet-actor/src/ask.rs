//! Asking an actor and waiting for its answer.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use greenlet_core::Instant;
use greenlet_core::oneshot::{self, RecvTimeoutError};

use crate::actor_ref::{ActorId, ActorRef, AnyActor, Linkable, SendError};
use crate::exit::Exit;
use crate::life::Life;
use crate::run::{Local, Runner};

/// Answers that came when the asker had given up.
static LATE: AtomicU64 = AtomicU64::new(0);

/// How many answers of this process came too late, and were dropped: the asker had given up.
pub fn late_replies() -> u64 {
    LATE.load(Ordering::Relaxed)
}

/// How long [`call`](ActorRef::call) waits: OTP's 5 seconds.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where an answer goes. It travels in the message; whoever has it answers, now or later, from wherever.
///
/// It may be passed on: to another actor, a greenlet, a thread. Dropping it unanswered tells the asker at once, with
/// [`AskError::NoReply`] if the actor that was asked is still there.
pub struct Reply<T> {
    to: oneshot::Sender<T>,
}

impl<T> Reply<T> {
    /// A reply without an actor that is asked, and where its answer arrives: to ask by other ways than [`ask`](ActorRef::ask).
    pub fn channel() -> (Reply<T>, oneshot::Receiver<T>) {
        let (to, answer) = oneshot::channel();
        (Reply { to }, answer)
    }

    /// Answers. If the asker has given up, the answer is dropped, and [counted](late_replies).
    #[inline]
    pub fn send(self, answer: T) {
        if let Err(answer) = self.to.send(answer) {
            LATE.fetch_add(1, Ordering::Relaxed);
            drop(answer);
        }
    }

    /// Has another actor answer: sends it the question that `question` makes of this reply, and forgets about it. The asker waits on, and
    /// does not notice that it is another one.
    ///
    /// # Errors
    /// [`SendError`] with the question, and the reply in it: it can still be answered otherwise.
    ///
    /// ```
    /// use greenlet_actor::{Actor, ActorRef, Context, Exit, Reply};
    ///
    /// struct Front(ActorRef<Reply<u32>>);
    /// struct Back;
    ///
    /// impl Actor for Front {
    ///     type Message = Reply<u32>;
    ///     fn receive(&mut self, reply: Reply<u32>, _: &mut Context<Self>) -> Result<(), Exit> {
    ///         Ok(reply.forward(&self.0, |reply| reply)?)
    ///     }
    /// }
    /// impl Actor for Back {
    ///     type Message = Reply<u32>;
    ///     fn receive(&mut self, reply: Reply<u32>, _: &mut Context<Self>) -> Result<(), Exit> {
    ///         reply.send(42);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # greenlet_core::run(|| {
    /// let front = Front(Back.spawn()).spawn();
    /// assert_eq!(front.call(|reply| reply).unwrap(), 42);
    /// # });
    /// ```
    pub fn forward<M: Send + 'static>(
        self,
        to: &ActorRef<M>,
        question: impl FnOnce(Reply<T>) -> M,
    ) -> Result<(), SendError<M>> {
        to.send(question(self))
    }

    /// Whether the asker has given up: nobody wants the answer any more.
    pub fn is_closed(&self) -> bool {
        self.to.is_closed()
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
    /// The actor that is asked waits for an answer of the asker, by itself or through others: each would wait for ever. The chain begins
    /// and ends with the asker. An actor that has gone on to other messages and kept the [`Reply`], or passed it on, is no part of such a chain:
    /// the answer may come from elsewhere, so there the timeout decides. If others close the circle while the question is on its way, that is handled all the same, as
    /// after a timeout.
    #[error("deadlock: {}", Chain(_0))]
    Deadlock(Vec<ActorId>),
    /// The mailbox is full, and made to refuse.
    #[error("the mailbox is full")]
    Full,
    /// So many [re-entrant asks](crate::Context::ask_reentrant) of the actor are under way already.
    #[error("{0} asks are under way inside each other already")]
    TooDeep(usize),
}

impl AskError {
    /// What it means that no answer came from an actor that ends with this reason, if it does.
    pub(crate) fn of(error: RecvTimeoutError, exit: Option<Exit>, timeout: Duration) -> AskError {
        match (error, exit) {
            (RecvTimeoutError::TimedOut, _) => AskError::TimedOut(timeout),
            (RecvTimeoutError::Closed, Some(exit)) => AskError::Ended(exit),
            (RecvTimeoutError::Closed, None) => AskError::NoReply,
        }
    }
}

struct Chain<'a>(&'a [ActorId]);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, actor) in self.0.iter().enumerate() {
            write!(f, "{}{actor}", if at == 0 { "" } else { " asks " })?;
        }
        Ok(())
    }
}

/// The asker, if it is an actor, is known to wait for the other one, as long as this lives.
pub(crate) struct Asking(Option<AnyActor>);

impl Asking {
    pub(crate) fn begin<M: Send + 'static>(asked: &ActorRef<M>) -> Result<Asking, AskError> {
        Asking::begin_at(asked, u64::MAX)
    }

    /// As [`begin`](Asking::begin), where the question stands there in the mailbox of the other one already.
    fn begin_at<M: Send + 'static>(asked: &ActorRef<M>, at: u64) -> Result<Asking, AskError> {
        let Some(me) = Runner::current_actor() else { return Ok(Asking(None)) };
        if me.life().id() == asked.id() {
            return Err(AskError::Itself);
        }
        let me = AnyActor::new(me);
        let rare = me.life().rare();
        rare.asked_at.store(at, Ordering::Release);
        let before = rare.state().asking.replace(asked.any_cell());
        drop(before);
        // Of two who note and then look at each other, one sees the other.
        fence(Ordering::SeqCst);
        let asking = Asking(Some(me));
        asking.find_cycle(asked.life())?;
        Ok(asking)
    }

    /// The question is in the mailbox of the other one.
    #[inline]
    fn sent<M: Send + 'static>(&self, asked: &ActorRef<M>) {
        if let Some(me) = &self.0 {
            me.life().rare().asked_at.store(asked.mailbox().sent(), Ordering::Release);
        }
    }

    /// Follows who waits for whom. Each has noted whom it asks before it looks, so of those who close a circle at the same time one sees it.
    fn find_cycle(&self, asked: &Life) -> Result<(), AskError> {
        let Some(me) = &self.0 else { return Ok(()) };
        let chain = cycle(me, asked);
        // The links of the chain were looked at one after another, and on other hubs asks end meanwhile. A circle that is still there at the
        // second look was there as a whole in between.
        if chain.is_some() && chain == cycle(me, asked) {
            return chain.map_or(Ok(()), |chain| Err(AskError::Deadlock(chain)));
        }
        Ok(())
    }
}

/// The chain of asks that leads from `me` by `asked` back to `me`, if there is one.
fn cycle(me: &AnyActor, asked: &Life) -> Option<Vec<ActorId>> {
    let mut chain = vec![me.id(), asked.id()];
    let mut next = asked.asks();
    while let Some(actor) = next {
        // A circle that the asker is not in is somebody else's.
        let known = chain[1..].contains(&actor.id());
        chain.push(actor.id());
        if actor == *me {
            return Some(chain);
        }
        if known {
            return None;
        }
        next = actor.life().asks();
    }
    None
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(me) = &self.0 {
            let asked = me.life().rare().state().asking.take();
            drop(asked);
        }
    }
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
    #[inline]
    pub fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> M, timeout: Duration) -> Result<T, AskError> {
        let (reply, answer) = Reply::channel();
        // First, since it may ask somebody itself.
        let question = question(reply);
        if Runner::runs(self.life()) {
            return Err(AskError::Itself);
        }
        if !self.refuses_or_takes() || self.life().asks().is_some() {
            return self.ask_in_turn(question, &answer, timeout);
        }
        // Whoever asks waits in any case, so who answers may as well run now. Most often the answer is there then, and nobody else had to know.
        let (sent, runner) = Local::holding_back(|| self.try_send(question));
        if let Err(error) = sent {
            return self.ask_in_turn(error.into_message(), &answer, timeout);
        }
        let at = self.mailbox().sent();
        if let Some(runner) = runner {
            self.runs_for_the_asker(at, &runner);
        }
        let answer = match answer.try_into_value() {
            Ok(answer) => return answer.map_err(|_| self.no_answer(RecvTimeoutError::Closed, timeout)),
            Err(answer) => answer,
        };
        let asking = Asking::begin_at(self, at)?;
        let answer = answer.recv_timeout(timeout).map_err(|error| self.no_answer(error, timeout));
        drop(asking);
        answer
    }

    /// Asks where it may have to wait for room, or where a circle of questions may be closed: that is looked for before the question is sent.
    #[cold]
    fn ask_in_turn<T>(
        &self,
        question: M,
        answer: &oneshot::Receiver<T>,
        timeout: Duration,
    ) -> Result<T, AskError> {
        let asking = Asking::begin(self)?;
        let left = self.send_question(question, timeout)?;
        asking.sent(self);
        answer.recv_timeout(left).map_err(|error| self.no_answer(error, timeout))
    }

    /// Sends a question. Returns how much of the timeout is left.
    #[inline]
    pub(crate) fn send_question(&self, question: M, timeout: Duration) -> Result<Duration, AskError> {
        match self.try_send(question) {
            Ok(()) => Ok(timeout),
            Err(error) => self.wait_to_ask(error, timeout),
        }
    }

    /// As [`ask`](ActorRef::ask), with a [timeout](DEFAULT_TIMEOUT) of 5 seconds: OTP's `gen_server:call/2`.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn call<T>(&self, question: impl FnOnce(Reply<T>) -> M) -> Result<T, AskError> {
        self.ask(question, DEFAULT_TIMEOUT)
    }

    /// Sends a message without caring whether anybody gets it: OTP's `gen_server:cast`. It goes the way of [`send`](ActorRef::send).
    pub fn cast(&self, message: M) {
        drop(self.send(message));
    }

    /// Sends a question and does not wait for the answer: OTP's `send_request`. Waits for room in a bounded mailbox, as [`send`](ActorRef::send).
    ///
    /// # Errors
    /// [`AskError::Ended`] and [`AskError::Full`].
    pub fn request<T>(&self, question: impl FnOnce(Reply<T>) -> M) -> Result<Request<M, T>, AskError> {
        let (reply, answer) = Reply::channel();
        match self.send(question(reply)) {
            Ok(()) => Ok(Request { asked: self.clone(), at: self.mailbox().sent(), answer }),
            Err(SendError::Full(_)) => Err(AskError::Full),
            Err(SendError::Ended(_)) => Err(self.ended()),
        }
    }

    /// The question could not be sent at once. Returns how much of the timeout is left when it was.
    #[cold]
    fn wait_to_ask(&self, error: SendError<M>, timeout: Duration) -> Result<Duration, AskError> {
        let SendError::Full(question) = error else { return Err(self.ended()) };
        let start = Instant::now();
        match self.send_timeout(question, timeout) {
            Ok(()) => Ok(timeout.saturating_sub(start.elapsed())),
            Err(SendError::Full(_)) if self.waits_for_room() => Err(AskError::TimedOut(timeout)),
            Err(SendError::Full(_)) => Err(AskError::Full),
            Err(SendError::Ended(_)) => Err(self.ended()),
        }
    }

    #[cold]
    pub(crate) fn no_answer(&self, error: RecvTimeoutError, timeout: Duration) -> AskError {
        AskError::of(error, self.stopping(), timeout)
    }

    /// As [`no_answer`](ActorRef::no_answer), where there is no limit of time.
    pub(crate) fn no_answer_at_all(&self) -> AskError {
        self.no_answer(RecvTimeoutError::Closed, Duration::MAX)
    }

    pub(crate) fn ended(&self) -> AskError {
        AskError::Ended(self.exit().unwrap_or(Exit::NoProc))
    }
}

/// An answer that will come: see [`ActorRef::request`]. Dropping it gives the answer up.
pub struct Request<M, T> {
    asked: ActorRef<M>,
    /// Where the question stands in its mailbox, or somewhat before.
    at: u64,
    answer: oneshot::Receiver<T>,
}

impl<M: Send + 'static, T> Request<M, T> {
    /// Waits for the answer. After a timeout it can be waited for again.
    ///
    /// # Errors
    /// As [`ask`](ActorRef::ask).
    pub fn wait(&self, timeout: Duration) -> Result<T, AskError> {
        // Who is past the question has answered, or left that to another one.
        let past = self.asked.mailbox().taken() > self.at || self.answer.is_ready();
        let _asking = if past { Asking(None) } else { Asking::begin_at(&self.asked, self.at)? };
        self.answer.recv_timeout(timeout).map_err(|error| self.asked.no_answer(error, timeout))
    }

    /// Waits for the answer in an async task, without a limit of time.
    ///
    /// # Errors
    /// As [`ask`](ActorRef::ask).
    pub async fn answer(self) -> Result<T, AskError> {
        let answer = self.answer.recv_op().await;
        answer.map_err(|_| self.asked.no_answer_at_all())
    }
}

impl<M, T> fmt::Debug for Request<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("asked", &self.asked).finish_non_exhaustive()
    }
}
