//! When nothing is ready: waiting for that ([`idle`], [`Hub::join`]), sleeping, and seeing that nothing will ever come.

use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Context, Deadline, Hub, Nanos, Resume, TimerAction, WakeTimer, blocked_in_loop, context};
use crate::greenlet::GreenletRef;
use crate::greenlet::raw::Header;
use crate::lock::Lock;
use crate::monitor;
use crate::raise::Raised;
use crate::report;
use crate::wait::{WaitList, wait};

/// Raised in a thread's main greenlet that waits while nothing is left that could wake anybody: gevent's `LoopExit`.
///
/// That is when no greenlet is ready, no timer is pending, nobody waits for a descriptor, and no
/// [watcher](crate::watcher) that counts is active; and when nobody else could come: the thread is the only one of its process, or
/// its hub was promised to be [isolated](crate::Config::isolated). As long as there are other threads it is not raised,
/// since they might wake the hub; see [`Config::idle_report`](crate::Config::idle_report) for that case.
///
/// A handler of a [signal](crate::signal) does not count either, though a signal may come: who waits for one uses
/// [`signal::wait`](crate::signal::wait), which counts, or [`ShutdownOn::run`](crate::signal::ShutdownOn::run).
///
/// A greenlet that sleeps without an end ([`Duration::MAX`](std::time::Duration::MAX)) means to, and counts as a timer does.
///
/// Only main hears of it. The other greenlets stay suspended, and the hub can be used as before: main may catch it, and
/// do something that wakes them.
///
/// ```no_run
/// // In a program whose only thread is this one:
/// use greenlet_core::{Event, LoopExit, catch};
///
/// let raised = catch(|| Event::new().wait()).unwrap_err();
/// assert!(raised.is::<LoopExit>());
/// println!("{raised}"); // names who waits
/// ```
#[derive(Clone, Debug)]
pub struct LoopExit {
    waiting: String,
}

impl fmt::Display for LoopExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this would block forever: nothing is left that could wake one of those who wait:{}",
            self.waiting
        )
    }
}

impl std::error::Error for LoopExit {}

/// Suspends the current greenlet until the hub has nothing else to do: no greenlet is ready, and neither descriptors nor
/// timers nor other threads have anything new. gevent's `idle`.
///
/// Several that are idle take turns, each when nothing is ready again. Kills and timeouts reach the greenlet here. On a
/// thread without a hub this is [`std::thread::yield_now`].
///
/// ```
/// use greenlet_core::{idle, spawn, yield_now};
///
/// let busy = spawn(|| (0..100).for_each(|_| yield_now()));
/// idle();
/// assert!(busy.ready());
/// ```
pub fn idle() {
    match context() {
        Context::Loop => blocked_in_loop(),
        Context::Thread => std::thread::yield_now(),
        Context::Greenlet(hub, _) => drop(wait("idle", hub.idlers.lock(), |list| list, (), Deadline::Never)),
    }
}

/// Those who wait until nothing is ready.
pub(super) type Idlers = Lock<WaitList<()>>;

/// What main waits for in [`Hub::join`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Joining {
    No,
    Waiting,
    Done,
}

/// Something that will do something, some day: as long as it is there, a wait may end. Not counted are timers, and
/// descriptors that are waited for: the hub knows of them.
pub(crate) struct Counted<'a>(&'a Hub);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.discount();
    }
}

impl Hub {
    pub(crate) fn count(&self) {
        self.counted.set(self.counted.get() + 1);
    }

    pub(crate) fn discount(&self) {
        self.counted.set(self.counted.get() - 1);
    }

