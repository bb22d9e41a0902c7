//! For libraries that run things of their own on greenlets: several, one after another, on the same one.
//!
//! An actor is such a thing: it has a greenlet only while it handles messages. These are the few words with which a library makes
//! the greenlet look like the thing that it runs.

pub mod memory;

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::failure::Failure;
use crate::greenlet::GreenletRef;
use crate::greenlet::raw::{Phase, Plain};
use crate::hub::{self, Context, ErrorContext, Hub, HubHandle, Instant, Resume, WakeTimer};

/// A word that the current greenlet keeps for the library, 0 at first: what it is running. It says nothing to anybody else.
///
/// 0 on threads without a hub, and in callbacks of the loop.
#[inline]
pub fn tag() -> usize {
    match hub::context() {
        // SAFETY: the running greenlet is alive.
        Context::Greenlet(_, current) => unsafe { current.as_ref() }.local.tag.get(),
        Context::Loop | Context::Thread => 0,
    }
}

/// Sets the [`tag`], and returns what it was. Without a greenlet it does nothing.
///
/// # Safety
/// A library may take the tag for the address of something of its own. So it is set by one library in a program, on greenlets that it runs itself, and to
/// what is alive as long as it is set.
#[inline]
pub unsafe fn set_tag(tag: usize) -> usize {
    match hub::context() {
        // SAFETY: the running greenlet is alive.
        Context::Greenlet(_, current) => unsafe { current.as_ref() }.local.tag.replace(tag),
        Context::Loop | Context::Thread => 0,
    }
}

/// Drops what the current greenlet has for itself, as at its end: the values of [`greenlet_local!`](crate::greenlet_local). The next
/// thing that runs on it finds nothing of the last one's. May suspend, where a destructor does.
#[inline]
pub fn forget_locals() {
    if let Context::Greenlet(_, current) = hub::context() {
        // SAFETY: the running greenlet is alive.
        unsafe { current.as_ref() }.drop_locals();
    }
}

/// Suspends the current greenlet until it is [unparked](unpark): the cheapest way to wait, for who keeps account of whom to wake by itself. May come back
/// without that, so the caller looks again and again at what it waits for. `what` names the wait in the run info.
///
/// Kills and timeouts reach the greenlet here. A thread without a hub is parked as by [`std::thread::park`].
///
/// # Panics
/// In a callback of the loop.
#[inline(always)]
pub fn park(what: &'static str) {
    match hub::context() {
        Context::Greenlet(hub, current) => {
            hub.note_wait(current, what, 0);
            if hub.park(current) == Resume::Raised {
                hub.throw_pending(current);
            }
        }
        Context::Thread => std::thread::park(),
        Context::Loop => hub::blocked_in_loop(),
    }
}

/// As [`park`], for at most `timeout`, which begins when the loop next looks at the clock: on a busy hub it is longer by up to the time between two
/// looks. True if it has passed.
pub fn park_timeout(what: &'static str, timeout: Duration) -> bool {
    match hub::context() {
        Context::Greenlet(hub, current) => {
            let timer = WakeTimer::start_late(hub, current, timeout);
            hub.note_wait(current, what, 0);
            if hub.park(current) == Resume::Raised {
                drop(timer);
                hub.throw_pending(current);
            }
            timer.fired()
        }
        Context::Thread => {
            let begun = Instant::now();
            std::thread::park_timeout(timeout);
            begun.elapsed() >= timeout
        }
        Context::Loop => hub::blocked_in_loop(),
    }
}

/// Wakes a greenlet of this thread that is [parked](park). One that runs, or is ready, finds the wake-up at its next `park`; in any other wait
/// it changes nothing. Greenlets of other threads are not woken.
#[inline]
pub fn unpark(greenlet: &GreenletRef) {
    if let Some(hub) = greenlet.home_hub()
        && greenlet.header_ref().local.phase.get() == Phase::Started
    {
        hub.schedule(greenlet.header());
    }
}

