//! Mailboxes with a limit, and what happens at it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenlet_core::sync::Semaphore;

use crate::dead_letters;

/// What a full mailbox does with another message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overflow {
    /// [`send`](crate::ActorRef::send) waits for room; [`try_send`](crate::ActorRef::try_send) fails.
    #[default]
    Suspend,
    /// Both fail at once.
    Fail,
    /// The new message is dropped, and the sender told that it was sent.
    DropNewest,
    /// The message that has waited longest is dropped in favour of the new one. Signals (trapped exits, DOWN) are never dropped, and
    /// their order with messages is not kept: messages are handled in the order of sending, signals too.
    DropOldest,
}

pub(crate) struct Bounded<M> {
    overflow: Overflow,
    capacity: usize,
    /// Room for so many messages more.
    room: Semaphore,
    closed: AtomicBool,
    dropped: AtomicU64,
    /// Where the messages are, if the oldest is dropped.
    ring: Mutex<Ring<M>>,
}

/// Messages with their numbers, in that order.
struct Ring<M> {
    messages: VecDeque<(u64, M)>,
    /// How many there have been.
    next: u64,
}

impl<M> Default for Ring<M> {
    fn default() -> Ring<M> {
        Ring { messages: VecDeque::new(), next: 0 }
    }
}

/// What a sender found.
pub(crate) enum Entry {
    /// There is room, and it is the sender's.
    Room,
    Full,
    /// The actor has ended.
    Closed,
}

impl<M> Bounded<M> {
    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Bounded<M> {
        assert!(capacity > 0, "a mailbox has room for at least 1 message");
        Bounded {
            overflow,
            capacity,
            room: Semaphore::new(capacity),
            closed: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            ring: Mutex::default(),
        }
    }

    pub(crate) fn overflow(&self) -> Overflow {
        self.overflow
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn note_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        dead_letters::count_full();
    }

    pub(crate) fn try_enter(&self) -> Entry {
        match self.room.try_acquire() {
            entered if self.closed.load(Ordering::Acquire) => {
                if entered {
                    // It was left for those who wait.
                    self.room.release();
                }
                Entry::Closed
            }
            true => Entry::Room,
            false => Entry::Full,
        }
    }

    /// Waits for room. `None`: without end.
    pub(crate) fn enter(&self, timeout: Option<Duration>) -> Entry {
        let entered = match timeout {
            None => {
                self.room.acquire();
                true
            }
            Some(timeout) => self.room.acquire_timeout(timeout),
        };
        if self.closed.load(Ordering::Acquire) {
            // Those behind us wait too.
            self.room.release();
            Entry::Closed
        } else if entered {
            Entry::Room
        } else {
            Entry::Full
        }
    }

    /// As [`enter`](Bounded::enter), as long as it takes, for a future. False if the actor has ended.
    pub(crate) async fn enter_async(&self) -> bool {
        let permit = self.room.permit_op().await;
        if self.closed.load(Ordering::Acquire) {
            return false; // and the permit goes to those behind us
        }
        // It is given back when the message is taken out.
        std::mem::forget(permit);
        true
    }

    /// The actor has taken a message out.
    #[inline]
    pub(crate) fn taken(&self) {
        if self.room.available() < self.capacity {
            self.room.release();
        }
    }

    /// The actor has ended: nobody waits for room any more. Returns the messages that are left here.
    pub(crate) fn close(&self) -> VecDeque<M> {
        self.closed.store(true, Ordering::Release);
        self.room.release();
        let ring = std::mem::take(&mut *self.ring());
        ring.messages.into_iter().map(|(_, message)| message).collect()
    }

    fn ring(&self) -> MutexGuard<'_, Ring<M>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a message in the ring. Returns the one that had to go for it; `Ok(None)` if there was room, and then the mailbox has to be told
    /// of one more. `Err`: the actor has ended.
    pub(crate) fn push_ring(&self, message: M) -> Result<Option<M>, M> {
        let mut ring = self.ring();
        // Under the lock, so that nothing is put in after `close` has emptied it.
        if self.closed.load(Ordering::Acquire) {
            return Err(message);
        }
        let oldest = if ring.messages.len() >= self.capacity { ring.messages.pop_front() } else { None };
        let number = ring.next;
        ring.next += 1;
        ring.messages.push_back((number, message));
        drop(ring);
        if oldest.is_some() {
            self.note_dropped();
        }
        Ok(oldest.map(|(_, message)| message))
    }

    pub(crate) fn pop_ring(&self) -> Option<M> {
        self.ring().messages.pop_front().map(|(_, message)| message)
    }

    /// The number of the newest message in the ring.
    pub(crate) fn last_number(&self) -> Option<u64> {
        self.ring().messages.back().map(|(number, _)| *number)
    }

    /// Takes out the first message with this number or a later one.
    pub(crate) fn take_numbered(&self, from: u64) -> Option<(u64, M)> {
        let mut ring = self.ring();
        let at = ring.messages.partition_point(|(number, _)| *number < from);
        ring.messages.remove(at)
    }

    /// Puts a message back into its place. Returns one that has to go, if others have taken that meanwhile.
    pub(crate) fn put_numbered(&self, number: u64, message: M) -> Option<M> {
        let mut ring = self.ring();
        let at = ring.messages.partition_point(|(other, _)| *other < number);
        ring.messages.insert(at, (number, message));
        let oldest = if ring.messages.len() > self.capacity { ring.messages.pop_front() } else { None };
        drop(ring);
        if oldest.is_some() {
            self.note_dropped();
        }
        oldest.map(|(_, message)| message)
    }

    /// Gives back memory that is not needed now.
    pub(crate) fn shrink(&self) {
        self.ring().messages.shrink_to_fit();
    }
}
