//! Says which greenlet overflowed its stack, then aborts.
//!
//! An overflow touches the guard below the stack and raises `SIGSEGV` (`SIGBUS` on some systems). The handler
//! runs on an alternate stack, as there is no room left on the greenlet's, and does only what is
//! async-signal-safe: atomic loads, formatting into a buffer of its own, `write`, `abort`. There is no way
//! back from an overflow: the frames on the stack cannot be unwound from a signal handler, nor forgotten.
//!
//! A stray write that hits a guard looks the same and is reported as an overflow too; it is fatal either way.
//! Faults anywhere else are none of our business. They go to whoever handled them before, in particular to
//! the handler of std, which reports overflows of thread stacks.

use std::cell::OnceCell;
use std::ffi::{c_int, c_void};
use std::fmt::{self, Write};
use std::sync::{Once, OnceLock};
use std::{io, mem, ptr};

use super::guard::page_size;
use super::registry::{self, Region};
use super::slab;

/// A handler registered with `SA_SIGINFO`.
pub(crate) type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

static INSTALLED: OnceLock<Installed> = OnceLock::new();

struct Installed {
    describe_current: fn(&mut dyn Write),
    previous_segv: libc::sigaction,
    previous_bus: libc::sigaction,
}

/// Reports overflows of greenlet stacks from here on, in the whole process. Later calls do nothing.
///
/// `describe_current` writes which greenlet runs on the calling thread, like `greenlet "worker" spawned at
/// src/main.rs:7`. It is called in a signal handler: it must not allocate, lock, panic, or use thread-locals
/// that are lazily initialized or have destructors. What it writes beyond 512 bytes is cut off.
///
/// A thread needs [`prepare_thread`] too.
pub(crate) fn install(describe_current: fn(&mut dyn Write)) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The handler reads them, so they are in place before it is.
        let previous = INSTALLED.get_or_init(|| Installed {
            describe_current,
            previous_segv: current_action(libc::SIGSEGV),
            previous_bus: current_action(libc::SIGBUS),
        });
        take_over(libc::SIGSEGV, &previous.previous_segv);
        take_over(libc::SIGBUS, &previous.previous_bus);
    });
}

pub(crate) fn current_action(signal: c_int) -> libc::sigaction {
    // SAFETY: a zeroed sigaction is valid, and sigaction only writes to it.
    unsafe {
        let mut action = mem::zeroed();
        libc::sigaction(signal, ptr::null(), &mut action);
        action
    }
}

fn take_over(signal: c_int, previous: &libc::sigaction) {
    let handler: Handler = on_fault;
    // The previous handler runs inside of ours: what it wants blocked must be.
    let mut action = *previous;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | (previous.sa_flags & libc::SA_NODEFER);
    // SAFETY: `on_fault` has the signature that SA_SIGINFO asks for and is async-signal-safe.
    if unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!(signal, %error, "sigaction failed: stack overflows will not be reported");
    }
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(installed) = INSTALLED.get() else { return restore_default(signal) };
    // SAFETY: the kernel passes a valid siginfo_t, of which all bytes are initialized.
    let (address, faulted) = unsafe { ((*info).si_addr().addr(), is_fault(&*info)) };
    if faulted && let Some(region) = registry::guard_at(address) {
        let mut message = Message::new();
        message.compose(installed.describe_current, region, address);
        message.print();
        std::process::abort();
    }
    let previous = if signal == libc::SIGBUS { &installed.previous_bus } else { &installed.previous_segv };
    // SAFETY: these are the arguments that this handler was called with, and `previous` is what it replaced.
    unsafe { pass_on(previous, signal, info, context, faulted) };
}

/// Whether the kernel raised the signal for a memory access, rather than a process by `kill`.
fn is_fault(info: &libc::siginfo_t) -> bool {
    // The convention for si_code is not portable. Taking all for faults is what std does.
    !cfg!(any(target_os = "linux", target_os = "android")) || info.si_code > 0
}

