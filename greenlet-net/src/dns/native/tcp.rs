//! Asking over TCP: messages with their length in front (RFC 1035, section 4.2.2).

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use greenlet_core::Instant;

use crate::TcpStream;

/// A connection that lasts for `timeout`, whatever the server does with it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    opened: Instant,
    timeout: Duration,
}

impl Connection {
    pub(super) fn open(server: SocketAddr, timeout: Duration) -> io::Result<Connection> {
        let opened = Instant::now();
        let stream = TcpStream::connect_timeout(&server, timeout)?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, opened, timeout })
    }

    /// Sends a message and returns the next one that comes.
    pub(super) fn ask(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        let length = u16::try_from(message.len()).map_err(|_| ErrorKind::InvalidInput)?;
        let framed = [&length.to_be_bytes(), message].concat();
        self.stream.set_write_timeout(Some(self.left()?))?;
        (&self.stream).write_all(&framed)?;
        let mut length = [0; 2];
        self.fill(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        self.fill(&mut answer)?;
        Ok(answer)
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match (&self.stream).read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => buffer = &mut buffer[n..],
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.timeout.saturating_sub(self.opened.elapsed());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}
