//! The load for servers: one thread, any number of connections, always the same request.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// What every connection sends, again and again, and what it waits for before it sends the next.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// One request.
    pub request: Vec<u8>,
    /// The length of the answer to it.
    pub answer: usize,
    /// How many requests are sent at once.
    pub depth: usize,
}

/// Connections that are open and have exchanged once.
#[derive(Debug)]
pub struct Load {
    poll: Poll,
    connections: Vec<Connection>,
    /// All requests of one exchange.
    burst: Vec<u8>,
    expected: usize,
    depth: usize,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// How much of the burst was sent.
    sent: usize,
    /// How much of the answers arrived.
    received: usize,
}

/// A server that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

impl Load {
    /// Opens the connections and lets each of them exchange once.
    pub fn connect(server: SocketAddr, connections: usize, exchange: &Exchange) -> io::Result<Load> {
        let poll = Poll::new()?;
        let mut load = Load {
            poll,
            connections: Vec::with_capacity(connections),
            burst: exchange.request.repeat(exchange.depth),
            expected: exchange.answer * exchange.depth,
            depth: exchange.depth,
            buffer: vec![0; 256 << 10],
        };
        for index in 0..connections {
            // One after the other, so that no backlog overflows.
            let stream = std::net::TcpStream::connect(server)?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let mut stream = TcpStream::from_std(stream);
            load.poll.registry().register(
                &mut stream,
                Token(index),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            load.connections.push(Connection { stream, sent: 0, received: 0 });
        }
        load.run(connections as u64)?;
        Ok(load)
    }

    /// Exchanges at least this many times over all connections, and returns how many requests were answered per second.
    pub fn requests_per_second(&mut self, requests: u64) -> io::Result<f64> {
        let bursts = (requests / self.depth as u64).max(self.connections.len() as u64);
        let start = Instant::now();
        self.run(bursts)?;
        Ok((bursts * self.depth as u64) as f64 / start.elapsed().as_secs_f64())
    }

    /// Shares `bursts` among the connections: each begins the next as soon as its answers are there.
    fn run(&mut self, bursts: u64) -> io::Result<()> {
        let (mut begun, mut ended) = (0, 0);
        for connection in &mut self.connections {
            connection.sent = self.burst.len();
            connection.received = self.expected;
            if begun < bursts {
                begun += 1;
                connection.begin(&self.burst)?;
            }
        }
        let mut events = Events::with_capacity(1024);
        while ended < bursts {
            self.poll.poll(&mut events, Some(PATIENCE))?;
            if events.is_empty() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"));
            }
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                if connection.received == self.expected {
                    continue; // between two exchanges
                }
                connection.send(&self.burst)?;
                while connection.receive(&mut self.buffer, self.expected)? {
                    ended += 1;
                    if begun == bursts {
                        break;
                    }
                    begun += 1;
                    connection.begin(&self.burst)?;
                }
            }
        }
        Ok(())
    }
}

impl Connection {
    fn begin(&mut self, burst: &[u8]) -> io::Result<()> {
        self.sent = 0;
        self.received = 0;
        self.send(burst)
    }

    fn send(&mut self, burst: &[u8]) -> io::Result<()> {
        while self.sent < burst.len() {
            match self.stream.write(&burst[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether all answers of the exchange are there. Reads until nothing is left: readiness is told once.
    fn receive(&mut self, buffer: &mut [u8], expected: usize) -> io::Result<bool> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.received += n;
                    if self.received > expected {
                        return Err(io::Error::other("more was answered than asked"));
                    }
                    if self.received == expected {
                        // Nothing else is under way, so nothing was missed.
                        return Ok(true);
                    }
                    if n < buffer.len() {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Asks once, and returns the answer: for servers whose answers have to be measured first.
pub fn ask_once(server: SocketAddr, request: &[u8], is_whole: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    let mut stream = std::net::TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !is_whole(&answer) {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => answer.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(answer)
}
