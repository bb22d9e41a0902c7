//! Guards: memory at the low end of each slot that faults when it is touched.
//!
//! Linux 6.13 and later mark pages as guards in the page table (`MADV_GUARD_INSTALL`), at no cost in
//! mappings. Elsewhere a guard is made with `mprotect`, which splits the slab's mapping: two more mappings
//! for each guard, of which the kernel allows a process `vm.max_map_count`. Running into that limit would
//! make every later `mmap` of the process fail, those of the allocator included, so guards stop some way
//! short of it: see [`MapBudget`].

use std::ffi::c_void;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::{StackError, StackSize};

/// How the guard below each stack is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum GuardMode {
    /// `MADV_GUARD_INSTALL` where the kernel has it (Linux 6.13) and the memory is not locked (`mlockall`),
    /// else `mprotect`.
    #[default]
    Auto,
    /// `MADV_GUARD_INSTALL` or an error.
    Madvise,
    /// `mprotect`: works everywhere, for some 31,000 stacks with the default `vm.max_map_count` of Linux.
    Mprotect,
}

/// What a guard was made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Guard {
    /// A marker in the page table. It goes with the memory, and survives `MADV_DONTNEED`.
    Marker,
    /// A mapping of its own, counted in the [`MapBudget`] until it is unmapped.
    Mapping,
}

/// Installs the guards of one pool.
#[derive(Debug)]
pub(super) struct Guards {
    mode: GuardMode,
    budget: &'static MapBudget,
}

impl Guards {
    pub(super) fn new(mode: GuardMode) -> Self {
        Self::with_budget(mode, &PROCESS_BUDGET)
    }

    pub(super) fn with_budget(mode: GuardMode, budget: &'static MapBudget) -> Self {
        let mode = match mode {
            GuardMode::Auto if !marker::available() => {
                tracing::debug!("MADV_GUARD_INSTALL is not available: stack guards are made with mprotect");
                GuardMode::Mprotect
            }
            mode => mode,
        };
        Self { mode, budget }
    }

    /// Makes the first [`guard_len`] bytes of the slot of `size` at `slot` fault when they are touched.
    ///
    /// # Safety
    ///
    /// They are page-aligned private anonymous memory of the caller that nothing refers to.
    pub(super) unsafe fn install(&mut self, slot: *mut c_void, size: StackSize) -> Result<Guard, StackError> {
        if self.mode != GuardMode::Mprotect {
            // SAFETY: as promised by the caller.
            match unsafe { marker::install(slot, guard_len()) } {
                Ok(()) => return Ok(Guard::Marker),
                Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                    return Err(StackError::OutOfMemory { size, source: error });
                }
                Err(source) if self.mode == GuardMode::Madvise => {
                    return Err(StackError::GuardRefused { source });
                }
                Err(error) => {
                    tracing::debug!(%error, "guard marker refused (locked memory?): using mprotect now");
                    self.mode = GuardMode::Mprotect;
                }
            }
        }
        self.budget.take()?;
        // SAFETY: as promised by the caller.
        if unsafe { libc::mprotect(slot, guard_len(), libc::PROT_NONE) } == 0 {
            return Ok(Guard::Mapping);
        }
        let error = io::Error::last_os_error();
        self.budget.give_back(1);
        Err(self.budget.explain(error, size))
    }

    /// To be called after `count` guards of kind [`Guard::Mapping`] were unmapped.
    pub(super) fn unmapped(&self, count: usize) {
        self.budget.give_back(count);
    }
}

/// The bytes of guard below each stack.
///
/// rustc probes the stack page by page, and so do C compilers with stack clash protection, except on aarch64,
/// where the convention is to probe every 64 KiB.
pub(super) fn guard_len() -> usize {
    const PROBE_STEP: usize = if cfg!(target_arch = "aarch64") { 64 << 10 } else { 4 << 10 };
    PROBE_STEP.max(page_size())
}

pub(crate) fn page_size() -> usize {
    // SAFETY: sysconf only reads.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).expect("the page size is known")
}

static PROCESS_BUDGET: MapBudget = MapBudget::new(kernel::max_map_count, kernel::mappings);

/// How many guards made of mappings the process may have.
///
/// Computed when the first one is made, and again when it is reached and the kernel's limit was raised since.
#[derive(Debug)]
pub(super) struct MapBudget {
    guards: AtomicUsize,
    limit: AtomicUsize,
    /// The `max_map_count` that `limit` was computed from; zero before.
    computed_from: Mutex<usize>,
    max_map_count: fn() -> usize,
    mappings: fn() -> usize,
}

impl MapBudget {
    /// Mappings left to the rest of the process: libraries, thread stacks, allocator arenas, files.
    pub(super) const MARGIN: usize = 2048;
    const MAPPINGS_PER_GUARD: usize = 2;

    /// `max_map_count` is the kernel's limit, `mappings` what the process has now, its guards included.
    pub(super) const fn new(max_map_count: fn() -> usize, mappings: fn() -> usize) -> Self {
        Self {
            guards: AtomicUsize::new(0),
            limit: AtomicUsize::new(0),
            computed_from: Mutex::new(0),
            max_map_count,
            mappings,
        }
    }

