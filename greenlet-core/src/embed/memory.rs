//! The memory of what is on its way for a moment: messages, answers.
//!
//! Each thread keeps some of what was freed on it, in lists by size, and takes from there first: a message costs two list operations instead
//! of a visit to the allocator and back, which would be half of what it costs at all. What one thread sends to another is freed there; so threads that
//! have too much give it away by the hundred, to those that have too little.
//!
//! # Invariants
//! - A block of a class has that class's layout, whoever allocated it, and so may go to whatever fits into it.
//! - What is in a list belongs to the list's thread alone, and what is in the depot to whoever takes it out.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sizes are rounded up to these.
const STEP: usize = 16;
/// So many sizes are kept: up to 128 bytes.
const CLASSES: usize = 8;
/// So many blocks make a batch. A thread keeps up to two of each size: at most 576 KiB.
const BATCH: u32 = 512;
/// So many batches of each size wait for whoever needs them: at most 2.3 MiB.
const MOST_WAITING: usize = 8;

struct Block {
    next: *mut Block,
}

struct List {
    first: Cell<*mut Block>,
    len: Cell<u32>,
    /// A batch, or nothing.
    spare: Cell<*mut Block>,
}

struct Kept([List; CLASSES]);

/// A list of [`BATCH`] blocks.
struct Batch(*mut Block);

// SAFETY: blocks are memory and nothing else, and belong to whoever has the batch.
unsafe impl Send for Batch {}

static DEPOT: [Mutex<Vec<Batch>>; CLASSES] = [const { Mutex::new(Vec::new()) }; CLASSES];

/// How many they are, for a look without the lock.
static WAITING: [AtomicUsize; CLASSES] = [const { AtomicUsize::new(0) }; CLASSES];

/// How many bytes wait there: they were freed by threads that had enough, and go to those that need some.
pub fn waiting_bytes() -> usize {
    let batches = WAITING.iter().enumerate();
    batches
        .map(|(class, waiting)| waiting.load(Ordering::Relaxed) * BATCH as usize * class_layout(class).size())
        .sum()
}

fn depot(class: usize) -> MutexGuard<'static, Vec<Batch>> {
    DEPOT[class].lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static KEPT: Kept = const {
        Kept([const { List::new() }; CLASSES])
    };
}

impl List {
    const fn new() -> List {
        List { first: Cell::new(ptr::null_mut()), len: Cell::new(0), spare: Cell::new(ptr::null_mut()) }
    }

    /// It is empty: fills it with a batch, if there is one.
    #[cold]
    fn refill(&self, class: usize) {
        let mut batch = self.spare.replace(ptr::null_mut());
        if batch.is_null() && WAITING[class].load(Ordering::Relaxed) > 0 {
            let mut depot = depot(class);
            batch = depot.pop().map_or(ptr::null_mut(), |Batch(first)| first);
            WAITING[class].store(depot.len(), Ordering::Relaxed);
        }
        if !batch.is_null() {
            self.first.set(batch);
            self.len.set(BATCH);
        }
    }

    /// It is a batch: makes room. False if there are batches enough.
    #[inline(never)]
    fn make_room(&self, class: usize) -> bool {
        if !self.spare.get().is_null() {
            // A look without the lock first: who frees a million of them is to pay for that once.
            if WAITING[class].load(Ordering::Relaxed) >= MOST_WAITING {
                return false;
            }
            let mut depot = depot(class);
            if depot.len() >= MOST_WAITING {
                return false;
            }
            depot.push(Batch(self.spare.get()));
            WAITING[class].store(depot.len(), Ordering::Relaxed);
        }
        self.spare.set(self.first.replace(ptr::null_mut()));
        self.len.set(0);
        true
    }
}

