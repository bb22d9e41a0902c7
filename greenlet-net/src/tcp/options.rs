//! How to listen.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Type};

use super::TcpListener;
use crate::ToAddresses;
use crate::attempts::{Task, first_success};
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
    reuse_address: bool,
    reuse_port: bool,
    only_v6: Option<bool>,
    send_buffer_size: Option<usize>,
    recv_buffer_size: Option<usize>,
    device: Option<Vec<u8>>,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions {
            backlog: 1024,
            reuse_address: true,
            reuse_port: false,
            only_v6: None,
            send_buffer_size: None,
            recv_buffer_size: None,
            device: None,
        }
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
        self.reuse_address = reuse;
        self
    }

    /// Whether several listeners may have the same address at once (`SO_REUSEPORT`), for example one for each hub;
    /// the system spreads new connections over them. All of them have to ask for it. Default: `false`.
    #[cfg(not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))]
    pub fn reuse_port(mut self, reuse: bool) -> ListenOptions {
        self.reuse_port = reuse;
        self
    }

    /// Whether a listener on an IPv6 address takes IPv6 only; else one on `[::]` takes IPv4 as well. Default: what the
    /// system does, which on Linux is `/proc/sys/net/ipv6/bindv6only`. No effect on IPv4 addresses.
    pub fn only_v6(mut self, only: bool) -> ListenOptions {
        self.only_v6 = Some(only);
        self
    }

    /// The size of the send buffers of its connections, in bytes. Default: the system's, which grow as it is needed.
    pub fn send_buffer_size(mut self, bytes: usize) -> ListenOptions {
        self.send_buffer_size = Some(bytes);
        self
    }

    /// The size of the receive buffers of its connections, in bytes. Set here rather than on a connection it also bounds the window
    /// that the peer is told of first. Default: the system's, which grow as it is needed.
    pub fn recv_buffer_size(mut self, bytes: usize) -> ListenOptions {
        self.recv_buffer_size = Some(bytes);
        self
    }

    /// The network interface whose connections it takes, no others (`SO_BINDTODEVICE`). Default: all.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn device(mut self, name: &str) -> ListenOptions {
        self.device = Some(name.as_bytes().to_vec());
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
        let set = socket.options();
        if self.reuse_address {
            set.set_reuse_address(true)?;
        }
        #[cfg(not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))]
        if self.reuse_port {
            set.set_reuse_port(true)?;
        }
        if let Some(only) = self.only_v6
            && address.is_ipv6()
        {
            set.set_only_v6(only)?;
        }
        if let Some(bytes) = self.send_buffer_size {
            set.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.recv_buffer_size {
            set.set_recv_buffer_size(bytes)?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(device) = &self.device {
            set.bind_device(Some(device))?;
        }
        set.bind(&(*address).into())?;
        set.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        Ok(TcpListener::from_socket(socket))
    }
}
