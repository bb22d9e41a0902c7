//! Spawning what the current greenlet depends on: gevent's `spawn_link` (to 0.13).

use crate::greenlet::{Greenlet, GreenletRef, current, spawn};

/// As [`spawn`], and [links](GreenletRef::link_to) the new greenlet to the current one: however it ends, even if it returns,
/// [`LinkedExited`](crate::LinkedExited) is raised in the current one.
///
/// It says that the helper is to live as long as the one that spawned it. The link is one-sided: the end of the current greenlet
/// does nothing to the helper. [`unlink_from`](GreenletRef::unlink_from) takes it back. In a callback of the loop it is the main
/// greenlet that is linked.
///
/// ```
/// use greenlet_core::{catch, sleep, spawn_link, LinkedExited};
/// use std::time::Duration;
///
/// let helper = spawn_link(|| "done too early");
/// let raised = catch(|| sleep(Duration::MAX)).unwrap_err();
/// let Some(LinkedExited::Completed(ended)) = raised.downcast_ref() else { panic!("{raised}") };
/// assert_eq!(*ended, **&helper);
/// ```
#[track_caller]
pub fn spawn_link<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    linked(spawn(f), GreenletRef::link_to)
}

/// As [`spawn_link`], raising only if the new greenlet ends successfully (returned, killed or exited).
#[track_caller]
pub fn spawn_link_value<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    linked(spawn(f), GreenletRef::link_value_to)
}

/// As [`spawn_link`], raising only if the new greenlet fails.
///
/// ```
/// use greenlet_core::{attempt, sleep, spawn_link_exception, GreenletError};
/// use std::time::Duration;
///
/// let outcome = attempt(|| {
///     spawn_link_exception(|| panic!("no disk"));
///     sleep(Duration::MAX)
/// });
/// let Err(GreenletError::Failed(failure)) = outcome else { panic!("it failed") };
/// assert!(failure.to_string().contains("no disk"));
/// ```
#[track_caller]
pub fn spawn_link_exception<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    linked(spawn(f), GreenletRef::link_exception_to)
}

/// Nothing runs between the spawn and the link.
fn linked<T>(greenlet: Greenlet<T>, link: fn(&GreenletRef, &GreenletRef)) -> Greenlet<T> {
    link(&greenlet, &current());
    greenlet
}