/// Does with a signal what would have happened without us.
///
/// # Safety
///
/// `previous` was registered with sigaction; the other arguments are those of a running handler.
pub(crate) unsafe fn pass_on(
    previous: &libc::sigaction,
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    faulted: bool,
) {
    match previous.sa_sigaction {
        // A fault cannot be ignored: the kernel kills the process just the same.
        libc::SIG_IGN if !faulted => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            restore_default(signal);
            if !faulted {
                // SAFETY: raise is async-signal-safe. The signal is delivered when the handler returns.
                unsafe { libc::raise(signal) };
            } // else the instruction faults again
        }
        handler => {
            if previous.sa_flags & libc::SA_RESETHAND != 0 {
                restore_default(signal);
            }
            if previous.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: with SA_SIGINFO, the handler was registered as a function of this type.
                let handler = unsafe { mem::transmute::<libc::sighandler_t, Handler>(handler) };
                handler(signal, info, context);
            } else {
                // SAFETY: without SA_SIGINFO, the handler was registered as a function of this type.
                let handler = unsafe { mem::transmute::<libc::sighandler_t, extern "C" fn(c_int)>(handler) };
                handler(signal);
            }
        }
    }
}

fn restore_default(signal: c_int) {
    // SAFETY: a zeroed sigaction with SIG_DFL is valid; sigaction is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

/// Text in a fixed buffer; what does not fit is cut off.
struct Message {
    bytes: [u8; Self::CAPACITY],
    len: usize,
    limit: usize,
}

impl Message {
    const CAPACITY: usize = 1024;
    const DESCRIPTION: usize = 512;

    fn new() -> Self {
        Self { bytes: [0; Self::CAPACITY], len: 0, limit: Self::CAPACITY }
    }

    fn compose(&mut self, describe_current: fn(&mut dyn Write), region: Region, address: usize) {
        // Writing to a Message never fails.
        let _ = self.write_str("greenlet stack overflow: ");
        self.limit = self.len + Self::DESCRIPTION;
        describe_current(self);
        self.limit = Self::CAPACITY;
        let _ = write!(
            self,
            " overflowed its {} KiB stack (fault at {address:#x})\n\
             help: give it a larger one with Builder::stack_size; only the pages it touches take memory\n",
            region.slot_len / 1024
        );
    }

    fn print(&self) {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            // SAFETY: `rest` is initialized memory of the given length.
            match unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast(), rest.len()) } {
                written @ 1.. => rest = &rest[written as usize..],
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let count = text.len().min(self.limit - self.len);
        self.bytes[self.len..][..count].copy_from_slice(&text.as_bytes()[..count]);
        self.len += count;
        Ok(())
    }
}

/// Makes sure that the calling thread has an alternate signal stack with room for the report.
///
/// Threads of std have one of 8 KiB, of which a signal frame with all vector registers can take half, and
/// other threads have none. A stack with more room is left alone. Ours is freed when the thread's
/// thread-locals are destroyed, later than those that are initialized after this call.
///
/// Calling it again is cheap and useful where std may have disabled the alternate stack: it does so when a
/// thread's function returns, before the thread-locals are destroyed.
pub(crate) fn prepare_thread() {
    thread_local! {
        static STACK: OnceCell<AlternateStack> = const { OnceCell::new() };
    }

    let current = AlternateStack::current();
    let enabled = current.ss_flags & libc::SS_DISABLE == 0;
    if enabled && current.ss_size >= AlternateStack::least_size() {
        return;
    }
    // Fails only after the destructor ran: then the thread is about to end.
    let _ = STACK.try_with(|stack| {
        if stack.get().is_none() {
            match AlternateStack::map() {
                Ok(new) => drop(stack.set(new)),
                Err(error) => {
                    tracing::debug!(%error, "no alternate signal stack: overflows will not be reported")
                }
            }
        }
        if let Some(stack) = stack.get() {
            stack.enable();
        }
    });
}

/// An alternate signal stack, with a guard page at its low end.
struct AlternateStack {
    mapping: *mut c_void,
    len: usize,
}

