//! What options ask of a socket before it has an address.

use std::io;
use std::net::SocketAddr;

use crate::socket::Socket;

/// What [`ListenOptions`](crate::ListenOptions), [`UdpOptions`](crate::UdpOptions) and [`ConnectOptions`](crate::ConnectOptions) have in common.
#[derive(Clone, Default, Debug)]
pub(crate) struct Requested {
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) only_v6: Option<bool>,
    pub(crate) send_buffer_size: Option<usize>,
    pub(crate) recv_buffer_size: Option<usize>,
    pub(crate) device: Option<Vec<u8>>,
}

impl Requested {
    /// Sets it on a socket for this address.
    pub(crate) fn apply(&self, socket: &Socket, address: SocketAddr) -> io::Result<()> {
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
        Ok(())
    }
}
