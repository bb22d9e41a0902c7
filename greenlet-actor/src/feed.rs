//! Streams of messages that flow into an actor, no faster than it handles them.

use std::fmt;
#[cfg(feature = "futures")]
use std::{future::poll_fn, pin::pin};

use std::sync::Arc;

#[cfg(feature = "futures")]
use futures_core::Stream;
#[cfg(feature = "futures")]
use greenlet_core::future::block_on;
use greenlet_core::sync::Semaphore;
use greenlet_core::{GreenletError, GreenletExit, attempt};

use crate::actor::{Actor, ActorBuilder};
use crate::actor_ref::{ActorRef, AnyActor, Linkable};
use crate::context::Context;
use crate::exit::Exit;
use crate::life::Hears;
use crate::owned::Task;
use crate::special::{Special, post};

/// How many items of a [`Feed`] wait in the mailbox at most, unless it is said otherwise.
pub const DEFAULT_STREAM_WINDOW: usize = 16;

/// The room in a stream's window that an item takes until the actor comes to it.
pub(crate) struct InWindow(Arc<Semaphore>);

impl Drop for InWindow {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Has the items of a stream sent, by a function that it calls for each: false when nobody wants more.
type Flow<M> = Box<dyn FnOnce(&mut Outlet<M>) + Send>;
type End<M> = Box<dyn FnOnce(Result<(), GreenletError>) -> M + Send>;

/// A stream of messages that is to flow into an actor: see [`Context::attach`].
///
/// ```
/// use greenlet_actor::{Actor, Context, Exit, Feed};
/// use std::io::{BufRead, BufReader};
/// # use std::io::Cursor;
/// # let file = Cursor::new("one\ntwo\nthree\n");
///
/// enum Message { Line(std::io::Result<String>), End { complete: bool } }
/// struct Counter<R>(Option<R>, usize);
///
/// impl<R: std::io::Read + Send + 'static> Actor for Counter<R> {
///     type Message = Message;
///     fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
///         if let Some(file) = self.0.take() {
///             let lines = BufReader::new(file).lines().map(Message::Line);
///             ctx.attach(Feed::of(lines).window(100).end(|end| Message::End { complete: end.is_ok() }));
///         }
///         Ok(())
///     }
///     fn receive(&mut self, message: Message, _: &mut Context<Self>) -> Result<(), Exit> {
///         match message {
///             Message::Line(line) => { line?; self.1 += 1; Ok(()) }
///             Message::End { complete } => {
///                 println!("{} lines, {}", self.1, if complete { "all of them" } else { "and no more could be read" });
///                 Err(Exit::Normal)
///             }
///         }
///     }
/// }
/// # greenlet_core::run(|| assert!(Counter(Some(file), 0).spawn().join().is_normal()));
/// ```
#[must_use = "it flows when it is attached"]
pub struct Feed<M> {
    flow: Flow<M>,
    window: usize,
    end: Option<End<M>>,
}

impl<M: Send + 'static> Feed<M> {
    /// The items of an iterator, which may block: of a receiver, of a queue that is shut down some time, of a file. Of a closure
    /// [`std::iter::from_fn`] makes one.
    pub fn of<I>(items: I) -> Feed<M>
    where
        I: IntoIterator<Item = M> + Send + 'static,
    {
        Feed::new(Box::new(move |outlet| {
            let mut items = items.into_iter();
            outlet.send_all(|| items.next());
        }))
    }

    /// The items of an async stream, of any runtime. One that needs a reactor, such as tokio's, needs it still: see
    /// [`block_on`](greenlet_core::future::block_on).
    ///
    /// Needs the feature `futures`.
    #[cfg(feature = "futures")]
    pub fn of_stream<S>(stream: S) -> Feed<M>
    where
        S: Stream<Item = M> + Send + 'static,
    {
        Feed::new(Box::new(move |outlet| {
            let mut stream = pin!(stream);
            outlet.send_all(|| block_on(poll_fn(|context| stream.as_mut().poll_next(context))));
        }))
    }

