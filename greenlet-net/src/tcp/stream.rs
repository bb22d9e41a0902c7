//! A connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::{Connection, connected_stream};
use crate::timeout::refuse_zero;
use crate::{ConnectOptions, ToAddresses};

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

connected_stream!(TcpStream, std: std::net::TcpStream, address: SocketAddr);

impl TcpStream {
    /// Connects to the first of the addresses that answers.
    ///
    /// A name is looked up ([`ToAddresses`]), a numeric address is not. The addresses are tried in the resolver's order, IPv6 and IPv4 by
    /// turns; when an attempt has not succeeded after 250 ms, the next one begins beside it, and the first to succeed wins
    /// (Happy Eyeballs, RFC 8305). [`ConnectOptions`] has the settings.
    ///
    /// Suspends the greenlet until the attempts are decided; a kill or timeout unwinds it from here and closes all of their
    /// sockets.
    ///
    /// # Errors
    /// What looking up the name failed with, or an [`AddressError`](crate::AddressError) that names the addresses tried.
    pub fn connect<A: ToAddresses>(addresses: A) -> io::Result<TcpStream> {
        ConnectOptions::new().connect(addresses)
    }

    /// Connects to one address, waiting for at most `timeout`. For names there is
    /// [`ConnectOptions::timeout`], which includes the look-up.
    ///
    /// Suspends as [`connect`](TcpStream::connect).
    ///
    /// # Errors
    /// As [`connect`](TcpStream::connect); `TimedOut`; `InvalidInput` for a timeout of zero.
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        refuse_zero(timeout)?;
        ConnectOptions::new().timeout(timeout).connect(address)
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`, no Nagle's algorithm).
    ///
    /// # Errors
    /// What the system says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.connection.options().tcp_nodelay()
    }

    /// Sets whether small writes are sent at once (`TCP_NODELAY`, no Nagle's algorithm).
    ///
    /// # Errors
    /// What the system says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.connection.options().set_tcp_nodelay(nodelay)
    }

    /// The time to live of the packets that it sends, in hops.
    ///
    /// # Errors
    /// What the system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.connection.options().ttl_v4()
    }

    /// Sets the time to live of the packets that it sends, in hops.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.connection.options().set_ttl_v4(ttl)
    }
}
