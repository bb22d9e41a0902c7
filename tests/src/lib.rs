//! Tests that cross the crates are in `tests/`; this library holds what they share.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Any free port of the loopback.
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Longer than anything here takes; what needs it is stuck.
pub const STUCK: Duration = Duration::from_secs(60);

/// A client on a plain thread, line by line.
#[derive(Debug)]
pub struct LineClient {
    stream: BufReader<TcpStream>,
}

impl LineClient {
    /// Connects.
    ///
    /// # Panics
    /// When that fails.
    pub fn connect(address: SocketAddr) -> LineClient {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(STUCK)).expect("a timeout can be set");
        LineClient { stream: BufReader::new(stream) }
    }

    /// Sends a line and returns the answer; `None` at the end of the connection, in whatever way it comes.
    pub fn ask(&mut self, line: &str) -> Option<String> {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).ok()?;
        self.read()
    }

    /// The next line; `None` at the end of the connection.
    pub fn read(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }
}
