//! The same programs, written for each runtime in the way that is fastest there without being unusual.
//!
//! All of them keep to one thread, as far as the runtime lets them: greenlets and tokio's `current_thread`
//! flavour use the calling thread, may gets one worker. Every program starts its clock only when its tasks exist,
//! unless creating them is what it measures, and stops it when all of them are joined.

pub mod greenlet;
pub mod may;
pub mod tokio;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What each runtime must be able to do.
pub trait Programs {
    /// The runtime's name in the output.
    const NAME: &'static str;

    /// The most tasks that the runtime can hold at once.
    const MAX_TASKS: u64 = u64::MAX;

    /// Lets each of some tasks yield this many times, and returns how long they took together.
    fn yields(tasks: usize, each: u64) -> Duration;

    /// Spawns an empty task from inside a task and joins it, this many times.
    fn spawn_join(times: u64) -> Duration;

    /// Sends one item back and forth between two tasks over two queues, this many times.
    fn queue_ping_pong(round_trips: u64) -> Duration;

    /// Lets tasks wait for one shared event, then sets it and joins them.
    fn parked(tasks: usize) -> Parked;

    /// Lets one task for each of these times sleep for it, and returns the CPU time of spawning, sleeping and
    /// joining.
    fn sleepers(times: Vec<Duration>) -> Duration;

    /// Sends [`MESSAGE_SIZE`] bytes to a server on the same thread and back, this many times over each of some
    /// connections at once.
    fn echo(connections: usize, each: u64) -> Duration;
}

/// The outcome of [`Programs::parked`].
#[derive(Clone, Copy, Debug)]
pub struct Parked {
    /// From the first spawn until all tasks wait.
    pub create: Duration,
    /// The memory of the process while all tasks wait.
    pub resident_bytes: u64,
    /// From setting the event until all tasks are joined.
    pub wake: Duration,
}

/// The size of the messages that [`Programs::echo`] sends.
pub const MESSAGE_SIZE: usize = 64;

/// Where an echo server listens: on loopback, on any free port.
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The server's side of an echo connection, for runtimes with blocking sockets: sends back what it gets until the
/// client closes the connection.
pub fn serve_echo(mut stream: impl Read + Write) -> io::Result<()> {
    let mut buffer = [0; MESSAGE_SIZE];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

/// The client's side of an echo connection, for runtimes with blocking sockets.
pub fn request_echoes(mut stream: impl Read + Write, times: u64) -> io::Result<()> {
    let mut buffer = [0; MESSAGE_SIZE];
    for _ in 0..times {
        stream.write_all(&buffer)?;
        stream.read_exact(&mut buffer)?;
    }
    Ok(())
}
