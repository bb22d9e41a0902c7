//! Who runs actors, and where.
//!
//! An actor that has something to do is an *activation*: its cell, in a queue. Each hub has *runners*, greenlets that take activations out of
//! the queue and run them. An actor has a runner's stack from the beginning of an activation to its end, also while its handler is
//! suspended; in between it has none.
//!
//! # A runner that suspends holds up nobody
//! While a runner is in a handler and the queue is not empty, another one stands by: it is in the hub's ready queue already. So when the
//! handler suspends, the hub comes to that one, which takes the queue over. A runner that has had its share (of messages) and sees work
//! left leaves it to the one that stands by, and that is how actors let other greenlets run.
//!
//! # Several hubs
//! The hubs of a [`System`] share the work: an actor whose state is `Send` is queued on the hub of whoever sends to it, and hubs that have
//! nothing to do take activations from those that have (`steal`). Others are *pinned*: always queued where they were made.
//!
//! # Interrupting a handler
//! Who ends an actor sets its flags, and then has the hub that runs it (`Life::hub`) look at whether it is in a handler there
//! (`Life::runner`), on that hub's own thread: if so, the runner's greenlet is interrupted; if not, the flags are seen before the next message. A
//! hub that takes an actor over says so before it looks at the flags, so of the two one sees the other. When the actor has seen why it ends,
//! the runner revokes what is still on its way, and `terminate` runs undisturbed.

mod local;
mod part;
#[allow(unsafe_code)]
mod runner;
pub(crate) mod shutdown;
mod steal;
pub(crate) mod system;

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::activation::Activation;
use crate::cell::AnyCell;
use crate::life::Life;
pub(crate) use local::Local;
pub(crate) use part::Home;
pub(crate) use runner::Runner;

/// The hubs of this thread's system, as places where actors are spawned.
pub(crate) fn homes() -> Vec<Home> {
    Local::here().home().system().all().into_iter().map(Home::new).collect()
}

/// Has an actor run, whose owner the caller is.
#[inline]
pub(crate) fn schedule(actor: Activation) {
    if let Err(actor) = Local::push_from_here(actor) {
        Home::push_from_elsewhere(actor);
    }
}

/// The actor is to end, and its flags say so: has it look, wherever it is.
pub(crate) fn interrupt(actor: &Arc<dyn AnyCell>) {
    fence(Ordering::SeqCst);
    let life = actor.life();
    let hub = life.hub.load(Ordering::SeqCst);
    match Local::current() {
        Some(local) if local.is(&life.home, hub) => local.interrupt(life),
        _ => {
            let there = actor.clone();
            life.home.call(hub, move || {
                if let Some(local) = Local::current() {
                    local.interrupt(there.life());
                }
            });
        }
    }
    actor.clone().wake();
}

/// The hub of the current thread has the actor now.
#[inline]
fn arrives(life: &Life, hub: u32) {
    if life.hub.load(Ordering::Relaxed) != hub {
        life.hub.store(hub, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}
