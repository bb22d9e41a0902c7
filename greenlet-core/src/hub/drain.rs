//! The end of a hub: its greenlets are ended first.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ready::Entry;
use super::shared::Arrival;
use super::timers::TimerHeap;
use super::{Config, ErrorContext, HUB, Hub, TimerAction, Worker};
use crate::failure::{End, Failure};
use crate::greenlet::raw::{Header, Phase};
use crate::greenlet::{GreenletRef, Kill};

use crate::raise::{GreenletExit, Raised};
use crate::report;
use crate::sleep::{sleep, yield_now};

/// How often a greenlet is killed that survives, before it is given up.
const KILLS: u32 = 32;
/// How long the kills wait for greenlets to get through their destructors: 1 ms at first, doubled up to this.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Runs `f` as the main greenlet of this thread, and ends what is left running: all greenlets of the thread that are still
/// alive when `f` returns or panics are killed, and `run` returns when their destructors have run.
///
/// It is what a thread's function (a test, a `thread::spawn`ed closure) puts around its body when it uses greenlets:
/// a thread other than the process's first one must not end while greenlets that started are alive, since their
/// stacks may hold references to the thread's `thread_local!`s. If it does all the same, the process is aborted with
/// a list of them. [`Hub::thread`] does this by itself.
///
/// A greenlet that catches every kill cannot be ended: it is reported, and left to the rule above.
///
/// In the process's first thread it is optional: when `main` returns, the remaining greenlets end with the process,
/// without running their destructors, as gevent does.
///
/// Destructors of `thread_local!`s run after all this. They must not wait for anything: that is a panic there, which aborts
/// the process.
///
/// # Panics
/// When called inside a greenlet, and when `f` panics. What is raised in `f` and not caught (by a kill of the main greenlet, a
/// [`Timeout`](crate::Timeout), a link) unwinds like a panic; it is reported through `tracing`, since no panic hook runs.
///
/// ```
/// use greenlet_core::{run, sleep, spawn};
/// use std::time::Duration;
///
/// std::thread::spawn(|| {
///     run(|| {
///         spawn(|| sleep(Duration::MAX)); // ends with `run`
///         spawn(|| "joined").get().unwrap()
///     })
/// })
/// .join()
/// .unwrap();
/// ```
#[track_caller]
pub fn run<R>(f: impl FnOnce() -> R) -> R {
    let hub = Hub::current_hub();
    assert!(
        hub.current_greenlet() == Some(hub.main_greenlet()),
        "`run` belongs to the thread's own stack, not inside a greenlet"
    );
    let result = catch_unwind(AssertUnwindSafe(f));
    if let Err(payload) = &result
        && let Some(raised) = payload.downcast_ref::<Raised>()
    {
        // No panic hook has run for it, so nobody has heard of it yet.
        // SAFETY: main lives as long as the hub.
        let main = unsafe { GreenletRef::retained(hub.main_greenlet()) };
        hub.handle_error(&ErrorContext::Greenlet(main), &Failure::from_raised(raised.clone()));
    }
    hub.drain();
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

impl Hub {
    /// Makes this thread's hub with these settings, before anything else makes it with the default ones.
    ///
    /// # Errors
    /// `AlreadyExists` if the thread has a hub; else what the system refused (descriptors for epoll and eventfd).
    #[track_caller]
    pub fn configure(config: Config) -> std::io::Result<()> {
        if Hub::try_current().is_some() {
            let message = "this thread has a hub already; configure it before the first spawn or wait";
            return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, message));
        }
        Hub::create(config).map(drop)
    }

    /// Those that were started and have not ended, and those that a timer will start.
    fn live_greenlets(&self) -> Vec<GreenletRef> {
        // SAFETY: live greenlets are held by the hub.
        let live = |&header: &NonNull<Header>| unsafe { GreenletRef::retained(header) };
        let mut greenlets: Vec<_> = self.live.borrow().iter().map(live).collect();
        let timers = self.timers.borrow();
        greenlets.extend(timers.values().filter_map(|action| match action {
            TimerAction::Start(greenlet) if !greenlet.ready() => Some(greenlet.clone()),
            _ => None,
        }));
        greenlets
    }

    /// The live greenlet (or main) with this id. It looks at all.
    pub(crate) fn live_greenlet(&self, id: u64) -> Option<GreenletRef> {
        let live = self.live.borrow();
        // SAFETY: live greenlets are held by the hub, and so is main.
        unsafe {
            let found = live.iter().chain([&self.main]).find(|header| header.as_ref().id == id)?;
            Some(GreenletRef::retained(*found))
        }
    }

    /// Waits until no greenlet is left, including those that are spawned meanwhile.
    pub(super) fn join_all_live(&self) {
        loop {
            let mut live = self.live_greenlets();
            live.retain(|greenlet| !greenlet.header_ref().local.is_service.get());
            let busy: Vec<_> =
                self.services.borrow().iter().filter(|service| service.is_busy()).cloned().collect();
            if live.is_empty() && busy.is_empty() && !self.shared.has_arrivals() {
                return;
            }
            live.iter().for_each(GreenletRef::join);
            busy.iter().for_each(|service| service.join());
            sleep(Duration::ZERO);
        }
    }

    /// Kills all greenlets, and those that they spawn meanwhile, until none is left. Runs in main.
    pub(super) fn drain(&self) {
        // SAFETY: main lives as long as the hub.
        let main = unsafe { &self.main.as_ref().local };
        // Whoever is linked to main, or killed it, must not throw it out of here.
        main.shielded.set(true);
        main.clear_raises();
        let mut wait = Duration::from_millis(1);
        for _ in 0..KILLS {
            // What other threads asked for before is done first.
            self.take_arrivals();
            self.end_services();
            let live = self.live_greenlets();
            for greenlet in &live {
                greenlet.kill_with(Kill::default().no_wait());
            }
            // Most end in their next turn; some have destructors that take a while.
            yield_now();
            if !self.live_greenlets().is_empty() {
                crate::join::joinall_timeout(&live, wait);
                sleep(Duration::from_micros(100));
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            // What was begun by a destructor is left to the next round.
            let busy = self.services.borrow().iter().any(|service| service.is_busy());
            if self.live_greenlets().is_empty() && !busy {
                break;
            }
        }
        let services = self.services.take();
        report::contain(|| drop(services));
        main.shielded.set(false);
        for survivor in self.live_greenlets() {
            report::error(format_args!("{survivor} survived every kill at the end of its hub"));
        }
    }
}

