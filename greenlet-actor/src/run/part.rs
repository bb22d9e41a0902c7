//! A hub's part in a system, as other threads see it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_deque::{Injector, Steal, Stealer, Worker};
use greenlet_core::{Event, HubHandle, embed};

use super::Local;
use super::system::Shared;
use crate::activation::Activation;
use crate::cell::AnyCell;
use crate::life::flag;

pub(crate) struct Part {
    pub(super) index: u32,
    pub(super) hub: HubHandle,
    pub(super) system: Arc<Shared>,
    /// Activations that came from other threads.
    remote: Injector<Activation>,
    /// Of these, those that other hubs may take.
    open: Injector<Activation>,
    /// Its loop was told of them, or of work that can be stolen, and has not looked yet.
    pub(super) poked: AtomicBool,
    /// What other hubs may take; `None` in a system of one.
    pub(super) stealer: Option<Stealer<Activation>>,
    /// Whether one of its runners is in a handler.
    pub(super) running: AtomicBool,
    /// Nobody of it looks for work, until it is poked.
    pub(super) asleep: AtomicBool,
    actors: Mutex<Actors>,
    /// Somebody waits until there are none.
    awaited: AtomicBool,
    none_left: Event,
    /// The hub has ended, and nobody will look into `remote` any more.
    over: AtomicBool,
    counts: Counts,
}

/// What it has done. Those but `ended` and `dead_letters` are written by its own thread alone.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) activations: AtomicU64,
    pub(crate) handled: AtomicU64,
    pub(crate) stolen: AtomicU64,
    pub(crate) runners: AtomicU64,
    pub(crate) ended: AtomicU64,
    pub(crate) dead_letters: AtomicU64,
}

impl Counts {
    /// Adds to a count that only this thread writes.
    #[inline]
    pub(super) fn add(count: &AtomicU64, by: u64) {
        count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }
}

/// All actors that were spawned here and live. They are what keeps them.
#[derive(Default)]
struct Actors {
    closed: bool,
    entries: Vec<Option<Arc<dyn AnyCell>>>,
    free: Vec<u32>,
}

impl Part {
    pub(super) fn new(
        index: u32,
        hub: HubHandle,
        system: Arc<Shared>,
        stealer: Option<Stealer<Activation>>,
    ) -> Arc<Part> {
        Arc::new(Part {
            index,
            hub,
            system,
            remote: Injector::new(),
            open: Injector::new(),
            poked: AtomicBool::new(false),
            stealer,
            running: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            actors: Mutex::default(),
            awaited: AtomicBool::new(false),
            none_left: Event::new(),
            over: AtomicBool::new(false),
            counts: Counts::default(),
        })
    }

    fn actors(&self) -> MutexGuard<'_, Actors> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an actor until it ends. False: the hub ends, and so is the actor to.
    pub(crate) fn keep(&self, actor: &Arc<dyn AnyCell>) -> bool {
        let mut actors = self.actors();
        let entry = match actors.free.pop() {
            Some(entry) => {
                actors.entries[entry as usize] = Some(actor.clone());
                entry
            }
            None => {
                actors.entries.push(Some(actor.clone()));
                u32::try_from(actors.entries.len() - 1).expect("fewer than 2^32 actors")
            }
        };
        actor.life().entry.store(entry, Ordering::Relaxed);
        !actors.closed
    }

