//! Questions to a greenlet, whichever hub it is of.

use std::sync::Arc;
use std::time::Duration;

use super::{Backtrace, NoBacktrace};
use crate::async_result::AsyncResult;
use crate::greenlet::GreenletRef;
use crate::hub::{Context, Hub, context};

/// How long a hub has to answer.
const PATIENCE: Duration = Duration::from_secs(1);

impl GreenletRef {
    /// Where the greenlet stands: the frames of its stack, whether it runs or is suspended.
    ///
    /// A suspended one is resumed for a moment to look at its own stack; none of its code runs. A greenlet of another hub is
    /// asked through that hub, for at most a second: this suspends the calling greenlet (a kill or timeout reaches it
    /// here) or blocks a thread without a hub. The main greenlet's frames are those below the loop.
    ///
    /// # Errors
    /// [`NoBacktrace`] says why there is none.
    ///
    /// ```
    /// use greenlet_core::{sleep, spawn, yield_now};
    /// use std::time::Duration;
    ///
    /// fn takes_a_nap() {
    ///     sleep(Duration::MAX);
    /// }
    ///
    /// let napper = spawn(takes_a_nap);
    /// yield_now();
    /// let trace = napper.backtrace()?;
    /// assert!(trace.to_string().contains("takes_a_nap"));
    /// napper.kill();
    /// # Ok::<(), greenlet_core::monitor::NoBacktrace>(())
    /// ```
    pub fn backtrace(&self) -> Result<Backtrace, NoBacktrace> {
        let header = self.header_ref();
        if header.ended() {
            return Err(NoBacktrace::Ended);
        }
        if header.shared.is_current() {
            return Hub::current_hub().backtrace_of(self.header());
        }
        match context() {
            Context::Loop => return Err(NoBacktrace::Busy),
            // A panic hook.
            Context::Thread if Hub::try_current().is_some() => return Err(NoBacktrace::Busy),
            _ => {}
        }
        let answer = Arc::new(AsyncResult::new());
        let (tell, greenlet) = (answer.clone(), self.clone());
        let ask = move |hub: &Hub| tell.set(hub.backtrace_of(greenlet.header()));
        header.shared.push_call(Box::new(ask)).map_err(|_| NoBacktrace::HubGone)?;
        answer.get_timeout(PATIENCE).unwrap_or(Err(NoBacktrace::Busy))
    }
}
