//! A heap whose items' `Ord` may do what it likes.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::core::Store;
use crate::hub::without_waiting;
use crate::report;

/// The greatest first.
///
/// Comparing is the user's code, and it runs inside the queue's lock, half-way through a heap operation. So what blocks there
/// panics, and a panic stops at the comparison: otherwise it would take the item along that is on its way out of the heap, and
/// leave a putter whose item was being admitted asleep.
pub struct Heap<T> {
    items: BinaryHeap<Ranked<T>>,
    trouble: bool,
}

impl<T: Ord> Heap<T> {
    pub(super) const fn new() -> Heap<T> {
        Heap { items: BinaryHeap::new(), trouble: false }
    }

    /// Runs an operation of the heap, which compares.
    fn change<R>(&mut self, change: impl FnOnce(&mut BinaryHeap<Ranked<T>>) -> R) -> R {
        let result = without_waiting(|| change(&mut self.items));
        self.trouble |= TROUBLE.take();
        result
    }
}

impl<T: Ord> FromIterator<T> for Heap<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Heap<T> {
        let items: Vec<_> = items.into_iter().map(Ranked).collect();
        let mut heap = Heap::new();
        heap.change(|heap| *heap = BinaryHeap::from(items));
        heap
    }
}

impl<T: Ord> Store<T> for Heap<T> {
    fn push(&mut self, item: T) {
        self.change(|items| items.push(Ranked(item)));
    }

    fn pop(&mut self) -> Option<T> {
        self.change(BinaryHeap::pop).map(|Ranked(item)| item)
    }

    fn unpop(&mut self, item: T) {
        self.push(item);
    }

    fn next(&self) -> Option<&T> {
        self.items.peek().map(|Ranked(item)| item)
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn take_trouble(&mut self) -> bool {
        std::mem::take(&mut self.trouble)
    }
}

thread_local! {
    /// A comparison panicked in the heap operation under way on this thread. They do not nest, and nothing else runs meanwhile.
    static TROUBLE: Cell<bool> = const { Cell::new(false) };
}

/// Compares as its item does, and never unwinds: a comparison that panics counts as equal.
struct Ranked<T>(T);

impl<T: Ord> Ord for Ranked<T> {
    fn cmp(&self, other: &Ranked<T>) -> Ordering {
        let mut order = Ordering::Equal;
        if !report::contain(|| order = self.0.cmp(&other.0)) {
            TROUBLE.set(true);
        }
        order
    }
}

impl<T: Ord> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Ranked<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Ranked<T> {
    fn eq(&self, other: &Ranked<T>) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Eq for Ranked<T> {}
