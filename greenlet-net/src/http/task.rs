//! The task of a connection: no greenlet, and no stack of its own.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use bytes::Bytes;
use hyper::server::conn::http1;

use super::Handler;
use super::connection::{Connection, Order, Phase};
use super::exchange::Exchanges;
use super::serving::{Enrolled, Serving};
use super::upgrade::Upgraded;
use super::wire::{Io, Wire};
use crate::Stream;

/// How hyper's part of a connection ended.
enum End {
    Done(hyper::Result<()>),
    /// Nothing has come for a while.
    Rested,
    /// The stream failed.
    Lost(io::Error),
    GaveUp,
}

/// Serves a connection until it ends.
pub(super) async fn attend<S: Stream, H: Handler>(
    serving: Rc<Serving<H>>,
    stream: S,
    connection: Rc<Connection>,
    enrolled: Enrolled,
) {
    let wire = Rc::new(Wire::new(stream, serving.buffers.clone(), connection.clone(), serving.clock.clone()));
    let mut next = Some((wire, Bytes::new()));
    while let Some((wire, mut first)) = next.take() {
        if first.is_empty() {
            // Until something comes there is nothing but this.
            connection.rests.set(true);
            let Some(came) = first_bytes(&wire, &connection).await else { break };
            first = came;
            connection.rests.set(false);
        }
        #[cfg(feature = "http2")]
        if connection.requests.get() == 0 && super::h2::is_meant(&wire, &connection, &mut first).await {
            super::h2::converse(&serving, wire, &connection, first).await;
            break;
        }
        next = converse(&serving, wire, &connection, first).await;
    }
    if let Some(exchange) = connection.upgrading.take() {
        exchange.cancel_upgrade();
    }
    drop(enrolled);
}

/// `None`: it ended before anything came.
async fn first_bytes<S: Stream>(wire: &Wire<S>, connection: &Connection) -> Option<Bytes> {
    let first = poll_fn(|context| {
        connection.runs_as(context.waker());
        if connection.order.take().is_some() {
            return Poll::Ready(None);
        }
        Poll::Ready(ready!(wire.poll_first(context)).ok())
    });
    first.await.filter(|first| !first.is_empty())
}

/// Lets hyper talk. `Some`: nothing has come for a while, and the connection goes on without hyper; with what has come if something did.
async fn converse<S: Stream, H: Handler>(
    serving: &Rc<Serving<H>>,
    wire: Rc<Wire<S>>,
    connection: &Rc<Connection>,
    first: Bytes,
) -> Option<(Rc<Wire<S>>, Bytes)> {
    let service = serving.exchanges(connection);
    let mut conn = serving.http1.serve_connection(Io::new(wire.clone(), first), service);
    let end = run(&mut conn, &wire, connection).await;
    match end {
        End::Done(Ok(())) => {
            if let Some(exchange) = connection.upgrading.take() {
                let http1::Parts { io, read_buf, .. } = conn.into_parts();
                let ahead = io.into_first(read_buf);
                match Rc::try_unwrap(wire) {
                    Ok(wire) => exchange.upgrade(Upgraded::new(wire.stream, ahead)),
                    Err(_) => exchange.cancel_upgrade(),
                }
                poll_fn(|context| {
                    connection.runs_as(context.waker());
                    connection.order.take();
                    exchange.poll_ended(context)
                })
                .await;
                return None;
            }
            drop(conn);
            close(&wire, connection, serving.clock.now()).await;
        }
        End::Done(Err(error)) => {
            drop(conn);
            report(connection, &error);
            if !error.is_user() {
                connection.lingers.set(true);
            }
            close(&wire, connection, serving.clock.now()).await;
        }
        End::Lost(error) => tracing::debug!(target: "greenlet_net::http", "{}: {error}", connection.name()),
        End::GaveUp if connection.phase.get() == Phase::Head => {
            drop(conn);
            wire.append(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            close(&wire, connection, serving.clock.now()).await;
        }
        End::GaveUp => {}
        End::Rested => {
            let http1::Parts { io, read_buf, .. } = conn.into_parts();
            let ahead = io.into_first(read_buf);
            connection.spare.take();
            return Some((wire, ahead));
        }
    }
    None
}

/// Lets hyper work until it is done.
async fn run<S: Stream, H: Handler>(
    conn: &mut http1::Connection<Io<S>, Exchanges<H>>,
    wire: &Wire<S>,
    connection: &Connection,
) -> End {
    let mut done = None;
    poll_fn(move |context| {
        connection.runs_as(context.waker());
        match connection.order.take() {
            Some(Order::GiveUp) => return Poll::Ready(End::GaveUp),
            Some(Order::Finish) => Pin::new(&mut *conn).graceful_shutdown(),
            // It may have changed since the order was given.
            Some(Order::Rest) if done.is_none() && connection.is_quiet() && wire.is_sent() => {
                return Poll::Ready(End::Rested);
            }
            Some(Order::Rest) | None => {}
        }
        let _turn = wire.begin_turn();
        if done.is_none()
            && let Poll::Ready(end) = conn.poll_without_shutdown(context)
        {
            done = Some(end);
        }
        if let Err(error) = ready!(wire.poll_send_gathered(context)) {
            return Poll::Ready(End::Lost(error));
        }
        match done.take() {
            Some(end) => Poll::Ready(End::Done(end)),
            None => Poll::Pending,
        }
    })
    .await
}

/// Says that nothing more comes. If the client may be sending still, what it sends is awaited for a while: unread bytes would reset the
/// connection, and the response with it.
async fn close<S: Stream>(wire: &Wire<S>, connection: &Connection, now: u32) {
    connection.enter(Phase::Closing, now);
    let mut finished = false;
    poll_fn(|context| {
        connection.runs_as(context.waker());
        let _turn = wire.begin_turn();
        match connection.order.take() {
            Some(Order::GiveUp) => return Poll::Ready(()),
            // The server ends: it has no time to be polite.
            Some(Order::Finish) => connection.lingers.set(false),
            Some(Order::Rest) | None => {}
        }
        if !finished {
            if ready!(wire.poll_send_gathered(context)).is_err()
                || ready!(wire.stream.poll_finish(context)).is_err()
            {
                return Poll::Ready(());
            }
            finished = true;
        }
        if !connection.lingers.get() {
            return Poll::Ready(());
        }
        wire.poll_discard(context)
    })
    .await;
}

fn report(connection: &Connection, error: &hyper::Error) {
    if error.is_parse() || error.is_parse_too_large() {
        tracing::warn!(target: "greenlet_net::http", "{}: bad request: {error}", connection.name());
    } else {
        tracing::debug!(target: "greenlet_net::http", "{}: {error}", connection.name());
    }
}