    fn forget(&self, entry: u32) {
        let mut actors = self.actors();
        let kept = actors.entries.get_mut(entry as usize).and_then(Option::take);
        if kept.is_some() {
            actors.free.push(entry);
        }
        let none_left = actors.entries.len() == actors.free.len();
        drop(actors);
        drop(kept);
        if none_left && self.awaited.load(Ordering::SeqCst) {
            self.none_left.set();
        }
        self.counts.ended.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// How many actors live that were spawned here.
    pub(crate) fn live(&self) -> usize {
        let actors = self.actors();
        actors.entries.len() - actors.free.len()
    }

    /// Waits until no actor lives that was spawned here.
    pub(super) fn await_end(&self) {
        self.none_left.clear();
        self.awaited.store(true, Ordering::SeqCst);
        if self.live() != 0 {
            self.none_left.wait();
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<dyn AnyCell>> {
        self.actors().entries.iter().flatten().cloned().collect()
    }

    /// Takes no more actors. Returns those that it has.
    pub(super) fn close(&self) -> Vec<Arc<dyn AnyCell>> {
        self.actors().closed = true;
        self.all()
    }

    /// How much waits here, roughly.
    pub(super) fn load(&self) -> usize {
        let waiting = self.stealer.as_ref().map_or(0, Stealer::len) + self.remote.len() + self.open.len();
        waiting * 16 + self.live()
    }

    pub(super) fn push_remote(&self, actor: Activation) {
        if self.stealer.is_some() && !actor.life().has(flag::PINNED) {
            self.open.push(actor);
            self.poke();
            if self.holds_up() || self.backlog() >= 2 {
                self.system.wake_another(self.index);
            }
        } else {
            self.remote.push(actor);
            self.poke();
        }
        // Of us and who sees to the last ones, one sees the other.
        fence(Ordering::SeqCst);
        if self.over.load(Ordering::SeqCst) {
            self.abandon_rest();
        }
    }

    /// The hub has ended what was here. What still comes is ended by whoever brings it.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.abandon_rest();
    }

    #[cold]
    fn abandon_rest(&self) {
        while let Some(actor) = self.take_remote() {
            actor.abandon();
        }
    }

    pub(super) fn take_remote(&self) -> Option<Activation> {
        take(&self.remote).or_else(|| take(&self.open))
    }

    /// Whether something runs here that may take long, behind which even a single activation waits: a handler, or the main greenlet, which may never suspend.
    #[inline]
    pub(super) fn holds_up(&self) -> bool {
        self.running.load(Ordering::Relaxed) || embed::runs_main(&self.hub)
    }

    /// How many wait here that other hubs may take.
    pub(super) fn backlog(&self) -> usize {
        self.stealer.as_ref().map_or(0, |stealer| stealer.len() + self.open.len())
    }

    /// Takes some of them: one is returned, the others go to `to`.
    pub(super) fn take_backlog(&self, to: &Worker<Activation>) -> Option<Activation> {
        let stealer = self.stealer.as_ref()?;
        loop {
            match stealer.steal_batch_and_pop(to).or_else(|| self.open.steal_batch_and_pop(to)) {
                Steal::Success(actor) => return Some(actor),
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }

    /// Has a runner look for work.
    pub(super) fn poke(&self) {
        if !self.poked.swap(true, Ordering::SeqCst) {
            // A hub that is gone has ended its actors.
            let _ = self.hub.call(|| {
                if let Some(local) = Local::current() {
                    local.poked();
                }
            });
        }
    }
}

fn take(queue: &Injector<Activation>) -> Option<Activation> {
    if queue.is_empty() {
        return None;
    }
    loop {
        match queue.steal() {
            Steal::Success(actor) => return Some(actor),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

/// Where an actor was spawned, and lives if it is pinned.
#[derive(Clone)]
pub(crate) struct Home(Arc<Part>);

impl Home {
    pub(super) fn new(part: Arc<Part>) -> Home {
        Home(part)
    }

    pub(crate) fn index(&self) -> u32 {
        self.0.index
    }

    pub(crate) fn part(&self) -> &Arc<Part> {
        &self.0
    }

    pub(crate) fn system(&self) -> &Arc<Shared> {
        &self.0.system
    }

    pub(crate) fn hub(&self) -> &HubHandle {
        &self.0.hub
    }

    pub(crate) fn is_here(&self) -> bool {
        self.0.hub.is_current()
    }

    /// An actor that lived here has ended.
    pub(crate) fn forget(&self, entry: u32, dead_letters: usize) {
        self.0.forget(entry);
        self.0.counts.dead_letters.fetch_add(dead_letters as u64, Ordering::Relaxed);
    }

    pub(super) fn push_from_elsewhere(actor: Activation) {
        let part = actor.life().home.0.clone();
        part.push_remote(actor);
    }

    /// Calls `f` in the loop of that hub of the system.
    pub(crate) fn call(&self, hub: u32, f: impl FnOnce() + Send + 'static) {
        if let Some(part) = self.0.system.part(hub) {
            // A hub that is gone has ended its actors.
            let _ = part.hub.call(f);
        }
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Home({})", self.0.index)
    }
}
