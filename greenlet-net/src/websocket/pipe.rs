//! The end of a connection that tungstenite sees: memory, which never waits.
//!
//! So a kill cannot come while tungstenite is in the middle of something, and whoever waits for the peer holds no lock.

use std::io::{self, ErrorKind, Read, Write};

/// Pongs that may wait until the peer reads. Of more than that, the oldest are dropped: it is enough to answer the last ping (RFC
/// 6455, 5.5.3).
const PONGS: usize = 16 * 1024;

/// How much is received at once at first: most connections never need more.
const FIRST: usize = 512;

/// The first byte of a pong: the last frame of its message, opcode 10.
const PONG: u8 = 0x8a;

#[derive(Debug)]
pub(super) struct Pipe {
    /// What was received, up to `end`, of which everything before `start` was read. `None` while somebody receives into it.
    input: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    /// How large the next buffer is, and may become: one that was filled is too small.
    size: usize,
    largest: usize,
    ended: bool,
    /// Whole frames that are to be sent.
    output: Vec<u8>,
    /// Whole frames too, of which some may be dropped.
    pongs: Vec<u8>,
}

impl Pipe {
    pub(super) fn new(largest: usize) -> Pipe {
        Pipe {
            input: None,
            start: 0,
            end: 0,
            size: largest.min(FIRST),
            largest,
            ended: false,
            output: Vec::new(),
            pongs: Vec::new(),
        }
    }

    /// The buffer to receive into. Who is killed meanwhile drops it, with nothing in it.
    pub(super) fn take_input(&mut self) -> Box<[u8]> {
        let kept = self.input.take().filter(|input| input.len() == self.size);
        kept.unwrap_or_else(|| vec![0; self.size].into_boxed_slice())
    }

    /// `n` bytes were received; none is the end.
    pub(super) fn put_input(&mut self, input: Box<[u8]>, n: usize) {
        (self.start, self.end, self.ended) = (0, n, n == 0);
        if n == input.len() {
            self.size = self.largest.min(2 * self.size);
        }
        self.input = Some(input);
    }

    /// The buffer comes back as it was taken.
    pub(super) fn return_input(&mut self, input: Box<[u8]>) {
        self.input = Some(input);
    }

    /// What is to be sent; pongs go first, since nothing may come after a close.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        if self.pongs.is_empty() {
            return std::mem::take(&mut self.output);
        }
        let mut all = std::mem::take(&mut self.pongs);
        all.append(&mut self.output);
        all
    }

    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty() || !self.pongs.is_empty()
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match &self.input {
            Some(input) => &input[self.start..self.end],
            None => &[],
        };
        if left.is_empty() && !self.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = left.len().min(buffer.len());
        buffer[..n].copy_from_slice(&left[..n]);
        self.start += n;
        Ok(n)
    }
}

impl Write for Pipe {
    /// Gets a whole frame at a time: tungstenite's own buffer is set to keep nothing back.
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        if frame.first() == Some(&PONG) {
            if self.pongs.len() + frame.len() > PONGS {
                self.pongs.clear();
            }
            self.pongs.extend_from_slice(frame);
        } else {
            self.output.extend_from_slice(frame);
        }
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
