//! A connection as ureq uses it.

use std::io::{self, Write};
use std::sync::{Arc, Weak};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, ShutdownHandle, Transport};

#[cfg(feature = "tls")]
use crate::tls::TlsStream;
use crate::{Stream, TcpStream, Within};

/// A connection that ureq makes calls on. Made by [`Connector`](super::Connector).
#[derive(Debug)]
pub struct Connection {
    socket: Arc<Socket>,
    buffers: Buffered,
}

/// What a connection is made of.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(TlsStream),
}

/// ureq's buffers, which cannot be printed.
struct Buffered(LazyBuffers);

impl std::fmt::Debug for Buffered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers").finish_non_exhaustive()
    }
}

impl Socket {
    fn stream(&self) -> &dyn Stream {
        match self {
            Socket::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Socket::Tls(stream) => stream,
        }
    }
}

impl ShutdownHandle for Socket {
    fn shutdown(&self) {
        self.stream().close();
    }
}

impl Connection {
    pub(super) fn new(socket: Socket, buffers: LazyBuffers) -> Connection {
        Connection { socket: Arc::new(socket), buffers: Buffered(buffers) }
    }

    pub(super) fn shutdown_handle(&self) -> Weak<dyn ShutdownHandle> {
        let weak: Weak<Socket> = Arc::downgrade(&self.socket);
        weak
    }
}

/// What is left of ureq's time: an error when nothing is.
fn limit(timeout: &NextTimeout) -> Result<Option<std::time::Duration>, Error> {
    match timeout.after.is_zero() {
        true => Err(Error::Timeout(timeout.reason)),
        false => Ok(timeout.not_zero().map(|limit| *limit)),
    }
}

fn named(error: io::Error, timeout: &NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers.0
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        let limit = limit(&timeout)?;
        let output = &self.buffers.0.output()[..amount];
        let mut stream = self.socket.stream();
        let written = match limit {
            Some(limit) => Within::new(stream, limit).write_all(output),
            None => stream.write_all(output),
        };
        written.map_err(|error| named(error, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let limit = limit(&timeout)?;
        let (stream, room) = (self.socket.stream(), self.buffers.0.input_append_buf());
        let received = match limit {
            Some(limit) => stream.recv_within(room, limit),
            None => stream.recv(room),
        };
        let received = received.map_err(|error| named(error, &timeout))?;
        self.buffers.0.input_appended(received);
        Ok(received > 0)
    }

    /// Nothing may have come between two calls: neither the end nor an answer that nobody has asked for.
    fn is_open(&mut self) -> bool {
        let idle = self.socket.stream().try_recv(&mut [0]);
        matches!(idle, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn is_tls(&self) -> bool {
        match &*self.socket {
            Socket::Plain(_) => false,
            #[cfg(feature = "tls")]
            Socket::Tls(_) => true,
        }
    }
}
