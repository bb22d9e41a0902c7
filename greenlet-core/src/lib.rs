//! Greenlets: gevent's programming model in Rust.
//!
//! You write plain blocking code; every blocking call suspends one *greenlet* and lets the others run. There is no
//! reactor to start and no `async`. A greenlet costs one page of memory, a switch a few nanoseconds, and one thread
//! holds a million of them.
//!
//! ```
//! use greenlet_core::{joinall_timeout, sleep, spawn};
//! use std::time::Duration;
//!
//! // three at once, two seconds at most
//! let jobs: Vec<_> = [30, 10, 20]
//!     .into_iter()
//!     .map(|ms| {
//!         spawn(move || {
//!             sleep(Duration::from_millis(ms));
//!             ms
//!         })
//!     })
//!     .collect();
//! joinall_timeout(&jobs, Duration::from_secs(2));
//! let values: Vec<_> = jobs.iter().filter_map(|job| job.value()).collect();
//! assert_eq!(values, [&30, &10, &20]);
//! ```
//!
//! # What to know
//!
//! - **Pinned.** A greenlet stays on the thread that it was spawned on, so [`spawn`] is safe and takes closures that
//!   are not `Send`; nothing runs beside you between two calls that suspend. More cores are more hubs:
//!   [`Hub::thread`], [`HubHandle::spawn`].
//! - **Cooperative.** What never suspends keeps its thread: timers, timeouts and the other greenlets wait meanwhile. Calls
//!   that need not wait do not suspend ([`Queue::get`] with an item there), except that sockets let the others run every
//!   now and then. Call [`yield_now`] in long computations.
//! - **Raised, not panicked.** [`GreenletRef::kill`], [`Timeout`] and links between greenlets raise an error at the
//!   suspension point of a greenlet and unwind it: see [`raise()`], [`catch`], [`with_timeout`].
//! - **Failures stay inside.** A greenlet that panics is reported through `tracing`, and its failure comes back from
//!   [`Greenlet::get`].
//! - **Anybody may wait.** [`Event`], [`AsyncResult`], [`Queue`] and greenlets themselves are waited for from greenlets
//!   (which suspend), from other hubs, and from plain threads (which park).
//! - **Threads that use greenlets** end them first: put [`run`] around the thread's function.
//!
//! The [`manual`] has more: for those who come from gevent or from tokio, on kills and destructors, on threads, on what hangs.
//!
//! # Map
//!
//! | | |
//! |---|---|
//! | [`spawn`], [`spawn_later`], [`Builder`], [`Greenlet`], [`GreenletRef`] | making greenlets, waiting for them, their end |
//! | [`spawn_fallible`], [`Runnable`] | greenlets that return a `Result`, or are one's own types |
//! | [`scope`], [`Greenlet::scoped`] | greenlets that borrow, and those that end with a block |
//! | [`GreenletRef::kill`], [`Kill`], [`killall`], [`raise()`], [`catch`], [`attempt`], [`Raised`], [`GreenletExit`] | raising |
//! | [`Greenlet::link`], [`GreenletRef::link_to`], [`spawn_link`], [`LinkedExited`] | links |
//! | [`sleep()`], [`yield_now`], [`yield_to`], [`idle`], [`Timeout`], [`with_timeout`], [`Instant`] | time and turns |
//! | [`select!`], [`mod@select`], [`wait()`], [`iwait`], [`Waitable`] | waiting for several things |
//! | [`future`] | futures in greenlets, and everything here in async tasks |
//! | [`joinall`], [`Event`], [`AsyncResult`], [`Queue`], [`LifoQueue`], [`PriorityQueue`], [`Channel`], [`oneshot`] | waiting for others |
//! | [`sync`] | semaphores, and std's locks in cooperative form |
//! | [`pool`] | groups, bounded pools, mapping over them, and threads for what blocks |
//! | [`greenlet_local!`], [`tree_local!`] | a value for each greenlet, or each tree of spawns |
//! | [`add_spawn_callback`] | who is told of every start |
//! | [`Hub`], [`HubHandle`], [`HubThread`], [`run`], [`Config`], [`StackSize`] | hubs and threads |
//! | [`Hub::join`], [`LoopExit`], [`Hub::set_error_handler`] | when nothing is left to do, and where failures go |
//! | [`signal`] | the system's signals, and the orderly end of a program |
//! | [`monitor`], [`Hub::add_switch_hook`] | who blocks a hub, what all greenlets are doing, metrics |
//! | [`sim`] | tests in virtual time: a schedule that follows from a seed, kills at every suspension point |
//! | [`embed`] | for libraries that run several things on one greenlet, as actors do |
//! | [`mod@io`], [`watcher`] | readiness of descriptors and callbacks of the loop, for authors of integrations |

#[cfg(panic = "abort")]
compile_error!(
    "greenlet-core needs unwinding: a kill unwinds the greenlet's stack. Remove `panic = \"abort\"` from the profile."
);

mod async_result;
pub mod embed;
mod event;
mod failure;
pub mod future;
mod greenlet;
mod hub;
pub mod io;
mod join;
mod link;
mod local;
mod lock;
pub mod manual;
pub mod monitor;
pub mod oneshot;
pub mod pool;
mod queue;
mod raise;
mod report;
mod scope;
pub mod select;
pub mod signal;
pub mod sim;
mod sleep;
mod spans;
mod spawn_link;
mod stack;
pub mod sync;
mod timeout;
mod wait;
mod waitable;
pub mod watcher;

pub use async_result::{AsyncResult, AsyncResultError};
pub use event::Event;
pub use failure::{Failure, GreenletError, attempt};
pub use greenlet::{
    Builder, Greenlet, GreenletRef, Interrupt, Kill, Runnable, SpawnCallbackId, TreeKey, TreeKeyError,
    add_spawn_callback, current, killall, killall_with, remove_spawn_callback, spawn, spawn_fallible,
    spawn_later,
};
pub use hub::{
    Config, ConfigError, ErrorContext, Hub, HubBuilder, HubGone, HubHandle, HubThread, Instant, LoopExit,
    PollerKind, Setting, Switch, SwitchHook, idle, run,
};
pub use join::{joinall, joinall_raise_error, joinall_raise_error_timeout, joinall_timeout};
pub use link::{LinkId, LinkedExited};
pub use local::{LocalKey, NoGreenlet};
pub use queue::{
    Channel, GetError, JoinableQueue, LifoQueue, PriorityQueue, PutError, Queue, ShutDown, SimpleQueue,
    TooManyDone,
};
pub use raise::{GreenletExit, Raised, catch, is_unwinding, raise};
pub use scope::{Scope, ScopedGreenlet, scope};
pub use sleep::{sleep, yield_now, yield_to};
pub use spawn_link::{spawn_link, spawn_link_exception, spawn_link_value};
pub use stack::{GuardMode, StackError, StackSize, StackSizeError, StackStats};
pub use timeout::{TimedOut, Timeout, with_timeout};
pub use waitable::{IWait, Waitable, iwait, wait, wait_timeout};
