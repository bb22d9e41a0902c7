//! What all queues have in common: the state, its waiters, and who gets what.

use std::collections::VecDeque;
use std::ptr::NonNull;

use super::errors::{GetError, PutError, ShutDown};
use crate::hub::{Deadline, without_waiting};
use crate::lock::Lock;
use crate::report;
use crate::select::Operation;
use crate::wait::{Attempt, Party, TimedOut, WaitList, Wakeups, wait};

/// The items, in the order in which they leave. Used under the lock.
pub trait Store<T> {
    fn push(&mut self, item: T);
    fn pop(&mut self) -> Option<T>;
    /// Puts an item back that was the next.
    fn unpop(&mut self, item: T);
    fn next(&self) -> Option<&T>;
    fn len(&self) -> usize;
    /// Whether code of the user's panicked in one of the above, since this was asked last: to be reported after the lock.
    #[inline(always)]
    fn take_trouble(&mut self) -> bool {
        false
    }
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

    fn unpop(&mut self, item: T) {
        self.push_front(item);
    }

    fn next(&self) -> Option<&T> {
        self.front()
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

    fn unpop(&mut self, item: T) {
        self.push(item);
    }

    fn next(&self) -> Option<&T> {
        self.last()
    }

    fn len(&self) -> usize {
        self.len()
    }
}

pub struct Core<T, S> {
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
    /// Those who wait until there is something to see; nobody while there are items.
    watchers: WaitList<()>,
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
        Core::with_items(items, 0, capacity)
    }

    /// With so many items in it.
    pub(super) const fn with_items(items: S, unfinished: usize, capacity: Option<usize>) -> Core<T, S> {
        Core {
            state: Lock::new(State {
                items,
                capacity,
                shut_down: false,
                unfinished,
                getters: WaitList::new(),
                putters: WaitList::new(),
                watchers: WaitList::new(),
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
        state.unfinished == 0 || wait("Queue::join", state, |state| &mut state.joiners, (), deadline).is_ok()
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
        let inner = &mut *state;
        if let Some(getter) = inner.getters.claim_first() {
            inner.unfinished += 1;
            let ((), wakeup) = getter.notify(|slot| *slot = Some(item));
            drop(state);
            wakeup.wake();
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
                let trouble = state.items.take_trouble();
                if !state.watchers.is_empty() {
                    let wakeups = state.watchers.notify_all();
                    drop(state);
                    wakeups.wake();
                } else {
                    drop(state);
                }
                if trouble {
                    report_trouble();
                }
                return Ok(());
            }
        };
        match wait("Queue::put", state, |state| &mut state.putters, Some(item), deadline) {
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
                let trouble = state.items.take_trouble();
                drop(state);
                wakeup.wake();
                if trouble {
                    report_trouble();
                }
                return Ok(item);
            }
            let trouble = state.items.take_trouble();
            drop(state);
            if trouble {
                report_trouble();
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
        match wait("Queue::get", state, |state| &mut state.getters, None, deadline) {
            Ok(Some(item)) => Ok(item),
            Ok(None) => Err(GetError::ShutDown),
            Err(TimedOut(_)) => Err(GetError::Empty),
        }
    }

    /// Takes back an item that a getter was given and nobody wants: the next one gets it.
    fn give_back(&self, item: T) {
        let mut state = self.state.lock();
        match state.getters.claim_first() {
            Some(getter) => {
                let ((), wakeup) = getter.notify(|slot| *slot = Some(item));
                drop(state);
                wakeup.wake();
            }
            None => {
                state.items.unpop(item);
                let trouble = state.items.take_trouble();
                let wakeups = state.watchers.notify_all();
                drop(state);
                wakeups.wake();
                if trouble {
                    report_trouble();
                }
            }
        }
    }

    /// `None`: do not wait.
    pub(super) fn peek(&self, deadline: Option<Deadline>) -> Result<T, GetError>
    where
        T: Clone,
    {
        let mut deadline = deadline;
        loop {
            let state = self.state.lock();
            if let Some(item) = state.items.next() {
                return Ok(without_waiting(|| item.clone()));
            }
            if state.shut_down {
                return Err(GetError::ShutDown);
            }
            let Some(deadline) = &mut deadline else { return Err(GetError::Empty) };
            deadline.fix();
            if wait("Queue::peek", state, |state| &mut state.watchers, (), *deadline).is_err() {
                return Err(GetError::Empty);
            }
        }
    }

    pub(super) fn watch(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        let state = &mut *self.state.lock();
        at(state.items.len() > 0 || state.shut_down, &mut state.watchers);
    }

    pub(super) fn get_op(&self) -> Operation<Get<'_, T, S>> {
        Operation(Get { core: self })
    }

    pub(super) fn put_op(&self, item: T) -> Operation<Put<'_, T, S>> {
        Operation(Put { core: self, item: Some(item) })
    }

    pub(super) fn shutdown(&self) {
        let mut state = self.state.lock();
        state.shut_down = true;
        let (getters, putters) = (state.getters.notify_all(), state.putters.notify_all());
        let watchers = state.watchers.notify_all();
        drop(state);
        getters.wake();
        putters.wake();
        watchers.wake();
    }

    /// Shuts down and throws away what is there: it counts as done.
    pub(super) fn shutdown_now(&self) {
        self.shutdown();
        let mut state = self.state.lock();
        let mut discarded = Vec::with_capacity(state.items.len());
        while let Some(item) = state.items.pop() {
            discarded.push(item);
        }
        let trouble = state.items.take_trouble();
        state.unfinished = state.unfinished.saturating_sub(discarded.len());
        let wakeups = if state.unfinished == 0 { Some(state.joiners.notify_all()) } else { None };
        drop(state);
        if let Some(wakeups) = wakeups {
            wakeups.wake();
        }
        if trouble {
            report_trouble();
        }
        drop(discarded);
    }

    /// Admits the waiting putters for whom there is room now.
    pub(super) fn set_capacity(&self, capacity: Option<usize>) {
        let mut state = self.state.lock();
        state.capacity = capacity;
        let mut wakeups = Wakeups::default();
        while state.capacity.is_none_or(|capacity| state.items.len() < capacity)
            && let Some((Some(item), wakeup)) = state.putters.notify_first(Option::take)
        {
            state.unfinished += 1;
            state.items.push(item);
            wakeups.add(wakeup);
        }
        let trouble = state.items.take_trouble();
        drop(state);
        wakeups.wake();
        if trouble {
            report_trouble();
        }
    }

    /// How many putters and getters wait.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = &mut *self.state.lock();
        (state.putters.count(), state.getters.count())
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    pub(super) fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.capacity.is_some_and(|capacity| state.items.len() >= capacity)
    }
}

