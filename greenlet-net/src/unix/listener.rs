//! Accepting connections.

use std::io;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::{UnixListenOptions, UnixStream};
use crate::listening::{Listening, listener};

/// Listens for connections within the machine: [`std::os::unix::net::UnixListener`] for greenlets.
///
/// [`accept`](UnixListener::accept) suspends the calling greenlet only. One greenlet at a time may wait in it. The listener is closed when
/// it and its clones are dropped, or by [`close`](UnixListener::close). As with std, the socket's file stays there, unless
/// [`UnixListenOptions`] were told otherwise.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::{UnixListener, UnixStream};
/// use std::io::{Read, Write};
///
/// # let folder = std::env::temp_dir().join(format!("greenlet-doc-listener-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let path = folder.join("hello.sock");
/// let listener = UnixListener::bind(&path)?;
/// spawn(move || listener.accept().unwrap().0.write_all(b"hello").unwrap());
/// let mut text = String::new();
/// UnixStream::connect(&path)?.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixListener {
    listening: Arc<Listening>,
}

listener!(UnixListener, std: std::os::unix::net::UnixListener, accepts: UnixStream, address: SocketAddr);

impl UnixListener {
    /// Makes a socket at that path and listens, with a backlog of 1024. [`UnixListenOptions`] has the settings.
    ///
    /// # Errors
    /// `AddrInUse` if there is a file, be it one that nobody listens on any more; `InvalidInput` for a path that is too long (108
    /// bytes on Linux) or has a NUL byte; else what the system says.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListenOptions::new().bind(path)
    }

    /// As [`bind`](UnixListener::bind), by address: for those that are no path.
    ///
    /// # Errors
    /// As there; `InvalidInput` for the address of a socket without a name.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        UnixListenOptions::new().bind_addr(address)
    }

    pub(super) fn of(listening: Arc<Listening>) -> UnixListener {
        UnixListener { listening }
    }
}
