//! The places of a pool's workers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::routing::{KeyOf, Routing, Turn, jump};
use crate::actor_ref::{ActorRef, SendError};

/// What senders see of a pool.
pub(super) struct Table<M> {
    slots: RwLock<Arc<[Arc<Slot<M>>]>>,
    routing: Routing,
    turn: Turn,
    key: Option<KeyOf<M>>,
    /// The capacity of the workers' mailboxes, if it is bounded.
    room: Option<usize>,
}

/// The place of a worker, which keeps its number over restarts.
pub(super) struct Slot<M> {
    state: Mutex<State<M>>,
    room: Option<usize>,
}

struct State<M> {
    /// `None` while it is replaced.
    worker: Option<ActorRef<M>>,
    /// What was sent meanwhile.
    waiting: VecDeque<Kept<M>>,
    /// It takes nothing any more.
    retired: bool,
}

/// A message, and the key that it was sent by.
pub(super) type Kept<M> = (Option<u64>, M);

/// A slot did not take a message.
pub(super) enum Refused<M> {
    Retired(M),
    Full(M),
}

impl<M: Send + 'static> Slot<M> {
    pub(super) fn new(room: Option<usize>) -> Arc<Slot<M>> {
        let state = State { worker: None, waiting: VecDeque::new(), retired: false };
        Arc::new(Slot { state: Mutex::new(state), room })
    }

    fn state(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn worker(&self) -> Option<ActorRef<M>> {
        self.state().worker.clone()
    }

    /// How much it has to do; more than anything if its worker is being replaced.
    fn load(&self) -> usize {
        let state = self.state();
        match &state.worker {
            Some(worker) if !worker.ready() => worker.mailbox_len(),
            _ => (usize::MAX / 2).saturating_add(state.waiting.len()),
        }
    }

    fn works(&self) -> bool {
        self.state().worker.as_ref().is_some_and(|worker| !worker.ready())
    }

    /// Gives the worker a message, or keeps it for the next one. May wait for room in a bounded mailbox. Returns who has it.
    fn give(&self, key: Option<u64>, mut message: M) -> Result<Option<ActorRef<M>>, Refused<M>> {
        loop {
            let mut state = self.state();
            if state.retired {
                return Err(Refused::Retired(message));
            }
            let Some(worker) = state.worker.clone() else {
                if self.room.is_some_and(|room| state.waiting.len() >= room) {
                    return Err(Refused::Full(message));
                }
                state.waiting.push_back((key, message));
                return Ok(None);
            };
            let sent = if self.room.is_none() {
                // Under the lock, so that a worker that retires does so behind it. It does not wait. With a limit it may, so there
                // a message that meets the retirement may still be lost.
                let sent = worker.push_beyond_limit(message);
                drop(state);
                sent
            } else {
                drop(state);
                worker.send(message)
            };
            message = match sent {
                Ok(()) => return Ok(Some(worker)),
                Err(SendError::Full(message)) => return Err(Refused::Full(message)),
                Err(SendError::Ended(message)) => message,
            };
            // Its keeper does not know yet.
            let mut state = self.state();
            let gone = if state.worker.as_ref() == Some(&worker) { state.worker.take() } else { None };
            drop(state);
            drop(gone);
        }
    }

    /// A new worker is there. It gets what has waited first.
    pub(super) fn install(&self, worker: &ActorRef<M>) {
        loop {
            let mut state = self.state();
            if state.retired || state.waiting.is_empty() {
                let before = if state.retired { None } else { state.worker.replace(worker.clone()) };
                drop(state);
                drop(before);
                return;
            }
            let mut waiting = std::mem::take(&mut state.waiting);
            drop(state);
            while let Some((key, message)) = waiting.pop_front() {
                // The worker's own limit does not hold for what was accepted before it was there.
                if let Err(error) = worker.push_beyond_limit(message) {
                    // It has ended already, and its keeper will hear of it.
                    waiting.push_front((key, error.into_message()));
                    let mut state = self.state();
                    while let Some(kept) = waiting.pop_back() {
                        state.waiting.push_front(kept);
                    }
                    return;
                }
            }
        }
    }

    /// The worker has ended.
    pub(super) fn vacate(&self) {
        let gone = self.state().worker.take();
        drop(gone);
    }

    /// Takes nothing any more. Returns the worker and what has waited for one.
    pub(super) fn retire(&self) -> (Option<ActorRef<M>>, VecDeque<Kept<M>>) {
        let mut state = self.state();
        state.retired = true;
        (state.worker.take(), std::mem::take(&mut state.waiting))
    }
}

impl<M: Send + 'static> Table<M> {
    pub(super) fn new(routing: Routing, key: Option<KeyOf<M>>, room: Option<usize>) -> Table<M> {
        Table { slots: RwLock::new(Arc::from([])), routing, turn: Turn::default(), key, room }
    }

    pub(super) fn slot(&self) -> Arc<Slot<M>> {
        Slot::new(self.room)
    }

    pub(super) fn slots(&self) -> Arc<[Arc<Slot<M>>]> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn publish(&self, slots: &[Arc<Slot<M>>]) {
        let slots = Arc::from(slots);
        let before =
            std::mem::replace(&mut *self.slots.write().unwrap_or_else(PoisonError::into_inner), slots);
        drop(before);
    }

    /// Sends a message to a worker. Returns which, if it is not kept for one that is not there yet.
    pub(super) fn send(&self, key: Option<u64>, mut message: M) -> Result<Option<ActorRef<M>>, SendError<M>> {
        let key = key.or_else(|| self.key.as_ref().map(|key| key(&message)));
        loop {
            let slots = self.slots();
            if slots.is_empty() {
                return Err(SendError::Ended(message));
            }
            let at = match key {
                Some(key) => jump(key, slots.len()),
                None => self.choose(&slots),
            };
            message = match slots[at].give(key, message) {
                Ok(worker) => return Ok(worker),
                Err(Refused::Full(message)) => return Err(SendError::Full(message)),
                // Resized meanwhile: there is another table, or will be.
                Err(Refused::Retired(message)) => message,
            };
        }
    }

    fn choose(&self, slots: &[Arc<Slot<M>>]) -> usize {
        let first = match self.routing {
            Routing::RoundRobin | Routing::LeastMailbox => self.turn.next(slots.len()),
            Routing::Random => self.turn.random(slots.len()),
        };
        let mut from_first = (0..slots.len()).map(|at| (first + at) % slots.len());
        match self.routing {
            Routing::LeastMailbox => from_first.min_by_key(|&at| slots[at].load()).unwrap_or(first),
            _ => from_first.find(|&at| slots[at].works()).unwrap_or(first),
        }
    }
}
