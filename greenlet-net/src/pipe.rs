//! Pipes, and other descriptors that are read or written as they are.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use greenlet_core::io::{Direction, Source};

use crate::timeout::SharedTimeout;

/// Makes a pipe: what is written to the second can be read from the first.
///
/// Both are non-blocking and closed on `exec`; hand one to a child process by [`into_fd`](PipeReader::into_fd).
///
/// # Errors
/// What the system says: no descriptor left.
///
/// ```
/// use greenlet_core::spawn;
/// use std::io::{Read, Write};
///
/// let (mut reader, mut writer) = greenlet_net::pipe()?;
/// spawn(move || writer.write_all(b"hello").unwrap()); // dropped here: the end
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?; // suspends this greenlet
/// assert_eq!(text, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((PipeReader::from_fd(reader.into())?, PipeWriter::from_fd(writer.into())?))
}

/// One end, and how long its calls wait. What its clones share.
#[derive(Debug)]
struct End {
    source: Source<RawEnd>,
    timeout: SharedTimeout,
}

#[derive(Debug)]
struct RawEnd(OwnedFd);

impl Read for &RawEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.0, buffer)?)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let first = buffers.iter().position(|buffer| !buffer.is_empty()).unwrap_or(0);
        Ok(rustix::io::readv(&self.0, &mut buffers[first..])?)
    }
}

impl Write for &RawEnd {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, buffer)?)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let first = buffers.iter().position(|buffer| !buffer.is_empty()).unwrap_or(0);
        Ok(rustix::io::writev(&self.0, &buffers[first..])?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for RawEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl End {
    fn adopt(fd: OwnedFd) -> io::Result<Arc<End>> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Arc::new(End { source: Source::new(RawEnd(fd)), timeout: SharedTimeout::none() }))
    }

    fn release(end: Arc<End>) -> io::Result<OwnedFd> {
        let end = Arc::try_unwrap(end).map_err(|_| {
            io::Error::new(io::ErrorKind::ResourceBusy, "this end of the pipe has clones: drop them first")
        })?;
        let RawEnd(fd) = end.source.into_inner();
        rustix::io::ioctl_fionbio(&fd, false)?;
        Ok(fd)
    }

    /// An end that was closed says so, whatever the system made of it.
    fn unless_closed<R>(&self, done: io::Result<R>) -> io::Result<R> {
        match done {
            Err(_) if self.source.is_closed() => {
                Err(io::Error::new(io::ErrorKind::NotConnected, "this end of the pipe was closed"))
            }
            done => done,
        }
    }

    fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name).field("fd", &self.source.get_ref().as_fd().as_raw_fd()).finish()
    }
}

/// The end of a pipe that is read, or any descriptor that can be read and polled: a FIFO, a terminal, an eventfd. gevent's `FileObjectPosix`.
///
/// A read waits for the first byte, and returns 0 when nobody has the other end any more. One greenlet at a time may wait; a second one gets
/// `ResourceBusy`. A kill or timeout unwinds the greenlet from a read that waits, and nothing is lost. Everything works through
/// `&PipeReader` too; for lines put a [`BufReader`](std::io::BufReader) around it.
pub struct PipeReader {
    end: Arc<End>,
}

/// The end of a pipe that is written, or any descriptor that can be written and polled.
///
/// A write waits for room, and fails with `BrokenPipe` when nobody has the other end any more: Rust's programs ignore SIGPIPE. One greenlet at
/// a time may wait; a second one gets `ResourceBusy`. A kill or timeout unwinds the greenlet from a write that waits, and then nothing was
/// written by that call. Dropping it, and its clones, is the end for the reader.
pub struct PipeWriter {
    end: Arc<End>,
}

/// What both ends have in common.
macro_rules! end {
    ($End:ident) => {
        impl $End {
            /// Takes over a descriptor, and sets it to non-blocking mode, for all who share it: a terminal or pipe that was inherited is
            /// better left alone ([`stdin`](crate::stdin)).
            ///
            /// # Errors
            /// What the system says to that.
            pub fn from_fd(fd: OwnedFd) -> io::Result<$End> {
                Ok($End { end: End::adopt(fd)? })
            }

            /// Gives the descriptor back, in blocking mode: to be given to a child process, for example.
            ///
            /// # Errors
            /// `ResourceBusy` if there are clones; what the system says to the change of mode.
            pub fn into_fd(self) -> io::Result<OwnedFd> {
                End::release(self.end)
            }

            /// Another handle to the same end: same descriptor, same timeout, same place to wait.
            ///
            /// # Errors
            /// None; the signature is std's.
            pub fn try_clone(&self) -> io::Result<$End> {
                Ok($End { end: self.end.clone() })
            }

            /// How long a call waits: `None` is for ever, as it is without this call. For all clones; calls that wait already are not
            /// affected.
            ///
            /// # Errors
            /// `InvalidInput` for zero.
            pub fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.end.timeout.set(timeout)
            }

            /// Ends the use of this end for everybody: whoever waits on it, here or on other threads, gets an error of kind
            /// `NotConnected`, and so does every later call, of clones too.
            ///
            /// Does not suspend. The other side gets to know when the last clone is dropped.
            pub fn close(&self) {
                self.end.source.close();
            }
        }

        impl AsFd for $End {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.end.source.get_ref().as_fd()
            }
        }

        impl AsRawFd for $End {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

        impl fmt::Debug for $End {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.end.debug(stringify!($End), f)
            }
        }
    };
}

end!(PipeReader);
end!(PipeWriter);

impl PipeReader {
    /// Reading for futures: never suspends, knows no timeout, and wakes the task that polled last.
    ///
    /// # Errors
    /// As a read, but for `TimedOut` and `ResourceBusy`; `Unsupported` on a thread without a hub.
    pub fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.end.source.poll_read(context, buffer).map(|done| self.end.unless_closed(done))
    }
}

impl PipeWriter {
    /// Writing for futures: never suspends, knows no timeout, and wakes the task that polled last.
    ///
    /// # Errors
    /// As a write, but for `TimedOut` and `ResourceBusy`; `Unsupported` on a thread without a hub.
    pub fn poll_write(&self, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.end.source.poll_write(context, buffer).map(|done| self.end.unless_closed(done))
    }
}

impl Read for &PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.end.unless_closed(self.end.source.read(buffer, self.end.timeout.get()))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let timeout = self.end.timeout.get();
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return self.end.source.at_once(|mut end| end.read_vectored(buffers));
        }
        let read = |mut end: &RawEnd| end.read_vectored(buffers);
        self.end.unless_closed(self.end.source.io(Direction::Read, timeout, read))
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }
}

impl Write for &PipeWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.end.unless_closed(self.end.source.write(buffer, self.end.timeout.get()))
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let timeout = self.end.timeout.get();
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return self.end.source.at_once(|mut end| end.write_vectored(buffers));
        }
        let write = |mut end: &RawEnd| end.write_vectored(buffers);
        self.end.unless_closed(self.end.source.io(Direction::Write, timeout, write))
    }

    /// Nothing is kept back here: does nothing.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for PipeWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self).write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(buffers)
    }

    /// Nothing is kept back here: does nothing.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
