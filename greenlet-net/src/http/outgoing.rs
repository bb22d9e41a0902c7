//! What hyper is given to send.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::Frames;
use super::exchange::Finish;
use super::writer::{CutOff, Pipe};

/// hyper copies as much at once to its buffer.
const PIECE: usize = 32 * 1024;

pub(super) struct Outgoing {
    source: Source,
    /// Dropped when the response was handed over entirely, or will never be.
    finish: Option<Finish>,
}

pub(super) enum Source {
    Empty,
    /// So many bytes, which are said and not sent: `HEAD`.
    Unsent(u64),
    Bytes(Bytes),
    Pipe {
        pipe: Rc<Pipe>,
        length: Option<u64>,
    },
    Frames(Frames),
}

impl Outgoing {
    pub(super) fn new(source: Source) -> Outgoing {
        Outgoing { source, finish: None }
    }

    /// Whether all that will be sent is there.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.source, Source::Empty | Source::Unsent(_) | Source::Bytes(_))
    }

    pub(super) fn finish_with(&mut self, finish: Finish) {
        self.finish = Some(finish);
    }
}

fn next_piece(bytes: &mut Bytes) -> Bytes {
    if bytes.len() > PIECE { bytes.split_to(PIECE) } else { std::mem::take(bytes) }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let (Source::Bytes(bytes), Some(finish)) = (&mut this.source, &mut this.finish) {
            // Most are this, and need nothing of what follows.
            let piece = next_piece(bytes);
            finish.sent(piece.len());
            return Poll::Ready(if piece.is_empty() { None } else { Some(Ok(Frame::data(piece))) });
        }
        let timed_out = match (&self.source, &self.finish) {
            (Source::Frames(_), Some(finish)) => finish.poll_timed_out(context).is_ready(),
            _ => false,
        };
        let polled = match &mut self.source {
            Source::Empty | Source::Unsent(_) => Poll::Ready(None),
            Source::Bytes(bytes) => {
                let piece = next_piece(bytes);
                Poll::Ready(if piece.is_empty() { None } else { Some(Ok(Frame::data(piece))) })
            }
            Source::Pipe { pipe, .. } => {
                pipe.poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            // No greenlet makes it, so none can be killed.
            Source::Frames(_) if timed_out => Poll::Ready(Some(Err(CutOff.into()))),
            Source::Frames(frames) => frames.as_mut().poll_frame(context),
        };
        match (&polled, &mut self.finish) {
            (Poll::Ready(Some(Ok(frame))), Some(finish)) => {
                finish.sent(frame.data_ref().map_or(0, Bytes::len))
            }
            (Poll::Pending, Some(finish)) => finish.waits(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Unsent(length) => *length == 0,
            Source::Bytes(bytes) => bytes.is_empty(),
            Source::Pipe { pipe, length } => *length == Some(0) || pipe.is_at_end(),
            Source::Frames(frames) => frames.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Unsent(length) => SizeHint::with_exact(*length),
            Source::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Pipe { length: Some(length), .. } => SizeHint::with_exact(*length),
            Source::Pipe { length: None, .. } => SizeHint::default(),
            Source::Frames(frames) => frames.size_hint(),
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Source::Pipe { pipe, .. } = &self.source {
            pipe.close();
        }
    }
}
