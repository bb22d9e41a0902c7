//! What all queues have in common: the state, its waiters, and who gets what.

use std::collections::{BinaryHeap, VecDeque};

use super::errors::{GetError, PutError};
use crate::hub::Deadline;
use crate::lock::Lock;
use crate::wait::{TimedOut, WaitList, wait};

/// The items, in the order in which they leave.
pub(super) trait Store<T> {
    fn push(&mut self, item: T);
    fn pop(&mut self) -> Option<T>;
    fn len(&self) -> usize;
}

impl<T> Store<T> for VecDeque<T> {
    #[inline]
    fn push(&mut self, item: T) {
        self.push_back(item);
    }

    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }

    #[inline]
    fn len(&self) -> usize {
        self.len()
    }
}

/// Last in, first out.
impl<T> Store<T> for Vec<T> {
    fn push(&mut self, item: T) {
        self.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.pop()
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// The greatest first.
impl<T: Ord> Store<T> for BinaryHeap<T> {
    fn push(&mut self, item: T) {
        self.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.pop()
    }

    fn len(&self) -> usize {
        self.len()
    }
}

pub(super) struct Core<T, S> {
    state: Lock<State<T, S>>,
}

struct State<T, S> {
    items: S,
    /// `None`: no limit. 0: items only pass from a putter to a getter.
    capacity: Option<usize>,
    shut_down: bool,
    /// Items that were put and not yet declared done.
    unfinished: usize,
    /// Waiting getters; there are none while there are items or putters. Notified with an item, or with none by a shutdown.
    getters: WaitList<Option<T>>,
    /// Waiting putters with their items. Notified with the item taken, or left there by a shutdown.
    putters: WaitList<Option<T>>,
    /// Those who wait until all is done.
    joiners: WaitList<()>,
}

/// What a put does when there is no room.
#[derive(Clone, Copy)]
pub(super) enum WhenFull {
    Wait(Deadline),
    Refuse,
    PutAnyway,
}

/// `task_done` was called more often than items were put.
pub(super) struct NothingToDo;

impl<T, S> Core<T, S> {
    pub(super) const fn new(items: S, capacity: Option<usize>) -> Core<T, S> {
        Core {
            state: Lock::new(State {
                items,
                capacity,
                shut_down: false,
                unfinished: 0,
                getters: WaitList::new(),
                putters: WaitList::new(),
                joiners: WaitList::new(),
            }),
        }
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.state.lock().shut_down
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        self.state.lock().capacity
    }

    pub(super) fn unfinished(&self) -> usize {
        self.state.lock().unfinished
    }

    pub(super) fn task_done(&self) -> Result<(), NothingToDo> {
        let mut state = self.state.lock();
        state.unfinished = state.unfinished.checked_sub(1).ok_or(NothingToDo)?;
        if state.unfinished > 0 {
            return Ok(());
        }
        let wakeups = state.joiners.notify_all();
        drop(state);
        wakeups.wake();
        Ok(())
    }

    pub(super) fn join(&self, deadline: Deadline) -> bool {
        let state = self.state.lock();
        state.unfinished == 0 || wait(state, |state| &mut state.joiners, (), deadline).is_ok()
    }
}

impl<T, S: Store<T>> Core<T, S> {
    #[inline]
    pub(super) fn put(&self, item: T, when_full: WhenFull) -> Result<(), PutError<T>> {
        let mut state = self.state.lock();
        if state.shut_down {
            drop(state);
            return Err(PutError::ShutDown(item));
        }
        if !state.getters.is_empty() {
            state.unfinished += 1;
            let handed = state.getters.notify_first(|slot| *slot = Some(item));
            drop(state);
            if let Some(((), wakeup)) = handed {
                wakeup.wake();
            }
            return Ok(());
        }
        let has_room = state.capacity.is_none_or(|capacity| state.items.len() < capacity);
        let deadline = match when_full {
            WhenFull::Wait(deadline) if !has_room => deadline,
            WhenFull::Refuse if !has_room => {
                drop(state);
                return Err(PutError::Full(item));
            }
            _ => {
                state.unfinished += 1;
                state.items.push(item);
                return Ok(());
            }
        };
        match wait(state, |state| &mut state.putters, Some(item), deadline) {
            Ok(None) => Ok(()),
            Ok(Some(item)) => Err(PutError::ShutDown(item)),
            Err(TimedOut(Some(item))) => Err(PutError::Full(item)),
            Err(TimedOut(None)) => unreachable!("the item of a putter that was not notified is untouched"),
        }
    }

    /// `None`: do not wait. Inlined with the switch in it, see `Hub::park`.
    #[inline(always)]
    pub(super) fn get(&self, deadline: Option<Deadline>) -> Result<T, GetError> {
        let mut state = self.state.lock();
        if let Some(item) = state.items.pop() {
            // Room for the putter that has waited longest, unless `PutAnyway` had overfilled the queue.
            if state.capacity.is_some_and(|capacity| state.items.len() < capacity)
                && let Some((Some(next), wakeup)) = state.putters.notify_first(Option::take)
            {
                state.unfinished += 1;
                state.items.push(next);
                drop(state);
                wakeup.wake();
            }
            return Ok(item);
        }
        // Putters that wait although there is nothing: no capacity, so the item goes straight to this getter.
        if let Some((Some(item), wakeup)) = state.putters.notify_first(Option::take) {
            state.unfinished += 1;
            drop(state);
            wakeup.wake();
            return Ok(item);
        }
        if state.shut_down {
            return Err(GetError::ShutDown);
        }
        let Some(deadline) = deadline else { return Err(GetError::Empty) };
        match wait(state, |state| &mut state.getters, None, deadline) {
            Ok(Some(item)) => Ok(item),
            Ok(None) => Err(GetError::ShutDown),
            Err(TimedOut(_)) => Err(GetError::Empty),
        }
    }

    pub(super) fn shutdown(&self) {
        let mut state = self.state.lock();
        state.shut_down = true;
        let (getters, putters) = (state.getters.notify_all(), state.putters.notify_all());
        drop(state);
        getters.wake();
        putters.wake();
    }

    /// Shuts down and throws away what is there: it counts as done.
    pub(super) fn shutdown_now(&self) {
        self.shutdown();
        let mut state = self.state.lock();
        let mut discarded = Vec::with_capacity(state.items.len());
        while let Some(item) = state.items.pop() {
            discarded.push(item);
        }
        state.unfinished = state.unfinished.saturating_sub(discarded.len());
        let wakeups = if state.unfinished == 0 { Some(state.joiners.notify_all()) } else { None };
        drop(state);
        if let Some(wakeups) = wakeups {
            wakeups.wake();
        }
        drop(discarded);
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    pub(super) fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.capacity.is_some_and(|capacity| state.items.len() >= capacity)
    }
}
