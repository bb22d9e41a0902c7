//! The address of a peer, whatever kind of socket it has.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as UnixSocketAddr;

/// Where the other end of a [`Stream`](crate::Stream) is, or what a server listens on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A Unix socket: by path, abstract, or without a name, as the ends of clients are.
    Unix(UnixSocketAddr),
}

/// `127.0.0.1:80`, `[::1]:80`, `unix:/run/app.sock`, `unix:@abstract`, and `unix:` for a socket without a name.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(address) => {
                f.write_str("unix:")?;
                if let Some(path) = address.as_pathname() {
                    write!(f, "{}", path.display())
                } else {
                    write_abstract(address, f)
                }
            }
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn write_abstract(address: &UnixSocketAddr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;

    match address.as_abstract_name() {
        Some(name) => write!(f, "@{}", name.escape_ascii()),
        None => Ok(()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn write_abstract(_: &UnixSocketAddr, _: &mut fmt::Formatter<'_>) -> fmt::Result {
    Ok(())
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl From<UnixSocketAddr> for Address {
    fn from(address: UnixSocketAddr) -> Address {
        Address::Unix(address)
    }
}
