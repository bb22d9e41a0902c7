//! What goes on in a process: who blocks a hub, what each hub has done, what each greenlet is doing and waits for.
//!
//! # A blocked hub
//! A greenlet that computes for long, or calls something that blocks the thread, stops all others of its hub. [`start`]
//! (or `GREENLET_MONITOR=1` in the environment, or [`Config::monitor`](crate::Config::monitor)) begins a thread that
//! looks at all hubs of the process some twenty times a second and reports one that has not switched for 100 ms: a
//! warning through `tracing` that names the greenlet, where it was spawned, the system call that it sits in, and its
//! backtrace. [`subscribe`] gets the same as a [`Notice`]; [`ignore_blocking`] marks code that may block. It costs the hubs
//! nothing beyond the counters that they have anyway, and the process less than 0.1 % of a core, so it can always be on.
//!
//! ```
//! use greenlet_core::{monitor, spawn, sleep};
//! use std::{sync::mpsc, time::Duration};
//!
//! monitor::start()?;
//! let (tell, told) = mpsc::channel();
//! let _subscription = monitor::subscribe(move |notice| {
//!     if let monitor::Notice::Blocked(blocked) = notice {
//!         let _ = tell.send(blocked.greenlet.as_ref().map(|culprit| culprit.name()));
//!     }
//! });
//! let _other = spawn(|| sleep(Duration::from_secs(1)));
//! greenlet_core::Builder::new().name("culprit").spawn(move || {
//!     // Blocks the thread until somebody notices.
//!     assert_eq!(told.recv().unwrap().as_deref(), Some("culprit"));
//! }).join();
//! monitor::stop();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What all are doing
//! [`run_info`] shows the greenlets of all hubs as a tree of who spawned whom; [`dump_on_signal`] writes it when the
//! process gets a signal. [`GreenletRef::backtrace`](crate::GreenletRef::backtrace) shows where a single one stands.
//! [`HubHandle::metrics`](crate::HubHandle::metrics) counts.
//!
//! # In tests
//! [`assert_switches`] fails when a block of code does not let others run.

mod ask;
mod assert_switches;
mod backtrace;
mod capture;
mod dump;
mod memory;
mod metrics;
mod notice;
mod process;
mod run_info;
mod settings;
mod show;
mod thread;
mod thread_state;
mod watch;

use std::io;
use std::sync::atomic::Ordering;

pub use assert_switches::{AssertSwitches, assert_switches};
pub(crate) use backtrace::Frames;
pub use backtrace::{Backtrace, Frame};
pub use dump::{dump_on_signal, dump_on_signal_to};
pub use metrics::Metrics;
pub use notice::{Blocked, Notice};
pub use process::{MonitoringFunction, Subscription, ZeroPeriod, every, subscribe};
pub use run_info::{GreenletInfo, GreenletState, HubAnswer, HubInfo, RunInfo, StackUse, Survey, WaitsFor};
pub use settings::Settings;
pub use thread_state::{SystemCall, ThreadState};

use crate::hub::{Config, Hub, HubHandle, HubRef, HubShared};
use crate::report;

/// Starts the monitor with the default [`Settings`], unless it runs already.
///
/// # Errors
/// What the system refused: the thread, or to handle the signal.
pub fn start() -> io::Result<()> {
    if is_running() { Ok(()) } else { Settings::default().start() }
}

/// Stops the monitor, and waits for its thread if nothing else needs that. Subscribers and monitoring functions stay, and
/// are called again after the next start.
pub fn stop() {
    thread::stop();
}

/// Whether the monitor was started and not stopped since.
pub fn is_running() -> bool {
    process::process().control.settings().is_some()
}

/// The hubs of this process that have not ended, oldest first.
pub fn hubs() -> Vec<HubHandle> {
    let mut hubs: Vec<_> = process::process().hubs().into_iter().map(HubHandle::new).collect();
    hubs.sort_by_key(HubHandle::id);
    hubs
}

/// All hubs of the process and their greenlets, as [`Survey::take`] with the default survey: see there for what it waits for.
///
/// ```
/// use greenlet_core::{monitor, spawn, yield_now};
///
/// let waits = spawn(|| greenlet_core::Event::new().wait_timeout(std::time::Duration::from_millis(5)));
/// yield_now();
/// let info = monitor::run_info();
/// let greenlets: usize = info.hubs.iter().map(|hub| hub.greenlets.len()).sum();
/// assert!(greenlets >= 2); // main, and the one that waits
/// eprintln!("{info}");
/// waits.join();
/// ```
pub fn run_info() -> RunInfo {
    Survey::default().take()
}