/// Not under the lock: a subscriber is code of the user's.
#[cold]
fn report_trouble() {
    report::error(format_args!(
        "comparing the items of a PriorityQueue panicked: they count as equal, and their order is lost"
    ));
}

/// The operation of getting an item.
pub struct Get<'a, T, S> {
    core: &'a Core<T, S>,
}

// SAFETY: it is `Send` if the queue is `Sync`, for which `T` must be `Send`; the rest is made of `T`s.
unsafe impl<T, S: Store<T>> Attempt for Get<'_, T, S> {
    type Output = Result<T, ShutDown>;
    type Payload = Option<T>;

    fn try_now(&mut self) -> Option<Result<T, ShutDown>> {
        match self.core.get(None) {
            Ok(item) => Some(Ok(item)),
            Err(GetError::ShutDown) => Some(Err(ShutDown(()))),
            Err(GetError::Empty) => None,
        }
    }

    fn look(&self, mine: Option<NonNull<Party>>, at: &mut dyn FnMut(bool, &mut WaitList<Option<T>>)) {
        let state = &mut *self.core.state.lock();
        let possible = state.items.len() > 0 || state.shut_down || state.putters.has_taker(mine);
        at(possible, &mut state.getters);
    }

    fn payload(&mut self) -> Option<T> {
        None
    }

    fn complete(&mut self, item: Option<T>) -> Result<T, ShutDown> {
        item.ok_or(ShutDown(()))
    }

    fn recover(&mut self, _: Option<T>) {}

    fn give_back(&mut self, item: Option<T>) {
        if let Some(item) = item {
            self.core.give_back(item);
        }
    }
}

/// The operation of putting an item.
pub struct Put<'a, T, S> {
    core: &'a Core<T, S>,
    /// Here, or in its node while it waits.
    item: Option<T>,
}

// SAFETY: as for `Get`.
unsafe impl<T, S: Store<T>> Attempt for Put<'_, T, S> {
    type Output = Result<(), ShutDown<T>>;
    type Payload = Option<T>;

    fn try_now(&mut self) -> Option<Result<(), ShutDown<T>>> {
        // Only a future that is polled after its end has none: without it there is nothing to wait for either.
        let item = self.item.take().expect("an operation is not polled after it was done");
        match self.core.put(item, WhenFull::Refuse) {
            Ok(()) => Some(Ok(())),
            Err(PutError::ShutDown(item)) => Some(Err(ShutDown(item))),
            Err(PutError::Full(item)) => {
                self.item = Some(item);
                None
            }
        }
    }

    fn look(&self, mine: Option<NonNull<Party>>, at: &mut dyn FnMut(bool, &mut WaitList<Option<T>>)) {
        let state = &mut *self.core.state.lock();
        let has_room = state.capacity.is_none_or(|capacity| state.items.len() < capacity);
        let possible = has_room || state.shut_down || state.getters.has_taker(mine);
        at(possible, &mut state.putters);
    }

    fn payload(&mut self) -> Option<T> {
        self.item.take()
    }

    fn complete(&mut self, item: Option<T>) -> Result<(), ShutDown<T>> {
        item.map_or(Ok(()), |item| Err(ShutDown(item)))
    }

    fn recover(&mut self, item: Option<T>) {
        self.item = item;
    }

    /// Its item was taken by a getter, or stays with it: there is nothing to give back.
    fn give_back(&mut self, item: Option<T>) {
        self.item = item;
    }
}
