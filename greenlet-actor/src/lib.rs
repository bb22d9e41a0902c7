//! Actors on greenlets: Erlang's model in Rust, with handlers that may block.
//!
//! An [`Actor`] is state, a mailbox and a [`receive`](Actor::receive) method. It handles one message at a time, on a
//! greenlet: so a handler may sleep, ask another actor or read a socket in plain blocking code, and only this actor
//! waits. A failing actor takes nobody with it but those linked to it, and a [`Supervisor`] starts it again.
//!
//! ```
//! use greenlet_actor::{Actor, ActorRef, Context, Exit, Reply};
//! use std::time::Duration;
//!
//! struct Ponger;
//! struct Pinger { ponger: ActorRef<Reply<&'static str>> }
//!
//! impl Actor for Ponger {
//!     type Message = Reply<&'static str>;
//!     fn receive(&mut self, ping: Reply<&'static str>, _: &mut Context<Self>) -> Result<(), Exit> {
//!         ping.send("pong");
//!         Ok(())
//!     }
//! }
//!
//! impl Actor for Pinger {
//!     type Message = u32;
//!     fn receive(&mut self, rounds: u32, _: &mut Context<Self>) -> Result<(), Exit> {
//!         for _ in 0..rounds {
//!             let answer = self.ponger.ask(|ping| ping, Duration::from_secs(1))?; // suspends this actor only
//!             assert_eq!(answer, "pong");
//!         }
//!         Err(Exit::Normal) // done
//!     }
//! }
//!
//! # greenlet_core::run(|| {
//! let pinger = Pinger { ponger: Ponger.spawn() }.spawn();
//! pinger.send(3).unwrap();
//! assert!(matches!(pinger.join(), Exit::Normal));
//! # });
//! ```
//!
//! # Words
//!
//! They are Erlang/OTP's, with its meanings. An actor ends with a *reason* ([`Exit`]). A *link* is symmetrical
//! ([`ActorRef::link`]): when one ends, the other gets an *exit signal*, and ends with the same reason, unless that is
//! `normal`, or it *traps exits* ([`Context::trap_exits`]) and gets them in [`Actor::handle_exit`]. A *monitor* is one-sided:
//! [`Context::monitor`] and [`Actor::handle_down`]. An actor can do what a greenlet can: it is joined, killed, asked for its end
//! ([`ActorRef::join`], [`ActorRef::kill`], [`ActorRef::get`]), and has gevent's one-sided links: [`ActorRef::link_exception`] between actors,
//! [`ActorRef::on_end`] to callbacks.
//!
//! # Where they run
//!
//! An idle actor is some 200 bytes and its state: it has a stack only while it handles messages. On the hubs of a [`System`], actors whose state is `Send` run where
//! they are sent to, and hubs with nothing to do take over what waits on others; those of [`Actor::spawn_local`] stay where they were made. On a thread
//! by itself all stay on its hub.
//!
//! | | |
//! |---|---|
//! | [`Actor`], [`ActorBuilder`], [`Context`] | writing and spawning actors |
//! | [`ActorRef`], [`ActorRef::send`], [`ActorRef::ask`], [`Reply`] | talking to them |
//! | [`Context::receive_match`], [`Context::stash`], [`Context::continue_with`], [`Context::become_`] | messages in another order |
//! | [`Context::send_after`], [`Context::send_interval`], [`Context::set_idle_timeout`], [`TimerRef`] | time |
//! | [`Context::spawn_task`], [`Context::pipe_to_self`], [`Context::attach`] | work beside an actor |
//! | [`statem`] | state machines |
//! | [`Exit`], [`ActorRef::link`], [`ActorRef::stop`], [`ActorRef::kill`], [`AnyActor`] | their end |
//! | [`Supervisor`], [`worker`], [`supervisor`], [`Restart`], [`Shutdown`] | supervision |
//! | [`System`] | several hubs |
//! | [`sys`], [`testkit`] | looking at them from outside, and testing them |
//! | [`TaskSupervisor`], [`Task`] | functions that run on their own, supervised |
//! | [`SystemHandle`], [`ShutdownReport`] | the end of a program in good order |
//! | [`DynamicSupervisor`], [`PartitionSupervisor`], [`Backoff`] | children that come and go, by the hundred thousand; restarts that wait |
//! | [`registry`], [`ActorBuilder::register`], [`groups`] | names, and groups of actors |
//! | [`pool`], [`multi_ask`], [`ask_any`], [`broadcast()`] | several actors at once |
//! | [`pubsub`], [`event_bus`] | topics with back-pressure; handlers of events |
//! | [`dead_letters`] | messages that nobody handled |

