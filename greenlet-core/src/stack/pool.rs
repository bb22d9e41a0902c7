//! [`StackPool`], which hands out stacks, and [`StackSlot`], one of them.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use corosensei::stack::{Stack, StackPointer};

use super::guard::Guards;
use super::slab::{self, Slab};
use super::{StackConfig, StackError, StackSize, StackStats};

/// The stacks of one hub.
///
/// It belongs to one thread and takes no locks. Dropping it unmaps the slabs that have no slot in use, and
/// leaks the others.
#[derive(Debug)]
pub(crate) struct StackPool {
    /// Marks the slots of this pool.
    id: u32,
    /// One per size that was ever asked for: a handful, so searching them is a few comparisons.
    classes: Vec<Class>,
    slabs: Vec<Slab>,
    guards: Guards,
    max_stacks: Option<usize>,
    warm_limit: usize,
    allocated: usize,
    idle_warm: usize,
    /// Stacks that exist, and the address space of their slabs.
    carved: usize,
    mapped_bytes: usize,
}

/// The slots of one size.
#[derive(Debug)]
struct Class {
    size: StackSize,
    /// Idle, pages in place; the last released is the last.
    warm: Vec<StackSlot>,
    /// Idle, pages given back.
    cold: Vec<StackSlot>,
    /// The slab that slots are carved from: an index into [`StackPool::slabs`].
    newest_slab: Option<usize>,
}

impl StackPool {
    pub(crate) fn new(config: StackConfig) -> Self {
        let guards = Guards::new(config.guard);
        Self::with_guards(config, guards)
    }

