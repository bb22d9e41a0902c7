//! Small numbers for live greenlets.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::Hub;

/// The numbers that are given out, by the id of their greenlet, and those that came back.
#[derive(Default)]
pub(super) struct Idents {
    given: HashMap<u64, u32>,
    free: BinaryHeap<Reverse<u32>>,
}

impl Idents {
    /// The greenlet's number: the one that it has, or the smallest that nobody has.
    fn of(&mut self, id: u64) -> u32 {
        // Those that are free and those that are given are together all up to the next.
        let next = (self.given.len() + self.free.len()) as u32;
        *self.given.entry(id).or_insert_with(|| self.free.pop().map_or(next, |Reverse(smallest)| smallest))
    }

    fn release(&mut self, id: u64) {
        self.free.extend(self.given.remove(&id).map(Reverse));
    }
}

impl Hub {
    pub(crate) fn ident(&self, id: u64) -> u32 {
        self.idents.borrow_mut().of(id)
    }

    /// Frees the number of a greenlet, if it has one.
    pub(crate) fn release_ident(&self, id: u64) {
        self.idents.borrow_mut().release(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_free_number_is_given() {
        let mut idents = Idents::default();
        assert_eq!([10, 11, 12, 11].map(|id| idents.of(id)), [0, 1, 2, 1]);
        idents.release(11);
        idents.release(10);
        idents.release(99);
        assert_eq!([13, 14, 15].map(|id| idents.of(id)), [0, 1, 3]);
    }
}
