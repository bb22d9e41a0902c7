//! A limit of time for several calls together.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::time::Duration;

use greenlet_core::Instant;

use crate::Stream;

/// A stream for so long: everything that is read and written through it has one limit of time, together.
///
/// A read or write timeout of the stream starts anew with each call, so a peer that takes a byte now and then holds up a `write_all` for
/// ever. Here the time that is left shrinks, and once it is over every call fails with `TimedOut`, also one that could go on. (gevent:
/// the timeout of `sendall`.)
///
/// [`with_timeout`](greenlet_core::with_timeout) bounds any code, but unwinds it from wherever it waits, and how much of a `write_all` was
/// written nobody knows. Here the caller gets an ordinary error, and [`sent`](Within::sent) and [`received`](Within::received) tell how far
/// it came: he can go on from there. It works on threads without greenlets as well. Timeouts of the stream itself count as before.
///
/// ```
/// use greenlet_net::{TcpListener, TcpStream, Within};
/// use std::io::{ErrorKind, Read, Write};
/// use std::time::Duration;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut peer = TcpStream::connect(listener.local_addr()?)?;
/// let (stream, _) = listener.accept()?;
/// peer.write_all(b"only six bytes".split_at(6).0)?;
///
/// let mut header = [0; 12];
/// let mut limited = stream.within(Duration::from_millis(20));
/// let error = limited.read_exact(&mut header).unwrap_err();
/// assert_eq!((error.kind(), limited.received()), (ErrorKind::TimedOut, 6));
/// assert_eq!(&header[..6], b"only s");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Within<'a, S: Stream + ?Sized> {
    stream: &'a S,
    /// `None`: beyond the end of the clock.
    deadline: Option<Instant>,
    received: u64,
    sent: u64,
}

impl<'a, S: Stream + ?Sized> Within<'a, S> {
    /// The time begins now. For `dyn Stream`; the streams themselves have a method `within`.
    pub fn new(stream: &'a S, limit: Duration) -> Within<'a, S> {
        Within { stream, deadline: Instant::now().checked_add(limit), received: 0, sent: 0 }
    }

    /// How many bytes were received through it.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How many bytes were sent through it.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |deadline| deadline.duration_since(Instant::now()))
    }

    fn left_or_timed_out(&self) -> io::Result<Duration> {
        match self.left() {
            Duration::ZERO => Err(io::Error::new(io::ErrorKind::TimedOut, "timed out")),
            left => Ok(left),
        }
    }
}

impl<S: Stream + ?Sized> Read for Within<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.recv_within(buffer, self.left_or_timed_out()?)?;
        self.received += n as u64;
        Ok(n)
    }
}

impl<S: Stream + ?Sized> Write for Within<'_, S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buffer)])
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let n = self.stream.send_within(buffers, self.left_or_timed_out()?)?;
        self.sent += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S: Stream + ?Sized> fmt::Debug for Within<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Within").field("left", &self.left()).finish_non_exhaustive()
    }
}
