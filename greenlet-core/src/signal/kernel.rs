//! The kernel's side: handlers that are installed for the process, and death by a signal.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, mem, ptr};

use signal_hook::SigId;
use signal_hook::low_level::{register, unregister};

use super::{SignalError, describe};
use crate::report;

/// Cannot be handled at all, or come from a fault: the code that faulted would fault again when the handler returns.
const FORBIDDEN: [c_int; 6] =
    [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// Something to be done in the kernel's handler of a signal, until it is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    signal: c_int,
    id: SigId,
}

/// A signal that was ever registered.
#[derive(Default)]
struct Handled {
    registrations: usize,
    /// True while there are none. signal-hook's handler stays installed for good, and does then what the kernel did before.
    unattended: Option<Arc<AtomicBool>>,
}

static HANDLED: Mutex<BTreeMap<c_int, Handled>> = Mutex::new(BTreeMap::new());

fn handled() -> MutexGuard<'static, BTreeMap<c_int, Handled>> {
    HANDLED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registration {
    /// # Safety
    /// `action` is async-signal-safe: no lock, no allocation, no panic.
    pub(super) unsafe fn new(
        signal: c_int,
        action: impl Fn() + Send + Sync + 'static,
    ) -> Result<Registration, SignalError> {
        if !(1..=libc::SIGRTMAX()).contains(&signal) {
            return Err(SignalError::OutOfRange { found: signal, last: libc::SIGRTMAX() });
        }
        if FORBIDDEN.contains(&signal) {
            return Err(SignalError::Forbidden { signal });
        }
        let refused = |error| SignalError::Refused { signal, error };
        let mut all = handled();
        let handled = all.entry(signal).or_default();
        let first = handled.registrations == 0 && handled.unattended.is_none();
        let had_default =
            first && current_action(signal).is_ok_and(|action| action.sa_sigaction == libc::SIG_DFL);
        // SAFETY: passed on.
        let id = unsafe { register(signal, action) }.map_err(refused)?;
        if had_default {
            let unattended = Arc::new(AtomicBool::new(false));
            // It fails for signals whose default nobody wrote down (real-time signals): they are ignored then.
            if signal_hook::flag::register_conditional_default(signal, unattended.clone()).is_ok() {
                handled.unattended = Some(unattended);
            }
        }
        let alternate = if first { use_the_alternate_stack(signal) } else { Ok(()) };
        handled.registrations += 1;
        if let Some(unattended) = &handled.unattended {
            unattended.store(false, Ordering::SeqCst);
        }
        drop(all);
        if let Err(error) = alternate {
            // Not under the lock: a subscriber is somebody else's code.
            report::contain(|| {
                tracing::debug!(target: "greenlet", %error, "{} is handled on the stack of who runs", describe(signal));
            });
        }
        Ok(Registration { signal, id })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut all = handled();
        unregister(self.id);
        let handled = all.entry(self.signal).or_default();
        handled.registrations -= 1;
        if let Some(unattended) = &handled.unattended
            && handled.registrations == 0
        {
            unattended.store(true, Ordering::SeqCst);
        }
    }
}

fn current_action(signal: c_int) -> io::Result<libc::sigaction> {
    // SAFETY: a zeroed sigaction is valid, and sigaction only writes to it.
    unsafe {
        let mut action = mem::zeroed();
        match libc::sigaction(signal, ptr::null(), &mut action) {
            0 => Ok(action),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The stack of a greenlet may have no room for a signal's frame, which is several KiB. The hub's threads have an alternate
/// one for the reports of overflows; handlers take it as well.
fn use_the_alternate_stack(signal: c_int) -> io::Result<()> {
    let mut action = current_action(signal)?;
    action.sa_flags |= libc::SA_ONSTACK;
    // SAFETY: the handler that is installed already, on another stack. Nobody replaces it in this moment but who breaks the
    // process-wide registry, too.
    let changed = unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
    if changed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends the process as that signal does when nobody handles it, without a core dump. Returns where it does not end a process: in
/// a container's first process, and for signals that are ignored.
pub(super) fn die_by(signal: c_int) {
    // SAFETY: plain calls without a precondition; the sets and actions are zeroed (which is valid), then filled.
    unsafe {
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        let mut default: libc::sigaction = mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        let mut this: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut this);
        libc::sigaddset(&mut this, signal);
        libc::sigaction(signal, &default, ptr::null_mut());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &this, ptr::null_mut());
        libc::raise(signal);
    }
}
