//! The monitor's thread: one for all hubs of the process.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::memory::{self, MemoryWatch};
use super::process::{Process, lock, process};
use super::settings::LEAST_BLOCKING;
use super::watch::{Mind, Verdict, Watch};
use super::{Backtrace, Blocked, Notice, Settings, ThreadState, capture, dump};
use crate::hub::{HubHandle, HubRef, SILENT_THREADS};
use crate::report;

/// The monitor never looks more often than that at anything but hubs.
const SHORTEST_NAP: Duration = Duration::from_millis(5);
/// With nothing to do it looks as often as that whether there is.
const LONGEST_NAP: Duration = Duration::from_secs(2);
/// How soon a signal that asks for a dump is seen.
const DUMP_NAP: Duration = Duration::from_millis(50);

/// How others speak to the monitor's thread.
#[derive(Default)]
pub(super) struct Control {
    orders: Mutex<Orders>,
    news: Condvar,
}

#[derive(Default)]
struct Orders {
    /// None: nobody asked it to watch. It may run all the same, to dump on a signal.
    settings: Option<Settings>,
    dumps: bool,
    /// Something is new: the monitor need not sleep.
    changed: bool,
    /// Its thread. One that finds another number here ends.
    number: u64,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    pub(super) fn changed(&self) {
        lock(&self.orders).changed = true;
        self.news.notify_all();
    }

    /// Makes the thread if there is something to do and none does it.
    fn order(&'static self, change: impl FnOnce(&mut Orders)) -> io::Result<()> {
        let mut orders = lock(&self.orders);
        change(&mut orders);
        orders.changed = true;
        if orders.thread.is_none() && (orders.settings.is_some() || orders.dumps) {
            orders.number += 1;
            let number = orders.number;
            let monitor = std::thread::Builder::new().name("greenlet-monitor".into());
            let watch = move || {
                SILENT_THREADS.fetch_add(1, Relaxed);
                watch(process(), number);
                SILENT_THREADS.fetch_sub(1, Relaxed);
            };
            orders.thread = Some(monitor.spawn(watch)?);
        }
        drop(orders);
        self.news.notify_all();
        Ok(())
    }

    pub(super) fn settings(&self) -> Option<Settings> {
        lock(&self.orders).settings.clone()
    }

    /// In a forked child: as the parent's, but without its thread.
    pub(super) fn renew(&self, old: &Control) -> Option<(Option<Settings>, bool)> {
        let old = old.orders.try_lock().ok()?;
        Some((old.settings.clone(), old.dumps))
    }
}

pub(super) fn start(settings: Settings) -> io::Result<()> {
    process().control.order(|orders| orders.settings = Some(settings))
}

pub(super) fn start_to_dump() -> io::Result<()> {
    process().control.order(|orders| orders.dumps = true)
}

/// Ends what [`start`] began. The thread goes on if it is there to dump on signals.
pub(super) fn stop() {
    let control = &process().control;
    let mut orders = lock(&control.orders);
    orders.settings = None;
    orders.changed = true;
    let thread = if orders.dumps { None } else { orders.thread.take() };
    if thread.is_some() {
        orders.number += 1;
    }
    drop(orders);
    control.news.notify_all();
    if let Some(thread) = thread
        && thread.thread().id() != std::thread::current().id()
    {
        // It contains the panics of others and has none of its own.
        let _ = thread.join();
    }
}

/// In a forked child, where only the calling thread is left: begins anew what the parent's monitor did.
pub(super) fn restart_after_fork() -> io::Result<()> {
    let old = process();
    capture::forget_questions();
    let new = old.renew();
    let Some((settings, dumps)) = new.control.renew(&old.control) else { return Ok(()) };
    new.control.order(|orders| {
        orders.settings = settings;
        orders.dumps = dumps;
    })
}

