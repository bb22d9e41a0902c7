//! The connections of one hub.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::Instant;
use greenlet_core::future::Executor;
use greenlet_core::watcher::Timer;
use hyper::server::conn::http1;

use super::Handler;
use super::connection::{Connection, Order};
use super::crew::Crew;
use super::exchange::{Exchanges, Means};
use super::settings::{Disconnected, Settings};
use super::task;
use super::watch::{Clock, Limits};
use super::wire::Buffers;
use crate::Stream;
use crate::server::Admission;

const HYPERS_MAX_HEADERS: usize = 100;

/// Serves connections, on one hub.
pub(super) struct Serving<H> {
    means: Rc<Means<H>>,
    pub(super) clock: Clock,
    pub(super) buffers: Rc<Buffers>,
    pub(super) http1: http1::Builder,
    #[cfg(feature = "http2")]
    pub(super) http2: hyper::server::conn::http2::Builder<super::h2::Tasks>,
    executor: Rc<Executor>,
    limits: Rc<Limits>,
    crew: Rc<Crew>,
    roll: Rc<Roll>,
    finishing: Cell<bool>,
}

/// Who is connected.
pub(super) struct Roll {
    slots: RefCell<Vec<Option<Rc<Connection>>>>,
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
    watch: RefCell<Option<Timer>>,
    /// Its event is set when somebody leaves.
    crew: Rc<Crew>,
}

/// A place in the roll.
pub(super) struct Enrolled {
    roll: Rc<Roll>,
    slot: usize,
    /// Its place in the server.
    _admission: Admission,
}

impl Roll {
    fn enroll(self: &Rc<Roll>, connection: Rc<Connection>, admission: Admission) -> Enrolled {
        let slot = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut slots = self.slots.borrow_mut();
            slots.push(None);
            slots.len() - 1
        });
        self.slots.borrow_mut()[slot] = Some(connection);
        self.count.set(self.count.get() + 1);
        Enrolled { roll: self.clone(), slot, _admission: admission }
    }

    /// Some may leave meanwhile: a task that cannot run any more is dropped when it is woken.
    fn each(&self, look: impl FnMut(&Rc<Connection>)) {
        let all: Vec<Rc<Connection>> = self.slots.borrow().iter().flatten().cloned().collect();
        all.iter().for_each(look);
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        let gone = self.roll.slots.borrow_mut()[self.slot].take();
        self.roll.free.borrow_mut().push(self.slot);
        self.roll.count.set(self.roll.count.get() - 1);
        if let Some(gone) = &gone {
            gone.gone.set(true);
        }
        self.roll.crew.left.set();
        drop(gone);
    }
}

impl<H: Handler> Serving<H> {
    pub(super) fn new(handler: Arc<H>, settings: &Settings) -> Rc<Serving<H>> {
        let mut http1 = http1::Builder::new();
        http1
            .half_close(settings.disconnected != Disconnected::Kill)
            .max_header_size(settings.max_header_bytes)
            // hyper needs 8 KiB at least.
            .max_buf_size(settings.max_header_bytes.max(8 * 1024))
            .header_read_timeout(None);
        // hyper's own limit costs nothing, and another one a microsecond for each request.
        if settings.max_headers != HYPERS_MAX_HEADERS {
            http1.max_headers(settings.max_headers);
        }
        let executor = Rc::new(Executor::new());
        let crew = Rc::new(Crew::new(settings.max_concurrent));
        Rc::new(Serving {
            #[cfg(feature = "http2")]
            http2: super::h2::builder(&executor, settings.max_header_bytes),
            means: Rc::new(Means { handler, settings: settings.clone() }),
            clock: Clock::new(),
            buffers: Rc::new(Buffers::new()),
            http1,
            executor,
            limits: Rc::new(Limits::new(settings)),
            roll: Rc::new(Roll {
                slots: RefCell::default(),
                free: RefCell::default(),
                count: Cell::new(0),
                watch: RefCell::new(None),
                crew: crew.clone(),
            }),
            crew,
            finishing: Cell::new(false),
        })
    }

    /// Serves a connection, in a task of the executor. Does not suspend.
    pub(super) fn serve<S: Stream>(self: &Rc<Serving<H>>, stream: S, secure: bool, admission: Admission) {
        let peer = stream.peer_address().ok();
        let executor = Rc::downgrade(&self.executor);
        let (clock, crew) = (self.clock.clone(), self.crew.clone());
        let discard = self.means.settings.discard;
        let connection = Connection::new(peer, secure, clock, crew, executor, discard);
        if self.finishing.get() {
            connection.order(Order::Finish);
        }
        let enrolled = self.roll.enroll(connection.clone(), admission);
        self.watch();
        self.executor.spawn(task::attend(self.clone(), stream, connection, enrolled)).detach();
    }

    /// The service of a connection.
    pub(super) fn exchanges(&self, connection: &Rc<Connection>) -> Exchanges<H> {
        Exchanges { means: self.means.clone(), connection: connection.clone() }
    }

    /// Looks at the connections every tick, for as long as there are any.
    fn watch(&self) {
        let mut watch = self.roll.watch.borrow_mut();
        match &*watch {
            Some(timer) if timer.active() => return,
            Some(timer) => return timer.again(),
            None => {}
        }
        let (roll, clock, limits) = (Rc::downgrade(&self.roll), self.clock.clone(), self.limits.clone());
        let tick = limits.tick;
        let look = move || {
            clock.tick();
            let Some(roll) = roll.upgrade() else { return };
            roll.crew.put_to_rest(clock.now());
            if clock.now() % limits.round == 0 {
                roll.each(|connection| limits.check(connection, clock.now()));
            }
            if roll.count.get() == 0
                && let Some(timer) = &*roll.watch.borrow()
            {
                timer.stop();
            }
        };
        *watch = Some(Timer::every(tick, tick, look).uncounted());
    }

    pub(super) fn count(&self) -> usize {
        self.roll.count.get()
    }

    /// Waits until there are no connections and no handlers, for so long at most.
    pub(super) fn drain(&self, limit: Duration) {
        let begin = Instant::now();
        while self.count() > 0 || self.crew.has_orphans() {
            self.crew.left.clear();
            if !self.crew.left.wait_timeout(limit.saturating_sub(begin.elapsed())) {
                return;
            }
        }
    }

    /// Lets connections end after the requests that have come.
    pub(super) fn finish(&self) {
        self.finishing.set(true);
        self.roll.each(|connection| connection.order(Order::Finish));
    }

    /// Ends all connections, and kills the handlers.
    pub(super) fn give_up(&self) {
        self.finishing.set(true);
        self.roll.each(|connection| {
            let exchanges = connection.exchanges.borrow().clone();
            exchanges.iter().for_each(|exchange| exchange.kill());
            connection.order(Order::GiveUp);
        });
        self.crew.kill_orphans();
    }
}
