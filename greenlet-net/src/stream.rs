//! What all connected byte streams have in common.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use greenlet_core::with_timeout;

use crate::Address;

/// A connection of bytes, for greenlets and for futures: TCP, Unix, TLS.
///
/// What is built on connections takes any of them through this trait, as a type parameter or as `dyn Stream`; for those who just
/// read and write there are `Read` and `Write`, on the streams themselves and on `&dyn Stream`.
///
/// One greenlet at a time may wait to receive and one to send. The `poll_` methods are for futures that a greenlet runs
/// ([`block_on`](greenlet_core::future::block_on), [`Executor`](greenlet_core::future::Executor)): they never suspend, know no timeouts, and wake the
/// task that polled last for that direction.
pub trait Stream: fmt::Debug + Send + Sync + 'static {
    /// Receives once, waiting for the first byte, for the read timeout at most. 0 is the end of what the peer sends.
    ///
    /// # Errors
    /// As [reading of a `TcpStream`](crate::TcpStream#reading-and-writing).
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// As [`recv`](Stream::recv), waiting for at most `limit` too. What calls have in common is limited by [`Within`](crate::Within).
    ///
    /// # Errors
    /// As `recv`; `TimedOut`.
    fn recv_within(&self, buffer: &mut [u8], limit: Duration) -> io::Result<usize> {
        with_timeout(limit, || self.recv(buffer)).unwrap_or_else(|_| Err(timed_out()))
    }

    /// Sends once, waiting for room for the first byte, for the write timeout at most.
    ///
    /// # Errors
    /// As [writing of a `TcpStream`](crate::TcpStream#reading-and-writing).
    fn send(&self, buffer: &[u8]) -> io::Result<usize>;

    /// As [`send`](Stream::send), from several buffers.
    ///
    /// # Errors
    /// As `send`.
    fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;

    /// As [`send_vectored`](Stream::send_vectored), waiting for at most `limit` too.
    ///
    /// # Errors
    /// As `send`; `TimedOut`.
    fn send_within(&self, buffers: &[IoSlice<'_>], limit: Duration) -> io::Result<usize> {
        with_timeout(limit, || self.send_vectored(buffers)).unwrap_or_else(|_| Err(timed_out()))
    }

    /// Sends what a stream keeps back until there is more of it. Nothing where nothing is kept back.
    ///
    /// # Errors
    /// As [`send`](Stream::send).
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    /// [`recv`](Stream::recv) for futures.
    ///
    /// # Errors
    /// As `recv`, but for `TimedOut` and `ResourceBusy`.
    fn poll_recv(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Receives what is there, and never waits. It asks the system where the other ways to receive may know already that there is nothing, and
    /// so finds what has arrived since the loop last looked. For the end of a connection, when nobody receives any more.
    ///
    /// # Errors
    /// As [`poll_recv`](Stream::poll_recv); `WouldBlock` where there is nothing.
    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.poll_recv(&mut Context::from_waker(Waker::noop()), buffer) {
            Poll::Ready(received) => received,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// [`send`](Stream::send) for futures.
    ///
    /// # Errors
    /// As `send`, but for `TimedOut` and `ResourceBusy`.
    fn poll_send(&self, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>>;

    /// [`send_vectored`](Stream::send_vectored) for futures.
    ///
    /// # Errors
    /// As `poll_send`.
    fn poll_send_vectored(
        &self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// [`flush`](Stream::flush) for futures.
    ///
    /// # Errors
    /// As `poll_send`.
    fn poll_flush(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Tells the peer that nothing more will be sent: for TLS a `close_notify`, then, for all, the end of the transport's bytes.
    ///
    /// # Errors
    /// As `poll_send`.
    fn poll_finish(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Shuts down reading, writing or both; writing as [`poll_finish`](Stream::poll_finish) does.
    ///
    /// # Errors
    /// What the system says, for example `NotConnected` when the peer has reset the connection.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;

    /// Ends the connection for everybody: who waits on it gets an error of kind `NotConnected`, and so does every later call.
    ///
    /// Does not suspend.
    fn close(&self);

    /// How long receiving waits for its first byte; `None` is for ever.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;

    /// How long sending waits for room for its first byte; `None` is for ever.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;

    /// The address of the other end.
    ///
    /// # Errors
    /// What the system says, for example `NotConnected`.
    fn peer_address(&self) -> io::Result<Address>;

    /// The address of this end.
    ///
    /// # Errors
    /// What the system says.
    fn local_address(&self) -> io::Result<Address>;
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "timed out")
}

impl Read for &dyn Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv(buffer)
    }
}

impl Write for &dyn Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.send(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Stream::flush(*self)
    }
}
