//! The two directions of a session, each with an owner.

use std::io::{self, IoSlice, Read, Write};

use super::TlsStream;
use crate::{Stream, TcpStream};

/// The reading half of a session, made by [`TlsStream::into_split`]. Its `AsRef` is the stream, for timeouts, addresses and
/// [`close`](TlsStream::close).
///
/// Dropping it does not end reading: the connection lives on until the other half is dropped too.
#[derive(Debug)]
pub struct ReadHalf<S: Stream = TcpStream> {
    stream: TlsStream<S>,
}

/// The writing half of a session, made by [`TlsStream::into_split`]. Its `AsRef` is the stream.
///
/// Dropping it ends what is sent: with a `close_notify` if everything before it was sent and nothing unwinds, so that the peer can tell
/// a complete stream from one that was cut off. Dropping it does not wait; [`shutdown`](TlsStream::shutdown) does.
#[derive(Debug)]
pub struct WriteHalf<S: Stream = TcpStream> {
    stream: TlsStream<S>,
    on_drop: OnDrop,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OnDrop {
    ShutDown,
    Nothing,
}

/// The halves belong to different sessions; they come back unchanged.
#[derive(Debug, thiserror::Error)]
#[error("the read half and the write half belong to different sessions")]
pub struct ReuniteError<S: Stream = TcpStream>(pub ReadHalf<S>, pub WriteHalf<S>);

pub(super) fn halves<S: Stream>(stream: TlsStream<S>) -> (ReadHalf<S>, WriteHalf<S>) {
    (ReadHalf { stream: stream.handle() }, WriteHalf { stream, on_drop: OnDrop::ShutDown })
}

impl<S: Stream> ReadHalf<S> {
    /// Makes the stream again that both halves come from, and shuts down nothing.
    ///
    /// # Errors
    /// [`ReuniteError`] with both halves if they belong to different sessions.
    pub fn reunite(self, mut writer: WriteHalf<S>) -> Result<TlsStream<S>, ReuniteError<S>> {
        if !self.stream.is_same(&writer.stream) {
            return Err(ReuniteError(self, writer));
        }
        writer.on_drop = OnDrop::Nothing;
        Ok(self.stream)
    }
}

impl<S: Stream> AsRef<TlsStream<S>> for ReadHalf<S> {
    fn as_ref(&self) -> &TlsStream<S> {
        &self.stream
    }
}

impl<S: Stream> AsRef<TlsStream<S>> for WriteHalf<S> {
    fn as_ref(&self) -> &TlsStream<S> {
        &self.stream
    }
}

impl<S: Stream> Read for ReadHalf<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(buffer)
    }
}

impl<S: Stream> Write for WriteHalf<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&self.stream).write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.stream).write_vectored(buffers)
    }

    fn write_all(&mut self, buffer: &[u8]) -> io::Result<()> {
        (&self.stream).write_all(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Stream::flush(&self.stream)
    }
}

impl<S: Stream> Drop for WriteHalf<S> {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::ShutDown {
            self.stream.finish_without_waiting();
        }
    }
}
