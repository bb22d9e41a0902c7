//! The two directions of a connection, each with an owner.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use crate::connection::Connection;
use crate::{Stream, TcpStream};

/// A stream that can be split: [`TcpStream`] and [`UnixStream`](crate::UnixStream).
pub trait Split: Stream {
    /// What its clones share.
    fn connection(&self) -> &Arc<Connection>;
}

/// The reading half of a connection, made by [`TcpStream::into_split`] or
/// [`UnixStream::into_split`](crate::UnixStream::into_split).
///
/// Its `AsRef` is the stream, for timeouts, addresses and [`close`](TcpStream::close). Dropping it does not end reading:
/// the connection lives on until the other half is dropped too.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::{TcpListener, TcpStream};
/// use std::io::{Read, Write, copy};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// spawn(move || {
///     let (mut reader, mut writer) = listener.accept().unwrap().0.into_split();
///     copy(&mut reader, &mut writer).unwrap();
/// });
///
/// let (mut reader, mut writer) = TcpStream::connect(address)?.into_split();
/// let sender = spawn(move || writer.write_all(b"hello")); // drops its half: the end of what is sent
/// let mut answer = String::new();
/// reader.read_to_string(&mut answer)?;
/// assert_eq!(answer, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct OwnedReadHalf<S: Split = TcpStream> {
    stream: S,
}

/// The writing half of a connection, made by [`TcpStream::into_split`] or
/// [`UnixStream::into_split`](crate::UnixStream::into_split).
///
/// Its `AsRef` is the stream, for timeouts, addresses and [`close`](TcpStream::close). Dropping it shuts down writing: the
/// peer reads what was written, then the end.
#[derive(Debug)]
pub struct OwnedWriteHalf<S: Split = TcpStream> {
    stream: S,
    on_drop: OnDrop,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OnDrop {
    ShutDown,
    Nothing,
}

/// The halves belong to different connections; they come back unchanged.
#[derive(Debug, thiserror::Error)]
#[error("the read half and the write half belong to different connections")]
pub struct ReuniteError<S: Split = TcpStream>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

pub(crate) fn halves<S: Split>(reading: S, writing: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    (OwnedReadHalf { stream: reading }, OwnedWriteHalf { stream: writing, on_drop: OnDrop::ShutDown })
}

impl<S: Split> OwnedReadHalf<S> {
    /// Reads and leaves it there: see [`TcpStream::peek`].
    ///
    /// # Errors
    /// As a [read](TcpStream#reading-and-writing).
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.connection().peek(buffer)
    }

    /// Makes the stream again that both halves come from, and shuts down nothing.
    ///
    /// # Errors
    /// [`ReuniteError`] with both halves if they belong to different connections.
    pub fn reunite(self, mut writer: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !Arc::ptr_eq(self.stream.connection(), writer.stream.connection()) {
            return Err(ReuniteError(self, writer));
        }
        writer.on_drop = OnDrop::Nothing;
        Ok(self.stream)
    }
}

impl<S: Split> OwnedWriteHalf<S> {
    /// Drops it without shutting down writing.
    pub fn forget(mut self) {
        self.on_drop = OnDrop::Nothing;
    }
}

impl<S: Split> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::ShutDown {
            // It fails if the peer has ended the connection already.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }
}

impl<S: Split> AsRef<S> for OwnedReadHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: Split> AsRef<S> for OwnedWriteHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: Split> Read for &OwnedReadHalf<S> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.connection().read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.stream.connection().read_vectored(buffers, None)
    }
}

impl<S: Split> Read for OwnedReadHalf<S> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }
}

impl<S: Split> Write for &OwnedWriteHalf<S> {
    #[inline]
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.connection().write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.connection().write_vectored(buffers, None)
    }

    /// Nothing is kept back here: does nothing.
    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Split> Write for OwnedWriteHalf<S> {
    #[inline]
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self).write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(buffers)
    }

    /// Nothing is kept back here: does nothing.
    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
