//! One value, once, from one who has it to one who waits for it.

mod word;

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::{self, MaybeUninit};
use std::ptr::NonNull;
use std::time::Duration;

use crate::embed::memory;
use crate::hub::Deadline;
use crate::lock::Lock;
use crate::select::Operation;
use crate::wait::{Attempt, WaitList, wait};
use crate::waitable::{Waitable, WhenReady, sealed::Watch};
use word::{Decision, Left, Word};

/// Gives one value to the [`Receiver`]. Dropping it tells the receiver that there will be none.
pub struct Sender<T> {
    shared: NonNull<Shared<T>>,
}

/// Waits for one value: from a greenlet, a thread, or an async task.
pub struct Receiver<T> {
    shared: NonNull<Shared<T>>,
}

// SAFETY: the value goes from the sender's thread to that of who takes it, hence `T: Send`; what both ends touch beside it is for all threads.
unsafe impl<T: Send> Send for Sender<T> {}
// SAFETY: as above; a shared sender only looks at the word.
unsafe impl<T: Send> Sync for Sender<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Receiver<T> {}
// SAFETY: as above; of several who take the value at once, one has it.
unsafe impl<T: Send> Sync for Receiver<T> {}

/// The sender was dropped without a value, or the value was taken already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no value, and none will come")]
pub struct Closed;

/// Why [`Receiver::recv_timeout`] has no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecvTimeoutError {
    /// None was sent in time. One may still come.
    #[error("no value was sent in time")]
    TimedOut,
    /// See [`Closed`].
    #[error("there is no value, and none will come")]
    Closed,
}

/// What both ends have. The second one to go frees it (see [`Word`]).
struct Shared<T> {
    word: Word,
    value: UnsafeCell<MaybeUninit<T>>,
    waiters: Lock<WaitList<()>>,
}

impl<T> Shared<T> {
    /// # Safety
    /// The word says that the value is there, and the caller's.
    #[inline]
    unsafe fn value(&self) -> T {
        // SAFETY: contract.
        unsafe { (*self.value.get()).assume_init_read() }
    }

    /// Frees it, and returns a value that nobody took.
    ///
    /// # Safety
    /// It is what the word said when an end of it went, and the caller is that end.
    #[inline]
    unsafe fn end(shared: NonNull<Shared<T>>, left: Left) -> Option<T> {
        // SAFETY: the other end is gone, or the caller leaves all to it.
        unsafe {
            let value = match left {
                Left::Other => return None,
                Left::Value => Some(shared.as_ref().value()),
                Left::Nothing => None,
            };
            // What is left of it has no destructors.
            memory::free(shared.as_ptr());
            value
        }
    }

    /// As [`Word::decide_and_go`], where that is refused. What nobody wants comes back.
    ///
    /// # Safety
    /// The caller is the sender, and goes with this.
    #[cold]
    unsafe fn decide_and_tell(shared: NonNull<Shared<T>>, decision: Decision) -> Option<T> {
        // SAFETY: the sender is there.
        let this = unsafe { shared.as_ref() };
        let mut waiters = this.waiters.lock();
        this.word.decide(decision);
        let wakeups = waiters.notify_all();
        drop(waiters);
        wakeups.wake();
        let left = this.word.sender_goes();
        // SAFETY: so it was said.
        unsafe { Shared::end(shared, left) }
    }
}

/// A pair for one value. Cheaper than a queue: one piece of [memory], and as long as nobody waits no locks.
///
/// ```
/// use greenlet_core::{oneshot, spawn};
///
/// let (sender, receiver) = oneshot::channel();
/// spawn(move || sender.send(42));
/// assert_eq!(receiver.recv(), Ok(42));
/// assert_eq!(receiver.recv(), Err(oneshot::Closed));
/// ```
#[inline]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = memory::put(Shared {
        word: Word::new(),
        value: UnsafeCell::new(MaybeUninit::uninit()),
        waiters: Lock::new(WaitList::new()),
    });
    // SAFETY: it is somewhere.
    let shared = unsafe { NonNull::new_unchecked(shared) };
    (Sender { shared }, Receiver { shared })
}

impl<T> Sender<T> {
    #[inline]
    fn shared(&self) -> &Shared<T> {
        // SAFETY: it is there until both ends have gone.
        unsafe { self.shared.as_ref() }
    }