    fn take(&self) -> Result<(), StackError> {
        loop {
            let limit = self.limit.load(Relaxed);
            let below = |guards: usize| (guards < limit).then_some(guards + 1);
            match self.guards.fetch_update(Relaxed, Relaxed, below) {
                Ok(_) => return Ok(()),
                Err(in_use) => self.raise_limit(limit, in_use)?,
            }
        }
    }

    /// Computes a new limit if there is reason to expect more than `limit`.
    #[cold]
    fn raise_limit(&self, limit: usize, in_use: usize) -> Result<(), StackError> {
        let mut computed_from = self.computed_from.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if self.limit.load(Relaxed) != limit {
            return Ok(()); // by another thread meanwhile
        }
        // Only the sysctl is read again on every failure: listing 65,000 mappings takes tens of milliseconds.
        let max_map_count = (self.max_map_count)();
        if max_map_count == *computed_from {
            return Err(StackError::TooManyGuards { limit, in_use, max_map_count });
        }
        *computed_from = max_map_count;
        let free = max_map_count.saturating_sub((self.mappings)()).saturating_sub(Self::MARGIN);
        self.limit.store(in_use + free / Self::MAPPINGS_PER_GUARD, Relaxed);
        Ok(())
    }

    fn give_back(&self, count: usize) {
        self.guards.fetch_sub(count, Relaxed);
    }

    /// `mprotect` says `ENOMEM` when the kernel's limit was reached after all, by other mappings.
    fn explain(&self, error: io::Error, size: StackSize) -> StackError {
        let max_map_count = (self.max_map_count)();
        if error.kind() == io::ErrorKind::OutOfMemory && max_map_count < usize::MAX {
            let in_use = self.guards.load(Relaxed);
            StackError::TooManyGuards { limit: in_use, in_use, max_map_count }
        } else {
            StackError::OutOfMemory { size, source: error }
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod kernel {
    use std::fs;

    pub(super) fn max_map_count() -> usize {
        const DEFAULT: usize = 65_530;
        let text = fs::read_to_string("/proc/sys/vm/max_map_count");
        text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT)
    }

    pub(super) fn mappings() -> usize {
        const GUESS: usize = 4096;
        let maps = fs::read("/proc/self/maps");
        maps.map_or(GUESS, |maps| maps.iter().filter(|&&byte| byte == b'\n').count())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod kernel {
    /// No limit that could be read.
    pub(super) fn max_map_count() -> usize {
        usize::MAX
    }

    pub(super) fn mappings() -> usize {
        0
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod marker {
    use std::sync::OnceLock;

    use super::{c_void, io, page_size};
    use crate::stack::slab;

    /// Not in libc yet.
    const MADV_GUARD_INSTALL: libc::c_int = 102;

    /// # Safety
    ///
    /// As for [`Guards::install`](super::Guards::install).
    pub(super) unsafe fn install(start: *mut c_void, len: usize) -> io::Result<()> {
        // SAFETY: as promised by the caller: nobody misses the memory that faults from now on.
        match unsafe { libc::madvise(start, len, MADV_GUARD_INSTALL) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether markers can be installed and do guard. Tried once per process.
    ///
    /// Success alone proves nothing: `madvise` is taken for a hint by emulators that do not know the advice.
    /// So the kernel is asked to write to the guard, which it has to refuse.
    pub(super) fn available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE.get_or_init(|| {
            let Ok(page) = slab::map(page_size()) else { return false };
            // SAFETY: the page was mapped above and is used here only; getrandom writes one byte at most.
            unsafe {
                let guarded = install(page, page_size()).is_ok()
                    && libc::getrandom(page, 1, 0) == -1
                    && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT);
                libc::munmap(page, page_size());
                guarded
            }
        })
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod marker {
    use super::{c_void, io};

    /// # Safety
    ///
    /// None: it always fails.
    pub(super) unsafe fn install(_start: *mut c_void, _len: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn available() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    #[test]
    fn the_limit_leaves_a_margin_and_counts_two_mappings_a_guard() {
        let budget = MapBudget::new(|| 100 + MapBudget::MARGIN, || 80);
        assert_eq!(iter::from_fn(|| budget.take().ok()).count(), 10);
        budget.give_back(3);
        assert_eq!(iter::from_fn(|| budget.take().ok()).count(), 3);
    }

    #[test]
    fn raising_max_map_count_makes_room_without_a_restart() {
        static MAX: AtomicUsize = AtomicUsize::new(10 + MapBudget::MARGIN);
        static BUDGET: MapBudget = MapBudget::new(
            || MAX.load(Relaxed),
            || BUDGET.guards.load(Relaxed) * MapBudget::MAPPINGS_PER_GUARD,
        );

        assert_eq!(iter::from_fn(|| BUDGET.take().ok()).count(), 5);
        MAX.store(20 + MapBudget::MARGIN, Relaxed);
        assert_eq!(iter::from_fn(|| BUDGET.take().ok()).count(), 5);
    }

    #[test]
    fn too_many_mappings_say_which_limit_to_raise() {
        let budget = MapBudget::new(|| 2 + MapBudget::MARGIN, || 0);
        budget.take().unwrap();
        let message = budget.take().unwrap_err().to_string();
        assert!(message.contains("1 of 1"), "{message}");
        assert!(message.contains("vm.max_map_count"), "{message}");
        assert!(message.contains("sysctl -w"), "{message}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_budget_is_read_from_the_kernel() {
        assert!(kernel::max_map_count() >= 1024);
        assert!(kernel::mappings() > 10);
    }
}
