//! Greenlets that return a `Result`.

use std::error::Error;
use std::panic::Location;

use super::Greenlet;
use super::raw::Fallible;

/// As [`spawn`](crate::spawn), for a closure that may fail: `Ok` has the value, and an `Err` is a failure, as if it had been
/// [raised](crate::raise()), but without unwinding.
///
/// The failure is reported once, [`link_exception`](Greenlet::link_exception) fires, and
/// [`exception`](crate::GreenletRef::exception) has it, with [`downcast_ref`](crate::Failure::downcast_ref) to the error. Any
/// error that goes into a `Box<dyn Error + Send + Sync>` will do: that box itself, what `anyhow` and its like make, and strings. An
/// `Err` with a [`GreenletExit`](crate::GreenletExit) is no failure, as when it is raised.
///
/// ```
/// use greenlet_core::{spawn_fallible, GreenletError};
/// use std::num::ParseIntError;
///
/// let parse = |text: &'static str| spawn_fallible(move || text.trim().parse::<u16>());
/// assert_eq!(parse(" 80 ").get()?, 80);
/// let Err(GreenletError::Failed(failure)) = parse("http").get() else { panic!("no number") };
/// assert!(failure.downcast_ref::<ParseIntError>().is_some());
///
/// let size = spawn_fallible(|| -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
///     Ok(std::fs::metadata("/nowhere")?.len())
/// });
/// assert!(size.get().is_err());
/// # Ok::<(), GreenletError>(())
/// ```
#[track_caller]
pub fn spawn_fallible<F, T, E>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> Result<T, E> + 'static,
    T: 'static,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    Greenlet::start_new(Location::caller(), Fallible(f))
}
