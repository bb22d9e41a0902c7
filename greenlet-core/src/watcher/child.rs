//! The ends of child processes, by pidfd.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::{Rc, Weak};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};

use super::Io;
use crate::io::{Direction, Source};

/// Calls back when a child process has ended: gevent's `loop.child`, which works on every hub here. Dropping it stops it.
///
/// The watcher collects the child's status, once: whoever else waits for the same child, such as [`std::process::Child`],
/// finds that there is no such child any more. A stopped watcher collects nothing.
///
/// ```
/// use greenlet_core::AsyncResult;
/// use greenlet_core::watcher::Child;
/// use std::{process::Command, rc::Rc};
///
/// let child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
/// let ended = Rc::new(AsyncResult::new());
/// let watcher = Child::new(child.id(), {
///     let ended = ended.clone();
///     move |status| drop(ended.set(status.unwrap().code()))
/// })?;
/// assert_eq!(ended.get()?, Some(3));
/// drop(watcher);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a watcher stops it"]
#[derive(Debug)]
pub struct Child {
    io: Rc<Io>,
    pid: u32,
}

impl Child {
    /// Watches a child of this process, by its pid. `f` gets how it ended; or an error, if somebody else has collected that.
    ///
    /// # Errors
    /// `InvalidInput` for a pid that cannot be; what `pidfd_open` says: there is no such process, or the kernel is older than
    /// Linux 5.3.
    #[track_caller]
    pub fn new(pid: u32, f: impl FnOnce(io::Result<ExitStatus>) + 'static) -> io::Result<Child> {
        let pidfd = Rc::new(open(pid)?);
        let mut f = Some(f);
        // The watcher stops itself, so its callback must know it.
        let itself = Rc::new(RefCell::new(Weak::<Io>::new()));
        let io = Rc::new(Io::new(&*pidfd, Direction::Read, {
            let (itself, pidfd) = (itself.clone(), pidfd.clone());
            move || match collect_child(pidfd.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                ended => {
                    let io = itself.borrow().upgrade();
                    io.iter().for_each(|io| io.stop());
                    if let Some(f) = f.take() {
                        f(ended);
                    }
                }
            }
        })?);
        *itself.borrow_mut() = Rc::downgrade(&io);
        Ok(Child { io, pid })
    }

    /// The pid.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the call is to come.
    pub fn active(&self) -> bool {
        self.io.active()
    }

    /// Stops it for good: nobody is called, and the child's status is left to others.
    pub fn stop(&self) {
        self.io.stop();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until a child of this process has ended, and collects its status. Suspends the greenlet only.
///
/// A kill or timeout ends the wait; the child goes on, and can be waited for again.
///
/// # Errors
/// `TimedOut`; as [`Child::new`]; what `waitid` says: it is not a child of this process, or its status was collected.
///
/// ```
/// use greenlet_core::watcher::wait_child;
/// use std::process::Command;
///
/// let child = Command::new("true").spawn()?;
/// assert!(wait_child(child.id(), None)?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn wait_child(pid: u32, timeout: Option<Duration>) -> io::Result<ExitStatus> {
    let source = Source::new(open(pid)?);
    source.io(Direction::Read, timeout, |pidfd| collect_child(pidfd.as_fd()))
}

fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a pid is a number from 1 to 2147483647"));
    };
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Collects how the child of a pidfd has ended, for those who wait for the descriptor themselves. Never suspends.
///
/// # Errors
/// `WouldBlock` if it has not ended; what `waitid` says: it is not a child of this process, or its status was collected.
pub fn collect_child(pidfd: BorrowedFd<'_>) -> io::Result<ExitStatus> {
    let ended = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
    ended.map(|status| to_exit_status(&status)).ok_or(io::ErrorKind::WouldBlock.into())
}

/// As `wait(2)` encodes it.
fn to_exit_status(status: &WaitIdStatus) -> ExitStatus {
    const DUMPED: i32 = 0x80;
    let raw = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code << 8,
        (None, Some(signal)) => signal | if status.dumped() { DUMPED } else { 0 },
        (None, None) => 0,
    };
    ExitStatus::from_raw(raw)
}
