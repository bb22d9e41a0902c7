//! HTTP/2: many requests at once in one connection.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use greenlet_core::future::Executor;
use hyper::server::conn::http2;

use super::Handler;
use super::connection::{Connection, Order, Phase};
use super::serving::Serving;
use super::wire::{Io, Wire};
use crate::Stream;

/// What clients begin with that know beforehand, or from TLS, that it is HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Tasks of hyper's run beside those of the connections.
#[derive(Clone)]
pub(super) struct Tasks(pub(super) Weak<Executor>);

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, future: F) {
        if let Some(executor) = self.0.upgrade() {
            executor.spawn(future).detach();
        }
    }
}

/// Whether a connection that begins so is HTTP/2. More is received if it takes that to know.
pub(super) async fn is_meant<S: Stream>(wire: &Wire<S>, connection: &Connection, first: &mut Bytes) -> bool {
    while first.len() < PREFACE.len() && PREFACE.starts_with(first) {
        let more = poll_fn(|context: &mut Context<'_>| {
            connection.runs_as(context.waker());
            if connection.order.take().is_some() {
                return Poll::Ready(None);
            }
            Poll::Ready(ready!(wire.poll_first(context)).ok())
        });
        match more.await {
            Some(more) if !more.is_empty() => *first = [&first[..], &more].concat().into(),
            _ => return false,
        }
    }
    first.starts_with(PREFACE)
}

/// Serves it until it ends.
pub(super) async fn converse<S: Stream, H: Handler>(
    serving: &Rc<Serving<H>>,
    wire: Rc<Wire<S>>,
    connection: &Rc<Connection>,
    first: Bytes,
) {
    connection.multiplexed.set(true);
    connection.enter(Phase::Idle, serving.clock.now());
    let service = serving.exchanges(connection);
    let mut conn = pin!(serving.http2.serve_connection(Io::new(wire.clone(), first), service));
    let mut done = None;
    let mut told = false;
    poll_fn(|context| {
        connection.runs_as(context.waker());
        match connection.order.take() {
            Some(Order::GiveUp) if connection.exchanges.borrow().is_empty() && done.is_none() && !told => {
                // Idle for too long, which can be said: once, and a client that does not answer to it is left at the next look.
                told = true;
                conn.as_mut().graceful_shutdown();
            }
            Some(Order::GiveUp) => return Poll::Ready(()),
            Some(Order::Finish) if done.is_none() => conn.as_mut().graceful_shutdown(),
            _ => {}
        }
        let _turn = wire.begin_turn();
        if done.is_none()
            && let Poll::Ready(end) = conn.as_mut().poll(context)
        {
            if let Err(error) = &end {
                tracing::debug!(target: "greenlet_net::http", "{}: {error}", connection.name());
            }
            done = Some(end);
        }
        match ready!(wire.poll_send_gathered(context)) {
            Ok(()) if done.is_none() => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}

/// hyper's settings.
pub(super) fn builder(executor: &Rc<Executor>, max_header_bytes: usize) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(Tasks(Rc::downgrade(executor)));
    builder
        .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(200);
    builder
}
