//! Looking at actors from outside, and holding them: OTP's `sys` and `process_info`.
//!
//! Everything here takes any actor ([`Linkable`]), works from any thread, and does not disturb the actor more than it says.
//!
//! | | |
//! |---|---|
//! | [`info`] | what an actor is doing, what waits for it, who is linked to it |
//! | [`dump`] | its state, as it shows it itself ([`Actor::dump`](crate::Actor::dump)) |
//! | [`suspend`], [`resume`] | no messages are handled in between |
//! | [`trace`], [`untrace`] | being told of each message |
//! | [`tree`], [`Tree`] | who was started by whom, as text, JSON and DOT |
//! | [`metrics`], [`Metrics`] | counters of a system, also in Prometheus' text format |
//! | [`measure_busy_time`] | how long actors run |
//!
//! With a `tracing` subscriber that takes spans of target `greenlet::actor` at level `TRACE`, each message is handled in a span `message` with
//! the actor's number, its path and the message's label.

mod info;
mod metrics;
mod observed;
mod tree;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use info::{Activity, ActorInfo};
pub use metrics::{HubMetrics, Metrics, metrics};
pub(crate) use observed::{Fault, Observed};
pub use observed::{Trace, TraceEvent};
pub use tree::{Tree, TreeNode, tree};

use crate::actor_ref::Linkable;
use crate::exit::Exit;
use crate::life::flag;

/// What is known of an actor. Asks the hub that runs it what the actor is doing at the moment, and waits for that for at most 100 ms; nothing waits
/// for the actor itself.
///
/// ```
/// use greenlet_actor::{Actor, Context, Exit, sys};
///
/// struct Idler;
/// impl Actor for Idler {
///     type Message = ();
///     fn receive(&mut self, _: (), _: &mut Context<Self>) -> Result<(), Exit> { Ok(()) }
/// }
///
/// # greenlet_core::run(|| {
/// let idler = Idler.start().unwrap();
/// let info = sys::info(&idler);
/// assert_eq!((info.mailbox_len, info.handled), (0, 0));
/// println!("{info}");
/// # });
/// ```
pub fn info(actor: &impl Linkable) -> ActorInfo {
    ActorInfo::of(&actor.any_cell())
}

/// The state of an actor as text, by its [`dump`](crate::Actor::dump): OTP's `sys:get_state`. The actor does it between two messages, ahead of those that
/// wait, also while it is [suspended](suspend). Waits for at most `timeout`; an actor that is in a handler for longer does it later, for
/// nobody.
///
/// # Errors
/// [`DumpError`].
pub fn dump(actor: &impl Linkable, timeout: Duration) -> Result<String, DumpError> {
    let actor = actor.any_cell();
    let ended = |exit: Option<Exit>| DumpError::Ended(exit.unwrap_or(Exit::NoProc));
    if actor.ready() {
        return Err(ended(actor.exit()));
    }
    let (tell, told) = greenlet_core::oneshot::channel();
    actor.life().rare().observed().want_dump(tell);
    actor.life().set(flag::ASKED);
    // The end of the actor empties the list; it may have been over before.
    if actor.ready() {
        actor.life().rare().observed().drop_wishes();
    }
    actor.shared().wake();
    told.recv_timeout(timeout).map_err(|error| match error {
        greenlet_core::oneshot::RecvTimeoutError::TimedOut => DumpError::TimedOut(timeout),
        greenlet_core::oneshot::RecvTimeoutError::Closed => ended(actor.exit()),
    })
}

/// Why there is no [`dump`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The actor has ended, or its `dump` failed.
    #[error("the actor has ended: {0}")]
    Ended(Exit),
    /// It was in a handler all the time.
    #[error("the actor did not come to it in {0:?}")]
    TimedOut(Duration),
}

/// Has an actor handle no messages until it is [resumed](resume): OTP's `sys:suspend`. What it is handling goes on to its end, and does not suspend
/// the caller; exit signals, [`stop`](crate::ActorRef::stop) and kills end it all the same. Doing it twice is doing it once.
pub fn suspend(actor: &impl Linkable) {
    actor.any_cell().life().set(flag::HELD);
}

/// Lets a [suspended](suspend) actor go on. Does nothing to others.
pub fn resume(actor: &impl Linkable) {
    let actor = actor.any_cell();
    actor.life().unset(flag::HELD);
    actor.shared().wake();
}

/// Calls `tracer` for each message and signal that the actor handles, before and after it, until [`untrace`]. It runs in the actor and must not wait for it; one
/// tracer at a time.
pub fn trace(actor: &impl Linkable, tracer: impl Fn(&TraceEvent) + Send + Sync + 'static) {
    let actor = actor.any_cell();
    actor.life().rare().observed().set_tracer(Some(Arc::new(tracer)));
    actor.life().set(flag::TRACED);
}

/// Ends a [`trace`].
pub fn untrace(actor: &impl Linkable) {
    let actor = actor.any_cell();
    actor.life().unset(flag::TRACED);
    if let Some(rare) = actor.life().try_rare() {
        rare.observed().set_tracer(None);
    }
}

static MEASURED: AtomicBool = AtomicBool::new(false);

/// From now on it is measured how long actors run, for [`ActorInfo::busy`]. It costs two looks at the clock each time that an actor runs, and some
/// memory for each.
pub fn measure_busy_time() {
    MEASURED.store(true, Ordering::Relaxed);
}

#[inline]
pub(crate) fn is_measured() -> bool {
    MEASURED.load(Ordering::Relaxed)
}