impl AlternateStack {
    /// For the handler and those it passes faults on to, which are often crash reporters.
    const SIZE: usize = 64 << 10;
    /// For the handler alone: what it needs in a build without optimization, several times over.
    const HANDLER_ROOM: usize = 16 << 10;

    fn map() -> io::Result<Self> {
        let page = page_size();
        let len = page + Self::SIZE.max(Self::least_size()).next_multiple_of(page);
        let stack = Self { mapping: slab::map(len)?, len };
        // SAFETY: the page is the low end of the mapping made above, which nobody uses yet.
        if unsafe { libc::mprotect(stack.mapping, page, libc::PROT_NONE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }

    /// The signal frame, whose size depends on the processor, and room for the handler.
    fn least_size() -> usize {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // SAFETY: getauxval only reads; it returns zero for what the kernel does not tell.
        let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let frame = 0;
        frame.max(libc::MINSIGSTKSZ) + Self::HANDLER_ROOM
    }

    fn current() -> libc::stack_t {
        // SAFETY: a zeroed stack_t is valid, and sigaltstack only writes to it.
        unsafe {
            let mut current = mem::zeroed();
            libc::sigaltstack(ptr::null(), &mut current);
            current
        }
    }

    fn lowest(&self) -> *mut c_void {
        self.mapping.wrapping_byte_add(page_size())
    }

    fn enable(&self) {
        let stack = libc::stack_t { ss_sp: self.lowest(), ss_flags: 0, ss_size: self.len - page_size() };
        // SAFETY: the memory is mapped, used for nothing else, and disabled before it is unmapped.
        if unsafe { libc::sigaltstack(&stack, ptr::null_mut()) } != 0 {
            let error = io::Error::last_os_error();
            tracing::debug!(%error, "sigaltstack failed: overflows on this thread will not be reported");
        }
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        if Self::current().ss_sp == self.lowest() {
            let none = libc::stack_t {
                ss_sp: ptr::null_mut(),
                ss_flags: libc::SS_DISABLE,
                ss_size: libc::SIGSTKSZ, // macOS checks it even so
            };
            // SAFETY: disabling the alternate stack refers to no memory.
            unsafe { libc::sigaltstack(&none, ptr::null_mut()) };
        }
        // SAFETY: the mapping is our own, and signals no longer use it: it was disabled above, or by another.
        unsafe { libc::munmap(self.mapping, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Output;
    use std::thread;

    use corosensei::{Coroutine, Yielder};

    use super::super::tests::{finished, in_child};
    use super::super::{GuardMode, StackConfig, StackPool, StackSize, StackSlot};
    use super::*;

    fn describe(out: &mut dyn Write) {
        let _ = write!(out, "greenlet {:?} #{}", std::hint::black_box("worker"), std::hint::black_box(7));
    }

    /// Uses at least `depth` KiB of stack.
    #[inline(never)]
    fn descend(depth: usize) -> usize {
        let frame = std::hint::black_box([depth as u8; 1024]);
        if depth == 0 { 0 } else { descend(depth - 1) + usize::from(frame[depth % 1024]) }
    }

    fn overflow_a_greenlet(guard: GuardMode, size: StackSize) {
        let mut pool = StackPool::new(StackConfig { guard, ..StackConfig::default() });
        let _below = pool.allocate(size).unwrap();
        let stack = pool.allocate(size).unwrap();
        let body = move |_: &Yielder<(), ()>, ()| {
            descend(size.bytes() / 1024);
        };
        Coroutine::<(), (), (), StackSlot>::with_stack(stack, body).resume(());
    }

    #[track_caller]
    fn reported(output: &Output, size: &str) {
        let text = String::from_utf8_lossy(&output.stderr);
        let expected = format!(
            "greenlet stack overflow: greenlet \"worker\" #7 overflowed its {size} stack (fault at 0x"
        );
        assert!(text.contains(&expected), "{output:?}");
        assert!(text.contains("Builder::stack_size"), "{output:?}");
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    }

    #[test]
    fn an_overflow_names_the_greenlet_and_aborts() {
        let output = in_child(concat!(module_path!(), "::an_overflow_names_the_greenlet_and_aborts"), || {
            install(describe);
            prepare_thread();
            overflow_a_greenlet(GuardMode::Auto, StackSize::DEFAULT);
        });
        reported(&output, "256 KiB");
    }

    #[test]
    fn an_overflow_into_an_mprotect_guard_is_reported_too() {
        let output =
            in_child(concat!(module_path!(), "::an_overflow_into_an_mprotect_guard_is_reported_too"), || {
                install(describe);
                prepare_thread();
                overflow_a_greenlet(GuardMode::Mprotect, StackSize::new(1 << 20).unwrap());
            });
        reported(&output, "1024 KiB");
    }

    #[test]
    fn an_overflow_on_a_thread_without_a_signal_stack_is_reported() {
        let test = concat!(module_path!(), "::an_overflow_on_a_thread_without_a_signal_stack_is_reported");
        let output = in_child(test, || {
            install(describe);
            // Like a thread that std did not start.
            let none =
                libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: libc::SIGSTKSZ };
            // SAFETY: disabling the alternate stack refers to no memory.
            unsafe { libc::sigaltstack(&none, ptr::null_mut()) };
            prepare_thread();
            overflow_a_greenlet(GuardMode::Auto, StackSize::DEFAULT);
        });
        reported(&output, "256 KiB");
    }

    #[test]
    fn an_overflow_of_a_thread_is_left_to_std() {
        let output = in_child(concat!(module_path!(), "::an_overflow_of_a_thread_is_left_to_std"), || {
            install(describe);
            let thread = thread::Builder::new().name("plain".into()).stack_size(256 << 10);
            let overflows = || {
                prepare_thread();
                descend(1024)
            };
            thread.spawn(overflows).unwrap().join().unwrap();
        });
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("thread 'plain'") && text.contains("overflowed its stack"), "{output:?}");
        assert!(!text.contains("greenlet stack overflow"), "{output:?}");
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    }

    /// Writes to memory that is mapped without access and is not a guard of ours.
    fn fault_elsewhere() -> ! {
        let page = slab::map(page_size()).unwrap();
        // SAFETY: none; the write is meant to fault.
        unsafe {
            libc::mprotect(page, page_size(), libc::PROT_NONE);
            page.cast::<u8>().write_volatile(1);
        }
        unreachable!("the write faults")
    }

    fn set_handler(signal: c_int, handler: libc::sighandler_t, flags: c_int) {
        // SAFETY: the tests pass functions of the type that the flags ask for, or SIG_DFL or SIG_IGN.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = flags | libc::SA_ONSTACK;
            assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0);
        }
    }

    #[track_caller]
    fn died_of_a_plain_fault(output: &Output) {
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("overflow"), "{output:?}");
    }

