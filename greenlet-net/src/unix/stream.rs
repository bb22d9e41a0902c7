//! A connection.

use std::io;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::{Instant, sleep};
use socket2::{Domain, Type};

use super::{at, of_address};
use crate::connection::{Connection, connected_stream};
use crate::socket::Socket;
use crate::timeout::refuse_zero;

/// A connection within the machine: [`std::os::unix::net::UnixStream`] for greenlets.
///
/// As [`TcpStream`](crate::TcpStream), but for addresses and options: reading and writing suspend the calling greenlet only. One greenlet at
/// a time may wait to read and one to write; all work through `&UnixStream` too. The connection ends when the stream and its
/// clones are dropped, by [`shutdown`](UnixStream::shutdown) direction by direction, or for everybody by
/// [`close`](UnixStream::close).
///
/// # Reading and writing
///
/// A read waits for the first byte, and returns 0 at the end of what the peer sends; a write waits for room for the
/// first byte. Empty buffers never wait. On a connection that never makes one wait, the others get a turn every 32
/// calls. A kill or timeout unwinds the greenlet from a call that waits, and then nothing was read or written by that
/// call. Errors, besides the system's own:
///
/// - `TimedOut` after the [read](UnixStream::set_read_timeout) or [write timeout](UnixStream::set_write_timeout).
/// - `ResourceBusy` if another greenlet waits for the same direction.
/// - `NotConnected` if the connection was [closed](UnixStream::close).
/// - `BrokenPipe` for writing to what cannot be written any more; there is never a SIGPIPE.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::UnixStream;
/// use std::io::{Read, Write};
///
/// let (mut ours, theirs) = UnixStream::pair()?;
/// spawn(move || (&theirs).write_all(b"hello").unwrap()); // dropped here: the end of what is sent
/// let mut text = String::new();
/// ours.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixStream {
    pub(super) connection: Arc<Connection>,
}

connected_stream!(UnixStream, std: std::os::unix::net::UnixStream, address: SocketAddr);

/// The longest pause between two looks at a listener that tells nobody when it has room.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

impl UnixStream {
    /// Connects to the listener of that path.
    ///
    /// Decided at once, but for a listener whose backlog is full. The system does not tell when it has room, so this tries again
    /// and again, with pauses of up to 32 ms, and suspends the greenlet meanwhile; a kill or timeout unwinds it from here.
    ///
    /// # Errors
    /// What the system says, for example `NotFound`, or `ConnectionRefused` for a file that nobody listens on any more;
    /// `InvalidInput` for a path that is too long (108 bytes on Linux) or has a NUL byte.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        connect(&SocketAddr::from_pathname(path)?, None)
    }

    /// As [`connect`](UnixStream::connect), waiting for at most `timeout`.
    ///
    /// # Errors
    /// As there; `TimedOut`; `InvalidInput` for zero.
    pub fn connect_timeout(path: impl AsRef<Path>, timeout: Duration) -> io::Result<UnixStream> {
        refuse_zero(timeout)?;
        connect(&SocketAddr::from_pathname(path)?, Some(timeout))
    }

    /// As [`connect`](UnixStream::connect), by address: for those that are no path.
    ///
    /// # Errors
    /// As there; `InvalidInput` for the address of a socket without a name.
    ///
    #[cfg_attr(target_os = "linux", doc = "```")]
    #[cfg_attr(not(target_os = "linux"), doc = "```ignore")]
    /// use greenlet_net::{UnixListener, UnixStream};
    /// use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    ///
    /// let address = SocketAddr::from_abstract_name(format!("doc-{}", std::process::id()))?; // no file
    /// let listener = UnixListener::bind_addr(&address)?;
    /// let stream = UnixStream::connect_addr(&address)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        connect(address, None)
    }

    /// Two ends of one connection: gevent's `socketpair`.
    ///
    /// # Errors
    /// What the system says: no descriptor left.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = std::os::unix::net::UnixStream::pair()?;
        Ok((UnixStream::from_std(one)?, UnixStream::from_std(other)?))
    }

    /// The process at the other end: who connected, or else who listened, or made the pair.
    ///
    /// # Errors
    /// What the system says.
    #[cfg(target_os = "linux")]
    pub fn peer_credentials(&self) -> io::Result<super::PeerCredentials> {
        let peer = rustix::net::sockopt::socket_peercred(self.connection.socket())?;
        Ok(super::PeerCredentials {
            pid: peer.pid.as_raw_nonzero().get().unsigned_abs(),
            uid: peer.uid.as_raw(),
            gid: peer.gid.as_raw(),
        })
    }
}

fn connect(address: &SocketAddr, limit: Option<Duration>) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let to = of_address(address)?;
    let start = Instant::now();
    let mut pause = Duration::from_micros(500);
    loop {
        match socket.options().connect(&to) {
            Ok(()) => return Ok(UnixStream::from_connection(Connection::new(socket))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(at("connect to", address, error)),
        }
        let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
        if left == Some(Duration::ZERO) {
            let error = io::Error::new(io::ErrorKind::TimedOut, "timed out, its backlog is full");
            return Err(at("connect to", address, error));
        }
        sleep(left.unwrap_or(pause).min(pause));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