impl Hub {
    /// What libraries run here ends by itself, and sees to the rest when its greenlets are killed.
    fn end_services(&self) {
        let services = self.services.borrow().clone();
        if services.is_empty() {
            return;
        }
        for service in &services {
            report::contain(|| service.end());
        }
        yield_now();
    }
}

/// Owns the hub of a thread and ends it with the thread.
pub(super) struct Owner(*const Hub);

impl Owner {
    /// # Safety
    /// The pointer comes from `Box::into_raw`, and nobody else frees it.
    pub(super) unsafe fn new(hub: *const Hub) -> Owner {
        Owner(hub)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: ours until freed below.
        let hub = unsafe { &*self.0 };
        hub.thread_ends();
        if hub.has_started_greenlets() {
            return; // of the process's first thread: the process ends, and they with it
        }
        hub.cancel_the_rest();
        if hub.has_started_greenlets() {
            exit_with_live_greenlets(hub); // a destructor started them
        }
        HUB.set(ptr::null());
        // SAFETY: made by `Box::into_raw`; `HUB` does not show it any more, and no greenlet is left to use it.
        drop(unsafe { Box::from_raw(self.0.cast_mut()) });
    }
}

/// Puts `Hub::thread_ends` before the destructors of all thread-locals that were used so far: destructors run in the reverse
/// order of registration, and whatever a suspended greenlet refers to has been registered before this.
///
/// Thread-locals that are first used later come before it again, so the hub calls this again and again, but ever more rarely:
/// each call costs a few bytes until the thread ends.
pub(super) fn watch_thread_end() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::{c_int, c_void};

        unsafe extern "C" {
            // glibc's registration of a destructor for the calling thread, which std uses too.
            fn __cxa_thread_atexit_impl(
                destructor: extern "C" fn(*mut c_void),
                object: *mut c_void,
                dso: *mut c_void,
            ) -> c_int;
            static __dso_handle: u8;
        }

        extern "C" fn ends(_: *mut c_void) {
            if let Some(hub) = Hub::try_current() {
                hub.thread_ends();
            }
        }

        // SAFETY: the function has the signature that glibc documents, takes no object, and lives in this library, which is
        // what the handle names. Out of memory it returns an error, and the rule holds as far as without it.
        unsafe {
            __cxa_thread_atexit_impl(ends, ptr::null_mut(), (&raw const __dso_handle).cast_mut().cast());
        }
    }
}

