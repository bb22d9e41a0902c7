//! Groups and pools: gevent's `Group`, `Pool` and `ThreadPool`.
//!
//! | | |
//! |---|---|
//! | [`Group`] | a set of greenlets that are joined and killed together |
//! | [`Pool`] | a group with a limit: spawning waits for a slot |
//! | [`Group::map`], [`Group::imap`], [`Group::apply`] | work spread over a group or pool, with its results |
//! | [`ThreadPool`] | OS threads for code that blocks its thread or computes for long |
//!
//! A pool *is* a group (it dereferences to one), so all that takes a `&Group` takes a pool, and waits for slots
//! there. Groups and pools belong to one hub, as greenlets do; a thread pool is for all threads of the process.
//!
//! ```
//! use greenlet_core::pool::{Pool, ThreadPool};
//! use greenlet_core::sleep;
//! use std::time::Duration;
//!
//! // a hundred jobs, ten at a time
//! let pool = Pool::new(10);
//! let lengths = pool.map(
//!     |page: u32| {
//!         sleep(Duration::from_micros(100)); // fetch it
//!         page * 10
//!     },
//!     0..100,
//! )?;
//! assert_eq!(lengths[99], 990);
//!
//! // one that would block the hub
//! let hosts = ThreadPool::global().apply(|| std::fs::read_to_string("/etc/hosts"))?;
//! # drop(hosts);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who is waited for, and who is killed
//! - A member leaves its group when it has ended, one turn of the loop later: `greenlet.get()` may return just before
//!   [`Group::len`] and [`Pool::free_count`] know.
//! - Dropping a group or pool leaves its greenlets alone. What a [`map`](Group::map), an [`imap`](Group::imap) or an
//!   [`apply`](Group::apply) has spawned is killed when its caller is unwound or drops the iterator, since nobody could
//!   ever see the results.
//! - A task of a thread pool cannot be killed: it is a plain thread's code. A waiter that is killed leaves it running, and
//!   the result is dropped.

mod bounded;
mod fallible;
mod group;
mod map;
mod task;
mod thread_map;
mod threads;

pub use bounded::{Pool, PoolFull};
pub use group::Group;
pub use map::Imap;
pub use task::{Task, TaskError};
pub use thread_map::ThreadImap;
pub use threads::ThreadPool;
