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
use super::life::{Life, Ticket};
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
}

/// What a handler failed with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A handler, whatever it takes.
pub(super) enum Handler<I> {
    Local(Rc<dyn Fn(I) -> Result<(), BoxError>>),
    Shared(Arc<dyn Fn(I) -> Result<(), BoxError> + Send + Sync>),
}

impl<I> Clone for Handler<I> {
    fn clone(&self) -> Handler<I> {
        match self {
            Handler::Local(handler) => Handler::Local(handler.clone()),
            Handler::Shared(handler) => Handler::Shared(handler.clone()),
        }
    }
}

impl<I> Handler<I> {
    fn call(&self, arrival: I) -> Result<(), BoxError> {
        match self {
            Handler::Local(handler) => handler(arrival),
            Handler::Shared(handler) => handler(arrival),
        }
    }
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
    pub(super) fn run(self) {
        let mut backoff = self.settings.backoff();
        let mut in_a_row = 0;
        loop {
            let error = match self.arrivals.next(&mut || self.room.place()) {
                Ok(None) => {
                    self.room.wait();
                    continue;
                }
                Ok(Some((arrival, place))) => {
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
                Verdict::Skip => yield_now(),
                Verdict::Pause => {
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

    /// Starts the handler in a greenlet of its own. Does not suspend.
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
        let number = ticket.number();
        let mut builder = Builder::new().spawn_site(self.settings.site);
        if let Some(size) = self.settings.stack_size {
            builder = builder.stack_size(size);
        }
        if let Some(name) = &self.settings.name {
            builder = builder.name(format!("{name} {}", arrival.peer()));
        }
        let handler = self.handler.clone();
        // The closer and the ticket are dropped with the closure, also if it never runs: first the closer, so that its descriptors are free
        // when somebody hears of them.
        let at_work = (arrival, closer, ticket);
        let greenlet: Greenlet<()> = builder.build(move || {
            let (arrival, closer, ticket) = at_work;
            let ticket = &ticket;
            let _closer = closer;
            work(&handler, arrival, ticket);
        });
        Ticket::register(&self.life, number, &greenlet);
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
fn work<I: Arrival>(handler: &Handler<I>, arrival: I, ticket: &Ticket) {
    let peer = arrival.peer();
    match attempt(|| handler.call(arrival)) {
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
