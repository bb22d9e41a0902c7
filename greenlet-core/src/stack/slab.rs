//! Slabs: large mappings from which slots are carved one after the other.

use std::ffi::c_void;
use std::{io, ptr};

use corosensei::stack::StackPointer;

use super::guard::{Guard, Guards, guard_len, page_size};
use super::registry::{Region, Registration};
use super::{StackError, StackSize};

/// The first slab of a size has this many slots.
const FIRST_SLOTS: usize = 64;
/// Slabs double up to this size, so that a million default stacks live in some 260 slabs.
const MAX_SLAB_BYTES: usize = 1 << 30;

/// How many slots the next slab should have, given how many the last one of this size has.
pub(super) fn next_slots(size: StackSize, last: Option<usize>) -> usize {
    let most = MAX_SLAB_BYTES / size.bytes();
    last.map_or(FIRST_SLOTS, |slots| slots * 2).min(most)
}

/// A mapping of equal slots. Those below `carved` have their guard and were given out, the others are not
/// used.
///
/// Dropping a slab leaks its memory: only [`unmap`](Self::unmap) frees it.
#[derive(Debug)]
pub(super) struct Slab {
    start: usize,
    size: StackSize,
    slots: usize,
    carved: usize,
    /// Of the carved slots, those whose guard is a mapping.
    guard_mappings: usize,
    registration: Registration,
}

impl Slab {
    /// Maps a slab of `slots` slots, or of fewer where that is refused (`RLIMIT_AS`, strict overcommit).
    pub(super) fn new(size: StackSize, mut slots: usize) -> Result<Self, StackError> {
        let start = loop {
            match map(slots * size.bytes()) {
                Ok(start) => break start,
                Err(_) if slots > 1 => slots /= 2,
                Err(source) => return Err(StackError::OutOfMemory { size, source }),
            }
        };
        let start = start.expose_provenance();
        let len = slots * size.bytes();
        let registration =
            Registration::new(Region { start, len, slot_len: size.bytes(), guard_len: guard_len() });
        Ok(Self { start, size, slots, carved: 0, guard_mappings: 0, registration })
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    pub(super) fn carved(&self) -> usize {
        self.carved
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots * self.size.bytes()
    }

    pub(super) fn is_full(&self) -> bool {
        self.carved == self.slots
    }

    /// Puts the guard below the next slot and returns the slot's base.
    ///
    /// # Panics
    ///
    /// When the slab [is full](Self::is_full).
    pub(super) fn carve(&mut self, guards: &mut Guards) -> Result<StackPointer, StackError> {
        assert!(!self.is_full());
        let low = self.start + self.carved * self.size.bytes();
        // SAFETY: the slot is within the slab's own mapping, and nobody knows its address yet.
        match unsafe { guards.install(ptr::with_exposed_provenance_mut(low), self.size) }? {
            Guard::Marker => {}
            Guard::Mapping => self.guard_mappings += 1,
        }
        self.carved += 1;
        Ok(StackPointer::new(low + self.size.bytes()).expect("no mapping ends at address zero"))
    }

    /// Returns the memory to the kernel.
    ///
    /// # Safety
    ///
    /// No slot of the slab is in use, and none will be.
    pub(super) unsafe fn unmap(self, guards: &Guards) {
        let len = self.bytes();
        self.registration.remove();
        // SAFETY: the range is the mapping that `new` made; nothing refers to it, as the caller promises.
        if unsafe { libc::munmap(ptr::with_exposed_provenance_mut(self.start), len) } == 0 {
            guards.unmapped(self.guard_mappings);
        } else {
            // The kernel merges neighbouring slabs, and cutting a hole needs a mapping more. Only memory is
            // lost.
            tracing::debug!(error = %io::Error::last_os_error(), len, "munmap of a stack slab failed");
        }
    }
}

/// Gives the memory of the slots in `low..high` back to the kernel; their guards stay.
///
/// # Safety
///
/// The range consists of idle slots of one pool.
pub(super) unsafe fn discard(low: usize, high: usize) {
    // SAFETY: the content of idle stacks is not used again. A refusal (locked memory) leaves the pages
    // resident.
    unsafe { libc::madvise(ptr::with_exposed_provenance_mut(low), high - low, libc::MADV_DONTNEED) };
}

/// Maps `len` bytes of memory that takes room only where it is touched.
pub(super) fn map(len: usize) -> io::Result<*mut c_void> {
    const FLAGS: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANON | EXTRA_FLAGS;
    debug_assert!(len.is_multiple_of(page_size()));
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, FLAGS, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    advise(start, len);
    Ok(start)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const EXTRA_FLAGS: libc::c_int = libc::MAP_NORESERVE | libc::MAP_STACK;
// OpenBSD refuses to run on stacks without MAP_STACK; elsewhere it means something else or does not exist.
#[cfg(target_os = "openbsd")]
const EXTRA_FLAGS: libc::c_int = libc::MAP_STACK;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "openbsd")))]
const EXTRA_FLAGS: libc::c_int = 0;

/// Both requests are best effort: kernels without huge pages or names for mappings refuse them.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn advise(start: *mut c_void, len: usize) {
    // SAFETY: both calls keep the content and the protection of the mapping. The name is a static C string.
    unsafe {
        // One touched page would otherwise make 2 MiB, eight default stacks, resident.
        libc::madvise(start, len, libc::MADV_NOHUGEPAGE);
        // Shown in /proc/self/maps as [anon:greenlet-stacks].
        let name: *const libc::c_char = c"greenlet-stacks".as_ptr();
        libc::prctl(libc::PR_SET_VMA, libc::PR_SET_VMA_ANON_NAME as libc::c_ulong, start, len, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slabs_for(stacks: usize, size: StackSize) -> usize {
        let mut last = None;
        let mut room = 0;
        let mut slabs = 0;
        while room < stacks {
            let slots = next_slots(size, last);
            room += slots;
            slabs += 1;
            last = Some(slots);
        }
        slabs
    }

    #[test]
    fn a_million_stacks_need_few_slabs() {
        assert!(slabs_for(1_000_000, StackSize::DEFAULT) < 300);
        assert!(slabs_for(1_000_000, StackSize::new(128 << 10).unwrap()) < 200);
    }

    #[test]
    fn slabs_start_small_and_stop_at_one_gibibyte() {
        assert_eq!(next_slots(StackSize::DEFAULT, None) * StackSize::DEFAULT.bytes(), 16 << 20);
        assert_eq!(next_slots(StackSize::DEFAULT, Some(64)), 128);
        assert_eq!(next_slots(StackSize::DEFAULT, Some(4096)), 4096);
        assert_eq!(next_slots(StackSize::MAX, None), 1);
        assert_eq!(next_slots(StackSize::MAX, Some(1)), 1);
        let odd = StackSize::new((512 << 20) + page_size().max(64 << 10)).unwrap();
        assert_eq!(next_slots(odd, Some(1)), 1);
    }
}