    fn new(flow: Flow<M>) -> Feed<M> {
        Feed { flow, window: DEFAULT_STREAM_WINDOW, end: None }
    }

    /// How many items wait in the mailbox at most. Default: [`DEFAULT_STREAM_WINDOW`].
    ///
    /// # Panics
    /// If it is 0.
    #[track_caller]
    pub fn window(mut self, items: usize) -> Feed<M> {
        assert!(items > 0, "a window of no items would never let one through");
        self.window = items;
        self
    }

    /// The message that says that it is over, behind the last item: `Ok` if there are no more, and otherwise how it failed, or that it was killed. A
    /// failure comes that way only, and not as an exit signal.
    pub fn end(mut self, message: impl FnOnce(Result<(), GreenletError>) -> M + Send + 'static) -> Feed<M> {
        self.end = Some(Box::new(message));
        self
    }
}

impl<M> fmt::Debug for Feed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("window", &self.window).finish_non_exhaustive()
    }
}

/// Where the items go.
struct Outlet<M> {
    to: ActorRef<M>,
    window: Arc<Semaphore>,
}

impl<M: Send + 'static> Outlet<M> {
    /// Each one is asked for when there is room for it.
    fn send_all(&mut self, mut next: impl FnMut() -> Option<M>) {
        loop {
            self.window.acquire();
            let room = InWindow(self.window.clone());
            let Some(item) = next() else { return };
            if !post(self.to.mail_cell(), Special::Item(item, room)) {
                return;
            }
        }
    }
}

/// Tells the actor of the end, whatever becomes of the task: it may be killed before its first turn.
struct Last<M: Send + 'static> {
    to: ActorRef<M>,
    message: Option<End<M>>,
}

impl<M: Send + 'static> Last<M> {
    fn tell(&mut self, end: Result<(), GreenletError>) {
        if let Some(message) = self.message.take() {
            post(self.to.mail_cell(), Special::Again(message(end)));
        }
    }
}

impl<M: Send + 'static> Drop for Last<M> {
    fn drop(&mut self) {
        self.tell(Err(GreenletError::Exit(GreenletExit)));
    }
}

impl<A: Actor> Context<A> {
    /// Has a stream of messages flow into this actor, from a [task](Context::spawn_task) that ends with the stream, and is killed when the actor ends.
    /// Does not wait.
    ///
    /// With back-pressure: at most so many items as its [window](Feed::window) says wait in the mailbox, beside other messages and whatever its capacity; the
    /// next one is asked for when the actor has come to one of them. A stream that panics is a failed task: the actor gets an exit signal,
    /// unless it said what is to come at the [end](Feed::end).
    #[track_caller]
    pub fn attach(&self, feed: Feed<A::Message>) -> AnyActor {
        let Feed { flow, window, end } = feed;
        let hears = if end.is_some() { Hears::Nothing } else { Hears::Failures };
        let (to, window) = (self.me().clone(), Arc::new(Semaphore::new(window)));
        let mut last = end.map(|end| Last { to: to.clone(), message: Some(end) });
        let mut outlet = Outlet { to, window };
        let work = move || -> Result<(), Exit> {
            match &mut last {
                None => flow(&mut outlet),
                Some(last) => last.tell(attempt(|| flow(&mut outlet))),
            }
            Ok(())
        };
        ActorBuilder::new().owner(self.me(), hears).make(Task(Some(work)), 0).begin().any_cell()
    }

    /// Has the items of an iterator flow into this actor: [`attach`](Context::attach) of [`Feed::of`].
    #[track_caller]
    pub fn attach_stream<I>(&self, items: I) -> AnyActor
    where
        I: IntoIterator<Item = A::Message> + Send + 'static,
    {
        self.attach(Feed::of(items))
    }

    /// As [`attach_stream`](Context::attach_stream), with at most `window` items in the mailbox.
    ///
    /// # Panics
    /// If `window` is 0.
    #[track_caller]
    pub fn attach_stream_with<I>(&self, window: usize, items: I) -> AnyActor
    where
        I: IntoIterator<Item = A::Message> + Send + 'static,
    {
        self.attach(Feed::of(items).window(window))
    }
}
