//! hyper's view of a stream.

use std::cell::{Cell, RefCell, RefMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::connection::{Connection, Phase};
use super::watch::Clock;
use crate::Stream;

/// What comes is read in here first, which needs no memory for those who wait.
const SCRATCH: usize = 32 * 1024;
/// As much may be gathered before it is sent.
const GATHERED: usize = 16 * 1024;

/// Buffers that all connections of a hub share: nobody keeps anything in them from one turn to the next.
pub(super) struct Buffers {
    incoming: RefCell<Box<[u8]>>,
    outgoing: RefCell<Vec<u8>>,
}

impl Buffers {
    pub(super) fn new() -> Buffers {
        Buffers {
            incoming: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            outgoing: RefCell::new(Vec::with_capacity(GATHERED)),
        }
    }
}

/// See [`Wire::begin_turn`].
#[must_use = "it is the turn"]
pub(super) struct Turn(Rc<Buffers>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.outgoing.borrow_mut().clear();
    }
}

/// A stream, and what is to be sent on it.
///
/// What is written in one turn of the connection's task is gathered, and sent at the [end](Wire::poll_send_gathered) of the turn: the
/// responses to pipelined requests leave in one piece.
pub(super) struct Wire<S> {
    pub(super) stream: S,
    buffers: Rc<Buffers>,
    connection: Rc<Connection>,
    clock: Clock,
    /// Gathered in earlier turns, and not taken by the system yet.
    unsent: RefCell<Vec<u8>>,
    sent_of_unsent: Cell<usize>,
    /// hyper has bytes for which there was no room.
    hyper_waits: Cell<bool>,
}

impl<S: Stream> Wire<S> {
    pub(super) fn new(stream: S, buffers: Rc<Buffers>, connection: Rc<Connection>, clock: Clock) -> Wire<S> {
        let (unsent, sent_of_unsent) = (RefCell::default(), Cell::new(0));
        let hyper_waits = Cell::new(false);
        Wire { stream, buffers, connection, clock, unsent, sent_of_unsent, hyper_waits }
    }

    /// The first bytes that come; none at the end.
    pub(super) fn poll_first(&self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut incoming = self.buffers.incoming.borrow_mut();
        let n = ready!(self.stream.poll_recv(context, &mut incoming))?;
        self.received(n);
        Poll::Ready(Ok(Bytes::copy_from_slice(&incoming[..n])))
    }

    /// Whether the system has taken everything.
    pub(super) fn is_sent(&self) -> bool {
        self.unsent.borrow().is_empty()
    }

    /// Adds to what is sent, behind all that hyper has written.
    pub(super) fn append(&self, bytes: &[u8]) {
        self.unsent.borrow_mut().extend_from_slice(bytes);
    }

    /// Throws away what comes, until its end.
    pub(super) fn poll_discard(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut incoming = self.buffers.incoming.borrow_mut();
        loop {
            match ready!(self.stream.poll_recv(context, &mut incoming)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }

    fn received(&self, n: usize) {
        if n > 0 && self.connection.phase.get() == Phase::Idle && !self.connection.multiplexed.get() {
            self.connection.enter(Phase::Head, self.clock.now());
        }
    }

    fn progress(&self) {
        self.connection.stuck_since.set(0);
    }

    fn stuck(&self) {
        if self.connection.stuck_since.get() == 0 {
            self.connection.stuck_since.set(self.clock.now());
        }
    }

    fn noting<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Pending => self.stuck(),
            Poll::Ready(_) => self.progress(),
        }
        polled
    }

    /// A turn of the task, in which bytes are gathered for [`poll_send_gathered`](Wire::poll_send_gathered). However it ends, also when what is polled in it
    /// panics, the buffer that all connections share is empty afterwards.
    pub(super) fn begin_turn(&self) -> Turn {
        self.buffers.outgoing.borrow_mut().clear();
        Turn(self.buffers.clone())
    }

