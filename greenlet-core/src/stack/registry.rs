//! Where the guards of this process are: a list of all slabs that a signal handler may read.
//!
//! Entries are leaked and never unlinked, so a reader can walk the list at any moment, in particular in a
//! signal handler that interrupted a writer. An entry whose slab was unmapped is taken by the next slab. Each
//! entry is a sequence lock: its version is odd while its owner writes, and a reader that saw a version
//! change skips the entry. It loses nothing by that: the slab in which its own thread faulted is in use and
//! so does not change.

use std::ops::Range;
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, fence};

static HEAD: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

/// A run of equal slots in memory, each with its guard at the low end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) slot_len: usize,
    pub(super) guard_len: usize,
}

impl Region {
    fn has_guard_at(&self, address: usize) -> bool {
        address
            .checked_sub(self.start)
            .is_some_and(|offset| offset < self.len && offset % self.slot_len < self.guard_len)
    }
}

/// Keeps a region listed until it is [removed](Self::remove); dropping it leaves the region listed.
#[derive(Debug)]
pub(super) struct Registration(&'static Entry);

impl Registration {
    /// Lists `region`. Lock-free; the cost grows with the number of slabs, which is small.
    pub(super) fn new(region: Region) -> Self {
        let entry = Entry::take_vacant().unwrap_or_else(Entry::append);
        entry.write(region);
        Registration(entry)
    }

    /// Takes the region off the list. To be called before its memory is unmapped, lest a later mapping at the
    /// same address be taken for a guard.
    pub(super) fn remove(self) {
        self.0.write(Region::default());
        self.0.taken.store(false, Release);
    }
}

/// The region that has a guard at `address`. Async-signal-safe.
pub(super) fn guard_at(address: usize) -> Option<Region> {
    entries().filter_map(Entry::read).find(|region| region.has_guard_at(address))
}

/// The stack that `address` lies in, its guard left out. Async-signal-safe.
pub(crate) fn slot_at(address: usize) -> Option<Range<usize>> {
    let region = entries()
        .filter_map(Entry::read)
        .find(|region| address.checked_sub(region.start).is_some_and(|offset| offset < region.len))?;
    let low = address - (address - region.start) % region.slot_len;
    Some(low + region.guard_len..low + region.slot_len)
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    // SAFETY: HEAD and every `next` are null or point to a leaked entry, complete before it was published.
    let deref = |entry: *const Entry| unsafe { entry.as_ref() };
    std::iter::successors(deref(HEAD.load(Acquire)), move |entry| deref(entry.next))
}

#[derive(Debug)]
struct Entry {
    taken: AtomicBool,
    version: AtomicUsize,
    start: AtomicUsize,
    len: AtomicUsize,
    slot_len: AtomicUsize,
    guard_len: AtomicUsize,
    next: *const Entry,
}

// SAFETY: `next` is written before the entry is shared and only read afterwards; what it points to is leaked.
unsafe impl Sync for Entry {}

impl Entry {
    fn take_vacant() -> Option<&'static Entry> {
        entries().find(|entry| !entry.taken.load(Relaxed) && !entry.taken.swap(true, AcqRel))
    }

    fn append() -> &'static Entry {
        let new = Box::leak(Box::new(Entry {
            taken: AtomicBool::new(true),
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            slot_len: AtomicUsize::new(0),
            guard_len: AtomicUsize::new(0),
            next: HEAD.load(Relaxed),
        }));
        loop {
            let head = new.next.cast_mut();
            match HEAD.compare_exchange_weak(head, new, AcqRel, Acquire) {
                Ok(_) => return new,
                Err(current) => new.next = current,
            }
        }
    }

    /// Only the owner of a taken entry writes.
    fn write(&self, region: Region) {
        let version = self.version.load(Relaxed);
        self.version.store(version.wrapping_add(1), Relaxed);
        fence(Release);
        self.start.store(region.start, Relaxed);
        self.len.store(region.len, Relaxed);
        self.slot_len.store(region.slot_len, Relaxed);
        self.guard_len.store(region.guard_len, Relaxed);
        self.version.store(version.wrapping_add(2), Release);
    }

    fn read(&self) -> Option<Region> {
        let version = self.version.load(Acquire);
        let region = Region {
            start: self.start.load(Relaxed),
            len: self.len.load(Relaxed),
            slot_len: self.slot_len.load(Relaxed),
            guard_len: self.guard_len.load(Relaxed),
        };
        fence(Acquire);
        let settled = version.is_multiple_of(2) && self.version.load(Relaxed) == version;
        (settled && region.len > 0).then_some(region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses in the first pages, where no test maps anything.
    const REGION: Region = Region { start: 0x100, len: 0x40, slot_len: 0x10, guard_len: 0x4 };

    #[test]
    fn only_guards_of_listed_regions_are_found() {
        let region = Region { start: 0x1100, ..REGION };
        let registration = Registration::new(region);
        for slot in 0..4 {
            let low = 0x1100 + slot * 0x10;
            assert_eq!(guard_at(low), Some(region));
            assert_eq!(guard_at(low + 3), Some(region));
            assert_eq!(guard_at(low + 4), None);
            assert_eq!(guard_at(low + 15), None);
        }
        assert_eq!(guard_at(0x10ff), None);
        assert_eq!(guard_at(0x1140), None);
        registration.remove();
        assert_eq!(guard_at(0x1100), None);
    }

    #[test]
    fn entries_of_removed_regions_are_used_again() {
        let before = entries().count();
        for _ in 0..1000 {
            Registration::new(REGION).remove();
        }
        assert!(entries().count() < before + 100, "the list grew with every registration");
    }

    #[test]
    fn a_reader_never_sees_half_of_a_region() {
        let small = Region { start: 0x2000, len: 0x10, slot_len: 0x10, guard_len: 0x4 };
        let large = Region { start: 0x3000, len: 0x1000, slot_len: 0x1000, guard_len: 0x800 };
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    Registration::new(small).remove();
                    Registration::new(large).remove();
                }
            });
            for _ in 0..200_000 {
                // Only `small`'s start with `large`'s length has a guard here.
                assert_eq!(guard_at(0x2100), None);
            }
            stop.store(true, Relaxed);
        });
    }
}
