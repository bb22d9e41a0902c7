//! Datagrams as they arrive.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use greenlet_core::io::{Direction, Source};
use greenlet_core::sync;

use super::acceptor::{Arrival, Arrivals};
use super::life::Door;
use super::settings::Place;
use crate::Address;

/// A socket that datagrams come from and go to, for all that use it.
pub(super) struct Socket {
    source: Source<UdpSocket>,
    /// One at a time may wait for room to send.
    sending: sync::Mutex<()>,
}

impl Socket {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Arc<Socket>> {
        socket.set_nonblocking(true)?;
        Ok(Arc::new(Socket { source: Source::new(socket), sending: sync::Mutex::new(()) }))
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get_ref().local_addr()
    }

    /// The same socket with a place of its own to wait.
    pub(super) fn duplicate(&self) -> io::Result<Arc<Socket>> {
        Socket::new(self.source.get_ref().try_clone()?)
    }

    pub(super) fn send_to(&self, data: &[u8], peer: SocketAddr) -> io::Result<usize> {
        let _turn = self.sending.lock();
        self.source.io(Direction::Write, None, |socket| socket.send_to(data, peer))
    }
}

/// A socket, and what is taken from it.
pub(super) struct Datagrams {
    pub(super) socket: Arc<Socket>,
    /// One byte longer than the longest datagram that is taken whole: who fills it was longer.
    buffer: Mutex<Vec<u8>>,
}

impl Datagrams {
    pub(super) fn new(socket: Arc<Socket>, max_size: usize) -> Datagrams {
        // No datagram is longer than 65535 bytes.
        Datagrams { socket, buffer: Mutex::new(vec![0; max_size.min(65_535) + 1]) }
    }

    fn receive(&self, socket: &UdpSocket) -> io::Result<Datagram> {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let (length, peer) = socket.recv_from(&mut buffer)?;
        let max_size = buffer.len() - 1;
        Ok(Datagram {
            data: buffer[..length.min(max_size)].to_vec(),
            peer,
            truncated: length > max_size,
            socket: self.socket.clone(),
        })
    }
}

impl Arrivals for Datagrams {
    type Item = Datagram;

    fn next(&self, admit: &mut dyn FnMut() -> Option<Place>) -> io::Result<Option<(Datagram, Place)>> {
        self.socket.source.io(Direction::Read, None, |socket| match admit() {
            Some(place) => self.receive(socket).map(|datagram| Some((datagram, place))),
            None => Ok(None),
        })
    }

    fn is_closed(&self) -> bool {
        false
    }
}

impl Door for Datagrams {
    /// The loop that receives is killed, and handlers may still answer: the last of them closes the socket.
    fn shut(&self) {}
}

/// A datagram that was received.
///
/// It is its bytes, by [`Deref`], and knows where it came from.
pub struct Datagram {
    data: Vec<u8>,
    peer: SocketAddr,
    truncated: bool,
    socket: Arc<Socket>,
}

impl Datagram {
    /// Who sent it, as far as one can know.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether it was longer than the [maximum](super::DatagramServer::max_size): the rest is lost.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Its bytes.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// Sends a datagram to where this one came from, from the address that it came to.
    ///
    /// Suspends the greenlet while there is no room for it, or another one is waiting for room. A kill or timeout unwinds it from there, and then nothing was
    /// sent.
    ///
    /// # Errors
    /// What the system says, for example that it is too long.
    pub fn reply(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.send_to(data, self.peer)
    }
}

impl Deref for Datagram {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data
    }
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram")
            .field("peer", &self.peer)
            .field("len", &self.data.len())
            .field("truncated", &self.truncated)
            .finish_non_exhaustive()
    }
}

impl Arrival for Datagram {
    fn peer(&self) -> Address {
        Address::Ip(self.peer)
    }

    fn ip(&self) -> Option<IpAddr> {
        Some(self.peer.ip().to_canonical())
    }

    type Closer = ();

    fn closer(&self) {}

    fn ender(&self) -> Box<dyn FnOnce() + Send> {
        Box::new(|| {})
    }
}
