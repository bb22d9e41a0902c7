//! Greenlets that are values of one's own types.

use std::fmt::Display;
use std::panic::Location;
use std::time::Duration;

use super::{Builder, Greenlet};

/// What a greenlet can be made of: gevent's subclass of `Greenlet` with a `_run` of its own.
///
/// Its `Display` is the name of the greenlet, taken when it is made, and so is in every report.
///
/// ```
/// use greenlet_core::{Builder, Runnable, StackSize};
/// use std::fmt;
/// use std::time::Duration;
///
/// struct Fetch {
///     url: String,
/// }
///
/// impl fmt::Display for Fetch {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         write!(f, "fetch {}", self.url)
///     }
/// }
///
/// impl Runnable for Fetch {
///     type Output = usize;
///
///     fn run(self) -> usize {
///         self.url.len() // stands for work that waits
///     }
/// }
///
/// let fetch = |url: &str| Fetch { url: url.into() };
/// let first = fetch("http://a").spawn();
/// assert!(first.to_string().starts_with("fetch http://a (Greenlet-"));
/// let later = fetch("http://bc").spawn_later(Duration::from_millis(1));
/// let large = fetch("http://def").build(Builder::new().stack_size(StackSize::new(1024 * 1024)?));
/// large.start();
/// assert_eq!([first.get()?, later.get()?, large.get()?], [8, 9, 10]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Runnable: Display + Sized + 'static {
    /// What the greenlet returns.
    type Output: 'static;

    /// The code of the greenlet.
    fn run(self) -> Self::Output;

    /// Makes a greenlet of it and starts it, as [`spawn`](crate::spawn).
    #[track_caller]
    fn spawn(self) -> Greenlet<Self::Output> {
        let greenlet = self.build(Builder::new().default_site(Location::caller()));
        greenlet.start();
        greenlet
    }

    /// Makes a greenlet of it and starts it after `delay`, as [`spawn_later`](crate::spawn_later).
    #[track_caller]
    fn spawn_later(self, delay: Duration) -> Greenlet<Self::Output> {
        let greenlet = self.build(Builder::new().default_site(Location::caller()));
        greenlet.start_later(delay);
        greenlet
    }

    /// Makes a greenlet of it with these settings, except for the name, and does not start it.
    #[track_caller]
    fn build(self, settings: Builder) -> Greenlet<Self::Output> {
        let settings = settings.name(self.to_string()).default_site(Location::caller());
        settings.build(move || self.run())
    }
}
