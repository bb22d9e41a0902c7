//! The body of a request on its way in.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use greenlet_core::future::{block_on, block_on_timeout};
use http::HeaderMap;
use http_body::{Body as _, Frame};

use super::body::BodyTooLarge;
use super::connection::Connection;

pub(super) struct Incoming {
    /// `None`: given away, or left to be discarded.
    frames: Option<hyper::body::Incoming>,
    chunk: Bytes,
    trailers: Option<HeaderMap>,
    ended: bool,
    failed: bool,
    /// Whether anything was asked for: an expected `100 Continue` is sent for that, and for nothing else.
    asked: bool,
    expects_continue: bool,
    limit: u64,
    taken: u64,
    stall: Option<Duration>,
    connection: Rc<Connection>,
}

/// The client has sent nothing of a body for too long.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("nothing of the request's body came for {after:?}")]
pub(super) struct BodyStalled {
    after: Duration,
}

type Received = Option<Result<Frame<Bytes>, hyper::Error>>;

impl Incoming {
    pub(super) fn new(
        frames: hyper::body::Incoming,
        expects_continue: bool,
        limit: u64,
        stall: Option<Duration>,
        connection: Rc<Connection>,
    ) -> Incoming {
        connection.bodies.set(connection.bodies.get() + 1);
        Incoming {
            ended: frames.is_end_stream(),
            frames: Some(frames),
            failed: false,
            chunk: Bytes::new(),
            trailers: None,
            asked: false,
            expects_continue,
            limit,
            taken: 0,
            stall,
            connection,
        }
    }

    pub(super) fn length(&self) -> Option<u64> {
        let ahead = match &self.frames {
            _ if self.ended => Some(0),
            Some(frames) => frames.size_hint().exact(),
            None => Some(0),
        };
        ahead.map(|length| length + self.chunk.len() as u64)
    }

    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Lends the frames to a service, which may take them to another thread. Nothing of them was read.
    #[cfg(feature = "tower")]
    pub(super) fn lend(mut self) -> (super::lent::RequestBody, super::lent::Loan) {
        let frames = self.frames.take().expect("frames are only taken here and in drop");
        let (limit, stall) = (self.limit, self.stall);
        super::lent::lend(frames, limit, stall, self)
    }

    /// What the service has left. Dropping this does the rest.
    #[cfg(feature = "tower")]
    pub(super) fn take_back(&mut self, returned: super::lent::Returned) {
        self.frames = Some(returned.frames);
        self.asked = returned.asked;
        self.ended = returned.ended;
        self.failed = returned.failed;
    }

    /// The service has them still, and may never give them back.
    #[cfg(feature = "tower")]
    pub(super) fn give_up(&mut self) {
        self.connection.lingers.set(true);
    }

    /// Bytes to read; none at the end.
    pub(super) fn fill(&mut self) -> io::Result<&[u8]> {
        while self.chunk.is_empty() && !self.ended {
            self.asked = true;
            match self.next() {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.take(data)?,
                    Err(other) => self.trailers = other.into_trailers().ok(),
                },
                Ok(Some(Err(error))) => {
                    self.ended = true;
                    self.failed = true;
                    return Err(cut_off(error));
                }
                Ok(None) => self.ended = true,
                Err(stalled) => return Err(stalled),
            }
        }
        Ok(&self.chunk)
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.chunk.advance(n.min(self.chunk.len()));
    }

    fn take(&mut self, data: Bytes) -> io::Result<()> {
        self.taken = self.taken.saturating_add(data.len() as u64);
        if self.taken > self.limit {
            return Err(BodyTooLarge { limit: self.limit }.into());
        }
        self.chunk = data;
        Ok(())
    }

    /// The next frame; suspends the greenlet until it is there.
    fn next(&mut self) -> io::Result<Received> {
        let Some(frames) = &mut self.frames else { return Ok(None) };
        let mut next = pin!(poll_fn(|context| Pin::new(&mut *frames).poll_frame(context)));
        // What is there already needs no waker.
        if let Poll::Ready(frame) = next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Ok(frame);
        }
        match self.stall {
            None => Ok(block_on(next)),
            Some(stall) => block_on_timeout(next, stall).map_err(|_| stalled(stall)),
        }
    }
}

pub(super) fn stalled(after: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, BodyStalled { after })
}

/// What the rest of the body cannot be had for.
pub(super) fn cut_off(error: hyper::Error) -> io::Error {
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return io::Error::new(cause.kind(), error);
        }
        source = cause.source();
    }
    let kind = if error.is_parse() { io::ErrorKind::InvalidData } else { io::ErrorKind::UnexpectedEof };
    io::Error::new(kind, error)
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let Some(frames) = self.frames.take() else { return };
        // A client that waits for leave to send its body does not get it any more. The connection ends after the response.
        let never_comes = self.expects_continue && !self.asked;
        if self.failed {
            return;
        }
        if self.ended || frames.is_end_stream() {
            self.connection.body_has_come();
        } else {
            if never_comes {
                self.connection.lingers.set(true);
            } else {
                self.connection.discard(frames);
            }
        }
    }
}

/// What became of a body that nobody read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rest {
    Discarded,
    Left,
}

/// Throws away what nobody read, up to a limit: then the connection ends with the response.
pub(super) async fn discard(mut frames: hyper::body::Incoming, limit: u64) -> Rest {
    let mut left = limit;
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut frames).poll_frame(context)).await {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return Rest::Left,
        }
    }
    Rest::Discarded
}
