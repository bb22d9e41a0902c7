//! Looks at what a thread is doing that does not come back to its loop: a signal lets the thread itself write it down.
//!
//! The handler runs on the alternate stack that every thread with a hub has (see `stack::overflow`). It does only what is
//! async-signal-safe: it reads the hub's cells, adds a count to the running greenlet, walks the stack into memory that is
//! there already, and is done. Names are looked up later, by the thread that asked.
//!
//! The signal is sent to threads that block only, so system calls of others are not interrupted. It is installed with
//! `SA_RESTART`; calls that are not restarted all the same (`poll`, `select`, a `nanosleep`) return `EINTR` once.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{io, mem, ptr};

use super::backtrace::{Backtrace, Frames};
use crate::greenlet::GreenletRef;
use crate::greenlet::raw::Header;
use crate::hub::Hub;
use crate::stack::overflow;

/// What a thread wrote down.
pub(super) struct Captured {
    /// The progress of its hub at that moment: if it is another one than before, the thread was blocked no more.
    pub(super) progress: u64,
    pub(super) greenlet: Option<GreenletRef>,
    pub(super) may_block: bool,
    pub(super) backtrace: Backtrace,
}

/// How long a thread has to write: it may be in an uninterruptible system call, or block the signal.
const PATIENCE: Duration = Duration::from_millis(100);

const IDLE: u32 = 0;
const ASKED: u32 = 1;
const WRITING: u32 = 2;
const WRITTEN: u32 = 3;

/// One thread is asked at a time.
struct Slot {
    taken: AtomicBool,
    state: AtomicU32,
    /// The kernel's number of the thread that is asked.
    thread: AtomicI32,
    /// One that was asked and did not answer in time: its signal may still come.
    late: AtomicI32,
    answer: UnsafeCell<Answer>,
}

struct Answer {
    hub: u64,
    progress: u64,
    /// With a count.
    greenlet: Option<NonNull<Header>>,
    may_block: bool,
    frames: Frames,
}

// SAFETY: `answer` belongs to the thread that set `WRITING`, and after `WRITTEN` to the one that took the slot.
unsafe impl Sync for Slot {}

/// The signal of the last `install`; 0 before.
static IN_USE: AtomicI32 = AtomicI32::new(0);

/// The signal by which a thread may be asked, if the monitor was ever started with one.
pub(super) fn signal_in_use() -> Option<c_int> {
    Some(IN_USE.load(Ordering::Relaxed)).filter(|&signal| signal != 0)
}

static SLOT: Slot = Slot {
    taken: AtomicBool::new(false),
    state: AtomicU32::new(IDLE),
    thread: AtomicI32::new(0),
    late: AtomicI32::new(0),
    answer: UnsafeCell::new(Answer {
        hub: 0,
        progress: 0,
        greenlet: None,
        may_block: false,
        frames: Frames::new(),
    }),
};

/// Who handled a signal before, by its number.
static PREVIOUS: [OnceLock<libc::sigaction>; 65] = [const { OnceLock::new() }; 65];

