//! UDP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, Type};

use crate::ToAddresses;
use crate::attempts::{Task, first_success};
use crate::datagrams::{Datagrams, datagram_socket};
use crate::requested::Requested;
use crate::socket::Socket;
use crate::target::resolve;

/// A socket of UDP: [`std::net::UdpSocket`] for greenlets.
///
/// # Sending and receiving
///
/// Each call sends or receives one datagram, which may be empty, and suspends the greenlet while it must wait; one greenlet at a time may
/// wait to receive and one to send. On a socket that never makes one wait, the others get a turn every 32 calls. A kill or timeout
/// unwinds the greenlet from a call that waits, and no datagram is lost by that. Errors, besides the system's own (on a connected socket
/// for example `ConnectionRefused`, when the peer's machine said so to an earlier datagram):
///
/// - `TimedOut` after the [read](UdpSocket::set_read_timeout) or [write timeout](UdpSocket::set_write_timeout).
/// - `ResourceBusy` if another greenlet waits for the same direction.
/// - `NotConnected` if the socket was [closed](UdpSocket::close).
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::UdpSocket;
///
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// let server = socket.local_addr()?;
/// spawn(move || {
///     let mut buffer = [0; 1500];
///     let (n, from) = socket.recv_from(&mut buffer).unwrap();
///     socket.send_to(&buffer[..n], from).unwrap();
/// });
///
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.connect(server)?;
/// client.send(b"hello")?;
/// let mut small = [0; 4];
/// let answer = client.recv_message(&mut small)?;
/// assert_eq!((&small, answer.full_length, answer.is_truncated()), (b"hell", 5, true));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket {
    datagrams: Arc<Datagrams>,
}

datagram_socket!(UdpSocket, std: std::net::UdpSocket, address: SocketAddr);

/// How to bind a [`UdpSocket`], for when [`UdpSocket::bind`] does not do.
///
/// ```
/// use greenlet_net::UdpOptions;
///
/// // two processes, or two hubs, that share the datagrams to one port
/// let first = UdpOptions::new().reuse_port(true).bind("127.0.0.1:0")?;
/// let second = UdpOptions::new().reuse_port(true).bind(first.local_addr()?)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default, Debug)]
pub struct UdpOptions {
    requested: Requested,
}

impl UdpOptions {
    /// The defaults, with which [`UdpSocket::bind`] binds.
    pub fn new() -> UdpOptions {
        UdpOptions::default()
    }

    /// Whether several sockets may have the address (`SO_REUSEADDR`), as several receivers of one multicast group. Default: `false`.
    pub fn reuse_address(mut self, reuse: bool) -> UdpOptions {
        self.requested.reuse_address = reuse;
        self
    }

    /// Whether several sockets may have the address, with the datagrams spread over them (`SO_REUSEPORT`). All of them have to ask
    /// for it. Default: `false`.
    #[cfg(not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))]
    pub fn reuse_port(mut self, reuse: bool) -> UdpOptions {
        self.requested.reuse_port = reuse;
        self
    }

    /// Whether a socket on an IPv6 address takes IPv6 only. Default: what the system does. No effect on IPv4 addresses.
    pub fn only_v6(mut self, only: bool) -> UdpOptions {
        self.requested.only_v6 = Some(only);
        self
    }

    /// The size of the receive buffer, in bytes: what comes while it is full is lost. Default: the system's.
    pub fn recv_buffer_size(mut self, bytes: usize) -> UdpOptions {
        self.requested.recv_buffer_size = Some(bytes);
        self
    }

    /// The size of the send buffer, in bytes. Default: the system's.
    pub fn send_buffer_size(mut self, bytes: usize) -> UdpOptions {
        self.requested.send_buffer_size = Some(bytes);
        self
    }

    /// The network interface that it uses, no other (`SO_BINDTODEVICE`). Default: all.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn device(mut self, name: &str) -> UdpOptions {
        self.requested.device = Some(name.as_bytes().to_vec());
        self
    }

    /// Binds to the first of the addresses that can be had. Port 0 lets the system choose one. A name is looked up, and the greenlet
    /// suspended meanwhile.
    ///
    /// # Errors
    /// What looking up the name failed with, or an [`AddressError`](crate::AddressError) that names the addresses tried.
    pub fn bind<A: ToAddresses>(&self, addresses: A) -> io::Result<UdpSocket> {
        first_success(Task::Bind, addresses, |address| self.bind_one(address))
    }

    fn bind_one(&self, address: &SocketAddr) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(*address), Type::DGRAM, Some(Protocol::UDP))?;
        self.requested.apply(&socket, *address)?;
        socket.options().bind(&(*address).into())?;
        Ok(UdpSocket { datagrams: Datagrams::new(socket) })
    }
}

