//! epoll, edge-triggered.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

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