#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod activation;
mod actor;
mod actor_ref;
mod alarm;
mod ask;
mod awaiting;
mod bounded;
#[allow(unsafe_code)]
mod cell;
#[allow(unsafe_code)]
mod context;
pub mod dead_letters;
mod describe;
pub mod event_bus;
mod exit;
mod feed;
pub mod groups;
mod idle;
mod life;
#[allow(unsafe_code)]
mod mailbox;
mod monitor;
mod multi;
mod outbox;
mod owned;
pub mod pool;
mod priority;
pub mod pubsub;
mod receive;
mod reentrant;
pub mod registry;
mod run;
mod signals;
mod special;
mod stash;
pub mod statem;
mod supervisor;
pub mod sys;
mod task;
pub mod testkit;
mod timer;

pub use actor::{Actor, ActorBuilder};
pub use actor_ref::{ActorId, ActorRef, AnyActor, Linkable, SendError};
pub use ask::{AskError, DEFAULT_TIMEOUT, Reply, Request, late_replies};
pub use bounded::Overflow;
pub use context::{Behaviour, Context};
pub use describe::Describe;
pub use exit::{Exit, InitError, ShutdownTerm};
pub use feed::{DEFAULT_STREAM_WINDOW, Feed};
/// Makes an actor of an `impl` block: each method with `&self` or `&mut self` is a message.
///
/// For `impl Account` it writes the enum `AccountMessage`, the implementation of [`Actor`], and a handle `AccountRef`. The handle is made from
/// an [`ActorRef`] by `From`, and is one by `Deref`. For each method it has
///
/// - one of the same name, which asks and waits for the answer: what the method returns. It waits for 5 seconds; the handle that
///   `within(timeout)` returns waits so long;
/// - one with `cast_` before the name, which only sends.
///
/// For what has no handle (a pool, a subscription, several actors at once), `AccountMessage::deposit(500)` is the message, and
/// `AccountMessage::ask_balance()` the question that [`ask`](ActorRef::ask) takes.
///
/// Nothing needs it: an actor that is written this way is one as any other.
///
/// ```
/// use greenlet_actor::{Actor, Context, Exit, Reply, actor};
///
/// struct Account { cents: i64 }
///
/// #[derive(Debug, PartialEq)]
/// struct NoMoney;
///
/// #[actor]
/// impl Account {
///     /// Puts money in.
///     fn deposit(&mut self, cents: i64) {
///         self.cents += cents;
///     }
///
///     fn balance(&self) -> i64 {
///         self.cents
///     }
///
///     /// An error is an answer like another.
///     fn withdraw(&mut self, cents: i64) -> Result<i64, NoMoney> {
///         if self.cents < cents {
///             return Err(NoMoney);
///         }
///         self.cents -= cents;
///         Ok(self.cents)
///     }
/// }
///
/// # greenlet_core::run(|| -> Result<(), Box<dyn std::error::Error>> {
/// let account = AccountRef::from(Account { cents: 0 }.spawn());
/// account.deposit(500)?;
/// account.cast_deposit(20).unwrap();
/// assert_eq!(account.balance()?, 520);
/// assert_eq!(account.withdraw(1_000)?, Err(NoMoney));
/// let cents = account.ask(AccountMessage::ask_balance(), std::time::Duration::from_secs(1))?;
/// assert_eq!(cents, 520);
/// account.stop();
/// # Ok(())
/// # }).unwrap();
/// ```
///
/// # What a method may look like
///
/// - A parameter `&mut Context<Self>` is the actor's context, and no part of the message.
/// - `Result<T, Exit>`: `T` is the answer, and an error ends the actor with that reason, so `?` works as in
///   [`receive`](Actor::receive).
/// - A parameter `Reply<T>`: the method answers later, or has somebody else answer. It returns nothing, or `Result<(), Exit>`.
/// - The other parameters are owned values that are `Send`, with names.
///
/// Functions without `self` stay what they are. Methods that are no messages belong into another `impl` block. A function with
/// `#[hook]` is one of the trait's, such as [`init`](Actor::init) and [`terminate`](Actor::terminate). [Labels](Actor::label) are the names of the methods.
/// `#[actor(pub, message = Order, handle = OrderRef, crate = path::to::greenlet_actor)]` sets who can name messages and handle (default: who can call the
/// method that most can), their names, and where this crate is found. `#[actor(debug)]` makes messages `Debug`, as what they hold has to be, and
/// has reports show [the one that made the actor fail](Actor::DESCRIBE).
///
/// ```
/// use greenlet_actor::{Actor, Context, Exit, Reply, actor};
/// use std::collections::VecDeque;
///
/// /// Askers wait for jobs.
/// struct Jobs<T> { jobs: VecDeque<T>, askers: VecDeque<Reply<T>> }
///
/// #[actor]
/// impl<T: Send + 'static> Jobs<T> {
///     fn new() -> Self {
///         Jobs { jobs: VecDeque::new(), askers: VecDeque::new() }
///     }
///
///     #[hook]
///     fn terminate(&mut self, _: &Exit, _: &mut Context<Self>) {
///         println!("{} jobs are left", self.jobs.len());
///     }
///
///     fn add(&mut self, job: T) {
///         match self.askers.pop_front() {
///             Some(asker) => asker.send(job),
///             None => self.jobs.push_back(job),
///         }
///     }
///
///     fn take(&mut self, reply: Reply<T>) {
///         match self.jobs.pop_front() {
///             Some(job) => reply.send(job),
///             None => self.askers.push_back(reply),
///         }
///     }
/// }
///
/// # greenlet_core::run(|| {
/// let jobs = JobsRef::from(Jobs::new().spawn());
/// let worker = greenlet_core::spawn({
///     let jobs = jobs.clone();
///     move || jobs.take().unwrap()
/// });
/// jobs.add("sweep").unwrap();
/// assert_eq!(worker.get().unwrap(), "sweep");
/// # });
/// ```
#[cfg(feature = "derive")]
pub use greenlet_actor_derive::actor;
pub use monitor::{Down, MonitorId};
pub use multi::{Answers, Failures, ask_any, broadcast, multi_ask};
pub use priority::Priority;
pub use receive::NoMatch;
pub use reentrant::DEFAULT_REENTRANCY_LIMIT;
pub use run::shutdown::{Late, ShutdownReport, SystemHandle};
pub use run::system::{System, SystemBuilder};
pub use stash::{DEFAULT_STASH_LIMIT, StashFull};
pub use supervisor::{
    AutoShutdown, Backoff, ChildCounts, ChildInfo, ChildKind, ChildSpec, ChildState, DeleteChildError,
    DynamicRef, DynamicSpec, DynamicSupervisor, PartitionRef, PartitionSupervisor, Restart,
    RestartChildError, Shutdown, StartChildError, StartError, Supervise, Supervisor, SupervisorRef, Template,
    TerminateChildError, supervisor, worker, worker_local,
};
pub use task::{Task, TaskError, TaskStream, TaskSupervisor, Tasks};
pub use timer::{Cancelled, TimerRef};
