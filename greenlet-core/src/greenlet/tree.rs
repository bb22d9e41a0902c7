//! Values that a greenlet shares with those that it spawns.

use std::cell::{Cell, RefCell};
use std::fmt;

use crate::hub::Hub;
use crate::local::cell_keys;

/// Declares statics of which each *spawn tree* has one value: gevent's `spawn_tree_locals`, in the shape of `thread_local!`.
///
/// A greenlet that main spawns, or a callback of the loop, or that comes from another thread, is the root of a tree of its own.
/// Those that it spawns belong to its tree, and so do those that they spawn. The value is made by its initializer when one of them
/// first uses it; all see the same one; it is dropped when the last of them has ended. Main belongs to no tree.
///
/// ```
/// use greenlet_core::{spawn, tree_local};
/// use std::cell::RefCell;
///
/// tree_local! {
///     static REQUEST: RefCell<String> = RefCell::default();
/// }
///
/// fn log(line: &str) -> String {
///     REQUEST.with_borrow(|request| format!("[{request}] {line}"))
/// }
///
/// let handle = |request: &'static str| {
///     spawn(move || {
///         REQUEST.with_borrow_mut(|name| name.push_str(request));
///         spawn(|| log("asking the database")).get()
///     })
/// };
/// let (first, second) = (handle("GET /a"), handle("GET /b"));
/// assert_eq!(first.get()??, "[GET /a] asking the database");
/// assert_eq!(second.get()??, "[GET /b] asking the database");
/// # Ok::<(), greenlet_core::GreenletError>(())
/// ```
#[macro_export]
macro_rules! tree_local {
    () => {};
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$attribute])*
        $visibility static $name: $crate::TreeKey<$type> = {
            fn init() -> $type {
                $init
            }
            $crate::TreeKey::new(init)
        };
        $($crate::tree_local!($($rest)*);)?
    };
}

/// A static declared by [`tree_local!`].
pub struct TreeKey<T: 'static> {
    init: fn() -> T,
}

/// There is no spawn tree, so there is no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeKeyError {
    /// The caller runs on a thread's own stack.
    #[error("the main greenlet belongs to no spawn tree")]
    Main,
    /// The caller runs in a callback of the hub's loop, or in a panic hook.
    #[error(
        "a tree-local was used outside of any greenlet, in a callback of the hub's loop or in a panic hook"
    )]
    NoGreenlet,
}

impl<T: 'static> TreeKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> TreeKey<T> {
        TreeKey { init }
    }

    /// Calls `f` with the value of the current greenlet's spawn tree, which is made now if there is none yet. `f` may suspend.
    ///
    /// # Panics
    /// Where there is no tree: see [`try_with`](TreeKey::try_with).
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`with`](TreeKey::with).
    ///
    /// # Errors
    /// [`TreeKeyError`] in the main greenlet and outside of greenlets.
    #[track_caller]
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, TreeKeyError> {
        let current = Hub::current_hub().current_greenlet().ok_or(TreeKeyError::NoGreenlet)?;
        // SAFETY: the running greenlet is alive.
        let local = unsafe { &current.as_ref().local };
        if local.is_main {
            return Err(TreeKeyError::Main);
        }
        let tree = local.tree();
        Ok(tree.with(std::ptr::from_ref(self).addr(), self.init, f))
    }
}

cell_keys!(TreeKey);
