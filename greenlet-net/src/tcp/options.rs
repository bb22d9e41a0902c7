//! How to listen.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Type};

use super::TcpListener;
use crate::ToAddresses;
use crate::attempts::{Task, first_success};
use crate::requested::Requested;
use crate::socket::Socket;

/// Options of a [`TcpListener`], for when [`TcpListener::bind`] does not do.
///
/// ```
/// use greenlet_net::ListenOptions;
///
/// let listener = ListenOptions::new().backlog(16).bind("127.0.0.1:0")?;
/// assert!(listener.local_addr()?.port() > 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ListenOptions {
    backlog: u32,
    requested: Requested,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions { backlog: 1024, requested: Requested { reuse_address: true, ..Requested::default() } }
    }
}

impl ListenOptions {
    /// The defaults, with which [`TcpListener::bind`] listens.
    pub fn new() -> ListenOptions {
        ListenOptions::default()
    }

    /// How many connections may wait to be accepted. Default: 1024. The system has its own limit on top
    /// (`net.core.somaxconn` on Linux).
    pub fn backlog(mut self, connections: u32) -> ListenOptions {
        self.backlog = connections;
        self
    }

    /// Whether the address may be taken while connections of an earlier listener linger (`SO_REUSEADDR`). Default:
    /// `true`, as std on Unix. It does not let two listen at once.
    pub fn reuse_address(mut self, reuse: bool) -> ListenOptions {
        self.requested.reuse_address = reuse;
        self
    }

    /// Whether several listeners may have the same address at once (`SO_REUSEPORT`), for example one for each hub;
    /// the system spreads new connections over them. All of them have to ask for it. Default: `false`.
    #[cfg(not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))]
    pub fn reuse_port(mut self, reuse: bool) -> ListenOptions {
        self.requested.reuse_port = reuse;
        self
    }

    /// Whether a listener on an IPv6 address takes IPv6 only; else one on `[::]` takes IPv4 as well. Default: what the
    /// system does, which on Linux is `/proc/sys/net/ipv6/bindv6only`. No effect on IPv4 addresses.
    pub fn only_v6(mut self, only: bool) -> ListenOptions {
        self.requested.only_v6 = Some(only);
        self
    }

    /// The size of the send buffers of its connections, in bytes. Default: the system's, which grow as it is needed.
    pub fn send_buffer_size(mut self, bytes: usize) -> ListenOptions {
        self.requested.send_buffer_size = Some(bytes);
        self
    }

    /// The size of the receive buffers of its connections, in bytes. Set here rather than on a connection it also bounds the window
    /// that the peer is told of first. Default: the system's, which grow as it is needed.
    pub fn recv_buffer_size(mut self, bytes: usize) -> ListenOptions {
        self.requested.recv_buffer_size = Some(bytes);
        self
    }

    /// The network interface whose connections it takes, no others (`SO_BINDTODEVICE`). Default: all.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn device(mut self, name: &str) -> ListenOptions {
        self.requested.device = Some(name.as_bytes().to_vec());
        self
    }

    /// Listens on the first of the addresses that can be had. Port 0 lets the system choose one.
    ///
    /// A name is looked up, and the greenlet suspended meanwhile; a numeric address is not.
    ///
    /// # Errors
    /// What resolving the name failed with, or an [`AddressError`](crate::AddressError) that names the addresses tried.
    pub fn bind<A: ToAddresses>(&self, addresses: A) -> io::Result<TcpListener> {
        first_success(Task::Listen, addresses, |address| self.listen(address))
    }

    fn listen(&self, address: &SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
        self.requested.apply(&socket, *address)?;
        socket.options().bind(&(*address).into())?;
        socket.options().listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        Ok(TcpListener::from_socket(socket))
    }
}
