//! Settings of a hub.

use std::time::Duration;

use crate::stack::{GuardMode, StackConfig, StackSize};

/// Settings of a hub, given to [`Hub::configure`](super::Hub::configure) or
/// [`HubBuilder::config`](super::HubBuilder::config).
///
/// ```
/// use greenlet_core::{Config, StackSize};
///
/// let config = Config::default().stack_size(StackSize::new(64 * 1024)?).max_stacks(10_000);
/// # Ok::<(), greenlet_core::StackSizeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) stack_size: StackSize,
    guard: GuardMode,
    max_stacks: Option<usize>,
    warm_stacks: usize,
    pub(crate) monitored: bool,
    pub(crate) max_blocking: Option<Duration>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            stack_size: StackSize::DEFAULT,
            guard: GuardMode::Auto,
            max_stacks: None,
            warm_stacks: 1024,
            monitored: false,
            max_blocking: None,
        }
    }
}

impl Config {
    /// The stack of each greenlet that asks for no other size. Default: [`StackSize::DEFAULT`].
    ///
    /// It is address space: memory is used as far as the stack was touched, at least one page (4 KiB), and 1/512 of
    /// the size for page tables.
    pub fn stack_size(mut self, size: StackSize) -> Config {
        self.stack_size = size;
        self
    }

    /// How stacks are guarded against overflow. Default: [`GuardMode::Auto`].
    pub fn guard(mut self, guard: GuardMode) -> Config {
        self.guard = guard;
        self
    }

    /// The most stacks that exist at once. A greenlet whose turn comes beyond that fails with a
    /// [`StackError`](crate::StackError). Default: no limit but memory.
    pub fn max_stacks(mut self, limit: usize) -> Config {
        self.max_stacks = Some(limit);
        self
    }

    /// How many unused stacks keep their memory for the next greenlet. Default: 1024.
    pub fn warm_stacks(mut self, count: usize) -> Config {
        self.warm_stacks = count;
        self
    }

    /// Starts the [monitor](crate::monitor) of this process with the hub, unless it runs already. `GREENLET_MONITOR=1` in the
    /// environment does the same for all hubs.
    pub fn monitor(mut self) -> Config {
        self.monitored = true;
        self
    }

    /// For how long this hub may go without a switch before the [monitor](crate::monitor) reports it. Default: as the
    /// monitor's [settings](crate::monitor::Settings::max_blocking_time) say. Zero counts as the least time there.
    pub fn max_blocking_time(mut self, time: Duration) -> Config {
        self.max_blocking = Some(time);
        self
    }

    pub(crate) fn stacks(&self) -> StackConfig {
        StackConfig { guard: self.guard, max_stacks: self.max_stacks, warm: self.warm_stacks }
    }
}