impl UdpSocket {
    /// Binds to the first of the addresses that can be had. Port 0 lets the system choose one. A name is looked up, and the greenlet
    /// suspended meanwhile. [`UdpOptions`] has the settings.
    ///
    /// # Errors
    /// What looking up the name failed with, or an [`AddressError`](crate::AddressError) that names the addresses tried.
    pub fn bind<A: ToAddresses>(addresses: A) -> io::Result<UdpSocket> {
        UdpOptions::new().bind(addresses)
    }

    /// Connects to the first of the addresses that the system takes: [`send`](UdpSocket::send) goes there, and only what comes from
    /// there is received. Nothing is sent by that. May be called again for another peer.
    ///
    /// # Errors
    /// As [`bind`](UdpSocket::bind).
    pub fn connect<A: ToAddresses>(&self, addresses: A) -> io::Result<()> {
        first_success(Task::Connect, addresses, |address| {
            self.datagrams.options().connect(&(*address).into())
        })
    }

    /// Sends a datagram to the first of the addresses. A name is looked up at each call: look it up once, or
    /// [connect](UdpSocket::connect).
    ///
    /// # Errors
    /// See [sending and receiving](UdpSocket#sending-and-receiving); `EMSGSIZE` for one that is too long; `InvalidInput` for an empty
    /// list of addresses; what looking up the name failed with.
    pub fn send_to<A: ToAddresses>(&self, buffer: &[u8], addresses: A) -> io::Result<usize> {
        match resolve(addresses.to_target()?, None, None)?.first() {
            Some(address) => self.datagrams.send_to(buffer, &(*address).into()),
            None => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to send to: the list is empty"))
            }
        }
    }

    /// [`send_to`](UdpSocket::send_to) for futures: never suspends, knows no timeout, and wakes the task that polled last.
    ///
    /// # Errors
    /// As `send_to`, but for `TimedOut` and `ResourceBusy`; `Unsupported` on a thread without a hub.
    pub fn poll_send_to(
        &self,
        context: &mut Context<'_>,
        buffer: &[u8],
        address: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.datagrams.poll_send_to(context, buffer, &address.into())
    }

    // --- options -----------------------------------------------------------------------------------------------

    /// Whether it may send to a broadcast address (`SO_BROADCAST`).
    ///
    /// # Errors
    /// What the system says.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.datagrams.options().broadcast()
    }

    /// Sets whether it may send to a broadcast address (`SO_BROADCAST`).
    ///
    /// # Errors
    /// What the system says.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.datagrams.options().set_broadcast(broadcast)
    }

    /// Whether what it sends to an IPv4 group comes back to this machine's members.
    ///
    /// # Errors
    /// What the system says.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.datagrams.options().multicast_loop_v4()
    }

    /// Sets whether what it sends to an IPv4 group comes back to this machine's members.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_multicast_loop_v4(&self, comes_back: bool) -> io::Result<()> {
        self.datagrams.options().set_multicast_loop_v4(comes_back)
    }

    /// The time to live of what it sends to IPv4 groups, in hops.
    ///
    /// # Errors
    /// What the system says.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.datagrams.options().multicast_ttl_v4()
    }

    /// Sets the time to live of what it sends to IPv4 groups, in hops. Without this call 1: the local network.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.datagrams.options().set_multicast_ttl_v4(ttl)
    }

    /// Whether what it sends to an IPv6 group comes back to this machine's members.
    ///
    /// # Errors
    /// What the system says.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.datagrams.options().multicast_loop_v6()
    }

    /// Sets whether what it sends to an IPv6 group comes back to this machine's members.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_multicast_loop_v6(&self, comes_back: bool) -> io::Result<()> {
        self.datagrams.options().set_multicast_loop_v6(comes_back)
    }

    /// Joins an IPv4 group on the interface that has this address; with `0.0.0.0` the system chooses.
    ///
    /// # Errors
    /// What the system says.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.datagrams.options().join_multicast_v4(group, interface)
    }

    /// Joins an IPv6 group on the interface of this number; with 0 the system chooses.
    ///
    /// # Errors
    /// What the system says.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.datagrams.options().join_multicast_v6(group, interface)
    }

    /// Leaves an IPv4 group.
    ///
    /// # Errors
    /// What the system says.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.datagrams.options().leave_multicast_v4(group, interface)
    }

    /// Leaves an IPv6 group.
    ///
    /// # Errors
    /// What the system says.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.datagrams.options().leave_multicast_v6(group, interface)
    }

    /// The time to live of what it sends, in hops.
    ///
    /// # Errors
    /// What the system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.datagrams.options().ttl_v4()
    }

    /// Sets the time to live of what it sends, in hops.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.datagrams.options().set_ttl_v4(ttl)
    }
}
