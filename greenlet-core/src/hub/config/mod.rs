//! Settings of a hub.

mod table;
mod value;

use std::ffi::OsStr;
use std::time::Duration;

use table::SETTINGS;
pub use table::Setting;

use super::poller::PollerKind;
use crate::stack::{GuardMode, StackConfig, StackSize};

/// Settings of a hub, given to [`Hub::configure`](super::Hub::configure) or
/// [`HubBuilder::config`](super::HubBuilder::config).
///
/// A hub that is made by first use, and one of [`Hub::thread`](super::Hub::thread) that is told nothing else, takes the
/// environment: [`Config::from_env`]. [`Config::default`] is what this table says, whatever the environment.
///
/// | name | variable | default | what |
/// |---|---|---|---|
/// | `stack_size` | `GREENLET_STACK_SIZE` | `256k` | [`stack_size`](Config::stack_size), in bytes |
/// | `guard` | `GREENLET_GUARD` | `auto` | [`guard`](Config::guard): `auto`, `madvise` or `mprotect` |
/// | `max_stacks` | `GREENLET_MAX_STACKS` | `none` | [`max_stacks`](Config::max_stacks), a number or `none` |
/// | `warm_stacks` | `GREENLET_WARM_STACKS` | `1024` | [`warm_stacks`](Config::warm_stacks), a number |
/// | `poller` | `GREENLET_POLLER` | `epoll` | [`poller`](Config::poller): `epoll` or `poll` |
/// | `poll_interval` | `GREENLET_POLL_INTERVAL` | `61` | [`poll_interval`](Config::poll_interval), a number from 1 on |
/// | `poll_period` | `GREENLET_POLL_PERIOD` | `100us` | [`poll_period`](Config::poll_period), a time |
/// | `idle_report` | `GREENLET_IDLE_REPORT` | `none` | [`idle_report`](Config::idle_report), a time or `none` |
/// | `threadpool_size` | `GREENLET_THREADPOOL_SIZE` | `10` | [`threadpool_size`](Config::threadpool_size), a number from 1 on |
/// | `monitor` | `GREENLET_MONITOR` | `off` | [`monitor`](Config::monitor): `on` or `off` |
/// | `max_blocking_time` | `GREENLET_MAX_BLOCKING_TIME` | `none` | [`max_blocking_time`](Config::max_blocking_time), a time, or `none` for the monitor's own |
/// | `threadpool_idle` | `GREENLET_THREADPOOL_IDLE` | `5s` | [`threadpool_idle`](Config::threadpool_idle), a time or `none` |
///
/// [`isolated`](Config::isolated) is a promise rather than a setting, and has neither a name nor a variable.
///
/// Sizes take the suffixes `k`, `m` and `g` (powers of 1024). Times take `us`, `ms`, `s`, `min` and `h`; without one they are
/// seconds, and may have decimals. Case does not matter.
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
    pub(crate) poller: PollerKind,
    pub(crate) poll_interval: u32,
    pub(crate) poll_period: Duration,
    pub(crate) idle_report: Option<Duration>,
    pub(crate) threadpool_size: usize,
    pub(crate) threadpool_idle: Option<Duration>,
    pub(crate) monitored: bool,
    pub(crate) max_blocking: Option<Duration>,
    /// Nobody outside of the hub's thread reaches it.
    pub(crate) isolated: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            stack_size: StackSize::DEFAULT,
            guard: GuardMode::Auto,
            max_stacks: None,
            warm_stacks: 1024,
            poller: PollerKind::Epoll,
            poll_interval: 61,
            poll_period: Duration::from_micros(100),
            idle_report: None,
            threadpool_size: 10,
            threadpool_idle: Some(Duration::from_secs(5)),
            monitored: false,
            max_blocking: None,
            isolated: false,
        }
    }
}

/// What is wrong with a setting.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no setting of that name.
    #[error("`{name}` is no setting; there are {}", names(|setting| setting.name.to_owned()))]
    UnknownSetting {
        /// The name that was given.
        name: String,
    },
    /// The environment has a variable that looks like a setting and is none.
    #[error("the environment variable {variable} is no setting; there are {}", names(Setting::variable))]
    UnknownVariable {
        /// The variable.
        variable: String,
    },
    /// The value is not one that the setting can have.
    #[error("{setting} is {found:?}, but must be {expected}")]
    BadValue {
        /// The setting, or the environment variable, whichever was set.
        setting: String,
        /// What was found.
        found: String,
        /// What would do.
        expected: String,
    },
}

