//! Hooks that a thread's switches call: for libraries that keep a context per thread and want one per greenlet.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::rc::Rc;

use super::Hub;
use crate::greenlet::GreenletRef;
use crate::greenlet::raw::Header;
use crate::report;

/// A switch of a thread from or to a greenlet, as a hook sees it.
///
/// Between two greenlets the hub's loop runs, so a switch from one to another is two: from the one to the loop, and from
/// the loop to the other. The loop is `None`.
#[derive(Clone, Copy, Debug)]
pub struct Switch<'a> {
    /// Who ran until now: suspended now, or ended. `None`: the loop.
    pub from: Option<&'a GreenletRef>,
    /// Who runs next. `None`: the loop.
    pub to: Option<&'a GreenletRef>,
}

type Hook = Rc<dyn Fn(Switch<'_>)>;

/// The hooks of one hub.
#[derive(Default)]
pub(super) struct SwitchHooks {
    any: Cell<bool>,
    hooks: RefCell<Vec<(u64, Hook)>>,
    last: Cell<u64>,
}

impl SwitchHooks {
    #[inline(always)]
    pub(super) fn any(&self) -> bool {
        self.any.get()
    }
}

/// Keeps a hook in place; dropping it takes the hook away. Made by [`Hub::add_switch_hook`].
#[must_use = "the hook is taken away when this is dropped"]
pub struct SwitchHook {
    id: u64,
    /// Hooks belong to the thread's hub.
    thread: PhantomData<*const ()>,
}

impl Hub {
    /// Calls `hook` at each switch of this thread's hub, main greenlet included, until the returned guard is dropped:
    /// twice for each time that a greenlet runs, when it is switched to and when it is left.
    ///
    /// It is for libraries whose context is the thread's (a current trace, a log context): they put it away when a
    /// greenlet is left and put it back when the greenlet goes on. Spans of `tracing` follow their greenlets without that.
    ///
    /// A hook runs in the loop, so it must not block; it may spawn. If it panics, that is reported through `tracing`, and the
    /// switch takes place. Hooks are called in the order in which they were added. Without hooks a switch costs
    /// nothing more; with one, some 10 ns and what the hook does.
    ///
    /// ```
    /// use greenlet_core::{Hub, spawn, yield_now};
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// let entered = Rc::new(Cell::new(0));
    /// let count = entered.clone();
    /// let hook = Hub::add_switch_hook(move |switch| {
    ///     count.set(count.get() + u32::from(switch.to.is_some()));
    /// });
    /// spawn(yield_now).join();
    /// drop(hook);
    /// assert_eq!(entered.get(), 3); // the greenlet twice, then main
    /// ```
    #[track_caller]
    pub fn add_switch_hook(hook: impl Fn(Switch<'_>) + 'static) -> SwitchHook {
        let hooks = &Hub::current_hub().switch_hooks;
        let id = hooks.last.get() + 1;
        hooks.last.set(id);
        hooks.hooks.borrow_mut().push((id, Rc::new(hook)));
        hooks.any.set(true);
        SwitchHook { id, thread: PhantomData }
    }

    /// The loop is about to run a greenlet.
    #[cold]
    #[inline(never)]
    pub(super) fn switching_to(&self, header: NonNull<Header>) {
        // SAFETY: it has not ended, so the hub holds it.
        let greenlet = unsafe { GreenletRef::retained(header) };
        self.call_switch_hooks(Switch { from: None, to: Some(&greenlet) });
    }

    /// A greenlet gave the thread back to the loop.
    #[cold]
    #[inline(never)]
    pub(super) fn switched_from(&self, header: NonNull<Header>) {
        // SAFETY: the hub has not let go of it yet.
        let greenlet = unsafe { GreenletRef::retained(header) };
        self.call_switch_hooks(Switch { from: Some(&greenlet), to: None });
    }

    fn call_switch_hooks(&self, switch: Switch<'_>) {
        let mut at = 0;
        loop {
            // The hook is called without a borrow: it may add hooks, or take itself away.
            let Some((id, hook)) = self.switch_hooks.hooks.borrow().get(at).cloned() else { return };
            let called = report::contain(|| hook(switch));
            if !called {
                report::error(format_args!("a switch hook of hub {} panicked", self.shared.id));
            }
            // The last reference goes here if the hook was taken away: what it owns is the user's.
            report::contain(|| drop(hook));
            let hooks = self.switch_hooks.hooks.borrow();
            // Those that were taken away meanwhile have moved the others up.
            at = hooks.iter().position(|(other, _)| *other > id).unwrap_or(hooks.len());
        }
    }
}

impl Drop for SwitchHook {
    fn drop(&mut self) {
        let Some(hub) = Hub::try_current() else { return };
        let hooks = &hub.switch_hooks;
        let mut list = hooks.hooks.borrow_mut();
        let removed = list.iter().position(|(id, _)| *id == self.id).map(|at| list.remove(at));
        hooks.any.set(!list.is_empty());
        drop(list);
        // Dropped after the borrow: it owns user's data.
        drop(removed);
    }
}

impl fmt::Debug for SwitchHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwitchHook").field("id", &self.id).finish()
    }
}
