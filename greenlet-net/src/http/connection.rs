//! What is known of a connection while it is served.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Waker;

use greenlet_core::future::Executor;

use super::crew::Crew;
use super::exchange::Exchange;
use super::incoming::{Rest, discard};
use super::watch::Clock;
use crate::Address;

/// Ticks of the [hub's watch](super::watch): a clock that costs nothing to read.
pub(super) type Ticks = u32;

/// Shared by the task of a connection, the greenlets of its requests, and the watch that looks for those who are too slow.
pub(super) struct Connection {
    pub(super) peer: Option<Address>,
    pub(super) secure: bool,
    pub(super) phase: Cell<Phase>,
    /// When the phase began.
    pub(super) since: Cell<Ticks>,
    /// Since when the client takes nothing of what is to be sent to it; 0: nothing waits.
    pub(super) stuck_since: Cell<Ticks>,
    /// How many requests have come.
    pub(super) requests: Cell<u32>,
    /// What the task is to do when it runs next.
    pub(super) order: Cell<Option<Order>>,
    /// How many requests have not had the whole of their responses.
    pub(super) open: Cell<u32>,
    /// Those of them whose handlers are at work, or whose responses are still made: with HTTP/2 all of them.
    pub(super) exchanges: RefCell<Vec<Rc<Exchange>>>,
    /// Several requests at once: HTTP/2.
    pub(super) multiplexed: Cell<bool>,
    /// Requests that the client took back while their handlers were at work.
    pub(super) orphaned: Cell<u32>,
    /// Bodies of requests that may not have come entirely.
    pub(super) bodies: Cell<u32>,
    pub(super) gone: Cell<bool>,
    /// Is in the list of those that may come to rest.
    pub(super) listed: Cell<bool>,
    /// Has nothing of hyper's, and waits for bytes.
    pub(super) rests: Cell<bool>,
    /// The client may be sending what nobody reads.
    pub(super) lingers: Cell<bool>,
    /// The exchange of the last request, to be used again: it is some 700 bytes.
    pub(super) spare: Cell<Option<Rc<Exchange>>>,
    /// A response promised another protocol.
    pub(super) upgrading: Cell<Option<Rc<Exchange>>>,
    task: Cell<Option<Waker>>,
    pub(super) clock: Clock,
    pub(super) crew: Rc<Crew>,
    executor: Weak<Executor>,
    discard_limit: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Nothing of a next request has come.
    Idle,
    /// Something has come, but not yet a whole head.
    Head,
    /// At least one request is being answered.
    Busy,
    /// Said everything; waits for the client's end.
    Closing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Answer what has come, then end.
    Finish,
    /// Give hyper's memory back: nothing has come for a while.
    Rest,
    /// Too slow.
    GiveUp,
}

impl Connection {
    pub(super) fn new(
        peer: Option<Address>,
        secure: bool,
        clock: Clock,
        crew: Rc<Crew>,
        executor: Weak<Executor>,
        discard_limit: u64,
    ) -> Rc<Connection> {
        Rc::new(Connection {
            peer,
            secure,
            phase: Cell::new(Phase::Idle),
            since: Cell::new(clock.now()),
            stuck_since: Cell::new(0),
            requests: Cell::new(0),
            order: Cell::new(None),
            open: Cell::new(0),
            exchanges: RefCell::default(),
            multiplexed: Cell::new(false),
            orphaned: Cell::new(0),
            bodies: Cell::new(0),
            gone: Cell::new(false),
            listed: Cell::new(false),
            rests: Cell::new(false),
            lingers: Cell::new(false),
            spare: Cell::new(None),
            upgrading: Cell::new(None),
            task: Cell::new(None),
            clock,
            crew,
            executor,
            discard_limit,
        })
    }

    pub(super) fn enter(&self, phase: Phase, now: Ticks) {
        self.phase.set(phase);
        self.since.set(now);
    }

    /// Adds to the [exchanges](Connection::exchanges).
    pub(super) fn list(&self, exchange: &Rc<Exchange>) {
        if !exchange.listed.replace(true) {
            self.exchanges.borrow_mut().push(exchange.clone());
        }
    }

    /// For reports.
    pub(super) fn name(&self) -> String {
        self.peer.as_ref().map_or_else(|| "a client".to_owned(), ToString::to_string)
    }

    /// Remembers how to wake the task.
    pub(super) fn runs_as(&self, waker: &Waker) {
        let known = self.task.take();
        match known {
            Some(task) if task.will_wake(waker) => self.task.set(Some(task)),
            _ => self.task.set(Some(waker.clone())),
        }
    }

    pub(super) fn order(&self, order: Order) {
        self.order.set(Some(order));
        if let Some(task) = self.task.take() {
            task.wake_by_ref();
            self.task.set(Some(task));
        }
    }

    /// A body has come entirely.
    pub(super) fn body_has_come(&self) {
        self.bodies.set(self.bodies.get().saturating_sub(1));
    }

    /// Whether its task has ended.
    pub(super) fn has_gone(&self) -> bool {
        self.gone.get()
    }

    /// Whether nothing is under way in either direction, as far as the two sides of a request know.
    pub(super) fn is_quiet(&self) -> bool {
        self.phase.get() == Phase::Idle
            && self.bodies.get() == 0
            && self.stuck_since.get() == 0
            && !self.lingers.get()
            && !self.multiplexed.get()
    }

    /// A body that nobody will read.
    pub(super) fn discard(self: &Rc<Connection>, frames: hyper::body::Incoming) {
        self.lingers.set(true);
        if let Some(executor) = self.executor.upgrade() {
            let (connection, limit) = (self.clone(), self.discard_limit);
            let task = async move {
                if discard(frames, limit).await == Rest::Discarded {
                    connection.lingers.set(false);
                    connection.body_has_come();
                }
            };
            executor.spawn(task).detach();
        }
    }
}
