//! The loop that takes in what arrives and gives each arrival a greenlet: within the limits, with pauses where the system is short of something.
//!
//! Everything that serves is built on it: connections, datagrams.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use greenlet_core::{
    Builder, Greenlet, GreenletError, GreenletExit, GreenletRef, attempt, current, raise, yield_now,
};

use super::backoff::{Verdict, verdict};
use super::life::{AtWork, Life, Ticket};
use super::settings::{Place, Room, Settings};
use crate::Address;

/// Where arrivals come from.
pub(super) trait Arrivals: 'static {
    type Item: Arrival;

    /// Waits for the next one. `admit` is asked for a place before each try; if there is none, nothing is taken, and this returns `None`.
    ///
    /// A kill unwinds from the wait, and then nothing was taken.
    fn next(&self, admit: &mut dyn FnMut() -> Option<Place>) -> io::Result<Option<(Self::Item, Place)>>;

    /// Whether it was closed by somebody who holds it too: the end, and no error.
    fn is_closed(&self) -> bool;
}

/// One connection, or one datagram.
pub(super) trait Arrival: 'static {
    fn peer(&self) -> Address;

    /// The address that counts for limits; none for Unix sockets.
    fn ip(&self) -> Option<IpAddr>;

    /// What has to be done when the handler has ended, in whatever way: dropped then.
    type Closer: 'static;

    fn closer(&self) -> Self::Closer;

    /// Ends it for whoever took it over.
    fn ender(&self) -> Box<dyn FnOnce() + Send>;
}

/// Errors of single connections in a row, after which it seems to be the system that has them: then there is a pause after each.
const MOST_SKIPPED: u32 = 32;

/// What a handler failed with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Who gets the arrivals.
pub(super) enum Handler<I: Arrival> {
    /// Runs in a greenlet for each.
    Local(Rc<dyn Fn(I) -> Result<(), BoxError>>),
    /// The same, on any hub.
    Shared(Arc<dyn Fn(I) -> Result<(), BoxError> + Send + Sync>),
    /// Takes them over in the greenlet that accepts, and must not wait.
    Taker(Taker<I>),
    /// Makes one of those on each hub.
    Takers(Arc<dyn Fn() -> Taker<I> + Send + Sync>),
}

pub(super) type Taker<I> = Rc<dyn Fn(I, Admission<I>)>;

impl<I: Arrival> Clone for Handler<I> {
    fn clone(&self) -> Handler<I> {
        match self {
            Handler::Local(handler) => Handler::Local(handler.clone()),
            Handler::Shared(handler) => Handler::Shared(handler.clone()),
            Handler::Taker(taker) => Handler::Taker(taker.clone()),
            Handler::Takers(make) => Handler::Takers(make.clone()),
        }
    }
}

impl<I: Arrival> Handler<I> {
    /// As something that can go to another hub, if it can.
    pub(super) fn for_hub(&self) -> Option<HandlerForHub<I>> {
        match self {
            Handler::Shared(handler) => Some(HandlerForHub::Shared(handler.clone())),
            Handler::Takers(make) => Some(HandlerForHub::Takers(make.clone())),
            Handler::Local(_) | Handler::Taker(_) => None,
        }
    }
}

/// A [`Handler`] on its way to a hub.
pub(super) enum HandlerForHub<I: Arrival> {
    Shared(Arc<dyn Fn(I) -> Result<(), BoxError> + Send + Sync>),
    Takers(Arc<dyn Fn() -> Taker<I> + Send + Sync>),
}

impl<I: Arrival> HandlerForHub<I> {
    pub(super) fn arrive(self) -> Handler<I> {
        match self {
            HandlerForHub::Shared(handler) => Handler::Shared(handler),
            HandlerForHub::Takers(make) => Handler::Takers(make),
        }
    }
}

/// What was let in is at work until this is dropped; then its connection is closed.
pub(super) struct Admission<I: Arrival> {
    // In this order: descriptors are free when somebody hears of them.
    _closer: I::Closer,
    pub(super) ticket: Ticket,
}

/// One loop that accepts: there is one for each listener and hub.
pub(super) struct Acceptor<A: Arrivals> {
    pub(super) arrivals: Arc<A>,
    pub(super) handler: Handler<A::Item>,
    pub(super) room: Room,
    pub(super) settings: Arc<Settings>,
    pub(super) life: Arc<Life>,
}

impl<A: Arrivals> Acceptor<A> {
    /// Accepts until it is closed, killed, or fails for good, which closes the server.
    pub(super) fn run(mut self) {
        let ended = attempt(|| {
            if let Handler::Takers(make) = &self.handler {
                self.handler = Handler::Taker(make());
            }
            self.accept_all();
        });
        match ended {
            Ok(()) => {}
            // Of what the user has a hand in: a subscriber of `tracing`, the maker of takers.
            Err(GreenletError::Failed(failure)) => {
                self.life.fail(io::Error::other(failure.clone()));
                failure.reraise()
            }
            Err(_) => raise(GreenletExit),
        }
    }

