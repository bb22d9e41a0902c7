//! What the process knows of its hubs and of who wants to hear about them.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Notice;
use super::thread::Control;
use crate::hub::{HubRef, HubShared};
use crate::report;

type Subscriber = Arc<dyn Fn(&Notice) + Send + Sync>;
pub(super) type Function = Arc<Mutex<dyn FnMut() + Send>>;

/// Leaked, and replaced in a forked child: there the locks may be held by threads that are no more.
#[derive(Default)]
pub(super) struct Process {
    hubs: Mutex<Vec<HubRef>>,
    subscribers: Mutex<Vec<(u64, Subscriber)>>,
    functions: Mutex<Vec<(u64, Duration, Function)>>,
    pub(super) control: Control,
}

static PROCESS: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A panic under one of these locks leaves nothing half done.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn process() -> &'static Process {
    let mut process = PROCESS.load(Ordering::Acquire);
    if process.is_null() {
        let new = Box::into_raw(Box::<Process>::default());
        match PROCESS.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => process = new,
            Err(other) => {
                // SAFETY: nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
                process = other;
            }
        }
    }
    // SAFETY: what was stored there is leaked.
    unsafe { &*process }
}

impl Process {
    pub(super) fn hubs(&self) -> Vec<HubRef> {
        lock(&self.hubs).clone()
    }

    pub(super) fn add_hub(&self, hub: HubRef) {
        lock(&self.hubs).push(hub);
    }

    pub(super) fn remove_hub(&self, hub: &HubShared) {
        let mut hubs = lock(&self.hubs);
        let removed = hubs.iter().position(|other| ptr::eq(&**other, hub)).map(|at| hubs.remove(at));
        drop(hubs);
        drop(removed);
    }

    /// Tells everybody. A panic of theirs is reported.
    pub(super) fn tell(&self, notice: &Notice) {
        let subscribers = lock(&self.subscribers).clone();
        for (_, subscriber) in subscribers {
            if !report::contain(|| subscriber(notice)) {
                report::error(format_args!("a subscriber of the monitor panicked"));
            }
            report::contain(|| drop(subscriber));
        }
    }

    /// Whether the monitor's thread calls anything of the user's, which might wake somebody.
    pub(super) fn has_guests(&self) -> bool {
        !lock(&self.subscribers).is_empty() || !lock(&self.functions).is_empty()
    }

    pub(super) fn functions(&self) -> Vec<(u64, Duration, Function)> {
        lock(&self.functions).clone()
    }

    /// In a forked child: all that can be had, in a new place. Only the calling thread is there, and its hub.
    pub(super) fn renew(&self) -> &'static Process {
        let new = Process::default();
        let here = |hub: &HubRef| hub.is_current();
        if let Ok(hubs) = self.hubs.try_lock() {
            // The others are not dropped: their threads are gone, and with them whatever they were about to do to them.
            *lock(&new.hubs) = hubs.iter().filter(|hub| here(hub)).cloned().collect();
        }
        if let Ok(subscribers) = self.subscribers.try_lock() {
            *lock(&new.subscribers) = subscribers.clone();
        }
        if let Ok(functions) = self.functions.try_lock() {
            *lock(&new.functions) = functions.clone();
        }
        let new = Box::into_raw(Box::new(new));
        PROCESS.store(new, Ordering::Release);
        // SAFETY: leaked just now.
        unsafe { &*new }
    }
}

/// Keeps a subscriber; dropping it ends the subscription. Made by [`subscribe`](super::subscribe).
#[derive(Debug)]
#[must_use = "the subscription ends when this is dropped"]
pub struct Subscription(u64);

/// Keeps a function that the monitor calls; dropping it ends that. Made by [`every`](super::every).
#[derive(Debug)]
#[must_use = "the function is called no more when this is dropped"]
pub struct MonitoringFunction(u64);

/// A monitoring function cannot be called all the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the period of a monitoring function must be longer than zero")]
pub struct ZeroPeriod;

/// Tells `subscriber` what the monitor notices, until the returned guard is dropped.
///
/// It is called on the monitor's thread, before the report goes to `tracing`; while it runs, the monitor watches nothing. If
/// it panics, that is reported, and the others are told all the same. It hears nothing unless the monitor
/// [runs](super::start).
///
/// ```
/// use greenlet_core::monitor::{self, Notice};
///
/// let subscription = monitor::subscribe(|notice| {
///     if let Notice::Blocked(blocked) = notice {
///         eprintln!("{blocked}");
///     }
/// });
/// # drop(subscription);
/// ```
pub fn subscribe(subscriber: impl Fn(&Notice) + Send + Sync + 'static) -> Subscription {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    lock(&process().subscribers).push((id, Arc::new(subscriber)));
    Subscription(id)
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut subscribers = lock(&process().subscribers);
        let removed = subscribers.iter().position(|(id, _)| *id == self.0).map(|at| subscribers.remove(at));
        drop(subscribers);
        // Dropped after the lock: it owns user's data.
        drop(removed);
    }
}

/// Calls `function` on the monitor's thread once in each `period`, while the monitor [runs](super::start) and until the
/// returned guard is dropped: gevent's `add_monitoring_function`.
///
/// Periods of less than 5 ms count as that. While it runs, the monitor watches nothing. If it panics, that is reported, and
/// it is called again in its time. It sees the process's hubs by [`hubs`](super::hubs).
///
/// # Errors
/// [`ZeroPeriod`].
pub fn every(
    period: Duration,
    function: impl FnMut() + Send + 'static,
) -> Result<MonitoringFunction, ZeroPeriod> {
    if period.is_zero() {
        return Err(ZeroPeriod);
    }
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    lock(&process().functions).push((id, period, Arc::new(Mutex::new(function))));
    process().control.changed();
    Ok(MonitoringFunction(id))
}

impl MonitoringFunction {
    /// Calls it at another pace from now on.
    ///
    /// # Errors
    /// [`ZeroPeriod`].
    pub fn set_period(&self, period: Duration) -> Result<(), ZeroPeriod> {
        if period.is_zero() {
            return Err(ZeroPeriod);
        }
        if let Some(function) = lock(&process().functions).iter_mut().find(|(id, ..)| *id == self.0) {
            function.1 = period;
        }
        process().control.changed();
        Ok(())
    }
}

impl Drop for MonitoringFunction {
    fn drop(&mut self) {
        let mut functions = lock(&process().functions);
        let removed = functions.iter().position(|(id, ..)| *id == self.0).map(|at| functions.remove(at));
        drop(functions);
        drop(removed);
    }
}
