//! Waiting for several greenlets.

use std::time::Duration;

use crate::greenlet::GreenletRef;
use crate::hub::Deadline;

/// Waits until all of these greenlets have ended, in whatever way.
///
/// A kill or timeout of the waiting greenlet ends the wait, and does nothing to those waited for.
///
/// ```
/// use greenlet_core::{joinall, spawn};
///
/// let squares: Vec<_> = (0..4).map(|n| spawn(move || n * n)).collect();
/// joinall(&squares);
/// let values: Vec<_> = squares.iter().filter_map(|g| g.value()).collect();
/// assert_eq!(values, [&0, &1, &4, &9]);
/// ```
pub fn joinall<I>(greenlets: I)
where
    I: IntoIterator,
    I::Item: AsRef<GreenletRef>,
{
    for greenlet in greenlets {
        greenlet.as_ref().join();
    }
}

/// As [`joinall`], for at most `timeout` in all. True if all have ended.
pub fn joinall_timeout<I>(greenlets: I, timeout: Duration) -> bool
where
    I: IntoIterator,
    I::Item: AsRef<GreenletRef>,
{
    let mut deadline = Deadline::After(timeout);
    deadline.fix();
    greenlets.into_iter().all(|greenlet| greenlet.as_ref().join_deadline(deadline))
}
