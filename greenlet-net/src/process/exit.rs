//! The end of a process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenlet_core::io::{Direction, Source};
use greenlet_core::watcher::collect_child;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A child of this process. It may be waited for from many places; its status is collected once.
#[derive(Debug)]
pub(super) struct Exit {
    pidfd: Option<OwnedFd>,
    status: Mutex<Option<ExitStatus>>,
}

/// Children that nobody has a handle to, and that had not ended when the last one was dropped.
static ORPHANS: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// Collects those that have ended meanwhile, so that they are no zombies.
pub(super) fn collect_orphans() {
    // Nothing under this lock panics halfway through a change.
    let mut orphans = ORPHANS.lock().unwrap_or_else(PoisonError::into_inner);
    orphans.retain(|pidfd| matches!(collect_child(pidfd.as_fd()), Err(error) if error.kind() == io::ErrorKind::WouldBlock));
}

impl Exit {
    /// Of a child that was not waited for yet.
    pub(super) fn of(pid: u32) -> io::Result<Exit> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Exit { pidfd: Some(pidfd_open(pid, PidfdFlags::empty())?), status: Mutex::new(None) })
    }

    fn pidfd(&self) -> &OwnedFd {
        self.pidfd.as_ref().expect("it is there until this is dropped")
    }

    fn status(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `WouldBlock` if it has not ended.
    pub(super) fn collect(&self) -> io::Result<ExitStatus> {
        let mut status = self.status();
        if let Some(status) = *status {
            return Ok(status);
        }
        let ended = collect_child(self.pidfd().as_fd())?;
        *status = Some(ended);
        Ok(ended)
    }

    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<ExitStatus> {
        match self.collect() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            ended => return ended,
        }
        // A descriptor for each wait, so that several greenlets may wait.
        let source = Source::new(self.pidfd().try_clone()?);
        source.io(Direction::Read, timeout, |_| self.collect())
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let status = self.status(); // not collected meanwhile
        if status.is_some() {
            return Ok(());
        }
        match pidfd_send_signal(self.pidfd(), signal) {
            // It has ended, and somebody else has collected it.
            Err(Errno::SRCH) => Ok(()),
            sent => Ok(sent?),
        }
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        collect_orphans();
        let ended = match self.collect() {
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => true,
        };
        if let Some(pidfd) = self.pidfd.take()
            && !ended
        {
            ORPHANS.lock().unwrap_or_else(PoisonError::into_inner).push(pidfd);
        }
    }
}
