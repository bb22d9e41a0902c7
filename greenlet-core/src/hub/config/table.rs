//! The table of settings: one entry for each.

use super::value::{
    Choices, choice, count, count_or_none, duration, duration_or_none, positive, size, switch,
};
use super::{Config, ConfigError};
use crate::hub::poller::PollerKind;
use crate::stack::{GuardMode, StackSize};

/// A setting of [`Config`]: see [`Config::settings`].
#[derive(Debug)]
pub struct Setting {
    pub(super) name: &'static str,
    expected: &'static str,
    /// `None`: the value is not one that it can have.
    parse: fn(&mut Config, &str) -> Option<()>,
    pub(super) show: fn(&Config) -> String,
}

const GUARDS: Choices<GuardMode> =
    &[("auto", GuardMode::Auto), ("madvise", GuardMode::Madvise), ("mprotect", GuardMode::Mprotect)];
const POLLERS: Choices<PollerKind> = &[("epoll", PollerKind::Epoll), ("poll", PollerKind::Poll)];

/// A new setting is a field of [`Config`], an entry here, and a row in the documentation of `Config`.
pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "stack_size",
        expected: "a number of bytes from 32k to 1g (more than 32k on some machines), a multiple of the page size, such as 256k",
        parse: |config, text| {
            config.stack_size = StackSize::new(size::parse(text)?).ok()?;
            Some(())
        },
        show: |config| size::show(config.stack_size.bytes()),
    },
    Setting {
        name: "guard",
        expected: "auto, madvise or mprotect",
        parse: |config, text| choice::parse(GUARDS, text).map(|guard| config.guard = guard),
        show: |config| choice::show(GUARDS, config.guard),
    },
    Setting {
        name: "max_stacks",
        expected: "a number of stacks, or none for no limit",
        parse: |config, text| count_or_none::parse(text).map(|limit| config.max_stacks = limit),
        show: |config| count_or_none::show(config.max_stacks),
    },
    Setting {
        name: "warm_stacks",
        expected: "a number of stacks",
        parse: |config, text| count::parse(text).map(|count| config.warm_stacks = count),
        show: |config| config.warm_stacks.to_string(),
    },
    Setting {
        name: "poller",
        expected: "epoll or poll",
        parse: |config, text| choice::parse(POLLERS, text).map(|poller| config.poller = poller),
        show: |config| choice::show(POLLERS, config.poller),
    },
    Setting {
        name: "poll_interval",
        expected: "a number of entries from 1 to 4294967295",
        parse: |config, text| {
            config.poll_interval = u32::try_from(positive(text)?).ok()?;
            Some(())
        },
        show: |config| config.poll_interval.to_string(),
    },
    Setting {
        name: "poll_period",
        expected: "a time such as 100us, 5ms or 0.005 (seconds)",
        parse: |config, text| duration::parse(text).map(|period| config.poll_period = period),
        show: |config| duration::show(config.poll_period),
    },
    Setting {
        name: "idle_report",
        expected: "a time above zero, such as 30s, 5min or 0.5 (seconds), or none",
        parse: |config, text| {
            duration_or_none::parse_above_zero(text).map(|after| config.idle_report = after)
        },
        show: |config| duration_or_none::show(config.idle_report),
    },
    Setting {
        name: "threadpool_size",
        expected: "a number of threads, 1 or more",
        parse: |config, text| positive(text).map(|threads| config.threadpool_size = threads),
        show: |config| config.threadpool_size.to_string(),
    },
    Setting {
        name: "monitor",
        expected: "on or off",
        parse: |config, text| switch::parse(text).map(|on| config.monitored = on),
        show: |config| switch::show(config.monitored),
    },
    Setting {
        name: "max_blocking_time",
        expected: "a time above zero, such as 100ms or 0.1 (seconds), or none for the monitor's own",
        parse: |config, text| {
            duration_or_none::parse_above_zero(text).map(|limit| config.max_blocking = limit)
        },
        show: |config| duration_or_none::show(config.max_blocking),
    },
    Setting {
        name: "threadpool_idle",
        expected: "a time such as 5s, 1min or 0.5 (seconds), or none for ever",
        parse: |config, text| duration_or_none::parse(text).map(|after| config.threadpool_idle = after),
        show: |config| duration_or_none::show(config.threadpool_idle),
    },
];

impl Setting {
    /// The name, for [`Config::set`].
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("GREENLET_{}", self.name.to_uppercase())
    }

    /// What values it takes.
    pub fn expected(&self) -> &'static str {
        self.expected
    }

    /// Its default, as it would be written.
    pub fn default(&self) -> String {
        (self.show)(&Config::default())
    }

    pub(super) fn named(name: &str) -> Result<&'static Setting, ConfigError> {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        setting.ok_or_else(|| ConfigError::UnknownSetting { name: name.to_owned() })
    }

    /// `called` is what the user calls it: the name, or the variable.
    pub(super) fn change(&self, config: &mut Config, called: &str, value: &str) -> Result<(), ConfigError> {
        (self.parse)(config, value.trim()).ok_or_else(|| ConfigError::BadValue {
            setting: called.to_owned(),
            found: value.to_owned(),
            expected: self.expected.to_owned(),
        })
    }
}
