//! poll(2), made to report edges: see the module above.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Readiness, Token, replace_fd};
use crate::io::Direction;

#[derive(Debug)]
pub(crate) struct Poller {
    doorbell: OwnedFd,
    watched: Mutex<Watched>,
}

#[derive(Default, Debug)]
struct Watched {
    by_fd: HashMap<RawFd, Entry>,
    /// The hub is in poll(2) with what was armed before: changes must wake it.
    polling: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    token: Token,
    /// What the next wait asks for; nothing of a descriptor that nobody waits for.
    armed: i16,
}

/// For reading, and what makes a reader look.
const READ: i16 = libc::POLLIN | libc::POLLPRI | PEER_DONE;
const WRITE: i16 = libc::POLLOUT;
#[cfg(target_os = "linux")]
const PEER_DONE: i16 = libc::POLLRDHUP;
#[cfg(not(target_os = "linux"))]
const PEER_DONE: i16 = 0;
const BROKEN: i16 = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;

impl Poller {
    pub(super) fn new(doorbell: BorrowedFd<'_>) -> io::Result<Poller> {
        Ok(Poller { doorbell: doorbell.try_clone_to_owned()?, watched: Mutex::default() })
    }

    pub(super) fn reopen(&self, doorbell: BorrowedFd<'_>) -> io::Result<()> {
        replace_fd(self.doorbell.as_fd(), doorbell)?;
        *self.watched() = Watched::default();
        Ok(())
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        // Nothing under this lock panics halfway through a change.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is polled now is not what is wanted any more.
    fn disturb(&self, watched: &Watched) {
        if watched.polling {
            // It fails only when it is ringing already.
            let _ = rustix::io::write(&self.doorbell, &1u64.to_ne_bytes());
        }
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let mut watched = self.watched();
        // As epoll, which refuses what it has.
        if watched.by_fd.contains_key(&fd.as_raw_fd()) {
            return Err(rustix::io::Errno::EXIST.into());
        }
        watched.by_fd.insert(fd.as_raw_fd(), Entry { token, armed: READ | WRITE });
        self.disturb(&watched);
        Ok(())
    }

    pub(super) fn arm(&self, fd: BorrowedFd<'_>, direction: Direction) {
        let mut watched = self.watched();
        let Some(entry) = watched.by_fd.get_mut(&fd.as_raw_fd()) else { return };
        let wanted = match direction {
            Direction::Read => READ,
            Direction::Write => WRITE,
        };
        if entry.armed & wanted == 0 {
            entry.armed |= wanted;
            self.disturb(&watched);
        }
    }

    /// A hub that is in poll(2) is woken: the system would keep the descriptor open until it comes back.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let mut watched = self.watched();
        let removed = watched.by_fd.remove(&fd.as_raw_fd());
        self.disturb(&watched);
        removed.map(drop).ok_or(rustix::io::Errno::NOENT.into())
    }

    pub(super) fn wait(
        &self,
        timeout: Option<Duration>,
        mut report: impl FnMut(Readiness),
    ) -> io::Result<()> {
        let poll_fd = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut polled = vec![poll_fd(self.doorbell.as_raw_fd(), libc::POLLIN)];
        let mut tokens = Vec::new();
        let mut watched = self.watched();
        for (&fd, entry) in watched.by_fd.iter().filter(|(_, entry)| entry.armed != 0) {
            polled.push(poll_fd(fd, entry.armed));
            tokens.push(entry.token);
        }
        watched.polling = true;
        drop(watched);
        let outcome = poll(&mut polled, timeout);
        let mut events = Vec::new();
        let mut watched = self.watched();
        watched.polling = false;
        for (polled, token) in polled[1..].iter().zip(tokens).filter(|(polled, _)| polled.revents != 0) {
            // It may have been removed meanwhile, and its number be another's.
            let entry = watched.by_fd.get_mut(&polled.fd).filter(|entry| entry.token == token);
            if let Some(entry) = entry {
                events.push(entry.take_event(polled.revents));
            }
        }
        drop(watched);
        if polled[0].revents != 0 {
            // It fails only when another wait has seen it.
            let _ = rustix::io::read(&self.doorbell, &mut [0u8; 8]);
        }
        outcome?;
        events.into_iter().for_each(&mut report);
        Ok(())
    }
}

impl Entry {
    fn take_event(&mut self, happened: i16) -> Readiness {
        let broken = happened & BROKEN != 0;
        let readable = broken || happened & READ != 0;
        let writable = broken || happened & WRITE != 0;
        self.armed &= !(if readable { READ } else { 0 } | if writable { WRITE } else { 0 });
        let irregular = broken || happened & (libc::POLLPRI | PEER_DONE) != 0;
        Readiness { token: self.token, readable, writable, irregular }
    }
}

/// As poll(2); a signal ends it without an event.
fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    // A duration beyond the kernel's range is longer than anybody will wait.
    let timeout = timeout.and_then(|timeout| {
        Some(libc::timespec {
            tv_sec: timeout.as_secs().try_into().ok()?,
            tv_nsec: timeout.subsec_nanos() as libc::c_long,
        })
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: an array of that length, and a time or null; both are only borrowed.
    let ready =
        unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout, std::ptr::null()) };
    let error = if ready < 0 { Some(io::Error::last_os_error()) } else { None };
    match error {
        Some(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        Some(error) => Err(error),
        None => Ok(()),
    }
}