/// Runs `f`, in which this greenlet may block its hub without being reported, between suspensions too: for a computation
/// that is known to take long. Others that run while `f` is suspended are watched as ever.
///
/// ```
/// use greenlet_core::monitor::ignore_blocking;
/// use std::time::Duration;
///
/// ignore_blocking(|| std::thread::sleep(Duration::from_millis(1)));
/// ```
pub fn ignore_blocking<R>(f: impl FnOnce() -> R) -> R {
    struct Section;

    impl Drop for Section {
        fn drop(&mut self) {
            let Some(hub) = Hub::try_current() else { return };
            let vitals = &hub.shared.vitals;
            hub.may_block().set(hub.may_block().get().saturating_sub(1));
            if hub.may_block().get() == 0 {
                // What follows begins anew: the time in here does not count for it.
                vitals.ignored.add(1);
                vitals.may_block_at.store(u64::MAX, Ordering::Relaxed);
            }
        }
    }

    let _section = Hub::try_current().map(|hub| {
        let vitals = &hub.shared.vitals;
        hub.may_block().set(hub.may_block().get() + 1);
        // As long as nothing else happens, the monitor sees this without asking.
        vitals.may_block_at.store(vitals.progress(), Ordering::Relaxed);
        Section
    });
    f()
}

/// Why there is no backtrace of a greenlet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoBacktrace {
    /// It has no stack yet.
    #[error("the greenlet has not started")]
    NotStarted,
    /// It has no stack any more.
    #[error("the greenlet has ended")]
    Ended,
    /// Less than 8 KiB of its stack are left, too little to look at it.
    #[error("the greenlet has too little stack left to look at it")]
    NoRoom,
    /// Its hub did not answer within a second, since something blocks it; or the question came from where nobody may wait: from a
    /// callback of a loop, or a panic hook.
    #[error("the greenlet's hub does not answer")]
    Busy,
    /// Its hub has ended.
    #[error("the greenlet's hub has ended")]
    HubGone,
}

/// A hub was made on this thread.
pub(crate) fn hub_begins(hub: &HubRef, config: &Config) {
    if let Some(limit) = config.max_blocking {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1);
        hub.vitals.max_blocking.store(nanos, Ordering::Relaxed);
    }
    let process = process::process();
    process.add_hub(hub.clone());
    // With no hub to look at, the monitor sleeps for long.
    process.control.changed();
    if (config.monitored || settings::wanted_by_environment())
        && let Err(error) = start()
    {
        report::contain(|| tracing::warn!(target: "greenlet", %error, "the monitor cannot be started"));
    }
}

/// A hub ends with its thread.
pub(crate) fn hub_ends(hub: &HubShared) {
    process::process().remove_hub(hub);
}

/// Whether the monitor's thread might wake a greenlet: it calls subscribers and functions of the user's.
pub(crate) fn may_wake_somebody() -> bool {
    process::process().has_guests()
}

/// In a forked child, on the only thread that is left: forgets the hubs of the others, and starts the monitor anew if the
/// parent had started it.
pub(crate) fn restart_after_fork() -> io::Result<()> {
    if let Some(hub) = Hub::try_current() {
        hub.shared.vitals.belongs_to_this_thread();
    }
    thread::restart_after_fork()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::stack::tests::{finished, in_child};
    use crate::{run, sleep, spawn, yield_now};

    /// Whether somebody who blocks is reported.
    fn notices_who_blocks() -> bool {
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        let here = Hub::current().id();
        let _subscription = subscribe(move |notice| {
            if let Notice::Blocked(blocked) = notice
                && blocked.hub.id() == here
            {
                let _ = tell.lock().unwrap().send(blocked.greenlet.is_some());
            }
        });
        let blocks = spawn(move || told.recv_timeout(Duration::from_secs(30)).unwrap_or(false));
        blocks.get().unwrap()
    }

    #[test]
    fn a_forked_child_has_a_monitor_of_its_own() {
        let test = concat!(module_path!(), "::a_forked_child_has_a_monitor_of_its_own");
        let output = in_child(test, || {
            run(|| {
                Settings::default().max_blocking_time(Duration::from_millis(10)).start().unwrap();
                let other = Hub::thread("of the parent only").start().unwrap();
                let _waits = spawn(|| sleep(Duration::MAX));
                yield_now();
                assert!(notices_who_blocks());
                // SAFETY: the child goes on with what is safe after a fork of a process with threads under glibc (it may
                // allocate and make threads), and ends without running what the parent registered.
                match unsafe { libc::fork() } {
                    0 => {
                        restart_after_fork().unwrap();
                        let well = is_running() && hubs().len() == 1 && notices_who_blocks();
                        // SAFETY: it has no preconditions.
                        unsafe { libc::_exit(if well { 0 } else { 1 }) };
                    }
                    child => {
                        let mut status = -1;
                        // SAFETY: the child is ours, and the status is written to.
                        unsafe { libc::waitpid(child, &mut status, 0) };
                        assert_eq!(status, 0);
                    }
                }
                assert_eq!(hubs().len(), 2);
                assert!(notices_who_blocks());
                other.shutdown();
            });
        });
        finished(&output);
    }
}
