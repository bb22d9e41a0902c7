//! A greenlet that lives no longer than a block: gevent's `with spawn(f) as g`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{Greenlet, GreenletRef, Kill};
use crate::failure::Failure;
use crate::hub;

impl<T: 'static> Greenlet<T> {
    /// Runs `body` and sees to it that the greenlet has ended when this returns or unwinds: gevent's `with spawn(f) as g`.
    ///
    /// - `body` returns: the greenlet is joined. When the join is unwound, by a kill or timeout of the caller, the greenlet is
    ///   killed.
    /// - `body` is unwound: the greenlet is not joined but killed, with that same error or panic, so it fails with it (unless it
    ///   is [`GreenletExit`](crate::GreenletExit)); then the unwinding goes on. The payload of a panic goes on with it.
    ///
    /// The failure of the greenlet stays in the greenlet: this returns what `body` returns. While it waits for a killed greenlet to
    /// end, another kill or timeout of the caller ends that wait and goes on in place of the first error. A greenlet that catches
    /// the kill is waited for. For greenlets that borrow from the block, see [`scope`](crate::scope).
    ///
    /// ```
    /// use greenlet_core::{sleep, spawn, yield_now};
    /// use std::time::Duration;
    ///
    /// let heartbeat = spawn(|| loop {
    ///     sleep(Duration::from_millis(1));
    /// });
    /// let answer = heartbeat.scoped(|heartbeat| {
    ///     let answer = 6 * 7; // stands for work during which it beats
    ///     heartbeat.kill();
    ///     answer
    /// });
    /// assert!(answer == 42 && heartbeat.exited());
    /// ```
    pub fn scoped<R>(&self, body: impl FnOnce(&Greenlet<T>) -> R) -> R {
        let kill_unless_ended = KillOnDrop(self);
        match catch_unwind(AssertUnwindSafe(|| body(self))) {
            Ok(result) => {
                self.join();
                drop(kill_unless_ended);
                result
            }
            Err(payload) => {
                hub::unwinding_ended();
                std::mem::forget(kill_unless_ended);
                let (raised, payload) = Failure::copy(payload);
                self.kill_with(Kill::raised(raised));
                hub::unwinding_begins();
                resume_unwind(payload)
            }
        }
    }
}

/// Kills it if it has not ended. While the caller unwinds, nothing is raised in the wait for that.
struct KillOnDrop<'a>(&'a GreenletRef);

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        self.0.kill();
    }
}
