//! How the monitor watches.

use std::ffi::c_int;
use std::io;
use std::time::Duration;

use super::{capture, thread};
use crate::hub::Config;

/// How the monitor watches this process; [`start`](Settings::start) begins it.
///
/// ```
/// use greenlet_core::monitor;
/// use std::time::Duration;
///
/// monitor::Settings::default()
///     .max_blocking_time(Duration::from_millis(250))
///     .max_memory(2 << 30)
///     .start()?;
/// # monitor::stop();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) max_blocking: Option<Duration>,
    pub(super) signal: Option<c_int>,
    pub(super) reports: bool,
    pub(super) max_memory: Option<u64>,
    pub(super) memory_period: Duration,
}

/// What a process may be blocked for when nothing else is said, as in gevent.
const MAX_BLOCKING: Duration = Duration::from_millis(100);
/// Shorter times are raised to this: the monitor looks twice in it.
pub(super) const LEAST_BLOCKING: Duration = Duration::from_millis(2);

impl Default for Settings {
    /// 100 ms, or what `GREENLET_MAX_BLOCKING_TIME` says; `SIGURG`; reports through `tracing`; no limit of memory.
    fn default() -> Settings {
        // A hub that takes its settings from there says what is wrong with them.
        let environment = Config::from_env().ok();
        Settings {
            max_blocking: Some(environment.and_then(|config| config.max_blocking).unwrap_or(MAX_BLOCKING)),
            signal: Some(libc::SIGURG),
            reports: true,
            max_memory: None,
            memory_period: Duration::from_secs(5),
        }
    }
}

/// Whether the environment asks for the monitor.
pub(super) fn wanted_by_environment() -> bool {
    Config::from_env().is_ok_and(|config| config.monitored)
}

impl Settings {
    /// For how long a hub may go without a switch before it is reported. Default: 100 ms. Less than 2 ms count as that.
    ///
    /// [`Config::max_blocking_time`](crate::Config::max_blocking_time) says otherwise for a single hub.
    pub fn max_blocking_time(mut self, time: Duration) -> Settings {
        self.max_blocking = Some(time);
        self
    }

    /// Watches the memory and calls [functions](super::every), but does not look for hubs that are blocked.
    pub fn without_blocking_check(mut self) -> Settings {
        self.max_blocking = None;
        self
    }

    /// The signal by which a blocked thread is asked what it is doing. Default: `SIGURG`, which is ignored by whoever does
    /// not handle it. A handler that was there before still gets what others send; one that is installed later gets the monitor's too.
    pub fn signal(mut self, signal: i32) -> Settings {
        self.signal = Some(signal);
        self
    }

    /// Sends no signal: reports then name the hub, the system call and the duration, but neither the greenlet nor a
    /// backtrace.
    pub fn without_signal(mut self) -> Settings {
        self.signal = None;
        self
    }

    /// Tells [subscribers](super::subscribe) only, and reports nothing through `tracing`.
    pub fn subscribers_only(mut self) -> Settings {
        self.reports = false;
        self
    }

    /// Resident memory in bytes above which [`Notice::MemoryExceeded`](super::Notice::MemoryExceeded) is told.
    /// Default: no limit.
    pub fn max_memory(mut self, bytes: u64) -> Settings {
        self.max_memory = Some(bytes);
        self
    }

    /// How often the memory is looked at. Default: every 5 seconds.
    pub fn memory_period(mut self, period: Duration) -> Settings {
        self.memory_period = period;
        self
    }

    /// Starts the monitor's thread, or gives it these settings if it runs already. It watches all hubs of the process,
    /// those that come later too, until [`stop`](super::stop).
    ///
    /// # Errors
    /// What the system refused: the thread, or to handle the signal.
    pub fn start(self) -> io::Result<()> {
        if let Some(signal) = self.signal {
            capture::install(signal)?;
        }
        thread::start(self)
    }
}
