//! An actor whose hooks and messages are closures, so that a test shows what happens where it is asserted.
#![allow(dead_code)] // each test file uses its part

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use greenlet_actor::{Actor, ActorId, ActorRef, AskError, Context, Exit, Reply};
use greenlet_core::{Event, Queue, sleep};

/// Long enough to never be the reason why a test passes, short enough to end one that hangs.
pub const LONG: Duration = Duration::from_secs(20);

/// A message: what to do in the handler.
pub type Job = Box<dyn FnOnce(&mut Context<Probe>) -> Result<(), Exit> + Send + Sync>;

type Init = Box<dyn FnOnce(&mut Context<Probe>) -> Result<(), Exit>>;
type OnExit = Box<dyn FnMut(ActorId, Exit, &mut Context<Probe>) -> Result<(), Exit>>;
type Terminate = Box<dyn FnOnce(&Exit, &mut Context<Probe>)>;

#[derive(Default)]
pub struct Probe {
    init: Option<Init>,
    on_exit: Option<OnExit>,
    terminate: Option<Terminate>,
    /// Dropped with the actor's state.
    owned: Vec<Box<dyn std::any::Any>>,
}

impl Probe {
    pub fn new() -> Probe {
        Probe::default()
    }

    pub fn init(mut self, init: impl FnOnce(&mut Context<Probe>) -> Result<(), Exit> + 'static) -> Probe {
        self.init = Some(Box::new(init));
        self
    }

    /// Traps exits; `on_exit` is `handle_exit`.
    pub fn trapping(
        mut self,
        on_exit: impl FnMut(ActorId, Exit, &mut Context<Probe>) -> Result<(), Exit> + 'static,
    ) -> Probe {
        self.on_exit = Some(Box::new(on_exit));
        self
    }

    pub fn terminate(mut self, terminate: impl FnOnce(&Exit, &mut Context<Probe>) + 'static) -> Probe {
        self.terminate = Some(Box::new(terminate));
        self
    }

    pub fn owning(mut self, value: impl std::any::Any) -> Probe {
        self.owned.push(Box::new(value));
        self
    }

    /// Notes `terminate` with its reason, and the drop of the state.
    pub fn ends_in(self, log: &Log) -> Probe {
        let noted = log.clone();
        self.owning(Dropped("state", log.clone()))
            .terminate(move |exit, _| noted.note(format_args!("terminate {}", word(exit))))
    }

    /// Traps exits and notes them.
    pub fn traps_in(self, log: &Log) -> Probe {
        let log = log.clone();
        self.trapping(move |from, exit, _| {
            log.note(format_args!("{from} {}", word(&exit)));
            Ok(())
        })
    }
}

/// The error of tests.
pub fn no_disk() -> Exit {
    Exit::error(std::io::Error::other("no disk"))
}

impl Actor for Probe {
    type Message = Job;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        if self.on_exit.is_some() {
            ctx.trap_exits();
        }
        self.init.take().map_or(Ok(()), |init| init(ctx))
    }

    fn receive(&mut self, job: Job, ctx: &mut Context<Self>) -> Result<(), Exit> {
        job(ctx)
    }

    fn handle_exit(&mut self, from: ActorId, exit: Exit, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let on_exit = self.on_exit.as_mut().expect("only called when trapping");
        on_exit(from, exit, ctx)
    }

    fn terminate(&mut self, exit: &Exit, ctx: &mut Context<Self>) {
        if let Some(terminate) = self.terminate.take() {
            terminate(exit, ctx);
        }
    }
}

/// What a test does to a probe from outside.
pub trait Ask {
    /// Has the actor do this in its next turn.
    fn run(&self, job: impl FnOnce(&mut Context<Probe>) -> Result<(), Exit> + Send + Sync + 'static);
    /// The same with an answer.
    fn query<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Context<Probe>, Reply<T>) -> Result<(), Exit> + Send + Sync + 'static,
    ) -> Result<T, AskError>;
    /// Comes back when everything sent before was handled.
    fn settle(&self);
    /// Has the actor do this, and comes back when it is suspended in it.
    fn suspend_in(&self, block: impl FnOnce(&mut Context<Probe>) + Send + Sync + 'static);
    /// The same with a sleep that never ends.
    fn suspend(&self) {
        self.suspend_in(|_| sleep(Duration::MAX));
    }
}

