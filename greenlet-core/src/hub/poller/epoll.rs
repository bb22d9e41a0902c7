//! epoll, edge-triggered.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::{Readiness, Token, replace_fd};

const DOORBELL: u64 = u64::MAX;

impl Token {
    fn pack(self) -> u64 {
        u64::from(self.slot) << 32 | u64::from(self.generation)
    }

    fn unpack(data: u64) -> Token {
        Token { slot: (data >> 32) as u32, generation: data as u32 }
    }
}

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

/// How many events one call fetches.
const BATCH: usize = 256;

fn open(doorbell: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64(DOORBELL);
    epoll::add(&epoll, doorbell, data, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
    Ok(epoll)
}

impl Poller {
    pub(super) fn new(doorbell: BorrowedFd<'_>) -> io::Result<Poller> {
        Ok(Poller { epoll: open(doorbell)? })
    }

    pub(super) fn reopen(&self, doorbell: BorrowedFd<'_>) -> io::Result<()> {
        replace_fd(self.epoll.as_fd(), open(doorbell)?.as_fd())
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::PRI
            | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.pack()), flags)?)
    }

    pub(super) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    pub(super) fn wait(
        &self,
        timeout: Option<Duration>,
        mut report: impl FnMut(Readiness),
    ) -> io::Result<()> {
        if !IS_COARSE.load(Ordering::Relaxed) {
            match self.wait_precisely(timeout, &mut report) {
                // The former from kernels, and the latter from sandboxes that do not know the call. Nothing else says the one or the other.
                Err(Errno::NOSYS | Errno::PERM) => IS_COARSE.store(true, Ordering::Relaxed),
                waited => return Ok(waited?),
            }
        }
        self.wait_in_milliseconds(timeout, &mut report)
    }

    /// `epoll_pwait2`, which Linux has from 5.11 on.
    fn wait_precisely(
        &self,
        timeout: Option<Duration>,
        report: &mut impl FnMut(Readiness),
    ) -> Result<(), Errno> {
        // A duration beyond the kernel's range is longer than anybody will wait.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut space = [const { MaybeUninit::<epoll::Event>::uninit() }; BATCH];
        let (events, _) = match epoll::wait(self.epoll.as_fd(), &mut space, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            other => other?,
        };
        for event in events {
            let (flags, data) = (event.flags, event.data.u64());
            tell(flags, data, report);
        }
        Ok(())
    }

    /// `epoll_wait`, for the others.
    fn wait_in_milliseconds(
        &self,
        timeout: Option<Duration>,
        report: &mut impl FnMut(Readiness),
    ) -> io::Result<()> {
        let mut space = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        let (most, milliseconds) = (BATCH as libc::c_int, milliseconds(timeout));
        // SAFETY: there is room for so many events.
        let count =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), space.as_mut_ptr(), most, milliseconds) };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        };
        for event in &space[..count] {
            let (flags, data) = (event.events, event.u64);
            tell(epoll::EventFlags::from_bits_retain(flags), data, report);
        }
        Ok(())
    }
}

/// Whether `epoll_pwait2` was found to be missing, for good and for the whole process.
static IS_COARSE: AtomicBool = AtomicBool::new(false);

/// Rounded up: a timer that is looked at too early would be looked at again and again until its time has come. What is beyond the range ends early,
/// and is waited for again.
fn milliseconds(timeout: Option<Duration>) -> libc::c_int {
    let Some(timeout) = timeout else { return -1 };
    timeout.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(libc::c_int::MAX)
}

fn tell(flags: epoll::EventFlags, data: u64, report: &mut impl FnMut(Readiness)) {
    if data == DOORBELL {
        return;
    }
    let broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
    let peer_done = flags.contains(epoll::EventFlags::RDHUP);
    report(Readiness {
        token: Token::unpack(data),
        readable: broken || peer_done || flags.contains(epoll::EventFlags::IN),
        writable: broken || flags.contains(epoll::EventFlags::OUT),
        irregular: broken || peer_done || flags.contains(epoll::EventFlags::PRI),
    });
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_rounded_up() {
        assert_eq!(milliseconds(None), -1);
        for (nanoseconds, expected) in [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2)] {
            assert_eq!(milliseconds(Some(Duration::from_nanos(nanoseconds))), expected);
        }
        assert_eq!(milliseconds(Some(Duration::MAX)), libc::c_int::MAX);
    }
}
