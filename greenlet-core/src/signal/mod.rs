//! The system's signals, and the orderly end of a program.
//!
//! | | |
//! |---|---|
//! | [`handle`] | runs a function in a new greenlet each time a signal comes: gevent's `signal_handler` |
//! | [`wait`], [`Signals`] | waits for signals in a greenlet |
//! | [`shutdown_on`], [`shutdown`] | ends a program: main unwinds, greenlets are killed, destructors run |
//!
//! A signal is for the process, and every hub that watches it is told. Between the kernel's handler and the hub, deliveries of
//! one signal that the hub has not seen yet are one delivery, as the kernel itself has it. What is done about a signal is done
//! by the hub's loop, so the hub must come to it: a greenlet that computes delays it, and a main greenlet that never waits lets
//! nothing else run.
//!
//! A signal that nobody asked for keeps the kernel's default: Ctrl-C ends the process. When the last one who watched a signal
//! is cancelled or dropped, the default is back, if it was in force before. (Real-time signals are ignored then.)
//!
//! Watching a signal is not a reason for a hub to live on: a program ends though handlers are installed.

mod delivery;
mod kernel;
mod shutdown;
mod wait;

use std::ffi::c_int;
use std::fmt;
use std::io;

pub use libc::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
pub use shutdown::{Shutdown, ShutdownOn, shutdown, shutdown_on};
pub use wait::{Signals, wait, wait_timeout};

use crate::failure::{GreenletError, attempt};
use crate::greenlet::GreenletRef;
use crate::hub::Hub;
use crate::raise::Raised;
use delivery::Watch;
pub(crate) use delivery::{Slot, Watches};

/// Why a signal cannot be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// There is no such signal.
    #[error("a signal's number is from 1 to {last}, not {found}")]
    OutOfRange {
        /// What was asked for.
        found: c_int,
        /// The highest number of a signal.
        last: c_int,
    },
    /// `SIGKILL` and `SIGSTOP`, which the kernel lets nobody handle, and those that report a fault of the code that runs:
    /// `SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE`.
    #[error("{} cannot be handled", describe(*.signal))]
    Forbidden {
        /// Which one.
        signal: c_int,
    },
    /// The system refused, as it does for the numbers that the C library keeps for itself.
    #[error("{} cannot be handled: {error}", describe(*.signal))]
    Refused {
        /// Which one.
        signal: c_int,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// `SIGTERM`, or `signal 40` where there is no name.
fn describe(signal: c_int) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => name.to_owned(),
        None => format!("signal {signal}"),
    }
}

/// Runs `f` in a new greenlet of this thread's hub each time the signal comes: gevent's `signal_handler`. Never suspends.
///
/// Several handlers of one signal, of one hub or of several, all run. A handler may suspend; another delivery meanwhile
/// starts another greenlet. It is installed until it is [cancelled](SignalHandler::cancel) or its hub ends; dropping what is
/// returned changes nothing.
///
/// If `f` panics or an error is raised in it, that is reported once through `tracing`, and raised in the main greenlet of the
/// hub, since nobody else could ask for it; the handler stays installed. An error arrives there as it was raised, a panic as a
/// [`Failure`](crate::Failure). So `|| raise(MyError)` ends the wait of main with that error, which main may
/// [`catch`](crate::catch). [`GreenletExit`](crate::GreenletExit) only ends the handler's greenlet. (The main greenlet of a
/// [`HubThread`](crate::HubThread) catches nothing: there a handler that fails ends the hub.)
///
/// # Errors
/// [`SignalError`]: a number that is no signal, or one that cannot be handled.
///
/// ```
/// use greenlet_core::Event;
/// use greenlet_core::signal::{self, SIGUSR1};
/// use std::rc::Rc;
///
/// let told = Rc::new(Event::new());
/// let handler = signal::handle(SIGUSR1, {
///     let told = told.clone();
///     move || told.set()
/// })?;
/// signal_hook::low_level::raise(SIGUSR1)?; // somebody sends it
/// told.wait();
/// handler.cancel();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn handle(signal: c_int, f: impl Fn() + 'static) -> Result<SignalHandler, SignalError> {
    let f = std::rc::Rc::new(f);
    let watch = Watch::start(signal, move |hub| {
        let f = f.clone();
        hub.spawn_now(move || run_handler(signal, &*f));
    })?;
    Ok(SignalHandler { watch })
}

/// The body of a handler's greenlet.
fn run_handler(signal: c_int, f: &dyn Fn()) {
    crate::current().header_ref().set_name(format!("handler of {}", describe(signal)).into());
    let Err(GreenletError::Failed(failure)) = attempt(f) else { return };
    let hub = Hub::current_hub();
    // SAFETY: main lives as long as its hub.
    let main = unsafe { GreenletRef::retained(hub.main_greenlet()) };
    main.raise(match failure.raised() {
        Some(raised) => raised.afresh(),
        None => Raised::new(failure.clone()),
    });
    failure.reraise()
}

/// A handler that [`handle`] installed. Dropping it leaves the handler installed.
///
/// It belongs to the hub of its thread, and so is not `Send`.
pub struct SignalHandler {
    watch: Watch,
}

impl SignalHandler {
    /// The signal's number.
    pub fn signal(&self) -> c_int {
        self.watch.signal
    }

    /// Whether it is installed: it was not cancelled.
    pub fn is_active(&self) -> bool {
        self.watch.is_active()
    }

    /// Takes the handler away: it does not run any more, not even for a signal that has come already. One that runs goes on.
    /// A second call does nothing.
    pub fn cancel(&self) {
        self.watch.cancel();
    }
}

impl fmt::Debug for SignalHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalHandler")
            .field("signal", &describe(self.signal()))
            .field("active", &self.is_active())
            .finish()
    }
}
