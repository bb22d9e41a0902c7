//! Waiting for several greenlets.

use std::time::Duration;

use crate::failure::Failure;
use crate::greenlet::GreenletRef;
use crate::hub::Deadline;
use crate::waitable::iwait;

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

/// As [`joinall`], until one of them fails: gevent's `joinall(raise_error=True)`. Those that were killed or exited have not failed.
///
/// For a count, or to see them in the order in which they end, use [`iwait`].
///
/// # Errors
/// The failure of the one that failed first (of several that had failed before: the first in the given order); the others go on.
///
/// ```
/// use greenlet_core::{joinall_raise_error, raise, sleep, spawn};
/// use std::time::Duration;
///
/// let jobs = [
///     spawn(|| sleep(Duration::MAX)),
///     spawn(|| raise(std::io::Error::other("disk full"))),
/// ];
/// assert_eq!(joinall_raise_error(&jobs).unwrap_err().to_string(), "disk full");
/// ```
pub fn joinall_raise_error<I>(greenlets: I) -> Result<(), Failure>
where
    I: IntoIterator,
    I::Item: AsRef<GreenletRef>,
{
    match iwait(refs(greenlets)).find_map(|greenlet| greenlet.exception()) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// As [`joinall_raise_error`], for at most `timeout` in all. True if all have ended.
///
/// # Errors
/// As `joinall_raise_error`, if that was in time.
pub fn joinall_raise_error_timeout<I>(greenlets: I, timeout: Duration) -> Result<bool, Failure>
where
    I: IntoIterator,
    I::Item: AsRef<GreenletRef>,
{
    let greenlets = refs(greenlets);
    let mut running = greenlets.len();
    for ended in iwait(greenlets).timeout(timeout) {
        running -= 1;
        if let Some(failure) = ended.exception() {
            return Err(failure);
        }
    }
    Ok(running == 0)
}

fn refs<I>(greenlets: I) -> Vec<GreenletRef>
where
    I: IntoIterator,
    I::Item: AsRef<GreenletRef>,
{
    greenlets.into_iter().map(|greenlet| greenlet.as_ref().clone()).collect()
}
