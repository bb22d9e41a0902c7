//! Passing time and turns.

use std::time::Duration;

use crate::greenlet::GreenletRef;
use crate::hub::{Context, Deadline, Hub, Resume, WakeTimer, blocked_in_loop, context};

/// Suspends the current greenlet for at least `duration`; zero is [`yield_now`], and [`Duration::MAX`] is for ever.
///
/// Kills and timeouts reach the greenlet here. On a thread without a hub this is [`std::thread::sleep`].
///
/// ```
/// use greenlet_core::{joinall, sleep, spawn};
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// let naps: Vec<_> = (0..100).map(|_| spawn(|| sleep(Duration::from_millis(20)))).collect();
/// joinall(&naps);
/// assert!(start.elapsed() < Duration::from_secs(2)); // all at once, on one thread
/// ```
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        return yield_now();
    }
    match context() {
        Context::Greenlet(hub, current) => {
            let timer = WakeTimer::start(hub, current, &mut Deadline::After(duration));
            // Without an end it is meant to be so, and counts like a timer.
            let _counted = timer.never_fires().then(|| hub.counted());
            loop {
                hub.note_wait(current, "sleep", 0);
                match hub.park(current) {
                    Resume::Woken if timer.fired() => return,
                    Resume::Woken => {}
                    Resume::Raised => {
                        drop(timer);
                        hub.throw_pending(current);
                    }
                }
            }
        }
        Context::Thread => std::thread::sleep(duration),
        Context::Loop => blocked_in_loop(),
    }
}

/// Lets every greenlet run that is ready now, then goes on: gevent's `sleep(0)`.
///
/// Kills and timeouts reach the greenlet here. On a thread without a hub this is [`std::thread::yield_now`].
#[inline(always)]
pub fn yield_now() {
    match context() {
        Context::Greenlet(hub, current) => yield_in(hub, current),
        Context::Thread => std::thread::yield_now(),
        Context::Loop => blocked_in_loop(),
    }
}

#[inline(always)]
fn yield_in(hub: &Hub, current: std::ptr::NonNull<crate::greenlet::raw::Header>) {
    hub.schedule(current);
    if hub.park(current) == Resume::Raised {
        hub.throw_pending(current);
    }
}

/// Lets `next` run now, ahead of all others that are ready, and goes on when it has suspended or ended: gevent's `greenlet.switch()`.
///
/// For who needs what `next` does at once, most of all a greenlet spawned just before: it saves both of them a wait for their turn. If `next`
/// is not ready, or belongs to another thread, this is [`yield_now`]. Two greenlets that yield to each other all the time let nobody else run.
///
/// The hub looks at timers, kills and the outside no later than otherwise, but in their turn: what `next` does to this greenlet, such as to kill
/// it, comes at its next wait. On a thread without a hub this is [`std::thread::yield_now`].
///
/// ```
/// use greenlet_core::{spawn, yield_to};
///
/// let others: Vec<_> = (0..10).map(|_| spawn(|| ())).collect();
/// let urgent = spawn(|| 42);
/// yield_to(&urgent);
/// assert_eq!(urgent.value(), Some(&42));
/// assert!(others.iter().all(|other| !other.ready()));
/// ```
pub fn yield_to(next: &GreenletRef) {
    let Context::Greenlet(hub, current) = context() else { return yield_now() };
    if hub.run_inside(next.header(), current) {
        return;
    }
    hub.schedule_behind(next.header(), current);
    if hub.park(current) == Resume::Raised {
        hub.throw_pending(current);
    }
}
