//! The body of a response on its way out: from the handler's greenlet to the connection's task.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use greenlet_core::Event;
use http::HeaderMap;
use http_body::Frame;

/// Bytes that may wait for the client before the writer does.
const MOST_QUEUED: usize = 64 * 1024;
/// As much of a large write is one frame.
const LARGEST_FRAME: usize = 32 * 1024;

/// What [`Body::stream`](super::Body::stream) writes to.
///
/// Each write is a chunk for the client, so put a [`BufWriter`](std::io::BufWriter) around it where they are small. A write suspends the
/// greenlet while some 64 KiB wait for the client already; a kill or timeout unwinds it from there with nothing of that write sent.
/// When the client has gone away, or has [taken nothing for too long](super::Server::write_timeout), it fails with `BrokenPipe`.
pub struct BodyWriter {
    pub(super) pipe: Rc<Pipe>,
}

/// One writer, one reader, both on one thread.
pub(super) struct Pipe {
    frames: RefCell<VecDeque<Frame<Bytes>>>,
    queued: Cell<usize>,
    state: Cell<State>,
    /// Set while there is room, or nobody to read.
    room: Event,
    reader: Cell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The writer is done.
    Finished,
    /// The writer failed, or was killed: the body must not look complete.
    Failed,
    /// As that, and the connection is about to be told.
    CutOff,
    /// The connection does not want more.
    Closed,
}

impl Pipe {
    pub(super) fn new() -> Rc<Pipe> {
        let room = Event::new();
        room.set();
        Rc::new(Pipe {
            frames: RefCell::default(),
            queued: Cell::new(0),
            state: Cell::new(State::Open),
            room,
            reader: Cell::new(None),
        })
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn end(&self, state: State) {
        if self.state.get() == State::Open {
            self.state.set(state);
            self.wake_reader();
        }
    }

    pub(super) fn finish(&self) {
        self.end(State::Finished);
    }

    pub(super) fn fail(&self) {
        self.end(State::Failed);
    }

    /// Nobody reads any more.
    pub(super) fn close(&self) {
        self.state.set(State::Closed);
        self.frames.take();
        self.room.set();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.get() == State::Closed
    }

    fn put(&self, frame: Frame<Bytes>, length: usize) -> io::Result<()> {
        loop {
            if self.state.get() != State::Open {
                return Err(gone());
            }
            if self.queued.get() == 0 || self.queued.get() + length <= MOST_QUEUED {
                break;
            }
            self.room.clear();
            self.room.wait();
        }
        self.frames.borrow_mut().push_back(frame);
        self.queued.set(self.queued.get() + length);
        self.wake_reader();
        Ok(())
    }

    pub(super) fn poll_frame(&self, context: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if let Some(frame) = self.frames.borrow_mut().pop_front() {
            let length = frame.data_ref().map_or(0, Bytes::len);
            self.queued.set(self.queued.get() - length);
            if self.queued.get() <= MOST_QUEUED / 2 {
                self.room.set();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        match self.state.get() {
            State::Open => {
                self.reader.set(Some(context.waker().clone()));
                Poll::Pending
            }
            State::Finished | State::Closed => Poll::Ready(None),
            State::Failed => {
                // What was written before is sent first.
                self.state.set(State::CutOff);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            State::CutOff => Poll::Ready(Some(Err(CutOff))),
        }
    }

    /// Whether all was taken, and no more comes.
    pub(super) fn is_at_end(&self) -> bool {
        self.state.get() == State::Finished && self.frames.borrow().is_empty()
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone away")
}

/// The writer of a body failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the response's body failed")]
pub(super) struct CutOff;

impl BodyWriter {
    /// Sends bytes without copying them. Suspends as a write.
    ///
    /// # Errors
    /// `BrokenPipe` when the client has gone away.
    pub fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        let length = bytes.len();
        if length == 0 {
            return if self.pipe.is_closed() { Err(gone()) } else { Ok(()) };
        }
        self.pipe.put(Frame::data(bytes), length)
    }

    /// Ends the body with trailers: clients of HTTP/1.1 get those that say `TE: trailers`, if the response names them in a `Trailer`
    /// header. What is written afterwards is not sent.
    ///
    /// # Errors
    /// `BrokenPipe` when the client has gone away.
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> io::Result<()> {
        self.pipe.put(Frame::trailers(trailers), 0)
    }

    /// Whether the client has gone away, as far as is known: writing says it too.
    pub fn is_closed(&self) -> bool {
        self.pipe.is_closed()
    }
}

impl Write for BodyWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = buffer.len().min(LARGEST_FRAME);
        self.send(Bytes::copy_from_slice(&buffer[..n]))?;
        Ok(n)
    }

    /// Nothing is kept back here: does nothing.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter")
            .field("queued", &self.pipe.queued.get())
            .field("closed", &self.is_closed())
            .finish()
    }
}