/// Wakes a greenlet as [`unpark`] does, and runs it at once if that can be, until it suspends or ends: ahead of all others, from within the current one. Otherwise,
/// if that one is the main greenlet, or if the loop has to look around first, or must be in between (where switches are watched), it runs in its turn. In a simulation the
/// seed decides, except that with [`Order::Fifo`](crate::sim::Order::Fifo) it runs at once.
#[inline]
pub fn unpark_now(greenlet: &GreenletRef) {
    if let Context::Greenlet(hub, current) = hub::context()
        && greenlet.home_hub().is_some()
        && hub.wake_inside(greenlet.header(), current)
    {
        return;
    }
    unpark(greenlet);
}

/// Runs destructors of what ran on the current greenlet, as those of a greenlet that is past its code are run: a kill, or whatever else is raised in
/// the greenlet, waits until `f` has returned, and comes where the greenlet suspends next. A [`with_timeout`](crate::with_timeout) inside works; nothing else ends a
/// wait there.
#[inline]
pub fn undisturbed<R>(f: impl FnOnce() -> R) -> R {
    let Context::Greenlet(_, current) = hub::context() else { return f() };
    // SAFETY: the running greenlet is alive, and so it is when `f` returns to it.
    let undisturbed = unsafe { &current.as_ref().local.undisturbed };
    let _restored = Restored(undisturbed, undisturbed.replace(true));
    f()
}

/// A flag that gets its value back.
struct Restored<'a>(&'a Cell<bool>, bool);

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Whether something waits to be raised in the current greenlet, as a kill that came while it was [undisturbed] does: it comes at the next suspension.
pub fn has_raises() -> bool {
    match hub::context() {
        // SAFETY: the running greenlet is alive.
        Context::Greenlet(_, current) => unsafe { current.as_ref() }.local.has_raises.get(),
        Context::Loop | Context::Thread => false,
    }
}

/// Whether the main greenlet of a hub runs, and not its loop: until it waits, nothing that others hand to that hub is looked at. From any thread; a look at a moment,
/// which may be over already.
#[inline]
pub fn runs_main(hub: &HubHandle) -> bool {
    hub.shared().runs_main()
}

/// Spawns a greenlet and runs it until it suspends or ends, ahead of all others: [`spawn`](crate::spawn) and [`yield_to`](crate::yield_to) in one, at a fraction of the price. If it
/// suspended, that is it; `None`: it has ended.
///
/// The greenlet is as all others. A failure is reported.
///
/// # Errors
/// Gives `f` back, and nothing was done, where the loop has to look around first or must be in between, for the main greenlet, where [spawns are watched](crate::add_spawn_callback), and sometimes otherwise. Who
/// gets it back spawns by `spawn`.
#[inline]
#[track_caller]
pub fn spawn_inside<F: FnOnce() + 'static>(f: F) -> Result<Option<GreenletRef>, F> {
    match hub::context() {
        Context::Greenlet(hub, current) => {
            hub.spawn_inside(current, Location::caller(), Plain(f)).map_err(|Plain(f)| f)
        }
        Context::Loop | Context::Thread => Err(f),
    }
}

/// The current greenlet is one of a library's own, which waits for work as long as its hub lives: whoever waits until all greenlets
/// have ended ([`Hub::join`], [`HubThread::join`](crate::HubThread::join)) does not wait for it. The end of the hub kills it as any other.
pub fn become_service() {
    if let Context::Greenlet(_, current) = hub::context() {
        // SAFETY: the running greenlet is alive.
        unsafe { current.as_ref() }.local.is_service.set(true);
    }
}

/// What a library runs on a hub by its [services](become_service), for those who wait until nothing is left to do there.
pub trait Service {
    /// Whether something is left.
    fn is_busy(&self) -> bool;
    /// Waits until nothing is left, or somewhat less long.
    fn join(&self);
    /// The hub ends its greenlets: what they are the library's for is to end too. Called in the main greenlet, before each round of
    /// kills; greenlets that are spawned here have had their first turn when they are killed. It must not wait.
    fn end(&self) {}
}

/// Adds to what the current thread's hub has to do before it is done. It is kept until the hub ends.
pub fn add_service(service: Rc<dyn Service>) {
    Hub::current_hub().services.borrow_mut().push(service);
}