/// The documented thread-exit rule: going on would leave stacks that refer to dead thread-locals.
fn exit_with_live_greenlets(hub: &Hub) -> ! {
    eprintln!("greenlet: a thread ended while these greenlets were alive:");
    for greenlet in hub.live_greenlets() {
        eprintln!("    {greenlet}, spawned at {}", greenlet.spawn_site());
    }
    eprintln!(
        "greenlet: join or kill them first, or put `greenlet_core::run` around the thread's function; those that catch \
         every kill survive that too. Aborting."
    );
    std::process::abort();
}

fn is_first_thread() -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: these two calls have no preconditions.
    unsafe {
        libc::gettid() == libc::getpid()
    }
    #[cfg(not(target_os = "linux"))]
    false
}

impl Hub {
    /// The thread ends: from now on nothing is resumed on it, since stacks may refer to thread-locals that are gone.
    fn thread_ends(&self) {
        self.current.set(None);
        self.shared.vitals.over.store(true, Ordering::Relaxed);
        if self.has_started_greenlets() && !is_first_thread() {
            exit_with_live_greenlets(self);
        }
    }

    fn has_started_greenlets(&self) -> bool {
        // SAFETY: live greenlets are held by the hub.
        self.live.borrow().iter().any(|header| unsafe { header.as_ref() }.local.worker.get().is_some())
    }

    /// Ends what never ran: greenlets in the queue, in timers and in the inbox; drops callbacks.
    fn cancel_the_rest(&self) {
        for arrival in self.shared.close() {
            match arrival {
                Arrival::Greenlet(header) => self.greenlet_arrived(header),
                Arrival::Call(call) => self.call(Box::new(call)),
                Arrival::Signal(_) => {}
            }
        }
        self.signals.clear();
        let timers = self.timers.replace(TimerHeap::new());
        for action in timers.into_values() {
            match action {
                TimerAction::Start(greenlet) => drop(greenlet.kill_with(Kill::default().no_wait())),
                TimerAction::Call(callback) => drop(report::contain(|| drop(callback))),
                TimerAction::Wake(_) => {}
            }
        }
        let callbacks = self.link_callbacks.take();
        report::contain(|| drop(callbacks));
        self.spawn_callbacks.clear();
        let watchers = (self.watched_fds.clear(), self.asyncs.clear());
        report::contain(|| drop(watchers));
        let services = self.services.take();
        report::contain(|| drop(services));
        let handler = self.error_handler.take();
        report::contain(|| drop(handler));
        while let Some(entry) = self.ready.pop() {
            let header = match entry {
                Entry::Resume(header) => header,
                Entry::Call(callback) => {
                    report::contain(|| drop(callback));
                    continue;
                }
            };
            if header != self.main {
                // SAFETY: whoever is in the queue is kept until popped.
                let local = unsafe { &header.as_ref().local };
                local.queued.set(false);
                match local.phase.get() {
                    Phase::New => self.cancel(header, Raised::new(GreenletExit)),
                    // SAFETY: the hub's count, left to this entry by `let_go`.
                    Phase::Ended => unsafe { Header::release(header) },
                    Phase::Started | Phase::Ending => {}
                }
            }
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        crate::monitor::hub_ends(&self.shared);
        self.sources.clear();
        for worker in self.idle_workers.take() {
            let slot = Worker::retire(worker);
            self.stacks.get_mut().release(slot);
        }
        self.drop_spare();
        super::thread::hub_has_ended(self.main);
        // Main ends here for whoever holds a reference to it.
        self.finish(self.main, End::Exit);
        // SAFETY: the hub's count of main, not used any more.
        unsafe { Header::release(self.main) };
        self.shared.close_account(self.credit.take());
    }
}
