//! Waiting for one descriptor.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use greenlet_core::io::{Direction, Source, take_part};
use rustix::event::PollFlags;

use super::{Asked, look, wait_for_any};

/// Waits until a descriptor can be read without blocking, or has come to an end or an error, for at most `timeout`.
///
/// For descriptors of other libraries: it works with everything that can be polled, in blocking mode or not, and also while others wait for
/// the same descriptor or use it through a socket of this crate. Several greenlets may wait for it at once; all of them are woken.
///
/// Suspends the greenlet, on a thread without greenlets it blocks. A kill or timeout unwinds it from here. If it is ready, this returns without
/// suspending, but every 32 calls to let others run. While it waits the descriptor is borrowed, so it is not closed meanwhile; what is behind it can be shut down by others, and
/// [`TcpStream::close`](crate::TcpStream::close) does, which ends the wait.
///
/// # Errors
/// `TimedOut`; what the system says: `EBADF`, or no descriptor left for watching.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::wait_read;
/// use std::io::{Read, Write};
///
/// let (mut reader, mut writer) = std::io::pipe()?; // std's: it would block the thread
/// spawn(move || writer.write_all(b"x").unwrap());
/// wait_read(&reader, None)?;
/// let mut byte = [0];
/// reader.read_exact(&mut byte)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn wait_read(fd: impl AsFd, timeout: Option<Duration>) -> io::Result<()> {
    wait_one(fd, Direction::Read, PollFlags::IN, timeout)
}

/// Waits until a descriptor can be written without blocking, or has come to an error, for at most `timeout`. Otherwise as [`wait_read`].
///
/// # Errors
/// As there.
pub fn wait_write(fd: impl AsFd, timeout: Option<Duration>) -> io::Result<()> {
    wait_one(fd, Direction::Write, PollFlags::OUT, timeout)
}

/// What [`wait_readwrite`] found. At least one of them is so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Readiness {
    /// Reading does not block.
    pub readable: bool,
    /// Writing does not block.
    pub writable: bool,
}

/// Waits until a descriptor can be read or written without blocking, for at most `timeout`, and tells which. Otherwise as [`wait_read`].
///
/// # Errors
/// As there.
pub fn wait_readwrite(fd: impl AsFd, timeout: Option<Duration>) -> io::Result<Readiness> {
    take_part();
    let mut asked = [Asked::new(fd.as_fd(), PollFlags::IN | PollFlags::OUT)];
    if wait_for_any(&mut asked, timeout)? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "timed out"));
    }
    let broken = asked[0].found.intersects(PollFlags::ERR | PollFlags::HUP);
    Ok(Readiness {
        readable: broken || asked[0].found.contains(PollFlags::IN),
        writable: broken || asked[0].found.contains(PollFlags::OUT),
    })
}

fn wait_one(
    fd: impl AsFd,
    direction: Direction,
    wanted: PollFlags,
    timeout: Option<Duration>,
) -> io::Result<()> {
    take_part();
    let mut asked = [Asked::new(fd.as_fd(), wanted)];
    if look(&mut asked)? > 0 {
        return Ok(());
    }
    // A duplicate: the hub may watch the original already, for a socket.
    Source::new(fd.as_fd().try_clone_to_owned()?).io(direction, timeout, |_| match look(&mut asked)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    })
}
