//! The orderly end of a program.

use std::ffi::c_int;
use std::fmt;
use std::io::Write;
use std::marker::PhantomData;
use std::mem;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::time::{ClockId, clock_gettime};

use super::delivery::Watch;
use super::{SignalError, describe, kernel};
use crate::greenlet::GreenletRef;
use crate::hub::{self, Hub};
use crate::raise::{Raised, catch_if};

/// A second signal within this many milliseconds is a copy of the first: a terminal sends to a whole group of processes, and
/// one of them passes it on.
const COPIES_MS: u64 = 100;

/// The program is to end: what [`shutdown`] and the signals of [`shutdown_on`] raise in the main greenlet, and what
/// [`ShutdownOn::run`] returns then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "`exit` ends the process as its parent expects"]
pub struct Shutdown {
    signal: Option<c_int>,
}

impl Shutdown {
    /// The number of the signal that asked for it; `None` if it was [`shutdown`].
    pub fn signal(self) -> Option<c_int> {
        self.signal
    }

    /// Ends the process: by that same signal, so that its parent sees what ended it, and without a core dump; with status 0 if
    /// it was [`shutdown`].
    ///
    /// Where a signal cannot end the process (the first process of a container), the status is 128 and the signal's number.
    /// Destructors of what is alive do not run; what stdout holds back is written.
    pub fn exit(self) -> ! {
        let _ = std::io::stdout().flush();
        let Some(signal) = self.signal else { std::process::exit(0) };
        kernel::die_by(signal);
        std::process::exit(128 + signal)
    }
}

impl fmt::Display for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.signal {
            Some(signal) => write!(f, "shutdown by {}", describe(signal)),
            None => f.write_str("shutdown"),
        }
    }
}

impl std::error::Error for Shutdown {}

const NOT_ASKED: c_int = -1;

/// A program that can be shut down, seen from all threads.
struct Program {
    main: GreenletRef,
    /// When the shutdown began, in milliseconds of the system's clock; 0: not yet. The kernel's handler asks this.
    began: AtomicU64,
    /// The signal that asked first; `NOT_ASKED`, or 0 if it was no signal.
    asked_by: AtomicI32,
    /// Main is inside `run`, where a raise is caught.
    running: AtomicBool,
    over: Arc<AtomicBool>,
}

/// Those of [`shutdown_on`] that are not over.
static PROGRAMS: Mutex<Vec<Arc<Program>>> = Mutex::new(Vec::new());

fn programs() -> MutexGuard<'static, Vec<Arc<Program>>> {
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Async-signal-safe. Never 0.
fn milliseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    1 + now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

impl Program {
    /// In the kernel's handler: whether this signal is the first. If the shutdown is under way, it ends the process.
    fn is_first(&self, signal: c_int) -> bool {
        let now = milliseconds();
        match self.began.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(began) => {
                if now.saturating_sub(began) >= COPIES_MS {
                    // For a signal that would be ignored, nothing happens.
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
                false
            }
        }
    }

    fn begin(&self, signal: Option<c_int>) {
        let by = signal.unwrap_or(0);
        if self.asked_by.compare_exchange(NOT_ASKED, by, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return;
        }
        let _ = self.began.compare_exchange(0, milliseconds(), Ordering::AcqRel, Ordering::Acquire);
        // If it is not, `run` sees that it was asked.
        if self.running.load(Ordering::SeqCst) {
            self.main.raise(Raised::new(Shutdown { signal }).revocable(self.over.clone()));
        }
    }

    /// Whether it was asked to end, and why.
    fn asked(&self) -> Option<Shutdown> {
        match self.asked_by.load(Ordering::SeqCst) {
            NOT_ASKED => None,
            0 => Some(Shutdown { signal: None }),
            signal => Some(Shutdown { signal: Some(signal) }),
        }
    }
}