impl Ask for ActorRef<Job> {
    #[track_caller]
    fn run(&self, job: impl FnOnce(&mut Context<Probe>) -> Result<(), Exit> + Send + Sync + 'static) {
        assert!(self.send(Box::new(job)).is_ok(), "{self} has ended: {:?}", self.exit());
    }

    fn query<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Context<Probe>, Reply<T>) -> Result<(), Exit> + Send + Sync + 'static,
    ) -> Result<T, AskError> {
        self.ask(|reply| Box::new(move |ctx: &mut Context<Probe>| job(ctx, reply)), LONG)
    }

    #[track_caller]
    fn settle(&self) {
        if let Err(error) = self.query(|_, reply| {
            reply.send(());
            Ok(())
        }) {
            panic!("{self} does not answer: {error}");
        }
    }

    #[track_caller]
    fn suspend_in(&self, block: impl FnOnce(&mut Context<Probe>) + Send + Sync + 'static) {
        let begun = Arc::new(Event::new());
        let begin = begun.clone();
        self.run(move |ctx| {
            // Whoever waits runs when this actor is suspended, and not before: they share a hub.
            begin.set();
            block(ctx);
            Ok(())
        });
        assert!(begun.wait_timeout(LONG), "{self} does not come to its message");
    }
}

/// What happened, in order; from any thread.
#[derive(Clone, Default)]
pub struct Log(Arc<Queue<String>>);

impl Log {
    pub fn new() -> Log {
        Log::default()
    }

    pub fn note(&self, what: impl std::fmt::Display) {
        self.0.put(what.to_string()).expect("never shut down");
    }

    /// Waits for the next entry.
    #[track_caller]
    pub fn next(&self) -> String {
        self.0.get_timeout(LONG).expect("something is logged")
    }

    /// Everything that was noted and not taken yet.
    pub fn taken(&self) -> Vec<String> {
        std::iter::from_fn(|| self.0.try_get().ok()).collect()
    }
}

/// Notes its drop.
pub struct Dropped(pub &'static str, pub Log);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.1.note(format_args!("{} dropped", self.0));
    }
}

/// Runs a test on a thread with a hub, and fails it when it hangs.
#[track_caller]
pub fn on_hub(body: impl FnOnce() + Send + 'static) {
    within(Duration::from_secs(60), body);
}

#[track_caller]
pub fn within(limit: Duration, body: impl FnOnce() + Send + 'static) {
    let (done, ended) = channel();
    let thread = std::thread::spawn(move || {
        // Dropped at the end, in whatever way.
        let _done = done;
        greenlet_core::run(body);
    });
    if ended.recv_timeout(limit) == Err::<(), _>(RecvTimeoutError::Timeout) {
        panic!("the test hangs");
    }
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// A plain thread, whose end greenlets wait for: joining it would block the hub that it talks to.
pub struct Elsewhere<T>(Arc<Queue<T>>);

impl<T: Send + 'static> Elsewhere<T> {
    pub fn spawn(body: impl FnOnce() -> T + Send + 'static) -> Elsewhere<T> {
        let returned = Arc::new(Queue::unbounded());
        let tell = returned.clone();
        std::thread::spawn(move || tell.put(body()).expect("never shut down"));
        Elsewhere(returned)
    }

    #[track_caller]
    pub fn join(self) -> T {
        self.0.get_timeout(LONG).expect("the thread returns")
    }
}

/// The reason in words, short.
pub fn word(exit: &Exit) -> String {
    match exit {
        Exit::Failed(failure) if failure.is_panic() => {
            let text = failure.to_string();
            format!("panic {}", text.rsplit(": ").next().unwrap_or_default())
        }
        other => other.to_string(),
    }
}
