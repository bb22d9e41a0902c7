//! What stands behind an actor: its mailbox, its links, its end.
//!
//! # Order of things
//! Messages and trapped exits are one queue, in the order of arrival. Being told to stop, and an exit signal that is not
//! trapped, act ahead of it: they are kept apart (`stop`), and the next step of the actor's loop sees them first.
//!
//! # Locks
//! `links` is a plain mutex, held for a few steps and never while something of the user's is called or dropped.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use greenlet_core::{GreenletExit, GreenletRef, Kill, Queue};

use crate::actor_ref::ActorId;
use crate::exit::Exit;

/// An item of a mailbox.
pub(crate) enum Mail<M> {
    Message(M),
    /// The exit of a linked actor, for one that traps exits.
    Exited(ActorId, Exit),
    /// Nothing: wakes the actor to look at `stop`.
    Look,
}

/// The mailbox with its actor.
pub(crate) struct MailCell<M> {
    pub(crate) mailbox: Queue<Mail<M>>,
    pub(crate) life: Life,
}

/// The part that does not depend on the type of the messages.
#[derive(Default)]
pub(crate) struct Life {
    greenlet: OnceLock<GreenletRef>,
    traps_exits: AtomicBool,
    /// Set once `stop` is there: what the loop looks at between two messages.
    stopping: AtomicBool,
    /// Something is being raised in the greenlet because of `stop`; it may arrive at any suspension point from now on.
    interrupted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why it is to end. The first reason stays, but a kill replaces it.
    stop: Option<Exit>,
    /// Why it has ended.
    exit: Option<Exit>,
    links: HashMap<ActorId, Link>,
}

struct Link {
    to: Arc<dyn AnyCell>,
    direction: Direction,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// Erlang's: whichever ends first tells the other.
    Both,
    /// gevent's `link_exception`: only tells, and only of failures.
    TellFailure,
}

/// A cell whatever its messages are.
pub(crate) trait AnyCell: Send + Sync {
    fn life(&self) -> &Life;
    /// Puts a trapped exit into the mailbox, however full that is.
    fn post_exit(&self, from: ActorId, exit: Exit);
    /// Wakes the actor to look at `stop`.
    fn post_look(&self);
}

impl<M: Send + 'static> AnyCell for MailCell<M> {
    fn life(&self) -> &Life {
        &self.life
    }

    fn post_exit(&self, from: ActorId, exit: Exit) {
        // A mailbox that was shut down belongs to an actor that ends: nobody wants to know any more.
        let _ = self.mailbox.force_put(Mail::Exited(from, exit));
    }

    fn post_look(&self) {
        // When it is full there is something to wake the actor already.
        let _ = self.mailbox.try_put(Mail::Look);
    }
}

impl Life {
    pub(crate) fn set_greenlet(&self, greenlet: GreenletRef) {
        let _ = self.greenlet.set(greenlet);
    }

    pub(crate) fn greenlet(&self) -> &GreenletRef {
        self.greenlet.get().expect("an actor has its greenlet before anybody has a reference to it")
    }

    pub(crate) fn id(&self) -> ActorId {
        ActorId(self.greenlet().id())
    }

    pub(crate) fn trap_exits(&self) {
        self.traps_exits.store(true, Ordering::Release);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        self.state().exit.clone()
    }

    /// The reason for which it is to stop, if it was told to.
    #[inline]
    pub(crate) fn stop(&self) -> Option<Exit> {
        if self.stopping.load(Ordering::Acquire) { self.state().stop.clone() } else { None }
    }

    /// Whether it was killed.
    pub(crate) fn killed(&self) -> bool {
        self.stop().is_some_and(|stop| matches!(stop, Exit::Killed))
    }

    /// Asks the actor to end with this reason. True if that is news.
    pub(crate) fn request_stop(&self, exit: Exit) -> bool {
        let mut state = self.state();
        let news = state.exit.is_none() && (state.stop.is_none() || matches!(exit, Exit::Killed));
        if news {
            state.stop = Some(exit);
            self.stopping.store(true, Ordering::Release);
        }
        news
    }

    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    /// Adds one direction of a link; false if this actor has ended.
    pub(crate) fn add_link(&self, to: Arc<dyn AnyCell>, direction: Direction) -> bool {
        let mut state = self.state();
        if state.exit.is_some() {
            return false;
        }
        let links = &mut state.links;
        let id = to.life().id();
        let replaced = match links.get(&id) {
            // Erlang's kind says more than gevent's, so it is kept.
            Some(link) if link.direction == Direction::Both => None,
            _ => links.insert(id, Link { to, direction }),
        };
        drop(state);
        drop(replaced);
        true
    }

    pub(crate) fn remove_link(&self, to: ActorId) {
        let removed = self.state().links.remove(&to);
        drop(removed);
    }

    /// Records the end and tells the linked actors. The first end counts.
    pub(crate) fn finish(&self, exit: Exit) {
        let mut state = self.state();
        if state.exit.is_some() {
            return;
        }
        state.exit = Some(exit.clone());
        let links = std::mem::take(&mut state.links);
        drop(state);
        let me = self.id();
        for link in links.into_values() {
            match link.direction {
                Direction::Both => {
                    link.to.life().remove_link(me);
                    exit_signal(&*link.to, me, exit.clone());
                }
                Direction::TellFailure if matches!(exit, Exit::Failed(_)) => {
                    exit_signal(&*link.to, me, exit.clone());
                }
                Direction::TellFailure => {}
            }
        }
    }
}

/// What an actor does about the exit of a linked one: Erlang's table.
pub(crate) fn exit_signal(to: &dyn AnyCell, from: ActorId, exit: Exit) {
    if to.life().traps_exits.load(Ordering::Acquire) {
        to.post_exit(from, exit);
    } else if !exit.is_normal() {
        terminate(to, exit);
    }
}

/// Ends an actor with this reason: between two messages, or from where its handler is suspended.
pub(crate) fn terminate(cell: &dyn AnyCell, exit: Exit) {
    let life = cell.life();
    if life.request_stop(exit) {
        life.interrupted.store(true, Ordering::Release);
        // Whatever the reason: it is found in `stop`.
        life.greenlet().kill_with(Kill::error(GreenletExit).no_wait());
    }
}

impl<M> fmt::Debug for MailCell<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailCell").field("mailbox", &self.mailbox.len()).finish_non_exhaustive()
    }
}