/// Gives blocks back to the allocator.
///
/// # Safety
/// They are the caller's, and of that class.
unsafe fn give_back(mut block: *mut Block, class: usize) {
    while !block.is_null() {
        // SAFETY: contract.
        unsafe {
            let next = (*block).next;
            dealloc(block.cast(), class_layout(class));
            block = next;
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for (class, list) in self.0.iter().enumerate() {
            // SAFETY: they are in this list, so they are ours and of this class.
            unsafe {
                give_back(list.first.get(), class);
                give_back(list.spare.get(), class);
            }
        }
    }
}

const fn class_layout(class: usize) -> Layout {
    match Layout::from_size_align((class + 1) * STEP, STEP) {
        Ok(layout) => layout,
        Err(_) => panic!("a small power of two"),
    }
}

/// Which list is for such values, if one is.
const fn class<T>() -> Option<usize> {
    let (size, align) = (size_of::<T>(), align_of::<T>());
    // loom and miri watch each allocation by itself.
    if cfg!(any(loom, miri)) || size == 0 || size > CLASSES * STEP || align > STEP {
        None
    } else {
        Some((size - 1) / STEP)
    }
}

const fn layout<T>() -> Layout {
    match class::<T>() {
        Some(class) => class_layout(class),
        None => Layout::new::<T>(),
    }
}

/// Moves a value to memory of its own, for [`take`] or [`free`].
///
/// `T` is not of size 0: that does not compile.
#[inline]
pub fn put<T>(value: T) -> *mut T {
    const { assert!(size_of::<T>() > 0) };
    let block: *mut T = kept::<T>().unwrap_or_else(fresh::<T>);
    // SAFETY: it is ours, and has the size and the alignment.
    unsafe { block.write(value) };
    block
}

#[inline]
fn kept<T>() -> Option<*mut T> {
    let class = const { class::<T>() }?;
    // Not there any more while the thread ends.
    let block = KEPT.try_with(|kept| {
        let list = &kept.0[class];
        if list.first.get().is_null() {
            list.refill(class);
        }
        let block = list.first.get();
        if !block.is_null() {
            // SAFETY: it is in the list, so it is ours.
            list.first.set(unsafe { (*block).next });
            list.len.set(list.len.get() - 1);
        }
        block
    });
    block.ok().filter(|block| !block.is_null()).map(<*mut Block>::cast)
}

#[cold]
fn fresh<T>() -> *mut T {
    let layout = const { layout::<T>() };
    // SAFETY: the size is not 0.
    let block = unsafe { alloc(layout) };
    if block.is_null() {
        handle_alloc_error(layout);
    }
    block.cast()
}

/// Takes the value out, and gives its memory back.
///
/// # Safety
/// `block` is from [`put`], and the caller's; not any more afterwards.
#[inline]
pub unsafe fn take<T>(block: *mut T) -> T {
    // SAFETY: contract.
    unsafe {
        let value = block.read();
        free(block);
        value
    }
}

/// Gives the memory back, but does not drop what is in it.
///
/// # Safety
/// As for [`take`].
#[inline]
pub unsafe fn free<T>(block: *mut T) {
    let keeps = const { class::<T>() }.is_some_and(|class| {
        let keeps = KEPT.try_with(|kept| {
            let list = &kept.0[class];
            if list.len.get() == BATCH && !list.make_room(class) {
                return false;
            }
            let block: *mut Block = block.cast();
            // SAFETY: it is ours, and large enough for a pointer, as every class is.
            unsafe { (*block).next = list.first.get() };
            list.first.set(block);
            list.len.set(list.len.get() + 1);
            true
        });
        // Not there any more while the thread ends.
        keeps.unwrap_or(false)
    });
    if !keeps {
        // SAFETY: `put` allocated it with this layout, on whatever thread.
        unsafe { dealloc(block.cast(), const { layout::<T>() }) };
    }
}

/// Asks for a cache line, for who will need it in a moment. Any address will do.
#[inline(always)]
pub fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on the cache, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_taken_whatever_its_size() {
        fn there_and_back<const SIZE: usize>() {
            let blocks: Vec<_> = (0..3000_u32).map(|n| put((n, [n as u8; SIZE]))).collect();
            for (n, block) in blocks.into_iter().enumerate() {
                // SAFETY: it is from `put`, and nobody else has it.
                let (number, bytes) = unsafe { take(block) };
                assert_eq!((number as usize, bytes), (n, [n as u8; SIZE]));
            }
        }
        there_and_back::<0>();
        there_and_back::<1>();
        there_and_back::<60>();
        there_and_back::<124>();
        there_and_back::<125>();
        there_and_back::<4096>();
    }

    #[test]
    fn memory_is_used_again_also_for_something_else_of_the_size() {
        let first = put([1_u64, 2]);
        // SAFETY: it is from `put`, and nobody else has it.
        unsafe { free(first) };
        let second = put([1_u8; 15]);
        assert_eq!(first.addr(), second.addr());
        // SAFETY: as above.
        assert_eq!(unsafe { take(second) }, [1; 15]);
    }

    #[test]
    fn what_one_thread_frees_another_one_takes() {
        const SIZE: usize = 7 * STEP; // a class that no other test uses
        struct Sent(*mut [u8; SIZE]);
        // SAFETY: the pointer is used by one thread at a time.
        unsafe impl Send for Sent {}
        let count = 4 * BATCH as usize;
        let blocks: Vec<_> = (0..count).map(|n| Sent(put([n as u8; SIZE]))).collect();
        let addresses: std::collections::HashSet<_> = blocks.iter().map(|Sent(block)| block.addr()).collect();
        let free_all = move || {
            for (n, Sent(block)) in blocks.into_iter().enumerate() {
                // SAFETY: it is from `put`, and nobody else has it.
                assert_eq!(unsafe { take(block) }, [n as u8; SIZE]);
            }
        };
        std::thread::spawn(free_all).join().expect("it does not fail");
        let again: Vec<_> = (0..BATCH).map(|_| put([1_u8; SIZE])).collect();
        assert!(again.iter().all(|block| addresses.contains(&block.addr())), "from the depot");
        for block in again {
            // SAFETY: as above.
            unsafe { free(block) };
        }
    }

    #[test]
    fn alignment_is_kept() {
        #[repr(align(64))]
        struct Wide(u8);
        let block = put(Wide(7));
        assert_eq!(block.addr() % 64, 0);
        // SAFETY: it is from `put`, and nobody else has it.
        assert_eq!(unsafe { take(block) }.0, 7);
    }

    #[test]
    fn blocks_may_be_freed_on_another_thread_and_outlive_their_own() {
        struct Sent(*mut [u64; 3]);
        // SAFETY: the pointer is used by one thread at a time.
        unsafe impl Send for Sent {}
        let sent = std::thread::spawn(|| (0..2000).map(|n| Sent(put([n; 3]))).collect::<Vec<_>>());
        for (n, Sent(block)) in sent.join().expect("it does not fail").into_iter().enumerate() {
            // SAFETY: it is from `put`, and nobody else has it.
            assert_eq!(unsafe { take(block) }, [n as u64; 3]);
        }
    }
}
