//! What the clones of a stream share, whatever kind of socket it has.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use greenlet_core::io::{Direction, Source};
use socket2::SockRef;

use crate::socket::{Ends, Socket};
use crate::timeout::{SharedTimeout, shorter};

/// A connected socket and how long its calls wait.
#[derive(Debug)]
pub struct Connection {
    source: Source<Socket>,
    pub(crate) read_timeout: SharedTimeout,
    pub(crate) write_timeout: SharedTimeout,
}

impl Connection {
    pub(crate) fn new(socket: Socket) -> Arc<Connection> {
        Connection::from_source(Source::new(socket))
    }

    /// Of a socket that was waited on already.
    pub(crate) fn from_source(source: Source<Socket>) -> Arc<Connection> {
        Arc::new(Connection {
            source,
            read_timeout: SharedTimeout::none(),
            write_timeout: SharedTimeout::none(),
        })
    }

    pub(crate) fn socket(&self) -> &Socket {
        self.source.get_ref()
    }

    pub(crate) fn options(&self) -> SockRef<'_> {
        self.socket().options()
    }

    /// The descriptor in blocking mode, if nobody else has it.
    pub(crate) fn into_fd(connection: Arc<Connection>) -> io::Result<OwnedFd> {
        let connection = Arc::try_unwrap(connection).map_err(|_| has_clones())?;
        connection.source.into_inner().release()
    }

    #[inline]
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_within(buffer, None)
    }

    #[inline]
    pub(crate) fn read_within(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<usize> {
        self.unless_closed_at_end(self.source.read(buffer, shorter(self.read_timeout.get(), limit)))
    }

    #[inline]
    pub(crate) fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        self.write_within(buffer, None)
    }

    #[inline]
    pub(crate) fn write_within(&self, buffer: &[u8], limit: Option<Duration>) -> io::Result<usize> {
        self.unless_closed(self.source.write(buffer, shorter(self.write_timeout.get(), limit)))
    }

    pub(crate) fn read_vectored(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        limit: Option<Duration>,
    ) -> io::Result<usize> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return self.source.at_once(|mut socket| socket.read_vectored(buffers));
        }
        self.receive(limit, |mut socket| socket.read_vectored(buffers))
    }

    pub(crate) fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return self.source.at_once(|socket| socket.peek(buffer));
        }
        self.receive(None, |socket| socket.peek(buffer))
    }

    pub(crate) fn write_vectored(
        &self,
        buffers: &[IoSlice<'_>],
        limit: Option<Duration>,
    ) -> io::Result<usize> {
        let send = |socket: &Socket| socket.send_vectored(buffers);
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return self.source.at_once(send);
        }
        self.transmit(limit, send)
    }

    /// Asks the system, whatever is known of the descriptor. Never waits.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.source.is_closed() {
            return Err(closed());
        }
        self.source.get_ref().read(buffer)
    }

    pub(crate) fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.source.poll_read(context, buffer).map(|done| self.unless_closed_at_end(done))
    }

    pub(crate) fn poll_write(&self, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.source.poll_write(context, buffer).map(|done| self.unless_closed(done))
    }

    pub(crate) fn poll_write_vectored(
        &self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let send = |socket: &Socket| socket.send_vectored(buffers);
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Poll::Ready(self.source.at_once(send));
        }
        self.source.poll_io(Direction::Write, context, send).map(|done| self.unless_closed(done))
    }

    /// An operation that receives: waits for what there is to read.
    pub(crate) fn receive(
        &self,
        limit: Option<Duration>,
        operation: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let timeout = shorter(self.read_timeout.get(), limit);
        self.unless_closed_at_end(self.source.io(Direction::Read, timeout, operation))
    }

    /// An operation that sends: waits for room.
    pub(crate) fn transmit<R>(
        &self,
        limit: Option<Duration>,
        operation: impl FnMut(&Socket) -> io::Result<R>,
    ) -> io::Result<R> {
        let timeout = shorter(self.write_timeout.get(), limit);
        self.unless_closed(self.source.io(Direction::Write, timeout, operation))
    }

    fn unless_closed<R>(&self, done: io::Result<R>) -> io::Result<R> {
        match done {
            Err(_) if self.source.is_closed() => Err(closed()),
            done => done,
        }
    }

    /// An end that `close` made, in the middle of a read, is none.
    #[inline]
    fn unless_closed_at_end(&self, done: io::Result<usize>) -> io::Result<usize> {
        match done {
            Ok(0) | Err(_) if self.source.is_closed() => Err(closed()),
            done => done,
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket().shutdown(how)
    }

    pub(crate) fn close(&self) {
        self.source.close();
        // It fails if the peer has ended the connection already.
        let _ = self.shutdown(Shutdown::Both);
    }

    pub(crate) fn debug(&self, name: &str, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.socket().debug(name, Ends::Both, f)
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection was closed")
}

fn has_clones() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "the connection has clones: drop them first")
}

