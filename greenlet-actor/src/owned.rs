//! Work beside an actor, which belongs to it: tasks.
//!
//! A task is an actor too, a small one that does one thing. So it runs on whichever hub has time, and all words about the end of actors apply.

use std::marker::PhantomData;

use greenlet_core::{GreenletError, GreenletExit, attempt};

use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::{ActorRef, AnyActor, Linkable};
use crate::context::Context;
use crate::exit::Exit;
use crate::life::{Hears, flag};
use crate::special::{Special, post};

pub(crate) struct Task<F>(pub(crate) Option<F>);

impl<F: FnOnce() -> Result<(), Exit> + 'static> Actor for Task<F> {
    type Message = ();

    fn init(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
        if let Some(work) = self.0.take() {
            work()?;
        }
        Err(Exit::Normal)
    }

    fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> {
        Ok(())
    }
}

/// Where the result of some work goes.
struct Pipe<M: Send + 'static, R, F: FnOnce(Result<R, GreenletError>) -> M> {
    to: ActorRef<M>,
    message: Option<F>,
    _result: PhantomData<fn(R)>,
}

impl<M: Send + 'static, R, F: FnOnce(Result<R, GreenletError>) -> M> Drop for Pipe<M, R, F> {
    fn drop(&mut self) {
        // Killed before its first turn, or again while it waited.
        if let Some(message) = self.message.take() {
            let message = message(Err(GreenletError::Exit(GreenletExit)));
            post(self.to.mail_cell(), Special::Again(message));
        }
    }
}

impl<A: Actor> Context<A> {
    /// Does some work beside the actor, which belongs to it: when the actor ends, for whatever reason, the task is killed; when the task fails, the
    /// actor gets an exit signal, as from a linked one. That a task ends `normal` is not told. [`unlink`](Context::unlink) sets it free.
    ///
    /// The task runs on a greenlet of its own, on whichever hub of the system has time, and may block cooperatively; a future runs in one by
    /// [`block_on`](greenlet_core::future::block_on). Does not wait.
    ///
    /// ```
    /// # use greenlet_actor::{Actor, Context, Exit};
    /// # struct Heart;
    /// # impl Actor for Heart {
    /// #     type Message = ();
    /// #     fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
    /// let beat = ctx.spawn_task(|| loop {
    ///     greenlet_core::sleep(std::time::Duration::from_secs(1));
    ///     println!("alive"); // and not any more when the actor has ended
    /// });
    /// assert!(!beat.ready());
    /// #         Err(Exit::Normal)
    /// #     }
    /// #     fn receive(&mut self, _: (), _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
    /// # }
    /// # greenlet_core::run(|| Heart.spawn().join());
    /// ```
    #[track_caller]
    pub fn spawn_task(&self, work: impl FnOnce() -> Result<(), Exit> + Send + 'static) -> AnyActor {
        ActorBuilder::new().owner(self.me(), Hears::Failures).make(Task(Some(work)), 0).begin().any_cell()
    }

    /// As [`spawn_task`](Context::spawn_task), for work that stays on this hub, so that it need not be `Send`.
    #[track_caller]
    pub fn spawn_task_local(&self, work: impl FnOnce() -> Result<(), Exit> + 'static) -> AnyActor {
        ActorBuilder::new()
            .owner(self.me(), Hears::Failures)
            .make(Task(Some(work)), flag::PINNED)
            .begin()
            .any_cell()
    }

    /// Does some work in a [task](Context::spawn_task) and sends what comes of it to this actor, as the message that `message` makes of it: Akka's
    /// `pipeToSelf`. A failure comes that way too, and not as an exit signal, and so does a kill of the task. It waits for room in a bounded mailbox.
    ///
    /// ```
    /// use greenlet_actor::{Actor, Context, Exit, Reply};
    /// use greenlet_core::GreenletError;
    /// use std::time::Duration;
    ///
    /// enum Message { Sum(u64, Reply<u64>), Summed(Result<u64, GreenletError>, Reply<u64>) }
    /// struct Summer;
    ///
    /// impl Actor for Summer {
    ///     type Message = Message;
    ///     fn receive(&mut self, message: Message, ctx: &mut Context<Self>) -> Result<(), Exit> {
    ///         match message {
    ///             Message::Sum(n, reply) => {
    ///                 // Takes long; the actor answers others meanwhile.
    ///                 ctx.pipe_to_self(move || (1..=n).sum(), |sum| Message::Summed(sum, reply));
    ///             }
    ///             Message::Summed(sum, reply) => reply.send(sum?),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// # greenlet_core::run(|| {
    /// let sum = Summer.spawn().ask(|reply| Message::Sum(100, reply), Duration::from_secs(1));
    /// assert_eq!(sum.unwrap(), 5050);
    /// # });
    /// ```
    #[track_caller]
    pub fn pipe_to_self<R: 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
        message: impl FnOnce(Result<R, GreenletError>) -> A::Message + Send + 'static,
    ) -> AnyActor {
        let pipe = Pipe { to: self.me().clone(), message: Some(message), _result: PhantomData };
        let work = move || {
            let (mut pipe, result) = (pipe, attempt(work));
            if let Some(message) = pipe.message.take() {
                // Nobody wants it when the actor has ended.
                drop(pipe.to.send(message(result)));
            }
            Ok(())
        };
        ActorBuilder::new().owner(self.me(), Hears::Nothing).make(Task(Some(work)), 0).begin().any_cell()
    }
}
