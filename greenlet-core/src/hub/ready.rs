//! The ready queue: greenlets to resume and callbacks to run, first in, first out.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::ptr::NonNull;

use super::Hub;
use crate::greenlet::raw::Header;

/// What the loop calls on its own stack. It must not block.
pub(crate) type Callback = Box<dyn FnOnce(&Hub)>;

pub(crate) enum Entry {
    /// Resume (or first run) this greenlet, whose `queued` is set. It stays allocated until the entry is popped.
    Resume(NonNull<Header>),
    Call(Callback),
}

/// An entry in one word: a header's address, or that of a boxed callback with the lowest bit set.
struct Packed(NonNull<u8>);

const CALL: usize = 1;

impl Packed {
    #[inline]
    fn resume(header: NonNull<Header>) -> Packed {
        Packed(header.cast())
    }

    fn call(callback: Callback) -> Packed {
        let thin = NonNull::from(Box::leak(Box::new(callback)));
        Packed(thin.cast::<u8>().map_addr(|address| address | CALL))
    }

    #[inline]
    fn unpack(self) -> Entry {
        if self.0.addr().get() & CALL == 0 {
            Entry::Resume(self.0.cast())
        } else {
            let thin = self.0.as_ptr().map_addr(|address| address & !CALL).cast::<Callback>();
            // SAFETY: `call` leaked this box, and every packed entry is unpacked once.
            Entry::Call(*unsafe { Box::from_raw(thin) })
        }
    }
}

pub(crate) struct ReadyQueue(UnsafeCell<VecDeque<Packed>>);

impl ReadyQueue {
    pub(crate) fn new() -> ReadyQueue {
        ReadyQueue(UnsafeCell::new(VecDeque::with_capacity(64)))
    }

    #[inline]
    fn queue(&self) -> *mut VecDeque<Packed> {
        self.0.get()
    }

    #[inline]
    pub(crate) fn push_resume(&self, header: NonNull<Header>) {
        // SAFETY: the type is not `Sync`, and no reference into the queue outlives one of these methods.
        unsafe { (*self.queue()).push_back(Packed::resume(header)) }
    }

    pub(crate) fn push_call(&self, callback: Callback) {
        // SAFETY: as above.
        unsafe { (*self.queue()).push_back(Packed::call(callback)) }
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<Entry> {
        // SAFETY: as above.
        unsafe { (*self.queue()).pop_front() }.map(Packed::unpack)
    }

    /// Moves a greenlet that is queued to the front, and another one, which is not queued, behind it. False if it is not queued here.
    #[inline]
    pub(crate) fn push_front_pair(&self, next: NonNull<Header>, then: NonNull<Header>) -> bool {
        // SAFETY: as above.
        let queue = unsafe { &mut *self.queue() };
        // Who was spawned a moment ago is the last one.
        let Some(index) = queue.iter().rposition(|entry| entry.0 == next.cast()) else { return false };
        let Some(entry) = queue.remove(index) else { return false };
        queue.push_front(Packed::resume(then));
        queue.push_front(entry);
        true
    }

    /// Takes a greenlet out, wherever it stands. False if it is not queued here.
    #[inline]
    pub(crate) fn take_out(&self, header: NonNull<Header>) -> bool {
        // SAFETY: as above.
        let queue = unsafe { &mut *self.queue() };
        // Who was spawned a moment ago is the last one.
        if queue.back().is_some_and(|entry| entry.0 == header.cast()) {
            return queue.pop_back().is_some();
        }
        let index = queue.iter().rposition(|entry| entry.0 == header.cast());
        index.is_some_and(|index| queue.remove(index).is_some())
    }

    /// The greenlet that comes after so many others, if the queue is that long and it is one.
    #[inline]
    pub(crate) fn ahead(&self, entries: usize) -> Option<NonNull<Header>> {
        // SAFETY: as above.
        let packed = unsafe { (*self.queue()).get(entries) }?;
        (packed.0.addr().get() & CALL == 0).then(|| packed.0.cast())
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.queue()).len() }
    }

    /// Moves an entry to the front; the others keep their order.
    pub(crate) fn bring_forward(&self, index: usize) {
        // SAFETY: as above.
        let queue = unsafe { &mut *self.queue() };
        if let Some(entry) = queue.remove(index) {
            queue.push_front(entry);
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.queue()).is_empty() }
    }
}

impl Drop for ReadyQueue {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
