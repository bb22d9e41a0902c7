//! Bytes on their way, in memory that is given back as soon as there are none.

use std::cell::RefCell;
use std::fmt;
use std::mem;

/// A queue of bytes in one piece of memory. Empty, it has none: what it had waits on the thread for the next that needs some.
#[derive(Default)]
pub(super) struct Buffer {
    /// All of it initialised.
    memory: Vec<u8>,
    start: usize,
    end: usize,
}

/// Pieces that a thread keeps, and the largest one that is worth keeping.
const SPARES: usize = 8;
const LARGEST_SPARE: usize = 128 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn take(size: usize) -> Vec<u8> {
    let spare = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        let fits = spare.iter().rposition(|memory| memory.len() >= size)?;
        Some(spare.swap_remove(fits))
    });
    spare.ok().flatten().unwrap_or_else(|| vec![0; size])
}

fn give_back(memory: Vec<u8>) {
    if memory.is_empty() || memory.len() > LARGEST_SPARE {
        return;
    }
    // It fails at the end of the thread, when there is nobody left to keep it for.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < SPARES {
            spare.push(memory);
        }
    });
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn filled(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    /// Takes bytes off the front, and gives the memory back with the last.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "consumed more than there is");
        self.release_if_empty();
    }

    pub(super) fn release_if_empty(&mut self) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            give_back(mem::take(&mut self.memory));
        }
    }

    /// Room for at least `count` bytes behind the others. What is put there counts after [`commit`](Buffer::commit).
    pub(super) fn room(&mut self, count: usize) -> &mut [u8] {
        let needed = self.len() + count;
        if self.memory.len() < needed {
            let mut larger = take(needed);
            larger[..self.len()].copy_from_slice(self.filled());
            give_back(mem::replace(&mut self.memory, larger));
            (self.start, self.end) = (0, self.len());
        } else if self.memory.len() - self.end < count {
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.len());
        }
        &mut self.memory[self.end..]
    }

    pub(super) fn commit(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.memory.len(), "committed more than there was room for");
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.commit(bytes.len());
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(mem::take(&mut self.memory));
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.len(), self.memory.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let mut buffer = Buffer::default();
        let (mut put, mut got) = (0u32, 0u32);
        for round in 0..1000 {
            for _ in 0..round % 7 {
                buffer.extend(&put.to_le_bytes());
                put += 1;
            }
            for _ in 0..(round % 5).min(buffer.len() / 4) {
                assert_eq!(buffer.filled()[..4], got.to_le_bytes());
                buffer.consume(4);
                got += 1;
            }
        }
        assert_eq!(buffer.len() as u32, (put - got) * 4);
    }

    #[test]
    fn an_empty_one_has_no_memory() {
        let mut buffer = Buffer::default();
        buffer.extend(b"hello");
        buffer.consume(5);
        assert_eq!(buffer.memory.capacity(), 0);
        buffer.room(1000);
        buffer.release_if_empty();
        assert_eq!(buffer.memory.capacity(), 0);
    }
}
