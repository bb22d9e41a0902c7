//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{ListenOptions, TcpStream};
use crate::ToAddresses;
use crate::listening::{Listening, listener};
use crate::socket::Socket;

/// Listens for connections: [`std::net::TcpListener`] for greenlets.
///
/// [`accept`](TcpListener::accept) suspends the calling greenlet only. One greenlet at a time may wait in it. The
/// listener is closed when it and its clones are dropped, or by [`close`](TcpListener::close).
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let client = spawn(move || TcpStream::connect(address).unwrap().local_addr().unwrap());
/// let (_stream, peer) = listener.accept()?; // the client runs while this waits
/// assert_eq!(client.get()?, peer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TcpListener {
    listening: Arc<Listening>,
}

listener!(TcpListener, std: std::net::TcpListener, accepts: TcpStream, address: SocketAddr);

impl TcpListener {
    /// Listens on the first of the addresses that can be had, with the options that [`ListenOptions`] has by default:
    /// a backlog of 1024, and `SO_REUSEADDR` as std. Port 0 lets the system choose one.
    ///
    /// A name is resolved, as [`TcpStream::connect`] does, and the greenlet suspended meanwhile.
    ///
    /// # Errors
    /// What resolving the name failed with, or an [`AddressError`](crate::AddressError) that names the addresses tried.
    pub fn bind<A: ToAddresses>(addresses: A) -> io::Result<TcpListener> {
        ListenOptions::new().bind(addresses)
    }

    pub(super) fn from_socket(socket: Socket) -> TcpListener {
        TcpListener { listening: Listening::new(socket) }
    }

    /// The time to live of the packets that it sends, in hops.
    ///
    /// # Errors
    /// What the system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.listening.options().ttl_v4()
    }

    /// Sets the time to live of the packets that it sends, in hops.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.listening.options().set_ttl_v4(ttl)
    }
}