    /// Gives the value to the receiver. Never suspends.
    ///
    /// # Errors
    /// The value, if the receiver was dropped.
    #[inline]
    pub fn send(self, value: T) -> Result<(), T> {
        let shared = self.shared;
        mem::forget(self);
        // SAFETY: this end goes below, and until it is decided the place of the value is the sender's.
        unsafe {
            (*shared.as_ref().value.get()).write(value);
            if shared.as_ref().word.decide_and_go(Decision::Value) {
                return Ok(());
            }
            Shared::decide_and_tell(shared, Decision::Value).map_or(Ok(()), Err)
        }
    }

    /// Whether the receiver is gone: it would be sent to nobody.
    pub fn is_closed(&self) -> bool {
        self.shared().word.is_receiver_gone()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if !self.shared().word.decide_and_go(Decision::NoValue) {
            // SAFETY: this end goes now.
            let none = unsafe { Shared::decide_and_tell(self.shared, Decision::NoValue) };
            debug_assert!(none.is_none());
        }
    }
}

impl<T> Receiver<T> {
    #[inline]
    fn shared(&self) -> &Shared<T> {
        // SAFETY: it is there until both ends have gone.
        unsafe { self.shared.as_ref() }
    }

    /// Waits for the value. A kill or timeout meanwhile loses nothing: it can be waited for again.
    ///
    /// # Errors
    /// [`Closed`].
    #[inline]
    pub fn recv(&self) -> Result<T, Closed> {
        self.recv_until(Some(Deadline::Never)).map_err(|_| Closed)
    }

    /// Waits for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvTimeoutError`].
    #[inline]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(Some(Deadline::After(timeout)))
    }

    /// The value, if it is there. Never suspends.
    ///
    /// # Errors
    /// [`RecvTimeoutError::TimedOut`] if it is not there yet, else as [`recv`](Receiver::recv).
    pub fn try_recv(&self) -> Result<T, RecvTimeoutError> {
        self.recv_until(None)
    }

    /// [`try_recv`](Receiver::try_recv), for who needs the receiver no more if it is decided: what this costs least.
    ///
    /// # Errors
    /// The receiver, if it is not decided yet, or if who decides it is still telling others.
    #[inline]
    pub fn try_into_value(self) -> Result<Result<T, Closed>, Receiver<T>> {
        let Some(left) = self.shared().word.sender_has_gone() else { return Err(self) };
        let shared = self.shared;
        mem::forget(self);
        // SAFETY: so it was said, and this end goes now.
        Ok(unsafe { Shared::end(shared, left) }.ok_or(Closed))
    }

    /// Whether it is decided: there is a value, or there will be none. Then no wait suspends.
    pub fn is_ready(&self) -> bool {
        self.shared().word.is_decided()
    }

    /// [`recv`](Receiver::recv), for [`select!`](crate::select!) and `.await`.
    pub fn recv_op(&self) -> Operation<impl Attempt<Output = Result<T, Closed>>> {
        Operation(WhenReady { object: self, output: |receiver| receiver.try_recv().map_err(|_| Closed) })
    }

    /// `None`: do not wait. Inlined with the switch in it, see `Hub::park`.
    #[inline(always)]
    fn recv_until(&self, deadline: Option<Deadline>) -> Result<T, RecvTimeoutError> {
        if let Some(decided) = self.decided() {
            return decided;
        }
        let Some(deadline) = deadline else { return Err(RecvTimeoutError::TimedOut) };
        let waiters = self.shared().waiters.lock();
        if self.shared().word.wait_begins() {
            let waited = wait("oneshot::Receiver::recv", waiters, |waiters| waiters, (), deadline);
            if waited.is_err() {
                return Err(RecvTimeoutError::TimedOut);
            }
        } else {
            drop(waiters);
        }
        // Whoever is told, and comes too late for the value, hears that there is none.
        self.decided().expect("it was decided")
    }

    /// What it comes to, if that is known.
    #[inline]
    fn decided(&self) -> Option<Result<T, RecvTimeoutError>> {
        Some(match self.shared().word.take()? {
            // SAFETY: it is ours now.
            Decision::Value => Ok(unsafe { self.shared().value() }),
            Decision::NoValue => Err(RecvTimeoutError::Closed),
        })
    }
}

impl<T> Drop for Receiver<T> {
    #[inline]
    fn drop(&mut self) {
        let left = self.shared().word.receiver_goes();
        // SAFETY: so it was said, and this end goes now.
        drop(unsafe { Shared::end(self.shared, left) });
    }
}