/// Reports the failure of something that ran on a greenlet, as that of a greenlet is: to the hub's
/// [error handler](Hub::set_error_handler), or through `tracing`. Once for each failure.
#[cold]
pub fn report_failure(what: impl fmt::Display, failure: &Failure) {
    let context = ErrorContext::Other(Arc::from(what.to_string()));
    match Hub::try_current() {
        Some(hub) => hub.handle_error(&context, failure),
        None if failure.claim_report() => context.report(failure),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::{attempt, greenlet_local, run, spawn, yield_now};

    greenlet_local! {
        static SEEN: RefCell<u32> = RefCell::new(0);
    }

    #[test]
    fn who_is_parked_goes_on_when_unparked_and_not_before() {
        run(|| {
            let done = Rc::new(std::cell::Cell::new(false));
            let parked = spawn({
                let done = done.clone();
                move || {
                    while !done.get() {
                        park("test");
                    }
                }
            });
            yield_now();
            unpark(&parked);
            yield_now();
            assert!(!parked.ready(), "it looks again and again");
            done.set(true);
            unpark(&parked);
            yield_now();
            assert!(parked.ready());
            unpark(&parked); // changes nothing
            let killed = spawn(|| park("test"));
            yield_now();
            killed.kill();
            assert!(killed.exited());
            unpark(&killed);
            assert!(spawn(|| park_timeout("test", Duration::from_millis(1))).get().unwrap());
            yield_now();
        });
    }

    #[test]
    fn each_greenlet_has_its_own_tag() {
        run(|| {
            let first = spawn(|| {
                // SAFETY: nobody here takes it for an address.
                assert_eq!(unsafe { set_tag(7) }, 0);
                yield_now();
                tag()
            });
            let second = spawn(tag);
            assert_eq!((first.get().unwrap(), second.get().unwrap(), tag()), (7, 0, 0));
        });
        // SAFETY: as above.
        assert_eq!(unsafe { set_tag(0) }, 0, "a thread that has a hub has main's");
    }

    #[test]
    fn what_was_forgotten_is_made_anew() {
        run(|| {
            spawn(|| {
                SEEN.with(|seen| *seen.borrow_mut() = 5);
                forget_locals();
                SEEN.with(|seen| assert_eq!(*seen.borrow(), 0));
                forget_locals();
            })
            .get()
            .unwrap();
        });
    }

    #[test]
    fn who_is_undisturbed_hears_of_a_kill_afterwards() {
        run(|| {
            let (go, log) = (Rc::new(crate::Event::new()), Rc::new(RefCell::new(Vec::new())));
            let (waits, noted) = (go.clone(), log.clone());
            let greenlet = spawn(move || {
                undisturbed(|| {
                    undisturbed(|| ());
                    waits.wait();
                    noted.borrow_mut().push("waited");
                    let limited = crate::with_timeout(Duration::from_millis(1), || park("test"));
                    assert!(limited.is_err());
                    yield_now();
                });
                noted.borrow_mut().push("over");
                yield_now();
                noted.borrow_mut().push("never");
            });
            yield_now();
            let killed = greenlet.clone();
            let killer = spawn(move || killed.kill());
            for _ in 0..3 {
                yield_now();
            }
            assert!(!greenlet.ready() && log.borrow().is_empty());
            go.set();
            killer.join();
            assert!(greenlet.exited());
            assert_eq!(*log.borrow(), ["waited", "over"]);
        });
    }

    #[test]
    fn a_section_that_fails_is_over() {
        run(|| {
            let greenlet = spawn(|| {
                assert!(attempt(|| undisturbed(|| crate::raise(std::fmt::Error))).is_err());
                park("test");
            });
            yield_now();
            greenlet.kill();
            assert!(greenlet.exited());
        });
    }

    #[test]
    fn a_failure_is_reported_once_and_in_the_words_of_the_library() {
        run(|| {
            let reports = Rc::new(RefCell::new(Vec::new()));
            let noted = reports.clone();
            Hub::set_error_handler(move |context, failure| {
                noted.borrow_mut().push(format!("{context}: {failure}"));
            });
            let Err(crate::GreenletError::Failed(failure)) = attempt(|| crate::raise(std::fmt::Error)) else {
                panic!("it failed")
            };
            report_failure("a thing", &failure);
            report_failure("another thing", &failure);
            Hub::reset_error_handler();
            assert_eq!(reports.take(), [format!("a thing: {failure}")]);
        });
    }
}
