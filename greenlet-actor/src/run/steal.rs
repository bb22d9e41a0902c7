//! Taking work from other hubs.
//!
//! A hub that runs out of work looks at the others a few times, ever more rarely, and then sleeps until one of them has more than it is
//! doing. It takes what has been waiting since the last look: behind a handler, or a main greenlet, that takes long, or behind many others. A queue that moves faster
//! than that is left where it is, however long it is: an actor that moves to another core takes its messages and its state with it, through the caches, which costs
//! more than short handlers do. So actors that talk to each other are not torn apart.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use greenlet_core::embed;

use super::part::{Counts, Part};
use super::{Local, Runner};
use crate::activation::Activation;

/// How long a hub without work waits before it looks at the others again: doubled each time, and after the last it sleeps.
const FIRST_LOOK: Duration = Duration::from_micros(50);
const LAST_LOOK: Duration = Duration::from_millis(2);

/// So many that wait are taken without a second look: whatever they do, the last of them waits for some time.
const MANY: usize = 256;

/// What a hub without work saw of another one.
struct Seen {
    index: u32,
    begun: u64,
    waiting: usize,
}

impl Seen {
    fn of(part: &Part) -> Seen {
        let begun = part.counts().activations.load(Ordering::Relaxed);
        Seen { index: part.index, begun, waiting: part.backlog() }
    }

    /// Whether some of what waits now has been waiting since then.
    fn stands(&self, now: &Seen) -> bool {
        self.index == now.index && now.waiting > 0 && now.begun.wrapping_sub(self.begun) < self.waiting as u64
    }
}

impl Local {
    /// Takes of what waits on another hub, if that is much.
    pub(super) fn steal(&self) -> Option<Activation> {
        self.others().iter().find_map(|part| if part.backlog() >= MANY { self.take_from(part) } else { None })
    }

    /// The other hubs, from the next one on. Looked up when hubs have come or gone, not each time: a lock that all of them take would be
    /// in the way.
    fn others(&self) -> Rc<[Arc<Part>]> {
        let system = &self.part().system;
        let changes = system.changes();
        let mut known = self.others.borrow_mut();
        if known.0 != changes {
            let (own, parts) = (self.part().index as usize, system.parts());
            let count = parts.len();
            let others = (1..count).filter_map(|step| parts[(own + step) % count].clone()).collect();
            *known = (changes, others);
        }
        known.1.clone()
    }

    fn take_from(&self, part: &Part) -> Option<Activation> {
        let taken = part.take_backlog(self.shared.as_ref()?);
        if taken.is_some() {
            Counts::add(&self.part().counts().stolen, 1);
        }
        taken
    }

    /// Waits to be called, and looks around meanwhile.
    pub(super) fn look_around(&self, runner: &Runner) {
        let mut seen: Vec<Seen> = self.others().iter().map(|part| Seen::of(part)).collect();
        let mut pause = FIRST_LOOK;
        while pause <= LAST_LOOK {
            if runner.await_call_for(pause) {
                return;
            }
            for part in self.others().iter() {
                let now = Seen::of(part);
                if (now.waiting >= MANY || seen.iter().any(|before| before.stands(&now)))
                    && let Some(actor) = self.take_from(part)
                {
                    self.push(actor);
                    // `push` has called a runner, if none was on its way; if it is another one, this one goes on looking.
                    if runner.was_called() {
                        return;
                    }
                    pause = FIRST_LOOK / 2;
                    break;
                }
                if part.running.load(Ordering::Relaxed) || now.waiting > 0 {
                    // Somebody is at work: it is worth looking again.
                    pause = pause.min(LAST_LOOK / 2);
                }
                seen.retain(|before| before.index != part.index);
                seen.push(now);
            }
            pause *= 2;
        }
        let asleep = Asleep::new(self);
        // Who had work for us just before did not see that we sleep. Nor may we see that work yet, if it is being offered in this moment: who
        // offers does not pay for a fence. So we look twice, and what was on its way has arrived at the second time.
        let waits = |part: &Arc<Part>| match part.backlog() {
            0 => false,
            1 => part.holds_up(),
            _ => true,
        };
        let work = || self.others().iter().any(waits);
        if !work() && !runner.await_call_for(LAST_LOOK) && !work() {
            runner.await_call();
        }
        drop(asleep);
    }

    /// Something waits in this hub's queue that others may take: if one of them sleeps, it is told.
    #[inline]
    pub(super) fn offer(&self) {
        // A tag: the caller is in a handler itself, which may compute for long now.
        if embed::tag() != 0
            || self.part().holds_up()
            || self.shared.as_ref().is_some_and(|shared| shared.len() >= 2)
        {
            self.part().system.wake_another(self.part().index);
        }
    }
}

/// A hub that looks for work no more, until it is told of some.
struct Asleep<'a>(&'a Local);

impl<'a> Asleep<'a> {
    fn new(local: &'a Local) -> Asleep<'a> {
        let part = local.part();
        if !part.asleep.swap(true, Ordering::SeqCst) {
            part.system.falls_asleep();
        }
        Asleep(local)
    }
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        let part = self.0.part();
        // Unless whoever woke it has done that.
        if part.asleep.swap(false, Ordering::SeqCst) {
            part.system.wakes_up();
        }
    }
}
