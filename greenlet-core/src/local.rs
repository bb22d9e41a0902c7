//! Storage that each greenlet has for itself.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::hub::Hub;
use crate::report;

/// Declares statics of which each greenlet has its own value: gevent's `local`, in the shape of `thread_local!`.
///
/// A value is made by its initializer when a greenlet first uses it, and dropped when that greenlet ends, before whoever
/// joins it hears of the end. A thread's own stack is a greenlet in this respect, the main one.
///
/// ```
/// use greenlet_core::{greenlet_local, joinall, spawn, yield_now};
/// use std::cell::Cell;
///
/// greenlet_local! {
///     static REQUEST: Cell<u32> = Cell::new(0);
/// }
///
/// let handlers: Vec<_> = (1..=3)
///     .map(|id| {
///         spawn(move || {
///             REQUEST.set(id);
///             yield_now(); // the others set theirs meanwhile
///             assert_eq!(REQUEST.get(), id);
///         })
///     })
///     .collect();
/// joinall(&handlers);
/// assert!(handlers.iter().all(|handler| handler.successful()));
/// assert_eq!(REQUEST.get(), 0);
/// ```
#[macro_export]
macro_rules! greenlet_local {
    () => {};
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$attribute])*
        $visibility static $name: $crate::LocalKey<$type> = {
            fn init() -> $type {
                $init
            }
            $crate::LocalKey::new(init)
        };
        $($crate::greenlet_local!($($rest)*);)?
    };
}

/// A static declared by [`greenlet_local!`].
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
}

/// There is no current greenlet, so there is no value: the caller runs in a callback of the hub's loop, or in a panic hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a greenlet-local was used outside of any greenlet, in a callback of the hub's loop or in a panic hook"
)]
pub struct NoGreenlet;

/// The values of one greenlet, or of a tree of them.
#[derive(Default)]
pub(crate) struct Locals(RefCell<Values>);

/// The values by the address of their key.
type Values = BTreeMap<usize, Rc<dyn Any>>;

/// Values may be made while others are dropped; what is there after so many rounds is leaked.
pub(crate) const DROP_ROUNDS: usize = 8;

/// Drops values at the end of who has them.
pub(crate) fn drop_values(values: Values) {
    for value in values.into_values() {
        report::contain_drop("a greenlet-local", || drop(value));
    }
}

impl Locals {
    /// Takes out all values.
    pub(crate) fn take(&self) -> Values {
        self.0.take()
    }

    /// Calls `f` with the value of the key at this address, which is made now if there is none yet.
    pub(crate) fn with<T: 'static, R>(&self, key: usize, init: fn() -> T, f: impl FnOnce(&T) -> R) -> R {
        let known = self.0.borrow().get(&key).cloned();
        let value = match known {
            Some(value) => value,
            None => {
                // The initializer may use this and other keys, and suspend.
                let value: Rc<dyn Any> = Rc::new(init());
                self.0.borrow_mut().entry(key).or_insert(value).clone()
            }
        };
        f(value.downcast_ref().expect("a key has one type"))
    }
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> LocalKey<T> {
        LocalKey { init }
    }

    /// Calls `f` with the current greenlet's value, which is made now if there is none yet. `f` may suspend.
    ///
    /// # Panics
    /// In a callback of the hub's loop, and in a panic hook: see [`try_with`](LocalKey::try_with).
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`with`](LocalKey::with).
    ///
    /// # Errors
    /// [`NoGreenlet`].
    #[track_caller]
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, NoGreenlet> {
        let current = Hub::current_hub().current_greenlet().ok_or(NoGreenlet)?;
        // SAFETY: the running greenlet is alive, until its code has returned, which is after `f`.
        let locals = unsafe { current.as_ref() }.local.locals();
        Ok(locals.with(std::ptr::from_ref(self).addr(), self.init, f))
    }
}

/// What std's `LocalKey` offers for cells, and `Debug`, for a key with `with`.
macro_rules! cell_keys {
    ($Key:ident) => {
        impl<T: 'static> $Key<Cell<T>> {
            /// Sets the value.
            #[track_caller]
            pub fn set(&'static self, value: T) {
                self.with(|cell| cell.set(value));
            }

            /// A copy of the value.
            #[track_caller]
            pub fn get(&'static self) -> T
            where
                T: Copy,
            {
                self.with(Cell::get)
            }

            /// Takes the value and leaves the default.
            #[track_caller]
            pub fn take(&'static self) -> T
            where
                T: Default,
            {
                self.with(Cell::take)
            }

            /// Sets the value and returns the old one.
            #[track_caller]
            pub fn replace(&'static self, value: T) -> T {
                self.with(|cell| cell.replace(value))
            }
        }

        impl<T: 'static> $Key<RefCell<T>> {
            /// Calls `f` with the value borrowed.
            ///
            /// # Panics
            /// When it is borrowed mutably.
            #[track_caller]
            pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
                self.with(|cell| f(&cell.borrow()))
            }

            /// Calls `f` with the value borrowed mutably.
            ///
            /// # Panics
            /// When it is borrowed.
            #[track_caller]
            pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
                self.with(|cell| f(&mut cell.borrow_mut()))
            }
        }

        impl<T: 'static> fmt::Debug for $Key<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($Key), "(..)"))
            }
        }
    };
}

pub(crate) use cell_keys;

cell_keys!(LocalKey);
