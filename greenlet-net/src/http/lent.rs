//! The body of a request in the hands of a tower service, which may take it to another thread.
//!
//! What has to be done with a body that was not read concerns its connection, which stays on its hub. So the body is lent: what is left of it comes
//! back when the service drops it, and the [`Loan`], which never leaves the hub, does with it what is done with every other body.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use greenlet_core::Instant;
use greenlet_core::watcher::Timer;
use http_body::{Body, Frame, SizeHint};

use super::body::BodyTooLarge;
use super::incoming::{Incoming, cut_off, stalled};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, as services get it.
///
/// It fails with a [`BodyTooLarge`] when the client sends [more than is allowed](super::Server::max_body), and with an [`io::Error`](std::io::Error) when
/// the client goes away, does not keep to the rules, or [stalls](super::Server::body_timeout), of the kinds that [reading](super::Body) has.
pub struct RequestBody {
    source: Source,
}

enum Source {
    Bytes(Bytes),
    Lent(Box<Lent>),
}

struct Lent {
    /// `None` in `drop` only.
    frames: Option<hyper::body::Incoming>,
    limit: u64,
    left: u64,
    stall: Option<Duration>,
    /// What is there of this on the desk.
    waits: bool,
    asked: bool,
    ended: bool,
    failed: bool,
    desk: Arc<Desk>,
}

/// Where the two sides find what the other has left there.
#[derive(Default)]
struct Desk(Mutex<OnDesk>);

#[derive(Default)]
struct OnDesk {
    waits: Option<Wait>,
    stalled: bool,
    is_over: bool,
    returned: Option<Returned>,
}

/// The service waits for more.
struct Wait {
    since: Instant,
    waker: Waker,
    /// It was found to be too long, at the last look.
    is_overdue: bool,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, OnDesk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a service has left of a body.
pub(super) struct Returned {
    pub(super) frames: hyper::body::Incoming,
    pub(super) asked: bool,
    pub(super) ended: bool,
    pub(super) failed: bool,
}

/// The side of the hub.
pub(super) struct Loan {
    incoming: Incoming,
    desk: Arc<Desk>,
    /// Looks whether the client stalls.
    _watch: Option<Timer>,
}

pub(super) fn lend(
    frames: hyper::body::Incoming,
    limit: u64,
    stall: Option<Duration>,
    incoming: Incoming,
) -> (RequestBody, Loan) {
    let desk = Arc::new(Desk::default());
    let watch = stall.map(|stall| {
        let desk = desk.clone();
        let tick = (stall / 8).max(Duration::from_millis(1));
        Timer::every(tick, tick, move || look(&desk, stall)).uncounted()
    });
    let loan = Loan { incoming, desk: desk.clone(), _watch: watch };
    let (waits, asked, ended, failed) = (false, false, false, false);
    let lent = Lent { frames: Some(frames), limit, left: limit, stall, waits, asked, ended, failed, desk };
    (RequestBody { source: Source::Lent(Box::new(lent)) }, loan)
}

/// Gives up at the second look that finds the wait too long: a hub that was late may have the bytes there, and not have looked for them yet.
fn look(desk: &Desk, stall: Duration) {
    let mut on_desk = desk.lock();
    let Some(wait) = on_desk.waits.as_mut().filter(|wait| wait.since.elapsed() >= stall) else { return };
    if !std::mem::replace(&mut wait.is_overdue, true) {
        return;
    }
    on_desk.stalled = true;
    let wait = on_desk.waits.take();
    drop(on_desk);
    wait.into_iter().for_each(|wait| wait.waker.wake());
}

impl Loan {
    /// Whether the service has dropped it.
    pub(super) fn is_over(&self) -> bool {
        self.desk.lock().is_over
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let returned = self.desk.lock().returned.take();
        match returned {
            Some(returned) => self.incoming.take_back(returned),
            None => self.incoming.give_up(),
        }
    }
}

impl Lent {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(frames) = &mut self.frames else { return Poll::Ready(None) };
        self.asked = true;
        let Poll::Ready(frame) = Pin::new(frames).poll_frame(context) else {
            let mut on_desk = self.desk.lock();
            if on_desk.stalled {
                return Poll::Ready(Some(Err(stalled(self.stall.unwrap_or_default()).into())));
            }
            match &mut on_desk.waits {
                Some(wait) => wait.waker.clone_from(context.waker()),
                None => {
                    let (since, waker) = (Instant::now(), context.waker().clone());
                    on_desk.waits = Some(Wait { since, waker, is_overdue: false });
                }
            }
            self.waits = true;
            return Poll::Pending;
        };
        if std::mem::take(&mut self.waits) {
            self.desk.lock().waits = None;
        }
        match frame {
            None => {
                self.ended = true;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                self.failed = true;
                Poll::Ready(Some(Err(cut_off(error).into())))
            }
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(left) = self.left.checked_sub(length) else {
                    self.left = 0;
                    return Poll::Ready(Some(Err(BodyTooLarge { limit: self.limit }.into())));
                };
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(frames) = self.frames.take() else { return };
        let Lent { asked, ended, failed, .. } = *self;
        let mut on_desk = self.desk.lock();
        on_desk.waits = None;
        on_desk.is_over = true;
        on_desk.returned = Some(Returned { frames, asked, ended, failed });
    }
}

impl RequestBody {
    pub(super) fn of(bytes: Bytes) -> RequestBody {
        RequestBody { source: Source::Bytes(bytes) }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.source {
            Source::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Lent(lent) => lent.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Bytes(bytes) => bytes.is_empty(),
            Source::Lent(lent) => lent.frames.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Lent(lent) => lent.frames.as_ref().map(Body::size_hint).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("length", &self.size_hint().exact()).finish()
    }
}