    /// Counts until it is dropped.
    pub(crate) fn counted(&self) -> Counted<'_> {
        self.count();
        Counted(self)
    }

    /// A timer that keeps nothing alive was set, or is gone.
    pub(crate) fn change_uncounted_timers(&self, by: isize) {
        self.uncounted_timers.set(self.uncounted_timers.get().wrapping_add_signed(by));
    }

    /// Waits until nothing is left to do on this thread's hub: all greenlets have ended, those of
    /// [`spawn_later`](crate::spawn_later) and those that are spawned meanwhile among them, and no
    /// [watcher](crate::watcher) that counts is active. gevent's `hub.join()` and `wait()`.
    ///
    /// It also returns where [`LoopExit`] would be raised otherwise: when the greenlets that are left can never be woken. A pending
    /// [`Timeout`](crate::Timeout) is nothing to wait for. May be called again and again. A kill or timeout of main ends the
    /// wait, and does nothing to the greenlets.
    ///
    /// # Panics
    /// When called inside a greenlet or a callback: only the thread's own stack waits for all of them.
    ///
    /// ```
    /// use greenlet_core::{Hub, sleep, spawn};
    /// use std::time::Duration;
    ///
    /// let inner = || sleep(Duration::from_millis(2));
    /// let outer = spawn(move || drop(spawn(inner)));
    /// Hub::join();
    /// assert!(outer.ready());
    /// ```
    #[track_caller]
    pub fn join() {
        Hub::join_until(Deadline::Never);
    }

    /// As [`join`](Hub::join), for at most `timeout`. True if nothing was left.
    ///
    /// # Panics
    /// As [`join`](Hub::join).
    #[track_caller]
    pub fn join_timeout(timeout: Duration) -> bool {
        Hub::join_until(Deadline::After(timeout))
    }

    #[track_caller]
    fn join_until(mut deadline: Deadline) -> bool {
        let hub = Hub::current_hub();
        let main = hub.main_greenlet();
        assert!(
            hub.current_greenlet() == Some(main),
            "`Hub::join` belongs to the thread's own stack, not inside a greenlet or a callback"
        );
        struct Join<'a>(&'a Hub);
        impl Drop for Join<'_> {
            fn drop(&mut self) {
                self.0.joining.set(Joining::No);
                self.0.change_uncounted_timers(-1);
            }
        }
        let fixed = deadline.fix();
        // Its own timer does not keep anything alive.
        hub.change_uncounted_timers(1);
        let join = Join(hub);
        let far = fixed.unwrap_or(Nanos(u64::MAX));
        let timer = WakeTimer::start(hub, main, &mut Deadline::At(far));
        hub.joining.set(Joining::Waiting);
        loop {
            hub.note_wait(main, "Hub::join", 0);
            match hub.park(main) {
                Resume::Woken if hub.joining.get() == Joining::Done => return true,
                Resume::Woken if timer.fired() => return false,
                Resume::Woken => {}
                Resume::Raised => {
                    drop(timer);
                    drop(join);
                    hub.throw_pending(main);
                }
            }
        }
    }

    /// Whether there is nothing to join.
    fn nothing_left(&self) -> bool {
        let starts =
            |action: &TimerAction| matches!(action, TimerAction::Start(greenlet) if !greenlet.ready());
        // SAFETY: live greenlets are held by the hub.
        let is_service = |header: &NonNull<Header>| unsafe { header.as_ref() }.local.is_service.get();
        self.live.borrow().iter().all(is_service)
            && !self.services.borrow().iter().any(|service| service.is_busy())
            && self.counted.get() == 0
            && !self.shared.has_arrivals()
            && !self.timers.borrow().values().any(starts)
    }

    /// Whether nothing that the hub knows of could ever wake anybody; only other threads could.
    fn is_stuck(&self) -> bool {
        self.timers.borrow().len() == self.uncounted_timers.get()
            && self.counted.get() == 0
            && !self.sources.anybody_waits()
    }

    /// Nothing is ready: ends what waits for that. True if somebody is ready now.
    pub(super) fn end_join(&self) -> bool {
        if self.joining.get() != Joining::Waiting || !self.nothing_left() {
            return false;
        }
        self.joining.set(Joining::Done);
        self.schedule(self.main);
        true
    }

    /// Nothing is ready, and nothing new has come from outside. True if somebody waits for that.
    pub(super) fn wake_idler(&self) -> bool {
        let first = self.idlers.lock().notify_first(|_| ());
        first.map(|((), wakeup)| wakeup.wake()).is_some()
    }

    pub(super) fn has_idlers(&self) -> bool {
        !self.idlers.lock().is_empty()
    }

    /// Nothing is ready: sleeps until something comes, or until `next`, when a timer is due.
    pub(super) fn sleep(&self, next: Option<Nanos>) {
        let stuck = self.is_stuck();
        if stuck && self.config.isolated && self.give_up() {
            return;
        }
        let mut checks = if stuck && !self.config.isolated { &CHECKS[..] } else { &[] };
        let begin = Nanos::now();
        let mut report_at = self.config.idle_report.and_then(|after| begin.checked_add(after));
        let mut check_at = None;
        loop {
            let now = Nanos::now();
            if check_at.is_none()
                && let Some((after, rest)) = checks.split_first()
            {
                check_at = now.checked_add(*after);
                checks = rest;
            }
            let until = [next, report_at, check_at].into_iter().flatten().min();
            if !self.shared.prepare_sleep() {
                return;
            }
            self.publish();
            self.poll(until.map(|until| until.since(now)));
            let before = now;
            let now = Nanos::now();
            self.shared.vitals.slept(before, now);
            self.take_arrivals();
            let over = |at: Option<Nanos>| at.is_some_and(|at| at <= now);
            // Before its time something woke it, or nothing did: whoever called looks.
            if !self.ready.is_empty() || !over(until) || over(next) {
                return;
            }
            if over(check_at) {
                check_at = None;
                // A thread may have sent something as its last act, after the look above.
                if is_only_thread() && !self.shared.has_arrivals() && self.give_up() {
                    return;
                }
            }
            if over(report_at) {
                report_at = None;
                self.report_idle(now.since(begin));
            }
        }
    }

    /// Main joins the hub, and the greenlets that are left can never be woken.
    pub(super) fn end_hopeless_join(&self) -> bool {
        let joining = self.joining.get() == Joining::Waiting;
        if joining {
            self.joining.set(Joining::Done);
            self.schedule(self.main);
        }
        joining
    }

    /// Nobody will come. False if there is nobody to tell.
    fn give_up(&self) -> bool {
        if self.end_hopeless_join() {
            return true;
        }
        // SAFETY: main lives as long as the hub.
        let main = unsafe { &self.main.as_ref().local };
        let exit = LoopExit { waiting: self.list_waiting() };
        if main.shielded.get() || main.floor.get() > 0 {
            // Main ends its hub, or unwinds: it would not hear of it.
            if !self.stuck_reported.replace(true) {
                report::error(format_args!("{exit}"));
            }
            return false;
        }
        // SAFETY: as above.
        let main = unsafe { GreenletRef::retained(self.main) };
        self.raise_soon(main, Raised::new(exit));
        true
    }

    #[cold]
    fn report_idle(&self, time: Duration) {
        let waiting = self.list_waiting();
        report::contain(|| {
            tracing::warn!(
                target: "greenlet",
                hub = self.shared.id,
                "nothing has happened for {time:?}; these greenlets wait:{waiting}"
            );
        });
    }

    /// Who waits, a line for each, main first.
    pub(super) fn list_waiting(&self) -> String {
        let mut list = String::new();
        let live = self.live.borrow();
        let all = std::iter::once(&self.main).chain(live.iter());
        for header in all.take(MOST_LISTED) {
            list.push_str("\n    ");
            self.describe_waiting(*header, &mut list);
        }
        let more = (live.len() + 1).saturating_sub(MOST_LISTED);
        if more > 0 {
            list.push_str(&format!("\n    and {more} more"));
        }
        list
    }

    /// One who waits, and on what.
    fn describe_waiting(&self, header: NonNull<Header>, out: &mut String) {
        // SAFETY: main and live greenlets are held by the hub.
        let greenlet = unsafe { header.as_ref() };
        let _ = greenlet.describe_with_site(out);
        if let Some(wait) = self.waiting_of(header) {
            out.push_str(&format!(", waits: {}", wait.kind));
        }
    }
}

/// A list of more tells nobody anything.
const MOST_LISTED: usize = 50;

/// How long nothing must have come before the hub looks whether there is anybody who could, and again, and again.
/// After that it sleeps without a limit: threads that are still there belong to the program.
const CHECKS: [Duration; 3] = [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1)];

/// How many threads there are that never wake a hub: the monitor, unless it calls something of the user's.
pub(crate) static SILENT_THREADS: AtomicU64 = AtomicU64::new(0);

/// Whether the process has no other thread than this one that could wake a hub. False where that cannot be known.
fn is_only_thread() -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        let silent = if monitor::may_wake_somebody() { 0 } else { SILENT_THREADS.load(Ordering::Relaxed) };
        // The directory has a subdirectory for each thread, so it is linked to by each of them, by itself and its parent.
        std::fs::metadata("/proc/self/task").is_ok_and(|tasks| tasks.nlink() == 3 + silent)
    }
    #[cfg(not(target_os = "linux"))]
    false
}
