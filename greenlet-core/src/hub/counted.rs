//! The count of what refers to a hub's shared part, made cheap at home.
//!
//! Every greenlet refers to its hub. With an `Arc` that is two atomic read-modify-writes for each, a tenth of what a spawn
//! costs. Here the hub's own thread has a *credit*: counts that it took in advance. A reference made on that thread comes
//! out of the credit and one dropped there goes back into it, both without atomics; other threads count as an `Arc` does.
//!
//! # Invariant
//! `counts` is the number of references plus the credit of the living hub. It is zero only when neither is left.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use super::{Hub, HubShared};

/// A counted reference to the shared part of a hub.
pub(crate) struct HubRef(NonNull<Counted>);

struct Counted {
    counts: AtomicUsize,
    shared: HubShared,
}

// SAFETY: `HubShared` is `Send` and `Sync` (asserted below), and the count is atomic or the home thread's own.
unsafe impl Send for HubRef {}
// SAFETY: as above.
unsafe impl Sync for HubRef {}

const _: () = {
    const fn shareable<T: Send + Sync>() {}
    shareable::<HubShared>()
};

/// How many counts the home thread takes at once.
const ADVANCE: usize = 256;
/// Above this credit it gives half of it back: greenlets that were made elsewhere ended here.
const MOST: usize = 4 * ADVANCE;

impl HubRef {
    pub(crate) fn new(shared: HubShared) -> HubRef {
        let counted = Box::new(Counted { counts: AtomicUsize::new(1), shared });
        HubRef(NonNull::from(Box::leak(counted)))
    }

    fn counts(&self) -> &AtomicUsize {
        // SAFETY: this reference is counted.
        unsafe { &self.0.as_ref().counts }
    }

    /// The hub of this thread, if this refers to it.
    #[inline(always)]
    fn home(&self) -> Option<&'static Hub> {
        Hub::try_current().filter(|hub| hub.shared.0 == self.0)
    }

    /// Gives counts back; frees what they held if they were the last.
    ///
    /// # Safety
    /// The caller owns them, and uses the reference no more if it is among them.
    unsafe fn give_back(&self, counts: usize) {
        if self.counts().fetch_sub(counts, Ordering::Release) == counts {
            fence(Ordering::Acquire);
            // SAFETY: nobody refers to it any more; it was leaked by `new`.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }

    #[cold]
    fn advance(&self, hub: &Hub) {
        self.counts().fetch_add(ADVANCE, Ordering::Relaxed);
        hub.credit.set(ADVANCE);
    }

    /// The hub ends: what is left of its credit goes back. From now on it is nobody's home.
    pub(super) fn close_account(&self, credit: usize) {
        // SAFETY: the credit is the hub's own, and its reference is not among it.
        unsafe { self.give_back(credit) };
    }
}

impl Clone for HubRef {
    #[inline]
    fn clone(&self) -> HubRef {
        match self.home() {
            Some(hub) => {
                if hub.credit.get() == 0 {
                    self.advance(hub);
                }
                hub.credit.set(hub.credit.get() - 1);
            }
            None => {
                self.counts().fetch_add(1, Ordering::Relaxed);
            }
        }
        HubRef(self.0)
    }
}

impl Drop for HubRef {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the counts given back are this reference's, or the credit's.
        unsafe {
            match self.home() {
                None => self.give_back(1),
                Some(hub) => {
                    hub.credit.set(hub.credit.get() + 1);
                    if hub.credit.get() > MOST {
                        hub.credit.set(MOST / 2);
                        self.give_back(MOST / 2 + 1);
                    }
                }
            }
        }
    }
}

impl Deref for HubRef {
    type Target = HubShared;

    #[inline(always)]
    fn deref(&self) -> &HubShared {
        // SAFETY: this reference is counted.
        unsafe { &self.0.as_ref().shared }
    }
}

impl fmt::Debug for HubRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, run, spawn};

    fn counts(shared: &HubRef) -> usize {
        shared.counts().load(Ordering::Relaxed)
    }

    #[test]
    fn without_a_hub_it_counts_as_an_arc_does() {
        let shared = HubRef::new(HubShared::new(&Config::default()).unwrap());
        let clones: Vec<_> = (0..3).map(|_| shared.clone()).collect();
        assert_eq!(counts(&shared), 4);
        drop(clones);
        assert_eq!(counts(&shared), 1);
    }

    #[test]
    fn the_credit_is_bounded_and_goes_back_with_the_hub() {
        let outlives = std::thread::spawn(|| {
            run(|| {
                let hub = Hub::current_hub();
                // Made here and dropped elsewhere, made elsewhere and dropped here.
                let made_here: Vec<_> = (0..3 * MOST).map(|_| hub.shared.clone()).collect();
                let first = hub.shared.clone();
                let made_elsewhere = std::thread::spawn(move || {
                    drop(made_here);
                    (0..3 * MOST).map(|_| first.clone()).collect::<Vec<_>>()
                });
                drop(made_elsewhere.join().unwrap());
                assert!(hub.credit.get() <= MOST);
                spawn(|| ()).join();
                hub.shared.clone()
            })
        });
        let outlives = outlives.join().unwrap();
        assert_eq!(counts(&outlives), 1, "the hub and its credit are gone");
    }
}
