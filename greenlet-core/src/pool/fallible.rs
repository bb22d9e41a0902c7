//! Members that return a `Result`.

use std::error::Error;
use std::panic::Location;

use super::group::Group;
use crate::greenlet::{Builder, Greenlet};

impl Group {
    /// As [`spawn`](Group::spawn), for a closure whose `Err` is a failure: see [`spawn_fallible`](crate::spawn_fallible).
    ///
    /// # Panics
    /// As `spawn`.
    ///
    /// ```
    /// use greenlet_core::pool::Group;
    ///
    /// let group = Group::new();
    /// group.spawn_fallible(|| "eighty".parse::<u16>());
    /// assert!(group.join_raise_error().is_err());
    /// ```
    #[track_caller]
    pub fn spawn_fallible<F, T, E>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> Result<T, E> + 'static,
        T: 'static,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let greenlet = Builder::new().spawn_site(Location::caller()).build_fallible(f);
        self.start(&greenlet);
        greenlet
    }
}
