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
    /// A forked child has the same sockets, and would take the answers of its parent.
    process: u32,
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
        let is_fresh = |idle: &Idle| idle.process == process && now.duration_since(idle.since) < LONGEST_IDLE;
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
            None => Socket::new(server, thread),
        }
    }

    /// For the next lookup. Only of one that is as good as new: whoever was interrupted drops it.
    pub(super) fn put_back(&self, socket: Socket) {
        if socket.queries >= MOST_QUERIES {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < MOST_IDLE {
            idle.push(Idle { socket, since: Instant::now(), process: process::id() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // Nothing under the lock panics halfway through a change.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Socket {
    fn new(server: SocketAddr, thread: ThreadId) -> io::Result<Socket> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        let buffer = Box::new([0; BUFFER]);
        Ok(Socket { source: Source::new(socket), server, thread, buffer, queries: 0 })
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