/// Installs the handler of `signal`, once for each.
///
/// # Errors
/// What `sigaction` refused: not every number is a signal that can be handled.
pub(super) fn install(signal: c_int) -> io::Result<()> {
    let invalid =
        || io::Error::new(io::ErrorKind::InvalidInput, format!("{signal} is no signal that can be handled"));
    let previous = usize::try_from(signal).ok().and_then(|at| PREVIOUS.get(at)).ok_or_else(invalid)?;
    if [0, libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGBUS].contains(&signal) {
        return Err(invalid());
    }
    if previous.get().is_some() {
        IN_USE.store(signal, Ordering::Relaxed);
        return Ok(());
    }
    // The unwinder sets itself up the first time; not in a signal handler, then.
    Frames::new().fill(|_| true);
    let action = overflow::current_action(signal);
    let mut ours = action;
    let handler: overflow::Handler = on_signal;
    ours.sa_sigaction = handler as libc::sighandler_t;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // The handler reads it, so it is in place before that is.
    let _ = previous.set(action);
    // SAFETY: `on_signal` has the signature that SA_SIGINFO asks for and is async-signal-safe.
    if unsafe { libc::sigaction(signal, &ours, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    IN_USE.store(signal, Ordering::Relaxed);
    Ok(())
}

/// Lets a thread of this process write down what it is doing. `None` if it cannot, or does not in time.
///
/// `signal` was installed.
pub(super) fn capture(thread: i32, hub: u64, signal: c_int) -> Option<Captured> {
    let deadline = Instant::now() + PATIENCE;
    while SLOT.taken.swap(true, Ordering::Acquire) {
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let captured = ask(thread, hub, signal, Instant::now() + PATIENCE);
    SLOT.taken.store(false, Ordering::Release);
    captured
}

fn ask(thread: i32, hub: u64, signal: c_int, deadline: Instant) -> Option<Captured> {
    SLOT.thread.store(thread, Ordering::Relaxed);
    SLOT.state.store(ASKED, Ordering::Release);
    // SAFETY: it refers to no memory. A thread that has ended meanwhile is an error, and one that has got its number does
    // not find its hub in the question.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
    if sent != 0 {
        SLOT.state.store(IDLE, Ordering::Relaxed);
        return None;
    }
    let mut nap = Duration::from_micros(50);
    while SLOT.state.load(Ordering::Acquire) != WRITTEN {
        if Instant::now() > deadline
            && SLOT.state.compare_exchange(ASKED, IDLE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            SLOT.late.store(thread, Ordering::Relaxed);
            return None;
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(2));
    }
    // SAFETY: `WRITTEN` gives the answer to whoever has the slot.
    let answer = unsafe { &mut *SLOT.answer.get() };
    // SAFETY: the handler added a count for us.
    let greenlet = answer.greenlet.take().map(|header| unsafe { GreenletRef::counted(header) });
    let captured = (answer.hub == hub).then(|| Captured {
        progress: answer.progress,
        greenlet,
        may_block: answer.may_block,
        backtrace: Backtrace::new(answer.frames.addresses()),
    });
    SLOT.state.store(IDLE, Ordering::Relaxed);
    captured
}

/// In a forked child: whoever had asked is not there any more.
pub(super) fn forget_questions() {
    SLOT.state.store(IDLE, Ordering::Relaxed);
    SLOT.late.store(0, Ordering::Relaxed);
    SLOT.taken.store(false, Ordering::Relaxed);
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: `errno` is the thread's own; the interrupted code finds it unchanged.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: it has no preconditions.
    let thread = unsafe { libc::gettid() };
    if SLOT.thread.load(Ordering::Relaxed) == thread
        && SLOT.state.compare_exchange(ASKED, WRITING, Ordering::Acquire, Ordering::Relaxed).is_ok()
    {
        // SAFETY: `WRITING` gives the answer to this thread; the kernel passes a valid context.
        unsafe { write_down(&mut *SLOT.answer.get(), &*context.cast::<libc::ucontext_t>()) };
        SLOT.state.store(WRITTEN, Ordering::Release);
    } else if SLOT.late.compare_exchange(thread, 0, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        // Not ours.
        let previous = usize::try_from(signal).ok().and_then(|at| PREVIOUS.get(at)).and_then(OnceLock::get);
        let ignored_by_default =
            [libc::SIGURG, libc::SIGCHLD, libc::SIGWINCH, libc::SIGCONT].contains(&signal);
        match previous {
            Some(previous) if previous.sa_sigaction == libc::SIG_DFL && ignored_by_default => {}
            // SAFETY: these are the arguments that this handler was called with, and `previous` is what it replaced.
            Some(previous) => unsafe { overflow::pass_on(previous, signal, info, context, false) },
            None => {}
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

fn write_down(answer: &mut Answer, context: &libc::ucontext_t) {
    let low = context.uc_stack.ss_sp.addr();
    // The handler's own frames: those of the interrupted code lie elsewhere.
    let handler = low..low + context.uc_stack.ss_size;
    let Some(hub) = Hub::try_current() else {
        answer.hub = 0;
        return;
    };
    answer.hub = hub.shared.id;
    answer.progress = hub.shared.vitals.progress();
    let mut stack: Range<usize> = 0..usize::MAX;
    answer.greenlet = hub.current_greenlet().inspect(|header| {
        // SAFETY: the running greenlet is alive, and the hub holds a count of it until it is current no more.
        let greenlet = unsafe { header.as_ref() };
        greenlet.retain();
        if let Some(worker) = greenlet.local.worker.get() {
            stack = Hub::stack_of(worker);
        }
    });
    answer.may_block = hub.may_block().get() > 0;
    answer.frames.fill(|pointer| !handler.contains(&pointer) && stack.contains(&pointer));
}

const _: () = assert!(mem::size_of::<Answer>() < 4096);
