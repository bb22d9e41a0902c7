//! What stands behind an actor: its mailbox, its links, its end.
//!
//! # Order of things
//! Messages and trapped exits are one queue, in the order of arrival. Being told to stop, and an exit signal that is not
//! trapped, act ahead of it: they are kept apart (`stop`), and the next step of the actor's loop sees them first. What is
//! to interrupt a suspended handler is also raised in the greenlet, as an `Interrupt`: once the actor has seen why it
//! ends, it revokes what is still on its way, and `terminate` runs undisturbed.
//!
//! # Locks
//! `links` is a plain mutex, held for a few steps and never while something of the user's is called or dropped.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use greenlet_core::{GreenletExit, GreenletRef, Interrupt, Queue};

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
    /// The supervisor that started it.
    parent: OnceLock<ActorId>,
    traps_exits: AtomicBool,
    /// Set once `stop` is there: what the loop looks at between two messages.
    stopping: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why it is to end.
    stop: Option<Stop>,
    /// What is being raised in its greenlet because of `stop`.
    interrupts: Vec<Interrupt>,
    /// Why it has ended.
    exit: Option<Exit>,
    links: HashMap<ActorId, Link>,
}

/// An actor is to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) force: Force,
    pub(crate) exit: Exit,
}

/// How urgent. What is stronger replaces what is weaker; of equals the first stays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Force {
    /// After the message that it is handling.
    Graceful,
    /// An exit signal: from where its handler is suspended.
    Signal,
    /// From wherever it is suspended, and without `terminate`.
    Kill,
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

    pub(crate) fn set_parent(&self, parent: ActorId) {
        let _ = self.parent.set(parent);
    }

    /// Whether that is the supervisor that started it, or itself, as which `send_exit` speaks.
    pub(crate) fn obeys(&self, from: ActorId) -> bool {
        self.parent.get() == Some(&from) || from == self.id()
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

    /// How it is to stop, if it is.
    #[inline]
    pub(crate) fn stop(&self) -> Option<Stop> {
        if self.stopping.load(Ordering::Acquire) { self.state().stop.clone() } else { None }
    }

    pub(crate) fn killed(&self) -> bool {
        self.stop().is_some_and(|stop| stop.force == Force::Kill)
    }

    /// Asks the actor to end. True if that is news.
    pub(crate) fn request_stop(&self, force: Force, exit: Exit) -> bool {
        let mut state = self.state();
        let stronger = state.stop.as_ref().is_none_or(|stop| stop.force < force);
        if state.exit.is_some() || !stronger {
            return false;
        }
        let replaced = state.stop.replace(Stop { force, exit });
        self.stopping.store(true, Ordering::Release);
        if force > Force::Graceful {
            // Whatever the reason: it is found in `stop`. It only queues the raise, so the lock is held for nothing else.
            state.interrupts.push(self.greenlet().interrupt(GreenletExit));
        }
        drop(state);
        drop(replaced);
        true
    }

    /// The actor ends for this reason, and knows it: what is still on its way to interrupt it is taken back, and only a
    /// kill is news from now on.
    pub(crate) fn begin_end(&self, exit: &Exit) {
        let mut state = self.state();
        let force = state.stop.as_ref().map_or(Force::Signal, |stop| stop.force.max(Force::Signal));
        let replaced = state.stop.replace(Stop { force, exit: exit.clone() });
        self.stopping.store(true, Ordering::Release);
        let interrupts = std::mem::take(&mut state.interrupts);
        drop(state);
        drop(replaced);
        interrupts.iter().for_each(Interrupt::revoke);
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

/// What an actor does about an exit signal: Erlang's table.
pub(crate) fn exit_signal(to: &dyn AnyCell, from: ActorId, exit: Exit) {
    let life = to.life();
    if !life.traps_exits.load(Ordering::Acquire) {
        if !exit.is_normal() {
            life.request_stop(Force::Signal, exit);
        }
    } else if life.obeys(from) && !exit.is_normal() {
        // Told to end by its supervisor: as OTP's behaviours do, it ends in good order and is not asked.
        stop(to, exit);
    } else {
        to.post_exit(from, exit);
    }
}

/// Ends an actor after the message that it is handling.
pub(crate) fn stop(cell: &dyn AnyCell, exit: Exit) {
    if cell.life().request_stop(Force::Graceful, exit) {
        cell.post_look();
    }
}

impl<M> fmt::Debug for MailCell<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailCell").field("mailbox", &self.mailbox.len()).finish_non_exhaustive()
    }
}
