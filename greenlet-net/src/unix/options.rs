//! How to listen.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use socket2::{Domain, Type};

use super::{UnixListener, at, of_address};
use crate::listening::Listening;
use crate::socket::Socket;

/// Options of a [`UnixListener`], for when [`UnixListener::bind`] does not do.
///
/// ```
/// use greenlet_net::{UnixListenOptions, UnixListener};
///
/// # let folder = std::env::temp_dir().join(format!("greenlet-doc-options-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let path = folder.join("app.sock");
/// drop(UnixListener::bind(&path)?); // as after a crash: the file is still there
/// assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
///
/// let options = UnixListenOptions::new().replace_stale(true).remove_on_drop(true).mode(0o600);
/// let listener = options.bind(&path)?;
/// assert_eq!(options.bind(&path).unwrap_err().kind(), std::io::ErrorKind::AddrInUse); // not stale: somebody listens
/// drop(listener);
/// assert!(!path.exists());
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UnixListenOptions {
    backlog: u32,
    replace_stale: bool,
    remove_on_drop: bool,
    mode: Option<u32>,
}

impl Default for UnixListenOptions {
    fn default() -> UnixListenOptions {
        UnixListenOptions { backlog: 1024, replace_stale: false, remove_on_drop: false, mode: None }
    }
}

impl UnixListenOptions {
    /// The defaults, with which [`UnixListener::bind`] listens.
    pub fn new() -> UnixListenOptions {
        UnixListenOptions::default()
    }

    /// How many connections may wait to be accepted. Default: 1024. The system has its own limit on top
    /// (`net.core.somaxconn` on Linux).
    pub fn backlog(mut self, connections: u32) -> UnixListenOptions {
        self.backlog = connections;
        self
    }

    /// Whether to remove a socket's file that nobody listens on any more. Default: `false`.
    ///
    /// It connects to find out, which a listener that does exist sees as a connection without a word. Files that are no sockets are
    /// never removed. Two programs that start at the same moment may both find the file stale: one of them then listens where
    /// nobody comes.
    pub fn replace_stale(mut self, replace: bool) -> UnixListenOptions {
        self.replace_stale = replace;
        self
    }

    /// Whether to remove the socket's file when the listener and its clones are dropped, if it is still the same file. Default: `false`, as
    /// std.
    pub fn remove_on_drop(mut self, remove: bool) -> UnixListenOptions {
        self.remove_on_drop = remove;
        self
    }

    /// The permissions of the socket's file, less the process's umask: who may write to it may connect. From the first moment on, on
    /// Linux. Default: all, less the umask.
    #[cfg(target_os = "linux")]
    pub fn mode(mut self, mode: u32) -> UnixListenOptions {
        self.mode = Some(mode);
        self
    }

    /// Makes a socket at that path and listens.
    ///
    /// # Errors
    /// As [`UnixListener::bind`].
    pub fn bind(&self, path: impl AsRef<Path>) -> io::Result<UnixListener> {
        self.bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// As [`bind`](UnixListenOptions::bind), by address: for those that are no path.
    ///
    /// # Errors
    /// As [`UnixListener::bind_addr`].
    pub fn bind_addr(&self, address: &SocketAddr) -> io::Result<UnixListener> {
        let path = address.as_pathname();
        let bound = match self.listen(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && self.replace_stale => {
                match path.filter(|path| is_stale(path)) {
                    Some(path) => fs::remove_file(path).and_then(|()| self.listen(address)),
                    None => Err(error),
                }
            }
            bound => bound,
        };
        let socket = bound.map_err(|error| at("listen on", address, error))?;
        let file = path.filter(|_| self.remove_on_drop).and_then(SocketFile::at);
        Ok(UnixListener::of(Listening::with_file(socket, file)))
    }

    fn listen(&self, address: &SocketAddr) -> io::Result<Socket> {
        let to = of_address(address)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        #[cfg(target_os = "linux")]
        if let Some(mode) = self.mode {
            // The file gets the mode that the socket has.
            rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(mode))?;
        }
        socket.options().bind(&to)?;
        socket.options().listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        Ok(socket)
    }
}

/// Whether it is a socket that nobody listens on.
fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && nobody_listens(path).unwrap_or(false)
}

fn nobody_listens(path: &Path) -> io::Result<bool> {
    // Non-blocking: one with a full backlog is not waited for.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let refused = socket.options().connect(&super::of_path(path)?);
    Ok(refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

/// The file of a socket, removed with this.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> Option<SocketFile> {
        Some(SocketFile { path: path.to_owned(), inode: inode(path)? })
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path) == Some(self.inode) {
            // Gone already: as well.
            let _ = fs::remove_file(&self.path);
        }
    }
}
