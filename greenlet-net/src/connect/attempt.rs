//! One attempt to connect to one address.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use greenlet_core::io::Source;
use socket2::{Domain, Protocol, Type};

use super::ConnectOptions;
use crate::socket::Socket;

/// A socket that is connecting, or connected. Whatever ends this early, a kill included, closes it: `Source` owns it.
pub(super) struct Attempt {
    pub(super) address: SocketAddr,
    pub(super) source: Source<Socket>,
    pub(super) decided: bool,
}

impl Attempt {
    pub(super) fn start(options: &ConnectOptions, address: SocketAddr) -> io::Result<Attempt> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        options.prepare(&socket, address)?;
        let decided = match socket.options().connect(&address.into()) {
            Ok(()) => true,
            Err(error) if is_in_progress(&error) => false,
            Err(error) => return Err(error),
        };
        // Watched only from here on: a socket that has not begun to connect looks hung up.
        Ok(Attempt { address, source: Source::new(socket), decided })
    }
}

impl ConnectOptions {
    fn prepare(&self, socket: &Socket, address: SocketAddr) -> io::Result<()> {
        let set = socket.options();
        self.requested.apply(socket, address)?;
        for before in &self.before {
            before(socket.as_fd())?;
        }
        let (ours, other) = match address.is_ipv4() {
            true => (self.source_v4, self.source_v6),
            false => (self.source_v6, self.source_v4),
        };
        match (ours, other) {
            (Some(source), _) => {
                if self.reuse_address {
                    set.set_reuse_address(true)?;
                }
                set.bind(&source.into()).map_err(|error| {
                    io::Error::new(error.kind(), format!("cannot come from {source}: {error}"))
                })
            }
            (None, Some(source)) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("cannot come from {source}, which is of the other family"),
            )),
            (None, None) => Ok(()),
        }
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    // An interrupted attempt goes on in the background, as one that was not waited for.
    error.raw_os_error() == Some(libc::EINPROGRESS) || error.kind() == io::ErrorKind::Interrupted
}

/// How an attempt ended; `WouldBlock` while it has not.
pub(super) fn outcome(socket: &Socket) -> io::Result<()> {
    if let Some(error) = socket.options().take_error()? {
        return Err(error);
    }
    match socket.options().peer_addr() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error),
    }
}
