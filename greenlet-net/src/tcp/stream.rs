//! A connection.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as StdStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use greenlet_core::io::{Direction, Source};
use socket2::SockRef;

use super::connect::connect;
use super::timeout::{SharedTimeout, refuse_zero};
use super::{OwnedReadHalf, OwnedWriteHalf, split};
use crate::addr::{Task, first_success};
use crate::{Address, Stream};

/// A connection: [`std::net::TcpStream`] for greenlets.
///
/// Reading and writing suspend the calling greenlet only. One greenlet at a time may wait to read and one to write;
/// all work through `&TcpStream` too. The connection ends when the stream and its clones are dropped, by
/// [`shutdown`](TcpStream::shutdown) direction by direction, or for everybody by [`close`](TcpStream::close).
///
/// # Reading and writing
///
/// A read waits for the first byte, and returns 0 at the end of what the peer sends; a write waits for room for the
/// first byte. Empty buffers never wait. On a connection that never makes one wait, the others get a turn every 32
/// calls. A kill or timeout unwinds the greenlet from a call that waits, and then nothing was read or written by that
/// call. Errors, besides the system's own:
///
/// - `TimedOut` after the [read](TcpStream::set_read_timeout) or [write timeout](TcpStream::set_write_timeout) (std:
///   `WouldBlock` on Unix).
/// - `ResourceBusy` if another greenlet waits for the same direction.
/// - `NotConnected` if the connection was [closed](TcpStream::close).
/// - `BrokenPipe` for writing to what cannot be written any more; there is never a SIGPIPE.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::{TcpListener, TcpStream};
/// use std::io::{BufRead, BufReader, Write};
/// use std::time::Duration;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// spawn(move || listener.accept().unwrap().0.write_all(b"220 ready\r\n").unwrap());
///
/// let stream = TcpStream::connect(address)?;
/// stream.set_read_timeout(Some(Duration::from_secs(5)))?;
/// let mut greeting = String::new();
/// BufReader::new(&stream).read_line(&mut greeting)?;
/// assert_eq!(greeting, "220 ready\r\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpStream {
    connection: Arc<Connection>,
}

/// What the clones of a stream share.
struct Connection {
    source: Source<StdStream>,
    read_timeout: SharedTimeout,
    write_timeout: SharedTimeout,
}

/// Keeps SIGPIPE away where std does it call by call; elsewhere the socket itself is set so.
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: i32 = 0;

impl Connection {
    #[inline]
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.source.read(buffer, self.read_timeout.get()) {
            // An end that `close` made, in the middle of the read, is none.
            Ok(0) | Err(_) if self.source.is_closed() => Err(closed()),
            done => done,
        }
    }

    #[inline]
    fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        match self.source.write(buffer, self.write_timeout.get()) {
            Err(_) if self.source.is_closed() => Err(closed()),
            done => done,
        }
    }

    fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return self.source.at_once(|mut stream| stream.read_vectored(buffers));
        }
        self.receive(|mut stream| stream.read_vectored(buffers))
    }

    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return self.source.at_once(|stream| stream.peek(buffer));
        }
        self.receive(|stream| stream.peek(buffer))
    }

    fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        // Not std's `write_vectored`, which relies on SIGPIPE being ignored.
        let send = |stream: &StdStream| SockRef::from(stream).send_vectored_with_flags(buffers, NO_SIGNAL);
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return self.source.at_once(send);
        }
        match self.source.io(Direction::Write, self.write_timeout.get(), send) {
            Err(_) if self.source.is_closed() => Err(closed()),
            done => done,
        }
    }

    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.source.poll_read(context, buffer) {
            Poll::Ready(Ok(0) | Err(_)) if self.source.is_closed() => Poll::Ready(Err(closed())),
            done => done,
        }
    }

    fn poll_write_vectored(
        &self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let send = |stream: &StdStream| SockRef::from(stream).send_vectored_with_flags(buffers, NO_SIGNAL);
        self.source.poll_io(Direction::Write, context, send)
    }

    fn receive(&self, operation: impl FnMut(&StdStream) -> io::Result<usize>) -> io::Result<usize> {
        match self.source.io(Direction::Read, self.read_timeout.get(), operation) {
            Ok(0) | Err(_) if self.source.is_closed() => Err(closed()),
            done => done,
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection was closed")
}

fn has_clones() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "the connection has clones: drop them first")
}