    fn accept_all(&self) {
        let mut backoff = self.settings.backoff();
        let mut in_a_row = 0;
        let mut skipped = 0;
        loop {
            let error = match self.arrivals.next(&mut || self.room.place()) {
                Ok(None) => {
                    self.room.wait();
                    continue;
                }
                Ok(Some((arrival, place))) => {
                    skipped = 0;
                    if backoff.succeeded() {
                        tracing::info!(target: "greenlet", server = self.name(), "accepting again");
                    }
                    self.serve(arrival, place);
                    in_a_row += 1;
                    if in_a_row >= self.settings.max_accept {
                        in_a_row = 0;
                        yield_now();
                    }
                    continue;
                }
                Err(_) if self.arrivals.is_closed() => return,
                Err(error) => error,
            };
            self.life.counters.accept_error();
            match verdict(&error) {
                Verdict::Skip if skipped < MOST_SKIPPED => {
                    skipped += 1;
                    yield_now();
                }
                Verdict::Skip | Verdict::Pause => {
                    let (pause, first) = backoff.failed();
                    if first {
                        tracing::warn!(target: "greenlet", server = self.name(), %error, "cannot accept; trying again");
                    }
                    self.life.pause(pause);
                }
                Verdict::Fatal => {
                    tracing::error!(target: "greenlet", server = self.name(), %error, "cannot accept; the server closes");
                    return self.life.fail(error);
                }
            }
        }
    }

    fn name(&self) -> &str {
        self.settings.name.as_deref().unwrap_or("server")
    }

    /// Gives it to the handler. Does not suspend.
    fn serve(&self, arrival: A::Item, place: Place) {
        let closer = arrival.closer();
        let ip = match (self.settings.limit_per_ip, arrival.ip()) {
            (Some(limit), Some(ip)) => match self.life.enter_ip(ip, limit) {
                Ok(()) => Some(ip),
                Err(_) => {
                    self.life.counters.refused();
                    return;
                }
            },
            _ => None,
        };
        let ticket = Ticket::new(self.life.clone(), ip, place);
        let admission = Admission { _closer: closer, ticket };
        match &self.handler {
            Handler::Local(handler) => {
                let handler = handler.clone();
                self.serve_in_greenlet(arrival, admission, move |arrival| handler(arrival));
            }
            Handler::Shared(handler) => {
                let handler = handler.clone();
                self.serve_in_greenlet(arrival, admission, move |arrival| handler(arrival));
            }
            Handler::Taker(taker) => {
                self.life.enter(admission.ticket.number(), AtWork::TakenOver(Some(arrival.ender())));
                let peer = arrival.peer();
                match attempt(|| taker(arrival, admission)) {
                    Ok(()) => {}
                    Err(GreenletError::Failed(failure)) => {
                        self.life.counters.failed();
                        tracing::error!(target: "greenlet", server = self.name(), %peer, %failure, "cannot take over");
                    }
                    Err(_) => raise(GreenletExit),
                }
            }
            Handler::Takers(_) => unreachable!("made where the loop began"),
        }
    }

    fn serve_in_greenlet(
        &self,
        arrival: A::Item,
        admission: Admission<A::Item>,
        handler: impl Fn(A::Item) -> Result<(), BoxError> + 'static,
    ) {
        let number = admission.ticket.number();
        let mut builder = Builder::new().spawn_site(self.settings.site);
        if let Some(size) = self.settings.stack_size {
            builder = builder.stack_size(size);
        }
        if let Some(name) = &self.settings.name {
            builder = builder.name(format!("{name} {}", arrival.peer()));
        }
        // Dropped in this order, also if it never runs.
        let work = (arrival, admission);
        let greenlet: Greenlet<()> = builder.build(move || {
            let (arrival, admission) = work;
            run_handler(handler, arrival, &admission.ticket);
        });
        self.life.enter(number, AtWork::Greenlet(GreenletRef::clone(&greenlet)));
        self.start(&greenlet);
    }

    fn start(&self, greenlet: &GreenletRef) {
        match &self.room {
            // There was room, and nobody else ran since.
            Room::Pool(pool) => pool.start(greenlet),
            _ => greenlet.start(),
        }
    }
}

/// In the greenlet of the connection.
fn run_handler<I: Arrival>(handler: impl Fn(I) -> Result<(), BoxError>, arrival: I, ticket: &Ticket) {
    let peer = arrival.peer();
    match attempt(|| handler(arrival)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            ticket.life().counters.failed();
            tracing::warn!(target: "greenlet", %peer, %error, "a handler failed");
        }
        Err(GreenletError::Failed(failure)) => {
            ticket.life().counters.failed();
            // Reported with the name of its greenlet, as all failures.
            let name = current().name();
            let peer = peer.to_string();
            if !name.contains(&peer) {
                current().set_name(format!("handler of {peer}"));
            }
            failure.reraise()
        }
        Err(_) => raise(GreenletExit),
    }
}