// SAFETY: it has one such list.
unsafe impl<T> Watch for Receiver<T> {
    fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        let waiters = &mut *self.shared().waiters.lock();
        let decided = self.shared().word.is_decided() || !self.shared().word.wait_begins();
        at(decided, waiters);
    }
}

impl<T> Waitable for Receiver<T> {}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender(..)")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Kill, run, spawn, yield_now};

    #[test]
    fn a_value_arrives_before_and_after_somebody_waits() {
        run(|| {
            let (sender, receiver) = channel();
            assert_eq!(receiver.try_recv(), Err(RecvTimeoutError::TimedOut));
            assert!(!receiver.is_ready());
            sender.send(1).unwrap();
            assert!(receiver.is_ready());
            assert_eq!(receiver.recv(), Ok(1));
            let (sender, receiver) = channel();
            let waiting = spawn(move || receiver.recv());
            yield_now();
            sender.send(2).unwrap();
            assert_eq!(waiting.get().unwrap(), Ok(2));
        });
    }

    #[test]
    fn a_receiver_becomes_the_value_once_it_is_decided() {
        let (sender, receiver) = channel();
        let receiver = receiver.try_into_value().expect_err("nothing was sent");
        sender.send(Box::new(1)).unwrap();
        assert_eq!(receiver.try_into_value().unwrap(), Ok(Box::new(1)));
        let (sender, receiver) = channel::<Box<u32>>();
        drop(sender);
        assert_eq!(receiver.try_into_value().unwrap(), Err(Closed));
        let (sender, receiver) = channel();
        sender.send(Box::new(2)).unwrap();
        receiver.recv().unwrap();
        assert_eq!(receiver.try_into_value().unwrap(), Err(Closed));
    }

    #[test]
    fn who_waits_hears_that_the_sender_is_gone() {
        run(|| {
            let (sender, receiver) = channel::<u32>();
            let waiting = spawn(move || receiver.recv());
            yield_now();
            drop(sender);
            assert_eq!(waiting.get().unwrap(), Err(Closed));
        });
    }

    #[test]
    fn whoever_else_waits_hears_that_the_value_is_gone() {
        run(|| {
            for send in [true, false] {
                let (sender, receiver) = channel();
                let receiver = std::rc::Rc::new(receiver);
                let waiting = || {
                    let receiver = receiver.clone();
                    spawn(move || receiver.recv())
                };
                let (first, second) = (waiting(), waiting());
                let selecting = spawn({
                    let receiver = receiver.clone();
                    move || crate::future::block_on(async { receiver.recv_op().await })
                });
                yield_now();
                if send {
                    sender.send(1).unwrap();
                } else {
                    drop(sender);
                }
                let all = [first, second, selecting].map(|waiting| waiting.get().unwrap());
                assert_eq!(all, [if send { Ok(1) } else { Err(Closed) }, Err(Closed), Err(Closed)]);
            }
        });
    }

    #[test]
    fn a_value_for_nobody_comes_back() {
        let (sender, receiver) = channel();
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send(5), Err(5));
    }

    #[test]
    fn a_value_that_nobody_took_is_dropped_with_the_receiver() {
        let (value, (sender, receiver)) = (Arc::new(()), channel());
        sender.send(value.clone()).unwrap();
        assert_eq!(Arc::strong_count(&value), 2);
        drop(receiver);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn a_wait_that_was_killed_or_timed_out_can_be_repeated() {
        run(|| {
            let (sender, receiver) = channel();
            let receiver = std::rc::Rc::new(receiver);
            assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::TimedOut));
            let killed = spawn({
                let receiver = receiver.clone();
                move || receiver.recv()
            });
            yield_now();
            killed.kill_with(Kill::default());
            sender.send(3).unwrap();
            assert_eq!(receiver.recv(), Ok(3));
        });
    }

    #[test]
    fn tasks_and_threads_wait_too() {
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || receiver.recv_timeout(Duration::from_secs(20)));
        sender.send(4).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(4));
        run(|| {
            let (sender, receiver) = channel();
            crate::spawn_later(Duration::from_millis(1), move || sender.send(6));
            assert_eq!(crate::future::block_on(async { receiver.recv_op().await }), Ok(6));
        });
    }
}
