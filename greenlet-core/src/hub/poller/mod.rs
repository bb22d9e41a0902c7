//! The kernel's readiness. The only folder that knows which mechanism it is.
//!
//! Both backends report *edges*: after an event, a direction is silent until something new happens. epoll does that by
//! itself. poll(2) tells levels; there a direction is watched from [`Poller::arm`], which everybody calls before he waits, to
//! its next event, and what became ready in between is an event of the next wait.

mod epoll;
mod poll;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::io::Direction;

/// Names a registration; comes back with its events. A stale one matches nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// What became of a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    pub(crate) token: Token,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// A short read does not tell that there is no more: the peer is done, the socket failed, or there is urgent data, at
    /// whose mark reads stop.
    pub(crate) irregular: bool,
}

/// What a hub asks the kernel with: see [`Config::poller`](crate::Config::poller).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum PollerKind {
    /// epoll(7): costs by what happens.
    #[default]
    Epoll,
    /// poll(2): costs by what is waited for. For kernels and sandboxes without epoll, and for tests.
    Poll,
}

#[derive(Debug)]
pub(crate) enum Poller {
    Epoll(epoll::Poller),
    Poll(poll::Poller),
}

impl Poller {
    /// With `doorbell`, an eventfd whose writes end a wait.
    pub(crate) fn new(kind: PollerKind, doorbell: BorrowedFd<'_>) -> io::Result<Poller> {
        Ok(match kind {
            PollerKind::Epoll => Poller::Epoll(epoll::Poller::new(doorbell)?),
            PollerKind::Poll => Poller::Poll(poll::Poller::new(doorbell)?),
        })
    }

    pub(crate) fn kind(&self) -> PollerKind {
        match self {
            Poller::Epoll(_) => PollerKind::Epoll,
            Poller::Poll(_) => PollerKind::Poll,
        }
    }

    /// Watches both directions of a descriptor until it is removed. If it is ready already, that is an event.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        match self {
            Poller::Epoll(poller) => poller.add(fd, token),
            Poller::Poll(poller) => poller.add(fd, token),
        }
    }

    /// Somebody is about to wait for a direction of a descriptor that was added. Any thread may call it.
    #[inline]
    pub(crate) fn arm(&self, fd: BorrowedFd<'_>, direction: Direction) {
        if let Poller::Poll(poller) = self {
            poller.arm(fd, direction);
        }
    }

    /// Any thread may call it.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Poller::Epoll(poller) => poller.remove(fd),
            Poller::Poll(poller) => poller.remove(fd),
        }
    }

    /// Waits until something is ready, the doorbell rings, or the time is over (`None`: for ever), and reports.
    pub(crate) fn wait(&self, timeout: Option<Duration>, report: impl FnMut(Readiness)) -> io::Result<()> {
        match self {
            Poller::Epoll(poller) => poller.wait(timeout, report),
            Poller::Poll(poller) => poller.wait(timeout, report),
        }
    }

    /// In a forked child: shares nothing with the parent any more. What was added is forgotten.
    pub(crate) fn reopen(&self, doorbell: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Poller::Epoll(poller) => poller.reopen(doorbell),
            Poller::Poll(poller) => poller.reopen(doorbell),
        }
    }
}

/// Puts `new` in the place of a descriptor, under its number.
pub(in crate::hub) fn replace_fd(old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: both are open; the number keeps its owner, who from now on owns the duplicate.
    match unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
