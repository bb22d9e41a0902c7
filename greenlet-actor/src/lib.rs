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
//! An idle actor is some 150 bytes and its state: it has a stack only while it handles messages. On the hubs of a [`System`], actors whose state is `Send` run where
//! they are sent to, and hubs with nothing to do take over what waits on others; those of [`Actor::spawn_local`] stay where they were made. On a thread
//! by itself all stay on its hub.
//!
//! | | |
//! |---|---|
//! | [`Actor`], [`ActorBuilder`], [`Context`] | writing and spawning actors |
//! | [`ActorRef`], [`ActorRef::send`], [`ActorRef::ask`], [`Reply`] | talking to them |
//! | [`Context::receive_match`], [`Context::stash`], [`Context::continue_with`], [`Context::become_`] | messages in another order |
//! | [`Context::send_after`], [`Context::send_interval`], [`Context::set_idle_timeout`], [`TimerRef`] | time |
//! | [`Context::spawn_task`], [`Context::pipe_to_self`], [`Context::attach_stream`] | work beside an actor |
//! | [`statem`] | state machines |
//! | [`Exit`], [`ActorRef::link`], [`ActorRef::stop`], [`ActorRef::kill`], [`AnyActor`] | their end |
//! | [`Supervisor`], [`worker`], [`supervisor`], [`Restart`], [`Shutdown`] | supervision |
//! | [`System`] | several hubs |
//! | [`sys`], [`testkit`] | looking at them from outside, and testing them |
//! | [`TaskSupervisor`], [`Task`] | functions that run on their own, supervised |
//! | [`SystemHandle`], [`ShutdownReport`] | the end of a program in good order |
//! | [`DynamicSupervisor`], [`PartitionSupervisor`], [`Backoff`] | children that come and go, by the hundred thousand; restarts that wait |

#![deny(unsafe_code)]

mod actor;
mod actor_ref;
mod alarm;
mod ask;
mod bounded;
#[allow(unsafe_code)]
mod cell;
#[allow(unsafe_code)]
mod context;
mod exit;
mod idle;
mod life;
#[allow(unsafe_code)]
mod mailbox;
mod monitor;
mod owned;
mod priority;
mod receive;
mod reentrant;
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
pub use exit::{Exit, InitError, ShutdownTerm};
pub use monitor::{Down, MonitorId};
pub use owned::DEFAULT_STREAM_WINDOW;
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
