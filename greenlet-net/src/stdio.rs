//! Standard input, output and error, which belong to others too.
//!
//! They are shared with the shell and whatever else has the same terminal or pipe, so their mode is left as it is: non-blocking mode
//! would be for all of them, and stay after this program. Instead each call asks the system not to wait (`RWF_NOWAIT`), or where a
//! terminal knows no such thing, whether it is ready.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use greenlet_core::io::take_part;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::readiness::{wait_read, wait_write};

/// The standard input of the process: see [`stdin`].
#[derive(Clone, Copy, Debug)]
pub struct Stdin(());

/// The standard output of the process: see [`stdout`].
#[derive(Clone, Copy, Debug)]
pub struct Stdout(());

/// The standard error of the process: see [`stderr`].
#[derive(Clone, Copy, Debug)]
pub struct Stderr(());

/// The standard input of the process, be it a terminal, a pipe, a socket or a file.
///
/// A read suspends the greenlet until there is something: the other greenlets run while the user thinks. Nothing is buffered here: put a
/// [`BufReader`](std::io::BufReader) around it for lines, and keep that one; do not use std's `stdin` beside it. Several greenlets may
/// wait; one of them gets what comes. A kill or timeout unwinds the greenlet from the wait, and nothing is lost.
///
/// The mode of the descriptor is not changed, as it is shared with other programs. So where the system cannot be asked not to block (a
/// terminal) and another program takes the input in the moment between the question and the read, the thread waits for the next input.
///
/// ```no_run
/// use std::io::{BufRead, BufReader};
///
/// for line in BufReader::new(greenlet_net::stdin()).lines() {
///     println!("you said {}", line?);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn stdin() -> Stdin {
    Stdin(())
}

/// The standard output of the process, be it a terminal, a pipe, a socket or a file.
///
/// A write suspends the greenlet until there is room, for example because a pager reads slowly. Nothing is buffered here, and std's `println!`
/// does not come by here: it blocks the thread, and has a buffer of its own. The mode of the descriptor is not changed, as for [`stdin`]. A kill
/// or timeout unwinds the greenlet from the wait.
///
/// ```
/// use std::io::Write;
///
/// writeln!(greenlet_net::stdout(), "hello")?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn stdout() -> Stdout {
    Stdout(())
}

/// The standard error of the process. Otherwise as [`stdout`].
pub fn stderr() -> Stderr {
    Stderr(())
}

/// The most that a pipe takes at once or not at all (`PIPE_BUF`): so much fits when it says that it is ready.
const ATOMIC: usize = 4096;

/// "From where the file is": for `preadv2` and its kin.
#[cfg(target_os = "linux")]
const HERE: u64 = u64::MAX;

fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<bool> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&at_once))? > 0)
}

/// Asks the system, without waiting. `None`: it cannot be asked that way.
fn without_waiting<R>(ask: impl FnOnce() -> Result<R, Errno>) -> io::Result<Option<R>> {
    match ask() {
        Ok(done) => Ok(Some(done)),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// `WouldBlock` if it would, as far as that can be known.
fn try_read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    for _ in 0..2 {
        let mut one = [IoSliceMut::new(buffer)];
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        match without_waiting(|| rustix::io::preadv2(fd, &mut one, HERE, flags)) {
            Ok(Some(n)) => return Ok(n),
            Ok(None) => break,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            // Ready and refused twice: a file, whose disk has to be waited for.
            Err(error) if !is_ready(fd, PollFlags::IN)? => return Err(error),
            Err(_) => {}
        }
    }
    if !is_ready(fd, PollFlags::IN)? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(rustix::io::read(fd, buffer)?)
}

/// As `try_read`.
fn try_write(fd: BorrowedFd<'_>, buffer: &[u8]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    for _ in 0..2 {
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        match without_waiting(|| rustix::io::pwritev2(fd, &[IoSlice::new(buffer)], HERE, flags)) {
            Ok(Some(n)) => return Ok(n),
            Ok(None) => break,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(error) if !is_ready(fd, PollFlags::OUT)? => return Err(error),
            Err(_) => {}
        }
    }
    if !is_ready(fd, PollFlags::OUT)? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(rustix::io::write(fd, &buffer[..buffer.len().min(ATOMIC)])?)
}

fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    if buffer.is_empty() {
        return Ok(0);
    }
    take_part();
    loop {
        match try_read(fd, buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_read(fd, None)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn write(fd: BorrowedFd<'_>, buffer: &[u8]) -> io::Result<usize> {
    if buffer.is_empty() {
        return Ok(0);
    }
    take_part();
    loop {
        match try_write(fd, buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_write(fd, None)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read(self.as_fd(), buffer)
    }
}

impl AsFd for Stdin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        rustix::stdio::stdin()
    }
}

macro_rules! output {
    ($Output:ident, $fd:path) => {
        impl Write for $Output {
            fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
                write(self.as_fd(), buffer)
            }

            /// Nothing is kept back here: does nothing.
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        impl AsFd for $Output {
            fn as_fd(&self) -> BorrowedFd<'_> {
                $fd()
            }
        }
    };
}

output!(Stdout, rustix::stdio::stdout);
output!(Stderr, rustix::stdio::stderr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_block_says_so_though_the_descriptor_blocks() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let would_block = |result: io::Result<usize>| result.unwrap_err().kind() == io::ErrorKind::WouldBlock;
        assert!(would_block(try_read(reader.as_fd(), &mut [0; 8])));
        writer.write_all(b"hello").unwrap();
        assert_eq!(try_read(reader.as_fd(), &mut [0; 8]).unwrap(), 5);
        let mut written = 0;
        let error = loop {
            match try_write(writer.as_fd(), &[0; 10_000]) {
                Ok(n) => written += n,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        reader.read_exact(&mut vec![0; written]).unwrap();
        drop(writer);
        assert_eq!(try_read(reader.as_fd(), &mut [0; 8]).unwrap(), 0);
    }
}
