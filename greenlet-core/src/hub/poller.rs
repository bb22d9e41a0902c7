//! The kernel's readiness: epoll, edge-triggered. The only file that knows which mechanism it is.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

/// Names a registration; comes back with its events. A stale one matches nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

const DOORBELL: u64 = u64::MAX;

impl Token {
    fn pack(self) -> u64 {
        u64::from(self.slot) << 32 | u64::from(self.generation)
    }

    fn unpack(data: u64) -> Token {
        Token { slot: (data >> 32) as u32, generation: data as u32 }
    }
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

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

/// How many events one call fetches.
const BATCH: usize = 256;

impl Poller {
    /// With `doorbell`, whose writes end a wait.
    pub(crate) fn new(doorbell: BorrowedFd<'_>) -> io::Result<Poller> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(DOORBELL);
        epoll::add(&epoll, doorbell, data, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        Ok(Poller { epoll })
    }

    /// Watches both directions of a descriptor until it is removed. If it is ready already, that is an event.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::PRI
            | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.pack()), flags)?)
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Waits until something is ready, the doorbell rings, or the time is over (`None`: for ever), and reports.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        mut report: impl FnMut(Readiness),
    ) -> io::Result<()> {
        // A duration beyond the kernel's range is longer than anybody will wait.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut space = [const { MaybeUninit::<epoll::Event>::uninit() }; BATCH];
        let (events, _) = match epoll::wait(self.epoll.as_fd(), &mut space, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            other => other?,
        };
        for event in events {
            let (flags, data) = (event.flags, event.data.u64());
            if data == DOORBELL {
                continue;
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
        Ok(())
    }
}
