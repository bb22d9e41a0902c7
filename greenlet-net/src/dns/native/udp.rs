//! Sockets to ask with.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use greenlet_core::Instant;
use greenlet_core::io::{Direction, Source};
use greenlet_core::sync::{Permit, Semaphore};

/// Larger than any answer that we invite; a datagram that fills it is cut off.
const BUFFER: usize = 4096;
/// A port is used for so many queries, so that who learns it can do little with it ...
const MOST_QUERIES: u32 = 64;
/// ... and for so long.
const LONGEST_IDLE: Duration = Duration::from_secs(10);
/// So many sockets are kept for the next queries.
const MOST_IDLE: usize = 128;

/// The sockets that nobody uses right now.
#[derive(Debug)]
pub(super) struct Sockets {
    idle: Mutex<Vec<Idle>>,
    /// So many lookups may still begin.
    turns: Semaphore,
}

#[derive(Debug)]
struct Idle {
    socket: Socket,
    since: Instant,
}

/// A socket with a random port of its own, connected to one server: the system drops what others send to it.
///
/// One lookup has it at a time. What comes late is told apart by its id.
#[derive(Debug)]
pub(super) struct Socket {
    source: Source<UdpSocket>,
    server: SocketAddr,
    /// The hub that watches it, as far as we know.
    thread: ThreadId,
    /// A forked child has the same sockets, and would take the answers of its parent.
    process: u32,
    buffer: Box<[u8; BUFFER]>,
    queries: u32,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Datagram<'a> {
    Whole(&'a [u8]),
    /// Its beginning.
    CutOff(&'a [u8]),
}

impl Sockets {
    pub(super) fn new(at_once: usize) -> Sockets {
        Sockets { idle: Mutex::default(), turns: Semaphore::new(at_once) }
    }

    /// The right to have a socket open: waits until there are few enough lookups.
    pub(super) fn turn(&self) -> Permit<'_> {
        self.turns.permit()
    }

    /// An idle one that this hub has used before, or a new one.
    pub(super) fn take(&self, server: SocketAddr) -> io::Result<Socket> {
        let thread = thread::current().id();
        let (process, now) = (process::id(), Instant::now());
        let is_fresh =
            |idle: &Idle| idle.socket.process == process && now.duration_since(idle.since) < LONGEST_IDLE;
        let mut idle = self.lock();
        // The oldest ones are in front.
        let fresh = idle.iter().position(is_fresh).unwrap_or(idle.len());
        let old: Vec<Idle> = idle.drain(..fresh).collect();
        let found = idle
            .iter()
            .rposition(|idle| idle.socket.server == server && idle.socket.thread == thread)
            .map(|index| idle.remove(index).socket);
        drop(idle);
        drop(old);
        match found {
            Some(socket) => Ok(socket),
            None => Socket::new(server, thread, process),
        }
    }

    /// For the next lookup. Only of one that is as good as new: whoever was interrupted drops it.
    pub(super) fn put_back(&self, socket: Socket) {
        if socket.queries >= MOST_QUERIES {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < MOST_IDLE {
            idle.push(Idle { socket, since: Instant::now() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // Nothing under the lock panics halfway through a change.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Socket {
    fn new(server: SocketAddr, thread: ThreadId, process: u32) -> io::Result<Socket> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        let buffer = Box::new([0; BUFFER]);
        Ok(Socket { source: Source::new(socket), server, thread, process, buffer, queries: 0 })
    }

    pub(super) fn send(&mut self, message: &[u8], timeout: Duration) -> io::Result<()> {
        self.queries += 1;
        self.source.io(Direction::Write, Some(timeout), |socket| socket.send(message))?;
        Ok(())
    }

    /// Right after sending there is nothing yet: saves the attempt.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<()> {
        self.source.wait(Direction::Read, Some(timeout))
    }

    pub(super) fn receive(&mut self, timeout: Duration) -> io::Result<Datagram<'_>> {
        let buffer = &mut self.buffer[..];
        let length = self.source.io(Direction::Read, Some(timeout), |socket| socket.recv(buffer))?;
        let bytes = &self.buffer[..length];
        Ok(if length == BUFFER { Datagram::CutOff(bytes) } else { Datagram::Whole(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    fn port(socket: &Socket) -> u16 {
        socket.source.get_ref().local_addr().unwrap().port()
    }

    /// Whether the next lookup for this server gets the socket, after it was changed.
    fn comes_back(server: SocketAddr, change: impl FnOnce(&mut Socket)) -> bool {
        let sockets = Sockets::new(1);
        let mut socket = sockets.take(server).unwrap();
        // Held, so that nobody else gets its port.
        let held = socket.source.get_ref().try_clone().unwrap();
        change(&mut socket);
        sockets.put_back(socket);
        let next = port(&sockets.take(server).unwrap());
        next == held.local_addr().unwrap().port()
    }

    #[test]
    fn a_socket_serves_one_lookup_after_the_other() {
        assert!(comes_back(server().1, |_| {}));
    }

    #[test]
    fn a_port_is_not_used_for_ever() {
        assert!(comes_back(server().1, |socket| socket.queries = MOST_QUERIES - 1));
        assert!(!comes_back(server().1, |socket| socket.queries = MOST_QUERIES));
    }

    #[test]
    fn sockets_of_the_parent_are_not_those_of_a_forked_child() {
        assert!(!comes_back(server().1, |socket| socket.process = 0));
    }

    #[test]
    fn every_server_and_every_hub_has_its_own_sockets() {
        let other = server().1;
        assert!(!comes_back(server().1, |socket| socket.server = other));
        let thread = thread::spawn(|| thread::current().id()).join().unwrap();
        assert!(!comes_back(server().1, |socket| socket.thread = thread));
    }

    #[test]
    fn two_lookups_at_once_have_two_ports() {
        let (sockets, address) = (Sockets::new(2), server().1);
        let (one, other) = (sockets.take(address).unwrap(), sockets.take(address).unwrap());
        assert_ne!(port(&one), port(&other));
    }

    #[test]
    fn no_more_sockets_are_kept_than_allowed() {
        let (sockets, address) = (Sockets::new(2), server().1);
        let all: Vec<Socket> = (0..MOST_IDLE + 10).map(|_| sockets.take(address).unwrap()).collect();
        all.into_iter().for_each(|socket| sockets.put_back(socket));
        assert_eq!(sockets.lock().len(), MOST_IDLE);
    }
}