    pub(super) fn with_guards(config: StackConfig, guards: Guards) -> Self {
        static NEXT_ID: AtomicU32 = AtomicU32::new(0);
        Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            classes: Vec::new(),
            slabs: Vec::new(),
            guards,
            max_stacks: config.max_stacks,
            warm_limit: config.warm,
            allocated: 0,
            idle_warm: 0,
            carved: 0,
            mapped_bytes: 0,
        }
    }

    /// A stack of `size`: the warm one released last, else a cold one, else a new one.
    ///
    /// Its memory holds whatever its last user left there.
    ///
    /// # Errors
    ///
    /// See [`StackError`]. The pool stays usable: it succeeds again once stacks are released or limits
    /// raised.
    #[inline]
    pub(crate) fn allocate(&mut self, size: StackSize) -> Result<StackSlot, StackError> {
        if let Some(limit) = self.max_stacks
            && self.allocated >= limit
        {
            return Err(StackError::LimitReached { limit });
        }
        let class = self.class(size);
        let slot = if let Some(slot) = self.classes[class].warm.pop() {
            self.idle_warm -= 1;
            slot
        } else if let Some(slot) = self.classes[class].cold.pop() {
            slot
        } else {
            self.carve(class)?
        };
        self.allocated += 1;
        Ok(slot)
    }

    /// Takes back a stack on which nothing lives any more.
    ///
    /// # Panics
    ///
    /// When the slot is of another pool.
    #[inline]
    pub(crate) fn release(&mut self, slot: StackSlot) {
        assert_eq!(slot.pool, self.id, "a stack was released to a pool that it is not from");
        let class = self.class(slot.size);
        self.classes[class].warm.push(slot);
        self.allocated -= 1;
        self.idle_warm += 1;
        if self.idle_warm >= self.warm_limit.saturating_add(self.chill_batch()) {
            self.chill();
        }
    }

    /// What the pool holds at this moment.
    pub(crate) fn stats(&self) -> StackStats {
        StackStats {
            allocated: self.allocated,
            idle_warm: self.idle_warm,
            idle_cold: self.classes.iter().map(|class| class.cold.len()).sum(),
            slabs: self.slabs.len(),
            mapped_bytes: self.mapped_bytes,
        }
    }

    /// Stacks that are not idle.
    pub(crate) fn allocated(&self) -> usize {
        self.allocated
    }

    /// Stacks that wait for their next user, their memory kept or not.
    pub(crate) fn idle(&self) -> usize {
        self.carved - self.allocated
    }

    /// Address space of all slabs.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.mapped_bytes
    }

    #[inline]
    fn class(&mut self, size: StackSize) -> usize {
        self.classes.iter().position(|class| class.size == size).unwrap_or_else(|| {
            self.classes.push(Class { size, warm: Vec::new(), cold: Vec::new(), newest_slab: None });
            self.classes.len() - 1
        })
    }

    #[cold]
    fn carve(&mut self, class: usize) -> Result<StackSlot, StackError> {
        let Class { size, newest_slab, .. } = self.classes[class];
        let index = match newest_slab {
            Some(index) if !self.slabs[index].is_full() => index,
            full => {
                let slots = slab::next_slots(size, full.map(|index| self.slabs[index].slots()));
                self.slabs.push(Slab::new(size, slots)?);
                self.mapped_bytes += self.slabs[self.slabs.len() - 1].bytes();
                let index = self.slabs.len() - 1;
                self.classes[class].newest_slab = Some(index);
                index
            }
        };
        let base = self.slabs[index].carve(&mut self.guards)?;
        self.carved += 1;
        Ok(StackSlot { base, size, pool: self.id })
    }

    /// By how many slots the limit may be exceeded before they are chilled together.
    ///
    /// A share of the limit, so that moving up the slots that stay costs little per slot; and not too many,
    /// since the hub stands still meanwhile.
    fn chill_batch(&self) -> usize {
        (self.warm_limit / 16).clamp(1, 4096)
    }

    /// Gives the memory of a batch of idle stacks back to the kernel, those idle for longest in the class
    /// that has most. Neighbours go in one system call.
    #[cold]
    fn chill(&mut self) {
        let batch = self.chill_batch();
        let Some(class) = self.classes.iter_mut().max_by_key(|class| class.warm.len()) else { return };
        let count = batch.min(class.warm.len());
        let first = class.cold.len();
        class.cold.extend(class.warm.drain(..count));
        self.idle_warm -= count;

        let chilled = &mut class.cold[first..];
        chilled.sort_unstable_by_key(|slot| slot.base);
        for run in chilled.chunk_by(|low, high| low.base == high.limit()) {
            // SAFETY: the run is not empty, its slots adjoin each other and were idle in this pool.
            unsafe { slab::discard(run[0].limit().get(), run[run.len() - 1].base.get()) };
        }
    }
}

impl Drop for StackPool {
    fn drop(&mut self) {
        self.slabs.sort_unstable_by_key(Slab::start);
        let mut idle = vec![0; self.slabs.len()];
        for slot in self.classes.iter().flat_map(|class| class.warm.iter().chain(&class.cold)) {
            let limit = slot.limit().get();
            idle[self.slabs.partition_point(|slab| slab.start() <= limit) - 1] += 1;
        }
        for (slab, idle) in self.slabs.drain(..).zip(idle) {
            if idle == slab.carved() {
                // SAFETY: all slots ever given out are idle, and the pool ends here (invariants 2 and 4).
                unsafe { slab.unmap(&self.guards) };
            }
        }
    }
}

/// One stack, owned.
///
/// Give it back with [`StackPool::release`]. Dropping it instead leaks the stack: a stack with live frames is
/// never freed.
#[derive(Debug)]
#[must_use = "a stack that is not released is leaked"]
pub(crate) struct StackSlot {
    base: StackPointer,
    size: StackSize,
    pool: u32,
}

// SAFETY: a slot owns the memory from limit to base, has a guard at its low end (invariants 1 and 2) and,
// being at least StackSize::MIN, far more usable bytes than required. Both ends are page-aligned.
unsafe impl Stack for StackSlot {
    #[inline]
    fn base(&self) -> StackPointer {
        self.base
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        let limit = self.base.get() - self.size.bytes();
        StackPointer::new(limit).expect("no mapping starts at address zero")
    }
}
