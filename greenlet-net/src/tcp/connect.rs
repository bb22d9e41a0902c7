//! Connecting without blocking the thread.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::time::Duration;

use greenlet_core::io::{Direction, Source};
use socket2::{Domain, Protocol, Socket, Type};

/// Connects to one address. Whatever ends this early, a kill included, closes the half-open socket: `Source` owns it.
pub(super) fn connect(address: &SocketAddr, timeout: Option<Duration>) -> io::Result<Source<StdStream>> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let decided = match socket.connect(&(*address).into()) {
        Ok(()) => true,
        Err(error) if is_in_progress(&error) => false,
        Err(error) => return Err(error),
    };
    // Watched only from here on: a socket that has not begun to connect looks hung up.
    let source = Source::new(StdStream::from(socket));
    if !decided {
        source.io(Direction::Write, timeout, outcome)?;
    }
    Ok(source)
}

fn is_in_progress(error: &io::Error) -> bool {
    // An interrupted attempt goes on in the background, as one that was not waited for.
    error.raw_os_error() == Some(libc::EINPROGRESS) || error.kind() == io::ErrorKind::Interrupted
}

/// How the attempt ended; `WouldBlock` while it has not.
fn outcome(stream: &StdStream) -> io::Result<()> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error),
    }
}
