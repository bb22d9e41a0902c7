//! The stacks that greenlets run on, and what happens when one overflows.
//!
//! Each hub has a [`StackPool`]. It maps *slabs* of up to 1 GiB and carves *slots* from them, one per stack:
//!
//! ```text
//!  slab (one mmap, slots of one StackSize)
//!  +-------+-----------+-------+-----------+-------+-----------+- - - - - - - - - -+
//!  | guard |     stack | guard |     stack | guard |     stack |  not carved yet   |
//!  +-------+-----------+-------+-----------+-------+-----------+- - - - - - - - - -+
//!  ^ limit             ^ base of slot 0 = limit of slot 1      high addresses -->
//!                  <-- grows down
//! ```
//!
//! A slot costs address space, and memory only where it was touched. Released slots are handed out again,
//! last released first, with their pages still in place (*warm*); beyond [`StackConfig::warm`] of them the
//! pages of those idle for longest go back to the kernel (*cold*).
//!
//! # Invariants
//!
//! 1. A carved slot has its guard at its low end, for as long as the slab is mapped.
//! 2. A carved slot is either idle in its pool or owned by exactly one [`StackSlot`].
//! 3. A [`StackSlot`] that is dropped, rather than released, takes its slot with it: a stack that may have
//!    live frames is never reused and never unmapped, since other memory may point into it.
//! 4. A slab is unmapped only with its pool, and only if all of its carved slots are idle.
//! 5. A mapped slab is listed in the [`registry`], by which [`overflow`] knows a guard from other memory.

mod guard;
pub(crate) mod overflow;
mod pool;
mod registry;
mod size;
mod slab;
#[cfg(test)]
pub(crate) mod tests;

use std::io;

pub use guard::GuardMode;
pub(crate) use guard::page_size;
pub(crate) use pool::{StackPool, StackSlot};
pub(crate) use registry::slot_at;
pub use size::{StackSize, StackSizeError};

/// How many bytes of a stack are in memory. `None` if the kernel does not tell.
pub(crate) fn resident_bytes(stack: &std::ops::Range<usize>) -> Option<usize> {
    let page = page_size();
    let (start, end) = (stack.start / page * page, stack.end.next_multiple_of(page));
    let mut pages = vec![0_u8; (end - start) / page];
    // SAFETY: it reads no memory but the kernel's tables, and writes a byte for each page.
    let told = unsafe {
        libc::mincore(std::ptr::without_provenance_mut(start), end - start, pages.as_mut_ptr().cast())
    };
    (told == 0).then(|| pages.iter().filter(|&&page| page & 1 != 0).count() * page)
}

/// How a [`StackPool`] gets its stacks.
#[derive(Clone, Debug)]
pub(crate) struct StackConfig {
    /// How guards are made.
    pub guard: GuardMode,
    /// How many stacks may be in use at a time.
    pub max_stacks: Option<usize>,
    /// How many idle stacks keep their memory.
    pub warm: usize,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self { guard: GuardMode::Auto, max_stacks: None, warm: 1024 }
    }
}

/// What the stacks of one hub amount to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct StackStats {
    /// Stacks in use, leaked ones included.
    pub allocated: usize,
    /// Idle stacks whose memory is kept for the next greenlet.
    pub idle_warm: usize,
    /// Idle stacks whose memory was given back to the kernel.
    pub idle_cold: usize,
    /// Mappings that the stacks were carved from.
    pub slabs: usize,
    /// Bytes of address space in those mappings. What is resident is far less.
    pub mapped_bytes: usize,
}

/// Why there is no stack for another greenlet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The kernel refused to map even one stack, or its guard.
    #[error("no memory for a stack of {size}: {source} (limits: RLIMIT_AS, vm.overcommit_memory)")]
    OutOfMemory {
        /// The size of the stack.
        size: StackSize,
        /// What the kernel said.
        source: io::Error,
    },
    /// Guards are made with `mprotect`, and the process is near the kernel's limit of memory mappings.
    #[error(
        "no stack guard can be added: {in_use} of {limit} are in use, each takes two memory mappings, and \
         vm.max_map_count is {max_map_count}; raise it (sysctl -w vm.max_map_count=2097152 allows for a \
         million stacks), or use Linux 6.13 or later, where guards need no mappings"
    )]
    TooManyGuards {
        /// How many guards this process may have.
        limit: usize,
        /// How many it has.
        in_use: usize,
        /// The kernel's limit of mappings per process.
        max_map_count: usize,
    },
    /// [`GuardMode::Madvise`] was asked for and is not to be had.
    #[error(
        "MADV_GUARD_INSTALL was refused: {source}; it needs Linux 6.13 or later and memory that is not \
         locked (GuardMode::Auto uses mprotect in such cases)"
    )]
    GuardRefused {
        /// What the kernel said.
        source: io::Error,
    },
    /// The configured number of stacks is in use.
    #[error("all {limit} stacks that the hub may have are in use")]
    LimitReached {
        /// The configured number.
        limit: usize,
    },
}
