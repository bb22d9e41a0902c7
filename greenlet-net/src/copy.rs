//! Copying from one descriptor to another.

use std::future::poll_fn;
use std::io;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};

use greenlet_core::Hub;
use greenlet_core::future::block_on;
use rustix::io::Errno;

use crate::Stream;
use crate::connection::Connection;

/// What one call of `sendfile` may send: so long the thread does nothing else.
const MOST_AT_ONCE: u64 = 256 * 1024;

/// Where the longest file ends (`loff_t`).
const LAST: u64 = i64::MAX as u64;

/// See `TcpStream::send_file`.
#[cfg(target_os = "linux")]
pub(crate) fn send_file(
    connection: &Connection,
    file: BorrowedFd<'_>,
    offset: u64,
    count: Option<u64>,
) -> io::Result<u64> {
    let mut at = offset;
    let end = count.map_or(LAST, |count| offset.saturating_add(count).min(LAST));
    while at < end {
        let most = (end - at).min(MOST_AT_ONCE) as usize;
        let n = connection.transmit(None, |socket| {
            match rustix::fs::sendfile(socket, file, Some(&mut at), most) {
                // Beyond the end of the longest file that there can be.
                Err(Errno::OVERFLOW) => Ok(0),
                sent => Ok(sent?),
            }
        })?;
        if n == 0 {
            break;
        }
    }
    Ok(at - offset)
}

/// What a pipe holds, unless its size was changed.
#[cfg(target_os = "linux")]
const PIPE: usize = 64 * 1024;

/// See `TcpStream::splice_from`.
#[cfg(target_os = "linux")]
pub(crate) fn splice(from: &Connection, to: &Connection) -> io::Result<u64> {
    use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

    // The system moves pages between a socket and a pipe only.
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    let mut copied = 0;
    loop {
        // The pipe is empty: "would block" is said of the socket.
        let mut left = from.receive(None, |socket| Ok(splice(socket, None, &writer, None, PIPE, flags)?))?;
        if left == 0 {
            return Ok(copied);
        }
        while left > 0 {
            match to.transmit(None, |socket| Ok(splice(&reader, None, socket, None, left, flags)?))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => {
                    left -= n;
                    copied += n as u64;
                }
            }
        }
    }
}

/// How much is read at once.
const BUFFER: usize = 16 * 1024;

/// Reads and writes in a row, without a wait, before the others get a turn.
const LONGEST_STREAK: u32 = 32;

/// Copies both ways between two connections until both have ended: what a port forwarder or a proxy does. Returns how many bytes went from
/// the first to the second, and back.
///
/// An end is passed on: when one peer says that it will send no more, the other is told ([`Stream::shutdown`]), and what that one still sends
/// goes on. One greenlet does both directions, with a buffer of 16 KiB for the two; what one peer does not take is not read from the other.
/// Timeouts of the streams do not count; put [`with_timeout`](greenlet_core::with_timeout) around it.
///
/// Suspends the greenlet. A kill or timeout unwinds it from here; both streams are left as they are, and up to 16 KiB in each direction that
/// were read and not yet written are lost. Works with any [`Stream`], `dyn` too. For one direction there is [`std::io::copy`].
///
/// # Errors
/// The first one, of either stream and direction: a reset, for example. Nothing is closed then: drop the streams.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::{TcpListener, TcpStream, UnixStream, copy_bidirectional};
/// use std::io::{Read, Write};
/// use std::net::Shutdown;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// let (front, _) = listener.accept()?;
/// let (back, mut server) = UnixStream::pair()?;
/// let forwarder = spawn(move || copy_bidirectional(&front, &back).unwrap());
///
/// client.write_all(b"question")?;
/// client.shutdown(Shutdown::Write)?;
/// let mut text = String::new();
/// server.read_to_string(&mut text)?; // to the end of what the client sends
/// server.write_all(b"answer")?;
/// drop(server);
/// client.read_to_string(&mut text)?;
/// assert_eq!(text, "questionanswer");
/// assert_eq!(forwarder.get()?, (8, 6));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn copy_bidirectional<A, B>(one: &A, other: &B) -> io::Result<(u64, u64)>
where
    A: Stream + ?Sized,
    B: Stream + ?Sized,
{
    Hub::current(); // futures need one that sees the sockets become ready
    let mut scratch = vec![0; BUFFER];
    let (mut there, mut back) = (Flow::default(), Flow::default());
    block_on(poll_fn(|context| {
        let there = there.advance(context, one, other, &mut scratch)?;
        let back = back.advance(context, other, one, &mut scratch)?;
        match (there, back) {
            (Poll::Ready(there), Poll::Ready(back)) => Poll::Ready(Ok((there, back))),
            _ => Poll::Pending,
        }
    }))
}

/// One direction.
#[derive(Default)]
struct Flow {
    /// What was read and could not be written yet, from `sent` on.
    rest: Vec<u8>,
    sent: usize,
    copied: u64,
    /// Something was written since the last flush.
    unflushed: bool,
    at_end: bool,
    done: bool,
}

impl Flow {
    /// As far as it goes now. `Ready`: to its end, with so many bytes.
    fn advance<A: Stream + ?Sized, B: Stream + ?Sized>(
        &mut self,
        context: &mut Context<'_>,
        from: &A,
        to: &B,
        scratch: &mut [u8],
    ) -> io::Result<Poll<u64>> {
        for _ in 0..LONGEST_STREAK {
            if self.done {
                return Ok(Poll::Ready(self.copied));
            }
            if self.sent < self.rest.len() {
                let Poll::Ready(n) = to.poll_send(context, &self.rest[self.sent..])? else {
                    return Ok(Poll::Pending);
                };
                self.count(n)?;
                self.sent += n;
                continue;
            }
            if self.at_end {
                match to.poll_finish(context) {
                    Poll::Pending => return Ok(Poll::Pending),
                    // The peer is gone, so it need not be told. Whether that was in order, reading from it tells.
                    Poll::Ready(Err(error)) if error.kind() != io::ErrorKind::NotConnected => {
                        return Err(error);
                    }
                    Poll::Ready(_) => self.done = true,
                }
                continue;
            }
            match from.poll_recv(context, scratch)? {
                Poll::Ready(0) => self.at_end = true,
                Poll::Ready(n) => {
                    let sent = match to.poll_send(context, &scratch[..n])? {
                        Poll::Ready(sent) => self.count(sent)?,
                        Poll::Pending => 0,
                    };
                    self.rest.clear();
                    self.rest.extend_from_slice(&scratch[sent..n]);
                    self.sent = 0;
                }
                Poll::Pending => {
                    if self.unflushed && to.poll_flush(context)?.is_ready() {
                        self.unflushed = false;
                    }
                    return Ok(Poll::Pending);
                }
            }
        }
        context.waker().wake_by_ref();
        Ok(Poll::Pending)
    }

    fn count(&mut self, sent: usize) -> io::Result<usize> {
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.copied += sent as u64;
        self.unflushed = true;
        Ok(sent)
    }
}
