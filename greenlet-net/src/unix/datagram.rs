//! Datagrams.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Type};

use super::{at, of_address, of_path};
use crate::datagrams::{Datagrams, datagram_socket};
use crate::socket::Socket;

/// A socket of datagrams within the machine: [`std::os::unix::net::UnixDatagram`] for greenlets.
///
/// # Sending and receiving
///
/// Each call sends or receives one datagram, which may be empty, and suspends the greenlet while it must wait; one greenlet at a time may
/// wait to receive and one to send. Nothing is lost on the way: who sends to a receiver that is full waits for it. On a socket that never
/// makes one wait, the others get a turn every 32 calls. A kill or timeout unwinds the greenlet from a call that waits, and no datagram is
/// lost by that. Errors, besides the system's own (for example `ConnectionRefused` when the receiver is gone):
///
/// - `TimedOut` after the [read](UnixDatagram::set_read_timeout) or [write timeout](UnixDatagram::set_write_timeout).
/// - `ResourceBusy` if another greenlet waits for the same direction.
/// - `NotConnected` if the socket was [closed](UnixDatagram::close).
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::UnixDatagram;
///
/// let (ours, theirs) = UnixDatagram::pair()?;
/// spawn(move || theirs.send(b"hello").unwrap());
/// let mut buffer = [0; 16];
/// let n = ours.recv(&mut buffer)?;
/// assert_eq!(&buffer[..n], b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixDatagram {
    datagrams: Arc<Datagrams>,
}

datagram_socket!(UnixDatagram, std: std::os::unix::net::UnixDatagram, address: SocketAddr);

impl UnixDatagram {
    /// Makes a socket at that path. The file stays there when the socket is dropped, as with std.
    ///
    /// # Errors
    /// `AddrInUse` if there is a file; `InvalidInput` for a path that is too long (108 bytes on Linux) or has a NUL byte; else
    /// what the system says.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// As [`bind`](UnixDatagram::bind), by address: for those that are no path.
    ///
    /// # Errors
    /// As there; `InvalidInput` for the address of a socket without a name.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        let to = of_address(address)?;
        socket.datagrams.options().bind(&to).map_err(|error| at("bind to", address, error))?;
        Ok(socket)
    }

    /// A socket without a name: it can send, and be answered only where it is one of a [pair](UnixDatagram::pair).
    ///
    /// # Errors
    /// What the system says: no descriptor left.
    pub fn unbound() -> io::Result<UnixDatagram> {
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        Ok(UnixDatagram { datagrams: Datagrams::new(socket) })
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    /// What the system says: no descriptor left.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (one, other) = std::os::unix::net::UnixDatagram::pair()?;
        Ok((UnixDatagram::from_std(one)?, UnixDatagram::from_std(other)?))
    }

    /// Connects to the socket of that path: [`send`](UnixDatagram::send) goes there, and only what comes from there is received.
    ///
    /// # Errors
    /// What the system says, for example `NotFound`.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// As [`connect`](UnixDatagram::connect), by address: for those that are no path.
    ///
    /// # Errors
    /// As there; `InvalidInput` for the address of a socket without a name.
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        let to = of_address(address)?;
        self.datagrams.options().connect(&to).map_err(|error| at("connect to", address, error))
    }

    /// Sends a datagram to the socket of that path.
    ///
    /// The system does not tell when a receiver that is full has room, so this tries again and again, with pauses of up to 16 ms.
    /// [Connected](UnixDatagram::connect) sockets are told.
    ///
    /// # Errors
    /// See [sending and receiving](UnixDatagram#sending-and-receiving).
    pub fn send_to(&self, buffer: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.datagrams.send_to_and_again(buffer, &of_path(path.as_ref())?)
    }

    /// As [`send_to`](UnixDatagram::send_to), by address: for those that are no path.
    ///
    /// # Errors
    /// As there; `InvalidInput` for the address of a socket without a name.
    pub fn send_to_addr(&self, buffer: &[u8], address: &SocketAddr) -> io::Result<usize> {
        self.datagrams.send_to_and_again(buffer, &of_address(address)?)
    }

    /// Shuts down receiving, sending or both, for all clones. Does not suspend. Who waits to receive gets 0.
    ///
    /// # Errors
    /// What the system says, for example `NotConnected`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.datagrams.shutdown(how)
    }
}