impl TcpStream {
    fn from_source(source: Source<StdStream>) -> TcpStream {
        TcpStream {
            connection: Arc::new(Connection {
                source,
                read_timeout: SharedTimeout::none(),
                write_timeout: SharedTimeout::none(),
            }),
        }
    }

    fn std(&self) -> &StdStream {
        self.connection.source.get_ref()
    }

    // --- making one --------------------------------------------------------------------------------------------

    /// Connects to the first of the addresses that answers.
    ///
    /// Suspends the greenlet until the attempts are decided, one after the other; a kill or timeout unwinds it from
    /// here and closes the socket. A name is resolved by std, which blocks the thread; a numeric address is not looked
    /// up.
    ///
    /// # Errors
    /// What resolving the name failed with, or an [`AddressError`](crate::AddressError) that names the addresses tried.
    pub fn connect<A: ToSocketAddrs>(addresses: A) -> io::Result<TcpStream> {
        first_success(Task::Connect, addresses, |address| connect(address, None)).map(TcpStream::from_source)
    }

    /// Connects to one address, waiting for at most `timeout`.
    ///
    /// Suspends as [`connect`](TcpStream::connect).
    ///
    /// # Errors
    /// As [`connect`](TcpStream::connect); `TimedOut`; `InvalidInput` for a timeout of zero.
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        refuse_zero(timeout)?;
        let attempt = |address: &SocketAddr| connect(address, Some(timeout));
        first_success(Task::Connect, address, attempt).map(TcpStream::from_source)
    }

    /// Takes over a stream of std's, and sets its descriptor to non-blocking mode. Timeouts that were set on it are
    /// not taken over.
    ///
    /// # Errors
    /// What the system says to that.
    pub fn from_std(stream: StdStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        Ok(TcpStream::from_source(Source::new(stream)))
    }

    /// Gives the connection back as std's, in blocking mode and with no timeouts.
    ///
    /// # Errors
    /// `ResourceBusy` if there are clones, which cannot wait on a descriptor in blocking mode; what the system says to the
    /// change of mode.
    pub fn into_std(self) -> io::Result<StdStream> {
        let connection = Arc::try_unwrap(self.connection).map_err(|_| has_clones())?;
        let stream = connection.source.into_inner();
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    /// Another handle to the same connection: same descriptor, same timeouts, and the same places to wait, one for
    /// each direction.
    ///
    /// # Errors
    /// None; the signature is std's.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        Ok(TcpStream { connection: self.connection.clone() })
    }

    /// Splits it into its two directions, for two greenlets. Dropping the write half shuts down writing.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let clone = TcpStream { connection: self.connection.clone() };
        split::halves(clone, self)
    }

    pub(super) fn is_same(&self, other: &TcpStream) -> bool {
        Arc::ptr_eq(&self.connection, &other.connection)
    }

    // --- ending one --------------------------------------------------------------------------------------------

    /// Shuts down reading, writing or both, for all clones.
    ///
    /// Does not suspend. Who waits to read gets 0, who waits to write gets `BrokenPipe`; the peer reads what was
    /// written, then 0.
    ///
    /// # Errors
    /// What the system says, for example `NotConnected` when the peer has reset the connection.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.std().shutdown(how)
    }

    /// Ends the connection for everybody: whoever waits on it, here or on other threads, gets an error, and so does
    /// every later read and write, of clones too. The peer reads what was written, then 0.
    ///
    /// Does not suspend. The descriptor is given back when the last clone is dropped.
    pub fn close(&self) {
        self.connection.source.close();
        // It fails if the peer has ended the connection already.
        let _ = self.std().shutdown(Shutdown::Both);
    }

    /// Another handle to the same connection.
    pub(crate) fn share(&self) -> TcpStream {
        TcpStream { connection: self.connection.clone() }
    }

    /// Whether anybody else has a handle to the connection.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.connection) > 1
    }

    // --- reading without taking --------------------------------------------------------------------------------

    /// Reads and leaves it there: the next read gets the same bytes. Otherwise as a
    /// [read](TcpStream#reading-and-writing), the read timeout included.
    ///
    /// # Errors
    /// As a read.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.connection.peek(buffer)
    }

    // --- settings ----------------------------------------------------------------------------------------------

    /// The address of the other end.
    ///
    /// # Errors
    /// What the system says, for example `NotConnected`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.std().peer_addr()
    }

    /// The address of this end.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
    }

    /// How long a read, or a peek, waits for its first byte: `None` is for ever, as it is without this call. For all
    /// clones; calls that wait already are not affected.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.connection.read_timeout.set(timeout)
    }

    /// How long a write waits for room for its first byte: `None` is for ever, as it is without this call. For all
    /// clones; calls that wait already are not affected. `write_all` is several writes: each has this time.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.connection.write_timeout.set(timeout)
    }

    /// The read timeout.
    ///
    /// # Errors
    /// None; the signature is std's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.connection.read_timeout.get())
    }

    /// The write timeout.
    ///
    /// # Errors
    /// None; the signature is std's.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.connection.write_timeout.get())
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`, no Nagle's algorithm).
    ///
    /// # Errors
    /// What the system says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.std().nodelay()
    }

    /// Sets whether small writes are sent at once (`TCP_NODELAY`, no Nagle's algorithm).
    ///
    /// # Errors
    /// What the system says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.std().set_nodelay(nodelay)
    }

    /// The time to live of the packets that it sends, in hops.
    ///
    /// # Errors
    /// What the system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.std().ttl()
    }

    /// Sets the time to live of the packets that it sends, in hops.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.std().set_ttl(ttl)
    }

    /// Takes the error that is pending on the socket, if there is one.
    ///
    /// # Errors
    /// What the system says.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }
}

impl Read for &TcpStream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.connection.read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.connection.read_vectored(buffers)
    }
}

impl Read for TcpStream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }
}

impl Write for &TcpStream {
    #[inline]
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.connection.write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.connection.write_vectored(buffers)
    }

    /// Nothing is kept back here: does nothing.
    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for TcpStream {
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

impl Stream for TcpStream {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.connection.read(buffer)
    }

    fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.connection.write(buffer)
    }

    fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.connection.write_vectored(buffers)
    }

    fn poll_recv(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.connection.poll_read(context, buffer)
    }

    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.connection.source.is_closed() {
            return Err(closed());
        }
        self.std().read(buffer)
    }

    fn poll_send(&self, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.source.poll_write(context, buffer)
    }

    fn poll_send_vectored(
        &self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.poll_write_vectored(context, buffers)
    }

    fn poll_finish(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown(Shutdown::Write))
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        TcpStream::shutdown(self, how)
    }

    fn close(&self) {
        TcpStream::close(self);
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        TcpStream::set_read_timeout(self, timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        TcpStream::set_write_timeout(self, timeout)
    }

    fn peer_address(&self) -> io::Result<Address> {
        self.peer_addr().map(Address::Ip)
    }

    fn local_address(&self) -> io::Result<Address> {
        self.local_addr().map(Address::Ip)
    }
}

impl TryFrom<StdStream> for TcpStream {
    type Error = io::Error;

    /// [`TcpStream::from_std`].
    fn try_from(stream: StdStream) -> io::Result<TcpStream> {
        TcpStream::from_std(stream)
    }
}

impl TryFrom<TcpStream> for StdStream {
    type Error = io::Error;

    /// [`TcpStream::into_std`].
    fn try_from(stream: TcpStream) -> io::Result<StdStream> {
        stream.into_std()
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.std().as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.std().as_raw_fd()
    }
}

/// As std's.
impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.std(), f)
    }
}
