//! Connecting by name or address.

mod attempt;
mod race;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::Instant;
use greenlet_core::io::Source;

use crate::connection::Connection;
use crate::dns::Resolver;
use crate::requested::Requested;
use crate::socket::Socket;
use crate::target::resolve;
use crate::{TcpStream, ToAddresses};

/// How to connect, for when [`TcpStream::connect`] does not do.
///
/// ```
/// use greenlet_net::{ConnectOptions, TcpListener};
/// use std::time::Duration;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let stream = ConnectOptions::new()
///     .timeout(Duration::from_secs(5))
///     .source_address("127.0.0.2:0".parse()?)
///     .connect(("localhost", listener.local_addr()?.port()))?;
/// assert_eq!(stream.local_addr()?.ip().to_string(), "127.0.0.2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct ConnectOptions {
    timeout: Option<Duration>,
    resolver: Option<Resolver>,
    attempt_delay: Option<Duration>,
    source_v4: Option<SocketAddr>,
    source_v6: Option<SocketAddr>,
    reuse_address: bool,
    requested: Requested,
    before: Vec<Before>,
}

type Before = Arc<dyn Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync>;

/// RFC 8305, section 8: recommended, and the least that is allowed.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
const LEAST_ATTEMPT_DELAY: Duration = Duration::from_millis(10);

impl ConnectOptions {
    /// The defaults, with which [`TcpStream::connect`] connects.
    pub fn new() -> ConnectOptions {
        ConnectOptions::default()
    }

    /// How long the whole may take, the look-up of the name and all attempts. Default: no limit but the system's, which is
    /// some two minutes for each attempt.
    pub fn timeout(mut self, limit: Duration) -> ConnectOptions {
        self.timeout = Some(limit);
        self
    }

    /// Who looks up names. Default: the [resolver of the process](crate::dns::resolver).
    pub fn resolver(mut self, resolver: Resolver) -> ConnectOptions {
        self.resolver = Some(resolver);
        self
    }

    /// How long one attempt has before the next address is tried beside it. Default: 250 ms. Less than 10 ms counts as 10 ms.
    pub fn attempt_delay(mut self, delay: Duration) -> ConnectOptions {
        self.attempt_delay = Some(delay.max(LEAST_ATTEMPT_DELAY));
        self
    }

    /// The address that the connection comes from; port 0 lets the system choose one. May be given once for IPv4 and once for
    /// IPv6: attempts of a family for which there is none, while there is one for the other, fail. Default: the system chooses.
    pub fn source_address(mut self, address: SocketAddr) -> ConnectOptions {
        let source = if address.is_ipv4() { &mut self.source_v4 } else { &mut self.source_v6 };
        *source = Some(address);
        self
    }

    /// Whether a [source address](ConnectOptions::source_address) with a port may be one that lingers from an earlier
    /// connection (`SO_REUSEADDR`). Default: `false`.
    pub fn reuse_address(mut self, reuse: bool) -> ConnectOptions {
        self.reuse_address = reuse;
        self
    }

    /// The network interface that the connection must use (`SO_BINDTODEVICE`). Default: whichever leads there.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn device(mut self, name: &str) -> ConnectOptions {
        self.requested.device = Some(name.as_bytes().to_vec());
        self
    }

    /// The size of the send buffer, in bytes. Default: the system's, which grows as it is needed; a size that is set does not.
    pub fn send_buffer_size(mut self, bytes: usize) -> ConnectOptions {
        self.requested.send_buffer_size = Some(bytes);
        self
    }

    /// The size of the receive buffer, in bytes. Set here rather than later it also bounds the window that the peer is told
    /// of first. Default: the system's, which grows as it is needed; a size that is set does not.
    pub fn recv_buffer_size(mut self, bytes: usize) -> ConnectOptions {
        self.requested.recv_buffer_size = Some(bytes);
        self
    }

    /// Calls `f` with each socket before it connects, for options that have no method here, for example through
    /// `socket2::SockRef`. An error fails that attempt.
    pub fn before_connect(
        mut self,
        f: impl Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> ConnectOptions {
        self.before.push(Arc::new(f));
        self
    }

    /// Connects: see [`TcpStream::connect`].
    ///
    /// # Errors
    /// As there; `TimedOut`.
    pub fn connect<A: ToAddresses>(&self, addresses: A) -> io::Result<TcpStream> {
        let deadline = self.timeout.and_then(|limit| Instant::now().checked_add(limit));
        let addresses = resolve(addresses.to_target()?, self.resolver.as_ref(), self.timeout)?;
        let source: Source<Socket> = race::first_to_connect(self, addresses, deadline)?;
        Ok(TcpStream::from_connection(Connection::from_source(source)))
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("timeout", &self.timeout)
            .field("attempt_delay", &self.attempt_delay)
            .field("source_v4", &self.source_v4)
            .field("source_v6", &self.source_v6)
            .finish_non_exhaustive()
    }
}