    #[test]
    fn a_fault_elsewhere_dies_of_sigsegv_after_the_handler_of_std() {
        let test = concat!(module_path!(), "::a_fault_elsewhere_dies_of_sigsegv_after_the_handler_of_std");
        died_of_a_plain_fault(&in_child(test, || {
            install(describe);
            prepare_thread();
            fault_elsewhere();
        }));
    }

    #[test]
    fn a_fault_elsewhere_dies_of_sigsegv_by_default_and_when_ignored() {
        let test = concat!(module_path!(), "::a_fault_elsewhere_dies_of_sigsegv_by_default_and_when_ignored");
        died_of_a_plain_fault(&in_child(test, || {
            set_handler(libc::SIGSEGV, libc::SIG_IGN, 0);
            install(describe);
            // SAFETY: raise only sends the signal, which is to be ignored as before.
            unsafe { libc::raise(libc::SIGSEGV) };
            fault_elsewhere();
        }));
    }

    #[test]
    fn a_signal_sent_by_kill_has_its_default_effect() {
        let test = concat!(module_path!(), "::a_signal_sent_by_kill_has_its_default_effect");
        died_of_a_plain_fault(&in_child(test, || {
            set_handler(libc::SIGSEGV, libc::SIG_DFL, 0);
            install(describe);
            // SAFETY: raise only sends the signal.
            unsafe { libc::raise(libc::SIGSEGV) };
        }));
    }

