//! Greenlets with a name or a stack of their own.

use std::error::Error;
use std::panic::Location;

use super::Greenlet;
use super::raw::{self, Code, Fallible, Plain, Start};
use crate::hub::Hub;
use crate::stack::StackSize;

/// Makes a greenlet with settings, as `std::thread::Builder` makes a thread.
///
/// ```
/// use greenlet_core::{Builder, StackSize};
///
/// let parser = Builder::new()
///     .name("parser")
///     .stack_size(StackSize::new(1024 * 1024)?)
///     .spawn(|| "deep recursion".len());
/// assert!(parser.to_string().starts_with("parser (Greenlet-"));
/// assert_eq!(parser.get()?, 14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder makes nothing by itself"]
pub struct Builder {
    name: Option<Box<str>>,
    stack_size: Option<StackSize>,
    site: Option<&'static Location<'static>>,
}

impl Builder {
    /// The hub's default settings.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The name, shown in every report about the greenlet.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// The size of its stack, instead of the hub's default.
    pub fn stack_size(mut self, size: StackSize) -> Builder {
        self.stack_size = Some(size);
        self
    }

    /// The place shown as where it was spawned, for those who spawn on behalf of others. By default it is the call of
    /// [`spawn`](Builder::spawn) or [`build`](Builder::build).
    pub fn spawn_site(mut self, site: &'static Location<'static>) -> Builder {
        self.site = Some(site);
        self
    }

    /// The place shown unless another one was given.
    pub(crate) fn default_site(mut self, site: &'static Location<'static>) -> Builder {
        self.site.get_or_insert(site);
        self
    }

    /// Makes the greenlet without starting it.
    #[track_caller]
    pub fn build<F, T>(self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let site = Location::caller();
        self.build_code(site, Plain(f))
    }

    /// As [`build`](Builder::build), for a closure that may fail: see [`spawn_fallible`](crate::spawn_fallible).
    #[track_caller]
    pub fn build_fallible<F, T, E>(self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> Result<T, E> + 'static,
        T: 'static,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let site = Location::caller();
        self.build_code(site, Fallible(f))
    }

    fn build_code<C>(self, site: &'static Location<'static>, code: C) -> Greenlet<C::Value>
    where
        C: Code + 'static,
        C::Value: 'static,
    {
        // SAFETY: nothing in the code borrows.
        unsafe { self.build_unchecked(site, code) }
    }

    /// Makes the greenlet without starting it.
    ///
    /// # Safety
    /// What the code borrows outlives the greenlet (`ready` is true), and what the value borrows outlives the last typed handle.
    pub(crate) unsafe fn build_unchecked<C: Code>(
        self,
        site: &'static Location<'static>,
        code: C,
    ) -> Greenlet<C::Value> {
        let mut spec = Hub::current_hub().spec(self.site.unwrap_or(site));
        spec.stack_size = self.stack_size.unwrap_or(spec.stack_size);
        let greenlet = Greenlet::from_header(raw::allocate(spec, Start::Later, code));
        if let Some(name) = self.name {
            greenlet.header_ref().set_name(name);
        }
        greenlet
    }

    /// Makes the greenlet and starts it, as [`spawn`](crate::spawn).
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let greenlet = self.build(f);
        greenlet.start();
        greenlet
    }

    /// Makes the greenlet and starts it, as [`spawn_fallible`](crate::spawn_fallible).
    #[track_caller]
    pub fn spawn_fallible<F, T, E>(self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> Result<T, E> + 'static,
        T: 'static,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let greenlet = self.build_fallible(f);
        greenlet.start();
        greenlet
    }
}
