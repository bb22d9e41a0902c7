//! Talking to actors from async tasks, of any runtime, without holding up the thread that runs them.

use crate::actor_ref::{ActorRef, AnyActor, SendError};
use crate::ask::{AskError, Reply};
use crate::exit::Exit;

impl<M: Send + 'static> ActorRef<M> {
    /// [`send`](ActorRef::send) for async tasks: where that parks the thread until there is room in a bounded mailbox, this waits as a future does.
    ///
    /// A future that is dropped has sent nothing. In a greenlet `send` is the better one.
    ///
    /// # Errors
    /// As [`send`](ActorRef::send).
    ///
    /// ```
    /// use greenlet_actor::{Actor, ActorBuilder, Context, Exit, Reply};
    ///
    /// struct Sum(u32);
    /// enum Message { Add(u32), Get(Reply<u32>) }
    ///
    /// impl Actor for Sum {
    ///     type Message = Message;
    ///     fn receive(&mut self, message: Message, _: &mut Context<Self>) -> Result<(), Exit> {
    ///         match message {
    ///             Message::Add(n) => self.0 += n,
    ///             Message::Get(reply) => reply.send(self.0),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # greenlet_core::run(|| {
    /// let sum = ActorBuilder::new().capacity(2).spawn(Sum(0));
    /// let task = async {
    ///     for n in 1..=10 {
    ///         sum.send_async(Message::Add(n)).await.ok();
    ///     }
    ///     sum.ask_async(Message::Get).await
    /// };
    /// // Any executor does.
    /// assert_eq!(greenlet_core::future::block_on(task).unwrap(), 55);
    /// # });
    /// ```
    pub async fn send_async(&self, message: M) -> Result<(), SendError<M>> {
        match self.try_send(message) {
            Err(SendError::Full(message)) if self.waits_for_room() && !self.is_current() => {
                if let Some(bounded) = self.bounded()
                    && !bounded.enter_async().await
                {
                    return Err(SendError::Ended(message));
                }
                self.push(message)
            }
            sent => sent,
        }
    }

    /// [`ask`](ActorRef::ask) for async tasks, without a limit of time: executors have their own. A future that is dropped has given the answer up.
    ///
    /// # Errors
    /// [`AskError`], but for those that only actors get who ask.
    pub async fn ask_async<T>(&self, question: impl FnOnce(Reply<T>) -> M) -> Result<T, AskError> {
        let (reply, answer) = Reply::channel();
        match self.send_async(question(reply)).await {
            Ok(()) => answer.recv_op().await.map_err(|_| self.no_answer_at_all()),
            Err(SendError::Full(_)) => Err(AskError::Full),
            Err(SendError::Ended(_)) => Err(self.ended()),
        }
    }

    /// [`join`](ActorRef::join) for async tasks.
    pub async fn join_async(&self) -> Exit {
        AnyActor::from(self.clone()).join_async().await
    }
}

impl AnyActor {
    /// [`join`](AnyActor::join) for async tasks.
    pub async fn join_async(&self) -> Exit {
        if let Some(ended) = self.life().end_to_await() {
            ended.wait_op().await;
        }
        self.exit().unwrap_or(Exit::Killed)
    }
}