    extern "C" fn exit_with_signal_and_context(
        signal: c_int,
        info: *mut libc::siginfo_t,
        context: *mut c_void,
    ) {
        // SAFETY: the pointers are checked before they are used; _exit is async-signal-safe.
        unsafe {
            let valid = !info.is_null() && !context.is_null() && (*info).si_signo == signal;
            libc::_exit(if valid { 100 + signal } else { 1 });
        }
    }

    extern "C" fn exit_with_signal(signal: c_int) {
        // SAFETY: _exit is async-signal-safe.
        unsafe { libc::_exit(50 + signal) };
    }

    #[test]
    fn a_fault_elsewhere_reaches_the_previous_handler_with_its_arguments() {
        let test =
            concat!(module_path!(), "::a_fault_elsewhere_reaches_the_previous_handler_with_its_arguments");
        let output = in_child(test, || {
            let handler: Handler = exit_with_signal_and_context;
            set_handler(libc::SIGSEGV, handler as libc::sighandler_t, libc::SA_SIGINFO);
            install(describe);
            fault_elsewhere();
        });
        assert_eq!(output.status.code(), Some(100 + libc::SIGSEGV), "{output:?}");
    }

    #[test]
    fn a_previous_handler_without_siginfo_is_called_as_such() {
        let test = concat!(module_path!(), "::a_previous_handler_without_siginfo_is_called_as_such");
        let output = in_child(test, || {
            let handler: extern "C" fn(c_int) = exit_with_signal;
            set_handler(libc::SIGBUS, handler as libc::sighandler_t, 0);
            install(describe);
            // SAFETY: raise only sends the signal.
            unsafe { libc::raise(libc::SIGBUS) };
        });
        assert_eq!(output.status.code(), Some(50 + libc::SIGBUS), "{output:?}");
    }

    #[test]
    fn a_long_description_is_cut_and_the_rest_kept() {
        let mut message = Message::new();
        let region = Region { start: 0x1000, len: 0x8000, slot_len: 0x8000, guard_len: 0x1000 };
        message.compose(
            |out| {
                for _ in 0..1000 {
                    let _ = out.write_str("long ");
                }
            },
            region,
            0x1010,
        );
        let text = std::str::from_utf8(&message.bytes[..message.len]).unwrap();
        assert!(text.contains("long lo overflowed its 32 KiB stack (fault at 0x1010)\n"), "{text}");
        assert!(text.ends_with("memory\n"), "{text}");
    }

    #[test]
    fn the_signal_stack_is_freed_when_the_thread_ends() {
        let test = concat!(module_path!(), "::the_signal_stack_is_freed_when_the_thread_ends");
        finished(&in_child(test, || {
            let prepared = || {
                prepare_thread();
                let stack = AlternateStack::current();
                prepare_thread();
                assert_eq!(AlternateStack::current().ss_sp, stack.ss_sp, "prepared twice, changed twice");
                assert!(stack.ss_size >= AlternateStack::least_size());
                stack.ss_sp.expose_provenance()
            };
            let lowest = thread::spawn(prepared).join().unwrap();
            // SAFETY: msync of an unmapped page fails and changes nothing.
            let result =
                unsafe { libc::msync(ptr::with_exposed_provenance_mut(lowest), page_size(), libc::MS_ASYNC) };
            assert_eq!((result, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ENOMEM)));
        }));
    }

    #[test]
    fn a_larger_signal_stack_is_left_alone() {
        thread::spawn(|| {
            let len = 512 << 10;
            let own = AlternateStack { mapping: slab::map(len).unwrap(), len };
            own.enable();
            prepare_thread();
            assert_eq!(AlternateStack::current().ss_sp, own.lowest());
        })
        .join()
        .unwrap();
    }
}
