//! Greenlets with a name or a stack of their own.

use std::panic::Location;

use super::Greenlet;
use super::raw::{self, Start};
use crate::hub::{self, Hub};
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

    /// Makes the greenlet without starting it.
    #[track_caller]
    pub fn build<F, T>(self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let mut spec = hub::spec(Hub::current_hub().shared.clone(), self.site.unwrap_or(Location::caller()));
        spec.stack_size = self.stack_size.unwrap_or(spec.stack_size);
        let greenlet = Greenlet::from_header(raw::allocate(spec, Start::Later, f));
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
}