/// Makes a struct with a field `connection: Arc<Connection>` a stream: std's methods and traits, and [`Stream`](crate::Stream).
///
/// A macro, because std's methods are not those of a trait and want their documentation at the type.
macro_rules! connected_stream {
    ($Stream:ident, std: $Std:ty, address: $Address:ty) => {
        impl $Stream {
            pub(crate) fn from_connection(
                connection: std::sync::Arc<crate::connection::Connection>,
            ) -> $Stream {
                $Stream { connection }
            }

            // --- making one --------------------------------------------------------------------------------------

            /// Takes over a stream of std's, and sets its descriptor to non-blocking mode. Timeouts that were set on it are
            /// not taken over.
            ///
            /// # Errors
            /// What the system says to that.
            pub fn from_std(stream: $Std) -> io::Result<$Stream> {
                let socket = crate::socket::Socket::adopt(stream.into())?;
                Ok($Stream::from_connection(crate::connection::Connection::new(socket)))
            }

            /// Gives the connection back as std's, in blocking mode and with no timeouts.
            ///
            /// # Errors
            /// `ResourceBusy` if there are clones, which cannot wait on a descriptor in blocking mode; what the system says to
            /// the change of mode.
            pub fn into_std(self) -> io::Result<$Std> {
                crate::connection::Connection::into_fd(self.connection).map(<$Std>::from)
            }

            /// Another handle to the same connection: same descriptor, same timeouts, and the same places to wait, one for
            /// each direction.
            ///
            /// # Errors
            /// None; the signature is std's.
            pub fn try_clone(&self) -> io::Result<$Stream> {
                Ok($Stream { connection: self.connection.clone() })
            }

            /// Splits it into its two directions, for two greenlets. Dropping the write half shuts down writing.
            pub fn into_split(self) -> (crate::OwnedReadHalf<$Stream>, crate::OwnedWriteHalf<$Stream>) {
                let clone = $Stream { connection: self.connection.clone() };
                crate::split::halves(clone, self)
            }

            // --- ending one --------------------------------------------------------------------------------------

            /// Shuts down reading, writing or both, for all clones.
            ///
            /// Does not suspend. Who waits to read gets 0, who waits to write gets `BrokenPipe`; the peer reads what was
            /// written, then 0.
            ///
            /// # Errors
            /// What the system says, for example `NotConnected` when the peer has reset the connection.
            pub fn shutdown(&self, how: std::net::Shutdown) -> io::Result<()> {
                self.connection.shutdown(how)
            }

            /// Ends the connection for everybody: whoever waits on it, here or on other threads, gets an error, and so does
            /// every later read and write, of clones too. The peer reads what was written, then 0.
            ///
            /// Does not suspend. The descriptor is given back when the last clone is dropped.
            pub fn close(&self) {
                self.connection.close();
            }

            /// Another handle to the same connection.
            pub(crate) fn share(&self) -> $Stream {
                $Stream { connection: self.connection.clone() }
            }

            /// Whether anybody else has a handle to the connection.
            pub(crate) fn is_shared(&self) -> bool {
                std::sync::Arc::strong_count(&self.connection) > 1
            }

            // --- beyond reading and writing ----------------------------------------------------------------------

            /// Reads and leaves it there: the next read gets the same bytes. Otherwise as a
            /// [read](Self#reading-and-writing), the read timeout included.
            ///
            /// # Errors
            /// As a read.
            pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.connection.peek(buffer)
            }

            /// The stream for so long: all reads and writes through what this returns have one limit of time, together. For
            /// `write_all`, `read_exact`, `read_to_end`, a line of a `BufReader` and whatever else is several calls.
            ///
            /// ```no_run
            #[doc = concat!("# use greenlet_net::", stringify!($Stream), ";")]
            /// # use std::{io::Write, time::Duration};
            #[doc = concat!("# fn send(stream: ", stringify!($Stream), ", page: &[u8]) -> std::io::Result<()> {")]
            /// stream.within(Duration::from_secs(10)).write_all(page)?; // all of it in 10 seconds
            /// # Ok(())
            /// # }
            /// ```
            pub fn within(&self, limit: std::time::Duration) -> crate::Within<'_, $Stream> {
                crate::Within::new(self, limit)
            }

            /// Sends `count` bytes of a file, or all from `offset` to its end, without copying them through this program
            /// (`sendfile`). Returns how many were sent: fewer only if the file ended first.
            ///
            /// Suspends while there is no room; the [write timeout](Self::set_write_timeout) counts for each wait. Reading the
            /// file itself is not waited for: what is not in the system's cache blocks the thread for as long as the disk takes.
            /// The file's own position does not move. A kill or timeout unwinds from here; what was sent before was sent.
            ///
            /// # Errors
            /// As a [write](Self#reading-and-writing); `InvalidInput` where the system cannot do it with that kind of file.
            #[cfg(target_os = "linux")]
            pub fn send_file(
                &self,
                file: impl std::os::fd::AsFd,
                offset: u64,
                count: Option<u64>,
            ) -> io::Result<u64> {
                crate::copy::send_file(&self.connection, file.as_fd(), offset, count)
            }

            /// Sends what arrives on another connection until that one's end, without copying it through this program (`splice`).
            /// Returns how many bytes that was. For both directions, with any kind of stream, there is
            /// [`copy_bidirectional`](crate::copy_bidirectional).
            ///
            /// Suspends while there is nothing to receive and while there is no room; timeouts of both streams count. The end is
            /// not passed on: [shut down](Self::shutdown) writing for that. A kill or timeout unwinds from here, and up to 64 KiB
            /// that were received and not yet sent are lost.
            ///
            /// # Errors
            /// As a [read](Self#reading-and-writing) of the one and a write of the other.
            #[cfg(target_os = "linux")]
            pub fn splice_from<S: crate::split::Split>(&self, from: &S) -> io::Result<u64> {
                crate::copy::splice(from.connection(), &self.connection)
            }

            // --- settings ----------------------------------------------------------------------------------------

            /// The address of the other end.
            ///
            /// # Errors
            /// What the system says, for example `NotConnected`.
            pub fn peer_addr(&self) -> io::Result<$Address> {
                crate::address::get(self.connection.options().peer_addr()?)
            }

            /// The address of this end.
            ///
            /// # Errors
            /// What the system says.
            pub fn local_addr(&self) -> io::Result<$Address> {
                crate::address::get(self.connection.options().local_addr()?)
            }

            /// How long a read, or a peek, waits for its first byte: `None` is for ever, as it is without this call. For all
            /// clones; calls that wait already are not affected.
            ///
            /// # Errors
            /// `InvalidInput` for zero.
            pub fn set_read_timeout(&self, timeout: Option<std::time::Duration>) -> io::Result<()> {
                self.connection.read_timeout.set(timeout)
            }

            /// How long a write waits for room for its first byte: `None` is for ever, as it is without this call. For all
            /// clones; calls that wait already are not affected. `write_all` is several writes: each has this time, and
            /// [`within`](Self::within) limits the whole.
            ///
            /// # Errors
            /// `InvalidInput` for zero.
            pub fn set_write_timeout(&self, timeout: Option<std::time::Duration>) -> io::Result<()> {
                self.connection.write_timeout.set(timeout)
            }

            /// The read timeout.
            ///
            /// # Errors
            /// None; the signature is std's.
            pub fn read_timeout(&self) -> io::Result<Option<std::time::Duration>> {
                Ok(self.connection.read_timeout.get())
            }

            /// The write timeout.
            ///
            /// # Errors
            /// None; the signature is std's.
            pub fn write_timeout(&self) -> io::Result<Option<std::time::Duration>> {
                Ok(self.connection.write_timeout.get())
            }

            /// Takes the error that is pending on the socket, if there is one.
            ///
            /// # Errors
            /// What the system says.
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.connection.options().take_error()
            }
        }

        impl io::Read for &$Stream {
            #[inline]
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.connection.read(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
                self.connection.read_vectored(buffers, None)
            }
        }

        impl io::Read for $Stream {
            #[inline]
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.connection.read(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
                self.connection.read_vectored(buffers, None)
            }
        }

        impl io::Write for &$Stream {
            #[inline]
            fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
                self.connection.write(buffer)
            }

            fn write_vectored(&mut self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
                self.connection.write_vectored(buffers, None)
            }

            /// Nothing is kept back here: does nothing.
            #[inline]
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        impl io::Write for $Stream {
            #[inline]
            fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
                self.connection.write(buffer)
            }

            fn write_vectored(&mut self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
                self.connection.write_vectored(buffers, None)
            }

            /// Nothing is kept back here: does nothing.
            #[inline]
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        impl crate::Stream for $Stream {
            fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.connection.read(buffer)
            }

            fn recv_within(&self, buffer: &mut [u8], limit: std::time::Duration) -> io::Result<usize> {
                self.connection.read_within(buffer, Some(limit))
            }

            fn send(&self, buffer: &[u8]) -> io::Result<usize> {
                self.connection.write(buffer)
            }

            fn send_vectored(&self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
                self.connection.write_vectored(buffers, None)
            }

            fn send_within(
                &self,
                buffers: &[io::IoSlice<'_>],
                limit: std::time::Duration,
            ) -> io::Result<usize> {
                match buffers {
                    [buffer] => self.connection.write_within(buffer, Some(limit)),
                    buffers => self.connection.write_vectored(buffers, Some(limit)),
                }
            }

            fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.connection.try_read(buffer)
            }

            fn poll_recv(
                &self,
                context: &mut std::task::Context<'_>,
                buffer: &mut [u8],
            ) -> std::task::Poll<io::Result<usize>> {
                self.connection.poll_read(context, buffer)
            }

            fn poll_send(
                &self,
                context: &mut std::task::Context<'_>,
                buffer: &[u8],
            ) -> std::task::Poll<io::Result<usize>> {
                self.connection.poll_write(context, buffer)
            }

            fn poll_send_vectored(
                &self,
                context: &mut std::task::Context<'_>,
                buffers: &[io::IoSlice<'_>],
            ) -> std::task::Poll<io::Result<usize>> {
                self.connection.poll_write_vectored(context, buffers)
            }

            fn poll_finish(&self, _context: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
                std::task::Poll::Ready(self.shutdown(std::net::Shutdown::Write))
            }

            fn shutdown(&self, how: std::net::Shutdown) -> io::Result<()> {
                $Stream::shutdown(self, how)
            }

            fn close(&self) {
                $Stream::close(self);
            }

            fn set_read_timeout(&self, timeout: Option<std::time::Duration>) -> io::Result<()> {
                $Stream::set_read_timeout(self, timeout)
            }

            fn set_write_timeout(&self, timeout: Option<std::time::Duration>) -> io::Result<()> {
                $Stream::set_write_timeout(self, timeout)
            }

            fn peer_address(&self) -> io::Result<crate::Address> {
                self.peer_addr().map(Into::into)
            }

            fn local_address(&self) -> io::Result<crate::Address> {
                self.local_addr().map(Into::into)
            }
        }

        impl crate::split::Split for $Stream {
            fn connection(&self) -> &std::sync::Arc<crate::connection::Connection> {
                &self.connection
            }
        }

        crate::socket::std_socket!($Stream, std: $Std, field: connection);
    };
}

pub(crate) use connected_stream;