/// The body of the thread.
fn watch(process: &'static Process, number: u64) {
    let mut state = State::default();
    let mut told = false;
    let mut settings = process.control.settings();
    let mut woke = Instant::now();
    let mut overslept = Duration::ZERO;
    loop {
        let mut nap = LONGEST_NAP;
        if let Some(settings) = &settings {
            if !told {
                told = true;
                state.tell(process, settings, &Notice::Started);
            }
            nap = nap.min(state.look_at_hubs(process, settings, overslept));
            nap = nap.min(state.look_at_memory(process, settings));
            nap = nap.min(state.call_functions(process));
        }
        dump::write_those_asked_for();
        let begun = Instant::now();
        let mut orders = lock(&process.control.orders);
        if orders.dumps {
            nap = nap.min(DUMP_NAP);
        }
        if !orders.changed && orders.number == number {
            orders = match process.control.news.wait_timeout(orders, nap) {
                Ok((orders, _)) => orders,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        if orders.number != number {
            return;
        }
        orders.changed = false;
        settings = orders.settings.clone();
        told &= settings.is_some();
        drop(orders);
        // What functions and subscribers took counts as sleep too: meanwhile nobody looked.
        let now = Instant::now();
        let busy = begun - woke;
        overslept = (now - begun).saturating_sub(nap) + busy.saturating_sub(SHORTEST_NAP);
        woke = now;
    }
}

/// What the thread remembers between two looks.
#[derive(Default)]
struct State {
    watches: HashMap<u64, Watch>,
    memory: MemoryWatch,
    memory_due: Option<Instant>,
    /// When each function is due.
    due: HashMap<u64, (Instant, Duration)>,
}

impl State {
    fn tell(&self, process: &Process, settings: &Settings, notice: &Notice) {
        process.tell(notice);
        if settings.reports {
            report::contain(|| match notice {
                Notice::Started => tracing::debug!(target: "greenlet", "{notice}"),
                Notice::MemoryUnder { .. } => tracing::info!(target: "greenlet", "{notice}"),
                _ => tracing::warn!(target: "greenlet", "{notice}"),
            });
        }
    }

    /// Looks for hubs that are blocked. Returns when to look again.
    fn look_at_hubs(&mut self, process: &Process, settings: &Settings, overslept: Duration) -> Duration {
        let mut nap = LONGEST_NAP;
        let Some(general) = settings.max_blocking else {
            self.watches.clear();
            return nap;
        };
        let hubs = process.hubs();
        self.watches.retain(|id, _| hubs.iter().any(|hub| hub.id == *id));
        for hub in hubs {
            let limit = match hub.vitals.max_blocking.load(Relaxed) {
                0 => general,
                own => Duration::from_nanos(own),
            };
            let limit = limit.max(LEAST_BLOCKING);
            nap = nap.min(limit / 2);
            self.look_at_hub(process, settings, hub, limit, overslept);
        }
        nap
    }

    fn look_at_hub(
        &mut self,
        process: &Process,
        settings: &Settings,
        hub: HubRef,
        limit: Duration,
        overslept: Duration,
    ) {
        let now = Instant::now();
        let progress = hub.vitals.progress();
        let at_rest = hub.is_closed()
            || hub.is_sleeping()
            || hub.vitals.over.load(Relaxed)
            || hub.vitals.may_block_at.load(Relaxed) == progress
            || !hub.vitals.anybody_waits();
        let mind = if at_rest { Mind::Nothing } else { Mind::Blocking };
        let watch = self.watches.entry(hub.id).or_insert_with(|| Watch::new(progress, now, limit));
        watch.overslept(overslept, now);
        let waited = match watch.look(progress, mind, now, limit) {
            Verdict::Fine => return,
            Verdict::Over(after) => {
                if settings.reports {
                    report::contain(
                        || tracing::info!(target: "greenlet", hub = hub.id, "went on after {after:.3?}"),
                    );
                }
                return;
            }
            Verdict::Blocked(waited) => waited,
        };
        let thread = hub.vitals.thread.load(Relaxed);
        // First, since the signal interrupts the system call.
        let thread_state = ThreadState::of(thread);
        let captured = settings.signal.and_then(|signal| capture::capture(thread, hub.id, signal));
        if hub.vitals.progress() != progress {
            return; // it went on just now
        }
        let (greenlet, backtrace) = match captured {
            Some(captured) if captured.progress != progress => return,
            Some(captured) if captured.may_block => return watch.tolerate(),
            Some(captured) => (captured.greenlet, captured.backtrace),
            None => (None, Backtrace::default()),
        };
        watch.reported(waited);
        let hub = HubHandle::new(hub);
        let blocked = Blocked { hub, greenlet, duration: waited, thread: thread_state, backtrace };
        self.tell(process, settings, &Notice::Blocked(blocked));
        // Names are looked up in debug information, which takes memory and is not needed soon again.
        backtrace::clear_symbol_cache();
    }

    fn look_at_memory(&mut self, process: &Process, settings: &Settings) -> Duration {
        let Some(limit) = settings.max_memory else {
            self.memory_due = None;
            return LONGEST_NAP;
        };
        let period = settings.memory_period.max(SHORTEST_NAP);
        let now = Instant::now();
        // A period that was shortened meanwhile counts at once.
        let due =
            self.memory_due.map_or(now, |due| now.checked_add(period).map_or(due, |latest| due.min(latest)));
        if due > now {
            self.memory_due = Some(due);
            return due - now;
        }
        if let Some(notice) = memory::resident().and_then(|used| self.memory.look(used, limit)) {
            self.tell(process, settings, &notice);
        }
        self.memory_due = now.checked_add(period);
        period
    }

    /// Calls the functions whose time has come. The first time comes after a period.
    fn call_functions(&mut self, process: &Process) -> Duration {
        let mut nap = LONGEST_NAP;
        let functions = process.functions();
        self.due.retain(|id, _| functions.iter().any(|(other, ..)| other == id));
        for (id, period, function) in functions {
            let period = period.max(SHORTEST_NAP);
            let now = Instant::now();
            // A period beyond the end of time is never over.
            let Some(next) = now.checked_add(period) else { continue };
            let due = self.due.entry(id).or_insert((next, period));
            if due.1 != period {
                *due = (next, period);
            }
            if due.0 <= now {
                *due = (next, period);
                if !report::contain(|| lock(&function)()) {
                    report::error(format_args!("a monitoring function panicked"));
                }
            }
            nap = nap.min(due.0.saturating_duration_since(Instant::now()));
            report::contain(|| drop(function));
        }
        nap.max(SHORTEST_NAP)
    }
}
