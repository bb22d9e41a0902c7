//! The handlers at work on one hub: how many there may be, and those whose client has gone.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use greenlet_core::Event;

use super::connection::{Connection, Order, Ticks};
use super::exchange::Exchange;

/// A client of HTTP/2 that takes back so many requests while handlers work at them loses its connection: taking back costs it next to nothing.
pub(super) const MOST_ORPHANED: u32 = 200;

pub(super) struct Crew {
    limit: usize,
    working: Cell<usize>,
    /// Handlers that wait for a place.
    waiting: RefCell<VecDeque<Rc<Exchange>>>,
    /// Handlers that work on for nobody.
    orphans: RefCell<Vec<Rc<Exchange>>>,
    /// Connections that were busy and may come to rest.
    tired: RefCell<VecDeque<Rc<Connection>>>,
    /// Set when something ends that a stop may wait for.
    pub(super) left: Event,
}

impl Crew {
    pub(super) fn new(limit: usize) -> Crew {
        Crew {
            limit: limit.max(1),
            working: Cell::new(0),
            waiting: RefCell::default(),
            orphans: RefCell::default(),
            tired: RefCell::default(),
            left: Event::new(),
        }
    }

    /// Whether one more may work; then it has that place.
    pub(super) fn has_place(&self, exchange: &Exchange) -> bool {
        let has_place = self.working.get() < self.limit;
        if has_place {
            self.working.set(self.working.get() + 1);
            exchange.has_place.set(true);
        }
        has_place
    }

    /// Starts the handler of an exchange when there is a place.
    pub(super) fn wait_for_place(&self, exchange: Rc<Exchange>) {
        self.waiting.borrow_mut().push_back(exchange);
    }

    /// A handler has ended. Its place goes to the next whose client is still there.
    pub(super) fn leave(&self, exchange: &Exchange) {
        if exchange.is_orphan() {
            self.orphans.borrow_mut().retain(|one| !std::ptr::eq(&**one, exchange));
            self.left.set();
        }
        if !exchange.has_place.get() {
            return; // killed while it waited for one
        }
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            match next {
                Some(next) if next.has_ended() => {}
                Some(next) if next.is_orphan() => next.kill(),
                Some(next) => {
                    next.has_place.set(true);
                    return next.start();
                }
                None => return self.working.set(self.working.get() - 1),
            }
        }
    }

    /// The client of a handler that has not ended does not want it any more.
    pub(super) fn orphan(&self, exchange: &Rc<Exchange>) {
        self.orphans.borrow_mut().push(exchange.clone());
        if !exchange.has_place.get() {
            // It has not begun, so nobody misses it: it must not wait here with its request for as long as others work.
            self.waiting.borrow_mut().retain(|one| !Rc::ptr_eq(one, exchange));
            exchange.kill();
        }
    }

    /// A connection has nothing to do for now.
    #[inline]
    pub(super) fn may_rest(&self, connection: &Rc<Connection>) {
        if !connection.listed.replace(true) {
            self.tired.borrow_mut().push_back(connection.clone());
        }
    }

    /// Has those come to rest that have waited for a tick.
    pub(super) fn put_to_rest(&self, now: Ticks) {
        let tired = std::mem::take(&mut *self.tired.borrow_mut());
        for connection in tired {
            if connection.has_gone() {
                continue;
            }
            if now.wrapping_sub(connection.since.get()) >= 2
                && connection.is_quiet()
                && connection.order.get().is_none()
            {
                connection.listed.set(false);
                connection.order(Order::Rest);
            } else {
                self.tired.borrow_mut().push_back(connection);
            }
        }
    }

    pub(super) fn has_orphans(&self) -> bool {
        !self.orphans.borrow().is_empty()
    }

    pub(super) fn kill_orphans(&self) {
        let orphans = self.orphans.borrow().clone();
        orphans.iter().for_each(|orphan| orphan.kill());
    }
}
