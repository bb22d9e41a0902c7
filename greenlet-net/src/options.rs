//! Options that sockets of all kinds have.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};

/// Options of sockets, for all kinds of them. What counts before a socket is bound or connected is set through
/// [`ListenOptions`](crate::ListenOptions), [`ConnectOptions`](crate::ConnectOptions) and [`UdpOptions`](crate::UdpOptions); what only one kind has,
/// by its own methods; the rest, through [`AsFd`] and `socket2::SockRef`.
///
/// None of them suspends, and all fail with what the system says.
///
/// ```
/// use greenlet_net::{SocketOptions, TcpListener, TcpStream};
/// use std::time::Duration;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let stream = TcpStream::connect(listener.local_addr()?)?;
/// stream.set_keepalive(true)?;
/// stream.set_linger(Some(Duration::ZERO))?; // the end of this connection is a reset
/// assert_eq!((stream.keepalive()?, stream.linger()?), (true, Some(Duration::ZERO)));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait SocketOptions: AsFd + sealed::Socket {
    /// The size of the send buffer, in bytes. Linux counts its own bookkeeping, and so tells twice what was set.
    ///
    /// # Errors
    /// What the system says.
    fn send_buffer_size(&self) -> io::Result<usize> {
        SockRef::from(&self.as_fd()).send_buffer_size()
    }

    /// Sets the size of the send buffer, in bytes. From then on the system does not change it.
    ///
    /// # Errors
    /// What the system says.
    fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(&self.as_fd()).set_send_buffer_size(bytes)
    }

    /// The size of the receive buffer, in bytes. Linux counts its own bookkeeping, and so tells twice what was set.
    ///
    /// # Errors
    /// What the system says.
    fn recv_buffer_size(&self) -> io::Result<usize> {
        SockRef::from(&self.as_fd()).recv_buffer_size()
    }

    /// Sets the size of the receive buffer, in bytes. From then on the system does not change it.
    ///
    /// # Errors
    /// What the system says.
    fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(&self.as_fd()).set_recv_buffer_size(bytes)
    }

    /// How long the last close waits until the peer has everything (`SO_LINGER`).
    ///
    /// # Errors
    /// What the system says.
    fn linger(&self) -> io::Result<Option<Duration>> {
        SockRef::from(&self.as_fd()).linger()
    }

    /// Sets how long the last close waits until the peer has everything, in whole seconds. `None`, the default: it does not wait, and the system
    /// sends the rest. Zero: the rest is thrown away, and the peer gets a reset.
    ///
    /// The close is the drop of the last clone, and blocks the whole thread: of more than zero that is rarely what one wants.
    ///
    /// # Errors
    /// What the system says.
    fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        SockRef::from(&self.as_fd()).set_linger(linger)
    }

    /// Whether a connection on which nothing happens is probed now and then (`SO_KEEPALIVE`).
    ///
    /// # Errors
    /// What the system says.
    fn keepalive(&self) -> io::Result<bool> {
        SockRef::from(&self.as_fd()).keepalive()
    }

    /// Sets whether a connection on which nothing happens is probed now and then; on Linux after two hours, unless
    /// [told otherwise](TcpStream::set_keepalive_times). One that does not answer ends with an error.
    ///
    /// # Errors
    /// What the system says.
    fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        SockRef::from(&self.as_fd()).set_keepalive(keepalive)
    }

    /// Whether the address may be taken again at once (`SO_REUSEADDR`).
    ///
    /// # Errors
    /// What the system says.
    fn reuse_address(&self) -> io::Result<bool> {
        SockRef::from(&self.as_fd()).reuse_address()
    }

    /// Whether several sockets may have the address (`SO_REUSEPORT`).
    ///
    /// # Errors
    /// What the system says.
    #[cfg(not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))]
    fn reuse_port(&self) -> io::Result<bool> {
        SockRef::from(&self.as_fd()).reuse_port()
    }

    /// The network interface that it is bound to, by name (`SO_BINDTODEVICE`).
    ///
    /// # Errors
    /// What the system says.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn device(&self) -> io::Result<Option<Vec<u8>>> {
        SockRef::from(&self.as_fd()).device()
    }

    /// Binds it to a network interface, by name: it uses no other. `None`: any.
    ///
    /// # Errors
    /// What the system says.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn bind_device(&self, name: Option<&str>) -> io::Result<()> {
        SockRef::from(&self.as_fd()).bind_device(name.map(str::as_bytes))
    }

    /// The mark of its packets, for routing and filters (`SO_MARK`).
    ///
    /// # Errors
    /// What the system says.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn mark(&self) -> io::Result<u32> {
        SockRef::from(&self.as_fd()).mark()
    }

    /// Marks its packets, for routing and filters. Needs privileges.
    ///
    /// # Errors
    /// What the system says.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn set_mark(&self, mark: u32) -> io::Result<()> {
        SockRef::from(&self.as_fd()).set_mark(mark)
    }
}

