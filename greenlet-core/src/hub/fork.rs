//! What a forked child must do before it goes on with its parent's hub.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::{Hub, SILENT_THREADS, Token};
use crate::monitor;
use crate::pool::ThreadPool;

impl Hub {
    /// Makes this thread's hub the child's own, after `fork`: gevent's `reinit`. The child must call it before anything else that
    /// uses greenlets, unless it only calls `exec` or `_exit`. Does next to nothing if the thread has no hub.
    ///
    /// Until then, the child's poller is the parent's: what one of them registers or removes, the other one loses or gets.
    ///
    /// All greenlets go on in the child too, as copies: those that were suspended at the fork wait there for the same descriptors
    /// and until the same deadlines as in the parent. That is gevent's rule and rarely what one wants: kill them first thing, before the
    /// child waits for something. What is pending from other threads is kept as well.
    ///
    /// Only the thread that forked is there in the child. The process's thread pool is made anew when it is used next; tasks
    /// that other threads were running or had in line are never done, and hubs of other threads never answer: do not use
    /// what waits for them.
    ///
    /// There is no `fork` here: it is unsafe in a process with other threads, where the child may find any lock of the
    /// system's libraries held for good. Use `libc::fork` or `nix::unistd::fork` in one that has none, best before anything was started.
    ///
    /// # Errors
    /// What the system refused: descriptors for the poller and the doorbell, or a registration. The hub is of no use then.
    ///
    /// # Panics
    /// In a callback of the loop.
    #[track_caller]
    pub fn reinit() -> io::Result<()> {
        ThreadPool::forget_global();
        // None of them is there in the child.
        SILENT_THREADS.store(0, Ordering::Relaxed);
        let Some(hub) = Hub::try_current() else { return Ok(()) };
        assert!(hub.current_greenlet().is_some(), "`Hub::reinit` is not for callbacks of the loop");
        hub.shared.reopen()?;
        let mut outcome = Ok(());
        for (fd, token) in hub.sources.registered().into_iter().chain(hub.watched_fds.registered()) {
            if let Err(error) = hub.register_again(fd, token) {
                outcome = Err(error);
            }
        }
        outcome.and(monitor::restart_after_fork())
    }

    fn register_again(&self, fd: RawFd, token: Token) -> io::Result<()> {
        // SAFETY: whoever is in these tables owns the descriptor, and leaves them first. (One that another thread dropped just
        // before the fork may be closed: then nobody waits for it, and the worst is an error.)
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        match self.shared.poller.add(fd.as_fd(), token) {
            Err(error) if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => Ok(()),
            done => done,
        }
    }
}
