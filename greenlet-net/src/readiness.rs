//! Waiting for any descriptor, or for several at once.

mod poll;
mod select;
mod wait;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use greenlet_core::io::{Direction, Source};
use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::io::Errno;

pub use poll::{Poll, PollError, PollEvents};
pub use select::{Selected, select};
pub use wait::{Readiness, wait_read, wait_readwrite, wait_write};

const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A descriptor, what one wants to know of it, and what is so.
struct Asked<'fd> {
    fd: BorrowedFd<'fd>,
    wanted: PollFlags,
    found: PollFlags,
}

impl<'fd> Asked<'fd> {
    fn new(fd: BorrowedFd<'fd>, wanted: PollFlags) -> Asked<'fd> {
        Asked { fd, wanted, found: PollFlags::empty() }
    }
}

/// Which of them are ready now. Never blocks.
fn look(asked: &mut [Asked<'_>]) -> io::Result<usize> {
    let mut fds: Vec<_> =
        asked.iter().map(|asked| PollFd::from_borrowed_fd(asked.fd, asked.wanted)).collect();
    let ready = loop {
        match rustix::event::poll(&mut fds, Some(&AT_ONCE)) {
            Err(Errno::INTR) => {}
            ready => break ready?,
        }
    };
    let found: Vec<_> = fds.iter().map(PollFd::revents).collect();
    for (asked, found) in asked.iter_mut().zip(found) {
        asked.found = found;
    }
    match asked.iter().any(|asked| asked.found.contains(PollFlags::NVAL)) {
        true => Err(Errno::BADF.into()),
        false => Ok(ready),
    }
}

/// Suspends the greenlet until at least one of them is ready, and tells how many are; 0: none was in time.
///
/// They are put into an epoll instance of their own, and that one's descriptor is watched by the hub: it is ready when one of them is. So
/// any number of them is one registration, and it does not matter whether the hub watches some of them already.
fn wait_for_any(asked: &mut [Asked<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    let ready = look(asked)?;
    if ready > 0 || timeout == Some(Duration::ZERO) {
        return Ok(ready);
    }
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut sorted: Vec<_> = asked.iter().map(|asked| (asked.fd, to_epoll(asked.wanted))).collect();
    sorted.sort_by_key(|(fd, _)| fd.as_raw_fd());
    for same in sorted.chunk_by(|(one, _), (other, _)| one.as_raw_fd() == other.as_raw_fd()) {
        let wanted = same.iter().fold(epoll::EventFlags::empty(), |all, (_, wanted)| all | *wanted);
        match epoll::add(&set, same[0].0, epoll::EventData::new_u64(0), wanted) {
            // A regular file. It would have been ready for reading and writing; it has nothing else to tell.
            Ok(()) | Err(Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let ready = Source::new(set).io(Direction::Read, timeout, |_| match look(asked)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        ready => Ok(ready),
    });
    match ready {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(0),
        ready => ready,
    }
}

/// Errors and hang-ups are always told.
fn to_epoll(wanted: PollFlags) -> epoll::EventFlags {
    let pairs = [
        (PollFlags::IN, epoll::EventFlags::IN),
        (PollFlags::OUT, epoll::EventFlags::OUT),
        (PollFlags::PRI, epoll::EventFlags::PRI),
        (PollFlags::RDHUP, epoll::EventFlags::RDHUP),
    ];
    let chosen = pairs.iter().filter(|(poll, _)| wanted.contains(*poll));
    chosen.fold(epoll::EventFlags::empty(), |all, (_, epoll)| all | *epoll)
}
