//! Unix sockets: connections and datagrams between processes of one machine.

mod credentials;
mod datagram;
#[cfg(target_os = "linux")]
mod descriptors;
mod listener;
mod options;
mod stream;

use std::io;
use std::os::unix::net::SocketAddr;
use std::path::Path;

use socket2::SockAddr;

pub use credentials::PeerCredentials;
pub use datagram::UnixDatagram;
#[cfg(target_os = "linux")]
pub use descriptors::ReceivedFds;
pub use listener::UnixListener;
pub(crate) use options::SocketFile;
pub use options::UnixListenOptions;
pub use stream::UnixStream;

/// The system's form of a path.
fn of_path(path: &Path) -> io::Result<SockAddr> {
    // Checked by std: a path with a NUL byte would be another address.
    of_address(&SocketAddr::from_pathname(path)?)
}

/// The system's form of an address.
fn of_address(address: &SocketAddr) -> io::Result<SockAddr> {
    if let Some(path) = address.as_pathname() {
        return SockAddr::unix(path);
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::ffi::OsStr;
        #[cfg(target_os = "android")]
        use std::os::android::net::SocketAddrExt;
        #[cfg(target_os = "linux")]
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;

        if let Some(name) = address.as_abstract_name() {
            let name = [b"\0", name].concat();
            return SockAddr::unix(OsStr::from_bytes(&name));
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "a Unix socket without a name cannot be found"))
}

/// An error that says where it happened.
fn at(task: &str, address: &SocketAddr, error: io::Error) -> io::Error {
    let address = crate::Address::from(address.clone());
    io::Error::new(error.kind(), format!("cannot {task} {address}: {error}"))
}