mod sealed {
    pub trait Socket {}
}

macro_rules! sockets {
    ($($Socket:ty),*) => {$(
        impl sealed::Socket for $Socket {}
        impl SocketOptions for $Socket {}
    )*};
}

sockets!(TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream);

/// When an idle connection is probed: see [`TcpStream::set_keepalive_times`]. What is not set is the system's.
#[derive(Clone, Copy, Default, Debug)]
pub struct KeepaliveTimes {
    idle: Option<Duration>,
    interval: Option<Duration>,
    retries: Option<u32>,
}

impl KeepaliveTimes {
    /// The system's.
    pub fn new() -> KeepaliveTimes {
        KeepaliveTimes::default()
    }

    /// After how long without a byte the first probe is sent, in whole seconds.
    pub fn idle(mut self, idle: Duration) -> KeepaliveTimes {
        self.idle = Some(idle);
        self
    }

    /// How long it waits for an answer before the next probe, in whole seconds.
    pub fn interval(mut self, interval: Duration) -> KeepaliveTimes {
        self.interval = Some(interval);
        self
    }

    /// How many probes without an answer end the connection.
    pub fn retries(mut self, retries: u32) -> KeepaliveTimes {
        self.retries = Some(retries);
        self
    }
}

impl TcpStream {
    /// Turns [keepalive](SocketOptions::set_keepalive) on, and sets when it probes.
    ///
    /// # Errors
    /// What the system says: less than a second is refused.
    ///
    /// ```
    /// use greenlet_net::{KeepaliveTimes, TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(listener.local_addr()?)?;
    /// let times = KeepaliveTimes::new().idle(Duration::from_secs(60)).interval(Duration::from_secs(5)).retries(3);
    /// stream.set_keepalive_times(times)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_keepalive_times(&self, times: KeepaliveTimes) -> io::Result<()> {
        let mut all = TcpKeepalive::new();
        if let Some(idle) = times.idle {
            all = all.with_time(idle);
        }
        if let Some(interval) = times.interval {
            all = all.with_interval(interval);
        }
        if let Some(retries) = times.retries {
            all = all.with_retries(retries);
        }
        SockRef::from(self).set_tcp_keepalive(&all)
    }

    /// How long what was sent may stay unacknowledged before the connection ends (`TCP_USER_TIMEOUT`). `None`: as long as the system
    /// tries, some 15 minutes.
    ///
    /// # Errors
    /// What the system says.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        SockRef::from(self).set_tcp_user_timeout(timeout)
    }

    /// Whether only full packets are sent, until this is turned off again (`TCP_CORK`): for a header and a
    /// [file](TcpStream::send_file) behind it.
    ///
    /// # Errors
    /// What the system says.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn set_cork(&self, cork: bool) -> io::Result<()> {
        SockRef::from(self).set_tcp_cork(cork)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(socket: &(impl SocketOptions + ?Sized)) {
        socket.set_send_buffer_size(32 * 1024).unwrap();
        assert!(socket.send_buffer_size().unwrap() >= 32 * 1024);
        socket.set_recv_buffer_size(32 * 1024).unwrap();
        assert!(socket.recv_buffer_size().unwrap() >= 32 * 1024);
        for on in [true, false] {
            socket.set_keepalive(on).unwrap();
            assert_eq!(socket.keepalive().unwrap(), on);
        }
        for linger in [Some(Duration::from_secs(3)), Some(Duration::ZERO), None] {
            socket.set_linger(linger).unwrap();
            assert_eq!(socket.linger().unwrap(), linger);
        }
        socket.reuse_address().unwrap();
    }

    #[test]
    fn all_sockets_keep_what_was_set() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        check(&listener);
        check(&stream);
        check(&UdpSocket::bind("127.0.0.1:0").unwrap());
        check(&UnixStream::pair().unwrap().0);
        check(&UnixDatagram::unbound().unwrap());
        assert!(listener.reuse_address().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(stream.device().unwrap(), None);
            assert!(!stream.reuse_port().unwrap());
            stream.set_user_timeout(Some(Duration::from_secs(9))).unwrap();
            stream.set_cork(true).unwrap();
            assert!(stream.bind_device(Some("no-such-device")).is_err());
        }
    }

    #[test]
    fn keepalive_probes_as_it_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let times =
            KeepaliveTimes::new().idle(Duration::from_secs(60)).interval(Duration::from_secs(5)).retries(3);
        stream.set_keepalive_times(times).unwrap();
        assert!(stream.keepalive().unwrap());
        let set = SockRef::from(&stream);
        assert_eq!(set.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(set.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
        assert_eq!(set.tcp_keepalive_retries().unwrap(), 3);
    }
}
