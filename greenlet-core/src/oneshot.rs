//! One value, once, from one who has it to one who waits for it.

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use crate::hub::Deadline;
use crate::lock::Lock;
use crate::select::Operation;
use crate::wait::{Attempt, WaitList, Wakeups, wait};
use crate::waitable::{Waitable, WhenReady, sealed::Watch};

/// Gives one value to the [`Receiver`]. Dropping it tells the receiver that there will be none.
pub struct Sender<T> {
    shared: ManuallyDrop<Arc<Shared<T>>>,
}

/// Waits for one value: from a greenlet, a thread, or an async task.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

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

struct Shared<T> {
    state: Lock<State<T>>,
}

struct State<T> {
    value: Option<T>,
    /// The sender is gone, or the receiver: whatever comes, nobody wants it.
    closed: bool,
    getters: WaitList<Option<T>>,
    watchers: WaitList<()>,
}

impl<T> State<T> {
    /// Those who wait beside the one that was given the value: for them there will be none.
    #[inline]
    fn others(&mut self) -> Wakeups {
        if self.getters.is_empty() && self.watchers.is_empty() {
            return Wakeups::default();
        }
        self.getters.notify_all().and(self.watchers.notify_all())
    }
}

/// A pair for one value. Cheaper than a queue: one allocation, and two locks.
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
    let state = State { value: None, closed: false, getters: WaitList::new(), watchers: WaitList::new() };
    let shared = Arc::new(Shared { state: Lock::new(state) });
    (Sender { shared: ManuallyDrop::new(shared.clone()) }, Receiver { shared })
}

impl<T> Sender<T> {
    fn into_shared(self) -> Arc<Shared<T>> {
        let mut sender = ManuallyDrop::new(self);
        // SAFETY: the sender is not dropped, so this is the one time that it is taken.
        unsafe { ManuallyDrop::take(&mut sender.shared) }
    }

    /// Gives the value to the receiver. Never suspends.
    ///
    /// # Errors
    /// The value, if the receiver was dropped.
    #[inline]
    pub fn send(self, value: T) -> Result<(), T> {
        let shared = self.into_shared();
        let mut state = shared.state.lock();
        if state.closed {
            drop(state);
            return Err(value);
        }
        state.closed = true;
        match state.getters.claim_first() {
            Some(getter) => {
                let ((), wakeup) = getter.notify(|slot| *slot = Some(value));
                let others = state.others();
                drop(state);
                wakeup.wake();
                others.wake();
            }
            None => {
                state.value = Some(value);
                let wakeups = state.watchers.notify_all();
                drop(state);
                wakeups.wake();
            }
        }
        Ok(())
    }

    /// Whether the receiver is gone: it would be sent to nobody.
    pub fn is_closed(&self) -> bool {
        self.shared.state.lock().closed
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // SAFETY: `into_shared` takes it from senders that are not dropped.
        let shared = unsafe { ManuallyDrop::take(&mut self.shared) };
        let mut state = shared.state.lock();
        state.closed = true;
        let wakeups = (state.getters.notify_all(), state.watchers.notify_all());
        drop(state);
        wakeups.0.wake();
        wakeups.1.wake();
    }
}

impl<T> Receiver<T> {
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

    /// Whether it is decided: there is a value, or there will be none. Then no wait suspends.
    pub fn is_ready(&self) -> bool {
        self.shared.state.lock().closed
    }

    /// [`recv`](Receiver::recv), for [`select!`](crate::select!) and `.await`.
    pub fn recv_op(&self) -> Operation<impl Attempt<Output = Result<T, Closed>>> {
        Operation(WhenReady { object: self, output: |receiver| receiver.try_recv().map_err(|_| Closed) })
    }

    /// `None`: do not wait. Inlined with the switch in it, see `Hub::park`.
    #[inline(always)]
    fn recv_until(&self, deadline: Option<Deadline>) -> Result<T, RecvTimeoutError> {
        let mut state = self.shared.state.lock();
        if let Some(value) = state.value.take() {
            return Ok(value);
        }
        if state.closed {
            return Err(RecvTimeoutError::Closed);
        }
        let Some(deadline) = deadline else { return Err(RecvTimeoutError::TimedOut) };
        match wait("oneshot::Receiver::recv", state, |state| &mut state.getters, None, deadline) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(RecvTimeoutError::Closed),
            Err(_) => Err(RecvTimeoutError::TimedOut),
        }
    }
}

impl<T> Drop for Receiver<T> {
    #[inline]
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        let value = state.value.take();
        drop(state);
        drop(value);
    }
}

// SAFETY: it has one such list.
unsafe impl<T> Watch for Receiver<T> {
    fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        let state = &mut *self.shared.state.lock();
        at(state.closed, &mut state.watchers);
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