fn names(name: impl Fn(&Setting) -> String) -> String {
    SETTINGS.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Variables that begin like settings and belong to somebody else: tests, and the libraries above this one.
const NOT_OURS: [&str; 5] =
    ["GREENLET_SEED", "GREENLET_TEST_", "GREENLET_NET_", "GREENLET_RESOLVER", "GREENLET_ACTOR_"];

impl Config {
    /// The defaults, changed by what the environment says.
    ///
    /// # Errors
    /// [`ConfigError`] for a value that cannot be, and for a variable `GREENLET_...` that is no setting: most likely it is
    /// misspelt. `GREENLET_SEED`, `GREENLET_TEST_...`, `GREENLET_NET_...`, `GREENLET_RESOLVER...` and `GREENLET_ACTOR_...` are left
    /// alone.
    ///
    /// ```
    /// use greenlet_core::{Config, Hub};
    ///
    /// // What the program wants counts more than the environment.
    /// Hub::configure(Config::from_env()?.max_stacks(1000))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_env() -> Result<Config, ConfigError> {
        Config::from_variables(std::env::vars_os())
    }

    fn from_variables<S: AsRef<OsStr>>(
        variables: impl IntoIterator<Item = (S, S)>,
    ) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        for (variable, value) in variables {
            let Some(variable) = variable.as_ref().to_str() else { continue };
            let ours =
                variable.starts_with("GREENLET_") && !NOT_OURS.iter().any(|own| variable.starts_with(own));
            if !ours {
                continue;
            }
            let setting = SETTINGS.iter().find(|setting| setting.variable() == variable);
            let Some(setting) = setting else {
                return Err(ConfigError::UnknownVariable { variable: variable.to_owned() });
            };
            setting.change(&mut config, variable, &value.as_ref().to_string_lossy())?;
        }
        Ok(config)
    }

    /// Changes a setting by its name, with the values that its environment variable takes.
    ///
    /// # Errors
    /// [`ConfigError`] for an unknown name and for a value that cannot be; nothing is changed then.
    ///
    /// ```
    /// use greenlet_core::Config;
    ///
    /// let mut config = Config::default();
    /// config.set("stack_size", "64k")?;
    /// assert_eq!(config.get("stack_size")?, "64k");
    /// assert!(config.set("stack", "64k").unwrap_err().to_string().contains("stack_size"));
    /// # Ok::<(), greenlet_core::ConfigError>(())
    /// ```
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        Setting::named(name)?.change(self, name, value)
    }

    /// A setting by its name, as [`set`](Config::set) would take it.
    ///
    /// # Errors
    /// [`ConfigError::UnknownSetting`].
    pub fn get(&self, name: &str) -> Result<String, ConfigError> {
        Ok((Setting::named(name)?.show)(self))
    }

    /// All settings, to print a page of help.
    ///
    /// ```
    /// use greenlet_core::Config;
    ///
    /// for setting in Config::settings() {
    ///     println!("{}: {} ({})", setting.variable(), setting.expected(), setting.default());
    /// }
    /// ```
    pub fn settings() -> &'static [Setting] {
        SETTINGS
    }

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

    /// What the hub asks the kernel with which descriptors are ready. Default: [`PollerKind::Epoll`].
    pub fn poller(mut self, poller: PollerKind) -> Config {
        self.poller = poller;
        self
    }

    /// The loop looks at descriptors, timers and other threads after at most so many entries of its ready queue; 0 counts as
    /// 1. Default: 61.
    pub fn poll_interval(mut self, entries: u32) -> Config {
        self.poll_interval = entries.max(1);
        self
    }

    /// ... and sooner, when that many entries would take longer than this: gevent's switch interval. Default: 100 us.
    ///
    /// It is a guess from the pace of the last ones, since nothing interrupts a greenlet.
    pub fn poll_period(mut self, period: Duration) -> Config {
        self.poll_period = period;
        self
    }

    /// A hub that slept for this long without a break warns through `tracing`, and lists the greenlets that wait. Default:
    /// `None`, never.
    pub fn idle_report(mut self, after: Option<Duration>) -> Config {
        self.idle_report = after;
        self
    }

    /// The most threads of [`ThreadPool::global`](crate::pool::ThreadPool::global), if it is first used from this hub; 0 counts
    /// as 1. Default: 10.
    pub fn threadpool_size(mut self, threads: usize) -> Config {
        self.threadpool_size = threads.max(1);
        self
    }

    /// How long a thread of that pool stays without a task. `None`: for ever. Default: 5 s.
    pub fn threadpool_idle(mut self, after: Option<Duration>) -> Config {
        self.threadpool_idle = after;
        self
    }

    /// Starts the [monitor](crate::monitor) of this process with the hub, unless it runs already. Where the environment asks for it,
    /// every hub does so.
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

    /// Promises that no other thread will ever wake a greenlet of the hub, so that [`LoopExit`](crate::LoopExit) is exact in a
    /// process with other threads too. Not a setting of the environment.
    ///
    /// If it is broken, a wait that another thread was about to end raises `LoopExit` instead.
    pub fn isolated(mut self) -> Config {
        self.isolated = true;
        self
    }

    pub(crate) fn stacks(&self) -> StackConfig {
        StackConfig { guard: self.guard, max_stacks: self.max_stacks, warm: self.warm_stacks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_variables(variables.iter().copied())
    }

    #[test]
    fn every_setting_is_in_the_table_of_the_documentation() {
        let documentation = include_str!("mod.rs");
        for setting in SETTINGS {
            let row = format!("| `{}` | `{}` | `{}` |", setting.name, setting.variable(), setting.default());
            assert!(documentation.contains(&row), "the docs of `Config` have a row that begins with {row}");
        }
    }

    #[test]
    fn every_setting_takes_back_what_it_shows() {
        for setting in SETTINGS {
            let mut config = Config::default();
            config.set(setting.name, &setting.default()).unwrap();
            assert_eq!(config.get(setting.name).unwrap(), setting.default(), "{}", setting.name);
        }
    }

    #[test]
    fn the_environment_sets_each_of_them() {
        let config = from(&[
            ("GREENLET_STACK_SIZE", "64K"),
            ("GREENLET_GUARD", "mprotect"),
            ("GREENLET_MAX_STACKS", "7"),
            ("GREENLET_WARM_STACKS", "0"),
            ("GREENLET_POLLER", "Poll"),
            ("GREENLET_POLL_INTERVAL", "1"),
            ("GREENLET_POLL_PERIOD", "2ms"),
            ("GREENLET_IDLE_REPORT", "0.5"),
            ("GREENLET_THREADPOOL_SIZE", "3"),
            ("GREENLET_THREADPOOL_IDLE", "none"),
            ("GREENLET_SEED", "not ours"),
            ("GREENLET_TEST_CHILD", "not ours"),
            ("PATH", "not ours"),
        ])
        .unwrap();
        assert_eq!(config.stack_size.bytes(), 64 << 10);
        assert_eq!((config.guard, config.max_stacks, config.warm_stacks), (GuardMode::Mprotect, Some(7), 0));
        assert_eq!((config.poller, config.poll_interval), (PollerKind::Poll, 1));
        assert_eq!(config.poll_period, Duration::from_millis(2));
        assert_eq!(config.idle_report, Some(Duration::from_millis(500)));
        assert_eq!((config.threadpool_size, config.threadpool_idle), (3, None));
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_expected() {
        for (variable, bad) in [
            ("GREENLET_STACK_SIZE", "12"),
            ("GREENLET_STACK_SIZE", "64kk"),
            ("GREENLET_STACK_SIZE", "99999999999999999999g"),
            ("GREENLET_STACK_SIZE", ""),
            ("GREENLET_GUARD", "maybe"),
            ("GREENLET_MAX_STACKS", "-1"),
            ("GREENLET_WARM_STACKS", "1.5"),
            ("GREENLET_POLLER", "kqueue"),
            ("GREENLET_POLL_INTERVAL", "0"),
            ("GREENLET_POLL_INTERVAL", "4294967296"),
            ("GREENLET_POLL_PERIOD", "-1s"),
            ("GREENLET_IDLE_REPORT", "nan"),
            ("GREENLET_IDLE_REPORT", "0"),
            ("GREENLET_THREADPOOL_SIZE", "0"),
            ("GREENLET_THREADPOOL_IDLE", "1e300"),
            ("GREENLET_THREADPOOL_IDLE", "5 parsecs"),
        ] {
            let message = from(&[(variable, bad)]).unwrap_err().to_string();
            let parts = [variable, &format!("{bad:?}"), "must be"];
            assert!(parts.iter().all(|part| message.contains(part)), "{variable}={bad}: {message}");
        }
    }

    #[test]
    fn an_unknown_variable_or_name_is_told_the_known_ones() {
        let message = from(&[("GREENLET_STACKSIZE", "64k")]).unwrap_err().to_string();
        assert!(
            message.contains("GREENLET_STACKSIZE is no setting") && message.contains("GREENLET_STACK_SIZE")
        );
        let message = Config::default().set("stacksize", "64k").unwrap_err().to_string();
        assert!(message.contains("`stacksize` is no setting") && message.contains("stack_size"));
        assert!(Config::default().get("").is_err());
    }

    #[test]
    fn a_failed_set_changes_nothing() {
        let mut config = Config::default();
        assert!(config.set("poll_interval", "many").is_err());
        assert_eq!(config.get("poll_interval").unwrap(), "61");
    }
}
