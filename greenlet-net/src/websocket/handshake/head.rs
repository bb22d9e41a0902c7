//! The head of a request or a response, out of a stream.

use std::io;
use std::time::Duration;

use greenlet_core::Instant;
use tungstenite::handshake::machine::TryParse;

use super::super::settings::at_least_some;
use crate::Stream;

/// A head, and what was received behind it.
pub(super) struct Head<T> {
    pub(super) head: T,
    pub(super) leftover: Vec<u8>,
}

pub(super) enum HeadError {
    Io(io::Error),
    TimedOut,
    TooLarge,
    Malformed(tungstenite::Error),
}

/// When the handshake has to be done.
#[derive(Clone, Copy)]
pub(super) struct Until {
    start: Instant,
    pub(super) time: Duration,
}

impl Until {
    pub(super) fn new(time: Duration) -> Until {
        Until { start: Instant::now(), time }
    }

    /// `None`: it is over.
    pub(super) fn left(self) -> Option<Duration> {
        Some(self.time.saturating_sub(self.start.elapsed())).filter(|left| !left.is_zero())
    }
}

/// Receives a head of at most `limit` bytes.
pub(super) fn receive<T: TryParse>(
    stream: &dyn Stream,
    limit: usize,
    until: Until,
) -> Result<Head<T>, HeadError> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 2048];
    loop {
        let left = until.left().ok_or(HeadError::TimedOut)?;
        stream.set_read_timeout(Some(left)).map_err(HeadError::Io)?;
        let n = match stream.recv(&mut chunk) {
            Ok(0) => return Err(HeadError::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(HeadError::TimedOut),
            Err(error) => return Err(HeadError::Io(error)),
        };
        let before = bytes.len();
        bytes.extend_from_slice(&chunk[..n]);
        // Not after each byte of somebody who sends one at a time; but at once, to see whether it is HTTP.
        if (before == 0 || ends(&bytes[before.saturating_sub(3)..]))
            && let Some((size, head)) = T::try_parse(&bytes).map_err(HeadError::Malformed)?
        {
            if size > limit {
                return Err(HeadError::TooLarge);
            }
            return Ok(Head { head, leftover: bytes.split_off(size) });
        }
        if bytes.len() > limit {
            return Err(HeadError::TooLarge);
        }
    }
}

/// Whether an empty line may end in there.
fn ends(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|two| two == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

/// Sends everything.
pub(super) fn send(stream: &dyn Stream, mut bytes: &[u8], until: Until) -> Result<(), HeadError> {
    while !bytes.is_empty() {
        let left = until.left().ok_or(HeadError::TimedOut)?;
        stream.set_write_timeout(Some(at_least_some(left))).map_err(HeadError::Io)?;
        match stream.send(bytes) {
            Ok(0) => return Err(HeadError::Io(io::ErrorKind::WriteZero.into())),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(HeadError::TimedOut),
            Err(error) => return Err(HeadError::Io(error)),
        }
    }
    stream.flush().map_err(HeadError::Io)
}