/// Makes this program end in good order when one of these signals comes; [`run`](ShutdownOn::run) is where it does.
///
/// The handlers are installed when this returns. It belongs to the main greenlet of a thread, for most programs that of the
/// process's `main`.
///
/// # Errors
/// [`SignalError`], for the first signal that is refused; then none is handled.
///
/// ```no_run
/// use greenlet_core::signal::{self, SIGINT, SIGQUIT, SIGTERM};
/// use greenlet_core::{sleep, spawn};
/// use std::time::Duration;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let program = signal::shutdown_on([SIGTERM, SIGQUIT, SIGINT])?;
///     match program.run(|| spawn(|| sleep(Duration::MAX)).join()) {
///         Ok(()) => Ok(()),
///         Err(shutdown) => {
///             println!("{shutdown}: all is put away");
///             shutdown.exit()
///         }
///     }
/// }
/// ```
#[track_caller]
pub fn shutdown_on(signals: impl IntoIterator<Item = c_int>) -> Result<ShutdownOn, SignalError> {
    let hub = Hub::current_hub();
    let program = Arc::new(Program {
        // SAFETY: main lives as long as its hub.
        main: unsafe { GreenletRef::retained(hub.main_greenlet()) },
        began: AtomicU64::new(0),
        asked_by: AtomicI32::new(NOT_ASKED),
        running: AtomicBool::new(false),
        over: Arc::default(),
    });
    // The first call may have more to do than a handler may.
    milliseconds();
    programs().push(program.clone());
    let mut this = ShutdownOn { program, watches: Vec::new(), _home: PhantomData };
    for signal in signals {
        let (first, begins) = (this.program.clone(), this.program.clone());
        let wanted = move |signal| first.is_first(signal);
        this.watches.push(Watch::filtered(signal, wanted, move |_| begins.begin(Some(signal)))?);
    }
    Ok(this)
}

/// Shuts the program down as a signal of [`shutdown_on`] does: for any greenlet, thread or hub. Never suspends.
///
/// [`Shutdown`] is raised in the main greenlet that is inside [`ShutdownOn::run`], once: later calls do nothing. False if no
/// [`ShutdownOn`] is there, and then nothing happens. (If there are several, on several threads, all are told.) A signal that comes more than
/// 0.1 seconds later counts as the second one, and ends the process.
pub fn shutdown() -> bool {
    let programs = programs().clone();
    programs.iter().for_each(|program| program.begin(None));
    !programs.is_empty()
}

/// Handlers that shut the program down: see [`shutdown_on`]. Dropping it takes them away.
#[must_use = "`run` is where the program ends; dropped, the signals are what they were"]
pub struct ShutdownOn {
    program: Arc<Program>,
    watches: Vec<Watch>,
    _home: PhantomData<Rc<()>>,
}

impl ShutdownOn {
    /// Runs `f` as [`run`](crate::run) does, until it returns or the program is shut down.
    ///
    /// A shutdown goes like this:
    ///
    /// 1. [`Shutdown`] is raised in main, where it waits, or at its next suspension point. `f` is unwound: the
    ///    [`HubThread`](crate::HubThread)s that it owns are dropped, and so told to end. (If the signal came before this was
    ///    called, `f` does not run at all.)
    /// 2. All other hub threads of the process are told as well. Each kills its greenlets; so does this hub. Destructors run,
    ///    and may wait.
    /// 3. This waits until the hub threads have ended, and returns `Err`. What runs on plain threads and in a
    ///    [`ThreadPool`](crate::pool::ThreadPool) is not waited for.
    ///
    /// A second signal, 0.1 seconds or more after the first, ends the process at once, in the middle of all that, as it would
    /// have without a handler: also when main or a hub thread computes and does not come to its end.
    ///
    /// # Errors
    /// [`Shutdown`], which tells why. From then on the signals end the process at once.
    ///
    /// # Panics
    /// When called inside a greenlet, and when `f` panics, as [`run`](crate::run).
    #[track_caller]
    pub fn run<R>(self, f: impl FnOnce() -> R) -> Result<R, Shutdown> {
        let program = &self.program;
        let ended = hub::run(|| {
            let ended = catch_if(
                |raised| raised.is::<Shutdown>(),
                || {
                    program.running.store(true, Ordering::SeqCst);
                    if let Some(shutdown) = program.asked() {
                        Raised::new(shutdown).reraise();
                    }
                    // One of the signals may come at any time.
                    let _counted = Hub::try_current().map(Hub::counted);
                    f()
                },
            );
            if ended.is_err() {
                hub::stop_hub_threads();
            }
            ended
        });
        program.over.store(true, Ordering::Release);
        match ended {
            Ok(value) => Ok(value),
            Err(raised) => {
                hub::await_hub_threads();
                // The handlers stay, and end the process.
                mem::forget(self);
                Err(raised.downcast_ref().copied().unwrap_or(Shutdown { signal: None }))
            }
        }
    }
}

impl Drop for ShutdownOn {
    fn drop(&mut self) {
        self.program.over.store(true, Ordering::Release);
        self.watches.iter().for_each(Watch::cancel);
        programs().retain(|program| !Arc::ptr_eq(program, &self.program));
    }
}

impl fmt::Debug for ShutdownOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.watches.iter().map(|watch| describe(watch.signal)).collect();
        f.debug_struct("ShutdownOn").field("signals", &names).finish_non_exhaustive()
    }
}