    /// Sends what was gathered; what the system does not take now is kept. Whatever comes of it, the buffer that all connections share is
    /// empty afterwards: nothing of this one may ever be sent on another.
    pub(super) fn poll_send_gathered(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        struct Emptied<'a>(RefMut<'a, Vec<u8>>);
        impl Drop for Emptied<'_> {
            fn drop(&mut self) {
                self.0.clear();
            }
        }
        let outgoing = Emptied(self.buffers.outgoing.borrow_mut());
        let outgoing = &outgoing.0;
        match self.poll_send_unsent(context) {
            Poll::Ready(done) => done?,
            Poll::Pending => {
                self.unsent.borrow_mut().extend_from_slice(outgoing);
                return Poll::Pending;
            }
        }
        let mut sent = 0;
        while sent < outgoing.len() {
            match self.noting(self.stream.poll_send(context, &outgoing[sent..])) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.unsent.borrow_mut().extend_from_slice(&outgoing[sent..]);
                    return Poll::Pending;
                }
            }
        }
        match self.stream.poll_flush(context) {
            // Of what was sent here: there may be more that hyper has still.
            Poll::Ready(Ok(())) if self.hyper_waits.get() => Poll::Ready(Ok(())),
            flushed => self.noting(flushed),
        }
    }

    fn poll_send_unsent(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut unsent = self.unsent.borrow_mut();
        if unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut from = self.sent_of_unsent.get();
        while from < unsent.len() {
            match self.noting(self.stream.poll_send(context, &unsent[from..])) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    from += n;
                    self.sent_of_unsent.set(from);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        *unsent = Vec::new();
        self.sent_of_unsent.set(0);
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn poll_write(&self, context: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        if self.unsent.borrow().is_empty() {
            let mut outgoing = self.buffers.outgoing.borrow_mut();
            if outgoing.len() + piece.len() <= GATHERED {
                outgoing.extend_from_slice(piece);
                return Poll::Ready(Ok(piece.len()));
            }
        }
        self.poll_write_vectored(context, &[IoSlice::new(piece)])
    }

    fn poll_write_vectored(
        &self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        if self.unsent.borrow().is_empty() {
            let mut outgoing = self.buffers.outgoing.borrow_mut();
            if outgoing.len() + length <= GATHERED {
                pieces.iter().for_each(|piece| outgoing.extend_from_slice(piece));
                return Poll::Ready(Ok(length));
            }
        }
        ready!(self.poll_send_gathered(context))?;
        let sent = self.noting(self.stream.poll_send_vectored(context, pieces));
        self.hyper_waits.set(sent.is_pending());
        sent
    }
}

/// What hyper reads from and writes to.
pub(super) struct Io<S> {
    wire: Rc<Wire<S>>,
    /// Read before hyper was asked.
    first: Bytes,
}

impl<S: Stream> Io<S> {
    pub(super) fn new(wire: Rc<Wire<S>>, first: Bytes) -> Io<S> {
        Io { wire, first }
    }

    /// What was read and not used, followed by what hyper has of that kind.
    pub(super) fn into_first(self, read: Bytes) -> Bytes {
        match (self.first.is_empty(), read.is_empty()) {
            // Not the empty rest of what may hold a large buffer.
            (true, true) => Bytes::new(),
            (true, false) => read,
            (_, true) => self.first,
            _ => [read, self.first].concat().into(),
        }
    }
}

impl<S: Stream> Read for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.first.is_empty() {
            let n = this.first.len().min(buffer.remaining());
            buffer.put_slice(&this.first[..n]);
            this.first.advance(n);
            if this.first.is_empty() {
                this.first = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let wire = &this.wire;
        let mut incoming = wire.buffers.incoming.borrow_mut();
        let room = incoming.len().min(buffer.remaining());
        let n = ready!(wire.stream.poll_recv(context, &mut incoming[..room]))?;
        wire.received(n);
        buffer.put_slice(&incoming[..n]);
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> Write for Io<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.poll_write(context, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wire.poll_write_vectored(context, buffers)
    }

    /// hyper then gathers in one buffer, which costs less than its list of buffers where responses are small. Where they are large, they come in
    /// [pieces](super::outgoing).
    fn is_write_vectored(&self) -> bool {
        false
    }

    /// At the end of the turn.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.wire.poll_send_gathered(context))?;
        self.wire.stream.poll_finish(context)
    }
}
